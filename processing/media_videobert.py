"""Reading untrusted media: frames and sound at their true times.

A video is scanned once (its packets' times, nothing is decoded: headers promise frames that are not there) and then
decoded once, from the first frame to the last. Frames are made small by torch, not by the decoder's own transforms:
those convert and scale more than twice as slowly, and ours are equal to the standard processor's to the last bit. Only
a few frames of full size are held at a time.

All times are seconds on the video's own clock, which starts at the first displayed frame.
"""

import itertools
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cached_property

import numpy as np
import torch
from torchcodec.decoders import (
    get_container_metadata,
)
from transformers.utils import logging

from .frames_videobert import (
    TIME_TOLERANCE,
    count_clips,
    frame_times,
)
from .opening_videobert import MAX_SECONDS, MediaError, Source
from .pictures_videobert import MAX_STILL_SECONDS, Pictures
from .sound_videobert import SAMPLE_RATE, blocks_of
from .soundtracks_videobert import SoundTracks
from .tracks_videobert import index_is_cut

logger = logging.get_logger(__name__)

MAX_PIXELS = 8192 * 4320
# Headers are not exact; a video shorter than promised by more than this has been cut off.
MISSING_SECONDS = 1.5
# Sound that outlasts the pictures by no more is rounded to whole packets; by more, the last picture stays for it.
OUTLASTING_SECONDS = 0.25


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
    """

    def __init__(self, source: Source, max_pixels: int):
        self.name = source.name
        self._source = source
        with source.reading("not a readable video or sound file"):
            header = get_container_metadata(source.view())
            if index_is_cut(source.view()):
                source.note("its index is cut off, so that pictures or sound may be missing")
        self.sound = SoundTracks(source, header)
        self.has_audio = self.sound.chosen is not None
        best = header.best_video_stream_index
        self._pictures = None if best is None else Pictures(source, header.streams[best], max_pixels)
        self.has_video = best is not None and self._pictures.can_be_shown(beside_sound=self.has_audio)
        if not (self.has_video or self.has_audio):
            raise MediaError(f"{self.name}: there is neither a video nor a sound stream")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Closes the file if it was opened here."""
        self._source.close()

    @property
    def problems(self) -> list[str]:
        """Damage that was met and worked around while reading, one sentence each."""
        return self._source.problems

    @property
    def pictures(self) -> Pictures:
        """The pictures of the video, if there is one."""
        if not self.has_video:
            raise MediaError(f"{self.name}: there is no video stream")
        return self._pictures

    def leave_broken_pictures(self):
        """Takes a file whose pictures cannot even be timed for sound alone, whose clock is the container's."""
        if self.has_video and self.has_audio:
            try:
                self.has_video = self.begin is not None
            except MediaError as error:
                logger.warning(str(error))
                self.has_video = False

    @property
    def begin(self) -> float:
        """The first displayed frame's time on the container's clock, in seconds: what our zero is there."""
        return self.pictures.begin

    @property
    def height(self) -> int:
        """Pixels of a frame as displayed, after rotation."""
        return self.pictures.height

    @property
    def width(self) -> int:
        """Pixels of a frame as displayed: after rotation, and with pixels made square."""
        return self.pictures.width

    @cached_property
    def duration(self) -> float:
        """Seconds from the first displayed frame to the end of the last one, or of sound that goes on after it, for
        which the last picture stays; without video, to the end of the sound.

        Headers only guess the length of some sound, by a factor: where it counts, it is decoded once to know it.
        """
        if not self.has_video:
            return self._sound_end
        pictures = self.pictures
        end = pictures.end
        if self.has_audio and self.sound.promised_end(pictures.stream) > end + OUTLASTING_SECONDS:
            with suppress(MediaError):  # of broken sound, which says so where it is heard
                if self._sound_end > end + OUTLASTING_SECONDS:
                    end = self._sound_end
        there = max(end, pictures.whole_end) - self.begin
        promised = pictures.stream.duration_seconds_from_header or 0
        if promised > MISSING_SECONDS + there:
            self._source.note(f"only {there:.1f} of the {promised:.1f} s of video that its header promises are there")
        return end - self.begin

    @cached_property
    def _sound_end(self) -> float:
        end = 0.0
        for start, piece in self._source.in_time(self._sound([]), "the sound cannot be read"):
            end = start + len(piece) / SAMPLE_RATE
        return end

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
        with closing(self.pictures.show_at(moments, fps, size, crop_size)) as pictures:
            clips = (np.stack(list(itertools.islice(pictures, num_frames))) for _ in range(num_clips))
            for clip in self._source.in_time(clips, "the video stream cannot be read"):
                yield torch.from_numpy(clip).permute(0, 3, 1, 2)

    @property
    def shown_seconds(self) -> float:
        """Seconds that have pictures: as many as the video, unless the last one would stay for too long."""
        still = self.pictures.last - self.begin + MAX_STILL_SECONDS
        if self.duration > still + TIME_TOLERANCE:
            self._source.note(
                f"the last picture stays for {(self.duration - still) / 3600 + 1:.1f} hours: one of them is shown"
            )
        return min(self.duration, still)

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
            self._source.note(str(error).removeprefix(f"{self.name}: "))  # the pictures may well be whole
            return
        heard = False
        for block, start in blocks_of(pieces, block_seconds):
            yield block, start - zero
            heard = True
        if len(errors) > heard:  # a file that was cut ends with half a packet
            self._source.note(f"the sound is damaged: {len(errors)} of its packets cannot be decoded")

    def _sound(self, errors: list[Exception]) -> Iterator[tuple[float, np.ndarray]]:
        """The sound on the container's clock, to its true end: some headers only guess how long it is."""
        promised, longest = self.sound.check_header(), MAX_SECONDS
        if self.has_video:
            longest = min(max(promised, self.pictures.end - self.begin) + MISSING_SECONDS, MAX_SECONDS)
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
