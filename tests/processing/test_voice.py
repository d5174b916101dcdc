"""Voice detection that looks at many frames at once finds what the detector's own loop finds."""

import numpy as np
import pytest
import torch

from processing.sound_videobert import SAMPLE_RATE
from processing.voice_videobert import FRAME, FRAMES_AT_ONCE, VOICE_PROBABILITY, VoiceNetwork, load_voice_detector

silero_vad = pytest.importorskip("silero_vad")
# About the format in which its weights are packed.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_all_at_once_says_what_frame_by_frame_says():
    """More than two lots of frames, the last one not full; equal to the library's own network, asked one by one."""
    detector, rng = silero_vad.load_silero_vad(), np.random.default_rng(0)
    length = FRAME * (2 * FRAMES_AT_ONCE + 3) + 100
    loudness = np.repeat(rng.uniform(0, 0.5, length // 1600 + 1), 1600)[:length]
    sound = torch.from_numpy((rng.normal(0, 1, length) * loudness).clip(-1, 1).astype(np.float32))
    detector.reset_states()
    frames = torch.nn.functional.pad(sound, (0, FRAME - 100)).view(-1, FRAME)
    one_by_one = [detector(frame, SAMPLE_RATE).item() for frame in frames]
    assert VoiceNetwork(silero_vad.load_silero_vad())(sound.numpy()) == pytest.approx(one_by_one, abs=1e-4)


def test_spans_are_those_of_the_library(narration):
    """On a real voice, to the sample."""
    sound = torch.from_numpy(narration[0][: 8 * SAMPLE_RATE])
    spans = silero_vad.get_speech_timestamps(sound, silero_vad.load_silero_vad(), threshold=VOICE_PROBABILITY)
    assert len(spans) > 1
    assert load_voice_detector()(sound.numpy()) == [(span["start"], span["end"]) for span in spans]


@pytest.mark.parametrize("length", [0, 1, FRAME])
def test_hardly_any_sound_is_no_voice(length):
    assert load_voice_detector()(np.zeros(length, dtype=np.float32)) == []
