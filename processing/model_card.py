"""The model card of a trained VideoBERT."""

import os
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .names_videobert import is_on_this_machine, model_name, public_name

TEMPLATE = Path(__file__).with_name("model_card.md")
ELSEWHERE = """
The weights of {networks} are neither in this repository nor on the Hub: to read videos, pass the folders where they
are, `from_pretrained("{repo_id}", trust_remote_code=True, {arguments})`. Text and visual ids need none.
"""
METRICS = ("verb_top1", "verb_top5", "object_top1", "object_top5")


def write_model_card(
    folder: str | os.PathLike,
    model,
    processor,
    results: Mapping[str, float],
    training: Mapping,
    table: str = "",
    repo_id: str | None = None,
    license: str | None = None,
    language: str | list[str] | None = None,
) -> None:
    """Writes `README.md` of a model folder.

    Args:
        folder (`str` or `os.PathLike`):
            The saved model.
        model ([`VideoBertForPreTraining`]):
            The model.
        processor ([`VideoBertProcessor`]):
            Its processor.
        results (`dict[str, float]`):
            Measured figures; `verb_…` and `object_…` go into the card's metadata.
        training (`dict`):
            The training arguments that applied.
        table (`str`, *optional*):
            The results as a markdown table, shown as they are.
        repo_id (`str`, *optional*):
            Where it will be found; by default the folder's name. `model.push_to_hub` puts in the repository's own.
        license (`str`, *optional*):
            Of the weights, in the Hub's words, such as `"apache-2.0"`; not stated by default.
        language (`str` or `list[str]`, *optional*):
            Codes of what was read, such as `"en"`; not stated by default.
    """
    folder, config = Path(folder), model.config
    repo_id = repo_id or folder.name
    card_data = ModelCardData(
        library_name="transformers",
        license=license,
        language=language,
        pipeline_tag="fill-mask",
        tags=["videobert", "video", "video-text"],
        model_name=folder.name,
        eval_results=[_metric(key, results[key]) for key in METRICS if key in results] or None,
    )
    body = TEMPLATE.read_text(encoding="utf-8").format(
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        elsewhere=_elsewhere(processor, repo_id),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        words=processor.visual_token_offset,
        codebook=processor.codebook.summary(),
        asr_model=_told(processor.asr_model, processor.asr_options),
        backbone=_told(processor.backbone),
        clip_seconds=processor.video_processor.clip_seconds,
        fps=processor.video_processor.fps,
        training="\n".join(f"- {key}: {value}" for key, value in training.items()),
        results=table or "No held-out truth was given, so nothing was measured.",
    )
    ModelCard(f"---\n{card_data.to_yaml()}\n---\n\n{body}").save(folder / "README.md")


def _metric(name: str, value: float) -> EvalResult:
    return EvalResult(
        task_type="zero-shot-classification",
        task_name="Zero-shot action classification",
        dataset_type="videobert",
        dataset_name="held-out videos",
        metric_type="accuracy",
        metric_name=name,
        metric_value=round(float(value), 4),
    )


def _told(network, options: Mapping | None = None) -> str:
    """A network as others know it, and what it was asked for."""
    asked = {name: (options or {}).get(name) for name in ("language", "task")}
    asked = ", ".join(f"{name} {value}" for name, value in asked.items() if value)
    name = public_name(network)
    return (f"`{name}`" if name else "not told") + (f" ({asked})" if asked else "")


def _elsewhere(processor, repo_id: str) -> str:
    """What others must do about networks that are folders of this machine."""
    networks = {"asr_model": processor.asr_model, "backbone": processor.backbone}
    absent = {
        argument: public_name(network)
        for argument, network in networks.items()
        if model_name(network) is not None and is_on_this_machine(network)
    }
    if not absent:
        return ""
    return ELSEWHERE.format(
        networks=" and ".join(f"`{name}`" for name in absent.values()),
        repo_id=repo_id,
        arguments=", ".join(f'{argument}="…"' for argument in absent),
    )
