"""Files of features as they are passed around: which videos they hold, and the array of one of them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from transformers.utils import logging

from ..codebook.feature_shards import FeatureShards, open_shard, read_shard
from ..opening_videobert import leads_out_of
from .describing import as_utf8
from .videos import VIDEO_ENDINGS

logger = logging.get_logger(__name__)

FEATURE_ENDINGS = (".npy", ".npz", ".h5", ".hdf5", ".parquet")
PICKLES = (".pickle", ".pkl", ".pt", ".pth")
# Numbers in an array of one video: a day at one feature a second, 4,096 wide, is 354 million.
MOST_NUMBERS = 2**29
# What damaged files raise.
UNREADABLE = (ValueError, OSError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class FeatureSource(NamedTuple):
    """Where the features of one video are: a file, and in it the `key` of an array or the rows of a Parquet file."""

    path: Path
    key: str | tuple[int, ...] | None = None
    shape: tuple[int, ...] = ()
    error: str | None = None


def find_features(folder: str | PathLike) -> dict[str, FeatureSource]:
    """The features below a folder; only the heads of the files are read.

    A `.npy` file holds one video and is called after it (`ID.npy`, `ID.mp4.npy`). `.npz` and `.h5` hold one array, or
    one a video under the video's id. A Parquet file has a column `features`, with a row a video or a row a clip, and
    `video_id`. Pickles are never opened.

    Args:
        folder (`str` or `os.PathLike`):
            Searched with its subfolders; links to folders are not followed.

    Returns:
        `dict[str, FeatureSource]`: By video id, in the order of the paths. What cannot be read has an `error`.

    Raises:
        `ValueError`: There is no such folder, no features in it, one id in two files, or HDF5 without `h5py`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give a folder of features.")
    files = sorted(Path(top) / name for top, _, names in os.walk(folder) for name in names if not name.startswith("."))
    if pickles := [path for path in files if path.suffix.lower() in PICKLES]:
        logger.warning(
            f"Skipped {pickles[0]}" + (f" and {len(pickles) - 1} more" if len(pickles) > 1 else "") + ": pickles can "
            "run foreign code; save their arrays as .npy."
        )
    found = {}
    for path in files:
        if path.suffix.lower() not in FEATURE_ENDINGS:
            continue
        name = name_of(path, folder)
        if refused := refused_place(path, folder):
            sources = [(name, FeatureSource(path, error=refused))]
        else:
            sources = sources_in(path, name)
        for video_id, source in sources:
            if (other := found.setdefault(as_utf8(video_id), source)) is not source:
                raise ValueError(f"{other.path} and {path} both hold features of {video_id}; remove one of them.")
    if not found:
        raise ValueError(f"{folder} holds no features; looked for files ending in {', '.join(FEATURE_ENDINGS)}.")
    return found


def refused_place(path: Path, folder: Path) -> str | None:
    """Why a file is not even opened."""
    if path.is_symlink() and leads_out_of(path, folder):
        return f"{path} is a link that leads out of {folder}"
    return None if path.is_file() else f"{path} is no regular file"


def name_of(path: Path, folder: Path) -> str:
    """The id of the video of a file, without its endings: `a/b` for `a/b.mp4.npy`."""
    name = path.relative_to(folder).with_suffix("")
    return (name.with_suffix("") if name.suffix.lower() in VIDEO_ENDINGS else name).as_posix()


def sources_in(path: Path, name: str) -> Iterator[tuple[str, FeatureSource]]:
    """Ids and places of the features in a file, whose own video would be called `name`."""
    try:
        if path.suffix.lower() == ".parquet":
            yield from parquet_sources(path, name)
            return
        shapes = {".npy": npy_shapes, ".npz": npz_shapes}.get(path.suffix.lower(), h5_shapes)(path)
    except ImportError:  # a package of ours is missing, which is no fault of the file
        raise
    except Exception as error:  # readers of damaged heads raise anything, such as an error of Python's tokenizer
        yield name, FeatureSource(path, error=f"{path} cannot be read: {error}")
        return
    features = {key: shape for key, shape in shapes.items() if len(shape) == 2} or shapes
    if not features:
        yield name, FeatureSource(path, error=f"{path} holds no array of numbers")
    names = [name] if len(features) == 1 else without_common_end(list(features))
    for video_id, (key, shape) in zip(names, features.items(), strict=True):
        yield video_id, FeatureSource(path, key, shape, wrong_shape(path, key, shape))


