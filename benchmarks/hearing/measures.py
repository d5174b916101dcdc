"""How well sound was heard: errors in words, words near cuts, and times."""

import re

import numpy as np
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from processing.pieces_videobert import cut_pieces
from processing.sound_videobert import SAMPLE_RATE

NEAR_CUT = 2.0
normalize = EnglishTextNormalizer({})


def as_text(sentences):
    return " ".join(sentence["text"] for sentence in sentences)


def words_of(text):
    """Words as all sides are compared by: lower case, no punctuation, "2" and "two" alike."""
    return re.sub(r"[^\w' ]", " ", normalize(text)).split()


def align(truth, heard):
    """Word edit distance: (errors, for each true word the index of the heard word that equals it, or None)."""
    costs = np.zeros((len(truth) + 1, len(heard) + 1), dtype=int)
    costs[:, 0], costs[0] = np.arange(len(truth) + 1), np.arange(len(heard) + 1)
    for i, word in enumerate(truth, 1):
        for j, other in enumerate(heard, 1):
            costs[i, j] = min(costs[i - 1, j] + 1, costs[i, j - 1] + 1, costs[i - 1, j - 1] + (word != other))
    i, j, matches = len(truth), len(heard), [None] * len(truth)
    while i and j:
        if costs[i, j] == costs[i - 1, j - 1] + (truth[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            matches[i] = j if truth[i] == heard[j] else None
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return int(costs[-1, -1]), matches


def errors_of(pairs):
    """(errors, true words) of (true text, heard text) pairs together."""
    errors = [align(words_of(truth), words_of(heard))[0] for truth, heard in pairs]
    return sum(errors), sum(len(words_of(truth)) for truth, _ in pairs)


def timed_words(truth):
    """The true words with their times, which they share by their characters within a sentence."""
    words = []
    for text, start, end in truth:
        parts = words_of(text)
        edges = np.cumsum([0] + [len(part) + 1 for part in parts])
        words += [
            (part, start + (end - start) * edge / edges[-1]) for part, edge in zip(parts, edges[:-1], strict=True)
        ]
    return words


def cut_times(recognizer, waveform):
    """Where pieces begin and end, in seconds: all cuts but those at the start and the end of the sound."""
    pieces = cut_pieces(recognizer.find_speech(waveform), waveform)
    edges = [edge for piece in pieces for edge in (piece[0][0], piece[-1][1])][1:-1]
    return np.array(sorted(edges)) / SAMPLE_RATE


def words_near_cuts(truth, cuts, ours, plain):
    """How many true words lie near a cut, and how many of them each side hears."""
    words = timed_words(truth)
    near = [bool((np.abs(cuts - time) <= NEAR_CUT).any()) for _, time in words]
    counts = {"words": sum(near)}
    for name, text in (("ours", ours), ("plain", plain)):
        matches = align([word for word, _ in words], words_of(text))[1]
        counts[name] = sum(match is not None for match, close in zip(matches, near, strict=True) if close)
    return counts


def time_errors(truth, sentences):
    """Seconds between the true and the heard start and end of sentences whose first and last word were heard so."""
    true_words, true_edges = [], {}
    for text, start, end in truth:
        parts = words_of(text)
        true_edges[len(true_words)], true_edges[len(true_words) + len(parts) - 1] = (0, start), (1, end)
        true_words += parts
    heard_words, heard_edges = [], {}
    for sentence in sentences:
        parts = words_of(sentence["text"])
        if len(parts) > 1:
            heard_edges[len(heard_words)] = (0, sentence["start"])
            heard_edges[len(heard_words) + len(parts) - 1] = (1, sentence["end"])
        heard_words += parts
    errors = []
    for place, match in enumerate(align(true_words, heard_words)[1]):
        if place in true_edges and match in heard_edges and true_edges[place][0] == heard_edges[match][0]:
            errors.append(abs(true_edges[place][1] - heard_edges[match][1]))
    return errors
