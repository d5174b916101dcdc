"""Where somebody speaks, and how speech is cut into pieces for a recogniser and its words put back on the clock."""

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from .sentences_videobert import WIDE_STOPS, Word, drop_noises, spread_words
from .sound_videobert import SAMPLE_RATE

PIECE_SECONDS = 28.0
# Sure enough that it is a voice. The detector's own 0.5 misses quiet and distant speakers.
VOICE_PROBABILITY = 0.35
# So much sound is kept before and after speech: voice detection misses quiet beginnings, and a recogniser does better
# with pauses as they are. Only pauses longer than twice that are shortened.
MARGIN_SECONDS = 1.0


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


def load_voice_detector():
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
        sound = torch.from_numpy(waveform)
        spans = get_speech_timestamps(sound, network, threshold=VOICE_PROBABILITY, sampling_rate=SAMPLE_RATE)
        return [(span["start"], span["end"]) for span in spans]

    return detect


def cut_pieces(spans: list, waveform: np.ndarray) -> list:
    """Groups spans of speech into pieces of at most `PIECE_SECONDS`, cut at long pauses.

    Args:
        spans (`list`): (start, end) in samples, as voice detection found them.
        waveform (`np.ndarray`): The sound they lie in.

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
        parts = spread_words(chunk["text"], start, end)
        words += [Word(part.text, piece.on_clock(part.start), piece.on_clock(part.end)) for part in parts]
        # "-time" after "real" is no word of its own; but neither do all scripts put spaces between words.
        whole = len(parts) != 1 or chunk["text"][0] in " \n"
        if not whole and len(words) > 1 and not words[-2].text.endswith(WIDE_STOPS):
            rest = words.pop()
            words[-1] = Word(words[-1].text + rest.text, words[-1].start, rest.end)
    return drop_noises([_spoken_part(word, piece.spans) for word in words])


def _spoken_part(word: Word, spans: np.ndarray) -> Word:
    """The part of a word's time in which somebody speaks: if it reaches over a pause, the longer side."""
    starts, ends = np.maximum(spans[:, 0], word.start), np.minimum(spans[:, 1], word.end)
    longest = int(np.argmax(ends - starts))
    if ends[longest] <= starts[longest]:
        return word
    return Word(word.text, float(starts[longest]), float(ends[longest]))
