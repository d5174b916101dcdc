"""Where somebody speaks: the voice detector silero-vad.

Its own loop asks the network about every 32 ms of sound in turn, and nearly all of its time goes into the calls. Only
the recurrent layer needs the order: here everything else looks at many frames at once. What it says is the same.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from .sound_videobert import SAMPLE_RATE

# Sure enough that it is a voice. The detector's own 0.5 misses quiet and distant speakers.
VOICE_PROBABILITY = 0.35
# Samples of a frame, and of what lies before it and is seen with it.
FRAME, CONTEXT = 512, 64
# So many are looked at together: half a minute.
FRAMES_AT_ONCE = 1024


def load_voice_detector() -> Callable:
    """A function from a waveform to the spans (start, end), in samples, in which there is a voice."""
    threads = torch.get_num_threads()
    try:
        from silero_vad import get_speech_timestamps_from_probs, load_silero_vad
    except ImportError as error:
        raise ImportError("hearing speech needs voice detection: pip install silero-vad") from error
    torch.set_num_threads(threads)  # importing it takes all threads but one from the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the format in which its weights are packed
        network = VoiceNetwork(load_silero_vad())

    def detect(waveform: np.ndarray) -> list:
        spans = get_speech_timestamps_from_probs(
            network(waveform),
            threshold=VOICE_PROBABILITY,
            sampling_rate=SAMPLE_RATE,
            audio_length_samples=len(waveform),
        )
        return [(span["start"], span["end"]) for span in spans]

    return detect


class VoiceNetwork:
    """silero-vad's network, from a whole waveform to the probability of a voice in each of its frames.

    Args:
        detector (`torch.jit.ScriptModule`):
            What `load_silero_vad` gives.
    """

    def __init__(self, detector: torch.jit.ScriptModule):
        self.network = detector._model
        weights = {f"{name}_l0": weight for name, weight in self.network.decoder.rnn.state_dict().items()}
        hidden, seen = weights["weight_hh_l0"].shape[1], weights["weight_ih_l0"].shape[1]
        self.recurrent = nn.LSTM(seen, hidden)
        self.recurrent.load_state_dict(weights)

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> list:
        probabilities, state = [], None
        for frames in self._frames(torch.from_numpy(waveform)):
            seen = self.network.encoder(self.network.run_extractors(frames)).squeeze(-1)
            hidden, state = self.recurrent(seen, state)
            probabilities += self.network.decoder.decoder(hidden.unsqueeze(-1)).flatten().tolist()
        return probabilities

    def _frames(self, waveform: torch.Tensor) -> Iterator[torch.Tensor]:
        """Frames (N, CONTEXT + FRAME), many at once. Silence lies before the first one and fills the last one."""
        missing = -len(waveform) % FRAME
        padded = nn.functional.pad(waveform, (CONTEXT, missing))
        for start in range(0, len(padded) - CONTEXT, FRAME * FRAMES_AT_ONCE):
            yield padded[start : start + CONTEXT + FRAME * FRAMES_AT_ONCE].unfold(0, CONTEXT + FRAME, FRAME)
