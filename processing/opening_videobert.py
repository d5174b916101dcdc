"""Opening untrusted files: FFmpeg sees the bytes of one open file, for so long, and never a path.

A file from outside may be truncated, huge, mislabelled or hostile. Four rules keep it harmless:

- FFmpeg never sees a path, only the bytes of one open file: a playlist named `.mp4` cannot lead to other files.
- What a header claims is checked before work is done on it: pixels, sample rate, channels, seconds.
- A file has a time limit; when it is up, FFmpeg is told that the file ends here.
- Whatever the decoder raises becomes a [`MediaError`]: one sentence that names the file and the reason.
"""

import errno
import io
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

from .transport_videobert import Stamps, steady_stamps

logger = logging.get_logger(__name__)

MAX_SECONDS = 24 * 3600  # a broken timestamp can claim years
# Reading a file may take this long, and so many times its length more; the slowest codecs on one core need less.
TIME_LIMIT, TIME_LIMIT_PER_SECOND = 300, 5
NO_FILE = "no regular file"
# ZeroDivisionError: libraries divide by what a header says.
DECODER_ERRORS = (RuntimeError, ValueError, OSError, MemoryError, ArithmeticError)


class MediaError(ValueError):
    """A video or sound that cannot be read; the message is one sentence that names the file and the reason."""


class ReadingClock:
    """Counts the seconds spent inside its `with` blocks, nested ones once.

    Args:
        limit (`float`):
            Seconds after which it has expired.
    """

    def __init__(self, limit: float):
        self.limit = limit
        self._spent = 0.0
        self._since = 0.0
        self._depth = 0

    def __enter__(self):
        if not self._depth:
            self._since = time.monotonic()
        self._depth += 1

    def __exit__(self, *exc):
        self._depth -= 1
        if not self._depth:
            self._spent += time.monotonic() - self._since

    @property
    def expired(self) -> bool:
        """Whether more than the limit was spent."""
        return self._spent + (time.monotonic() - self._since if self._depth else 0) > self.limit


class View:
    """A reader with its own place in a shared file, so that several decoders never move each other's place.

    It shows `size` bytes of the file. When the time is up the file ends: FFmpeg, which is deaf to Python while it
    searches a file, then returns.

    Args:
        file (binary file):
            What is read.
        clock ([`ReadingClock`]):
            Tells when the time is up.
        lock (`threading.Lock`):
            Of the file: frames are decoded in a thread of their own.
        size (`int`):
            Bytes that are shown.
        stamps ([`Stamps`], *optional*):
            Times that are shown instead of those in the file.
    """

    def __init__(self, file, clock: ReadingClock, lock: threading.Lock, size: int, stamps: Stamps | None = None):
        self.file = file
        self.clock = clock
        self.lock = lock
        self.size = size
        self.stamps = stamps
        self.place = 0

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or the rest."""
        with self.lock:
            if self.clock.expired or getattr(self.file, "closed", False):
                return b""
            self.file.seek(self.place)
            rest = max(0, self.size - self.place)
            data = self.file.read(rest if size < 0 else min(size, rest))
        if self.stamps is not None:
            data = self.stamps.written_into(data, self.place)
        self.place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the place, as files do."""
        if whence == os.SEEK_CUR:
            offset += self.place
        elif whence == os.SEEK_END:
            offset += self.size
        self.place = offset
        return offset


class Source:
    """An untrusted file that is open: views of its bytes, a limit of time, and errors that are one sentence.

    Args:
        video (`str`, `pathlib.Path`, `bytes` or a binary file object):
            See [`open_media`].
        time_limit (`float`, *optional*):
            Seconds of reading; by default five minutes and five times its length.

    Attributes:
        name (`str`):
            The path, or what stands for it in messages.
        size (`int`):
            Bytes of the file.
        problems (`list[str]`):
            Damage that was met and worked around while reading, one sentence each.
    """

    def __init__(self, video, time_limit: float | None = None):
        self._file, self.name, self._owned = _open_file(video)
        self._lock = threading.Lock()
        self._clock = ReadingClock(TIME_LIMIT if time_limit is None else time_limit)
        self._limit_grows = time_limit is None
        self._stamps = None
        self.problems: list[str] = []
        try:
            self.size = self._file.seek(0, os.SEEK_END)
            if not self.size:
                raise MediaError(f"{self.name}: the file is empty")
            with self.reading("the file cannot be read"):
                self._stamps = steady_stamps(self.view())
        except BaseException:
            self.close()
            raise

    def view(self, size: int | None = None) -> View:
        """A reader of the file, or of its first `size` bytes."""
        return View(self._file, self._clock, self._lock, self.size if size is None else size, self._stamps)

    @contextmanager
    def reading(self, failure: str) -> Iterator[None]:
        """Counts the time, and makes one sentence of what the decoder raises: `failure`, and the decoder's reason."""
        try:
            with self._clock:
                yield
        except MediaError:
            raise
        except DECODER_ERRORS as error:
            self._check_time()
            raise MediaError(f"{self.name}: {failure} ({_reason(error)})") from error
        self._check_time()

    def in_time(self, stream: Iterator, failure: str) -> Iterator:
        """The items of a stream; the time between them is the caller's and does not count."""
        while True:
            with self.reading(failure):
                item = next(stream, None)
            if item is None:
                return
            yield item

    def allow_time_for(self, seconds: float):
        """Lets the limit grow with the length of what is read, unless the caller set one."""
        if self._limit_grows:
            self._clock.limit = TIME_LIMIT + TIME_LIMIT_PER_SECOND * seconds

    def note(self, problem: str):
        """Records damage that was worked around, and warns."""
        if problem not in self.problems:  # read twice, a file is as damaged as before
            self.problems.append(problem)
            logger.warning(f"{self.name}: {problem}")

    def close(self):
        """Closes the file if it was opened here."""
        with self._lock:
            if self._owned:
                self._file.close()

    def _check_time(self):
        if self._clock.expired:
            raise MediaError(f"{self.name}: given up after {self._clock.limit:g} s of reading")


