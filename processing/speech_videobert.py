"""From any sound to timed, punctuated sentences: voice detection, a Whisper checkpoint, and a few rules.

1. Voice detection (silero-vad) finds where somebody speaks. Silence, hum and music never reach the recogniser, which
   would invent words for them.
2. Speech is cut at pauses into pieces below Whisper's 30 seconds, long pauses shortened, so that a piece is full of
   words. The pieces of all sounds go through the model together, in batches.
3. The words come back with times, are put back onto the video's clock, and make sentences.
"""

import copy
import os
import re
import unicodedata
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np
import torch
from transformers import pipeline

SAMPLE_RATE = 16_000
PIECE_SECONDS = 28.0
# Of a pause between stretches of speech this much is kept: enough for Whisper to hear it as one.
KEPT_PAUSE = 0.6
# The most tokens that 30 seconds of speech can have; a loop of invented words ends there.
MAX_TOKENS = 228
# A pause this long ends a sentence, whatever the punctuation says; so does a run of this many words.
SENTENCE_PAUSE = 2.0
SENTENCE_WORDS = 40
SHORTEST_SENTENCE = 0.1
# Nobody says the same thing this often in a row, but a recogniser that lost its way does.
LOOP_REPEATS = 5
LOOP_WORDS = 10

# Abbreviations that end a sentence only if a capital letter follows ("for 5 min. Then ...") ...
UNITS = set("tbsp tbs tsp oz fl lb lbs pt qt gal pkg pc pcs ml cl dl kg mg cm mm in ft deg".split())
UNITS |= set("sec min mins hr hrs a.m p.m etc".split())
# ... and those that never do.
NEVER_END = set("approx mr mrs ms dr st vs e.g i.e ca temp med lg sm prof".split())


@dataclass
class Word:
    """A word as heard, with its punctuation, and when, in seconds."""

    text: str
    start: float
    end: float


@dataclass
class Piece:
    """Speech that goes through the recogniser at once: stretches of a sound, joined.

    `stretches` and `spans` are (start, end) in seconds on the video's clock: what was joined, and where in it voice
    was detected.
    """

    waveform: np.ndarray
    stretches: list
    spans: np.ndarray

    def on_clock(self, seconds: float) -> float:
        """A time within the joined waveform, on the video's clock."""
        for start, end in self.stretches:
            if seconds <= end - start:
                return start + seconds
            seconds -= end - start
        return self.stretches[-1][1]


def normalize_text(text: str) -> str:
    """Text as WordPiece should see it: composed characters, plain quotes and dashes, single spaces.

    Case and accents stay: whether they count is the tokenizer's business.
    """
    text = unicodedata.normalize("NFC", text).replace("…", "...").replace("\ufffd", "").replace("♪", "")
    text = text.translate(str.maketrans("‘’‚‛“”„‟‐‑‒–—―−", "''''\"\"\"\"-------"))
    text = "".join(" " if char.isspace() else char for char in text if char.isspace() or char.isprintable())
    return re.sub(" +", " ", text).strip()


