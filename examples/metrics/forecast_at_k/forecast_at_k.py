"""Forecasts of visual tokens at several horizons: is what comes among the first k?"""

import datasets
import evaluate

from .ranks import rank_in_list, share_within

DESCRIPTION = """Forecasting: is the visual token that comes, one, two, four and eight clips later, among the first k
of the forecast? With binomial standard errors, which take moments for independent: those of one video are not."""
CITATION = """@inproceedings{sun2019videobert,
  title = {{VideoBERT}: A Joint Model for Video and Language Representation Learning},
  author = {Sun, Chen and Myers, Austin and Vondrick, Carl and Murphy, Kevin and Schmid, Cordelia},
  booktitle = {ICCV},
  year = {2019}
}"""
INPUTS = """
Args:
    predictions (`list[list[list[int]]]`):
        For each moment and each horizon, visual ids, the best first. An id that is not in its list is missed.
    references (`list[list[int]]`):
        For each moment and each horizon the visual id that came; -100 where the video had ended.
    horizons (`Sequence[int]`, *optional*, defaults to (1, 2, 4, 8)):
        How many clips ahead each of them lies.
    tops (`Sequence[int]`, *optional*, defaults to (1, 5)):
        How many of the first are looked at.

Returns:
    `dict`: `top1_at_1` (the first of the forecast, one clip ahead), … with their standard errors `top1_at_1_se`, …,
    and `num_at_1`, …: how many moments were asked. `None` where none was.
"""
IGNORED = -100


class ForecastAtK(evaluate.Metric):
    """Top-k accuracy at several horizons."""

    def _info(self):
        ids = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Sequence(ids), "references": ids}),
        )

    def _compute(self, predictions, references, horizons=(1, 2, 4, 8), tops=(1, 5)):
        if not predictions:
            raise ValueError("There are no moments to score.")
        check_moments(predictions, references, horizons)
        results = {}
        for place, horizon in enumerate(horizons):
            asked = [
                (lists[place], truths[place])
                for lists, truths in zip(predictions, references, strict=True)
                if truths[place] != IGNORED
            ]
            ranks = [rank_in_list(*one) for one in asked]
            results[f"num_at_{horizon}"] = len(ranks)
            for top in tops:
                name = f"top{top}_at_{horizon}"
                results[name], results[f"{name}_se"] = share_within(ranks, top) if ranks else (None, None)
        return results


def check_moments(predictions, references, horizons):
    """Ends with one sentence at a moment that lacks a horizon or a forecast."""
    for moment, (lists, truths) in enumerate(zip(predictions, references, strict=True)):
        for name, given in (("forecasts", lists), ("references", truths)):
            if len(given) != len(horizons):
                raise ValueError(f"Moment {moment} has {len(given)} {name}, but there are {len(horizons)} horizons.")
        for horizon, ids, truth in zip(horizons, lists, truths, strict=True):
            if truth != IGNORED and not ids:
                raise ValueError(f"Moment {moment} has no forecast at {horizon}, but a reference: {truth}.")
