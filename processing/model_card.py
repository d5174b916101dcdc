"""The model card of a trained VideoBERT, and publishing it."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .corpus.settings import named

USAGE = """# {name}

A [VideoBERT](https://arxiv.org/abs/1904.01766) (Sun et al., ICCV 2019): one BERT over the words of a narration and
the visual tokens of its video, trained with the cloze task and with linguistic-visual alignment.

## Use

```python
from transformers import AutoModelForMaskedLM, AutoProcessor

processor = AutoProcessor.from_pretrained("{name}", trust_remote_code=True)
model = AutoModelForMaskedLM.from_pretrained("{name}", trust_remote_code=True)
inputs = processor(text="now let me show you how to [MASK] the [MASK].", videos="video.mp4")
logits = model(**inputs).logits
```

## What it is made of

| part | value |
|---|---|
| encoder | {layers} layers, width {width}, {heads} heads |
| vocabulary | {words} words, {codebook} |
| speech recognition | `{asr_model}` |
| video network | `{backbone}` |
| clips | {clip_seconds} s at {fps} frames a second |

## Training

{training}

## Results

{results}
"""


def write_model_card(folder, model, processor, results, training, table=""):
    """Writes `README.md` of a model folder.

    Args:
        folder (`str` or `os.PathLike`): The saved model.
        model ([`VideoBertForPreTraining`]): The model.
        processor ([`VideoBertProcessor`]): Its processor.
        results (`dict[str, float]`): Measured figures; `verb_…` and `object_…` go into the card's metadata.
        training (`dict`): The training arguments worth telling.
        table (`str`, *optional*): The results as a markdown table, shown as they are.
    """
    name, config = Path(folder).name, model.config
    metrics = [
        EvalResult(
            task_type="zero-shot-classification",
            task_name="Zero-shot action classification",
            dataset_type="videobert",
            dataset_name="held-out videos",
            metric_type="accuracy",
            metric_name=key,
            metric_value=round(float(value), 4),
        )
        for key, value in results.items()
        if key in ("verb_top1", "verb_top5", "object_top1", "object_top5")
    ]
    card_data = ModelCardData(
        library_name="transformers",
        license="apache-2.0",
        language="en",
        pipeline_tag="fill-mask",
        tags=["videobert", "video", "video-text"],
        model_name=name,
        eval_results=metrics or None,
    )
    body = USAGE.format(
        name=name,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        words=processor.visual_token_offset,
        codebook=processor.codebook.summary(),
        asr_model=named(processor.asr_model) or "not told",
        backbone=named(processor.backbone) or "not told",
        clip_seconds=processor.video_processor.clip_seconds,
        fps=processor.video_processor.fps,
        training="\n".join(f"- {key}: {value}" for key, value in training.items()),
        results=table or "No held-out truth was given, so nothing was measured.",
    )
    ModelCard(f"---\n{card_data.to_yaml()}\n---\n\n{body}").save(Path(folder) / "README.md")