class SpeechRecognizer:
    """Hears what is said in videos. Voice detection and recogniser are built when they are first needed.

    Args:
        asr_model (`str`, `Path` or [`AutomaticSpeechRecognitionPipeline`]):
            Hub id or folder of any Whisper checkpoint, or a ready pipeline of one.
        device (`str`, *optional*): Where it runs.
        batch_size (`int`, *optional*, defaults to 8): Pieces of up to 28 s that are recognised at once.
    """

    def __init__(self, asr_model, device=None, batch_size: int = 8):
        self.asr_model = asr_model
        self.device = device
        self.batch_size = batch_size
        self._pipeline = None
        self._voice_detector = None

    def transcribe(self, sounds: list, durations: list | None = None) -> list:
        """The sentences of several sounds, recognised together: faster than one by one.

        Args:
            sounds (`list`):
                (waveform (N,) float mono 16 kHz, its start in seconds on the video's clock) each; or, for sounds too
                long for memory, an iterable of such blocks, each of which begins where the one before it ends.
            durations (`list[float]`, *optional*): Seconds of each video, beyond which no sentence goes.

        Returns:
            `list[list[dict]]`: For each sound its sentences `{"text", "start", "end"}`, in order, not overlapping,
            0 <= start < end <= duration.

        Raises:
            ValueError: A waveform that is not one-dimensional floating point, or another number of durations.
        """
        durations = [None] * len(sounds) if durations is None else durations
        if len(durations) != len(sounds):
            raise ValueError(f"there are {len(sounds)} sounds and {len(durations)} durations; they must be as many")
        words = [[] for _ in sounds]
        for number, piece, heard in self._heard(sounds):
            words[number] += place_words(heard, piece)
        return [make_sentences(drop_loops(heard), duration) for heard, duration in zip(words, durations, strict=True)]

    def find_speech(self, waveform: np.ndarray) -> list:
        """Where somebody speaks: (start, end) in samples, in order."""
        if self._voice_detector is None:
            self._voice_detector = _load_voice_detector()
        return self._voice_detector(waveform)

    def _heard(self, sounds: list) -> Iterator[tuple]:
        """(number of the sound, piece, its words), piece by piece; no more is in memory than a batch needs."""
        waiting = deque()

        def inputs():
            for number, sound in enumerate(sounds):
                for piece in self._pieces([sound] if isinstance(sound, tuple) else sound):
                    waiting.append((number, piece))
                    waveform, piece.waveform = piece.waveform, None
                    yield {"raw": waveform, "sampling_rate": SAMPLE_RATE}

        stream = inputs()
        first = next(stream, None)
        if first is None:  # nobody speaks: the recogniser is not even built
            return
        for output in self._recognize(first, stream):
            yield *waiting.popleft(), output["chunks"]

    def _recognize(self, first: dict, rest: Iterator[dict]) -> Iterator[dict]:
        asr = self._asr()
        generation = copy.deepcopy(asr.model.generation_config)
        generation.num_beams, generation.max_length = 1, MAX_TOKENS  # the pipeline's own choice is five beams
        if getattr(generation, "is_multilingual", False):
            generation.task = "transcribe"
        # Times of words need to know which attention heads align; without them, times of segments must do.
        times = "word" if getattr(generation, "alignment_heads", None) else True
        options = {"return_timestamps": times, "generate_kwargs": {"generation_config": generation}}
        return asr(_chain(first, rest), batch_size=self.batch_size, **options)

    def _asr(self):
        if self._pipeline is None:
            asr = self.asr_model
            if isinstance(asr, (str, os.PathLike)):
                asr = pipeline("automatic-speech-recognition", os.fspath(asr), device=self.device)
            if getattr(asr, "type", None) != "seq2seq_whisper":
                raise ValueError(
                    f"{self.asr_model} is no Whisper checkpoint; sentences need its punctuation and times"
                )
            self._pipeline = asr
        return self._pipeline

    def _pieces(self, blocks) -> Iterator[Piece]:
        """Cuts one sound, given in blocks, into pieces. Speech that touches the end of a block goes on in the next."""
        blocks = iter(blocks)
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
                kept = max(0, len(waveform) - SAMPLE_RATE)
                if pieces and spans[-1][1] > kept:
                    kept = pieces.pop()[0][0]
            carried = waveform[kept:]
            for stretches in pieces:
                yield _piece(stretches, spans, waveform, start)


def _chain(first, rest):
    # A generator, because that is what the pipeline recognises as a stream.
    yield first
    yield from rest


def _load_voice_detector():
    """A function from a waveform to the spans (start, end), in samples, in which there is a voice."""
    threads = torch.get_num_threads()
    try:
        from silero_vad import get_speech_timestamps, load_silero_vad
    except ImportError as error:
        raise ImportError("hearing speech needs voice detection: pip install silero-vad") from error
    torch.set_num_threads(threads)  # importing it takes all threads but one from the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the format in which its weights are packed
        network = load_silero_vad()

    def detect(waveform):
        spans = get_speech_timestamps(torch.from_numpy(waveform), network, sampling_rate=SAMPLE_RATE)
        return [(span["start"], span["end"]) for span in spans]

    return detect


def _checked(waveform) -> np.ndarray:
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(
            f"a waveform of shape {waveform.shape} and type {waveform.dtype} is not understood; it must be "
            "one-dimensional floating point in [-1, 1], mono, 16 kHz"
        )
    return np.nan_to_num(waveform.astype(np.float32, copy=False))


