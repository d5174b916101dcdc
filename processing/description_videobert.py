"""From one video to its row: what is seen, what is said, and what was wrong with the file.

Nothing that a file does ends the work on others. What is foreseen, a [`MediaError`], becomes a sentence in the row's
`error`; so does any other exception, whose traceback is logged: it is a fault of ours.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

from .backbone_videobert import Backbone, FeatureError
from .media_videobert import MISSING_SECONDS, Media, MediaError, open_media
from .sound_videobert import SAMPLE_RATE
from .speech_videobert import SpeechRecognizer, language_code
from .subtitles_videobert import THREE_LETTERS, read_subtitles
from .video_processing_videobert import VideoBertVideoProcessor
from .waiting_videobert import WAITING

logger = logging.get_logger(__name__)

PICTURES, SPEECH = "pictures", "speech"  # the stages of a description
UNFORESEEN = "an unforeseen error"
Progress = Callable[[str], None]  # gets the stage that has come a little further


def unwatched(stage: str) -> None:
    """Nobody wants to know."""


@dataclass
class Findings:
    """What was met in one video: `problems`, which the next run of a build tries again, and `notes`, of no fault."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tell(self, row: dict) -> None:
        """Writes them into a row. Opened for its pictures and for its sound, a file tells of the same damage twice."""
        row["error"] = "; ".join(dict.fromkeys(self.problems)) or None
        row["notes"] = "; ".join(dict.fromkeys(self.notes)) or None


class Listening:
    """Which sound track of a video is heard where there are several, and in which language its subtitles are.

    Args:
        language (`str`, *optional*):
            Name or code of a language: the first track in it is heard, if there is one.
        sound_track (`int`, *optional*):
            Or the number of the track, counted from 0. By default the file decides.
        translated (`bool`, *optional*, defaults to `False`):
            Whether subtitles are in English, whatever is spoken.
    """

    def __init__(self, language: str | None = None, sound_track: int | None = None, translated: bool = False):
        self.language = language_code(language)
        self.written = "en" if translated else self.language
        self.sound_track = sound_track

    @contextmanager
    def open(self, video) -> Iterator[Media]:
        """Opens a video with the track that is to be heard."""
        with open_media(video) as media:
            if self.sound_track is not None and media.has_audio:
                media.sound.choose(self.sound_track)
            elif self.language is not None and media.has_audio:
                spoken = [_language_of(tag) for tag in media.sound.languages]
                if self.language in spoken and spoken[media.sound.chosen] != self.language:
                    media.sound.choose(spoken.index(self.language))
            yield media

    @contextmanager
    def open_sound(self, video) -> Iterator[Media]:
        """Opens a video for what is said in it. Where its pictures are broken, it is taken for sound alone."""
        with self.open(video) as media:
            media.leave_broken_pictures()
            yield media


def _language_of(tag: str) -> str:
    """Whisper's code of a language as files write it: `"ger"`, `"en-US"`."""
    first = tag.lower().split("-")[0]
    return THREE_LETTERS.get(first, first)


@contextmanager
def told_in(problems: list[str], video, foreseen=(MediaError, FeatureError)) -> Iterator[None]:
    """What goes wrong with one video becomes one of its problems; what nobody has foreseen is logged as well."""
    try:
        yield
    except foreseen as error:
        problems.append(str(error))
    except Exception as error:
        name = video if isinstance(video, (str, os.PathLike)) else "a video"
        logger.exception(f"{name}: {UNFORESEEN}")
        problems.append(f"{name}: {UNFORESEEN} ({type(error).__name__}: {error})".replace("\n", " "))


def look_at_video(
    video,
    video_id: str | None,
    video_processor: VideoBertVideoProcessor,
    backbone: Backbone,
    listening: Listening,
    on_progress: Progress = unwatched,
) -> tuple[dict, Findings]:
    """The row of a video without what is said in it.

    Args:
        video:
            A path or the bytes of a file.
        video_id (`str`, *optional*):
            Name of the row; by default the file's name without its ending.
        video_processor ([`VideoBertVideoProcessor`]):
            Cuts the video into clips.
        backbone ([`Backbone`]):
            Gives the features of clips.
        listening ([`Listening`]):
            Which sound is heard: the last picture stays until it ends.
        on_progress (`Callable[[str], None]`, *optional*):
            Called with `"pictures"` at every clip, in the thread that cuts them.

    Returns:
        `tuple[dict, Findings]`: The row, with `features` `(clips, D)`, and what was met.
    """
    row = {
        "video_id": video_id or named_video(video) or "video",
        "duration": None,
        "clip_seconds": video_processor.clip_seconds,
        "has_speech": False,
        "sentences": [],
        "features": torch.zeros(0, backbone.feature_size),
        "error": None,
        "notes": None,
    }
    findings, only_heard = Findings(), False
    problems, begun = findings.problems, time.monotonic()
    with told_in(problems, video), listening.open(video) as media:
        only_heard = media.has_audio  # until the pictures have told how long they last
        row["duration"] = media.duration
        WAITING.add(time.monotonic() - begun)
        clips = told_of(until_damage(video_processor.iter_clips(media), problems), PICTURES, on_progress)
        row["features"] = backbone.features(clips)
        problems += media.problems
    if only_heard and row["duration"] is None:
        with suppress(Exception), listening.open_sound(video) as media:  # said once already
            row["duration"] = media.duration
    return row, findings


