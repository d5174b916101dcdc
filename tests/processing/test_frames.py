"""Which frame is on the screen when: the choice alone, on made-up times, against a plain search through all frames."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.frames_videobert import ahead, frames_in_place, pictures_at

starts_and_lost = st.integers(1, 30).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(1, 40), min_size=count, max_size=count),
        st.lists(st.booleans(), min_size=count, max_size=count),
    )
)


@given(starts_and_lost, st.floats(0.5, 60), st.floats(0, 5))
def test_the_last_frame_that_began_is_shown(made, fps, begin):
    """For any gaps between frames and any of them lost: the shown frame is the last decoded one that began by then,
    before all of them the first; each picture is made at most once and none that is not shown."""
    gaps, lost = made
    starts = begin + np.cumsum([0, *gaps[1:]]) / 20
    frames = [SimpleNamespace(pts_seconds=start) for start, gone in zip(starts, lost, strict=True) if not gone]
    times = begin + np.arange(0, (starts[-1] - begin) * fps + 3) / fps
    made_pictures = []

    def make_picture(frame):
        made_pictures.append(frame.pts_seconds)
        return frame.pts_seconds

    shown = list(pictures_at(times, frames_in_place(frames, starts, False), starts, make_picture, []))
    decoded = np.array([frame.pts_seconds for frame in frames])
    if not len(decoded):
        assert shown == []
        return
    expected = [decoded[max(0, np.searchsorted(decoded, time + 1e-6, side="right") - 1)] for time in times]
    assert shown == expected
    changes = [start for start, _ in itertools.groupby(shown)]
    assert [start for start, _ in itertools.groupby(made_pictures)] == changes
    assert len(made_pictures) <= len(changes) + 1  # the first one may stand in for what is missing before it


def test_gaps_are_told_from_jitter():
    """Frames 2 … 14 of a 20 fps video are missing: half a second later that is damage; one missing frame is none."""
    starts = np.arange(40) / 20
    frames = [SimpleNamespace(pts_seconds=start) for n, start in enumerate(starts) if not 2 <= n <= 14 and n != 30]
    lost = []
    shown = list(pictures_at(starts, frames_in_place(frames, starts, False), starts, lambda f: f.pts_seconds, lost))
    assert lost == pytest.approx([0.6, 0.65, 0.7]) and shown[2:15] == [starts[1]] * 13 and shown[30] == starts[29]


NO_TIME = -3.7e17  # what a frame without a time says


@pytest.mark.parametrize(
    "stamps, counted, places",
    [
        ([0, 1, 2, 3], False, [0, 1, 2, 3]),
        ([1, 2, 3, NO_TIME], True, [0, 1, 2, 3]),  # one is held back, the last comes out without a packet
        ([2, 3, NO_TIME, NO_TIME], True, [0, 1, 2, 3]),
        ([1, 3, NO_TIME], True, [0, 2, 3]),  # … and the second is lost
        ([1, 2, 3], False, [1, 2, 3]),  # times of display that are stored are believed: the first is lost
        ([0, NO_TIME, 2], False, [0, 1, 2]),
    ],
)
def test_place_of_a_frame(stamps, counted, places):
    """AVI counts frames; what is held back to be put in order comes out under the time of a later one."""
    frames = [SimpleNamespace(pts_seconds=stamp) for stamp in stamps]
    assert [place for place, _ in frames_in_place(frames, np.arange(4.0), counted)] == places


def test_ahead_changes_nothing():
    """The same items in the same order; an error comes where it would have come."""
    assert list(ahead(iter(range(1, 20)))) == list(range(1, 20)) and list(ahead(iter(()))) == []

    def broken():
        yield from (1, 2, 3, 4)
        raise RuntimeError("five")

    items = ahead(broken())
    assert list(itertools.islice(items, 4)) == [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="five"):
        next(items)
