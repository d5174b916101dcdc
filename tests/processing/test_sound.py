"""Sound in its place in time: the choice alone, on made-up timestamps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from processing import sound_videobert
from processing.sound_videobert import SAMPLE_RATE, blocks_of, sound_in_place


@pytest.fixture(autouse=True)
def no_resampling(monkeypatch):
    """A converter that hands on what it gets; torchcodec's own takes only what a decoder made."""

    class Converter:
        def __init__(self, **kwargs):
            pass

        def convert(self, sound):
            return sound

        def drain(self):
            return SimpleNamespace(data=torch.zeros(1, 0))

        def reset(self):
            pass

    monkeypatch.setattr(sound_videobert, "AudioConverter", Converter)


def sounds(*stamps):
    """Pieces of half a second, the n-th one all n + 1."""
    size = SAMPLE_RATE // 2
    for number, stamp in enumerate(stamps):
        data = torch.full((1, size), number + 1.0)
        yield SimpleNamespace(data=data, pts_seconds=stamp, sample_rate=SAMPLE_RATE, num_samples=size, num_channels=1)


@pytest.mark.parametrize(
    "stamps, start, heard",
    [
        ([0, 0.5, 1], 0, [1, 2, 3]),
        ([7, 7.5], 7, [1, 2]),
        ([0, 0.54, 0.96], 0, [1, 2, 3]),  # rounded
        ([0, 1.5, 2], 0, [1, 0, 0, 2, 3]),  # a gap
        ([0, 500, 1], 0, [1, 2, 3]),  # a broken time: the sound cannot last so long
        ([0, 0.5, 0.5, 1], 0, [1, 2, 4]),  # told twice
        ([100, 100.5, 0, 0.5], 100, [1, 2, 3, 4]),  # a clock that begins anew
        ([-1e14, -1e14], 0, [1, 2]),  # no times at all
    ],
)
def test_place_of_sound(stamps, start, heard):
    blocks = list(blocks_of(sound_in_place(sounds(*stamps), 10), 0.5))
    assert [block.mean() for block, _ in blocks] == heard
    assert [time for _, time in blocks] == pytest.approx(start + np.arange(len(heard)) / 2)
