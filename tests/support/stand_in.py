"""A processor that describes made-up videos."""

from types import SimpleNamespace

import numpy as np


class StandIn:
    """Describes a video without looking at it: features from its name's number; counts how often it is asked."""

    asr_model, backbone, codebook = "models/ears", "models/eyes", None
    asr_options = backbone_options = None

    def __init__(self, killed_after=None):
        self.asked, self.given, self.killed_after = [], [], killed_after
        self.video_processor = SimpleNamespace(fps=20, clip_seconds=1.5)

    def describe(self, videos, names, subtitles, on_progress=None):
        if self.killed_after is not None and len(self.asked) >= self.killed_after:
            raise KeyboardInterrupt
        self.asked += names
        self.given += subtitles
        return [self.row(name) for name in names]

    def row(self, name):
        number = int(name[1:])
        features = np.random.default_rng(number).normal(size=(number, 6)).astype(np.float32)
        sentences = [{"text": f"this is {name}.", "start": 0.5, "end": 1.25}] if number % 2 else []
        error = "v0: not a readable video" if number == 0 else None
        return {
            "video_id": name,
            "duration": None if number == 0 else 1.5 * number,
            "clip_seconds": self.video_processor.clip_seconds,
            "has_speech": bool(sentences),
            "sentences": sentences,
            "features": features,
            "error": error,
            "notes": None,
        }

    def __reduce__(self):
        """It stays in the test's process, where it counts and videos cost nothing."""
        raise TypeError("a stand-in stays here")

    def add_codebook(self, codebook):
        self.codebook = codebook


def videos(count):
    return {f"v{i}": f"videos/v{i}.mp4" for i in range(count)}
