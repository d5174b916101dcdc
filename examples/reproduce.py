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

Captions of YouCook II, learned from the training steps that are there and scored in its three ways, and retrieval, the
clip to each sentence:

    python examples/reproduce.py youcook2 --mode captions --annotations youcookii_annotations_trainval.json \\
        --data youcook2/ --model runs/mine --output runs/youcook2_captions
    python examples/reproduce.py youcook2 --mode retrieval --annotations youcookii_annotations_trainval.json \\
        --data youcook2/ --model runs/mine --output runs/youcook2_retrieval

Features must be those that the model's codebook was fitted on. Videos of the training part that are there train the
row that is supervised on the same tokens. The output folder gets `results.json`, `table.md`, and `missing.jsonl` with
every video that was to be tested and is not there; run again, what was seen once is not looked at again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from endings import end_in_a_sentence
from training.captioner import CaptionOptions, load_metrics, train_captioner

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.evaluation import actions, captions, evaluate_captions, make_captions
from processing.evaluation.phrases import evaluate_phrases
from processing.evaluation.protocols import (
    CAVEATS,
    PUBLISHED,
    Source,
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
from processing.search import figures as search
from processing.training_data.segments import Segment

TESTED, TRAINED = "validation", "training"
ACTION_COLUMNS = ("verb_top1", "verb_top5", "object_top1", "object_top5")
STEP_COLUMNS = ("step_top1", "step_top5", "own_task_top1")
# By published column our figure's name.
CAPTION_COLUMNS = {"bleu3": "bleu_3", "bleu4": "bleu_4", "meteor": "meteor_approx", "cider": "cider_d"}
RETRIEVAL_COLUMNS = ("r1", "r5", "r10", "median_rank")


def part_of(steps: Sequence[dict], subset: str) -> list[dict]:
    return [step for step in steps if step["subset"] == subset]


def read_youcook2_actions(args) -> tuple[list[dict], None]:
    """Steps with verb and object."""
    steps = read_youcook2(args.annotations)
    if args.labels:
        return read_reviewed(args.labels, {step["video_id"]: step["subset"] for step in steps}), None
    return label_captions(steps, read_object_classes(args.objects) if args.objects else None), None


def read_captions(args) -> tuple[list[dict], None]:
    """Steps with the sentence that people wrote."""
    return read_youcook2(args.annotations), None


def measure_actions(model, processor, source: Source, phrases, args) -> dict:
    labelled = [step for step in source.segments if step["verb"] and step["object"]]
    tested, trained = part_of(labelled, TESTED), part_of(labelled, TRAINED)
    unlabelled = len(part_of(source.segments, TESTED)) - len(tested)
    return actions.evaluate_actions(model, processor, tested, args.batch_size, trained) | {
        "num_unlabelled": unlabelled
    }


def measure_captions(model, processor, source: Source, phrases, args) -> dict:
    """By way of putting captions together the figures: what learns, learns from the training steps."""
    shown = [step for step in source.segments if step["visual_ids"] and step["sentence"]]
    steps = [{**step, "references": [step["sentence"]]} for step in part_of(shown, TESTED)]
    pairs = [
        Segment(step["video_id"], step["sentence"], tuple(step["visual_ids"]), step["start"], step["end"])
        for step in part_of(shown, TRAINED)
    ]
    for name, some in ((TESTED, steps), (TRAINED, pairs)):
        if not some:
            raise ValueError(
                f"No step of the {name} videos that are there has clips and a sentence; captions need some."
            )
    layers = min(CaptionOptions.decoder_layers, model.config.num_hidden_layers)
    options = CaptionOptions(max_steps=args.max_steps, decoder_layers=layers)
    captioner, no_video = (train_captioner(model, processor, pairs, options, sees) for sees in (True, False))
    written = make_captions(captioner, processor, steps, pairs, no_video, batch_size=args.batch_size)
    results = evaluate_captions(written, steps, load_metrics())
    return {"num_segments": len(steps), "num_training_segments": len(pairs)} | {
        mode: {
            f"{column}{condition}": result[mode][name]
            for condition, result in results.items()
            for column, name in CAPTION_COLUMNS.items()
        }
        for mode in captions.MODES
    }


def measure_retrieval(model, processor, source: Source, phrases, args) -> dict:
    return search.step_retrieval_figures(model, processor, part_of(source.segments, TESTED))


def measure_steps(model, processor, source: Source, phrases, args) -> dict:
    tested, trained = part_of(source.segments, TESTED), part_of(source.segments, TRAINED)
    return evaluate_phrases(model, processor, tested, phrases, trained, args.batch_size)


def measure_crosstask(model, processor, source: Source, phrases, args) -> dict:
    figures = measure_steps(model, processor, source, phrases, args)
    if not source.rows:  # of frames alone nothing can be found in time
        return figures
    return figures | localise_steps(
        model, processor, source.rows, part_of(source.segments, TESTED), phrases, args.batch_size
    )


class Mode(NamedTuple):
    """What is measured: published rows are in `PUBLISHED` under "PROTOCOL MODE", or "PROTOCOL MODE TABLE".

    Args:
        read (`Callable`):
            What reads the annotations: steps, and phrases or `None`.
        measure (`Callable`):
            What gives the figures; of several tables, those of each under its name.
        columns (`Collection[str]`):
            Of each table.
        conditions (`Mapping[str, str]`):
            Our lines of it.
        tables (`Sequence[str]`):
            Names of the tables, where there is more than one.
    """

    read: Callable
    measure: Callable
    columns: Collection[str]
    conditions: Mapping[str, str] = actions.CONDITIONS
    tables: Sequence[str] = ("",)


MODES: dict[str, dict[str, Mode]] = {
    "youcook2": {
        "actions": Mode(read_youcook2_actions, measure_actions, ACTION_COLUMNS),
        "captions": Mode(read_captions, measure_captions, CAPTION_COLUMNS, captions.CONDITIONS, captions.MODES),
        "retrieval": Mode(read_captions, measure_retrieval, RETRIEVAL_COLUMNS, search.CONDITIONS),
    },
    "crosstask": {
        "steps": Mode(
            lambda args: read_crosstask(args.annotations), measure_crosstask, (*STEP_COLUMNS, "average_recall")
        )
    },
    "coin": {"steps": Mode(lambda args: read_coin(args.annotations), measure_steps, STEP_COLUMNS)},
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
            protocol.add_argument(
                "--max_steps", type=int, default=CaptionOptions.max_steps, help="in which a captioner learns"
            )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_arguments(arguments)
    mode = MODES[args.protocol][args.mode]
    steps, phrases = mode.read(args)
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
    unseen = [step for step in part_of(source.segments, TESTED) if not step["visual_ids"]]
    if unseen:
        print(
            f"{len(unseen)} steps have no clip, such as {unseen[0]['sentence']!r} of {unseen[0]['video_id']}, "
            f"{unseen[0]['start']:g} to {unseen[0]['end']:g} s: too short, or outside the video.",
            file=sys.stderr,
        )
    figures, name = mode.measure(model, processor, source, phrases, args), f"{args.protocol} {args.mode}"
    published = {table: PUBLISHED[f"{name} {table}".strip()] for table in mode.tables}
    table = "\n\n".join(
        (f"{table}:\n\n" if table else "")
        + protocol_table(figures[table] if table else figures, mode.columns, rows, mode.conditions)
        for table, rows in published.items()
    )
    heading = (
        f"{args.protocol}, {args.mode}: {figures['num_segments']} steps of {len(there)} videos, of {len(asked)} steps "
        f"of {len(expected)} videos in the annotations; {len(missing)} videos are missing. In per cent, with 95 % "
        f"intervals over videos where there are any; published rows are on the videos that their authors had. "
        f"{CAVEATS[name]}"
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
        "num_steps_without_clips": len(unseen),
        "missing": missing,
        "published": [row._asdict() for rows in published.values() for row in rows],
    }
    (args.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"{heading}\n\n{table}\n\nwritten to {args.output}")
    return results


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
