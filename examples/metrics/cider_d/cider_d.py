"""CIDEr-D of captions (Vedantam et al., CVPR 2015) as the COCO caption evaluation computes it, without Java."""

import math
from collections import Counter
from itertools import chain

import evaluate

from .coco_captions import FEATURES, INPUTS, count_phrases, tokenize_captions

DESCRIPTION = """CIDEr-D: how much does a caption say of what people say of the same video? Words and phrases of up to
four words count the more, the fewer other videos' references hold them. From 0 to 10."""
CITATION = """@inproceedings{vedantam2015cider,
  title = {{CIDEr}: Consensus-based Image Description Evaluation},
  author = {Vedantam, Ramakrishna and Zitnick, C. Lawrence and Parikh, Devi},
  booktitle = {CVPR},
  year = {2015}
}"""
RETURNS = """
Returns:
    `dict`: `cider_d`, 0 to 10.
"""
SIGMA = 6.0  # of the penalty on a caption's length


class CiderD(evaluate.Metric):
    """CIDEr-D."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS + RETURNS,
            features=FEATURES,
        )

    def _compute(self, predictions, references):
        predictions, references = tokenize_captions(predictions, references)
        said = [[count_phrases(reference) for reference in own] for own in references]
        videos = Counter(phrase for own in said for phrase in {*chain.from_iterable(chain.from_iterable(own))})
        # Of a phrase that no reference holds, and that counts as one that a single video's references hold.
        rarest = math.log(len(said))
        rarity = {phrase: rarest - math.log(count) for phrase, count in videos.items()}

        def weigh(phrases):
            return [{phrase: n * rarity.get(phrase, rarest) for phrase, n in counts.items()} for counts in phrases]

        scores = []
        for prediction, own in zip(predictions, said, strict=True):
            phrases = count_phrases(prediction)
            weights = weigh(phrases)
            likeness = (compare(weights, weigh(one)) * penalize(phrases, one) for one in own)
            scores.append(sum(likeness) / len(own))
        return {"cider_d": 10 * sum(scores) / len(scores)}


def compare(prediction, reference):
    """Mean cosine over the phrases' lengths, with no more weight for a phrase than the reference gives it."""
    cosines = []
    for ours, theirs in zip(prediction, reference, strict=True):
        norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
        dot = sum(min(weight, theirs[phrase]) * theirs[phrase] for phrase, weight in ours.items() if phrase in theirs)
        cosines.append(dot / norms if norms else 0.0)
    return sum(cosines) / len(cosines)


def penalize(prediction, reference):
    """1 for captions of the same length, less for others. COCO measures length in pairs of words."""
    _, ours, *_ = prediction
    _, theirs, *_ = reference
    return math.exp(-((ours.total() - theirs.total()) ** 2) / (2 * SIGMA**2))
