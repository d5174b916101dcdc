"""Sound in its place in time: the choice alone, on made-up timestamps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchcodec.decoders import RawAudioSamples

from processing import sound_videobert
from processing.opening_videobert import MediaError
from processing.sound_videobert import SAMPLE_RATE, blocks_of, heard_channels, sound_in_place


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


def stereo(left, right):
    """A piece of half a second of two channels."""
    data = torch.from_numpy(np.stack([left, right]).astype(np.float32))
    return RawAudioSamples(data, SAMPLE_RATE, 0.0, 0.5)


def test_channels_in_opposite_phase():
    """Mixed they would be silent: the first is heard, in silence between as well. Other stereo is mixed as ever."""
    tone, other = np.sin(np.arange(8000) / 6), np.sin(np.arange(8000) / 7)
    opposite = heard_channels(stereo(tone, -0.95 * tone), False)
    assert opposite.num_channels == 1 and torch.equal(opposite.data[0], torch.from_numpy(tone.astype(np.float32)))
    silence = stereo(0 * tone, 0 * tone)
    assert heard_channels(silence, True).num_channels == 1 and heard_channels(silence, False) is silence
    for left, right in ((tone, tone), (tone, other), (tone, 0 * tone), (tone + other, other - tone)):
        assert heard_channels(stereo(left, right), True).num_channels == 2
    assert heard_channels(stereo(30000 * tone, -30000 * tone), False).num_channels == 1


@pytest.mark.parametrize(
    "rate, count, message", [(1, 10, "1 Hz"), (2_000_000, 10, "2000000 Hz"), (1000, 601_000, "one packet holds 601 s")]
)
def test_bounds_of_sound_within_a_stream(rate, count, message):
    """A rate may change in the midst of a stream, and a packet may claim hours: refused before it is resampled."""
    sound = RawAudioSamples(torch.zeros(1, count), rate, 0.0, count / rate)
    with pytest.raises(MediaError, match=f"talk.wav: .*{message}"):
        list(sound_in_place([sound], 10, "talk.wav"))


def test_sound_without_end(monkeypatch):
    monkeypatch.setattr(sound_videobert, "MAX_SECONDS", 3600)
    with pytest.raises(MediaError, match="more than 1 hours of sound"):
        for _ in sound_in_place(sounds(*np.arange(0, 4000, 0.5)), 10):
            pass
