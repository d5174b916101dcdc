"""From one video to its row: what is seen, what is said, and what was wrong with the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from .backbone_videobert import Backbone, FeatureError
from .media_videobert import MISSING_SECONDS, SAMPLE_RATE, Media, MediaError, open_media
from .subtitles_videobert import read_subtitles
from .video_processing_videobert import VideoBertVideoProcessor


def look_at_video(
    video, video_id: str | None, video_processor: VideoBertVideoProcessor, backbone: Backbone
) -> tuple[dict, list[str]]:
    """The row of a video without what is said in it.

    Args:
        video: A path or the bytes of a file.
        video_id (`str`, *optional*): Name of the row; by default the file's name without its ending.
        video_processor ([`VideoBertVideoProcessor`]): Cuts the video into clips.
        backbone ([`Backbone`]): Gives the features of clips.

    Returns:
        `tuple[dict, list[str]]`: The row, with `features` `(clips, D)`, and the problems that were met.
    """
    row = {
        "video_id": video_id or named_video(video) or "video",
        "duration": None,
        "clip_seconds": video_processor.clip_seconds,
        "has_speech": False,
        "sentences": [],
        "features": torch.zeros(0, backbone.feature_size),
        "error": None,
    }
    problems, pictures_broken = [], False
    try:
        with open_media(video) as media:
            pictures_broken = media.has_audio  # until they have told how long they last
            row["duration"] = media.duration
            row["features"] = backbone.features(until_damage(video_processor.iter_clips(media), problems))
            problems += media.problems
    except (MediaError, FeatureError) as error:
        problems.append(str(error))
    if pictures_broken and row["duration"] is None:
        with suppress(MediaError), open_sound(video) as media:
            row["duration"] = media.duration
    return row, problems


def named_video(video) -> str | None:
    """The name that a video has by its file; `None` of bytes."""
    return Path(video).stem if isinstance(video, (str, os.PathLike)) else None


def has_sound(video) -> bool:
    """Whether there is something to hear; not where the file cannot be opened."""
    try:
        with open_media(video) as media:
            return media.has_audio
    except MediaError:
        return False


def until_damage(stream: Iterator, problems: list[str]) -> Iterator:
    """What a stream gives until a damaged place, which goes into `problems`: the rest is not lost with it."""
    try:
        yield from stream
    except MediaError as error:
        problems.append(str(error))


@contextmanager
def open_sound(video) -> Iterator[Media]:
    """A video opened for what is said in it. Where its pictures are broken, it is taken for sound alone."""
    with open_media(video) as media:
        media.leave_broken_pictures()
        yield media


def hear_video(video, problems: list[str]) -> Iterator[tuple[np.ndarray, float]]:
    """The sound of a video in blocks, up to a damaged place; opened when the first block is asked for."""
    try:
        with open_sound(video) as media:
            heard = 0.0
            for block in media.iter_speech():
                yield block
                heard += len(block[0]) / SAMPLE_RATE
            problems += media.problems
            if heard and media.stated_sound > heard + MISSING_SECONDS:
                problems.append(f"{media.name}: only {heard:.1f} of {media.stated_sound:.1f} s of sound are there")
    except MediaError as error:
        problems.append(str(error))


def sentences_of_subtitles(video, source, video_id: str | None, problems: list[str], word_times: bool = False) -> list:
    """The sentences of a video's subtitles on the video's clock; see [`read_subtitles`].

    Raises:
        ValueError: The video or the subtitles cannot be read.
    """
    with open_sound(video) as media:
        duration = media.duration or None
        return read_subtitles(source, video_id, duration, subtitle_zero(media), problems, word_times)


def subtitle_zero(media: Media) -> float:
    """When the first frame is displayed on the clock of subtitles, which begins with whatever the file begins with."""
    if not media.has_video:
        return 0.0
    sound = media.begin
    if media.has_audio:
        with suppress(MediaError):  # of a broken sound stream, which subtitles make up for
            sound = float(media.sound_header().begin_stream_seconds or 0)
    return media.begin - min(media.begin, sound)
