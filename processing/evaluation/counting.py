"""What counting alone gives, without a network or a label: words that often stand beside a visual id, and what was
said over the most similar clips."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from .controls import MISS


def mutual_information_ranks(
    train: Sequence[Mapping], test: Sequence[Mapping], asked: str, smoothing: float = 1.0
) -> np.ndarray:
    """Ranks of the true words by pointwise mutual information between words and visual ids of the training segments.

    A word's score for a segment is the mean over the segment's visual ids of log p(word, id) / p(word) p(id), where
    p counts training segments.

    Args:
        train (`Sequence[Mapping]`):
            Segments with `text` and `visual_ids`, without labels.
        test (`Sequence[Mapping]`):
            N segments with `visual_ids` and the true word.
        asked (`str`):
            `verb` or `object`; the words that occur in `test` are ranked among themselves.
        smoothing (`float`, *optional*, defaults to 1.0):
            Added to each count of word and id together, in shares of what chance would give.

    Returns:
        `np.ndarray` of shape (N,): 1 for the best; words with the same score count as better.
    """
    words = sorted({segment[asked] for segment in test})
    columns = {visual: place for place, visual in enumerate(sorted({i for one in train for i in one["visual_ids"]}))}
    said = [set(spoken_words(one["text"])) for one in train]
    has_word = np.array([[word in one for word in words] for one in said], dtype=float)
    has_visual = np.zeros((len(train), len(columns)))
    for number, one in enumerate(train):
        has_visual[number, [columns[visual] for visual in one["visual_ids"]]] = 1
    chance = has_word.mean(axis=0)[:, None] * has_visual.sum(axis=0)[None]
    ratio = (has_word.T @ has_visual + smoothing) / (chance + smoothing)
    information = np.log(ratio)
    ranks = []
    for segment in test:
        known = [columns[visual] for visual in segment["visual_ids"] if visual in columns]
        scores = information[:, known].mean(axis=1) if known else np.zeros(len(words))
        ranks.append((scores >= scores[words.index(segment[asked])]).sum())
    return np.array(ranks, dtype=float)


def nearest_transcript_ranks(train: Sequence[Mapping], test: Sequence[Mapping], asked: str) -> np.ndarray:
    """Ranks of the true words by what was said over the training segments with the most similar visual ids.

    Similarity is that of [`bag_likeness`].

    Args:
        train (`Sequence[Mapping]`):
            Segments with `text` and `visual_ids`, without labels.
        test (`Sequence[Mapping]`):
            N segments with `visual_ids` and the true word.
        asked (`str`):
            `verb` or `object`.

    Returns:
        `np.ndarray` of shape (N,): 1 where the nearest segment that names any of the words names the true one first;
        the next word is the one that the next nearest segment names; infinite where none names it.
    """
    words = sorted({segment[asked] for segment in test})
    named = [next((word for word in spoken_words(one["text"]) if word in words), None) for one in train]
    likeness = bag_likeness([one["visual_ids"] for one in test], [one["visual_ids"] for one in train])
    ranks = np.full(len(test), MISS)
    for number, order in enumerate(np.argsort(-likeness, axis=1, kind="stable")):
        answers = list(dict.fromkeys(named[place] for place in order if named[place]))
        if test[number][asked] in answers:
            ranks[number] = 1 + answers.index(test[number][asked])
    return ranks


def spoken_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def bag_likeness(asked: Sequence[Sequence[Hashable]], known: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """How alike bags of things, such as words or visual ids, are: the cosine of their counts, each weighted by
    log(known bags / known bags that hold it).

    Args:
        asked (`Sequence[Sequence]`):
            N bags; what no known bag holds does not count.
        known (`Sequence[Sequence]`):
            M bags.

    Returns:
        `np.ndarray` of shape (N, M): 0 where nothing is in common.
    """
    columns = {thing: place for place, thing in enumerate(dict.fromkeys(thing for bag in known for thing in bag))}
    counts = [np.zeros((len(bags), len(columns))) for bags in (asked, known)]
    for table, bags in zip(counts, (asked, known), strict=True):
        for line, bag in zip(table, bags, strict=True):
            for thing in bag:
                if thing in columns:
                    line[columns[thing]] += 1
    rarity = np.log(len(known) / np.maximum((counts[1] > 0).sum(axis=0), 1))
    asked_for, others = (table * rarity for table in counts)
    lengths = [np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12) for one in (asked_for, others)]
    return (asked_for / lengths[0]) @ (others / lengths[1]).T
