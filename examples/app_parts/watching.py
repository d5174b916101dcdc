"""Videos of visitors, watched in processes of their own: what hangs or crashes there ends nothing here, and a visitor
who stops it ends it for good."""

from __future__ import annotations

import base64
import copy
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchcodec.encoders import JpegEncoder

from processing import MediaError, VideoBertProcessor
from processing.codes_videobert import Clip, clips_of, noted_in_row
from processing.corpus.isolation import Child, EndedError, make_describers
from processing.description_videobert import PICTURES, Progress, unwatched
from processing.media_videobert import open_media

PICTURE_PIXELS = 112
DEADLINE = 180.0  # seconds without any progress
MINUTES_OF_WORK = 10.0  # so many for each minute that a video may last: large frames take long, too


class StoppedError(ValueError):
    """The visitor does not want to know any more."""


@dataclass
class Seen:
    """A video that was watched.

    Args:
        name (`str`):
            Of its file.
        row (`dict`):
            As [`~VideoBertProcessor.tokenize`] returns it.
        pictures (`list[str]`):
            For each clip the frame in its middle: a JPEG in base64.
    """

    name: str
    row: dict
    pictures: list[str]

    @property
    def visual_ids(self) -> list[int]:
        return self.row["visual_ids"]

    @property
    def clips(self) -> list[Clip]:
        return clips_of(self.row)

    @property
    def clip_seconds(self) -> float:
        return self.row["clip_seconds"]


class Looker:
    """Describes videos in the other process, if they are not too long, and adds a picture of each clip.

    Args:
        processor ([`VideoBertProcessor`]):
            Describes them; its codebook stays at home.
        max_minutes (`float`):
            The longest video that is looked at.
    """

    def __init__(self, processor: VideoBertProcessor, max_minutes: float):
        self.processor, self.max_minutes = copy.copy(processor), max_minutes
        self.processor.codebook = None

    def describe(
        self, videos: list, names: list[str], subtitles: list, on_progress: Progress = unwatched
    ) -> list[dict]:
        """As the processor does, with `pictures`; a video that is refused is a row with nothing but an `error`."""
        if not videos:
            return self.processor.describe([], [], [])  # builds its networks
        return [self._describe(*one, on_progress) for one in zip(videos, names, subtitles, strict=True)]

    def _describe(self, video: str, name: str, subtitles, on_progress: Progress) -> dict:
        try:
            with open_media(video) as media:
                seconds = media.duration
        except MediaError as error:
            return refused(str(error))
        if seconds > 60 * self.max_minutes:
            return refused(f"{video}: it lasts {seconds / 60:.1f} minutes; allowed are {self.max_minutes:g}.")
        clips = self.processor.video_processor.num_clips(seconds)

        def tell(stage: str) -> None:
            on_progress(f"{stage} of {clips}")

        (row,) = self.processor.describe([video], [name], [subtitles], on_progress=tell)
        return {**row, "pictures": clip_pictures(video, row["clip_seconds"], len(row["features"]), tell)}


def refused(error: str) -> dict:
    """A row of a video that nobody looked at."""
    return {"error": error, "features": np.zeros((0, 0), np.float32)}


def clip_pictures(video: str, clip_seconds: float, clips: int, on_progress: Progress = unwatched) -> list[str]:
    """The frame in the middle of each of the first clips, as far as they can be read: JPEG in base64."""
    pictures = []
    try:
        with open_media(video) as media:
            # Two looks at a clip: the second one is in its middle.
            shape = PICTURE_PIXELS, (PICTURE_PIXELS, PICTURE_PIXELS)
            looks = media.iter_clips(clip_seconds, 2 / clip_seconds, *shape) if clips else ()
            for _, look in zip(range(clips), looks, strict=False):
                pictures.append(jpeg(look[1]))
                on_progress(PICTURES)
    except MediaError:
        pass  # the row has told of it
    return pictures


