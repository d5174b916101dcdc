"""What annotation files hold, in one form: steps, each a stretch of a video with a phrase that says what is done."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path


def make_step(
    video_id: str, subset: str, start: float | str, end: float | str, sentence: str, source: Path, **more: str
) -> dict:
    """A step of an annotation file.

    Args:
        video_id (`str`):
            As in the file.
        subset (`str`):
            `training` or `validation`, whatever the file calls them.
        start, end:
            Seconds.
        sentence (`str`):
            What is done.
        source (`Path`):
            The file, for messages.
        more:
            `verb`, `object`, `task`, where they are known.

    Returns:
        `dict`: `video_id`, `subset`, `start`, `end`, `sentence`, and `more`.

    Raises:
        `ValueError`: The times are none, or end before they begin.
    """
    try:
        start, end = float(start), float(end)
    except (TypeError, ValueError):
        start = end = math.nan
    if not 0 <= start < end < math.inf:
        raise ValueError(
            f"{source}: the step {sentence!r} of {video_id} lasts from {start} to {end}; allowed are seconds from 0 "
            "on, the end after the start."
        )
    return {"video_id": video_id, "subset": subset, "start": start, "end": end, "sentence": sentence, **more}


def read_text(path: Path) -> str:
    """A file of annotations as text.

    Raises:
        `ValueError`: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: these annotations cannot be read ({error})") from None


def video_ids_of(steps: Iterable[dict]) -> list[str]:
    """The videos of steps, each once, in order."""
    return list(dict.fromkeys(step["video_id"] for step in steps))
