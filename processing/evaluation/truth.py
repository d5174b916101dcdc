"""What truly happens in a video: its steps, and the visual ids that belong to each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..codes_videobert import noted_count, tokens_per_clip
from ..training_data.segments import ids_between

ASKED = ("verb", "object")
TIMES = ("start", "end")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, without what is blank around them.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # a sentence may hold other breaks
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ValueError(f"{path} cannot be read: {reason}.") from error
    return [line.strip() for line in lines]


def read_truth(path: str | Path) -> dict[str, list[dict]]:
    """The steps by video id, from a file with one JSON object a line.

    Raises:
        ValueError: It cannot be read, a line is no JSON object with `video_id` and `steps`, or a step lacks a name or
            a time.
    """
    truth = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line:
            continue
        try:
            video = json.loads(line)
            truth[video["video_id"]] = steps = video["steps"]
            missing = {name for step in steps for name in (*ASKED, *TIMES) if name not in step}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f'Line {number} of {path} is no step list; allowed is {{"video_id": …, "steps": […]}} ({error}).'
            ) from error
        if missing:
            raise ValueError(f"Line {number} of {path} has a step without {', '.join(sorted(missing))}.")
    return truth


def read_words(path: str | Path) -> list[str]:
    """A list of words, or of phrases, from a text file with one a line.

    Raises:
        ValueError: It cannot be read, or holds none.
    """
    words = [word for word in dict.fromkeys(read_lines(path)) if word]
    if not words:
        raise ValueError(f"{path} holds no words; allowed is at least one, each on a line of its own.")
    return words


def step_segments(rows: Iterable[Mapping], truth: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """The steps to classify.

    Args:
        rows (`Iterable[Mapping]`):
            Rows of the corpus; those whose video is not in `truth` are left out.
        truth (`Mapping[str, Sequence[Mapping]]`):
            By video id its steps, each with `verb`, `object`, `start` and `end` (seconds).

    Returns:
        `list[dict]`: `video_id`, `visual_ids` (of the clips whose middle lies in `[start, end)`), `verb`, `object`,
        `start`, `end`, and `tokens_per_clip` where the row has it. A step without any clip stays, with no visual ids.

    Raises:
        ValueError: A step ends before it starts, or starts outside its video.
    """
    segments = []
    for row in rows:
        for number, step in enumerate(truth.get(row["video_id"], ()), start=1):
            _check_times(row, number, step)
            step = {name: step[name] for name in (*ASKED, *TIMES)}
            shown = ids_between(row, step["start"], step["end"])
            told = noted_count(tokens_per_clip(row))
            segments.append({"video_id": row["video_id"], "visual_ids": shown, **told, **step})
    return segments


def _check_times(row: Mapping, number: int, step: Mapping) -> None:
    """A damaged video may end before its steps; they count as steps that nobody sees."""
    outside = step["start"] < 0 or (step["start"] >= row["duration"] and not row["error"])
    if outside or step["end"] <= step["start"]:
        raise ValueError(
            f"Step {number} of video {row['video_id']} ({step['verb']} {step['object']}) is at {step['start']} to "
            f"{step['end']} s; allowed is an end behind a start within the {row['duration']} s of the video."
        )
