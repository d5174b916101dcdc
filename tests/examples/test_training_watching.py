"""Watching: what is counted, averaged and taken for better."""

import math

import pytest
from training.steps import StepResult
from training.watching import Progress


def test_progress_counts_and_averages():
    """A line of the history is a mean over what was asked since the last, not of means; bad and silent steps count
    apart."""
    progress = Progress()
    results = [
        StepResult(2.0, {"a": (6.0, 2), "b": (0.0, 0)}, 10),
        StepResult(4.0, {"a": (2.0, 6), "b": (3.0, 1)}, 20),
        StepResult(0.0, {"a": (0.0, 0), "b": (0.0, 0)}, 5),
        StepResult(math.inf, {"a": (math.inf, 1), "b": (0.0, 0)}, 5, finite=False),
    ]
    for result in results:
        progress.count_step(result)
    line = progress.close_line()
    assert (line["a_loss"], line["b_loss"], line["loss"]) == (1.0, 3.0, 3.0)
    assert (line["bad_steps"], line["silent_steps"], progress.tokens, progress.step) == (1, 1, 40, 4)
    assert "a_loss" not in progress.close_line()


@pytest.mark.parametrize(
    "name, values, best", [("x_loss", [3, 2, 2.5, 1.5], 4), ("x_auc", [0.5, 0.8, 0.7, math.nan], 2)]
)
def test_lower_losses_and_higher_other_figures_are_better(name, values, best):
    """NaN is never better."""
    progress = Progress()
    for step, value in enumerate(values, start=1):
        progress.step = step
        progress.judge_look({name: value}, name)
    assert progress.best_step == best and progress.looks_since_best == 4 - best