def _reason(error: Exception) -> str:
    """The decoder's message without its source position, advice and line breaks."""
    message = re.sub(r"^\w+, \S+:\d+, ", "", str(error).strip())
    return re.split(r"\.\s|\n", message)[0].rstrip(". ") or type(error).__name__


def _open_file(video) -> tuple[io.IOBase, str, bool]:
    """(seekable binary file, its name for messages, whether it is ours to close)"""
    if isinstance(video, (bytes, bytearray, memoryview)):
        return io.BytesIO(video), f"<{len(video)} bytes>", True
    if isinstance(video, (str, Path)):
        path = os.fspath(video)
        try:
            return open_regular(path), path, True
        except (FileNotFoundError, ValueError) as error:  # no address, no FFmpeg protocol such as "concat:a|b"
            raise MediaError(f"{path}: no such file (a path must lead to an existing regular file)") from error
        except OSError as error:
            raise MediaError(f"{path}: {error.strerror}") from error
    if not (hasattr(video, "read") and hasattr(video, "seek")):
        raise MediaError(f"a video must be a path, bytes or an open binary file, not {type(video).__name__}")
    name = str(getattr(video, "name", "<file>"))
    try:
        video.seek(0)
        binary = isinstance(video.read(0), bytes)
    except (OSError, ValueError) as error:
        raise MediaError(f"{name}: the open file cannot be read from its start ({error})") from error
    if not binary:
        raise MediaError(f"{name}: the file is open as text; open it in binary mode")
    return video, name, False


def open_regular(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a regular file, which is asked of what was opened: a name may lead elsewhere a moment later.

    Args:
        path (`str` or `os.PathLike`):
            Of a pipe that nobody writes to it is not waited for.

    Raises:
        FileNotFoundError: There is no such file, or it is a folder, pipe, socket or device.
        OSError: It may not be read.
        ValueError: No file can have this name.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if os.path.exists(path) and not os.path.isfile(path):  # a socket cannot be opened at all
            raise FileNotFoundError(errno.ENOENT, NO_FILE, os.fspath(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise FileNotFoundError(errno.ENOENT, NO_FILE, os.fspath(path))
    return os.fdopen(number, "rb")


def leads_out_of(path: str | os.PathLike, folder: str | os.PathLike) -> bool:
    """Whether links in a path lead out of the folder that it lies in: whoever made a folder of videos might otherwise
    choose which files of this machine are read.

    A folder of the Hub's cache holds links only, to the `blobs` beside its snapshots, which are a part of it.

    Args:
        path (`str` or `os.PathLike`):
            Below the folder.
        folder (`str` or `os.PathLike`):
            Itself reached by whatever way.
    """
    folder, target = Path(folder).resolve(), Path(path).resolve()
    snapshots = [parent for parent in (folder, *folder.parents) if parent.parent.name == "snapshots"]
    allowed = [folder, *(snapshot.parents[1] / "blobs" for snapshot in snapshots)]
    return not any(target.is_relative_to(place) for place in allowed)


def is_one_video(videos) -> bool:
    """Whether this is one video, no list of them: a path, bytes, an array, or a flat list of visual ids (or none).

    Args:
        videos:
            One video or several.
    """
    if isinstance(videos, (str, os.PathLike, bytes)) or hasattr(videos, "read"):
        return True
    if isinstance(videos, (np.ndarray, torch.Tensor)):
        # numpy puts lists of unequal lengths into an array of objects.
        return videos.ndim in (1, 4) and videos.dtype != object
    return isinstance(videos, Sequence) and (not videos or isinstance(videos[0], (int, np.integer)))
