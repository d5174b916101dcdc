"""Protects the finding of steps: the best order is found, recall is that of the official code."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.evaluation.protocols import localisation
from processing.evaluation.protocols.localisation import (
    assign_in_order,
    holds,
    localise_steps,
    mean_of_tasks,
    spread_evenly,
    windows,
)


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_the_best_assignment_in_order(steps, more, seed):
    """Against all of them, one after the other."""
    scores = np.random.default_rng(seed).normal(size=(steps + more, steps))
    clips = assign_in_order(scores)
    assert (np.diff(clips) > 0).all()
    total = max(
        sum(scores[clip, step] for step, clip in enumerate(chosen))
        for chosen in combinations(range(steps + more), steps)
    )
    assert scores[clips, np.arange(steps)].sum() == pytest.approx(total)


def test_fewer_clips_than_steps():
    assert assign_in_order(np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0]])).tolist() == [1, 0, 1]


def test_where_steps_are_looked_for():
    assert windows([5, 6, 7, 8])[0] == [5, 6, 7] and windows([5, 6, 7, 8])[2] == [5, 6, 7, 8]
    assert spread_evenly(10, 2).tolist() == [2, 7] and spread_evenly(1, 3).tolist() == [0, 0, 0]


def test_stretches_are_widened_to_full_seconds():
    """As the official code reads them: from 2.7 to 4.1 is from 2 up to 5."""
    step = {"start": 2.7, "end": 4.1}
    assert [holds(step, time) for time in (1.9, 2.0, 4.9, 5.0)] == [False, True, True, False]


def test_recall_is_a_mean_of_tasks_and_not_of_steps():
    recall = mean_of_tasks(np.array([4.0, 0.0, 0.0]), np.array([4.0, 4.0, 2.0]), np.array([0, 0, 1]))
    assert recall(np.ones(3)) == pytest.approx((4 / 8 + 0) / 2)
    assert recall(np.array([2.0, 1.0, 0.0])) == pytest.approx(8 / 12), "a task that was not drawn does not count"


def seen(monkeypatch):
    """Visual id i says phrase i for certain, clip by clip."""

    def phrase_scores(model, processor, visual_ids, phrases, batch_size=32):
        scores = np.zeros((len(visual_ids), len(phrases)))
        for number, ids in enumerate(visual_ids):
            if ids:
                scores[number, ids[0] % len(phrases)] = 5.0
        return scores

    monkeypatch.setattr(localisation, "phrase_scores", phrase_scores)
    monkeypatch.setattr(localisation, "WINDOW", 1)


def step(video_id, phrase, start, end, task="t"):
    return {"video_id": video_id, "task": task, "start": start, "end": end, "sentence": phrase}


def test_localise_steps(monkeypatch):
    seen(monkeypatch)
    phrases = {"t": ["a", "b"], "u": ["c"]}
    rows = [
        {"video_id": "x", "clip_seconds": 2.0, "visual_ids": [0] * 8 + [1] * 2},
        {"video_id": "y", "clip_seconds": 2.0, "visual_ids": [0] * 10},
        {"video_id": "z", "clip_seconds": 2.0, "visual_ids": []},
    ]
    steps = [step("x", "a", 0, 16), step("x", "b", 16, 20), step("y", "c", 18, 20, "u"), step("z", "a", 0, 2)]
    steps.append(step("x", "b", 100, 101))  # done twice, of which once is enough
    figures = localise_steps(None, None, rows, steps, phrases)
    assert figures["num_videos"] == 2 and figures["num_steps"] == 3
    # Task t: both found. Task u: everything looks alike, and the first clip is taken, which is not the step's.
    assert figures["average_recall"] == 0.5
    # Spread evenly: a at clip 2 is right, b at clip 7 (15 s) is too early; c at clip 5 is not in 18 to 20.
    assert figures["average_recall_prior"] == 0.25
    assert figures["average_recall_low"] <= 0.5 <= figures["average_recall_high"]
    with pytest.raises(ValueError, match="no steps to find"):
        localise_steps(None, None, rows, [step("nobody", "a", 0, 1)], phrases)
