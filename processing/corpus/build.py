"""Many videos to one Hugging Face Dataset of rows: shards, resume, and an error column instead of lost videos.

    videos ──(speech, clips, backbone)──► OUTPUT/features/*.parquet ──(codebook)──► OUTPUT/ids/*.parquet
                                                                          OUTPUT/rows, a saved Dataset ◄──┘

The expensive first half is written shard by shard, so a killed run goes on where it stopped and the codebook can be
fitted, or fitted again, at any time. Features are read in a stream where they lie; what is held is rows with ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers.utils import logging

from ..codebook.feature_shards import DamagedShardError, FeatureShards, read_shard, rows_by_video
from ..codebook.fitting import fit_codebook
from ..codebook.saving import check_record, is_saved, load_codebook, save_codebook
from ..codebook.whole_files import only_one, remove_unfinished, write_json, write_whole
from ..codebook_videobert import VisualCodebook
from ..names_videobert import public_name
from ..processing_videobert import VideoBertProcessor
from .describing import as_utf8, extract_features
from .ids import encode_rows
from .isolation import DEADLINE
from .split import rows_to_fit
from .summary import Stage, summarise

logger = logging.get_logger(__name__)

SUMMARY_NAME = "summary.json"
CLIPS_IN_MEMORY = 2**18  # a codebook of more is fitted from the shards: this many 1024-wide features take half a GB


def build_corpus(
    videos: Mapping[str, Path],
    processor: VideoBertProcessor,
    output_dir: str | PathLike,
    held_out_share: float | None = None,
    levels: int = 4,
    branches: int = 12,
    residual_codes: int = 1,
    levels_as_tokens: bool = False,
    seed: int = 0,
    shard_size: int = 16,
    subtitles: Mapping[str, Path] | None = None,
    num_workers: int = 1,
    deadline: float = DEADLINE,
    memory: float | None = None,
    retry_errors: bool = False,
    again: bool = True,
) -> Dataset:
    """Takes videos through the whole way, from files to rows of sentences and visual ids.

    Run again with the same folder it does only what is missing: new videos, those that a killed run had not reached,
    and files that have changed. Videos are known by what their files hold: moved or renamed, they are not described
    again. A row with an error is made again if its file or subtitles changed or could not be read, or if the fault
    may have been the machine's: its process was ended, or the error is an unforeseen one. The codebook stays the one
    that was fitted first; rows of another one are made by giving the processor that one.

    Args:
        videos (`Mapping[str, Path]`):
            Path by video id, as of [`find_videos`]; or what a data set holds, as of [`streamed_videos`].
        processor ([`VideoBertProcessor`]):
            With `asr_model` and `backbone`. Without a codebook, one is fitted and put into the processor, whose
            tokenizer gets the visual tokens.
        output_dir (`str` or `os.PathLike`):
            Gets `features/`, `ids/`, `rows/`, `codebook/` where one is fitted, and `summary.json`: see [`summarise`].
        held_out_share (`float`, *optional*):
            Share of the videos that the fit of a codebook does not see, by the rule of [`held_out_ids`]; without one,
            it sees all.
        levels (`int`, *optional*, defaults to 4):
            Depth of the codebook where one is fitted.
        branches (`int`, *optional*, defaults to 12):
            Clusters of each of its nodes.
        residual_codes (`int`, *optional*, defaults to 1):
            Visual ids of a clip, as of [`fit_codebook`].
        levels_as_tokens (`bool`, *optional*, defaults to `False`):
            Whether a clip has a visual id for each level of its path down the tree.
        seed (`int`, *optional*, defaults to 0):
            Of the codebook.
        shard_size (`int`, *optional*, defaults to 16):
            Videos described, and lost by a crash, at a time.
        subtitles (`Mapping[str, Path]`, *optional*):
            By video id what is said, as of [`find_subtitles`]; the other videos are heard.
        num_workers (`int`, *optional*, defaults to 1):
            Processes that describe videos, kept and fed, each with networks of its own and its part of the cores: a
            file that hangs, crashes the decoder or eats memory ends no more than its process, and becomes a row with
            an `error`. With 0, videos are described in this process, without such protection.
        deadline (`float`, *optional*, defaults to 600):
            Seconds after which one of them is ended, if it has cut no clip and read no block of sound since.
        memory (`float`, *optional*):
            GiB of memory after which it is ended; by default its part of three quarters of the machine's.
        retry_errors (`bool`, *optional*, defaults to `False`):
            Whether every row with an error is made again, with a newer decoder say.
        again (`bool`, *optional*, defaults to `True`):
            Whether anything that has an error is; without, one process can finish what many have described.

    Returns:
        [`datasets.Dataset`]: One row a video, in the order of `videos`; the `error` of a bad one says what is wrong.

    Raises:
        `ValueError`: The folder was begun with other settings of speech, clips or backbone, its codebook was fitted in
            another way, a file in it is damaged that cannot be made again, another run is at work in it, the videos
            are taken away meanwhile, or there are no clips to fit.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    shards, kept = output_dir / "features", output_dir / "codebook"
    videos = {as_utf8(video_id): path for video_id, path in videos.items()}
    if subtitles is not None:
        subtitles = {as_utf8(video_id): path for video_id, path in subtitles.items()}
    describing = {
        "shard_size": shard_size,
        "subtitles": subtitles,
        "num_workers": num_workers,
        "deadline": deadline,
        "memory": memory,
        "retry_errors": retry_errors,
        "again": again,
    }
    fitting = {
        "levels": levels,
        "branches": branches,
        "residual_codes": residual_codes,
        "levels_as_tokens": levels_as_tokens,
        "held_out_share": held_out_share,
    }
    # Of several processes the first builds a corpus before the others, which wait for it, and for one another.
    with only_one(output_dir, wait=PartialState().num_processes > 1):
        while True:
            try:
                stages, times = extract_features(videos, processor, shards, **describing), [time.monotonic()]
                if processor.codebook is None:
                    processor.add_codebook(own_codebook(kept, shards, videos, fitting, seed, processor.backbone))
                times.append(time.monotonic())
                dataset = encode_rows(processor.codebook, shards, output_dir / "ids", videos)
                times.append(time.monotonic())
                break
            except DamagedShardError as error:
                set_aside(error, shards)
        if PartialState().is_main_process:
            remove_unfinished(output_dir)
            write_whole(output_dir / "rows", dataset.save_to_disk)
            total = sum(filter(None, dataset["duration"]))
            for name, begin, end in zip(("codebook", "ids"), times, times[1:], strict=False):
                stages[name] = Stage(end - begin, total)
            write_json(output_dir / SUMMARY_NAME, summarise(dataset, stages))
    return dataset


