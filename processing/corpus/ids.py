"""Shards of features to shards of visual ids, and these to rows: what another codebook costs is only this."""

from __future__ import annotations

import bisect
import functools
import hashlib
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from accelerate.utils import tqdm
from datasets import Dataset, Features

from ..codebook.feature_shards import FeatureShards, Shards, find_shards, open_shard, read_shard, rows_by_video
from ..codebook.whole_files import remove_unfinished, write_whole
from ..codebook_videobert import VisualCodebook
from ..codes_videobert import codes_per_clip
from .rows import NOTED, ROW_FEATURES, SEVERAL_CODES


def encode_rows(
    codebook: VisualCodebook, shards: Shards, folder: str | PathLike, video_ids: Iterable[str] | None = None
) -> Dataset:
    """The rows of videos that were described, with the visual ids of a codebook.

    Args:
        codebook ([`VisualCodebook`]):
            Fitted to these features, or to others of the same backbone.
        shards (`str` or `os.PathLike`):
            The folder of features that [`build_corpus`] wrote.
        folder (`str` or `os.PathLike`):
            Gets the shards of ids; those of the same codebook that it holds are not computed again.
        video_ids (`Iterable[str]`, *optional*):
            Which videos, in which order; all of them by default.

    Returns:
        [`datasets.Dataset`]: One row a video.

    Raises:
        `ValueError`: The shards are not those of videos, or they are damaged or do not fit the codebook.
    """
    rows = rows_by_video(shards)
    if rows is None:
        raise ValueError(f"{shards} holds single clips; rows are made of the features of videos.")
    write_ids(codebook, shards, folder, rows)
    columns = Features(ROW_FEATURES | SEVERAL_CODES) if codes_per_clip(codebook) > 1 else ROW_FEATURES
    tables = [read_shard(Path(folder) / path.name, list(columns)) for path in find_shards(shards)]
    table = pa.concat_tables([table.cast(columns.arrow_schema) for table in tables])
    place = {video_id: number for number, video_id in enumerate(table["video_id"].to_pylist())}
    return Dataset(table).select([place[video_id] for video_id in (rows if video_ids is None else video_ids)])


def write_ids(
    codebook: VisualCodebook,
    shards: Shards,
    folder: str | PathLike,
    rows: Mapping[str, int] | None = None,
) -> None:
    """Writes, for every shard of features, one of the same rows with `visual_ids` in the place of the features.

    A shard of ids is whole or absent, and notes which codebook and rows it is of: one of these is left as it is, one
    of others, or a damaged one, is written again.

    Args:
        codebook ([`VisualCodebook`]):
            Feature to visual id.
        shards (path or list of paths):
            Parquet files, or folders of them.
        folder (`str` or `os.PathLike`):
            Gets the new ones, under the same names.
        rows (`Mapping[str, int]`, *optional*):
            Write only these, as of [`rows_by_video`]: by video id their numbers, counted through all files.

    Raises:
        `ValueError`: Two shards of one name, of which one would be lost, or a feature that the codebook does not take.
    """
    paths: dict[str, Path] = {}
    folder, fingerprint = Path(folder), codebook.fingerprint
    for path in find_shards(shards):
        if path.name in paths:
            raise ValueError(
                f"{paths[path.name]} and {path} have one name, and so would their ids; rename one of them."
            )
        paths[path.name] = path
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    named, first = None if rows is None else sorted((number, video_id) for video_id, number in rows.items()), 0
    for name, path in tqdm(paths.items(), desc="Visual ids", unit="shard"):
        count = open_shard(path).metadata.num_rows
        own: list[tuple[int, str | None]] = []
        if named is None:
            own += [(number, None) for number in range(count)]
        else:
            low, high = bisect.bisect(named, (first,)), bisect.bisect(named, (first + count,))
            own += [(number - first, video_id) for number, video_id in named[low:high]]
        first += count
        notes = {b"codebook": fingerprint.encode(), b"rows": hashlib.sha256(repr(own).encode()).hexdigest().encode()}
        if not holds_ids(folder / name, notes):
            # Notes of the shard's own columns, such as those of `datasets`, would not fit the new ones.
            table = with_ids(codebook, path, own, fingerprint).replace_schema_metadata(notes)
            write_whole(folder / name, functools.partial(pq.write_table, table, write_page_checksum=True))


def holds_ids(path: Path, notes: dict[bytes, bytes]) -> bool:
    """Whether a shard of ids is there, undamaged, with these notes."""
    try:
        return path.exists() and notes.items() <= (read_shard(path).schema.metadata or {}).items()
    except ValueError:
        return False


def with_ids(codebook: VisualCodebook, path: Path, rows: list[tuple[int, str | None]], fingerprint: str) -> pa.Table:
    """Some rows of a shard, with `visual_ids` in the place of the features; by number, and under the names given."""
    numbers, place = np.unique(np.array([number for number, _ in rows], dtype=np.int64), return_inverse=True)
    source, counts, ids = FeatureShards(path, numbers), [0], [np.zeros(0, dtype=np.int32)]
    for piece in range(source.num_pieces):
        for clips, features in source.read_rows(piece):
            counts += clips
            if len(features):
                try:
                    ids.append(codebook.encode(features).int().cpu().numpy())
                except ValueError as error:
                    raise ValueError(f"{source.name(piece)}: {error}") from None
    each = codes_per_clip(codebook)
    ends = (each * np.cumsum(counts)).astype(np.int32)
    others = [name for name in open_shard(path).schema_arrow.names if name not in ("features", *NOTED)]
    table = read_shard(path, others).take(pa.array(numbers[place]))
    if rows and rows[0][1] is not None:
        names = pa.array([name for _, name in rows], pa.string())
        table = table.set_column(others.index("video_id"), "video_id", names)
    visual_ids = pa.ListArray.from_arrays(ends, np.concatenate(ids)).take(pa.array(place))
    table = table.append_column("visual_ids", visual_ids).append_column(
        "codebook", pa.array([fingerprint] * len(rows), pa.string())
    )
    return table if each == 1 else table.append_column("tokens_per_clip", pa.array([each] * len(rows), pa.int32()))
