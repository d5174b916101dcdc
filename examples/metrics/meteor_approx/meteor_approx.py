"""An approximation of METEOR of captions: words are the same if they or their stems are. No Java, no WordNet."""

import evaluate

from .coco_captions import FEATURES, INPUTS, tokenize_captions
from .english_stems import stem

DESCRIPTION = """An approximation of METEOR 1.5, not METEOR: which words of a caption, or words with the same stem, do
people say of the same video, and in how few pieces? It knows no synonyms and no paraphrases, and all words count the
same. Do not print it beside published METEOR. From 0 to 1."""
CITATION = """@inproceedings{denkowski2014meteor,
  title = {Meteor Universal: Language Specific Translation Evaluation for Any Target Language},
  author = {Denkowski, Michael and Lavie, Alon},
  booktitle = {Workshop on Statistical Machine Translation},
  year = {2014}
}"""
RETURNS = """
Returns:
    `dict`: `meteor_approx`, 0 to 1.
"""
# All are those of METEOR 1.5 for English.
RECALL = 0.85  # what recall counts in the mean; precision counts the rest
PENALTY, POWER = 0.6, 0.2  # of matches in many pieces
SAME_STEM = 0.6  # what a match of stems counts; one of words counts 1
BEAM = 40  # alignments looked at side by side


class MeteorApprox(evaluate.Metric):
    """METEOR from words and stems."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS + RETURNS,
            features=FEATURES,
        )

    def _compute(self, predictions, references):
        totals = [0] * 5
        for prediction, own in zip(*tokenize_captions(predictions, references), strict=True):
            best = max((align(prediction.split(), one.split()) for one in own), key=lambda counts: score(*counts))
            totals = [total + count for total, count in zip(totals, best, strict=True)]
        return {"meteor_approx": score(*totals)}


def score(weight, matches, pieces, said, expected):
    """The score of one caption or, of added counts, of many; they are what [`align`] returns."""
    if not matches:
        return 0.0
    precision, recall = weight / said, weight / expected
    mean = precision * recall / (RECALL * precision + (1 - RECALL) * recall)
    return mean * (1 - PENALTY * (pieces / matches) ** POWER)


def align(prediction, reference):
    """Finds the most pairs of words, in the fewest pieces that run on in both captions, as near as can be.

    Returns:
        `tuple`: the pairs' weight, their number, the pieces, and the numbers of words of the prediction and the
        reference.
    """
    stems = [stem(word) for word in reference]
    # From (places taken in the reference, place of the last pair if it was just now) to what is to be least.
    beam = {(frozenset(), None): (0, 0, 0, 0.0)}
    for place, word in enumerate(prediction):
        own_stem = stem(word)
        pairs = [
            (other, 1.0 if reference[other] == word else SAME_STEM)
            for other in range(len(reference))
            if stems[other] == own_stem
        ]
        grown = {}
        for (taken, last), (missing, pieces, far, weight) in beam.items():
            ways = [((taken, None), (missing, pieces, far, weight))]
            for other, worth in pairs:
                if other not in taken:
                    cost = (missing - 1, pieces + (last is None or other != last + 1), far + abs(place - other))
                    ways.append(((taken | {other}, other), (*cost, weight - worth)))
            for key, cost in ways:
                grown[key] = min(cost, grown.get(key, cost))
        beam = dict(sorted(grown.items(), key=lambda way: way[1])[:BEAM])
    missing, pieces, _, weight = min(beam.values())
    # As in METEOR, the very words in order are in no piece: they earn no penalty.
    all_in_order = pieces == 1 and -missing == len(prediction) == len(reference)
    return -weight, -missing, 0 if all_in_order else pieces, len(prediction), len(reference)
