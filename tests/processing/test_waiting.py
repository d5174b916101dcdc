"""Protects the share of waiting in a summary: what counts is that an item is not there yet, not what comes after."""

from types import SimpleNamespace

import pytest

from processing import waiting_videobert
from processing.corpus.child import Stages
from processing.waiting_videobert import WAITING, Waiting


@pytest.fixture
def clock(monkeypatch):
    """A time that passes when it is told to, for the waits and for the stages."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(waiting_videobert.time, "monotonic", lambda: clock.now)
    return clock


def slow_stream(clock, seconds):
    for number in range(3):
        clock.now += seconds
        yield number
    clock.now += 0.5  # until it is known that there is no more


def test_only_the_time_until_an_item_is_there_counts(clock):
    waiting, got = Waiting(), []
    for number in waiting.for_items(slow_stream(clock, 2.0)):
        clock.now += 7.0  # the network works
        got.append(number)
    assert got == [0, 1, 2] and waiting.seconds == 3 * 2.0 + 0.5


def test_what_a_stream_raises_comes_through(clock):
    """A damaged video raises in the midst of its clips; a wait for nothing is one, too."""

    def damaged():
        clock.now += 3.0
        yield 0
        raise ValueError("cut off")

    items = waiting_videobert.Waiting().for_items(damaged())
    assert next(items) == 0
    with pytest.raises(ValueError, match="cut off"):
        next(items)


def test_waits_belong_to_the_stage_that_is_told_of_next(clock):
    """Of 10 s of pictures 4 were waited, of 3 s of speech 1; what was before, and between two lots, is no stage's."""
    WAITING.add(50.0)
    stages = Stages()
    for stage, seconds, waited in (("pictures", 6.0, 4.0), ("pictures", 4.0, 0.0), ("speech", 3.0, 1.0)):
        clock.now += seconds
        WAITING.add(waited)
        stages(stage)
    clock.now += 20.0
    WAITING.add(8.0)
    stages.go_on()
    stages("speech")
    assert stages.seconds == {"pictures": 10.0, "speech": 3.0}
    assert stages.waited == {"pictures": 4.0, "speech": 1.0}
