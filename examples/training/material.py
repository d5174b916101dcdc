"""What a run learns from: rows, the processor that made them, and the examples drawn from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets

from processing import VideoBertProcessor, VideoBertVideoProcessor, VisualCodebook, find_subtitles
from processing.corpus import (
    build_corpus,
    build_feature_corpus,
    check_rows,
    find_features,
    find_videos,
    held_out_ids,
    read_rows,
)
from processing.corpus.features import feature_subtitles
from processing.corpus.held import HeldVideo
from processing.evaluation import read_truth
from processing.training_data import REGIMES, AlignmentPairs, SegmentDataset, VideoBertDataCollator

from .options import ModelOptions, Options


@dataclass
class Material:
    """What is learned from.

    Args:
        train_rows, test_rows (`datasets.Dataset`):
            Rows to train on, and rows held out.
        processor ([`VideoBertProcessor`]):
            The one that made them.
        truth (`Mapping[str, list[dict]]`, *optional*):
            By video id the true steps, where they are known.
        videos (`Mapping[str, Path]`, *optional*):
            By video id the file, where it is at hand.
    """

    train_rows: datasets.Dataset
    test_rows: datasets.Dataset
    processor: VideoBertProcessor
    truth: Mapping[str, list[dict]] = field(default_factory=dict)
    videos: Mapping[str, Path] = field(default_factory=dict)


def gather_material(options: Options) -> Material:
    """Rows and processor from the source that the options name; for the kitchen it sets the text model."""
    if options.data.videos or options.data.corpus or options.data.features:
        return own_material(options)
    from kitchen.prepare import prepare_kitchen
    from kitchen.weights import weights_folder

    models = options.models
    models.text_model = models.text_model or str(weights_folder("bert-minilm-l6"))
    kitchen = prepare_kitchen(
        options.running.output_dir / "work",
        options.data.from_scratch,
        models.asr_model,
        models.backbone,
        models.text_model,
        dtype=models.backbone_dtype,
    )
    return Material(kitchen.train_rows, kitchen.test_rows, kitchen.processor, kitchen.truth, kitchen.videos)


def own_material(options: Options) -> Material:
    """The user's rows, or rows of the user's videos or features."""
    data = options.data
    videos = find_videos(data.videos) if data.videos else {}
    if data.corpus:
        processor, rows = VideoBertProcessor.from_pretrained(data.processor), read_rows(data.corpus)
        if data.codebook:
            processor.add_codebook(VisualCodebook.from_pretrained(data.codebook))
    else:
        processor = make_processor(options.models, data.codebook)
        folder, fitting = options.running.output_dir / "corpus", {"held_out_share": data.test_share}
        fitting |= {**asdict(options.tree), "seed": options.optimisation.seed}
        if data.features:
            sources, language = find_features(data.features), options.models.language
            processor.video_processor = VideoBertVideoProcessor(clip_seconds=data.clip_seconds)
            subtitles = subtitles_of(sources, options.models, feature_subtitles)
            rows = build_feature_corpus(sources, processor, folder, subtitles, language, **fitting)
        else:
            rows = build_corpus(videos, processor, folder, subtitles=subtitles_of(videos, options.models), **fitting)
        # The rows are of no use without it, should training be stopped.
        processor.save_pretrained(options.running.output_dir)
    check_rows(rows, processor)
    for row in rows.filter(lambda row: bool(row["error"])):
        print(f"damaged: {row['error']}", file=sys.stderr)
    good = rows.filter(lambda row: bool(row["sentences"] or row["visual_ids"]))
    held_out = held_out_ids(good["video_id"], data.test_share)
    train_rows = good.filter(lambda row: row["video_id"] not in held_out)
    if len(train_rows) < 2:
        raise ValueError(
            f"{len(good)} of {len(rows)} videos hold anything; 4 are the least, since a false pair takes another "
            "video, in training and held out."
        )
    test_rows = good.filter(lambda row: row["video_id"] in held_out)
    return Material(train_rows, test_rows, processor, read_truth(data.truth) if data.truth else {}, videos)


def make_processor(models: ModelOptions, codebook: Path | None = None) -> VideoBertProcessor:
    """A processor of the models that the options name; without a codebook, building the corpus fits one."""
    hearing = {"language": models.language, "task": models.asr_task, "engine": models.asr_engine}
    hearing = {name: value for name, value in hearing.items() if value is not None}
    looking = {"dtype": models.backbone_dtype, "batch_size": models.backbone_batch_size}
    return VideoBertProcessor.from_models(
        models.text_model,
        models.asr_model,
        models.backbone,
        codebook=VisualCodebook.from_pretrained(codebook) if codebook else None,
        asr_options=hearing or None,
        backbone_options=looking | {"compile": models.compile_backbone},
    )


def subtitles_of(videos: Mapping, models: ModelOptions, find: Callable | None = None):
    """What stands in subtitles, in the language that the recogniser would write; `None` where they are not wanted."""
    if models.subtitles == "none":
        return None
    source = None if models.subtitles in (None, "beside") else models.subtitles
    written = "en" if models.asr_task == "translate" else models.language or "en"
    held = {name: video for name, video in videos.items() if isinstance(video, HeldVideo)}
    files = {name: video for name, video in videos.items() if name not in held}
    if source is not None:  # by names, for beside what lies in a data set there are no files
        return (find or find_subtitles)({**files, **{name: Path(f"{name}.mp4") for name in held}}, source, written)
    told = {name: video.captions for name, video in held.items() if video.captions is not None}
    return told | (find or find_subtitles)(files, source, written)


def make_examples(options: Options, material: Material, config) -> tuple[SegmentDataset, SegmentDataset]:
    """Training examples, and held-out examples drawn in the same way, but for the full stops."""
    objectives, segments = options.objectives, options.segments
    chosen = {
        "mixture": dict(zip(REGIMES, objectives.mixture, strict=True)),
        "max_length": segments.max_length,
        "max_joined": segments.max_joined,
        "max_step": segments.max_step,
        "pairs": AlignmentPairs(
            objectives.alignment_share,
            objectives.twins,
            objectives.masked_pairs,
            objectives.same_video_share,
            objectives.false_candidates,
        ),
        "trailing_seconds": segments.trailing_seconds,
    }
    tokenizer, seed = material.processor.tokenizer, options.optimisation.seed
    train = SegmentDataset(material.train_rows, tokenizer, seed=seed, **chosen)
    # Figures are of what is said, as it is written.
    return train, SegmentDataset(material.test_rows, tokenizer, bare_share=0.0, seed=seed + 1, **chosen)


def make_collator(options: Options, material: Material, config) -> VideoBertDataCollator:
    """Masks examples and lays them out."""
    layout = options.running.layout
    return VideoBertDataCollator(
        material.processor.tokenizer,
        options.objectives.language_probability,
        options.objectives.vision_probability,
        config.joint_cloze,
        layout="padded" if layout == "grouped" else layout,
        future_probability=options.objectives.future_probability,
    )
