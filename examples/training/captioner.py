"""Trains captioners with transformers' own Trainer, and what they must be compared with on the same pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import evaluate
import torch
from transformers import Trainer, TrainingArguments, set_seed

from modeling_videobert import VideoBertForCaptioning
from processing.evaluation import caption_steps, evaluate_captions, make_captions
from processing.training_data import CaptionData, caption_pairs

from .options import option

# A VideoBERT that is trained too moves by this part of the decoder's steps: it knows already what it sees.
ENCODER_RATE = 0.1
METRICS = ("cider_d", "bleu_coco", "rouge_l_coco", "meteor_approx")


def load_metrics() -> list:
    """What captions are scored by, from the folder of our metrics."""
    return [evaluate.load(str(Path(__file__).parents[1] / "metrics" / name)) for name in METRICS]


@dataclass
class CaptionOptions:
    """How captioners are trained."""

    max_steps: int = option(160, "optimiser steps")
    batch_size: int = option(32, "pairs of each process in a step")
    learning_rate: float = option(1e-3, "highest rate, reached after an eighth of the steps; from there it falls to 0")
    decoder_layers: int = option(2, "layers of the decoder")
    trailing_seconds: float = option(3.0, "clips after a sentence that belong to it too, as in pretraining")
    train_encoder: bool = option(False, "train the VideoBERT too, not the decoder alone")
    paper_features: bool = option(False, "the paper's way: the decoder reads one vector a video, of a masked template")
    raw_features: bool = option(False, "with --paper_features: join the mean centroid of the clips to it")
    seed: int = option(0, "of the order of the pairs and of dropout")

    def feature_size(self, videobert, processor) -> int | None:
        """Size of the vector that the decoder reads, if it reads one.

        Raises:
            ValueError: Raw features are asked for without the paper's.
        """
        if self.raw_features and not self.paper_features:
            raise ValueError("raw_features goes with paper_features, which it is joined to.")
        if not self.paper_features:
            return None
        raw = processor.codebook.centroids([0]).shape[1] if self.raw_features else 0
        return 2 * videobert.config.hidden_size + raw


def train_captioner(videobert, processor, pairs: Sequence, options: CaptionOptions, with_video: bool = True):
    """A captioner out of a VideoBERT.

    Args:
        videobert ([`VideoBertForPreTraining`]):
            What it starts from.
        processor ([`VideoBertProcessor`]):
            Its processor.
        pairs (`Sequence[Segment]`):
            What is seen and what is said, as of [`caption_pairs`].
        options ([`CaptionOptions`]):
            How it is trained.
        with_video (`bool`, *optional*, defaults to `True`):
            Whether it sees the videos.

    Returns:
        [`VideoBertForCaptioning`]: in evaluation mode.
    """
    set_seed(options.seed)
    feature_size = options.feature_size(videobert, processor)
    captioner = VideoBertForCaptioning.from_videobert(
        videobert,
        processor.tokenizer,
        options.decoder_layers,
        freeze_encoder=not options.train_encoder or feature_size is not None,
        feature_size=feature_size,
    )
    data = CaptionData(pairs, captioner, processor, with_video)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=options.max_steps,
            per_device_train_batch_size=options.batch_size,
            warmup_steps=options.max_steps // 8,
            save_strategy="no",
            logging_steps=max(1, options.max_steps // 8),
            report_to="none",
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            seed=options.seed,
        )
        Trainer(
            captioner,
            arguments,
            data_collator=data.collate,
            train_dataset=data,
            optimizers=(make_optimizer(captioner, options.learning_rate), None),
        ).train()
    return captioner.eval()


def make_optimizer(captioner, learning_rate: float) -> torch.optim.Optimizer:
    """Adam over what is not frozen, with a lower rate for the encoder."""
    encoder = [weight for weight in captioner.encoder.parameters() if weight.requires_grad]
    known = set(encoder)
    others = [weight for weight in captioner.parameters() if weight.requires_grad and weight not in known]
    groups = [{"params": others, "lr": learning_rate}, {"params": encoder, "lr": ENCODER_RATE * learning_rate}]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.01)


def caption_figures(
    videobert,
    processor,
    train_rows: Sequence[Mapping],
    rows: Sequence[Mapping],
    truth: Mapping[str, Sequence[Mapping]],
    metrics: Sequence,
    options: CaptionOptions | None = None,
    text_start=None,
    **generation,
) -> tuple[dict[str, float | int], dict]:
    """Trains a captioner and its control without video on some rows, and scores them on others.

    Args:
        videobert ([`VideoBertForPreTraining`]):
            What captioners start from.
        processor ([`VideoBertProcessor`]):
            Its processor.
        train_rows, rows (`Sequence[Mapping]`):
            Rows to learn from, and rows whose steps are captioned.
        truth (`Mapping[str, list[dict]]`):
            The steps by video id.
        metrics (`Sequence`):
            One of them gives `cider_d`; see [`score_captions`].
        options ([`CaptionOptions`], *optional*):
            How captioners are trained.
        text_start ([`VideoBertForPreTraining`], *optional*):
            A model that was not pretrained on video, for a captioner of its own.
        generation:
            Options of [`write_captions`].

    Returns:
        `tuple[dict, dict]`: The figures `caption_cider`, `caption_cider_nn`, `caption_cider_no_video`, … (mode micro)
        and `caption_steps`, `caption_steps_left_out`; and all `results`, the `captions`, the `steps` and the
        `captioner`.
    """
    options = options or CaptionOptions()
    steps, left_out = caption_steps(rows, truth)
    pairs = caption_pairs(train_rows, options.trailing_seconds)
    captioner = train_captioner(videobert, processor, pairs, options)
    no_video = train_captioner(videobert, processor, pairs, options, with_video=False)
    if text_start is not None:
        text_start = train_captioner(text_start, processor, pairs, options)
    captions = make_captions(captioner, processor, steps, pairs, no_video, text_start, **generation)
    results = evaluate_captions(captions, steps, metrics)
    figures = {f"caption_cider{name}": one["micro"]["cider_d"] for name, one in results.items()}
    figures |= {"caption_steps": len(steps), "caption_steps_left_out": left_out}
    return figures, {"results": results, "captions": captions, "steps": steps, "captioner": captioner}
