"""From any sound to timed, punctuated sentences: voice detection, a Whisper checkpoint, and a few rules.

1. Voice detection (silero-vad) finds where somebody speaks. Silence, hum and music never reach the recogniser, which
   would invent words for them.
2. Speech is cut at pauses into pieces below Whisper's 30 seconds, long pauses shortened, so that a piece is full of
   words. The pieces of all sounds go through the model together, in batches.
3. The words come back with times, are put back onto the video's clock, and make sentences. Where the recogniser
   itself does not believe in them, as in a language that it does not know, they are left out.
"""

import copy
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from statistics import mean

import numpy as np
import torch
from transformers import LogitsProcessor, PreTrainedModel, pipeline
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
from transformers.utils import logging

from .faster_whisper_videobert import TogetherWhisper, load_whisper
from .names_videobert import blaming_settings
from .pieces_videobert import (
    MARGIN_SECONDS,
    Heard,
    Piece,
    cut_pieces,
    make_piece,
    place_words,
)
from .sentences_videobert import drop_loops, make_sentences
from .sound_videobert import SAMPLE_RATE
from .voice_videobert import load_voice_detector
from .waiting_videobert import WAITING

SPEECH_TASKS = ("transcribe", "translate")
# The most tokens that 30 seconds of English can have; a loop of invented words ends there. Other scripts take many
# times as many tokens for a word: there the checkpoint's own bound holds.
MAX_TOKENS = 228
# Notes of the library, and who says them.
LIBRARY_NOTES = {
    "Passing `generation_config` together with": "transformers.generation.utils",
    "attention does not support `output_attentions=True`": "transformers.integrations.sdpa_attention",
}
# Words of a lower average log probability are invented. Those of clear English are at -0.2, with as much noise as
# voice or a strong accent at -0.6; what an English checkpoint makes of other languages lies between -0.95 and -1.7.
# Where most of the tokens are repetitions, less is believed; of a few tokens the average says nothing.
LEAST_LOG_PROBABILITY = -0.9
LEAST_LOG_PROBABILITY_IN_LOOPS = -0.5
SHARE_IN_LOOPS = 1 / 3
FEW_TOKENS = 8
# A bar for what is over sooner would only flicker.
BAR_DELAY = 5


