"""A folder of frames: videos of which only stills are left, each of which stands for a clip of its stretch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from datasets import Dataset
from PIL import Image
from torchcodec.decoders import decode_image

from ..media_videobert import MAX_PIXELS, MediaError
from ..opening_videobert import leads_out_of, open_regular
from ..processing_videobert import VideoBertProcessor
from .features import describe_into_shards, described_row
from .ids import encode_rows
from .settings import check_settings

INDEX = "index.jsonl"


class Still(NamedTuple):
    """A frame, and the stretch of the video that it stands for, in seconds."""

    path: Path
    start: float
    end: float


def find_stills(folder: str | PathLike) -> dict[str, list[Still]]:
    """What the index of a folder of frames lists.

    Args:
        folder (`str` or `os.PathLike`):
            With `index.jsonl`, a line a video: `{"video_id", "steps": [{"frame", "start", "end"}]}`. The frames lie
            in it or in its subfolder `frames`.

    Returns:
        `dict[str, list[Still]]`: By video id.

    Raises:
        `ValueError`: The index cannot be read, or names a file outside the folder.
    """
    folder, found = Path(folder), {}
    frames = folder / "frames" if (folder / "frames").is_dir() else folder
    for number, line in enumerate((folder / INDEX).read_text(encoding="utf-8").splitlines(), 1):
        try:
            video = json.loads(line)
            stills = [Still(frames / one["frame"], float(one["start"]), float(one["end"])) for one in video["steps"]]
            found[video["video_id"]] = stills
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / INDEX}, line {number}, is no video with steps ({error!r})") from None
        if outside := [
            still.path for still in stills if still.path.parent != frames or leads_out_of(still.path, folder)
        ]:
            raise ValueError(f"{folder / INDEX}, line {number}, names {outside[0]}, which is not in {frames}")
    return found


def encode_stills(stills: Mapping[str, Sequence[Still]], processor: VideoBertProcessor, output_dir: Path) -> Dataset:
    """Rows whose visual id i is that of the i-th still, shown for a whole clip.

    Args:
        stills (`Mapping[str, Sequence[Still]]`):
            By video id, as of [`find_stills`].
        processor ([`VideoBertProcessor`]):
            With backbone and codebook.
        output_dir (`Path`):
            Gets `features/` and `ids/`; what is in them is not made again.

    Returns:
        [`datasets.Dataset`]: One row a video; the `error` of a bad one says what is wrong.
    """
    shards, cutter = output_dir / "features", processor.video_processor
    shards.mkdir(parents=True, exist_ok=True)
    check_settings(shards, processor, {})

    def describe(video_id: str) -> dict:
        pictures = [read_still(still.path) for still in stills[video_id]]
        clips = [picture.expand(cutter.frames_per_clip, -1, -1, -1) for picture in pictures]
        features = torch.cat([processor.features(clip) for clip in clips])
        last = max(still.end for still in stills[video_id])
        return described_row(video_id, features.numpy(), cutter.clip_seconds, last)

    describe_into_shards(stills, describe, shards, cutter.clip_seconds)
    return encode_rows(processor.codebook, shards, output_dir / "ids", stills)


def read_still(path: Path) -> torch.Tensor:
    """The pixels of a picture, whose header is read before it is decoded: a small file may hold gigabytes.

    Raises:
        MediaError: It is no picture, or a larger one than a frame of a video may be.
        OSError: It is no regular file, or cannot be read.
    """
    with open_regular(path) as file:
        content = file.read()
    try:
        width, height = Image.open(io.BytesIO(content)).size
    except Exception as error:  # of many readers
        raise MediaError(f"{path}: it is no picture ({error})") from error
    if width * height > MAX_PIXELS:
        raise MediaError(f"{path}: a picture of {width} x {height} exceeds the {MAX_PIXELS} pixels allowed")
    return decode_image(content)
