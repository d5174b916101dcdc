"""The model card of a trained VideoBERT: what it is made of, how it was trained, what was measured."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .card_videobert import elsewhere, example_video, parts_table

VIDEOBERT = "[VideoBERT](https://arxiv.org/abs/1904.01766) (Sun et al., ICCV 2019)"
FILLS_IN = """A {videobert}: one BERT over the words of a narration and
the visual tokens of its video, trained with the cloze task and with linguistic-visual alignment. Given a text with
gaps and a video, it says which words fit; given both whole, whether they belong together."""
FILL_IN = """```python
from transformers import AutoModelForMaskedLM, AutoProcessor

processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)
model = AutoModelForMaskedLM.from_pretrained("{repo_id}", trust_remote_code=True).eval()
video = {video}
inputs = processor(text="now let me show you how to [MASK] the [MASK].", videos=video)
scores = model(**inputs).logits[0, :, : model.config.text_vocab_size]
for place in (inputs["input_ids"][0] == processor.tokenizer.mask_token_id).nonzero():
    print(processor.tokenizer.convert_ids_to_tokens(scores[place].topk(5).indices[0]))
```

The same as a pipeline:

```python
from transformers import pipeline

fill = pipeline("video-fill-mask", model="{repo_id}", trust_remote_code=True)
print(fill(video, text="now let me show you how to [MASK] the [MASK]."))
```"""
NAMES = """A {videobert} that was taught by examples to name what is done in a
video: one of {num_labels} classes."""
NAME = """```python
from transformers import AutoModelForVideoClassification, AutoProcessor

processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)
model = AutoModelForVideoClassification.from_pretrained("{repo_id}", trust_remote_code=True).eval()
video = {video}
scores = model(**processor(videos=video)).logits[0].softmax(0)
for number in scores.topk(2).indices.tolist():
    print(model.config.id2label[number], scores[number].item())
```"""
WRITES = """A {videobert} with a decoder that says in words what a video shows
(section 4.5), window by window."""
WRITE = """```python
from transformers import pipeline

video = {video}
describe = pipeline("video-captioning", model="{repo_id}", trust_remote_code=True)
print(describe(video))
```"""


@dataclass(frozen=True)
class Kind:
    """What the card of one kind of model says: what it is, how it is used, what it cannot do, and the Hub's word."""

    what: str
    use: str
    limit: str
    pipeline_tag: str


GAP = "A gap is one WordPiece: a longer word cannot be the answer to one `[MASK]`."
FILLER = Kind(FILLS_IN, FILL_IN, GAP, "fill-mask")
KINDS = {
    "VideoBertForVideoClassification": Kind(
        NAMES,
        NAME,
        "It names one of its classes whatever a video shows, also where none of them is right.",
        "video-classification",
    ),
    "VideoBertForCaptioning": Kind(
        WRITES,
        WRITE,
        "A caption may say what is usual rather than what is seen: compare the captions without video.",
        "video-text-to-text",
    ),
}
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
        model ([`VideoBertForPreTraining`], [`VideoBertForVideoClassification`] or [`VideoBertForCaptioning`]):
            The model that the results are of.
        processor ([`VideoBertProcessor`]):
            Its processor.
        results (`dict[str, float]`):
            Measured figures; `verb_…`, `object_…`, `alignment_auc_…` and `top…` go into the card's metadata.
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
    folder, config = Path(folder), getattr(model.config, "encoder", model.config)
    kind = KINDS.get(type(model).__name__, FILLER)
    repo_id = repo_id or folder.name
    evaluated = evaluations(results, datasets[0] if datasets else "videobert")
    card_data = ModelCardData(
        library_name="transformers",
        license=license,
        language=language,
        pipeline_tag=kind.pipeline_tag,
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
        what=kind.what.format(videobert=VIDEOBERT, num_labels=getattr(config, "num_labels", None)),
        use=kind.use.format(repo_id=repo_id, video=example_video(processor)),
        limit=kind.limit,
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
    kinds |= {name: ("video-classification", "Video classification", "accuracy") for name in ("top1", "top5")}
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
    if not hasattr(model, "weights_fingerprint"):  # a captioner, which is no VideoBERT but holds one
        return tables
    # `push_to_hub` reads this line.
    return f"{tables}\n\nMeasured with weights with the fingerprint `{model.weights_fingerprint()}`."
