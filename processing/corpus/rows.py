"""What a row is, and reading rows: from shards that a build wrote, or from wherever somebody put them."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, List, Value

SENTENCES = List({"text": Value("string"), "start": Value("float64"), "end": Value("float64")})
DESCRIPTION = {
    "video_id": Value("string"),
    "duration": Value("float64"),
    "clip_seconds": Value("float64"),
    "has_speech": Value("bool"),
    "sentences": SENTENCES,
    "error": Value("string"),
}
# `codebook` is the fingerprint of the one that the visual ids belong to.
ROW_FEATURES = Features({**DESCRIPTION, "visual_ids": List(Value("int32")), "codebook": Value("string")})


def load_rows(shards, videos):
    """The rows of some videos, in their order, out of shards of ids."""
    tables = [pq.read_table(path, columns=list(ROW_FEATURES)) for path in shards]
    table = pa.concat_tables([table.cast(ROW_FEATURES.arrow_schema) for table in tables])
    place = {video_id: number for number, video_id in enumerate(table["video_id"].to_pylist())}
    return Dataset(table).select([place[video_id] for video_id in videos])


def read_rows(path: str | Path) -> datasets.Dataset:
    """
    Rows from disk.

    Args:
        path (`str` or `Path`): a saved `datasets.Dataset`, or a folder or file of Parquet.

    Returns:
        `datasets.Dataset`: one row a video.

    Raises:
        `ValueError`: there is neither at `path`.
    """
    path = Path(path)
    if (path / "dataset_info.json").is_file():
        return datasets.load_from_disk(str(path))
    files = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    if not files:
        raise ValueError(f"{path} holds no rows; allowed is a saved datasets.Dataset, or a folder or file of Parquet.")
    return datasets.Dataset.from_parquet([str(file) for file in files])
