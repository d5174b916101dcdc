"""Moments: the stretches of a video that a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..codes_videobert import num_clips
from ..training_data import row_segments

# A moment without speech is so many clips, unless somebody wants it otherwise.
SILENT_CLIPS = 4


def row_moments(row: Mapping, trailing_seconds: float = 0.0, silent_clips: int = SILENT_CLIPS) -> list[dict[str, Any]]:
    """The moments of a video: one a sentence, and windows where nobody speaks.

    Args:
        row (`Mapping`):
            One video; one with an `error` gives what could be read of it.
        trailing_seconds (`float`, *optional*, defaults to 0.0):
            A sentence also gets the clips up to so long after its end: people say and then do.
        silent_clips (`int`, *optional*, defaults to `SILENT_CLIPS`):
            Clips in a window; a shorter pause has none.

    Returns:
        `list[dict]`: `video_id`, `start` and `end` (seconds, inside the video), `text` (`""` in silence),
        `visual_ids` and `clip_seconds`. What shows no clip is no moment.
    """
    length = num_clips(row) * row["clip_seconds"]
    return [
        {
            "video_id": segment.video_id,
            "start": segment.start,
            "end": max(segment.start, min(segment.end, length)),
            "text": segment.text,
            "visual_ids": list(segment.visual_ids),
            "clip_seconds": row["clip_seconds"],
        }
        for segment in row_segments(row, trailing_seconds, silent_clips)
        if segment.visual_ids
    ]
