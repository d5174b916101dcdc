"""Reading untrusted media: frames and sound at their true times.

A video is scanned once (its packets' times, nothing is decoded: headers promise frames that are not there) and then
decoded once, from the first frame to the last. Frames are made small by torch, not by the decoder's own transforms:
those convert and scale more than twice as slowly, and ours are equal to the standard processor's to the last bit. Only
a few frames of full size are held at a time.

All times are seconds on the video's own clock, which starts at the first displayed frame.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from torchcodec.decoders import (
    Demuxer,
    RawFrame,
    VideoStreamHeaderMetadata,
    get_container_metadata,
)
from transformers.utils import logging

from .frames_videobert import (
    TIME_TOLERANCE,
    ahead,
    count_clips,
    decoded_frames,
    frame_times,
    frames_in_place,
    picture_maker,
    pictures_at,
    resized_shape,
    timed_frames,
)
from .opening_videobert import MAX_SECONDS, MediaError, Source
from .sound_videobert import SAMPLE_RATE, blocks_of
from .soundtracks_videobert import SoundTracks
from .tracks_videobert import index_is_cut

logger = logging.get_logger(__name__)

MAX_PIXELS = 8192 * 4320
# So long one picture is shown without a change: what stays for longer is rather a broken time.
MAX_STILL_SECONDS = 3600
# Headers are not exact; a video shorter than promised by more than this has been cut off.
MISSING_SECONDS = 1.5
# Sound that outlasts the pictures by no more is rounded to whole packets; by more, the last picture stays for it.
OUTLASTING_SECONDS = 0.25
# FFmpeg's clock for what has none: so many frames a second has a cover that lies beside the sound, or a video whose
# frames come at any time.
NO_FPS = 90_000


class Media:
    """An open video; make one with [`open_media`] and close it (or use it in a `with` block).

    Args:
        source ([`Source`]):
            The open file.
        max_pixels (`int`):
            The largest frame that is accepted.

    Attributes:
        name (`str`):
            The path, or what stands for it in messages.
        has_video, has_audio (`bool`):
            Which streams there are; at least one of them. The cover of a record (a picture attached to the sound) is
            no video.
        sound ([`SoundTracks`]):
            Which sound track is heard.
        problems (`list[str]`):
            Damage that was met and worked around while reading, one sentence each.
    """

    def __init__(self, source: Source, max_pixels: int):
        self.name = source.name
        self.problems = []
        self._source = source
        self._max_pixels = max_pixels
        with source.reading("not a readable video or sound file"):
            header = get_container_metadata(source.view())
            if index_is_cut(source.view()):
                self.note("its index is cut off, so that pictures or sound may be missing")
        self.sound = SoundTracks(source, header)
        self.has_audio = self.sound.chosen is not None
        self.has_video = header.best_video_stream_index is not None
        if self.has_video:
            self._video = header.streams[header.best_video_stream_index]
            self.has_video = not self._is_cover(self._video) and self._has_pixels(self._video)
        if not (self.has_video or self.has_audio):
            raise MediaError(f"{self.name}: there is neither a video nor a sound stream")

    def _is_cover(self, stream: VideoStreamHeaderMetadata) -> bool:
        """Whether a stream is the one picture that lies beside the sound, without a time of its own."""
        if stream.average_fps_from_header != NO_FPS or not self.has_audio:
            return False
        if not 0 < (stream.width or 0) * (stream.height or 0) <= self._max_pixels:
            return True  # nor one that could be shown
        with self._source.reading("the video stream cannot be read"):
            return len(list(itertools.islice(decoded_frames(self._demuxer(), []), 2))) < 2

    def _has_pixels(self, stream: VideoStreamHeaderMetadata) -> bool:
        """Whether the header's frames can be shown; where they are nothing, but there is sound, that is a note."""
        width, height = stream.width or 0, stream.height or 0
        self._check_pixels(width, height)
        if width < 1 or height < 1:
            problem = f"its header claims frames of {width} x {height} pixels"
            if not self.has_audio:
                raise MediaError(f"{self.name}: {problem}")
            self.note(problem)
        return width > 0 and height > 0

    def _check_pixels(self, width: int, height: int):
        if width * height > self._max_pixels:
            raise MediaError(f"{self.name}: frames of {width} x {height} exceed the {self._max_pixels} pixels allowed")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Closes the file if it was opened here."""
        self._source.close()

    def note(self, problem: str):
        """Records damage that was worked around, and warns."""
        if problem not in self.problems:  # read twice, a file is as damaged as before
            self.problems.append(problem)
            logger.warning(f"{self.name}: {problem}")

    def _demuxer(self) -> Demuxer:
        """A new reader of the best video stream's packets."""
        with self._source.reading("the video stream cannot be read"):
            return Demuxer(self._source.view())

    def leave_broken_pictures(self):
        """Takes a file whose pictures cannot even be timed for sound alone, whose clock is the container's."""
        if self.has_video and self.has_audio:
            try:
                self.has_video = self.begin is not None
            except MediaError as error:
                logger.warning(str(error))
                self.has_video = False

    def _require_video(self):
        if not self.has_video:
            raise MediaError(f"{self.name}: there is no video stream")

    @cached_property
    def _scanned(self) -> tuple[np.ndarray, float]:
        """When each frame is displayed, and when the last one ends, from one pass over the packets.

        Eight bytes a frame are all that is kept of it; FFmpeg's own index, many times larger, goes with its reader.
        """
        self._require_video()
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
            raise MediaError(f"{self.name}: the video stream has no frames")
        return index.pts_seconds.numpy(), index.end_stream_seconds_from_content

    @cached_property
    def _times(self) -> tuple[np.ndarray, float]:
        """The same up to a picture that stays for longer than any does."""
        stamps, end = self._scanned
        if end - stamps[0] > MAX_SECONDS:
            raise MediaError(f"{self.name}: the timestamps claim more than {MAX_SECONDS // 3600} hours of video")
        gaps = np.flatnonzero(np.diff(stamps) > MAX_STILL_SECONDS)
        if len(gaps):
            last = gaps[0]
            still = (stamps[last + 1] - stamps[last]) / 3600
            stamps, end = stamps[: last + 1], stamps[last] + MAX_STILL_SECONDS
            self.note(f"a picture stays for {still:.1f} hours: what comes after its first hour is left out")
        self._source.allow_time_for(end - stamps[0])
        return stamps, end

    @property
    def begin(self) -> float:
        """The first displayed frame's time on the container's clock, in seconds: what our zero is there."""
        return float(self._times[0][0])

    @cached_property
    def duration(self) -> float:
        """Seconds from the first displayed frame to the end of the last one, or of sound that goes on after it, for
        which the last picture stays; without video, to the end of the sound.

        Headers only guess the length of some sound, by a factor: where it counts, it is decoded once to know it.
        """
        if not self.has_video:
            return self._sound_end
        end, whole_end = self._times[1], self._scanned[1]
        if self.has_audio and self.sound.promised_end(self._video) > end + OUTLASTING_SECONDS:
            with suppress(MediaError):  # of broken sound, which says so where it is heard
                if self._sound_end > end + OUTLASTING_SECONDS:
                    end = self._sound_end
        there, promised = max(end, whole_end) - self.begin, self._video.duration_seconds_from_header or 0
        if promised > MISSING_SECONDS + there:
            self.note(f"only {there:.1f} of the {promised:.1f} s of video that its header promises are there")
        return end - self.begin

    @cached_property
    def _sound_end(self) -> float:
        end = 0.0
        for start, piece in self._source.in_time(self._sound([]), "the sound cannot be read"):
            end = start + len(piece) / SAMPLE_RATE
        return end

    @property
    def height(self) -> int:
        """Pixels of a frame as displayed, after rotation."""
        self._require_video()
        return self._video.height

    @property
    def width(self) -> int:
        """Pixels of a frame as displayed: after rotation, and with pixels made square."""
        self._require_video()
        aspect = self._video.pixel_aspect_ratio or Fraction(1)
        if abs(self._video.rotation or 0) % 180 == 90:
            aspect = 1 / aspect
        return max(1, round(self._video.width * aspect))

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
            clip_seconds (`float`, *optional*, defaults to 1.5):
                Length of a clip.
            fps (`float`, *optional*, defaults to 20):
                How often a second it is looked at.
            size (`int`, *optional*):
                Shortest edge to which frames are resized, keeping the displayed aspect ratio.
            crop_size (`tuple[int, int]`, *optional*):
                (height, width) that is then cut out of the centre.

        Yields:
            `torch.Tensor` (T, 3, H, W) uint8.

        Raises:
            MediaError: There is no video, no frame of it can be decoded, or its time is up.
        """
        num_clips, num_frames = count_clips(self.shown_seconds, clip_seconds), len(frame_times(0, clip_seconds, fps))
        moments = itertools.chain.from_iterable(frame_times(clip, clip_seconds, fps) for clip in range(num_clips))
        with closing(self._pictures(moments, self._picture_maker(size, crop_size), fps)) as pictures:
            clips = (np.stack(list(itertools.islice(pictures, num_frames))) for _ in range(num_clips))
            for clip in self._source.in_time(clips, "the video stream cannot be read"):
                yield torch.from_numpy(clip).permute(0, 3, 1, 2)

    def _picture_maker(self, size: int | None, crop_size: tuple[int, int] | None) -> Callable[[RawFrame], np.ndarray]:
        shape = (self._video.height, self._video.width)
        if size is not None:
            shape = resized_shape(self.height, self.width, size)
            self._check_pixels(shape[1], shape[0])  # a frame of 16 x 8000 grows when its short edge does
        return picture_maker(shape, crop_size)

    def _pictures(self, moments: Iterable[float], make_picture: Callable, fps: float) -> Iterator[np.ndarray]:
        """The picture (H, W, 3) at each of the ascending `moments`; what cannot be decoded is noted."""
        stamps, _ = self._times
        errors, lost = [], []
        frames = ahead(self._checked(decoded_frames(self._demuxer(), errors)))
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

    def _checked(self, frames: Iterator[RawFrame]) -> Iterator[RawFrame]:
        """The same frames, each refused as soon as it is decoded if it has grown: none of them waits for others."""
        for frame in frames:
            self._check_pixels(frame.width, frame.height)
            yield frame

    @property
    def shown_seconds(self) -> float:
        """Seconds that have pictures: as many as the video, unless the last one would stay for too long."""
        still = float(self._times[0][-1]) - self.begin + MAX_STILL_SECONDS
        if self.duration > still + TIME_TOLERANCE:
            self.note(
                f"the last picture stays for {(self.duration - still) / 3600 + 1:.1f} hours: one of them is shown"
            )
        return min(self.duration, still)

    @property
    def _counts_frames(self) -> bool:
        """Whether the file stores no times of display but only counts frames, as AVI does."""
        start = self._source.view().read(12)
        return start[:4] == b"RIFF" and start[8:] == b"AVI "

    def iter_speech(self, block_seconds: float = 300) -> Iterator[tuple[np.ndarray, float]]:
        """Streams the sound in blocks, so that hours of it need little memory.

        Args:
            block_seconds (`float`, *optional*, defaults to 300):
                Length of a block; the last one is shorter.

        Yields:
            (waveform (N,) float32 mono 16 kHz, its start in seconds on the video's clock), which is negative where
            sound precedes the first frame. Blocks follow one another without gap; what is missing or damaged is
            silent, and damage is noted in `problems`.
        """
        return self._source.in_time(self._sound_blocks(block_seconds), "the sound cannot be read")

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
        promised, longest = self.sound.check_header(), MAX_SECONDS
        if self.has_video:
            longest = min(max(promised, self._times[1] - self.begin) + MISSING_SECONDS, MAX_SECONDS)
        else:
            self._source.allow_time_for(promised)
        return self.sound.decode(errors, longest)

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
    """Opens a video (or a sound file) from an untrusted source, without decoding more than a cover yet.

    Args:
        video (`str`, `pathlib.Path`, `bytes` or a binary file object):
            A path must lead to an existing regular file. A file object must be seekable; it stays open.
        max_pixels (`int`, *optional*, defaults to 8192 * 4320):
            The largest frame that is accepted.
        time_limit (`float`, *optional*):
            Seconds that may be spent on reading this file, whatever is done with what it gives not counted; by
            default five minutes and five times its length.

    Returns:
        [`Media`], a context manager with `duration`, `begin`, `width`, `height`, `has_video`, `has_audio`.

    Raises:
        MediaError: One sentence with the file and the reason, if it cannot be opened.
    """
    source = Source(video, time_limit)
    try:
        return Media(source, max_pixels)
    except BaseException:
        source.close()
        raise
