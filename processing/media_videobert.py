"""Opening untrusted media safely: frames and sound at their true times.

A file from outside may be truncated, huge, mislabelled or hostile. Three rules keep it harmless:

- FFmpeg never sees a path, only the bytes of one open file: a playlist named `.mp4` cannot lead to other files.
- The size of a frame is checked before the first one is decoded, and the decoder itself makes frames small.
- Whatever the decoder raises becomes a [`MediaError`]: one sentence that names the file and the reason.

All times are seconds on the video's own clock, which starts at the first displayed frame.
"""

import io
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torchcodec.decoders import AudioDecoder, VideoDecoder, get_container_metadata
from torchcodec.transforms import CenterCrop, Resize
from transformers.utils import logging

logger = logging.get_logger(__name__)

SAMPLE_RATE = 16_000  # what speech recognisers and voice detection listen to
MAX_PIXELS = 8192 * 4320
MAX_SECONDS = 24 * 3600  # a broken timestamp can claim years
# Sums of seconds are inexact: a frame that is due at 0.1 s is on the screen at 0.0999999999 s.
TIME_TOLERANCE = 1e-6
# Headers are not exact; a video shorter than promised by more than this has been cut off.
MISSING_SECONDS = 1.5
# After a seek a sound decoder needs some packets before its samples are right.
SOUND_PREROLL = 0.5
# Enough threads to keep a core or two busy; each one holds frames of the full size.
DECODER_THREADS = 2
DECODER_ERRORS = (RuntimeError, ValueError, OSError, MemoryError)


class MediaError(ValueError):
    """A video or sound that cannot be read; the message is one sentence that names the file and the reason."""