class SpeechRecognizer:
    """Hears what is said in videos. Voice detection and recogniser are built when they are first needed.

    Args:
        asr_model (`str`, `Path` or a ready recogniser):
            Hub id or folder of any Whisper checkpoint, or an `AutomaticSpeechRecognitionPipeline` of one. For the
            engine `"faster-whisper"`: a CTranslate2 checkpoint, or a `faster_whisper.WhisperModel`. A checkpoint whose
            name ends in `.en` writes English words whatever is spoken, and cannot tell; for videos in other languages
            take a multilingual one.
        device (`str`, *optional*):
            Where it runs.
        dtype (`str`, *optional*):
            Precision of its weights, such as `"float16"`; by default the checkpoint's.
        batch_size (`int`, *optional*, defaults to 8):
            Pieces of up to half a minute that are recognised at once.
        language (`str`, *optional*):
            What is spoken, such as `"de"` or `"german"`; by default a multilingual checkpoint finds out, for each
            piece.
        task (`str`, *optional*, defaults to `"transcribe"`):
            `"translate"` writes in English what is said.
        engine (`str`, *optional*, defaults to `"transformers"`):
            Or `"faster-whisper"` (`pip install faster-whisper`).

    Raises:
        ValueError: A language, task or engine that there is not, or a batch of nothing.
    """

    def __init__(
        self,
        asr_model: str | os.PathLike | object,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int = 8,
        language: str | None = None,
        task: str = "transcribe",
        engine: str = "transformers",
    ):
        if engine not in SPEECH_ENGINES:
            raise ValueError(f"the speech engine is {engine!r}; it must be one of {tuple(SPEECH_ENGINES)}")
        if task not in SPEECH_TASKS:
            raise ValueError(f"the task is {task!r}; it must be one of {SPEECH_TASKS}")
        if batch_size < 1:
            raise ValueError(f"the batch_size of speech is {batch_size}; it must be at least 1")
        self.asr_model = asr_model
        self.device, self.dtype, self.batch_size = device, dtype, batch_size
        self.language, self.task = language_code(language), task
        self._build_engine, self._engine = SPEECH_ENGINES[engine], None
        self._voice_detector = None

    def transcribe(
        self,
        sounds: list,
        durations: list | None = None,
        word_times: bool = False,
        problems: list | None = None,
    ) -> list:
        """The sentences of several sounds, recognised together: faster than one by one.

        Args:
            sounds (`list`):
                (waveform (N,) float mono 16 kHz, its start in seconds on the video's clock) each; or, for sounds too
                long for memory, an iterable of such blocks, each of which begins where the one before it ends.
            durations (`list[float]`, *optional*):
                Seconds of each video, beyond which no sentence goes.
            word_times (`bool`, *optional*, defaults to `False`):
                Whether sentences tell when each word is said.
            problems (`list[list[str]]`, *optional*):
                For each sound a list that gets a sentence on speech that was left out.

        Returns:
            `list[list[dict]]`: For each sound its sentences `{"text", "start", "end"}`, in order, not overlapping,
            0 <= start < end <= duration; with `word_times` also `"words"`, of the same form.

        Raises:
            ValueError: A waveform that is not one-dimensional floating point, another number of durations, a
                checkpoint that is no Whisper or does not know the language.
        """
        durations = [None] * len(sounds) if durations is None else durations
        if len(durations) != len(sounds):
            raise ValueError(f"there are {len(sounds)} sounds and {len(durations)} durations; they must be as many")
        words, left_out = [[] for _ in sounds], [[] for _ in sounds]
        seconds, shown = [duration or 0 for duration in durations], 0
        total = math.ceil(sum(seconds)) or None
        with logging.tqdm(total=total, desc="Speech", unit="s", delay=BAR_DELAY, leave=False) as bar:
            for number, piece, heard in self._heard(sounds):
                if is_improbable(heard):
                    left_out[number].append(piece)
                else:
                    words[number] += place_words(heard.chunks, piece)
                reached = round(sum(seconds[:number]) + piece.stretches[-1][1])
                reached = max(shown, min(reached, total or reached))
                bar.update(reached - shown)
                shown = reached
        for notes, pieces in zip(problems or [], left_out, strict=problems is not None):
            notes += _note_on(pieces)
        return [
            make_sentences(drop_loops(said), duration, word_times)
            for said, duration in zip(words, durations, strict=True)
        ]

    def find_speech(self, waveform: np.ndarray) -> list:
        """Where somebody speaks: (start, end) in samples, in order."""
        if self._voice_detector is None:
            self._voice_detector = load_voice_detector()
        return self._voice_detector(waveform)

    def _heard(self, sounds: list) -> Iterator[tuple]:
        """(number of the sound, piece, what is heard in it), piece by piece; no more is in memory than a batch
        needs."""
        waiting = deque()

        def waveforms() -> Iterator[np.ndarray]:
            for number, sound in enumerate(sounds):
                for piece in self._pieces([sound] if isinstance(sound, tuple) else sound):
                    waiting.append((number, piece))
                    waveform, piece.waveform = piece.waveform, None
                    yield waveform

        stream = waveforms()
        first = next(stream, None)
        if first is None:  # nobody speaks: the recogniser is not even built
            return
        if self._engine is None:
            with blaming_settings():
                self._engine = self._build_engine(self)
        for heard in self._engine(_chain(first, stream)):
            yield *waiting.popleft(), heard

    def _pieces(self, blocks: Iterable) -> Iterator[Piece]:
        """Cuts one sound, given in blocks, into pieces. Speech that touches the end of a block goes on in the next."""
        blocks = WAITING.for_items(blocks)
        block = next(blocks, None)
        carried = np.zeros(0, dtype=np.float32)
        while block is not None:
            waveform, start = block
            block = next(blocks, None)
            start -= len(carried) / SAMPLE_RATE
            waveform = np.concatenate([carried, _checked(waveform)])
            spans = self.find_speech(waveform)
            pieces = cut_pieces(spans, waveform)
            kept = len(waveform)
            if block is not None:
                kept = max(0, len(waveform) - int(MARGIN_SECONDS * SAMPLE_RATE))
                if pieces and spans[-1][1] > kept:
                    kept = pieces.pop()[0][0]
                elif pieces:  # no sound goes into two pieces
                    kept = max(kept, pieces[-1][-1][1])
            carried = waveform[kept:]
            for stretches in pieces:
                yield make_piece(stretches, spans, waveform, start)


