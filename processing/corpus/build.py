"""Many videos to one Hugging Face Dataset of rows: shards, resume, and an error column instead of lost videos.

    videos ──(speech, clips, backbone)──► OUTPUT/features/*.parquet ──(codebook)──► OUTPUT/ids/*.parquet
                                                                          OUTPUT/rows, a saved Dataset ◄──┘

The expensive first half is written shard by shard, so a killed run goes on where it stopped and the codebook can be
fitted, or fitted again, at any time. Features are read in a stream where they lie; what is held is rows with ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset

from ..codebook.feature_shards import FeatureShards, read_shard, rows_by_video
from ..codebook.fitting import fit_codebook
from ..codebook.saving import check_record, is_saved, load_codebook, save_codebook
from ..codebook.whole_files import remove_unfinished, write_whole
from ..names_videobert import public_name
from ..processing_videobert import VideoBertProcessor
from .describing import as_utf8, extract_features
from .ids import encode_rows
from .isolation import DEADLINE
from .split import rows_to_fit

CLIPS_IN_MEMORY = 2**18  # a codebook of more is fitted from the shards: this many 1024-wide features take half a GB


def build_corpus(
    videos: Mapping[str, Path],
    processor: VideoBertProcessor,
    output_dir: str | PathLike,
    held_out_share: float | None = None,
    levels: int = 4,
    branches: int = 12,
    seed: int = 0,
    shard_size: int = 16,
    subtitles: Mapping[str, Path] | None = None,
    num_workers: int = 1,
    deadline: float = DEADLINE,
    memory: float | None = None,
) -> Dataset:
    """Takes videos through the whole way, from files to rows of sentences and visual ids.

    Run again with the same folder it does only what is missing: new videos, those that a killed run had not reached,
    and those whose row has an error, which may have been repaired. The codebook stays the one that was fitted first;
    rows of another one are made by giving the processor that one.

    Args:
        videos (`Mapping[str, Path]`):
            Path by video id, as of [`find_videos`].
        processor ([`VideoBertProcessor`]):
            With `asr_model` and `backbone`. Without a codebook, one is fitted and put into the processor, whose
            tokenizer gets the visual tokens.
        output_dir (`str` or `os.PathLike`):
            Gets `features/`, `ids/`, `rows/`, and `codebook/` where one is fitted.
        held_out_share (`float`, *optional*):
            Share of the videos that the fit of a codebook does not see, by the rule of [`held_out_ids`]; without one,
            it sees all.
        levels (`int`, *optional*, defaults to 4):
            Depth of the codebook where one is fitted.
        branches (`int`, *optional*, defaults to 12):
            Clusters of each of its nodes.
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

    Returns:
        [`datasets.Dataset`]: One row a video, in the order of `videos`; the `error` of a bad one says what is wrong.

    Raises:
        `ValueError`: The folder was begun with other settings of speech, clips or backbone, its codebook was fitted in
            another way, a file in it is damaged, or there are no clips to fit.
    """
    output_dir = Path(output_dir)
    shards, kept = output_dir / "features", output_dir / "codebook"
    videos = {as_utf8(video_id): path for video_id, path in videos.items()}
    if subtitles is not None:
        subtitles = {as_utf8(video_id): path for video_id, path in subtitles.items()}
    extract_features(videos, processor, shards, shard_size, subtitles, num_workers, deadline, memory)
    if processor.codebook is None:
        asked = {"levels": levels, "branches": branches, "held_out_share": held_out_share}
        if is_saved(kept):
            check_record(kept, asked)
        else:
            rows = rows_by_video(shards)
            clips = clips_to_fit(shards, {video_id: rows[video_id] for video_id in videos}, held_out_share)
            # Of several processes the first builds a corpus before the others, which wait for it.
            codebook = fit_codebook(
                clips, levels, branches, seed=seed, backbone=public_name(processor.backbone), alone=True
            )
            save_codebook(codebook, kept, asked)
        processor.add_codebook(load_codebook(kept))
    dataset = encode_rows(processor.codebook, shards, output_dir / "ids", videos)
    if PartialState().is_main_process:
        remove_unfinished(output_dir)
        write_whole(output_dir / "rows", dataset.save_to_disk)
    return dataset


def clips_to_fit(shards: Path, rows: Mapping[str, int], held_out_share: float | None) -> torch.Tensor | FeatureShards:
    """The features that a codebook is fitted on: a tensor in the order of videos, or shards where there are many.

    `rows` are the numbers of the rows of the videos, by their ids.
    """
    chosen = sorted(rows_to_fit(shards, rows, held_out_share).values())
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
    return torch.cat([parts[row] for row in rows.values() if row in parts])