def own_codebook(
    folder: Path, shards: Path, videos: Iterable[str], fitting: dict, seed: int, backbone: object
) -> VisualCodebook:
    """The codebook of a corpus, fitted if it is not there yet.

    Args:
        folder (`Path`):
            Its folder.
        shards (`Path`):
            That of the features.
        videos (`Iterable[str]`):
            The ids of those it may be fitted on.
        fitting (`dict`):
            `held_out_share`, and `levels`, `branches`, `residual_codes` and `levels_as_tokens` of [`fit_codebook`]; a
            codebook that is there must be of the same.
        seed (`int`):
            Of the fit.
        backbone:
            The network of the features, whose name is noted.
    """
    if is_saved(folder):
        check_record(folder, fitting)
    else:
        rows = rows_by_video(shards)
        tree = dict(fitting)
        share = tree.pop("held_out_share")
        clips = clips_to_fit(shards, {video_id: rows[video_id] for video_id in videos}, share)
        codebook = fit_codebook(clips, **tree, seed=seed, backbone=public_name(backbone), alone=True)
        save_codebook(codebook, folder, fitting)
    return load_codebook(folder)


def set_aside(error: DamagedShardError, shards: Path) -> None:
    """Takes a damaged shard of features out of the way, so that its videos are described again.

    Raises:
        `DamagedShardError`: It is no such shard.
    """
    if error.path.parent != shards or not error.path.exists():
        raise error
    aside = error.path.with_suffix(".damaged")
    logger.warning(f"{error} It is kept as {aside.name}, and the videos that it held are described again.")
    error.path.replace(aside)


def clips_to_fit(shards: Path, rows: Mapping[str, int], held_out_share: float | None) -> torch.Tensor | FeatureShards:
    """The features that a codebook is fitted on: a tensor in the order of videos, or shards where there are many.

    `rows` are the numbers of the rows of the videos, by their ids.
    """
    chosen = sorted({*rows_to_fit(shards, rows, held_out_share).values()})
    source = FeatureShards(shards, rows=chosen)
    counts = (count for piece in range(source.num_pieces) for count in source.counts(piece))
    clips = dict(zip(chosen, counts, strict=True))
    if not any(clips.values()):
        errors = [error for path in source.paths for error in read_shard(path, ["error"])["error"].to_pylist()]
        first = next((f" The first error: {errors[row]}" for row in rows.values() if errors[row]), "")
        seen = f"{len(chosen)} videos" + ("" if held_out_share is None else " that are not held out")
        raise ValueError(f"None of {seen} gave a feature to fit a codebook on.{first}")
    if sum(clips.values()) > CLIPS_IN_MEMORY:
        return source
    features = torch.cat([block for piece in range(source.num_pieces) for block in source.read(piece)])
    parts = dict(zip(chosen, features.split([clips[row] for row in chosen]), strict=True))
    # Of two files with one content the features count once.
    return torch.cat([parts[row] for row in dict.fromkeys(rows.values()) if row in parts])
