"""Features for a codebook fit, from memory or from Parquet shards: read piece by piece, never held whole."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

BLOCK_ROWS = 1024  # clips read and compared at once: 1024-wide ones, 4 MB a core, stay in the processor's cache


class FeatureArray:
    """Features in memory, with the interface of [`FeatureShards`].

    Args:
        array (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`): The features; they are not copied.

    Raises:
        ValueError: Another shape, or no clip.
    """

    def __init__(self, array):
        self.array = torch.as_tensor(array)
        if self.array.ndim != 2 or not len(self.array):
            raise ValueError(
                f"Features have shape {tuple(self.array.shape)}; a codebook needs (clips, feature_size), clips > 0."
            )
        self.feature_size = self.array.shape[1]
        self.num_pieces = -(-len(self.array) // BLOCK_ROWS)

    def name(self, piece):
        return "features in memory"

    def read(self, piece):
        yield self.array[piece * BLOCK_ROWS : (piece + 1) * BLOCK_ROWS].cpu()

    def take(self, rows, sizes):
        for part in torch.from_numpy(rows).split(BLOCK_ROWS):
            yield self.array.index_select(0, part.to(self.array.device)).cpu()


class FeatureShards:
    """Features in Parquet files; a row holds those of a video's clips (a list of lists) or of one clip (a list).

    Args:
        shards (path or list of paths): Parquet files, or folders of them.
        rows (sequence of `int`, *optional*): Read only the rows with these numbers, counted through all files.
        column (`str`): The column of the features.

    Raises:
        ValueError: No shard, a shard without that column, no feature at all, or features of unequal width.
    """

    def __init__(self, shards, rows=None, column="features"):
        self.column, self.rows, self.feature_size = column, None if rows is None else np.sort(rows), None
        self.pieces = []  # file, row group, number of its first row
        first = 0
        for path in find_shards(shards):
            file = pq.ParquetFile(path)
            if column not in file.schema_arrow.names:
                raise ValueError(f"{path} has no column {column!r}; its columns are {file.schema_arrow.names}.")
            for group in range(file.num_row_groups):
                self.pieces.append((path, group, first))
                first += file.metadata.row_group(group).num_rows
        self.num_pieces = len(self.pieces)
        blocks = (block for piece in range(self.num_pieces) for block in self.read(piece))
        if next(blocks, None) is None:
            raise ValueError(
                f"{len(self.pieces)} row groups of {shards} hold no feature; a codebook needs at least one."
            )

    def name(self, piece):
        path, group, _ = self.pieces[piece]
        return f"{path}, row group {group}"

    def read(self, piece):
        """The features of one piece, in order, as tensors `(clips, feature_size)` of about `BLOCK_ROWS` clips."""
        for batch in self._batches(piece, [self.column]):
            block = self._tensor(batch[self.column], piece)
            if len(block):
                yield from block.split(BLOCK_ROWS)

    def take(self, rows, sizes):
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

    def sizes(self):
        """Clips of every piece."""
        return [sum(self.counts(piece)) for piece in range(self.num_pieces)]

    def clips(self):
        """Where every clip comes from, in order: `(video_id, number of the clip in its video)`."""
        for piece in range(self.num_pieces):
            for batch in self._batches(piece, [self.column, "video_id"]):
                for video_id, count in zip(
                    batch["video_id"].to_pylist(), self._counts(batch[self.column]), strict=True
                ):
                    yield from ((video_id, number) for number in range(count))

    def _batches(self, piece, columns):
        path, group, first = self.pieces[piece]
        with pq.ParquetFile(path) as file:
            layout = file.metadata.row_group(group)
            leaves = [layout.column(i) for i in range(layout.num_columns)]
            values = sum(leaf.num_values for leaf in leaves if leaf.path_in_schema.split(".")[0] == self.column)
            at_once = max(1, BLOCK_ROWS * layout.num_rows * (self.feature_size or 1024) // max(1, values))
            for batch in file.iter_batches(at_once, row_groups=[group], columns=columns):
                numbers = np.arange(first, first + len(batch))
                first += len(batch)
                yield batch if self.rows is None else batch.filter(pa.array(np.isin(numbers, self.rows)))

    def counts(self, piece):
        """Clips of every row of a piece."""
        return [count for batch in self._batches(piece, [self.column]) for count in self._counts(batch[self.column])]

    @staticmethod
    def _counts(column):
        if pa.types.is_nested(column.type.value_type):
            return pc.fill_null(pc.list_value_length(column), 0).to_pylist()
        return [1] * len(column)

    def _tensor(self, column, piece):
        """A nested column as one tensor."""
        while pa.types.is_nested(column.type.value_type):
            column = column.flatten()
        widths = pc.unique(pc.list_value_length(column)).to_pylist()
        if self.feature_size is None and len(widths) == 1:
            self.feature_size = widths[0]
        if any(width != self.feature_size for width in widths):
            raise ValueError(
                f"{self.name(piece)}: features of width {widths}; "
                f"a codebook takes features of one width{f', here {self.feature_size}' if self.feature_size else ''}."
            )
        values = column.flatten().to_numpy(zero_copy_only=False)
        return torch.from_numpy(np.require(values, requirements="W")).view(-1, self.feature_size or 1)


def write_ids(codebook, shards, folder):
    """Writes, for every shard of features, one of the same rows with `visual_ids` in the place of the features.

    A shard of ids is whole or absent, and notes which codebook it is of: one of this codebook is left as it is, one of
    another is written again.

    Args:
        codebook ([`VisualCodebook`]): Feature to visual id.
        shards (path or list of paths): Parquet files, or folders of them.
        folder (`str` or `os.PathLike`): Gets the new ones, under the same names.

    Raises:
        ValueError: Two shards of one name, of which one would be lost.
    """
    folder, paths, made_with = Path(folder), {}, {b"codebook": fingerprint(codebook)}
    for path in find_shards(shards):
        if path.name in paths:
            raise ValueError(
                f"{paths[path.name]} and {path} have one name, and so would their ids; rename one of them."
            )
        paths[path.name] = path
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        target = folder / name
        if target.exists() and made_with.items() <= (pq.read_schema(target).metadata or {}).items():
            continue
        source, others = FeatureShards(path), [name for name in pq.read_schema(path).names if name != "features"]
        blocks = [
            codebook.encode(block).int().cpu().numpy()
            for piece in range(source.num_pieces)
            for block in source.read(piece)
        ]
        counts = [count for piece in range(source.num_pieces) for count in source.counts(piece)]
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        ids = pa.ListArray.from_arrays(ends, np.concatenate(blocks))
        unfinished = target.with_name(f"{target.name}.unfinished")
        table = pq.read_table(path, columns=others).append_column("visual_ids", ids)
        # Notes of the shard's own columns, such as those of `datasets`, would not fit the new ones.
        pq.write_table(table.replace_schema_metadata(made_with), unfinished)
        os.replace(unfinished, target)


def fingerprint(codebook):
    """Tells a codebook from every other one, by its shape and all of its numbers."""
    parts = hashlib.sha256(
        repr((codebook.config.levels, codebook.config.branches, codebook.config.normalize)).encode()
    )
    for _, tensor in sorted(codebook.state_dict().items()):
        parts.update(tensor.detach().cpu().numpy().tobytes())
    return parts.hexdigest().encode()


def find_shards(shards):
    """The Parquet files of a list of files and folders, in order."""
    shards = [shards] if isinstance(shards, (str, Path)) else list(shards)
    found = []
    for path in map(Path, shards):
        found += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise ValueError(f"There is no Parquet file in {', '.join(map(str, shards))}.")
    return found