def _chain(first: np.ndarray, rest: Iterator) -> Iterator[np.ndarray]:
    # A generator, because that is what the pipeline recognises as a stream.
    yield first
    yield from rest


def _checked(waveform: np.ndarray) -> np.ndarray:
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(
            f"a waveform of shape {waveform.shape} and type {waveform.dtype} is not understood; it must be "
            "one-dimensional floating point in [-1, 1], mono, 16 kHz"
        )
    return np.nan_to_num(waveform.astype(np.float32, copy=False))


# --- how far a recogniser believes in its words ----------------------------------------------------------------------


def is_improbable(heard: Heard) -> bool:
    """Whether the words of a piece are likely invented. A recogniser that repeats itself is sure of every round but
    the first one, so only what comes after another token than before is counted."""
    first_times = dict(
        zip(reversed([*pairwise([None, *heard.tokens])]), reversed(heard.log_probabilities), strict=True)
    )
    if len(heard.tokens) < FEW_TOKENS:
        return False
    loops = len(first_times) < len(heard.tokens) * SHARE_IN_LOOPS
    return mean(first_times.values()) < (LEAST_LOG_PROBABILITY_IN_LOOPS if loops else LEAST_LOG_PROBABILITY)


def _note_on(pieces: list) -> list:
    """A sentence on pieces of a sound that were left out, if there are any."""
    if not pieces:
        return []
    seconds = sum(float(np.sum(piece.spans[:, 1] - piece.spans[:, 0])) for piece in pieces)
    return [
        f"{seconds:.0f} s of speech, from {pieces[0].stretches[0][0]:.0f} s on, were left out: the recogniser is "
        "not sure of its words, as in a language that it does not know"
    ]


class TokenProbabilities(LogitsProcessor):
    """Notes how probable the tokens are that Whisper chooses; it changes nothing.

    Args:
        end_token (`int`):
            Id of the token that ends a text, below which those of text are.
    """

    def __init__(self, end_token: int):
        self.end_token = end_token
        self.noted = deque()
        self._batch, self._rows = [], []

    def follow(self, progress: torch.Tensor):
        """Takes from Whisper's `monitor_progress` which sounds of a batch are heard next: (place, end) of each."""
        places, ends = progress.unbind(1)
        if not places.any():
            self._batch = [Heard() for _ in places]
            self.noted += self._batch
        self._rows = [self._batch[i] for i in torch.nonzero(places < ends).flatten().tolist()]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best, tokens = scores.float().max(-1)
        values = (best - scores.float().logsumexp(-1)).tolist()
        ended = (input_ids[:, -1] == self.end_token).tolist()
        for heard, token, value, over in zip(self._rows, tokens.tolist(), values, ended, strict=True):
            if token < self.end_token and not over:
                heard.tokens.append(token)
                heard.log_probabilities.append(value)
        return scores


# --- languages -------------------------------------------------------------------------------------------------------


def language_code(language: str | None) -> str | None:
    """Whisper's code of a language given by name or code.

    Args:
        language (`str`, *optional*):
            Such as `"German"` or `"de"`.

    Returns:
        `str`: The code, or `None` of no language.

    Raises:
        ValueError: Whisper does not know it.
    """
    if language is None:
        return None
    code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
    if code not in TO_LANGUAGE_CODE.values():
        raise ValueError(f"Whisper knows no language {language!r}; it knows {', '.join(sorted(TO_LANGUAGE_CODE))}")
    return code


