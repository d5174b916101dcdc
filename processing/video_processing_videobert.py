"""Clips: when a video is looked at, and how its pixels are prepared for the video network."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from .media_videobert import count_clips, frame_times, open_media


class VideoBertVideoProcessorKwargs(VideosKwargs, total=False):
    """
    clip_seconds (`float`, *optional*, defaults to 1.5): Length of a clip in seconds.
    """

    clip_seconds: float


class VideoBertVideoProcessor(BaseVideoProcessor):
    """Cuts videos into clips and prepares them for the video network (paper, section "visual tokens").

    A clip is `clip_seconds` long and looked at `fps` times a second: 30 frames in the paper. Pixels are resized to the
    shortest edge, cut out of the centre and mapped from 0 … 255 to -1 … 1 by the fixed `image_mean` and `image_std`,
    never by a batch's own extremes: a clip looks the same in any company.

    It is a standard video processor, too: called on frames (T, C, H, W), it returns `pixel_values_videos`
    (B, T, C, H, W); called on a path, it first samples the whole video at `fps`.

    Args:
        clip_seconds (`float`, *optional*, defaults to 1.5):
            Length of a clip in seconds.
        kwargs:
            Those of every video processor: `fps`, `size`, `crop_size`, `image_mean`, `image_std`, …
    """

    resample = PILImageResampling.BILINEAR
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    size = {"shortest_edge": 224}
    crop_size = {"height": 224, "width": 224}
    default_to_square = False
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = False  # frames that are given are taken as they are
    clip_seconds = 1.5
    fps = 20
    valid_kwargs = VideoBertVideoProcessorKwargs

    def __init__(self, **kwargs: Unpack[VideoBertVideoProcessorKwargs]):
        super().__init__(**kwargs)
        numbers = [isinstance(value, (int, float)) and 0 < value < math.inf for value in (self.clip_seconds, self.fps)]
        if not all(numbers) or round(self.clip_seconds * self.fps) < 1:
            raise ValueError(
                f"clip_seconds={self.clip_seconds} and fps={self.fps} give no frames; both must be positive "
                "numbers and their product at least 1"
            )

    @property
    def frames_per_clip(self) -> int:
        """Frames in a clip: 30 by default."""
        return round(self.clip_seconds * self.fps)

    def num_clips(self, duration: float) -> int:
        """The number of clips of a video of `duration` seconds; a last clip that is at least half there is kept."""
        return count_clips(duration, self.clip_seconds)

    def sample_frames(self, metadata, num_frames=None, fps=None, **kwargs):
        """The library's sampling; a number of frames that is asked for comes before the rate we have by default."""
        return super().sample_frames(metadata, num_frames, None if num_frames is not None else fps, **kwargs)

    def iter_clips(self, video, video_fps: float | None = None) -> Iterator[torch.Tensor]:
        """Streams the clips of one video, prepared for the video network; only one is in memory at a time.

        Args:
            video:
                A path, bytes, an open binary file, what `open_media` returned, or all frames of a video as an array or
                tensor (T, C, H, W) or (T, H, W, C).
            video_fps (`float`, *optional*):
                Frames a second of an array; by default those of the processor.

        Yields:
            `torch.FloatTensor` of shape `(frames_per_clip, 3, height, width)`.

        Raises:
            MediaError: A file that cannot be read. (Damage inside one is worked around and noted in its `problems`.)
            ValueError: An array that is not a video.
        """
        for frames in self._raw_clips(video, video_fps):
            yield self([frames], do_sample_frames=False, return_tensors="pt")["pixel_values_videos"][0]

    def _raw_clips(self, video, video_fps: float | None) -> Iterator[torch.Tensor]:
        if isinstance(video, (np.ndarray, torch.Tensor)):
            yield from self._clips_of_frames(torch.as_tensor(video), video_fps or self.fps)
        elif hasattr(video, "iter_clips"):
            yield from video.iter_clips(self.clip_seconds, self.fps, *self._decoded_shape())
        else:
            with open_media(video) as media:
                yield from media.iter_clips(self.clip_seconds, self.fps, *self._decoded_shape())

    def _clips_of_frames(self, frames: torch.Tensor, video_fps: float) -> Iterator[torch.Tensor]:
        if frames.ndim != 4 or not len(frames) or not {1, 3} & {frames.shape[1], frames.shape[-1]}:
            raise ValueError(
                f"frames of shape {tuple(frames.shape)} are no video; it must be (T, C, H, W) or (T, H, W, C) "
                "with T > 0 and 1 or 3 channels"
            )
        if video_fps <= 0:
            raise ValueError(f"video_fps={video_fps} must be positive")
        for clip in range(self.num_clips(len(frames) / video_fps)):
            times = frame_times(clip, self.clip_seconds, self.fps)
            # The frame displayed at a time is the last one that began by then; 1e-6 is for rounding.
            shown = np.minimum(times * video_fps + 1e-6, len(frames) - 1).astype(int)
            yield frames[torch.from_numpy(shown)]

    def _decoded_shape(self) -> tuple[int | None, tuple[int, int] | None]:
        """(shortest edge, crop) that reading can already produce, so that large frames stay out of memory."""
        size, crop = self.size, self.crop_size
        edge = size["shortest_edge"] if self.do_resize and size.get("shortest_edge") else None
        cuts = self.do_center_crop and crop and (edge or not self.do_resize)
        return edge, ((crop["height"], crop["width"]) if cuts else None)

    def fetch_videos(self, video_url_or_urls, sample_indices_fn=None):
        """Opens a path (or a list of them) safely and samples it at `fps`: (frames (T, 3, H, W) uint8, metadata)."""
        if isinstance(video_url_or_urls, list):
            videos = [self.fetch_videos(video, sample_indices_fn) for video in video_url_or_urls]
            return [list(part) for part in zip(*videos, strict=True)]
        with open_media(video_url_or_urls) as media:
            frames = torch.cat(list(media.iter_clips(self.clip_seconds, self.fps, *self._decoded_shape())))
            metadata = VideoMetadata(
                total_num_frames=len(frames), fps=self.fps, duration=media.duration, video_backend="torchcodec"
            )
        return frames, metadata


__all__ = ["VideoBertVideoProcessor"]