def jpeg(frame) -> str:
    """A frame (3, H, W) uint8 as JPEG in base64."""
    return base64.b64encode(JpegEncoder(frame.contiguous()).to_tensor().numpy().tobytes()).decode()


class Watcher:
    """Lets a few processes watch the videos of all visitors.

    Args:
        processor ([`VideoBertProcessor`]):
            With its networks by name.
        max_minutes (`float`):
            The longest video that is looked at.
        workers (`int`, *optional*, defaults to 1):
            How many processes.
    """

    def __init__(self, processor: VideoBertProcessor, max_minutes: float, workers: int = 1):
        self.codebook, self._most_seconds = processor.codebook, 60 * MINUTES_OF_WORK * max_minutes
        self._free, self._lock = queue.SimpleQueue(), threading.Lock()
        self._busy: dict[Child, str] = {}
        for child in make_describers(Looker(processor, max_minutes), workers, DEADLINE, None):
            self._free.put(child)
        # The system ends a process with the thread that has started it: these threads stay.
        self._pool = ThreadPoolExecutor(workers)

    def look(self, path: str, visitor: str, on_progress: Callable[[str, int, int | None], object]) -> Seen:
        """Watches a video, when a process is free.

        Args:
            path (`str`):
                The file.
            visitor (`str`):
                Who may stop it.
            on_progress (`Callable[[str, int, int], object]`):
                Told the stage, and how many of how many clips, or blocks of sound, it has come to.

        Returns:
            [`Seen`]

        Raises:
            StoppedError: The visitor stopped it.
            ValueError: The video cannot be looked at; the sentence says why.
        """
        work = self._pool.submit(copy_context().run, self._watch, path, visitor, on_progress)
        row = work.result()
        features, pictures = row.pop("features").copy(), row.pop("pictures", [])
        if not len(features) and not row.get("sentences"):
            told = row["error"] or f"There is no clip of {row['clip_seconds']} s in it, and nobody speaks."
            raise ValueError(told.replace(path, Path(path).name))
        row["error"] = row["error"] and row["error"].replace(path, Path(path).name)
        ids = self.codebook.encode(features).tolist() if len(features) else []
        return Seen(Path(path).name, {**row, "visual_ids": ids, **noted_in_row(self.codebook)}, pictures)

    def _watch(self, path: str, visitor: str, on_progress: Callable) -> dict:
        child, name = self._free.get(), Path(path).name
        ends = time.monotonic() + self._most_seconds

        def on_beat(text: str) -> None:
            if time.monotonic() > ends:
                child.close()
                raise ValueError(f"{name}: it is too much work, and was given up after {self._most_seconds:.0f} s.")
            stage, _, clips, count = text.split()
            on_progress(stage, int(count), int(clips) if stage == PICTURES else None)

        child.on_beat = on_beat
        with self._lock:
            self._busy[child] = visitor
        whole = False
        try:
            (row,) = child.describe([path], [Path(path).stem], [None])
            whole = True
            return row
        except KeyboardInterrupt:
            raise StoppedError("Stopped.") from None
        except EndedError as error:
            whole = True  # it starts anew by itself
            raise ValueError(f"{name}: the process that watched it {error}.") from error
        finally:
            with self._lock:
                whole = self._busy.pop(child, None) is not None and whole
            if not whole:
                child.close()
            self._free.put(child if whole else Child(child.begin, child.deadline, child.memory))

    def stop(self, visitor: str) -> None:
        """Ends whatever is watched for a visitor."""
        with self._lock:
            theirs = [child for child, whose in self._busy.items() if whose == visitor]
            for child in theirs:
                del self._busy[child]
                child.close()

    def close(self) -> None:
        """Ends all processes."""
        with self._lock:
            for child in self._busy:
                child.close()
            self._busy.clear()
        self._pool.shutdown()
        while not self._free.empty():
            self._free.get().close()
