"""Hears many pieces at once with the network of faster-whisper.

Its own loop hears one window after the other, and spends most of its time on single steps of the decoder, each of
which reads all weights for one token; its own batches lose what is said after the last time that a window names. Here
the windows of a batch are encoded, decoded and aligned together, and what one of them leaves unheard is heard in the
next round.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, pairwise
from statistics import median
from types import ModuleType

import numpy as np

from .pieces_videobert import Heard

# Where faster-whisper takes a window for silence: sure that nobody speaks, and not sure of its words.
SILENCE_PROBABILITY = 0.6
SILENCE_LOG_PROBABILITY = -1.0
# How long a word usually is, at most, in seconds.
USUAL_WORD = 0.7
# Marks that belong to the word after them, and to the word before them.
OPENING_MARKS = "\"'“¿([{-"
STOPS = ".。!！?？"
CLOSING_MARKS = "\"'.。,，!！?？:：”)]}、"


def import_library() -> ModuleType:
    """The package faster-whisper, which not everybody has installed."""
    try:
        import faster_whisper
    except ImportError as error:
        raise ImportError("this engine needs faster-whisper: pip install faster-whisper") from error
    return faster_whisper


def load_whisper(model: str | os.PathLike | object, device: object = None, dtype: object = None) -> object:
    """A `faster_whisper.WhisperModel`.

    Args:
        model (`str`, `Path` or a ready one):
            Hub id or folder of a CTranslate2 checkpoint.
        device (`str` or `torch.device`, *optional*):
            Where it runs; by default on a GPU if there is one.
        dtype (`str` or `torch.dtype`, *optional*):
            Precision of its weights.

    Raises:
        ValueError: It cannot be loaded, or is none.
    """
    library = import_library()
    if isinstance(model, (str, os.PathLike)):
        kind, _, number = str(device or "auto").partition(":")
        precision = str(dtype or "default").removeprefix("torch.")
        try:
            model = library.WhisperModel(os.fspath(model), kind, int(number or 0), compute_type=precision)
        except (RuntimeError, ValueError, OSError) as error:
            raise ValueError(
                f"{model}: faster-whisper cannot load it, which reads CTranslate2 checkpoints of Whisper ({error})"
            ) from error
    if not isinstance(model, library.WhisperModel):
        raise ValueError(f"{model} is no faster_whisper.WhisperModel, which the engine faster-whisper hears with")
    return model


@dataclass
class PieceUnderWay:
    """A piece that is heard window by window.

    Args:
        spectrogram (`np.ndarray`):
            Its log-mel spectrogram, (mels, frames).
        place (`int`, *optional*, defaults to 0):
            The frame up to which it is heard.
        tokenizer (`faster_whisper.tokenizer.Tokenizer`, *optional*):
            That of its language, once that is known.
        heard ([`Heard`], *optional*):
            What was heard in it so far.
    """

    spectrogram: np.ndarray
    place: int = 0
    tokenizer: object | None = None
    heard: Heard = field(default_factory=Heard)

    @property
    def frames(self) -> int:
        return self.spectrogram.shape[1]


class TogetherWhisper:
    """A function from pieces to what is heard in each of them.

    Args:
        model (`faster_whisper.WhisperModel`):
            Whose network hears.
        batch_size (`int`):
            Pieces that are heard at once.
        language (`str`, *optional*):
            Code of what is spoken; by default a multilingual checkpoint finds out, for each piece.
        task (`str`, *optional*, defaults to `"transcribe"`):
            Or `"translate"`.
    """

    def __init__(
        self,
        model: object,
        batch_size: int,
        language: str | None = None,
        task: str = "transcribe",
    ):
        library = import_library()
        self.model, self.batch_size = model, batch_size
        multilingual = model.model.is_multilingual
        self.language = language if multilingual else "en"
        make_tokenizer = library.tokenizer.Tokenizer
        self._tokenizer = cache(lambda code: make_tokenizer(model.hf_tokenizer, multilingual, task, code))
        self._merge_punctuation = library.transcribe.merge_punctuations

    def __call__(self, waveforms: Iterable[np.ndarray]) -> Iterator[Heard]:
        waveforms = iter(waveforms)
        while batch := [self._prepare(waveform) for waveform in islice(waveforms, self.batch_size)]:
            unheard = batch
            while unheard:
                self._hear_windows(unheard)
                unheard = [piece for piece in unheard if piece.place < piece.frames]
            yield from (piece.heard for piece in batch)

    def _prepare(self, waveform: np.ndarray) -> PieceUnderWay:
        # The last frame is of the silence that is put behind the sound.
        return PieceUnderWay(self.model.feature_extractor(waveform)[:, :-1])

    def _hear_windows(self, pieces: list):
        """Hears the next window of each piece."""
        windows, lengths = self._stack_windows(pieces)
        encoded = self.model.encode(windows)
        self._find_languages(pieces, encoded)
        # CTranslate2 leaves half of the length to what is said. That is as much as half a minute holds; a lower bound
        # breaks off fast speech.
        results = self.model.model.generate(
            encoded,
            [piece.tokenizer.sot_sequence for piece in pieces],
            beam_size=1,
            max_length=self.model.max_length,
            return_scores=True,
            return_no_speech_prob=True,
        )
        ended = [
            ([], None) if is_silence(result) else end_window(result.sequences_ids[0], piece.tokenizer.timestamp_begin)
            for piece, result in zip(pieces, results, strict=True)
        ]
        texts = [
            [token for token in tokens if token < piece.tokenizer.eot]
            for piece, (tokens, _) in zip(pieces, ended, strict=True)
        ]
        words = self._align(pieces, texts, encoded, lengths)
        for piece, length, said, (_, reached) in zip(pieces, lengths, words, ended, strict=True):
            note_words(piece.heard, said, piece.place / self.model.frames_per_second)
            # Nothing follows, or nothing was reached, as after a window full of times without words.
            step = length
            if reached is not None:
                seconds = said[-1]["end"] if said else reached * self.model.time_precision
                step = round(seconds * self.model.frames_per_second) or length
            piece.place += min(step, length)

    def _stack_windows(self, pieces: list) -> tuple:
        """The next window of each piece, one array, and how many frames of each are sound."""
        size = self.model.feature_extractor.nb_max_frames
        parts = [piece.spectrogram[:, piece.place : piece.place + size] for piece in pieces]
        windows = np.zeros((len(parts), len(parts[0]), size), dtype=np.float32)
        for window, part in zip(windows, parts, strict=True):
            window[:, : part.shape[1]] = part
        return windows, [part.shape[1] for part in parts]

    def _find_languages(self, pieces: list, encoded: object):
        """Gives each piece the tokenizer of its language, which its first window decides."""
        codes = [self.language] * len(pieces)
        if self.language is None and any(piece.tokenizer is None for piece in pieces):
            # Of each sound the languages, the most probable one first, as "<|de|>".
            codes = [found[0][0][2:-2] for found in self.model.model.detect_language(encoded)]
        for piece, code in zip(pieces, codes, strict=True):
            piece.tokenizer = piece.tokenizer or self._tokenizer(code)

    def _align(self, pieces: list, texts: list, encoded: object, lengths: list) -> list:
        """For each piece its words, `{"word", "start", "end", "probability"}` in seconds within the window."""
        words = [[] for _ in pieces]
        for tokenizer in {piece.tokenizer for piece in pieces}:  # it aligns one language at a time
            rows = [i for i, piece in enumerate(pieces) if piece.tokenizer is tokenizer]
            asked = [text if i in rows else [] for i, text in enumerate(texts)]
            found = self.model.find_alignment(tokenizer, asked, encoded, lengths)
            for i in rows:
                shorten_first_words(found[i])
                self._merge_punctuation(found[i], OPENING_MARKS, CLOSING_MARKS)
                words[i] = [word for word in found[i] if word["word"]]
        return words


def is_silence(result: object) -> bool:
    """Whether a `WhisperGenerationResult` is that of a window in which nobody speaks."""
    count = len(result.sequences_ids[0])
    log_probability = result.scores[0] * count / (count + 1)  # the end is counted as well
    return result.no_speech_prob > SILENCE_PROBABILITY and log_probability <= SILENCE_LOG_PROBABILITY


def end_window(tokens: list, first_time: int) -> tuple:
    """What of a window is whole, and what it has reached.

    Whisper closes a window with one time where nothing follows that it could not finish, and begins each sentence
    with a time right after that which ends the one before it.

    Args:
        tokens (`list[int]`):
            Parts of words, and times.
        first_time (`int`):
            The token of the time 0, above which all times are.

    Returns:
        `tuple`: The tokens that are whole; and the last time that they name, in steps, from which on the sound is to
        be heard again. It is 0 where they name none, and `None` if nothing follows.
    """
    times = [token >= first_time for token in tokens]
    if times[-2:] == [False, True]:
        return tokens, None
    pairs = [i for i in range(1, len(tokens)) if times[i - 1] and times[i]]
    if not pairs:
        return tokens, 0
    return tokens[: pairs[-1]], tokens[pairs[-1] - 1] - first_time


def shorten_first_words(words: list):
    """Lets no first word of a sentence begin in the pause before it: it lasts at most twice as long as words usually
    do. Punctuation is still a word of its own."""
    lengths = [word["end"] - word["start"] for word in words if word["end"] > word["start"]]
    longest = 2 * min(USUAL_WORD, median(lengths)) if lengths else 0.0
    for before, word in pairwise([{"word": "."}, *words]):
        if before["word"] in STOPS:
            word["start"] = max(word["start"], word["end"] - longest)


def note_words(heard: Heard, words: list, start: float):
    """Adds to what is heard in a piece the words of a window that begins at `start`, in seconds."""
    for word in words:
        heard.chunks.append({"text": word["word"], "timestamp": (start + word["start"], start + word["end"])})
        heard.tokens.append(word["word"])
        heard.log_probabilities.append(math.log(max(word["probability"], 1e-9)))
