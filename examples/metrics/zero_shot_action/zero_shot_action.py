"""Zero-shot action classification (Sun et al., ICCV 2019, section 4.4): top-k accuracy of verbs and objects."""

import datasets
import evaluate

from .ranks import rank_by_scores, rank_in_list, share_within

DESCRIPTION = """Zero-shot action classification: is the true verb, and the true object, among the model's first k
words? With binomial standard errors. Scores that are the same count against the model."""
CITATION = """@inproceedings{sun2019videobert,
  title = {{VideoBERT}: A Joint Model for Video and Language Representation Learning},
  author = {Sun, Chen and Myers, Austin and Vondrick, Carl and Murphy, Kevin and Schmid, Cordelia},
  booktitle = {ICCV},
  year = {2019}
}"""
INPUTS = """
Args:
    predictions (`list[dict]`):
        For each segment `{"verb": …, "object": …}`: either words, the best first, or one score for each class. A word
        that is not in its list is missed.
    references (`list[dict]`):
        For each segment `{"verb": …, "object": …}`: the true words, or the numbers of the true classes.
    tops (`Sequence[int]`, *optional*, defaults to (1, 5)):
        How many of the first are looked at.

Returns:
    `dict`: `verb_top1`, `object_top1`, … and their standard errors `verb_top1_se`, …; `num_segments`.
"""
ASKED = ("verb", "object")


def features(prediction, reference):
    kinds = {"predictions": datasets.Sequence(datasets.Value(prediction)), "references": datasets.Value(reference)}
    return datasets.Features({name: dict.fromkeys(ASKED, kind) for name, kind in kinds.items()})


class ZeroShotAction(evaluate.Metric):
    """Top-k accuracy of verbs and objects."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=[features("string", "string"), features("float64", "int64")],
        )

    def _infer_feature_from_batch(self, batch):
        # evaluate tells the two kinds of input apart by the first one.
        if not len(batch["predictions"]):
            raise ValueError("There are no segments to score.")
        return super()._infer_feature_from_batch(batch)

    def _compute(self, predictions, references, tops=(1, 5)):
        results = {"num_segments": len(predictions)}
        for asked in ASKED:
            answers, truths = ([one[asked] for one in side] for side in (predictions, references))
            ranks = [rank(*segment, asked) for segment in zip(answers, truths, range(len(answers)), strict=True)]
            for top in tops:
                results[f"{asked}_top{top}"], results[f"{asked}_top{top}_se"] = share_within(ranks, top)
        return results


def rank(answer, truth, segment, asked):
    """Rank of the true class of one segment."""
    if not answer:
        raise ValueError(f"Segment {segment} has no {asked} to choose from: it needs words or scores.")
    if truth is None or truth == "":
        raise ValueError(f"Segment {segment} has no true {asked}.")
    if isinstance(truth, str):
        return rank_in_list(answer, truth)
    if not 0 <= truth < len(answer):
        raise ValueError(f"Segment {segment} has {asked} {truth}, but its scores are of 0 to {len(answer) - 1}.")
    return rank_by_scores(answer, truth)