def _language_options(recognizer: SpeechRecognizer, multilingual: bool) -> dict:
    """Language and task as both engines take them; a checkpoint that hears English only takes neither."""
    if multilingual:
        return {"language": recognizer.language, "task": recognizer.task}
    if recognizer.language not in (None, "en") or recognizer.task != "transcribe":
        raise ValueError(
            f"{recognizer.asr_model} hears English only and cannot {recognizer.task} "
            f"{recognizer.language or 'other languages'}; take a multilingual Whisper checkpoint"
        )
    return {}


# --- engines: from a stream of pieces to what is heard in each -------------------------------------------------------


def transformers_engine(recognizer: SpeechRecognizer) -> Callable:
    """Hears through the pipeline of transformers; one beam instead of its five, and a bounded length."""
    asr = recognizer.asr_model
    if isinstance(asr, (str, os.PathLike)):
        asr = pipeline(
            "automatic-speech-recognition", os.fspath(asr), device=recognizer.device, dtype=recognizer.dtype
        )
    if getattr(asr, "type", None) != "seq2seq_whisper":
        raise ValueError(f"{recognizer.asr_model} is no Whisper checkpoint; sentences need its punctuation and times")
    generation = asr.model.generation_config
    multilingual = getattr(generation, "is_multilingual", False)
    probabilities = TokenProbabilities(generation.eos_token_id)
    # One attempt with one beam, in which every token is the most probable one.
    options = _language_options(recognizer, multilingual) | {"num_beams": 1, "temperature": 0.0}
    options |= {"logits_processor": [probabilities], "monitor_progress": probabilities.follow}
    options["max_length"] = asr.model.config.max_target_positions if multilingual else MAX_TOKENS
    # Times of words need to know which attention heads align; without them, times of segments must do.
    times = "word" if getattr(generation, "alignment_heads", None) else True
    if times == "word":
        keep_fast_encoder(asr.model)

    def recognize(waveforms: Iterator) -> Iterator[Heard]:
        probabilities.noted.clear()  # of a stream that an error ended
        inputs = ({"raw": waveform, "sampling_rate": SAMPLE_RATE} for waveform in waveforms)
        batch_size = recognizer.batch_size
        with without_library_notes():
            for output in asr(inputs, batch_size=batch_size, return_timestamps=times, generate_kwargs=options):
                yield replace(probabilities.noted.popleft(), chunks=output["chunks"])

    return recognize


def keep_fast_encoder(model: PreTrainedModel):
    """Gives Whisper's encoder a configuration of its own.

    Times of words come out of the decoder's attention weights, for which the library turns the whole model's fast
    attention off. The encoder's weights, many times as many, nobody looks at.
    """
    own = copy.copy(model.get_encoder().config)
    for module in model.get_encoder().modules():
        if hasattr(module, "config"):
            module.config = own


@contextmanager
def without_library_notes() -> Iterator[None]:
    """Leaves out what the library says about its own pipeline, which nobody who hears a video can change."""

    def concerns_somebody(record):
        return not any(note in record.getMessage() for note in LIBRARY_NOTES)

    loggers = [logging.get_logger(name) for name in LIBRARY_NOTES.values()]
    for logger in loggers:
        logger.addFilter(concerns_somebody)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(concerns_somebody)


def faster_whisper_engine(recognizer: SpeechRecognizer) -> Callable:
    """Hears through faster-whisper, with the same pieces and one beam; its bound is about the same."""
    model = load_whisper(recognizer.asr_model, recognizer.device, recognizer.dtype)
    return TogetherWhisper(model, recognizer.batch_size, **_language_options(recognizer, model.model.is_multilingual))


SPEECH_ENGINES = {"transformers": transformers_engine, "faster-whisper": faster_whisper_engine}
