"""Fit a codebook on shards of features, look at it, and write visual ids.

From the features that a corpus was described with, the paper's 4 x 12, with a report and a picture of every leaf:

    python examples/fit_codebook.py --features runs/mine/corpus/features --output runs/codebook \
        --report runs/codebook/report --videos my_videos/ --frames

The report also says how many visual ids survive where videos are encoded anew, cropped, or have another frame rate or
resolution, here of 20 videos of the folder; the codebook keeps it for its card:

    python examples/fit_codebook.py --features runs/mine/corpus/features --output runs/codebook \
        --report runs/codebook/report --videos my_videos/ --robustness_videos 20 --processor runs/mine

To the Hub at the end, with its frames and its card; that it may is found out first:

    python examples/fit_codebook.py --features runs/mine/corpus/features --output runs/codebook --push_to_hub \
        --hub_model_id user/codebook

On several processes or machines, the same result; run again, a killed fit goes on where it stopped:

    accelerate launch --num_processes 8 examples/fit_codebook.py --features /data/features --output runs/codebook

On CPUs, where `accelerate launch --cpu --num_processes 2` silently runs one process:

    ACCELERATE_USE_CPU=true python -m torch.distributed.run --nproc_per_node 2 examples/fit_codebook.py \
        --features /data/features --output runs/codebook

Two visual ids a clip instead of one, the second for what the first leaves of its feature; where few of them must
stand for much, four of 32 say more of a clip than one of 64:

    python examples/fit_codebook.py --features runs/mine/corpus/features --residual_codes 2 --levels 1 --branches 64 \
        --output runs/two --ids runs/two/ids

The same videos with other tokens, without describing them again: rows with new ids, and a training run with them,
whose held-out videos this fit has not seen either, as long as `--test_share` is the same:

    python examples/fit_codebook.py --features runs/mine/corpus/features --levels 2 --branches 16 --output runs/small \
        --ids runs/small/ids
    accelerate launch examples/pretrain.py --corpus runs/small/ids --processor runs/mine --codebook runs/small \
        --output_dir runs/small_model
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator, PartialState
from datasets import Dataset
from transformers import HfArgumentParser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endings import end_in_a_sentence
from pictures.codebook import middle_frames, plot_gallery, plot_report
from publishing.hub import claim_repository, publish_what_was_made
from training.options import HubOptions, TreeOptions

from processing import VideoBertProcessor
from processing.card_videobert import told_survival
from processing.codebook import check_record, codebook_report, fit_codebook, load_codebook, surviving_ids
from processing.codebook.feature_shards import FeatureShards, find_shards, read_shard, rows_by_video
from processing.codebook.report import nearest_clips
from processing.codebook.saving import is_saved, save_codebook
from processing.codebook_videobert import VisualCodebook, VisualCodebookConfig
from processing.corpus import find_videos
from processing.corpus.ids import write_ids
from processing.corpus.rows import shared_value
from processing.corpus.settings import read_settings
from processing.corpus.split import rows_to_fit
from processing.names_videobert import public_name

TREES = (*(one.name for one in fields(TreeOptions)), "normalize", "whiten")  # options of the fit
FRAME_SIZE = 48
COLUMNS, LINES = 6, 10  # of the gallery


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    groups = (TreeOptions, HubOptions)
    parser = HfArgumentParser(groups, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    switch = argparse.BooleanOptionalAction
    # The fit
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="Parquet shards, or folders of them")
    parser.add_argument("--output", type=Path, required=True, help="folder of the codebook")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--test_share", type=float, default=0.1, help="of the videos, which the fit does not see: as in training"
    )
    parser.add_argument("--normalize", action=switch, default=True, help="centre features and scale to unit length")
    parser.add_argument("--whiten", action=switch, default=False, help="decorrelate features first")
    parser.add_argument("--backbone", help="the features' network, for the record; by default what the shards say")
    parser.add_argument("--memory", type=float, default=0.5, help="GB of features held at once")
    # What to make with it
    parser.add_argument("--ids", type=Path, help="folder for shards with visual ids in the place of features")
    parser.add_argument(
        "--report", type=Path, help="folder for report.json, report.png and, with --videos, gallery.png"
    )
    parser.add_argument(
        "--report_clips", type=int, help="clips, drawn at random, that it measures; 2 a leaf by default"
    )
    parser.add_argument("--videos", type=Path, help="folder of the videos that the features are of")
    parser.add_argument("--tokens", type=int, nargs="+", help="visual ids in the gallery; by default some common ones")
    parser.add_argument("--frames", action=switch, default=False, help="keep a small frame of every leaf; --videos")
    parser.add_argument(
        "--robustness_videos", type=int, default=0, help="so many are altered, to see how many visual ids survive"
    )
    parser.add_argument("--processor", help="folder or Hub id of the processor that described --videos, to look again")
    options = parser.parse_args(arguments)
    if options.robustness_videos < 0:
        parser.error(f"--robustness_videos is {options.robustness_videos}; it must be 0 or more")
    if options.robustness_videos and not (options.report and options.videos and options.processor):
        parser.error("--robustness_videos needs --report, --videos and --processor, whose network looks at them")
    if (options.frames or options.tokens) and options.videos is None:
        parser.error("--frames and --tokens need --videos, the folder of the videos that the features are of")
    if options.videos and not (options.report or options.frames):
        parser.error("--videos are looked at for --report, --frames or both; neither is asked for")
    return options


def open_features(shards: list[Path], test_share: float) -> tuple[FeatureShards, dict[str, int] | None]:
    """The features to fit, and by video id the numbers of all rows that get ids.

    Of videos that were tried again it is the row that counts, and none that is held out is fitted. Shards that do not
    say which videos they are of are read whole.
    """
    rows = rows_by_video(shards)
    if rows is None:
        return FeatureShards(shards), None
    clip_seconds_of(shards)
    fitted = rows_to_fit(shards, rows, test_share or None)
    return FeatureShards(shards, rows=list(fitted.values())), rows


def clip_seconds_of(shards: list[Path]) -> float:
    """Seconds of a clip, as the rows say it, in which all of them must agree."""
    rows = [read_shard(path, ["video_id", "clip_seconds"]) for path in find_shards(shards)]
    return shared_value(Dataset(pa.concat_tables(rows, promote_options="default")), "clip_seconds")


def fit(options: argparse.Namespace, source: FeatureShards, output: Path, seed: int) -> VisualCodebook:
    """The codebook in a folder, fitted if it is not there yet. Every process calls this, one of them writes."""
    record = {name: getattr(options, name) for name in TREES}
    record |= {"seed": seed, "held_out_share": options.test_share or None, "features": source.signature()}
    if is_saved(output):
        check_record(output, record)
    else:
        codebook = fit_codebook(
            source,
            **{name: getattr(options, name) for name in TREES},
            seed=seed,
            backbone=options.backbone or described_by(source),
            memory=int(options.memory * 2**30),
            progress=PartialState().is_main_process,
            state_dir=output / "unfinished",
        )
        if PartialState().is_main_process:
            save_codebook(codebook, output, record)
            shutil.rmtree(output / "unfinished")
        PartialState().wait_for_everyone()
    return load_codebook(output)


def described_by(source: FeatureShards) -> str | None:
    """The features' backbone, without this machine's folders."""
    backbone = read_settings(source.paths[0].parent).get("backbone")
    return public_name(backbone) if backbone else None


def find_altered(options: argparse.Namespace, source: FeatureShards, rows: dict | None) -> tuple[dict, Callable]:
    """Some of the videos that the features are of, and what looks at them as it was done before."""
    processor = VideoBertProcessor.from_pretrained(options.processor)
    here, then = public_name(processor.backbone), described_by(source)
    if here is None or here != (then or here):
        raise ValueError(f"The processor {options.processor} looks with {here}; the features are of {then}.")
    seconds = processor.video_processor.clip_seconds, clip_seconds_of(options.features)
    if seconds[0] != seconds[1]:
        raise ValueError(
            f"Clips of {options.processor} are {seconds[0]} s long, those of the features {seconds[1]} s."
        )
    videos = {name: path for name, path in find_videos(options.videos).items() if name in (rows or {})}
    if not videos:
        raise ValueError(f"{options.videos} holds none of the videos that the features are of.")
    order = np.random.default_rng(options.seed).permutation(sorted(videos))
    return {name: videos[name] for name in order[: options.robustness_videos].tolist()}, processor.features


def report(
    codebook: VisualCodebook,
    other: VisualCodebook,
    source: FeatureShards,
    options: argparse.Namespace,
    altered: tuple[dict, Callable] | None = None,
) -> None:
    """Writes the figures and their picture; the codebook keeps how robust its ids are."""
    sizes = source.sizes()
    total, leaves = sum(sizes), codebook.one_code().codebook_size
    spare = leaves if total >= 2 * leaves else 0  # for the random codebook
    measured = min(total - spare, options.report_clips or max(20_000, 2 * leaves))
    rows = np.random.default_rng(options.seed).choice(total, measured + spare, replace=False)
    features, others = (
        torch.cat([*source.take(np.sort(part), sizes), torch.empty(0, source.feature_size)])
        for part in (rows[:measured], rows[measured:])
    )
    figures = codebook_report(codebook, features, other, options.seed, others)
    if altered:
        figures["robustness"] = found = surviving_ids(codebook, *altered)
        for video_id, error in found["errors"].items():
            print(f"not altered: {video_id}: {error}", file=sys.stderr)
        codebook.config.robustness = {name: value for name, value in found.items() if name != "errors"}
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "report.json").write_text(json.dumps(figures, indent=2) + "\n")
    plot_report(figures, options.report / "report.png")
    for name, value in figures.items():
        if name != "robustness":
            print(f"{name:22}{value}")
    if altered:
        print(f"{'robustness':22}{told_survival(codebook)}")


def show_tokens(codebook: VisualCodebook, source: FeatureShards, options: argparse.Namespace) -> None:
    """Draws the gallery, and gives the codebook its frames if they are wanted."""
    videos = find_videos(options.videos)
    seconds = clip_seconds_of(source.paths)
    clips = nearest_clips(codebook, source, COLUMNS)
    if not any(clip[0] in videos for found in clips.values() for clip in found):
        (video_id, _), *_ = next(iter(clips.values()))
        raise ValueError(f"{options.videos} holds none of the videos that the features are of, such as {video_id}.")
    if options.report:
        counts = codebook.training_counts()
        chosen = {token: clips.get(token, []) for token in options.tokens or common_tokens(clips, counts)}
        if not any(chosen.values()):
            raise ValueError(f"None of the tokens {list(chosen)} has a training clip to show: their leaves are dead.")
        frames = middle_frames([clip for found in chosen.values() for clip in found], videos, 96, seconds)
        plot_gallery(chosen, frames, counts, options.report / "gallery.png", seconds)
    if options.frames:
        codebook.set_frames(leaf_frames(clips, videos, seconds))


def leaf_frames(clips: dict, videos: dict, seconds: float) -> dict[int, torch.Tensor]:
    """A small frame of every leaf: of its nearest clip or, where its video cannot be read, of the next."""
    frames = {}
    for rank in range(COLUMNS):
        wanted = {token: found[rank] for token, found in clips.items() if token not in frames and rank < len(found)}
        found = middle_frames([*wanted.values()], videos, FRAME_SIZE, seconds)
        frames |= {token: found[clip] for token, clip in wanted.items() if clip in found}
    return frames


def common_tokens(clips: dict, counts: torch.Tensor) -> list[int]:
    """Some tokens out of the more common half, the most common one first."""
    common = sorted(clips, key=lambda token: -counts[token])
    return common[:: max(1, len(common) // (2 * LINES))][:LINES]


def main() -> None:
    options = parse_args()
    Accelerator()  # finds the other processes
    size = VisualCodebookConfig(**{name: getattr(options, name) for name in TREES}).codebook_size
    if wrong := [token for token in options.tokens or () if not 0 <= token < size]:
        raise ValueError(f"--tokens {wrong}: the visual ids are 0 to {size - 1}.")
    repo_id = claim_repository(options, options.output, "codebook") if PartialState().is_main_process else None
    source, rows = open_features(options.features, options.test_share)
    altered = find_altered(options, source, rows) if options.robustness_videos else None
    codebook = fit(options, source, options.output, options.seed)
    # How much of the codebook is the features' and how much the seed's takes a second one to tell.
    other = fit(options, source, options.report / "other_seed", options.seed + 1) if options.report else None
    if not PartialState().is_main_process:
        os._exit(0)  # tearing down gloo now and then aborts a process, which would end the first one, too
    if options.report:
        report(codebook, other, source, options, altered)
    if options.videos:
        show_tokens(codebook, source, options)
    if options.frames or altered:
        save_codebook(codebook, options.output)
    if options.ids:
        write_ids(codebook, options.features, options.ids, rows)
    publish_what_was_made("codebook", options.output, repo_id)


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
