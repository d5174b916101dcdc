"""Features for a codebook fit, from memory or from Parquet shards: read piece by piece, never held whole."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from .whole_files import read_json

Shards = str | PathLike | Sequence[str | PathLike]  # Parquet files, or folders of them
CONTENTS_NAME = "videos.json"  # beside shards: by video id how its file was known, and what it held
BLOCK_ROWS = 1024  # clips read and compared at once: 1024-wide ones, 4 MB a core, stay in the processor's cache


class DamagedShardError(ValueError):
    """A Parquet file that was damaged after it had been written; `path` is its."""

    def __init__(self, message: str, path: Path):
        super().__init__(message)
        self.path = path


class FeatureArray:
    """Features in memory, with the interface of [`FeatureShards`].

    Args:
        array (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`):
            The features; they are not copied.

    Raises:
        ValueError: Another shape, or no clip.
    """

    def __init__(self, array: torch.Tensor | np.ndarray):
        self.array = torch.as_tensor(array)
        if self.array.ndim != 2 or not self.array.numel():
            raise ValueError(
                f"Features have shape {tuple(self.array.shape)}; a codebook needs (clips, feature_size), clips > 0 "
                "and feature_size > 0."
            )
        self.feature_size = self.array.shape[1]
        self.num_pieces = -(-len(self.array) // BLOCK_ROWS)

    def name(self, piece: int) -> str:
        return "features in memory"

    def read(self, piece: int) -> Iterator[torch.Tensor]:
        yield self.array[piece * BLOCK_ROWS : (piece + 1) * BLOCK_ROWS].cpu()

    def take(self, rows: np.ndarray, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        for part in torch.from_numpy(rows).split(BLOCK_ROWS):
            yield self.array.index_select(0, part.to(self.array.device)).cpu()


class FeatureShards:
    """Features in Parquet files; a row holds those of a video's clips (a list of lists) or of one clip (a list).

    Args:
        shards (path or list of paths):
            Parquet files, or folders of them.
        rows (sequence of `int`, *optional*):
            Read only the rows with these numbers, counted through all files.
        column (`str`):
            The column of the features.

    Raises:
        ValueError: No shard, one that is no Parquet file, or one without such a column; when they are read, features
            of unequal width.
    """

    def __init__(
        self,
        shards: Shards,
        rows: Sequence[int] | None = None,
        column: str = "features",
    ):
        self.column, self.rows = column, None if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
        self.pieces, self._width = [], None  # file, row group, number of its first row
        self.paths, first = find_shards(shards), 0
        for path in self.paths:
            file = open_shard(path)
            if column not in file.schema_arrow.names:
                raise ValueError(f"{path} has no column {column!r}; its columns are {file.schema_arrow.names}.")
            if not pa.types.is_nested(kind := file.schema_arrow.field(column).type):
                raise ValueError(f"{path}: {column!r} holds {kind}; a feature is a list of numbers.")
            for group in range(file.num_row_groups):
                self.pieces.append((path, group, first))
                first += file.metadata.row_group(group).num_rows
        self.num_pieces = len(self.pieces)

    @functools.cached_property
    def feature_size(self) -> int:
        """Width of a feature, which the first one tells.

        Raises:
            ValueError: There is no feature.
        """
        for piece in range(self.num_pieces):
            for block in self.read(piece):
                return block.shape[1]
        raise ValueError(
            f"{self.num_pieces} row groups of {', '.join(map(str, self.paths))} hold no feature; "
            "a codebook needs at least one."
        )

    def signature(self) -> str:
        """Tells these features from others, wherever they lie, without reading them.

        Returns:
            `str`: How many files there are, of how many rows, and a hash of what the files' footers say of their
            columns (sizes, least and largest values) and of the rows that are read.
        """
        footers = [pq.read_metadata(path).to_dict() for path in self.paths]
        parts = hashlib.sha256(json.dumps(footers, default=repr).encode())
        if self.rows is not None:
            parts.update(self.rows.tobytes())
        rows = sum(footer["num_rows"] for footer in footers) if self.rows is None else len(self.rows)
        return f"{len(footers)} files, {rows} rows, {parts.hexdigest()[:16]}"

    def name(self, piece: int) -> str:
        path, group, _ = self.pieces[piece]
        return f"{path}, row group {group}"

    def read(self, piece: int) -> Iterator[torch.Tensor]:
        """The features of one piece, in order, as tensors `(clips, feature_size)` of about `BLOCK_ROWS` clips."""
        for _, block in self.read_rows(piece):
            if len(block):
                yield from block.split(BLOCK_ROWS)

    def read_rows(self, piece: int) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The same, with how many clips each row has: a list, and the features of all of them."""
        for batch in self._batches(piece, [self.column]):
            yield self._counts(batch[self.column]), self._tensor(batch[self.column], piece)

    def take(self, rows: np.ndarray, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        """The features of some clips, block by block; `rows` ascending, where piece i holds `sizes[i]` clips."""
        start = 0
        for piece, size in enumerate(sizes):
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + size)]
            place = start
            for block in self.read(piece) if len(inside) else ():
                low, high = np.searchsorted(inside, [place, place + len(block)])
                yield block.index_select(0, torch.from_numpy(inside[low:high] - place))
                place += len(block)
            start += size

    def sizes(self) -> list[int]:
        """Clips of every piece."""
        return [sum(self.counts(piece)) for piece in range(self.num_pieces)]

    def clips(self) -> Iterator[tuple[str, int]]:
        """Where every clip comes from, in order: `(video_id, number of the clip in its video)`.

        Raises:
            ValueError: The shards do not tell.
        """
        for path in self.paths:
            if "video_id" not in (names := pq.read_schema(path).names):
                raise ValueError(
                    f"{path} has no column 'video_id', which tells of what its features are; it has {names}."
                )
        for piece in range(self.num_pieces):
            for batch in self._batches(piece, [self.column, "video_id"]):
                for video_id, count in zip(
                    batch["video_id"].to_pylist(), self._counts(batch[self.column]), strict=True
                ):
                    yield from ((video_id, number) for number in range(count))

    def _batches(self, piece: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        path, group, first = self.pieces[piece]
        with open_shard(path) as file, naming(path):
            layout = file.metadata.row_group(group)
            if self.rows is not None and not np.diff(np.searchsorted(self.rows, [first, first + layout.num_rows])):
                return
            leaves = [layout.column(i) for i in range(layout.num_columns)]
            values = sum(leaf.num_values for leaf in leaves if leaf.path_in_schema.split(".")[0] == self.column)
            at_once = max(1, BLOCK_ROWS * layout.num_rows * (self._width or 1024) // max(1, values))
            for batch in file.iter_batches(at_once, row_groups=[group], columns=columns):
                if self.rows is not None:
                    low, high = np.searchsorted(self.rows, [first, first + len(batch)])
                    wanted, first = self.rows[low:high] - first, first + len(batch)
                    batch = batch if len(wanted) == len(batch) else batch.take(pa.array(wanted))
                yield batch

    def counts(self, piece: int) -> list[int]:
        """Clips of every row of a piece."""
        return [count for batch in self._batches(piece, [self.column]) for count in self._counts(batch[self.column])]

    @staticmethod
    def _counts(column: pa.Array) -> list[int]:
        if pa.types.is_nested(column.type.value_type):
            return pc.fill_null(pc.list_value_length(column), 0).to_pylist()
        return [1] * len(column)

    def _tensor(self, column: pa.Array, piece: int) -> torch.Tensor:
        """A nested column as one tensor."""
        while pa.types.is_nested(column.type.value_type):
            column = column.flatten()
        widths = pc.unique(pc.list_value_length(column)).to_pylist()
        if self._width is None and len(widths) == 1:
            self._width = widths[0]
        if any(width != self._width for width in widths):
            raise ValueError(
                f"{self.name(piece)}: features of width {widths}; "
                f"a codebook takes features of one width{f', here {self._width}' if self._width else ''}."
            )
        values = column.flatten().to_numpy(zero_copy_only=False)
        return torch.from_numpy(np.require(values, requirements="W")).view(-1, self._width or 1)


def rows_by_video(shards: Shards) -> dict[str, int] | None:
    """The rows that count: a video that was tried again, or by two processes, stands in several.

    Args:
        shards (path or list of paths):
            Parquet files, or folders of them, as of [`processing.corpus`].

    Returns:
        `dict[str, int]`: By video id the number of a row, counted through all files: the last one without an error, or
        else the last one of a video that could be opened, or else the last one. Where the folder notes which videos
        there are, only these have rows, those of what their files hold: after a file was renamed, that of its old
        name. `None` where the rows are not those of videos, but of single clips or without a `video_id`.
    """
    by_name: dict[str, tuple] = {}
    by_content: dict[str, tuple] = {}
    videos, first = {}, 0
    for path in find_shards(shards):
        file = open_shard(path)
        names, kinds = file.schema_arrow.names, file.schema_arrow.types
        depth = str(kinds[names.index("features")]).count("list<") if "features" in names else 0
        if "video_id" not in names or depth < 2:
            return None
        contents = path.parent / CONTENTS_NAME
        if path.parent not in videos:
            videos[path.parent] = read_json(contents) if contents.exists() else None
        wanted = ("video_id", "error", "duration", "content")
        rows = read_shard(path, [name for name in wanted if name in names]).to_pylist()
        for number, row in enumerate(rows, first):
            name, content = row["video_id"], row.get("content")
            worth = (row.get("error") is None, row.get("duration") is not None, number)
            if content is not None:
                by_content[content] = max(worth, by_content.get(content, worth))
            if not is_of_another(row, videos[path.parent]):
                by_name[name] = max(worth, by_name.get(name, worth))
        first += len(rows)
    for noted in filter(None, videos.values()):
        for name, (_, content) in noted.items():
            # A row of this content and without an error is as good under any name.
            if content in by_content and (name not in by_name or by_content[content][0] > by_name[name][0]):
                by_name[name] = by_content[content]
    return {video_id: number for video_id, (_, _, number) in by_name.items()}


def is_of_another(row: dict, videos: dict | None) -> bool:
    """Whether a row is of a video that is no longer there under this name, or of what its file held before."""
    if videos is None:
        return False
    if row["video_id"] not in videos:
        return True
    _, content = videos[row["video_id"]]
    return None not in (content, row.get("content")) and content != row["content"]


def open_shard(path: Path) -> pq.ParquetFile:
    """A Parquet file, opened so that changed bytes are noticed where its pages have checksums.

    Raises:
        `ValueError`: It cannot be opened; the message names it.
    """
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise blame(path, error, f"{path} cannot be read as a Parquet file: {error}") from None


def blame(path: Path, error: Exception, message: str) -> ValueError:
    """Damage of a file, or what the system refuses, which is none: it tells a number."""
    return ValueError(message) if getattr(error, "errno", None) else DamagedShardError(message, path)


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a Parquet file, all of them by default.

    Raises:
        `ValueError`: It is damaged, or lacks a column; the message names it.
    """
    with open_shard(path) as file, naming(path):
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]!r}; its columns are {file.schema_arrow.names}.")
        return file.read(columns=columns)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Reading of a Parquet file, whose name is told with whatever is damaged in it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        message = f"{path} is damaged: {error}. Build the corpus again, and what it held is made again."
        raise blame(path, error, message) from None


def find_shards(shards: Shards) -> list[Path]:
    """The Parquet files of a list of files and folders, in order."""
    shards = [shards] if isinstance(shards, (str, PathLike)) else list(shards)
    found = []
    for path in map(Path, shards):
        found += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise ValueError(f"There is no Parquet file in {', '.join(map(str, shards))}.")
    return found
