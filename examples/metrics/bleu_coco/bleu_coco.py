"""BLEU-1 to -4 of captions (Papineni et al., ACL 2002) as the COCO caption evaluation computes them, without Java."""

import math

import evaluate

from .coco_captions import FEATURES, INPUTS, count_phrases, tokenize_captions

DESCRIPTION = """BLEU of captions: which share of a caption's phrases of one word, and of up to two, three and four, do
people say of the same video? Counted over all captions together, less for short ones. From 0 to 1."""
CITATION = """@inproceedings{papineni2002bleu,
  title = {{BLEU}: a Method for Automatic Evaluation of Machine Translation},
  author = {Papineni, Kishore and Roukos, Salim and Ward, Todd and Zhu, Wei-Jing},
  booktitle = {ACL},
  year = {2002}
}"""
RETURNS = """
Returns:
    `dict`: `bleu_1` to `bleu_4`, 0 to 1.
"""
# What the reference adds so as never to divide by nothing.
SMALL, TINY = 1e-9, 1e-15


class BleuCoco(evaluate.Metric):
    """BLEU-1 to BLEU-4."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS + RETURNS,
            features=FEATURES,
        )

    def _compute(self, predictions, references):
        said = expected = 0
        phrases, right = [0] * 4, [0] * 4
        for prediction, own in zip(*tokenize_captions(predictions, references), strict=True):
            length = len(prediction.split())
            said += length
            # The length of the reference that is closest in length; the shorter of two.
            expected += min((abs(other - length), other) for other in (len(one.split()) for one in own))[1]
            counts, limits = count_phrases(prediction), [count_phrases(one) for one in own]
            for place, ours in enumerate(counts):
                phrases[place] += ours.total()
                right[place] += sum(min(n, max(one[place][phrase] for one in limits)) for phrase, n in ours.items())

        ratio = (said + TINY) / (expected + SMALL)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        results, product = {}, 1.0
        for length, (one, all_of_them) in enumerate(zip(right, phrases, strict=True), 1):
            product *= (one + TINY) / (all_of_them + SMALL)
            results[f"bleu_{length}"] = penalty * product ** (1 / length)
        return results
