"""How much there is in rows: hours, clips, words, and what went wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from ..codes_videobert import num_clips

# What differs from one file to the next of the same fault: numbers, and what a library adds in brackets.
DETAILS = re.compile(r"\s*\([^()]*(?:\([^()]*\)[^()]*)*\)")
NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")


def count_rows(rows: Iterable[Mapping]) -> dict[str, int | float]:
    """Videos, hours, clips, sentences and words of rows.

    Args:
        rows (`Iterable[Mapping]`):
            One row a video.

    Returns:
        `dict`: `videos`, `hours`, `clips`, `visual_ids` (different ones), `sentences`, `words`, `with_speech` and
        `with_error` (videos).
    """
    counts: Counter[str] = Counter()
    seconds, used = 0.0, set()
    for row in rows:
        seconds += row["duration"] or 0
        used.update(row["visual_ids"])
        counts["videos"] += 1
        counts["clips"] += num_clips(row)
        counts["sentences"] += len(row["sentences"])
        counts["words"] += sum(len(sentence["text"].split()) for sentence in row["sentences"])
        counts["with_speech"] += bool(row["sentences"])
        counts["with_error"] += bool(row["error"])
    names = ("videos", "clips", "sentences", "words", "with_speech", "with_error")
    return {name: counts[name] for name in names} | {"hours": round(seconds / 3600, 2), "visual_ids": len(used)}


def count_kinds(rows: Iterable[Mapping], column: str) -> dict[str, int]:
    """How often something was said of a video, by what was said without names and numbers, most often first.

    Args:
        rows (`Iterable[Mapping]`):
            One row a video.
        column (`str`):
            `error` or `notes`.
    """
    found: Counter[str] = Counter()
    for row in rows:
        # A video that two things are wrong with counts for both, for each once.
        found.update({kind_of(said) for said in (row[column] or "").split("; ") if said})
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def kind_of(said: str) -> str:
    """`folder/a.mp4: frames of 4 x 5 exceed …` as all such are told: `frames of N x N exceed …`."""
    _, colon, what = said.partition(": ")
    return NUMBERS.sub("N", DETAILS.sub("", what if colon else said))
