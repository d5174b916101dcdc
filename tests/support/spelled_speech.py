"""Speech that a stand-in recognises, and speech that a real voice says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.packaged import packaged_weights

from processing.pieces_videobert import Piece
from processing.sentences_videobert import Word
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer


def texts(sentences):
    return [sentence["text"] for sentence in sentences]


END_TOKEN = 100


class SpelledSpeech:
    """Stands for Whisper: the loudness of each tenth of a second, in percent, is its word, and the token of that
    number, which it chooses with a `probability`."""

    type = "seq2seq_whisper"

    def __init__(self):
        self.model = SimpleNamespace(
            config=SimpleNamespace(max_target_positions=448),
            generation_config=SimpleNamespace(alignment_heads=[[0, 0]], is_multilingual=False, eos_token_id=END_TOKEN),
            get_encoder=lambda: SimpleNamespace(config=None, modules=list),
        )
        self.calls, self.options, self.probability = 0, None, 1.0

    def __call__(self, inputs, batch_size, **options):
        self.calls += 1
        self.options = {"batch_size": batch_size, **options["generate_kwargs"]}
        for item in inputs:
            tenths = np.round(np.abs(item["raw"][: len(item["raw"]) // 1600 * 1600]).reshape(-1, 1600).max(1) * 100)
            chunks = [
                {"text": f" {int(level)}.", "timestamp": (i / 10, (i + 1) / 10)}
                for i, level in enumerate(tenths)
                if level
            ]
            # What is louder than 99 is no number, and said as 99.
            self.choose(tenths[tenths > 0].clip(max=99), **options["generate_kwargs"])
            yield {"chunks": chunks}

    def choose(self, tokens, monitor_progress, logits_processor, **_):
        """Shows the scores of one token after the other, and more after the end, as a batch with a longer one does."""
        monitor_progress(torch.tensor([[0, 3000]]))
        before = 0
        for token in [*tokens.astype(int).tolist(), END_TOKEN, 7]:
            scores = torch.full((1, END_TOKEN + 1), (1 - self.probability) / END_TOKEN + 1e-30)
            scores[0, token] = self.probability
            logits_processor[0](torch.tensor([[0, before]]), scores.log())
            before = token


def words_of(text, start=0.0, seconds=0.3, pause=0.1):
    """Words said one after the other."""
    words = []
    for part in text.split():
        words.append(Word(part, start, start + seconds))
        start += seconds + pause
    return words


def piece_of(*stretches, spans=None):
    return Piece(None, list(stretches), np.array(spans or stretches))


def spelled_recognizer(**options):
    """A recogniser of spelled speech, whose voice detection takes what is loud for voice."""
    recognizer = SpeechRecognizer(SpelledSpeech(), batch_size=3, **options)

    def detect(waveform):
        loud = np.flatnonzero(np.diff(np.concatenate([[0], np.abs(waveform) > 0, [0]]).astype(int)))
        return list(zip(loud[::2].tolist(), loud[1::2].tolist(), strict=True))

    recognizer._voice_detector = detect
    return recognizer


def spelled(words, gap=1.0):
    """A sound that says the numbers 1 … 99, a tenth of a second each, after a gap each."""
    sound = [np.concatenate([np.zeros(int(gap * SAMPLE_RATE)), np.full(1600, word / 100)]) for word in words]
    return np.concatenate(sound).astype(np.float32)


SCRIPT = [
    "Today we are making a fresh tomato salad.",
    "First cut the tomatoes into thin slices.",
    "Now add two spoons of olive oil and a little salt.",
    "Mix everything well and serve it cold.",
]


@pytest.fixture(scope="module")
def narration():
    """(waveform, the true (start, end) of each sentence of SCRIPT): spoken with pauses of 0.4, 3 and 1 s."""
    pytest.importorskip("piper")
    pytest.importorskip("silero_vad")
    from kitchen.voice import PiperNarrator
    from torchaudio.functional import resample

    narrator = PiperNarrator(packaged_weights("piper-joe"))
    place, parts, times = 1.0, [np.zeros(SAMPLE_RATE)], []
    for text, pause in zip(SCRIPT, [0.4, 3.0, 1.0, 0.5], strict=True):
        said = resample(torch.from_numpy(narrator(text, 1.0, 1.0)), narrator.rate, SAMPLE_RATE).numpy()
        loud = np.flatnonzero(np.abs(said) > 0.01)
        said = said[loud[0] : loud[-1]]
        times.append((place, place + len(said) / SAMPLE_RATE))
        parts += [said, np.zeros(int(pause * SAMPLE_RATE))]
        place = times[-1][1] + pause
    return np.concatenate(parts).astype(np.float32), times
