"""The embedded default of `pretrain.py`: rows of a narrated kitchen, its truth and a processor.

    python examples/kitchen/prepare.py --output runs/kitchen/work                   # what `make demo` trains on
    python examples/kitchen/prepare.py --output runs/kitchen/work --from_scratch    # every video made anew
    python examples/kitchen/prepare.py --output runs/kept --keep --dtype bfloat16   # how kitchen/kept/ was made

An hour of kitchen costs about an hour of CPU from drawing to visual ids. So the rows of a larger kitchen, made once
by the last command, are kept beside this file with the codebook that was fitted on them; by default only a few fresh
videos, which the codebook has never seen, go through the whole way.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, concatenate_datasets

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endings import end_in_a_sentence

from kitchen.generate import generate
from kitchen.weights import weights_folder
from processing import VideoBertProcessor, VisualCodebook
from processing.corpus import build_corpus, check_rows, find_videos, read_rows

KEPT = Path(__file__).with_name("kept")
# Videos by split. The kept ones and the fresh ones differ in their seed.
KEPT_VIDEOS, KEPT_SEED = {"train": 200, "test": 60}, 0
FRESH_VIDEOS, FRESH_SEED = {"train": 12, "test": 8}, 1
# More leaves than verb-object pairs, few enough that each is seen often in three thousand clips.
LEVELS, BRANCHES = 2, 16


@dataclass
class Kitchen:
    """What the embedded default trains and evaluates on.

    Args:
        train_rows, test_rows ([`datasets.Dataset`]):
            One row a video.
        truth (`dict[str, list[dict]]`):
            By video id its steps, `{"verb", "object", "start", "end"}`; only evaluation reads it.
        processor ([`VideoBertProcessor`]):
            With the codebook of the rows.
        videos (`dict[str, pathlib.Path]`):
            By video id the file, where it was made on this machine.
    """

    train_rows: Dataset
    test_rows: Dataset
    truth: dict
    processor: VideoBertProcessor
    videos: dict


def make_videos(folder, counts, seed, workers):
    """Draws and narrates the videos of both splits, unless they are there already; the lines of truth of all."""
    lines = []
    for split, count in counts.items():
        truth = folder / split / "truth.jsonl"
        made = read_lines(truth) if truth.exists() else []
        if len(made) != count:
            made = generate(folder / split, count, seed=seed, split=split, workers=workers)
        lines += made
    return lines


def prepare_kitchen(
    work_dir, from_scratch=False, asr_model=None, backbone=None, text_model=None, workers=2, dtype="float32"
):
    """Makes, tokenises and joins what the embedded default needs.

    Args:
        work_dir (`str` or `os.PathLike`):
            Gets the videos and their features; run again, it goes on where it stopped.
        from_scratch (`bool`, defaults to `False`):
            Make all videos and fit the codebook anew, instead of adding a few to the kept rows.
        asr_model, backbone, text_model (`str`, *optional*):
            Hub ids or folders; by default the packaged weights. The kept rows belong to the packaged backbone, so
            another one needs `from_scratch`.
        workers (`int`, defaults to 2):
            Videos made at once.
        dtype (`str`, defaults to `"float32"`):
            Precision of the video network; `"bfloat16"` is several times faster on processors made for it.

    Returns:
        [`Kitchen`]: Rows, truth, processor and the videos of this machine.

    Raises:
        `ValueError`: Another backbone than the kept rows', without `from_scratch`.
    """
    if backbone is not None and not from_scratch:
        raise ValueError(
            f"The kept kitchen was tokenised with the packaged I3D; the backbone {backbone} needs --from_scratch."
        )
    work_dir = Path(work_dir)
    counts, seed = (KEPT_VIDEOS, KEPT_SEED) if from_scratch else (FRESH_VIDEOS, FRESH_SEED)
    processor = VideoBertProcessor.from_models(
        str(text_model or weights_folder("bert-minilm-l6")),
        str(asr_model or weights_folder("whisper-tiny.en")),
        str(backbone or weights_folder("i3d-kinetics400")),
        codebook=None if from_scratch else VisualCodebook.from_pretrained(KEPT / "codebook"),
        backbone_options={"dtype": dtype},
    )
    work_dir = work_dir / f"seed_{seed}"
    lines = make_videos(work_dir / "videos", counts, seed, workers)
    videos, rows = {}, {}
    for split in counts:  # train first: the codebook never sees a held-out video
        found = find_videos(work_dir / "videos" / split)
        rows[split] = build_corpus(found, processor, work_dir / "corpus" / split, levels=LEVELS, branches=BRANCHES)
        videos.update(found)
    if not from_scratch:
        kept = {split: read_rows(KEPT / f"{split}.parquet") for split in rows}
        rows = {split: concatenate_datasets([kept[split], rows[split]]) for split in rows}
        lines += read_lines(KEPT / "truth.jsonl")
    for split in rows:
        check_rows(rows[split], processor)
    return Kitchen(rows["train"], rows["test"], {line["video_id"]: line["steps"] for line in lines}, processor, videos)


def keep(kitchen, work_dir):
    """Puts rows, truth and codebook of a kitchen made from scratch in the place that the default reads."""
    shutil.rmtree(KEPT, ignore_errors=True)
    kitchen.processor.codebook.save_pretrained(KEPT / "codebook")
    kitchen.train_rows.to_parquet(KEPT / "train.parquet")
    kitchen.test_rows.to_parquet(KEPT / "test.parquet")
    with open(KEPT / "truth.jsonl", "w", encoding="utf-8") as file:
        for split in KEPT_VIDEOS:
            file.write(
                (Path(work_dir) / f"seed_{KEPT_SEED}" / "videos" / split / "truth.jsonl").read_text(encoding="utf-8")
            )


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--from_scratch", action="store_true", help="make and tokenise every video anew")
    parser.add_argument("--keep", action="store_true", help="from scratch, and replace the kept rows and codebook")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dtype", default="float32", help="precision of the video network")
    args = parser.parse_args()
    kitchen = prepare_kitchen(args.output, args.from_scratch or args.keep, workers=args.workers, dtype=args.dtype)
    if args.keep:
        keep(kitchen, args.output)
    print(f"{len(kitchen.train_rows)} videos to train on, {len(kitchen.test_rows)} held out")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
