"""The narrator: a Piper voice that says the same thing the same way every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


class PiperNarrator:
    """Speaks with a Piper voice; loaded when it first speaks, so it can be sent to another process before.

    Args:
        folder (`str` or `Path`):
            Where the voice's `.onnx` and `.onnx.json` lie.
    """

    rate = 22050

    def __init__(self, folder: str | Path):
        found = sorted(Path(folder).glob("*.onnx"))
        if not found or not Path(f"{found[0]}.json").is_file():
            raise ValueError(f"{folder} holds no Piper voice: an .onnx file and its .onnx.json are needed.")
        self.model = found[0]
        self._voice = None

    def _load(self):
        # Piper is under the GPL: an optional tool of this example, imported by nothing else.
        import onnxruntime
        from piper import PiperVoice
        from piper.config import PiperConfig

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        config = PiperConfig.from_dict(json.loads(Path(f"{self.model}.json").read_text(encoding="utf-8")))
        session = onnxruntime.InferenceSession(str(self.model), options, providers=["CPUExecutionProvider"])
        return PiperVoice(session=session, config=config)

    def __call__(self, text: str, pace: float, pitch: float) -> np.ndarray:
        """Speaks one sentence.

        Args:
            text (`str`):
                The sentence.
            pace (`float`):
                1 is the voice's own; higher is slower.
            pitch (`float`):
                1 is the voice's own; higher is higher, at the same pace.

        Returns:
            `np.ndarray`: Float32 samples in [-1, 1] at `rate` Hz.
        """
        from piper import SynthesisConfig

        self._voice = self._voice or self._load()
        # Without noise the voice is the same in every run.
        config = SynthesisConfig(length_scale=pace * pitch, noise_scale=0.0, noise_w_scale=0.0)
        sound = np.concatenate([chunk.audio_float_array for chunk in self._voice.synthesize(text, config)])
        places = np.arange(0, len(sound) - 1, pitch)
        return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)
