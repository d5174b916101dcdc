"""How speech is cut into pieces for a recogniser, and its words put back on the clock."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from .sentences_videobert import SENTENCE_PAUSE, Word, drop_noises, may_separate, spread_words
from .sound_videobert import SAMPLE_RATE

PIECE_SECONDS = 28.0
# So much sound is kept before and after speech: voice detection misses quiet beginnings, and a recogniser does better
# with pauses as they are. Only pauses longer than twice that are shortened.
MARGIN_SECONDS = 1.0


@dataclass
class Piece:
    """Speech that goes through the recogniser at once: stretches of a sound, joined.

    Args:
        waveform (`np.ndarray`):
            The joined sound; `None` once it has gone through the recogniser.
        stretches (`list`):
            What was joined: (start, end) in seconds on the video's clock.
        spans (`np.ndarray`):
            Where in it voice was detected: (start, end) in seconds on the video's clock.
    """

    waveform: np.ndarray | None
    stretches: list
    spans: np.ndarray

    def on_clock(self, seconds: float) -> float:
        """A time within the joined waveform, on the video's clock."""
        for start, end in self.stretches:
            if seconds <= end - start:
                return start + seconds
            seconds -= end - start
        return self.stretches[-1][1]


@dataclass
class Heard:
    """What an engine heard in one piece.

    Args:
        chunks (`list[dict]`, *optional*):
            Words or segments, `{"text", "timestamp": (start, end)}` in seconds within the piece.
        tokens (`list`, *optional*):
            What it chose one after the other: parts of words, or words.
        log_probabilities (`list[float]`, *optional*):
            How probable each of them was.
    """

    chunks: list = field(default_factory=list)
    tokens: list = field(default_factory=list)
    log_probabilities: list = field(default_factory=list)


def cut_pieces(spans: list, waveform: np.ndarray) -> list:
    """Groups spans of speech into pieces of at most `PIECE_SECONDS`, cut at long pauses.

    Args:
        spans (`list`):
            (start, end) in samples, as voice detection found them.
        waveform (`np.ndarray`):
            The sound they lie in.

    Returns:
        `list`: For each piece its stretches (start, end) in samples: spans with up to `MARGIN_SECONDS` around them.
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
    longest = limit - int(2 * MARGIN_SECONDS * SAMPLE_RATE)
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
    """Spans widened by `MARGIN_SECONDS` on both sides, and no further than the middle of the pause."""
    margin = int(MARGIN_SECONDS * SAMPLE_RATE)
    middles = [(end + start) // 2 for (_, end), (start, _) in pairwise(spans)]
    return [
        (max(start - margin, low), min(end + margin, high))
        for (start, end), low, high in zip(spans, [0, *middles], [*middles, length], strict=True)
    ]


def make_piece(stretches: list, spans: list, waveform: np.ndarray, start: float) -> Piece:
    """Stretches and spans of samples, of a sound that begins at `start`, as a [`Piece`] on the video's clock."""
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
        heard (`list[dict]`):
            `{"text", "timestamp": (start, end)}` in seconds within the piece: words, or segments of several words,
            which then share its time by their characters.
        piece ([`Piece`]):
            Where the words belong.

    Returns:
        `list[Word]`, moved out of the pauses: a recogniser lets a word begin where the last one ended.
    """
    words: list[Word] = []
    for chunk in heard:
        start, end = chunk["timestamp"]
        end = sum(b - a for a, b in piece.stretches) if end is None else end  # cut off within a word
        parts = [
            _spoken_part(replace(word, start=piece.on_clock(word.start), end=piece.on_clock(word.end)), piece.spans)
            for word in spread_words(chunk["text"], start, end)
        ]
        if words and parts and not chunk["text"][0].isspace():
            parts = _joined(words.pop(), parts)
        words += parts
    return drop_noises(words)


def _joined(before: Word, parts: list) -> list:
    """A word and what follows it without a space: "-time" after "real" is no word of its own; but a pause ends a word,
    and not all scripts put spaces between words."""
    first, *rest = parts
    if may_separate(before.text[-1], first.text[0]):
        return [before, replace(first, glued=True), *rest]
    several = any(not part.glued for part in rest)  # a segment, not a part of a word
    pause = first.start - before.end >= SENTENCE_PAUSE and any(char.isalnum() for char in first.text)
    if several or pause:
        return [before, *parts]
    return [replace(before, text=before.text + first.text, end=first.end), *rest]


def _spoken_part(word: Word, spans: np.ndarray) -> Word:
    """The part of a word's time in which somebody speaks: if it reaches over a pause, the longer side."""
    starts, ends = np.maximum(spans[:, 0], word.start), np.minimum(spans[:, 1], word.end)
    longest = int(np.argmax(ends - starts))
    if ends[longest] <= starts[longest]:
        return word
    return replace(word, start=float(starts[longest]), end=float(ends[longest]))
