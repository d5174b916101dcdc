"""The model card of a trained VideoBERT: what it is made of, how it was trained, what was measured."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .card_videobert import elsewhere, example_video, parts_table

TEMPLATE = Path(__file__).with_name("model_card.md")
ACTIONS = ("verb_top1", "verb_top5", "object_top1", "object_top5")
ALIGNMENT = ("alignment_auc_other_video", "alignment_auc_same_video")
COUNTS = {"videos": "videos", "hours": "hours", "clips": "clips", "sentences": "sentences", "words": "words"}


def write_model_card(
    folder: str | os.PathLike,
    model,
    processor,
    results: Mapping[str, float],
    training: Mapping,
    tables: str = "",
    repo_id: str | None = None,
    license: str | None = None,
    language: str | list[str] | None = None,
    datasets: Sequence[str] = (),
    base_models: Sequence[str] = (),
) -> None:
    """Writes `README.md` of a model folder.

    Args:
        folder (`str` or `os.PathLike`):
            The saved model.
        model ([`VideoBertForPreTraining`]):
            The model that the results are of.
        processor ([`VideoBertProcessor`]):
            Its processor.
        results (`dict[str, float]`):
            Measured figures; `verb_…`, `object_…` and `alignment_auc_…` go into the card's metadata.
        training (`dict`):
            How it was trained: `options`, `train` and `held_out`, what [`count_rows`] says of the rows, and
            `split`, how they were told apart. Of what is not there the card says that it was not kept.
        tables (`str`, *optional*):
            The results as markdown, with what they must be compared with.
        repo_id (`str`, *optional*):
            Where it will be found; by default the folder's name. `model.push_to_hub` puts in the repository's own.
        license (`str`, *optional*):
            Of the weights, in the Hub's words, such as `"apache-2.0"`; not stated by default.
        language (`str` or `list[str]`, *optional*):
            Codes of what was read, such as `"en"`; not stated by default.
        datasets (`Sequence[str]`, *optional*):
            Hub ids of what it was trained on.
        base_models (`Sequence[str]`, *optional*):
            Hub ids of the models that it started from.
    """
    folder, config = Path(folder), model.config
    repo_id = repo_id or folder.name
    evaluated = evaluations(results, datasets[0] if datasets else "videobert")
    card_data = ModelCardData(
        library_name="transformers",
        license=license,
        language=language,
        pipeline_tag="fill-mask",
        tags=["videobert", "video", "video-text"],
        datasets=[*datasets] or None,
        base_model=[*base_models] or None,
        metrics=sorted({result.metric_type for result in evaluated}) or None,
        model_name=repo_id.split("/")[-1] if evaluated else None,
        eval_results=evaluated or None,
    )
    encoder = {"encoder": f"{config.num_hidden_layers} layers, width {config.hidden_size}"}
    encoder["encoder"] += f", {config.num_attention_heads} heads"
    body = TEMPLATE.read_text(encoding="utf-8").format(
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        video=example_video(processor),
        elsewhere=elsewhere(processor, repo_id),
        parts=parts_table(processor, encoder),
        training=training_section(training),
        split=split_section(training),
        results=results_section(tables, model),
        clip_seconds=processor.video_processor.clip_seconds,
    )
    ModelCard(f"---\n{card_data.to_yaml()}\n---\n\n{body}").save(folder / "README.md")


def evaluations(results: Mapping[str, float], dataset: str) -> list[EvalResult]:
    """The figures that go into a card's metadata: of held-out videos of a data set."""
    kinds = {name: ("zero-shot-classification", "Zero-shot action classification", "accuracy") for name in ACTIONS}
    kinds |= {name: ("video-text-matching", "Linguistic-visual alignment", "roc_auc") for name in ALIGNMENT}
    return [
        EvalResult(
            task_type=task_type,
            task_name=task_name,
            dataset_type=dataset,
            dataset_name="held-out videos",
            metric_type=metric_type,
            metric_name=name,
            metric_value=round(float(results[name]), 4),
        )
        for name, (task_type, task_name, metric_type) in kinds.items()
        if results.get(name) is not None
    ]


def training_section(training: Mapping) -> str:
    """What it was trained on, and the options that were not left out."""
    told = [f"Trained on {told_counts(training['train'])}."] if "train" in training else []
    if options := training.get("options"):
        rows = [f"| {name} | {value} |" for name, value in options.items()]
        told.append("\n".join(["| option | value |", "|---|---|", *rows]))
    return "\n\n".join(told) or "What it was trained on, and how, was not kept."


def split_section(training: Mapping) -> str:
    """What was held out, and by which rule."""
    if "held_out" not in training:
        return "Which videos were held out was not kept."
    return f"Held out are {told_counts(training['held_out'])}: {training['split']}."


def told_counts(counts: Mapping[str, float]) -> str:
    """Counts of rows in words."""
    told = [f"{counts[name]:,} {unit}" for name, unit in COUNTS.items() if name in counts]
    return ", ".join(told[:-1]) + f" and {told[-1]}"


def results_section(tables: str, model) -> str:
    """The measured figures, and whose they are: a model that was trained on must not keep them."""
    if not tables:
        return "Nothing was measured."
    # `push_to_hub` reads this line.
    return f"{tables}\n\nMeasured with weights with the fingerprint `{model.weights_fingerprint()}`."
