"""Builds whose time counts from when the processes that describe videos are ready, as in a corpus of many hours."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from processing import VideoBertProcessor
from processing.corpus import build_corpus, describing, isolation
from processing.frames_videobert import count_clips


@contextmanager
def kept_processes(processor: VideoBertProcessor, first: Path, count: int = 1) -> Iterator[None]:
    """Processes for all builds inside, each of which has described a first video: what they load is loaded."""
    children = isolation.make_describers(processor, count, isolation.DEADLINE, None)

    def get_children(*_):
        for child in children:
            child.seconds, child.waited = {}, {}
        return children

    with ExitStack() as end:
        for child in children:
            end.callback(child.close)
            child.describe([first], ["first"], [None])
        for child in children:
            end.enter_context(patch.object(child, "close"))
        with patch.object(describing, "make_describers", get_children):
            yield


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
