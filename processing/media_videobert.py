"""Opening untrusted media safely: frames and sound at their true times.

A file from outside may be truncated, huge, mislabelled or hostile. Four rules keep it harmless:

- FFmpeg never sees a path, only the bytes of one open file: a playlist named `.mp4` cannot lead to other files.
- The size of a frame is checked before it is decoded, and only a few frames of full size are held at a time.
- A file has a time limit; when it is up, FFmpeg is told that the file ends here.
- Whatever the decoder raises becomes a [`MediaError`]: one sentence that names the file and the reason.

A video is scanned once (its packets' times, nothing is decoded: headers promise frames that are not there) and then
decoded once, from the first frame to the last. Frames are made small by torch, not by the decoder's own transforms:
those convert and scale more than twice as slowly, and ours are equal to the standard processor's to the last bit.

All times are seconds on the video's own clock, which starts at the first displayed frame.
"""

import io
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torchcodec.decoders import (
    AudioDecoder,
    AudioStreamMetadata,
    Demuxer,
    RawFrame,
    VideoStreamHeaderMetadata,
    get_container_metadata,
)
from transformers.utils import logging

from .frames_videobert import (
    ahead,
    count_clips,
    decoded_frames,
    frame_times,
    frames_in_place,
    picture_maker,
    pictures_at,
    resized_shape,
)
from .sound_videobert import SAMPLE_RATE, blocks_of, decoded_sound, riff_size, sound_in_place

logger = logging.get_logger(__name__)

MAX_PIXELS = 8192 * 4320
MAX_SECONDS = 24 * 3600  # a broken timestamp can claim years
# Headers are not exact; a video shorter than promised by more than this has been cut off.
MISSING_SECONDS = 1.5
# Reading a file may take this long, and so many times its length more; the slowest codecs on one core need less.
TIME_LIMIT, TIME_LIMIT_PER_SECOND = 300, 5
# FFmpeg's clock for what has none: so many frames a second has a cover that lies beside the sound.
COVER_FPS = 90_000
DECODER_ERRORS = (RuntimeError, ValueError, OSError, MemoryError)


class MediaError(ValueError):
    """A video or sound that cannot be read; the message is one sentence that names the file and the reason."""


class _Clock:
    """Counts the seconds spent inside its `with` blocks, nested ones once."""

    def __init__(self, limit: float):
        self.limit = limit
        self._spent = 0.0
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
        return self._spent + (time.monotonic() - self._since if self._depth else 0) > self.limit


class _View:
    """A reader with its own place in a shared file, so that several decoders never move each other's place.

    It shows `size` bytes of the file. When the time is up the file ends: FFmpeg, which is deaf to Python while it
    searches a file, then returns.
    """

    def __init__(self, file, clock: _Clock, lock: threading.Lock, size: int):
        self.file = file
        self.clock = clock
        self.lock = lock  # frames are decoded in a thread of their own
        self.size = size
        self.place = 0

    def read(self, size: int = -1) -> bytes:
        with self.lock:
            if self.clock.expired or getattr(self.file, "closed", False):
                return b""
            self.file.seek(self.place)
            rest = max(0, self.size - self.place)
            data = self.file.read(rest if size < 0 else min(size, rest))
        self.place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self.place
        elif whence == os.SEEK_END:
            offset += self.size
        self.place = offset
        return offset


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
        # A regular file only: no address, no pipe or device, no FFmpeg protocol such as "concat:a|b".
        if not os.path.isfile(path):
            raise MediaError(f"{path}: no such file (a path must lead to an existing regular file)")
        try:
            return open(path, "rb"), path, True
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


