"""The pictures of an open file: when each of them is displayed, and how it is shown."""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property

import numpy as np
from torchcodec.decoders import Demuxer, RawFrame, VideoStreamHeaderMetadata

from .frames_videobert import (
    ahead,
    decoded_frames,
    frames_in_place,
    picture_maker,
    pictures_at,
    resized_shape,
    timed_frames,
)
from .opening_videobert import MAX_SECONDS, MediaError, Source

# So long one picture is shown without a change: what stays for longer is rather a broken time.
MAX_STILL_SECONDS = 3600
# FFmpeg's clock for what has none: so many frames a second has a cover that lies beside the sound, or a video whose
# frames come at any time.
NO_FPS = 90_000


class Pictures:
    """The video stream of a file. All times are seconds on the container's own clock.

    Args:
        source ([`Source`]):
            The open file.
        stream (`VideoStreamHeaderMetadata`):
            What the header says of the stream.
        max_pixels (`int`):
            The largest frame that is accepted.
    """

    def __init__(self, source: Source, stream: VideoStreamHeaderMetadata, max_pixels: int):
        self.stream = stream
        self._source = source
        self._max_pixels = max_pixels

    def can_be_shown(self, beside_sound: bool) -> bool:
        """Whether these are a video: no cover of a record, and of some size; beside sound, no size is only noted.

        Raises:
            MediaError: The frames are too large, or of no size without any sound.
        """
        if beside_sound and self._is_cover():
            return False
        width, height = self.stream.width or 0, self.stream.height or 0
        self._check_pixels(width, height)
        if width < 1 or height < 1:
            problem = f"its header claims frames of {width} x {height} pixels"
            if not beside_sound:
                raise MediaError(f"{self._source.name}: {problem}")
            self._source.note(problem)
        return width > 0 and height > 0

    def _is_cover(self) -> bool:
        """Whether the stream is the one picture that lies beside the sound, without a time of its own."""
        if self.stream.average_fps_from_header != NO_FPS:
            return False
        if not 0 < (self.stream.width or 0) * (self.stream.height or 0) <= self._max_pixels:
            return True  # nor one that could be shown
        with self._source.reading("the video stream cannot be read"):
            return len(list(itertools.islice(decoded_frames(self._demuxer(), []), 2))) < 2

    def _check_pixels(self, width: int, height: int):
        if width * height > self._max_pixels:
            raise MediaError(
                f"{self._source.name}: frames of {width} x {height} exceed the {self._max_pixels} pixels allowed"
            )

    def _demuxer(self) -> Demuxer:
        """A new reader of the stream's packets."""
        with self._source.reading("the video stream cannot be read"):
            return Demuxer(self._source.view())

    @property
    def begin(self) -> float:
        """When the first frame is displayed."""
        return float(self._times[0][0])

    @property
    def last(self) -> float:
        """When the last frame is displayed."""
        return float(self._times[0][-1])

    @property
    def end(self) -> float:
        """When the last frame ends."""
        return self._times[1]

    @property
    def whole_end(self) -> float:
        """When the last one in the file ends, left out or not."""
        return self._scanned[1]

    @cached_property
    def _scanned(self) -> tuple[np.ndarray, float]:
        """When each frame is displayed, and when the last one ends, from one pass over the packets.

        Eight bytes a frame are all that is kept of it; FFmpeg's own index, many times larger, goes with its reader.
        """
        with self._source.reading("the video stream cannot be read"):
            try:
                index = self._demuxer().streams[0].scan()
            except RuntimeError:
                # A scan begins with a jump to time zero, before which some files, such as FLV, have no picture to go
                # to: then all frames are decoded for their times.
                stamps, end = timed_frames(self._checked(decoded_frames(self._demuxer(), [])))
                if not len(stamps):
                    raise
                return stamps, end
        if not len(index):
            raise MediaError(f"{self._source.name}: the video stream has no frames")
        return index.pts_seconds.numpy(), index.end_stream_seconds_from_content

    @cached_property
    def _times(self) -> tuple[np.ndarray, float]:
        """The same up to a picture that stays for longer than any does."""
        stamps, end = self._scanned
        if end - stamps[0] > MAX_SECONDS:
            raise MediaError(
                f"{self._source.name}: the timestamps claim more than {MAX_SECONDS // 3600} hours of video"
            )
        gaps = np.flatnonzero(np.diff(stamps) > MAX_STILL_SECONDS)
        if len(gaps):
            last = gaps[0]
            still = (stamps[last + 1] - stamps[last]) / 3600
            stamps, end = stamps[: last + 1], stamps[last] + MAX_STILL_SECONDS
            self._source.note(f"a picture stays for {still:.1f} hours: what comes after its first hour is left out")
        self._source.allow_time_for(end - stamps[0])
        return stamps, end

    @property
    def height(self) -> int:
        """Pixels of a frame as displayed, after rotation."""
        return self.stream.height

    @property
    def width(self) -> int:
        """Pixels of a frame as displayed: after rotation, and with pixels made square."""
        aspect = self.stream.pixel_aspect_ratio or Fraction(1)
        if abs(self.stream.rotation or 0) % 180 == 90:
            aspect = 1 / aspect
        return max(1, round(self.stream.width * aspect))

    def show_at(
        self, moments: Iterable[float], fps: float, size: int | None = None, crop_size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """The picture (H, W, 3) uint8 at each of the moments; what cannot be decoded is noted.

        Args:
            moments (`Iterable[float]`):
                Seconds from the first displayed frame, ascending.
            fps (`float`):
                How many of them there are in a second.
            size (`int`, *optional*):
                Shortest edge to which frames are resized, keeping the displayed aspect ratio.
            crop_size (`tuple[int, int]`, *optional*):
                (height, width) that is then cut out of the centre.

        Raises:
            MediaError: No frame can be decoded, or one is too large.
        """
        shape = (self.stream.height, self.stream.width)
        if size is not None:
            shape = resized_shape(self.height, self.width, size)
            self._check_pixels(shape[1], shape[0])  # a frame of 16 x 8000 grows when its short edge does
        stamps, _ = self._times
        errors, lost = [], []
        frames = ahead(self._checked(decoded_frames(self._demuxer(), errors)))
        frames = frames_in_place(frames, stamps, self._counts_frames)
        pictures = pictures_at(moments, frames, stamps - self.begin, picture_maker(shape, crop_size), lost)
        try:
            first = next(pictures, None)
            if first is None:
                raise MediaError(f"{self._source.name}: the video is damaged, none of its frames can be decoded")
            yield first
            yield from pictures
        finally:
            if errors:
                self._source.note(f"the video is damaged: {len(errors)} of its packets cannot be decoded")
            if lost:
                seconds = f"{len(lost) / fps:.1f} s of the video are damaged, from {lost[0]:.1f} s on"
                self._source.note(f"{seconds}; the last readable frame stands for them")

    def _checked(self, frames: Iterator[RawFrame]) -> Iterator[RawFrame]:
        """The same frames, each refused as soon as it is decoded if it has grown: none of them waits for others."""
        for frame in frames:
            self._check_pixels(frame.width, frame.height)
            yield frame

    @property
    def _counts_frames(self) -> bool:
        """Whether the file stores no times of display but only counts frames, as AVI does."""
        start = self._source.view().read(12)
        return start[:4] == b"RIFF" and start[8:] == b"AVI "
