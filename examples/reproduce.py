"""Published protocols, one command each: from the public annotation files to the paper's table, beside its numbers.

YouCook II, zero-shot verbs and objects (paper, section 4.4), on whatever is left of the data: a folder of videos, of
features (`.npy`, `.h5`, …) or of frames (with `index.jsonl`), rows that were built before, or a Hub data set of rows:

    python examples/reproduce.py youcook2 --annotations youcookii_annotations_trainval.json --data youcook2/ \\
        --model runs/mine --objects yc2bb_class_file.csv --output runs/youcook2

With `--labels cpe_reviewed_0812.csv` verbs and objects are those that people wrote down for spoken sentences, instead
of words of the captions. CrossTask and COIN, steps named by zero-shot phrases; in CrossTask they are also found:

    python examples/reproduce.py crosstask --annotations crosstask_release/ --data crosstask_features/ \\
        --model runs/mine --output runs/crosstask
    python examples/reproduce.py coin --annotations COIN.json --data coin/ --model runs/mine --output runs/coin

Features must be those that the model's codebook was fitted on. Videos of the training part that are there train the
row that is supervised on the same tokens. The output folder gets `results.json`, `table.md`, and `missing.jsonl` with
every video that was to be tested and is not there; run again, what was seen once is not looked at again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from endings import end_in_a_sentence

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.evaluation.phrases import evaluate_phrases
from processing.evaluation.protocols import (
    CAVEATS,
    PUBLISHED,
    Source,
    evaluate_named_steps,
    gather_source,
    label_captions,
    localise_steps,
    protocol_table,
    read_coin,
    read_crosstask,
    read_object_classes,
    read_reviewed,
    read_youcook2,
    write_missing,
)

TESTED, TRAINED = "validation", "training"
ACTION_COLUMNS = ("verb_top1", "verb_top5", "object_top1", "object_top5")
STEP_COLUMNS = ("step_top1", "step_top5", "own_task_top1")


def part_of(steps: Sequence[dict], subset: str) -> list[dict]:
    return [step for step in steps if step["subset"] == subset]


def read_youcook2_actions(args) -> tuple[list[dict], None]:
    """Steps with verb and object."""
    steps = read_youcook2(args.annotations)
    if args.labels:
        return read_reviewed(args.labels, {step["video_id"]: step["subset"] for step in steps}), None
    return label_captions(steps, read_object_classes(args.objects) if args.objects else None), None


def measure_actions(model, processor, source: Source, phrases, batch_size: int) -> dict:
    labelled = [step for step in source.segments if step["verb"] and step["object"]]
    tested, trained = part_of(labelled, TESTED), part_of(labelled, TRAINED)
    unlabelled = len(part_of(source.segments, TESTED)) - len(tested)
    return evaluate_named_steps(model, processor, tested, trained, batch_size) | {"num_unlabelled": unlabelled}


def measure_steps(model, processor, source: Source, phrases, batch_size: int) -> dict:
    tested, trained = part_of(source.segments, TESTED), part_of(source.segments, TRAINED)
    return evaluate_phrases(model, processor, tested, phrases, trained, batch_size)


def measure_crosstask(model, processor, source: Source, phrases, batch_size: int) -> dict:
    figures = measure_steps(model, processor, source, phrases, batch_size)
    if not source.rows:  # of frames alone nothing can be found in time
        return figures
    return figures | localise_steps(
        model, processor, source.rows, part_of(source.segments, TESTED), phrases, batch_size
    )


# By protocol and mode: what reads the annotations, what gives the figures, and the columns of the table. A mode that
# is added here (captions, retrieval) finds its published rows in PUBLISHED under "PROTOCOL MODE".
MODES: dict[str, dict[str, tuple[Callable, Callable, Sequence[str]]]] = {
    "youcook2": {"actions": (read_youcook2_actions, measure_actions, ACTION_COLUMNS)},
    "crosstask": {
        "steps": (lambda args: read_crosstask(args.annotations), measure_crosstask, (*STEP_COLUMNS, "average_recall"))
    },
    "coin": {"steps": (lambda args: read_coin(args.annotations), measure_steps, STEP_COLUMNS)},
}


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    protocols = parser.add_subparsers(dest="protocol", required=True)
    for name, modes in MODES.items():
        protocol = protocols.add_parser(name)
        protocol.add_argument("--mode", choices=modes, default=next(iter(modes)), help="what is measured")
        protocol.add_argument("--annotations", type=Path, required=True, help="the public file, or CrossTask's folder")
        protocol.add_argument("--data", required=True, help="folder of videos, features, frames or rows, or a Hub id")
        protocol.add_argument("--split", help="of a Hub data set; default: all")
        protocol.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
        protocol.add_argument("--output", type=Path, required=True, help="folder of the results")
        protocol.add_argument("--batch_size", type=int, default=32)
        if name == "youcook2":
            protocol.add_argument("--objects", type=Path, help="classes of objects; default: the commonest nouns")
            protocol.add_argument("--labels", type=Path, help="verbs and objects that people wrote down")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_arguments(arguments)
    read, measure, columns = MODES[args.protocol][args.mode]
    steps, phrases = read(args)
    model = VideoBertForPreTraining.from_pretrained(args.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    processor = VideoBertProcessor.from_pretrained(args.model)
    source = gather_source(args.data, processor, steps, args.output / "work", args.split)

    asked = part_of(steps, TESTED)
    there = {step["video_id"] for step in part_of(source.segments, TESTED)}
    expected = {step["video_id"] for step in asked}
    missing = {video_id: reason for video_id, reason in source.missing.items() if video_id in expected}
    if not there:
        first = "".join(f" The first, {video_id}: {reason}." for video_id, reason in list(missing.items())[:1])
        raise ValueError(f"None of {len(expected)} videos to test on is there.{first}")
    figures = measure(model, processor, source, phrases, args.batch_size)
    name = f"{args.protocol} {args.mode}"
    published = PUBLISHED[name]
    table = protocol_table(figures, columns, published)
    heading = (
        f"{args.protocol}, {args.mode}: {figures['num_segments']} steps of {len(there)} videos, of {len(asked)} steps "
        f"of {len(expected)} videos in the annotations; {len(missing)} videos are missing. In per cent, with 95 % "
        f"intervals over videos; published rows are on the videos that their authors had. {CAVEATS[name]}"
    )
    args.output.mkdir(parents=True, exist_ok=True)
    write_missing(missing, args.output / "missing.jsonl")
    (args.output / "table.md").write_text(f"{heading}\n\n{table}\n", encoding="utf-8")
    results = {
        "protocol": args.protocol,
        "mode": args.mode,
        "figures": figures,
        "num_videos": len(there),
        "num_steps_annotated": len(asked),
        "num_videos_annotated": len(expected),
        "missing": missing,
        "published": [row._asdict() for row in published],
    }
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"{heading}\n\n{table}\n\nwritten to {args.output}")
    return results


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
