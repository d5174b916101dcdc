"""What truly happens in a video: its steps, and the visual ids that belong to each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..training_data.segments import clips_between

ASKED = ("verb", "object")


def read_truth(path: str | Path) -> dict[str, list[dict]]:
    """The steps by video id, from a file with one JSON object a line."""
    with open(path, encoding="utf-8") as lines:
        return {video["video_id"]: video["steps"] for video in map(json.loads, lines)}


def step_segments(rows: Iterable[Mapping], truth: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """The steps to classify.

    Args:
        rows (`Iterable[Mapping]`):
            Rows of the corpus; those whose video is not in `truth` are left out.
        truth (`Mapping[str, Sequence[Mapping]]`):
            By video id its steps, each with `verb`, `object`, `start` and `end` (seconds).

    Returns:
        `list[dict]`: `video_id`, `visual_ids` (of the clips whose middle lies in `[start, end)`), `verb`, `object`,
        `start`, `end`. A step without any clip stays, with no visual ids.
    """
    segments = []
    for row in rows:
        for step in truth.get(row["video_id"], ()):
            first, last = clips_between(step["start"], step["end"], row["clip_seconds"], len(row["visual_ids"]))
            step = {name: step[name] for name in (*ASKED, "start", "end")}
            segments.append({"video_id": row["video_id"], "visual_ids": list(row["visual_ids"][first:last]), **step})
    return segments
