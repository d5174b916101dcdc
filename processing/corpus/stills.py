"""A folder of frames: videos of which only stills are left, each of which stands for a clip of its stretch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from datasets import Dataset
from torchcodec.decoders import decode_image

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
        if outside := [still.path for still in stills if still.path.parent != frames]:
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
        pictures = [decode_image(still.path) for still in stills[video_id]]
        clips = [picture.expand(cutter.frames_per_clip, -1, -1, -1) for picture in pictures]
        features = torch.cat([processor.features(clip) for clip in clips])
        last = max(still.end for still in stills[video_id])
        return described_row(video_id, features.numpy(), cutter.clip_seconds, last)

    describe_into_shards(stills, describe, shards, cutter.clip_seconds)
    return encode_rows(processor.codebook, shards, output_dir / "ids", stills)
