"""Which videos are held out: the one rule for building, codebook fitting, training and evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow.compute as pc

from ..codebook.feature_shards import FeatureShards, Shards, open_shard, read_shard

FEW = 16  # rows looked into at first


def held_out_ids(video_ids: Iterable[str], share: float) -> set[str]:
    """About `share` of the videos, two at least, drawn by their names: a video that is added moves no other one.

    Args:
        video_ids (`Iterable[str]`):
            Videos that hold anything, words or clips.
        share (`float`):
            Which part of them is held out.
    """
    draws = {video_id: draw_of(video_id) for video_id in video_ids}
    return {video_id for video_id in draws if draws[video_id] < share} | set(
        sorted(draws, key=lambda video_id: draws[video_id])[:2]
    )


def draw_of(video_id: str) -> float:
    """A number in [0, 1) that hangs on the name alone."""
    return int(hashlib.sha256(video_id.encode()).hexdigest()[:8], 16) / 2**32


def rows_to_fit(shards: Shards, rows: Mapping[str, int], held_out_share: float | None = None) -> dict[str, int]:
    """The rows that a codebook may be fitted on: those of videos that [`held_out_ids`] does not hold out.

    Args:
        shards (path or list of paths):
            Parquet files of features, or folders of them.
        rows (`Mapping[str, int]`):
            By video id the number of its row, as of [`rows_by_video`].
        held_out_share (`float`, *optional*):
            Part of the videos that no codebook may see; without one, all may be seen.

    Returns:
        `dict[str, int]`: Of `rows` those that may be seen.

    Raises:
        `ValueError`: All of them are held out.
    """
    if held_out_share is None:
        return dict(rows)
    # The two that are held out at least must hold anything: only for those that may be the two this is looked up.
    ordered, count = sorted(rows, key=draw_of), FEW
    while len(readable := readable_ids(shards, {name: rows[name] for name in ordered[:count]})) < 2:
        if count >= len(ordered):
            break
        count *= 4
    held_out = held_out_ids([*readable, *ordered[count:]], held_out_share)
    if rows and held_out.issuperset(rows):
        raise ValueError(
            f"All of {len(rows)} videos are held out, and none is left to fit a codebook on: a share of "
            f"{held_out_share} was asked for, which holds out 2 at least. Add videos or take a smaller share."
        )
    return {name: row for name, row in rows.items() if name not in held_out}


def readable_ids(shards: Shards, rows: Mapping[str, int]) -> list[str]:
    """Videos whose row has clips or sentences."""
    source = FeatureShards(shards, rows=list(rows.values()))
    counts = (count for piece in range(source.num_pieces) for count in source.counts(piece))
    clips = dict(zip(sorted({*rows.values()}), counts, strict=True))
    said = [count for path in source.paths for count in sentences_in(path)]
    return [name for name, row in rows.items() if clips[row] or said[row]]


def sentences_in(path: Path) -> list[int]:
    """How many sentences each row of a shard has."""
    file = open_shard(path)
    if "sentences" not in file.schema_arrow.names:
        return [0] * file.metadata.num_rows
    lengths = pc.list_value_length(read_shard(path, ["sentences"])["sentences"])
    return pc.fill_null(lengths, 0).to_pylist()
