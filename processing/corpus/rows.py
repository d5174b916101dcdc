"""What a row is, reading rows from wherever somebody put them, and whether they belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from ..codebook.feature_shards import read_shard
from ..codes_videobert import codes_per_clip
from ..processing_videobert import VideoBertProcessor

SENTENCES = List({"text": Value("string"), "start": Value("float64"), "end": Value("float64")})
DESCRIPTION = {
    "video_id": Value("string"),
    "duration": Value("float64"),
    "clip_seconds": Value("float64"),
    "has_speech": Value("bool"),
    "sentences": SENTENCES,
    "error": Value("string"),
    "notes": Value("string"),
}
# What shards of features note besides: what the video's file held, how it was known to be the same without reading it,
# and whether an error may be another one the next time.
NOTED = {"content": Value("string"), "stamp": Value("string"), "again": Value("bool")}
# `codebook` is the fingerprint of the one that the visual ids belong to.
ROW_FEATURES = Features({**DESCRIPTION, "visual_ids": List(Value("int32")), "codebook": Value("string")})
# What rows have besides, where a clip has several visual ids.
SEVERAL_CODES = Features({"tokens_per_clip": Value("int32")})


def read_rows(path: str | PathLike) -> Dataset:
    """Rows from disk.

    Args:
        path (`str` or `os.PathLike`):
            A saved `datasets.Dataset`, or a folder or file of Parquet.

    Returns:
        [`datasets.Dataset`]: One row a video.

    Raises:
        `ValueError`: There is neither at `path`, or a file is damaged.
    """
    path = Path(path)
    if (path / "dataset_info.json").is_file():
        try:
            return datasets.load_from_disk(str(path))
        except (ValueError, KeyError, TypeError) as error:  # of JSON and of Arrow, which do not name their file
            raise ValueError(f"{path} is damaged: it is no saved datasets.Dataset ({error}).") from error
    files = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    if not files:
        raise ValueError(f"{path} holds no rows; allowed is a saved datasets.Dataset, or a folder or file of Parquet.")
    return Dataset(pa.concat_tables([read_shard(file) for file in files], promote_options="default"))


def check_rows(rows: Dataset | Sequence[Mapping], processor: VideoBertProcessor | None = None) -> float:
    """Makes sure that rows belong together and, where one is given, to a processor.

    Args:
        rows ([`datasets.Dataset`] or sequence of `dict`):
            One row a video.
        processor ([`VideoBertProcessor`], *optional*):
            Whose codebook the visual ids must be of, and whose clips must be as long.

    Returns:
        `float`: The length of their clips in seconds.

    Raises:
        `ValueError`: Rows of several lengths of clips or of several codebooks, with several numbers of visual ids a
            clip, of others than the processor's, or rows that do not tell.
    """
    clip_seconds, codebook = shared_value(rows, "clip_seconds"), shared_value(rows, "codebook")
    each = shared_value(rows, "tokens_per_clip") if "tokens_per_clip" in columns_of(rows) else 1
    if processor is None:
        return clip_seconds
    if processor.codebook is None:
        raise ValueError("The processor has no codebook, which the visual ids of the rows are of.")
    for name, of_rows, of_processor in (
        ("clip_seconds", clip_seconds, processor.video_processor.clip_seconds),
        ("codebook", codebook, processor.codebook.fingerprint),
        ("tokens_per_clip", each, codes_per_clip(processor.codebook)),
    ):
        if of_rows != of_processor:
            raise ValueError(
                f"The rows have {name} {shown(of_rows)} and the processor has {shown(of_processor)}; give the "
                "processor that the rows were made with, or make them again with this one."
            )
    return clip_seconds


def shared_value(rows: Dataset | Sequence[Mapping], name: str) -> Any:
    """The value that a column has in all rows.

    Raises:
        `ValueError`: It has several, or some rows lack it; the message names two videos.
    """
    if not len(rows):
        raise ValueError("There are no rows; at least one is needed.")
    if name not in columns_of(rows):
        raise ValueError(f"The rows have no {name!r}, which tells what they were made with; make them again.")
    values = rows[name] if isinstance(rows, Dataset) else [row[name] for row in rows]
    found: dict[object, int] = {}  # by value the first row that has it
    for number, value in enumerate(values):
        found.setdefault(value, number)
    if len(found) > 1:
        (one, first), (other, second) = [*found.items()][:2]
        raise ValueError(
            f"Rows of different {name} cannot be used together: {rows[first]['video_id']} has {shown(one)} and "
            f"{rows[second]['video_id']} has {shown(other)}; make all of them in one way."
        )
    return next(iter(found))


def columns_of(rows: Dataset | Sequence[Mapping]) -> set[str]:
    """What every row tells."""
    return set(rows.column_names) if isinstance(rows, Dataset) else set.intersection(*(set(row) for row in rows))


def shown(value: object) -> str:
    """A value in a message, where the beginning of a fingerprint is enough."""
    return f"{value[:12]}…" if isinstance(value, str) else str(value)