class Media:
    """An open video; make one with [`open_media`] and close it (or use it in a `with` block).

    Attributes:
        name (`str`): the path, or what stands for it in messages.
        has_video, has_audio (`bool`): which streams there are; at least one of them. The cover of a record (a picture
            attached to the sound) is no video.
        problems (`list[str]`): damage that was met and worked around while reading, one sentence each.
    """

    def __init__(self, file, name: str, owned: bool, max_pixels: int, time_limit: float | None):
        self.name = name
        self.problems = []
        self._file = file
        self._lock = threading.Lock()
        self._owned = owned
        self._max_pixels = max_pixels
        self._clock = _Clock(TIME_LIMIT if time_limit is None else time_limit)
        self._limit_grows = time_limit is None
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self):
        self._size = self._file.seek(0, os.SEEK_END)
        if not self._size:
            raise MediaError(f"{self.name}: the file is empty")
        with self._reading("not a readable video or sound file"):
            header = get_container_metadata(self._view())
        video = header.best_video_stream_index
        self.has_video = video is not None and header.streams[video].average_fps_from_header != COVER_FPS
        self.has_audio = header.best_audio_stream_index is not None
        if not (self.has_video or self.has_audio):
            raise MediaError(f"{self.name}: there is neither a video nor a sound stream")
        if self.has_video:
            self._video = header.streams[video]
            self._check_pixels(self._video.width or 0, self._video.height or 0)

    def _view(self, size: int | None = None) -> _View:
        """A reader of the file, or of its first `size` bytes."""
        return _View(self._file, self._clock, self._lock, self._size if size is None else size)

    @contextmanager
    def _reading(self, failure: str):
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

    def _in_time(self, stream: Iterator, failure: str) -> Iterator:
        """The items of a stream; the time between them is the caller's and does not count."""
        while True:
            with self._reading(failure):
                item = next(stream, None)
            if item is None:
                return
            yield item

    def _check_time(self):
        if self._clock.expired:
            raise MediaError(f"{self.name}: given up after {self._clock.limit:g} s of reading")

    def _allow_time_for(self, seconds: float):
        if self._limit_grows:
            self._clock.limit = TIME_LIMIT + TIME_LIMIT_PER_SECOND * seconds

    def _check_pixels(self, width: int, height: int):
        if width * height > self._max_pixels:
            raise MediaError(f"{self.name}: frames of {width} x {height} exceed the {self._max_pixels} pixels allowed")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        with self._lock:
            if self._owned:
                self._file.close()

    def note(self, problem: str):
        """Records damage that was worked around, and warns."""
        self.problems.append(problem)
        logger.warning(f"{self.name}: {problem}")

    def _demuxer(self) -> Demuxer:
        """A new reader of the best video stream's packets."""
        with self._reading("the video stream cannot be read"):
            return Demuxer(self._view())

    def leave_broken_pictures(self):
        """Takes a file whose pictures cannot even be timed for sound alone, whose clock is the container's."""
        if self.has_video and self.has_audio:
            try:
                self.has_video = self.begin is not None
            except MediaError as error:
                logger.warning(str(error))
                self.has_video = False

    def sound_header(self, size: int | None = None) -> AudioStreamMetadata:
        """What the best sound stream says of itself, in the whole file or in its first `size` bytes."""
        with self._reading("the sound stream cannot be read"):
            return AudioDecoder(self._view(size)).metadata

    @property
    def stated_sound(self) -> float:
        """Seconds of sound that the file says it has; 0 where it does not say.

        FFmpeg fills in what is missing: it divides the file's size by the bit rate, or looks for the last timestamp.
        Such a length is another one if half the file is hidden. It takes a WAV file that was cut for a shorter one,
        too, whose header still knows how many bytes there were.
        """
        stated = self._length_of_sound(self._size)
        with suppress(MediaError):  # half of it cannot be opened: what it states stands at its end
            if self._length_of_sound(self._size // 2) != stated:
                return stated * riff_size(self._view().read(8)) / self._size
        return stated

    def _length_of_sound(self, size: int) -> float:
        """As FFmpeg finds it. Some formats know only when the whole file ends, which beside pictures says nothing of
        the sound."""
        header = self.sound_header(size)
        if header.duration_seconds_from_header or self.has_video:
            return float(header.duration_seconds_from_header or 0)
        return float((header.duration_seconds or 0) - (header.begin_stream_seconds or 0))

    @property
    def _header(self) -> VideoStreamHeaderMetadata:
        if not self.has_video:
            raise MediaError(f"{self.name}: there is no video stream")
        return self._video

    @cached_property
    def _times(self) -> tuple[np.ndarray, float]:
        """When each frame is displayed, and when the last one ends, from one pass over the packets.

        Eight bytes a frame are all that is kept of it; FFmpeg's own index, many times larger, goes with its reader.
        """
        with self._reading("the video stream cannot be read"):
            index = self._demuxer().streams[0].scan()
        if not len(index):
            raise MediaError(f"{self.name}: the video stream has no frames")
        stamps, end = index.pts_seconds.numpy(), index.end_stream_seconds_from_content
        seconds = end - stamps[0]
        if seconds > MAX_SECONDS:
            raise MediaError(f"{self.name}: the timestamps claim more than {MAX_SECONDS // 3600} hours of video")
        promised = self._header.duration_seconds_from_header or 0
        if promised > MISSING_SECONDS + seconds:
            self.note(f"only {seconds:.1f} of the {promised:.1f} s of video that its header promises are there")
        self._allow_time_for(seconds)
        return stamps, end

    @property
    def begin(self) -> float:
        """The first displayed frame's time on the container's clock, in seconds: what our zero is there."""
        return float(self._times[0][0])

    @property
    def duration(self) -> float:
        """Seconds from the first displayed frame to the end of the last one; without video, to the end of the sound.

        Headers only guess the length of some sound files, by a factor: sound alone is decoded once to know it.
        """
        if not self.has_video:
            return self._sound_end
        return self._times[1] - self.begin

    @cached_property
    def _sound_end(self) -> float:
        end = 0.0
        for start, piece in self._in_time(self._sound([]), "the sound cannot be read"):
            end = start + len(piece) / SAMPLE_RATE
        return end

    @property
    def height(self) -> int:
        """Pixels of a frame as displayed, after rotation."""
        return self._header.height

    @property
    def width(self) -> int:
        """Pixels of a frame as displayed: after rotation, and with pixels made square."""
        aspect = self._header.pixel_aspect_ratio or Fraction(1)
        if abs(self._header.rotation or 0) % 180 == 90:
            aspect = 1 / aspect
        return max(1, round(self._header.width * aspect))

    def iter_clips(
        self,
        clip_seconds: float = 1.5,
        fps: float = 20,
        size: int | None = None,
        crop_size: tuple[int, int] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Streams the clips of a video (PAPER section "visual tokens": 30 frames at 20 fps), one in memory at a time.

        Clip i shows the frames displayed at `clip_seconds * i + k / fps` after the first one, whatever the frame rate
        does; moments past the end show the last frame. Where frames cannot be decoded the last one before them stays,
        and `problems` says so: a clip keeps its place in time. (A stretch that is missing from the file altogether
        looks like a picture that stays for long, and is shown so.) Interlaced frames are not taken apart: resizing to
        half their height or less blends the two fields.

        Args:
            clip_seconds (`float`), fps (`float`): length of a clip, and how often a second it is looked at.
            size (`int`, *optional*): shortest edge to which frames are resized, keeping the displayed aspect ratio.
            crop_size (`tuple[int, int]`, *optional*): (height, width) that is then cut out of the centre.

        Yields:
            `torch.Tensor` (T, 3, H, W) uint8.

        Raises:
            MediaError: if there is no video, no frame of it can be decoded, or its time is up.
        """
        num_clips, num_frames = count_clips(self.duration, clip_seconds), len(frame_times(0, clip_seconds, fps))
        moments = itertools.chain.from_iterable(frame_times(clip, clip_seconds, fps) for clip in range(num_clips))
        with closing(self._pictures(moments, self._picture_maker(size, crop_size), fps)) as pictures:
            clips = (np.stack(list(itertools.islice(pictures, num_frames))) for _ in range(num_clips))
            for clip in self._in_time(clips, "the video stream cannot be read"):
                yield torch.from_numpy(clip).permute(0, 3, 1, 2)

    def _picture_maker(self, size: int | None, crop_size: tuple[int, int] | None) -> Callable[[RawFrame], np.ndarray]:
        shape = (self._header.height, self._header.width)
        if size is not None:
            shape = resized_shape(self.height, self.width, size)
            self._check_pixels(shape[1], shape[0])  # a frame of 16 x 8000 grows when its short edge does
        make_picture = picture_maker(shape, crop_size)

        def make_checked(frame):
            self._check_pixels(frame.width, frame.height)  # which may change within a video
            return make_picture(frame)

        return make_checked

    def _pictures(self, moments: Iterable[float], make_picture: Callable, fps: float) -> Iterator[np.ndarray]:
        """The picture (H, W, 3) at each of the ascending `moments`; what cannot be decoded is noted."""
        stamps, _ = self._times
        errors, lost = [], []
        frames = ahead(decoded_frames(self._demuxer(), errors))
        frames = frames_in_place(frames, stamps, self._counts_frames)
        pictures = pictures_at(moments, frames, stamps - self.begin, make_picture, lost)
        try:
            first = next(pictures, None)
            if first is None:
                raise MediaError(f"{self.name}: the video is damaged, none of its frames can be decoded")
            yield first
            yield from pictures
        finally:
            if errors:
                self.note(f"the video is damaged: {len(errors)} of its packets cannot be decoded")
            if lost:
                seconds = f"{len(lost) / fps:.1f} s of the video are damaged, from {lost[0]:.1f} s on"
                self.note(f"{seconds}; the last readable frame stands for them")

    @property
    def _counts_frames(self) -> bool:
        """Whether the file stores no times of display but only counts frames, as AVI does."""
        start = self._view().read(12)
        return start[:4] == b"RIFF" and start[8:] == b"AVI "

    def iter_speech(self, block_seconds: float = 300) -> Iterator[tuple[np.ndarray, float]]:
        """Streams the sound in blocks, so that hours of it need little memory.

        Args:
            block_seconds (`float`): length of a block; the last one is shorter.

        Yields:
            (waveform (N,) float32 mono 16 kHz, its start in seconds on the video's clock), which is negative where
            sound precedes the first frame. Blocks follow one another without gap; what is missing or damaged is
            silent, and damage is noted in `problems`.
        """
        return self._in_time(self._sound_blocks(block_seconds), "the sound cannot be read")

    def _sound_blocks(self, block_seconds: float) -> Iterator[tuple[np.ndarray, float]]:
        if not self.has_audio:
            return
        zero, errors = self.begin if self.has_video else 0.0, []
        try:
            pieces = self._sound(errors)
        except MediaError as error:
            if not self.has_video:
                raise
            self.note(str(error).removeprefix(f"{self.name}: "))  # the pictures may well be whole
            return
        heard = False
        for block, start in blocks_of(pieces, block_seconds):
            yield block, start - zero
            heard = True
        if len(errors) > heard:  # a file that was cut ends with half a packet
            self.note(f"the sound is damaged: {len(errors)} of its packets cannot be decoded")

    def _sound(self, errors: list[Exception]) -> Iterator[tuple[float, np.ndarray]]:
        """The sound on the container's clock, to its true end: some headers only guess how long it is."""
        promised = float(self.sound_header().duration_seconds or 0)
        longest = MAX_SECONDS
        if self.has_video:
            longest = min(max(promised, self.duration) + MISSING_SECONDS, MAX_SECONDS)
        else:
            self._allow_time_for(promised)
        with self._reading("the sound stream cannot be read"):
            demuxer = Demuxer(self._view(), streams="audio")
        return sound_in_place(decoded_sound(demuxer, errors), longest)

    def read_speech(self) -> tuple[np.ndarray, float] | None:
        """The whole sound at once, for what fits into memory (an hour is 230 MB); see [`iter_speech`] for more.

        Returns:
            (waveform (N,) float32 mono 16 kHz, its start in seconds on the video's clock), None if there is no sound.
        """
        blocks = list(self.iter_speech())
        if not blocks:
            return None
        return np.concatenate([block for block, _ in blocks]), blocks[0][1]


def open_media(video, max_pixels: int = MAX_PIXELS, time_limit: float | None = None) -> Media:
    """Opens a video (or a sound file) from an untrusted source, without decoding anything yet.

    Args:
        video (`str`, `pathlib.Path`, `bytes` or a binary file object):
            A path must lead to an existing regular file. A file object must be seekable; it stays open.
        max_pixels (`int`, *optional*, defaults to 8192 * 4320): The largest frame that is accepted.
        time_limit (`float`, *optional*): Seconds that may be spent on reading this file, whatever is done with what it
            gives not counted; by default five minutes and five times its length.

    Returns:
        [`Media`], a context manager with `duration`, `begin`, `width`, `height`, `has_video`, `has_audio`.

    Raises:
        MediaError: one sentence with the file and the reason, if it cannot be opened.
    """
    return Media(*_open_file(video), max_pixels, time_limit)
