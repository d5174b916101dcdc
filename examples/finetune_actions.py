"""Teaches a trained VideoBERT to name actions by examples: `VideoBertForVideoClassification` on labelled steps.

On the demo's model, with the classes as verbs, objects, or both together:

    python examples/finetune_actions.py --model runs/kitchen --corpus runs/kitchen/rows/train.parquet \
        --test_corpus runs/kitchen/rows/held_out.parquet --truth runs/kitchen/rows/truth.jsonl \
        --label object --output_dir runs/kitchen_objects

On one's own model and a few labelled videos, all of which are to be learned from:

    python examples/finetune_actions.py --model runs/mine --corpus my_rows/ --truth my_steps.jsonl \
        --label verb --output_dir runs/my_verbs

The truth file is that of `classify_actions.py`. With `--push_to_hub --hub_model_id user/name` what was made goes to
the Hub at the end, with a card. What is saved holds model and processor:

    model = AutoModelForVideoClassification.from_pretrained("runs/my_verbs", trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained("runs/my_verbs", trust_remote_code=True)
    model.config.id2label[model(**processor(videos="film.mp4")).logits.argmax().item()]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from endings import end_in_a_sentence
from publishing.hub import claim_repository, publish_what_was_made
from training.options import HubOptions
from transformers import HfArgumentParser, Trainer, TrainingArguments, set_seed

from modeling_videobert import VideoBertForVideoClassification
from processing import VideoBertProcessor
from processing.corpus import check_rows, read_rows
from processing.corpus.counts import count_rows
from processing.evaluation import read_truth, step_segments
from processing.evaluation.actions import TOPS, share_within
from processing.evaluation.controls import MISS, frequency_ranks, rank_words, token_probe_ranks
from processing.evaluation.tables import classes_table


def parse_arguments() -> argparse.Namespace:
    parser = HfArgumentParser(HubOptions, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
    parser.add_argument("--corpus", type=Path, required=True, help="rows of the videos to learn from")
    parser.add_argument("--truth", type=Path, required=True, help="the steps of all videos, one JSON object a line")
    parser.add_argument("--test_corpus", type=Path, help="rows of other videos, to measure what was learned")
    parser.add_argument("--label", choices=("verb", "object", "pair"), default="verb", help="what the classes are")
    parser.add_argument("--output_dir", type=Path, required=True, help="where model, processor and figures go")
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_segments(corpus: Path, truth: Path, processor: VideoBertProcessor) -> list[dict]:
    """The labelled steps of rows, which also have their `pair`."""
    rows = read_rows(corpus)
    check_rows(rows, processor)
    segments = step_segments(rows, read_truth(truth))
    if not segments:
        raise ValueError(f"No video id of {truth} is among the rows of {corpus}; allowed is at least one.")
    return [{**one, "pair": f"{one['verb']} {one['object']}"} for one in segments]


class Collator:
    """Steps to a batch: visual tokens alone, and the classes where they are known."""

    def __init__(self, processor: VideoBertProcessor, label: str, classes: Sequence[str], max_length: int):
        self.processor, self.label, self.max_length = processor, label, max_length
        self.numbers = {name: number for number, name in enumerate(classes)}

    def __call__(self, segments: Sequence[Mapping]) -> dict[str, torch.Tensor]:
        batch = self.processor(videos=[one["visual_ids"] for one in segments], max_length=self.max_length)
        # What was never learned has no number; its loss is not asked for.
        return {**batch, "labels": torch.tensor([self.numbers.get(one[self.label], 0) for one in segments])}


def rank_classes(trainer: Trainer, test: Sequence[Mapping], collator: Collator) -> np.ndarray:
    """The rank of each true class among the model's, 1 for the best."""
    logits = torch.from_numpy(trainer.predict(test).predictions)
    numbers = [collator.numbers.get(one[collator.label]) for one in test]
    ranks = rank_words(logits, torch.tensor([number or 0 for number in numbers])).double()
    return np.where([number is None for number in numbers], MISS, ranks)


def figures_of(ranks: Mapping[str, np.ndarray], num_classes: int) -> dict[str, float]:
    """Shares and standard errors of each way to answer."""
    figures = {f"top{top}_chance": min(1.0, top / num_classes) for top in TOPS}
    for name, found in ranks.items():
        for top in TOPS:
            figures[f"top{top}{name}"], figures[f"top{top}{name}_se"] = share_within(found, top)
    return figures


def describe_training(args: argparse.Namespace, model: VideoBertForVideoClassification) -> dict:
    """What a card tells of how a model was trained, and on what."""
    options = {name: getattr(args, name) for name in ("label", "epochs", "batch_size", "learning_rate", "seed")}
    told = {"options": options, "train": count_rows(read_rows(args.corpus)), "weights": model.weights_fingerprint()}
    if args.test_corpus:
        told |= {"held_out": count_rows(read_rows(args.test_corpus)), "split": "rows that were given apart"}
    return told


def main() -> None:
    args = parse_arguments()
    set_seed(args.seed)
    repo_id = claim_repository(args, args.output_dir, "model")
    processor = VideoBertProcessor.from_pretrained(args.model)
    train = read_segments(args.corpus, args.truth, processor)
    seen = [one for one in train if one["visual_ids"]]
    classes = sorted({one[args.label] for one in seen})
    if len(classes) < 2:
        raise ValueError(f"The steps of {args.corpus} show {len(classes)} classes {classes}; allowed is at least 2.")
    names = dict(enumerate(classes))
    model = VideoBertForVideoClassification.from_pretrained(
        args.model, id2label=names, label2id={name: number for number, name in names.items()}
    )
    collator = Collator(processor, args.label, classes, model.config.max_position_embeddings)
    options = TrainingArguments(
        output_dir=args.output_dir,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup_steps=0.1,  # of all steps
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        remove_unused_columns=False,
        seed=args.seed,
    )
    trainer = Trainer(model, options, data_collator=collator, train_dataset=seen)
    trainer.train()
    model.save_pretrained(args.output_dir)
    processor.save_pretrained(args.output_dir)
    told = describe_training(args, model)
    (args.output_dir / "training.json").write_text(json.dumps(told, indent=2) + "\n")
    (args.output_dir / "actions.json").unlink(missing_ok=True)  # of a model that lay here before
    print(f"learned {len(classes)} classes from {len(seen)} steps; saved in {args.output_dir}")
    if args.test_corpus:
        test = read_segments(args.test_corpus, args.truth, processor)
        ranks = {
            "": rank_classes(trainer, test, collator),
            "_prior": frequency_ranks(train, test, args.label),
            "_token_probe": token_probe_ranks(train, test, args.label),
        }
        figures = {"label": args.label, "num_segments": len(test), **figures_of(ranks, len(classes))}
        print(classes_table(figures))
        (args.output_dir / "actions.json").write_text(json.dumps(figures, indent=2) + "\n")
    publish_what_was_made("model", args.output_dir, repo_id)


if __name__ == "__main__":
    with end_in_a_sentence("Run the same command again; it begins anew."):
        main()