class _View:
    """A reader with its own place in a shared file, so that several decoders never move each other's place."""

    def __init__(self, file):
        self.file = file
        self.place = 0

    def read(self, size: int = -1) -> bytes:
        self.file.seek(self.place)
        data = self.file.read(size)
        self.place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self.place
        elif whence == os.SEEK_END:
            offset += self.file.seek(0, os.SEEK_END)
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
        has_video, has_audio (`bool`): which streams there are; at least one of them.
        problems (`list[str]`): damage that was met and worked around while reading, one sentence each.
    """

    def __init__(self, file, name: str, owned: bool, max_pixels: int):
        self.name = name
        self.problems = []
        self._file = file
        self._owned = owned
        self._max_pixels = max_pixels
        self._decoder = None
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self):
        if not self._file.seek(0, os.SEEK_END):
            raise MediaError(f"{self.name}: the file is empty")
        try:
            header = get_container_metadata(_View(self._file))
        except DECODER_ERRORS as error:
            raise MediaError(f"{self.name}: not a readable video or sound file ({_reason(error)})") from error
        self.has_video = header.best_video_stream_index is not None
        self.has_audio = header.best_audio_stream_index is not None
        if not (self.has_video or self.has_audio):
            raise MediaError(f"{self.name}: there is neither a video nor a sound stream")
        if self.has_video:
            stream = header.streams[header.best_video_stream_index]
            self._check_pixels(stream.width or 0, stream.height or 0)

    def _check_pixels(self, width: int, height: int):
        if width * height > self._max_pixels:
            raise MediaError(f"{self.name}: frames of {width} x {height} exceed the {self._max_pixels} pixels allowed")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._decoder = None
        if self._owned:
            self._file.close()

    def note(self, problem: str):
        """Records damage that was worked around, and warns."""
        self.problems.append(problem)
        logger.warning(f"{self.name}: {problem}")

    def video_decoder(self, transforms=None) -> VideoDecoder:
        """A new exact decoder of the best video stream; raises [`MediaError`] if there is none or it is unreadable."""
        if not self.has_video:
            raise MediaError(f"{self.name}: there is no video stream")
        try:
            # "exact" reads every packet's time first: the header of a damaged file promises frames that are not there.
            return VideoDecoder(
                _View(self._file), seek_mode="exact", transforms=transforms, num_ffmpeg_threads=DECODER_THREADS
            )
        except DECODER_ERRORS as error:
            raise MediaError(f"{self.name}: the video stream cannot be read ({_reason(error)})") from error

    def sound_decoder(self) -> AudioDecoder:
        """A new decoder of the best sound stream: mono, 16 kHz."""
        try:
            return AudioDecoder(_View(self._file), sample_rate=SAMPLE_RATE, num_channels=1)
        except DECODER_ERRORS as error:
            raise MediaError(f"{self.name}: the sound stream cannot be read ({_reason(error)})") from error

    @property
    def _metadata(self):
        if self._decoder is None:
            decoder = self.video_decoder()
            if not decoder.metadata.num_frames:
                raise MediaError(f"{self.name}: the video stream has no frames")
            seconds = decoder.metadata.end_stream_seconds - decoder.metadata.begin_stream_seconds
            if seconds > MAX_SECONDS:
                raise MediaError(f"{self.name}: the timestamps claim more than {MAX_SECONDS // 3600} hours of video")
            self._check_pixels(decoder.metadata.width, decoder.metadata.height)
            promised = decoder.metadata.duration_seconds_from_header or 0
            if promised > MISSING_SECONDS + seconds:
                self.note(f"only {seconds:.1f} of the {promised:.1f} s of video that its header promises are there")
            self._decoder = decoder
        return self._decoder.metadata

    @property
    def begin(self) -> float:
        """The first displayed frame's time on the container's clock, in seconds: what our zero is there."""
        return float(self._metadata.begin_stream_seconds)

    @property
    def duration(self) -> float:
        """Seconds from the first displayed frame to the end of the last one (without video: of the sound)."""
        if not self.has_video:
            return float(self.sound_decoder().metadata.duration_seconds or 0)
        return float(self._metadata.end_stream_seconds - self._metadata.begin_stream_seconds)

    @property
    def height(self) -> int:
        """Pixels of a frame as displayed, after rotation."""
        return self._metadata.height

    @property
    def width(self) -> int:
        """Pixels of a frame as displayed: after rotation, and with pixels made square."""
        metadata = self._metadata
        aspect = metadata.pixel_aspect_ratio or Fraction(1)
        if abs(metadata.rotation or 0) % 180 == 90:
            aspect = 1 / aspect
        return max(1, round(metadata.width * aspect))

    def iter_clips(
        self,
        clip_seconds: float = 1.5,
        fps: float = 20,
        size: int | None = None,
        crop_size: tuple[int, int] | None = None,
    ) -> Iterator[torch.Tensor]:
        """Streams the clips of a video (PAPER section "visual tokens": 30 frames at 20 fps), one in memory at a time.

        Clip i shows the frames displayed at `clip_seconds * i + k / fps` after the first one, whatever the frame rate
        does; moments past the end show the last frame. If the last clip is damaged, its last readable frame stays.

        Args:
            clip_seconds (`float`), fps (`float`): length of a clip, and how often a second it is looked at.
            size (`int`, *optional*): shortest edge to which the decoder resizes, keeping the displayed aspect ratio.
            crop_size (`tuple[int, int]`, *optional*): (height, width) that the decoder then cuts out of the centre.

        Yields:
            `torch.Tensor` (T, 3, H, W) uint8.

        Raises:
            MediaError: if there is no video, or, after the clips before it, at damage before the last clip.
        """
        decoder = self.video_decoder(_transforms(self, size, crop_size))
        num_clips = count_clips(self.duration, clip_seconds)
        last = None
        for clip in range(num_clips):
            times = frame_times(clip, clip_seconds, fps)
            try:
                frames = _frames_shown(decoder, times)
            except DECODER_ERRORS as error:
                damage = f"damaged near {times[0]:.1f} s ({_reason(error)})"
                frames = _readable_frames(decoder, times, last) if clip == num_clips - 1 else None
                if frames is None:
                    raise MediaError(f"{self.name}: {damage}") from error
                self.note(f"{damage}; the last readable frame stands for the rest")
            last = frames[-1]
            yield frames

    def iter_speech(self, block_seconds: float = 300) -> Iterator[tuple[np.ndarray, float]]:
        """Streams the sound in blocks, so that hours of it need little memory.

        Args:
            block_seconds (`float`): length of a block; the last one is shorter.

        Yields:
            (waveform (N,) float32 mono 16 kHz, its start in seconds on the video's clock), which is negative where
            sound precedes the first frame. Blocks follow one another without gap; what is damaged is silent, and noted
            in `problems`.
        """
        if not self.has_audio:
            return
        try:
            decoder = self.sound_decoder()
        except MediaError as error:
            if not self.has_video:
                raise
            self.note(str(error).removeprefix(f"{self.name}: "))  # the pictures may well be whole
            return
        zero = self.begin if self.has_video else 0.0
        time = min(float(decoder.metadata.begin_stream_seconds or 0), MAX_SECONDS)
        # Without a duration in the header, reading goes on until nothing comes.
        promised = float(decoder.metadata.duration_seconds or 0)
        end = min(time + (promised or MAX_SECONDS), MAX_SECONDS)
        lost = 0.0
        while time < end:
            stop = min(time + block_seconds, end)
            block = _sound_between(decoder, time, stop)
            if block is None and end - time > 1:
                block, missing = _audible_sound(decoder, time, stop)
                lost += missing
            if block is None:
                break
            if promised and stop < end:  # the next block's place counts on this one's length
                block = np.pad(block, (0, round((stop - time) * SAMPLE_RATE) - len(block)))
            yield block, time - zero
            time = stop
        if promised and lost:
            self.note(f"{lost:.0f} s of the sound are damaged and were taken as silence")

    def read_speech(self) -> tuple[np.ndarray, float] | None:
        """The whole sound at once, for what fits into memory (an hour is 230 MB); see [`iter_speech`] for more.

        Returns:
            (waveform (N,) float32 mono 16 kHz, its start in seconds on the video's clock), None if there is no sound.
        """
        blocks = list(self.iter_speech())
        if not blocks:
            return None
        return np.concatenate([block for block, _ in blocks]), blocks[0][1]


def open_media(video, max_pixels: int = MAX_PIXELS) -> Media:
    """Opens a video (or a sound file) from an untrusted source, without decoding anything yet.

    Args:
        video (`str`, `pathlib.Path`, `bytes` or a binary file object):
            A path must lead to an existing regular file. A file object must be seekable; it stays open.
        max_pixels (`int`, *optional*, defaults to 8192 * 4320): The largest frame that is accepted.

    Returns:
        [`Media`], a context manager with `duration`, `begin`, `width`, `height`, `has_video`, `has_audio`.

    Raises:
        MediaError: one sentence with the file and the reason, if it cannot be opened.
    """
    return Media(*_open_file(video), max_pixels)


def count_clips(duration: float, clip_seconds: float = 1.5) -> int:
    """The number of clips in a video: a last clip is kept if at least half of it is there; there is always one.

    Only the duration counts, never the number of frames: 5 fps and 60 fps give as many clips.
    """
    return max(1, int((duration + TIME_TOLERANCE) / clip_seconds + 0.5))


def frame_times(clip: int, clip_seconds: float = 1.5, fps: float = 20) -> np.ndarray:
    """The moments (seconds) at which clip number `clip` is looked at: `clip_seconds * clip + k / fps`."""
    return clip * clip_seconds + np.arange(round(clip_seconds * fps)) / fps


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the same aspect ratio and a shortest edge of `size`; the longer edge is rounded down."""
    if width <= height:
        return size * height // width, size
    return size, size * width // height


def _transforms(media: Media, size: int | None, crop_size: tuple[int, int] | None) -> list:
    """What the decoder does to each frame, so that a large one never exists more than once."""
    shape = (media.height, media.width)
    transforms = []
    if size is not None:
        shape = resized_shape(*shape, size)
        media._check_pixels(shape[1], shape[0])  # a frame of 16 x 8000 grows when its short edge does
        transforms.append(Resize(shape))
    if crop_size is not None and shape[0] >= crop_size[0] and shape[1] >= crop_size[1]:
        transforms.append(CenterCrop(crop_size))
    return transforms


def _frames_shown(decoder: VideoDecoder, times: np.ndarray) -> torch.Tensor:
    """Frames (T, 3, H, W) displayed at `times` (seconds from the first frame), the last one for later times."""
    metadata = decoder.metadata
    begin, end = metadata.begin_stream_seconds, metadata.end_stream_seconds
    if end <= begin:  # one frame that lasts no time at all
        return decoder.get_frames_at([0] * len(times)).data
    # The end itself is already too late for the decoder.
    moments = np.minimum(begin + times + TIME_TOLERANCE, begin + (end - begin) * (1 - 1e-9))
    return decoder.get_frames_played_at(moments.tolist()).data


def _readable_frames(decoder: VideoDecoder, times: np.ndarray, last: torch.Tensor | None) -> torch.Tensor | None:
    """The frames of a damaged clip: from the first unreadable one on, the frame before it. None if there is none."""
    frames = []
    for time in times:
        try:
            last = _frames_shown(decoder, np.array([time]))[0]
        except DECODER_ERRORS:
            break
        frames.append(last)
    if last is None:
        return None
    return torch.stack(frames + [last] * (len(times) - len(frames)))


def _sound_between(decoder: AudioDecoder, start: float, stop: float) -> np.ndarray | None:
    """Samples (N,) of [start, stop), silence where the stream has a gap at the start; None if nothing can be read."""
    preroll = min(SOUND_PREROLL, max(start, 0.0))
    try:
        # Asked a little beyond `stop`, because resampling swallows the very last samples.
        samples = decoder.get_samples_played_in_range(start - preroll, stop + 0.1)
    except DECODER_ERRORS:
        return None
    sound = samples.data[0].numpy()
    offset = round((start - samples.pts_seconds) * SAMPLE_RATE)
    sound = sound[offset:] if offset >= 0 else np.pad(sound, (-offset, 0))
    return np.nan_to_num(sound[: round((stop - start) * SAMPLE_RATE)]).astype(np.float32, copy=False)


def _audible_sound(decoder: AudioDecoder, start: float, stop: float) -> tuple[np.ndarray | None, float]:
    """A damaged stretch second by second: (its sound with silence for what is unreadable, the seconds lost)."""
    sound, heard, lost = np.zeros(round((stop - start) * SAMPLE_RATE), dtype=np.float32), False, 0.0
    for second in np.arange(start, stop):
        piece = _sound_between(decoder, second, min(second + 1, stop))
        if piece is None or not len(piece):
            lost += min(1, stop - second)
            continue
        heard = True
        offset = round((second - start) * SAMPLE_RATE)
        sound[offset : offset + len(piece)] = piece[: len(sound) - offset]
    return (sound if heard else None), lost
