"""Protects the intervals: a video's steps are drawn together, and equal videos leave no doubt."""

import numpy as np
import pytest

from processing.evaluation.intervals import share_with_interval, video_interval


def test_the_share_is_that_of_items_and_not_of_videos():
    found = share_with_interval([True, True, True, False], ["a", "a", "a", "b"])
    assert found["share"] == 0.75 and found["low"] == 0.0 and found["high"] == 1.0


def test_videos_that_are_alike_leave_no_doubt():
    found = share_with_interval([True, False] * 10, [f"v{number // 2}" for number in range(20)])
    assert found["low"] == found["high"] == 0.5


def test_steps_of_a_video_are_drawn_together():
    """Ten steps of each of 20 videos, all right or all wrong: as unsure as 20 draws, not as 200."""
    hits = np.repeat(np.arange(20) % 2 == 0, 10)
    found = share_with_interval(hits, [f"v{place // 10}" for place in range(200)])
    # A share of 1/2 out of 20 has a standard error of 0.112; out of 200 it would be 0.035.
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.112, rel=0.15)


def test_one_video_tells_nothing():
    assert video_interval(lambda times: 1.0, 1) is None
    assert share_with_interval([True], ["a"]) == {"share": 1.0, "low": None, "high": None}