def named_video(video) -> str | None:
    """The name that a video has by its file; `None` of bytes."""
    return Path(video).stem if isinstance(video, (str, os.PathLike)) else None


def has_sound(video) -> bool:
    """Whether there is something to hear. A file that cannot be opened says so when it is looked at."""
    with suppress(Exception), open_media(video) as media:
        return media.has_audio
    return False


def until_damage(stream: Iterator, problems: list[str]) -> Iterator:
    """What a stream gives until a damaged place, which goes into `problems`: the rest is not lost with it."""
    try:
        yield from stream
    except MediaError as error:
        problems.append(str(error))


def told_of(stream: Iterator, stage: str, on_progress: Progress) -> Iterator:
    """What a stream gives, with word of every item."""
    for item in stream:
        on_progress(stage)
        yield item


def hear_video(
    video, findings: Findings, listening: Listening, on_progress: Progress = unwatched
) -> Iterator[tuple[np.ndarray, float]]:
    """The sound of a video in blocks, up to a damaged place; opened when the first block is asked for."""
    with told_in(findings.problems, video), listening.open_sound(video) as media:
        heard = 0.0
        for block in told_of(media.iter_speech(), SPEECH, on_progress):
            yield block
            heard += len(block[0]) / SAMPLE_RATE
        findings.problems += media.problems
        if len(media.sound.languages) > 1:
            tracks = ", ".join(f"{number} ({tag})" for number, tag in enumerate(media.sound.languages))
            findings.notes.append(f"of its sound tracks {tracks} number {media.sound.chosen} was heard")
        stated = media.sound.find_stated_seconds(media.has_video) if heard else 0
        if stated > heard + MISSING_SECONDS:
            findings.problems.append(f"{media.name}: only {heard:.1f} of {stated:.1f} s of sound are there")


def sentences_heard(
    recognizer: SpeechRecognizer,
    videos: list,
    findings: list[Findings],
    durations: list[float | None],
    listening: Listening,
    on_progress: Progress = unwatched,
) -> list[list[dict]]:
    """The sentences of several videos, heard together; see [`SpeechRecognizer.transcribe`].

    If that fails for a reason that nobody has foreseen, they are heard one by one: it costs only its own video.
    """
    try:
        sounds = [hear_video(video, met, listening, on_progress) for video, met in zip(videos, findings, strict=True)]
        return recognizer.transcribe(sounds, durations, problems=[met.notes for met in findings])
    except ValueError:  # of settings, such as a language that the checkpoint does not know
        raise
    except Exception as error:
        logger.warning(f"Hearing {len(videos)} videos together failed ({error}); they are heard one by one.")
    said = [[] for _ in videos]
    for number, (video, met, duration) in enumerate(zip(videos, findings, durations, strict=True)):
        with told_in(met.problems, video):
            sounds = [hear_video(video, met, listening, on_progress)]
            (said[number],) = recognizer.transcribe(sounds, [duration], problems=[met.notes])
    return said


def sentences_of_subtitles(
    video, source, video_id: str | None, findings: Findings, listening: Listening, word_times: bool = False
) -> list[dict]:
    """The sentences of a video's subtitles on the video's clock; see [`read_subtitles`].

    Raises:
        ValueError: The video or the subtitles cannot be read.
    """
    with listening.open_sound(video) as media:
        duration, zero = media.duration or None, subtitle_zero(media)
        return read_subtitles(
            source,
            video_id,
            duration,
            zero,
            findings.problems,
            word_times,
            listening.written,
            findings.notes,
        )


def subtitle_zero(media: Media) -> float:
    """When the first frame is displayed on the clock of subtitles, which begins with whatever the file begins with."""
    if not media.has_video:
        return 0.0
    sound = media.begin
    if media.has_audio:
        with suppress(MediaError):  # of a broken sound stream, which subtitles make up for
            sound = float(media.sound.read_header().begin_stream_seconds or 0)
    return media.begin - min(media.begin, sound)
