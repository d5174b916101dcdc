"""Builds whose time is counted from when the process that describes videos is ready, as in the middle of a corpus."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from processing import VideoBertProcessor
from processing.corpus import build_corpus, describing, isolation
from processing.frames_videobert import count_clips


@contextmanager
def kept_process(processor: VideoBertProcessor, first: Path) -> Iterator[isolation.Child]:
    """One process for all builds inside, which has described a first video: what it loads and compiles is loaded."""
    (child,) = isolation.make_describers(processor, 1, isolation.DEADLINE, None)

    def get_child(*_):
        child.seconds, child.waited = {}, {}
        return [child]

    child.describe([first], ["first"], [None])
    try:
        with patch.object(describing, "make_describers", get_child), patch.object(child, "close"):
            yield child
    finally:
        child.close()


def time_build(videos: Mapping[str, Path], processor: VideoBertProcessor, output: Path, **options):
    """(rows, seconds) of a build with a codebook of its own."""
    begun = time.perf_counter()
    rows = build_corpus(videos, processor, output, **options)
    return rows, time.perf_counter() - begun


def count_rows(rows, durations: Mapping[str, float]) -> dict:
    """How rows differ from what there is: seconds by video id."""
    clips = {}
    for row in rows.select_columns(["video_id", "visual_ids"]):
        clips.setdefault(row["video_id"], []).append(len(row["visual_ids"]))
    return {
        "rows_missing": len(durations.keys() - clips.keys()),
        "rows_twice": sum(len(counts) - 1 for counts in clips.values()) + len(clips.keys() - durations.keys()),
        "clips_differing": sum(
            abs(clips[name][0] - count_clips(seconds)) for name, seconds in durations.items() if name in clips
        ),
    }


def add_counts(figures: dict, counts: Mapping[str, int]) -> None:
    """Adds what differs in one more build."""
    for name, count in counts.items():
        figures[name] = figures.get(name, 0) + count