def cut_pieces(spans: list, waveform: np.ndarray) -> list:
    """Groups spans of speech into pieces of at most `PIECE_SECONDS`, cut at long pauses.

    Args:
        spans (`list`): (start, end) in samples, as voice detection found them.
        waveform (`np.ndarray`): The sound they lie in.

    Returns:
        `list`: For each piece its stretches (start, end) in samples: the spans, and at most `KEPT_PAUSE` between them.
    """
    if not spans:
        return []
    limit = int(PIECE_SECONDS * SAMPLE_RATE)
    stretches = _with_margins(_short_spans(spans, waveform, limit), len(waveform))
    pieces, first = [], 0
    while first < len(stretches):
        lengths = np.cumsum([end - start for start, end in stretches[first:]])
        last = first + max(1, int(np.searchsorted(lengths, limit, side="right")))
        if last < len(stretches):
            # Where to cut: the longest pause in the last third of what fits.
            early = first + 1 + int(np.searchsorted(lengths, limit * 2 / 3))
            last = max(range(min(early, last), last + 1), key=lambda i: stretches[i][0] - stretches[i - 1][1])
        pieces.append(stretches[first:last])
        first = last
    return pieces


def _short_spans(spans: list, waveform: np.ndarray, limit: int) -> list:
    """Spans longer than a piece cut at their quietest moments: somebody who never pauses still breathes."""
    short, window = [], SAMPLE_RATE // 20
    # With its margins a span must stay below the limit.
    longest = limit - SAMPLE_RATE
    for start, end in spans:
        while end - start > longest:
            searched = np.abs(waveform[start + longest // 2 : start + longest])
            loudness = np.convolve(searched, np.ones(window), "valid")
            cut = start + longest // 2 + int(loudness.argmin()) + window // 2
            short.append((start, cut))
            start = cut
        short.append((start, end))
    return short


def _with_margins(spans: list, length: int) -> list:
    """Spans widened by half of `KEPT_PAUSE` on both sides, and no further than the middle of the pause."""
    margin = int(KEPT_PAUSE / 2 * SAMPLE_RATE)
    middles = [(end + start) // 2 for (_, end), (start, _) in pairwise(spans)]
    return [
        (max(start - margin, low), min(end + margin, high))
        for (start, end), low, high in zip(spans, [0, *middles], [*middles, length], strict=True)
    ]


def _piece(stretches: list, spans: list, waveform: np.ndarray, start: float) -> Piece:
    first, last = stretches[0][0], stretches[-1][1]
    inside = [span for span in spans if span[1] > first and span[0] < last]
    return Piece(
        np.concatenate([waveform[a:b] for a, b in stretches]),
        [(start + a / SAMPLE_RATE, start + b / SAMPLE_RATE) for a, b in stretches],
        start + np.array(inside) / SAMPLE_RATE,
    )


def place_words(heard: list, piece: Piece) -> list:
    """What the recogniser heard in a piece, as words on the video's clock.

    Args:
        heard (`list[dict]`): `{"text", "timestamp": (start, end)}` in seconds within the piece: words, or segments of
            several words, which then share its time by their characters.
        piece ([`Piece`]): Where the words belong.

    Returns:
        `list[Word]`, moved out of the pauses: a recogniser lets a word begin where the last one ended.
    """
    words = []
    for chunk in heard:
        start, end = chunk["timestamp"]
        end = sum(b - a for a, b in piece.stretches) if end is None else end  # cut off within a word
        texts = normalize_text(chunk["text"]).split()
        edges = np.cumsum([0] + [len(text) + 1 for text in texts])
        times = [piece.on_clock(start + (end - start) * edge / edges[-1]) for edge in edges] if texts else []
        for text, low, high in zip(texts, times[:-1], times[1:], strict=True):
            words.append(Word(text, low, high))
        if len(words) > 1 and len(texts) == 1 and chunk["text"][0] not in " \n":  # "-time" after "real"
            rest = words.pop()
            words[-1] = Word(words[-1].text + rest.text, words[-1].start, rest.end)
    return _drop_noises([_spoken_part(word, piece.spans) for word in words])


def _spoken_part(word: Word, spans: np.ndarray) -> Word:
    """The part of a word's time in which somebody speaks: if it reaches over a pause, the longer side."""
    starts, ends = np.maximum(spans[:, 0], word.start), np.minimum(spans[:, 1], word.end)
    longest = int(np.argmax(ends - starts))
    if ends[longest] <= starts[longest]:
        return word
    return Word(word.text, float(starts[longest]), float(ends[longest]))


def _drop_noises(words: list) -> list:
    """Without what was heard but not said: "[Music]", "(upbeat music)"."""
    kept, opened = [], None
    for word in words:
        if opened is None and word.text[0] in "[(":
            opened = len(kept)
        kept.append(word)
        if opened is not None and word.text.rstrip(".,")[-1:] in ("]", ")"):
            del kept[opened:]
            opened = None
    return kept


def drop_loops(words: list) -> list:
    """Words without endless repetitions, into which a recogniser falls that lost its way; one round is kept."""
    bare = [re.sub(r"\W", "", word.text).lower() for word in words]
    kept, i = [], 0
    while i < len(words):
        size, repeats = max(((size, _repeats(bare, i, size)) for size in range(1, LOOP_WORDS + 1)), key=lambda x: x[1])
        if repeats < LOOP_REPEATS:
            size, repeats = 1, 1
        kept += words[i : i + size]
        i += size * repeats
    return kept


def _repeats(words: list, i: int, size: int) -> int:
    """How often in a row the `size` words at `i` are said."""
    repeats = 1
    while words[i + repeats * size : i + (repeats + 1) * size] == words[i : i + size]:
        repeats += 1
    return repeats


def make_sentences(words: list, duration: float | None = None) -> list:
    """Words to sentences: at final punctuation, at long pauses, and within runs that nobody punctuated.

    Args:
        words (`list[Word]`): In order, on the video's clock.
        duration (`float`, *optional*): Seconds of the video.

    Returns:
        `list[dict]`: `{"text", "start", "end"}` with 0 <= start < end <= duration, in order, not overlapping. What is
        said before the first frame or after the last one is left out.
    """
    sentences, clock = [], 0.0
    last = float("inf") if duration is None else duration
    for group in split_sentences(words):
        start, end = max(group[0].start, clock), max(word.end for word in group)
        if end <= 0 or start >= last:
            continue
        start = round(start, 3)
        end = min(round(max(end, start + SHORTEST_SENTENCE), 3), last)
        if end <= start:
            continue
        text = " ".join(word.text for word in group)
        if text.rstrip("\"')")[-1:] not in (".", "?", "!"):
            text = text.rstrip(",;:-") + "."
        sentences.append({"text": text, "start": float(start), "end": float(end)})
        clock = end
    return sentences


def split_sentences(words: list) -> list:
    """Groups of words, one a sentence."""
    cased = any(char.isupper() for word in words for char in word.text)
    groups, group = [], []
    for word, following in zip_longest(words, words[1:]):
        group.append(word)
        ends = following is None or following.start - word.end >= SENTENCE_PAUSE
        if ends or ends_sentence(word.text, following.text, cased):
            groups += _cut_run(group)
            group = []
    return groups


def ends_sentence(word: str, following: str, cased: bool = True) -> bool:
    """Whether a sentence ends between two words. "2 tbsp. of", "approx. 5 min.", "No. 1" do not end one.

    Args:
        word (`str`), following (`str`): The two words, with their punctuation.
        cased (`bool`): Whether sentences begin with capital letters in this text.
    """
    bare = word.rstrip("\"')]")
    if bare[-1:] in ("?", "!"):
        return True
    if bare[-1:] != ".":
        return False
    first = following.lstrip("\"'([")[:1]
    name = bare.rstrip(".").lstrip("\"'([").lower()
    if name in NEVER_END or (name == "no" and first.isdigit()):
        return False
    if name in UNITS or bare.endswith(".."):
        return first.isupper()
    return not (cased and first.islower())


def _cut_run(group: list) -> list:
    """A run of words too long for a sentence, cut at its longest pause, or else at a comma, again and again."""
    if len(group) <= SENTENCE_WORDS:
        return [group]
    quarter = len(group) // 4

    def pause(i):
        return round(group[i].start - group[i - 1].end, 1), group[i - 1].text[-1] in ",;:"

    cut = max(range(quarter, len(group) - quarter), key=pause)
    return _cut_run(group[:cut]) + _cut_run(group[cut:])
