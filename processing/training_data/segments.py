"""From a row (one video) to segments: which clips belong to which sentence, and what is shown while nobody speaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..codes_videobert import ids_of_clips, num_clips


class Segment(NamedTuple):
    """A stretch of a row: `text` and `visual_ids` (either may be empty), `start` and `end` in seconds."""

    video_id: str
    text: str
    visual_ids: tuple[int, ...]
    start: float
    end: float


class Span(NamedTuple):
    """Where a segment lies in its row: seconds, clips `first_clip … last_clip − 1`, its sentence (−1: no speech)."""

    start: float
    end: float
    first_clip: int
    last_clip: int
    sentence: int


def clips_between(start: float, end: float, clip_seconds: float, count: int) -> tuple[int, int]:
    """The clips whose middle lies in `[start, end)`.

    Args:
        start (`float`):
            Seconds from the video's first displayed frame.
        end (`float`):
            Seconds.
        clip_seconds (`float`):
            Length of a clip, as the row says it.
        count (`int`):
            How many clips the video has.

    Returns:
        `tuple[int, int]`: The first of them and the one behind the last; the same one if there are none.
    """
    first, last = (math.ceil(seconds / clip_seconds - 0.5) for seconds in (start, end))
    first = min(max(first, 0), count)
    return first, min(max(last, first), count)


def ids_between(row: Mapping, start: float, end: float) -> list[int]:
    """The visual ids of the clips of a row whose middle lies in `[start, end)`, seconds."""
    return ids_of_clips(row, range(*clips_between(start, end, row["clip_seconds"], num_clips(row))))


def row_spans(row: Mapping, trailing_seconds: float = 0.0, silence_tokens: int = 16) -> list[Span]:
    """Cut a row into spans: one a sentence, and pieces of `silence_tokens` clips where nobody speaks (section 4.1).

    A clip belongs to the sentence whose span holds its middle; where sentences overlap, to the one that began last.
    Pauses shorter than `silence_tokens` clips make no span of their own: they are seen when the sentences around
    them are joined. A damaged video, whose row has an `error`, gives what could be read of it.

    Args:
        row (`Mapping`):
            `sentences`, `visual_ids` and `clip_seconds`, as `processor.tokenize` returns them.
        trailing_seconds (`float`, defaults to 0.0):
            A sentence also gets the clips up to this many seconds after its end, spoken over or not, because
            instructors say and then do; neighbours then share clips. 0.0 is the paper's rule.
        silence_tokens (`int`, defaults to 16):
            Clips in a segment without speech.

    Returns:
        `list[Span]`: in the order of time; without `trailing_seconds` no clip is in two of them.
    """
    count, clip_seconds = num_clips(row), row["clip_seconds"]
    order = sorted(
        (number for number, sentence in enumerate(row["sentences"]) if sentence["text"].strip()),
        key=lambda number: row["sentences"][number]["start"],
    )
    starts = [row["sentences"][number]["start"] for number in order] + [math.inf]
    spans: list[Span] = []
    silent_from = 0
    for place, number in enumerate(order):
        end = min(row["sentences"][number]["end"], starts[place + 1]) + trailing_seconds
        first, last = clips_between(starts[place], end, clip_seconds, count)
        if first - silent_from >= silence_tokens:
            spans += _silent_spans(silent_from, first, silence_tokens, clip_seconds)
        spans.append(Span(starts[place], end, first, last, number))
        silent_from = max(silent_from, last)
    if not order or count - silent_from >= silence_tokens:
        spans += _silent_spans(silent_from, count, silence_tokens, clip_seconds)
    return spans


def _silent_spans(first: int, last: int, size: int, clip_seconds: float) -> Iterator[Span]:
    for begin in range(first, last, size):
        end = min(begin + size, last)
        yield Span(begin * clip_seconds, end * clip_seconds, begin, end, -1)


def row_segments(row: Mapping, trailing_seconds: float = 0.0, silence_tokens: int = 16) -> list[Segment]:
    """The segments of a row, neither joined nor subsampled: what training starts from, for reading and retrieval.

    Args:
        row (`Mapping`):
            One video.
        trailing_seconds (`float`, defaults to 0.0):
            See [`row_spans`].
        silence_tokens (`int`, defaults to 16):
            See [`row_spans`].

    Returns:
        `list[Segment]`: in the order of time.
    """
    return [
        Segment(
            row["video_id"],
            row["sentences"][span.sentence]["text"].strip() if span.sentence >= 0 else "",
            tuple(ids_of_clips(row, range(span.first_clip, span.last_clip))),
            span.start,
            span.end,
        )
        for span in row_spans(row, trailing_seconds, silence_tokens)
    ]


def span_texts(row: Mapping, spans: Sequence[Span]) -> list[str]:
    """What is said in spans of a row, without those where nobody speaks."""
    return [row["sentences"][span.sentence]["text"].strip() for span in spans if span.sentence >= 0]