def wrong_shape(path: Path, key: str | None, shape: tuple[int, ...]) -> str | None:
    """What is wrong with the shape of an array."""
    place = f"{path}, {key}," if key else f"{path}"
    if len(shape) != 2 or not shape[1]:
        return f"{place} has shape {shape}; the features of a video are (clips, feature_size)"
    if shape[0] * shape[1] > MOST_NUMBERS:
        return f"{place} has shape {shape}; at most {MOST_NUMBERS} numbers of one video are read"
    return None


def without_common_end(keys: list[str]) -> list[str]:
    """Ids out of keys: `v_a/c3d_features`, `v_b/c3d_features` are `v_a` and `v_b`."""
    paths = [PurePosixPath(key) for key in keys]
    if len({path.name for path in paths}) == 1:
        paths = [path.parent for path in paths]
    return [str(path) for path in paths]


def npy_shapes(path: Path) -> dict[None, tuple[int, ...]]:
    with open(path, "rb") as file:
        return {None: read_head(file)}


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                shapes[member.removesuffix(".npy")] = read_head(file)
    return shapes


def read_head(file) -> tuple[int, ...]:
    """The shape that the head of a numpy array tells.

    Raises:
        `ValueError`: It is no array of numbers.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    check_numbers(dtype)
    return shape


def check_numbers(dtype: np.dtype) -> None:
    if dtype.kind not in "fiu":
        raise ValueError(f"it holds {dtype}, not numbers" + (" (pickles are not read)" if dtype.hasobject else ""))


def open_h5(path: Path):
    """An HDF5 file.

    Raises:
        `ImportError`: `h5py` is missing.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError(f"{path} needs the package h5py: pip install h5py") from None
    return h5py.File(path, "r")


def h5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    shapes = {}

    def look(key, item):  # which is not called for links into other places and files
        if hasattr(item, "shape") and item.dtype.kind in "fiu":
            shapes[key] = item.shape

    with open_h5(path) as file:
        file.visititems(look)
    return shapes


def parquet_sources(path: Path, name: str) -> Iterator[tuple[str, FeatureSource]]:
    """A row a video, or a row a clip."""
    width = FeatureShards(path).feature_size  # says what is wrong with the column
    schema = open_shard(path).schema_arrow
    by_clip = not pa.types.is_nested(schema.field("features").type.value_type)
    if "video_id" in schema.names:
        ids = read_shard(path, ["video_id"])["video_id"].to_pylist()
    else:
        ids = [name] * open_shard(path).metadata.num_rows
    rows = {}
    for number, video_id in enumerate(ids):
        rows.setdefault(str(video_id), []).append(number)
    for video_id, numbers in rows.items():
        error = None
        if not by_clip and len(numbers) > 1:
            error = f"{path} holds {len(numbers)} rows of {video_id}; one a video is allowed"
        yield video_id, FeatureSource(path, tuple(numbers), (len(numbers) if by_clip else 0, width), error)


def read_features(source: FeatureSource, width: int | None = None) -> np.ndarray:
    """The features of one video.

    Args:
        source (`FeatureSource`):
            Where they are, as of [`find_features`].
        width (`int`, *optional*):
            How wide they must be.

    Returns:
        `np.ndarray` of shape (clips, feature_size): float32.

    Raises:
        `ValueError`: They cannot be read, or have another shape.
    """
    if source.error is not None:
        raise ValueError(source.error)
    path = source.path
    try:
        features = load_array(source)
        check_numbers(features.dtype)
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if wrong := wrong_shape(path, source.key if isinstance(source.key, str) else None, features.shape):
        raise ValueError(wrong)
    if width is not None and features.shape[1] != width:
        raise ValueError(f"{path} has features of width {features.shape[1]}; here they are {width} wide")
    with np.errstate(over="ignore"):
        return np.asarray(features, dtype=np.float32)


def load_array(source: FeatureSource) -> np.ndarray:
    path, ending = source.path, source.path.suffix.lower()
    if ending == ".parquet":
        shards = FeatureShards(path, rows=source.key)
        blocks = [block.numpy() for piece in range(shards.num_pieces) for block in shards.read(piece)]
        return np.concatenate([np.zeros((0, source.shape[1]), np.float32), *blocks])
    if ending == ".npy":
        return np.load(path, allow_pickle=False)
    if ending == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return archive[source.key]
    with open_h5(path) as file:
        data = file[source.key]
        if data.external or data.is_virtual:
            raise ValueError(f"{source.key} lies in another file, which is not followed")
        return data[()]
