"""ROUGE-L of captions (Lin and Och, ACL 2004) as the COCO caption evaluation computes it, without Java."""

import evaluate

from .coco_captions import FEATURES, INPUTS, tokenize_captions

DESCRIPTION = """ROUGE-L of captions: how long is the longest series of words, in order but not without gaps, that a
caption shares with what people say of the same video? From 0 to 1."""
CITATION = """@inproceedings{lin2004rouge,
  title = {Automatic Evaluation of Machine Translation Quality Using Longest Common Subsequence and Skip-Bigram
    Statistics},
  author = {Lin, Chin-Yew and Och, Franz Josef},
  booktitle = {ACL},
  year = {2004}
}"""
RETURNS = """
Returns:
    `dict`: `rouge_l`, 0 to 1.
"""
BETA = 1.2  # how much more recall counts than precision


class RougeLCoco(evaluate.Metric):
    """ROUGE-L."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS + RETURNS,
            features=FEATURES,
        )

    def _compute(self, predictions, references):
        predictions, references = tokenize_captions(predictions, references)
        scores = [score_caption(*pair) for pair in zip(predictions, references, strict=True)]
        return {"rouge_l": sum(scores) / len(scores)}


def score_caption(prediction, references):
    """F-measure of the best precision and the best recall, which may be of two references."""
    # Cut at blanks only, as in the reference: no words are one empty word.
    ours = prediction.split(" ")
    shared = [(count_shared(ours, theirs), len(theirs)) for theirs in (one.split(" ") for one in references)]
    precision = max(count for count, _ in shared) / len(ours)
    recall = max(count / length for count, length in shared)
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def count_shared(one, other):
    """Length of the longest common subsequence."""
    lengths = [0] * (len(other) + 1)
    for word in one:
        above = lengths
        lengths = [0]
        for place, theirs in enumerate(other):
            lengths.append(above[place] + 1 if word == theirs else max(above[place + 1], lengths[-1]))
    return lengths[-1]
