"""Forecasting (paper, section 4.2): how often the next visual tokens are named right, beside what needs no network.

Published tables leave Markov chains out, and some networks lose to them. Here they stand on the same rows: direct
counts of what follows a clip, and the last two, at each horizon, backing off to fewer where they were seen seldom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ..forecasting_videobert import HORIZONS, future_scores
from .controls import rank_words
from .intervals import bootstrap_se

# So many clips must have been seen before anything is asked: the longest control looks back on as many.
ORDER = 2
# How many observations what is backed off to may count for.
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# How a way of forecasting is called in the results' keys and in the table.
METHODS = {
    "model": "model",
    "unigram": "most frequent (unigram)",
    "copy_last": "the last clip again",
    "markov1": "Markov chain, 1 clip",
    "markov2": "Markov chain, 2 clips",
}
CHAINS = {"unigram": 0, "markov1": 1, "markov2": 2}
FIGURES = ("top1", "top5", "branch_top1", "log_likelihood")
BATCH = 512  # places judged at once


class Place(NamedTuple):
    """A place in a video: its id, the visual ids so far (2 at least), and those to come, 1 at least."""

    video_id: str
    context: list[int]
    coming: list[int]


def forecast_places(rows: Sequence[Mapping], horizon: int = 1) -> list[Place]:
    """Every place at which a forecast can be checked.

    Args:
        rows (`Sequence[Mapping]`):
            Rows with `video_id` and `visual_ids`.
        horizon (`int`, *optional*, defaults to 1):
            So many clips come at least.

    Returns:
        `list[Place]`: In the order of rows and time.
    """
    return [
        Place(row["video_id"], list(row["visual_ids"][:cut]), list(row["visual_ids"][cut:]))
        for row in rows
        for cut in range(ORDER, len(row["visual_ids"]) - horizon + 1)
    ]


class MarkovChain:
    """What follows the last clips, `horizon` clips ahead, counted directly, with back-off.

    With n observations of the last k visual ids, c of which were followed by x, and the strength s of order k,
    `p_k(x) = (c + s · p_{k−1}(x)) / (n + s)`; `p_0` are the frequencies in training, each id counted once more.

    Args:
        rows (`Sequence[Mapping]`):
            Training rows.
        horizon (`int`):
            How many clips ahead.
        codebook_size (`int`):
            How many visual ids there are.
        strengths (`Sequence[float]`, *optional*, defaults to `(1.0, 1.0)`):
            Of the back-off of the orders 1, 2.
    """

    def __init__(
        self, rows: Sequence[Mapping], horizon: int, codebook_size: int, strengths: Sequence[float] = (1.0, 1.0)
    ):
        self.strengths = tuple(strengths)
        counts = np.ones(codebook_size)
        self.followers: list[dict[tuple, Counter]] = [{} for _ in range(ORDER)]
        for row in rows:
            ids = list(row["visual_ids"])
            np.add.at(counts, ids, 1)
            for order, followers in enumerate(self.followers, start=1):
                for cut in range(order, len(ids) - horizon + 1):
                    followers.setdefault(tuple(ids[cut - order : cut]), Counter())[ids[cut + horizon - 1]] += 1
        self.unigram = counts / counts.sum()

    def probabilities(self, context: Sequence[int], order: int = ORDER) -> np.ndarray:
        """Of every visual id after these, looking back on `order` of them: (codebook_size,)."""
        if order == 0:
            return self.unigram
        seen = self.followers[order - 1].get(tuple(context[-order:]), Counter())
        strength = self.strengths[order - 1]
        mixed = strength * self.probabilities(context, order - 1)
        np.add.at(mixed, list(seen), list(seen.values()))
        return mixed / (seen.total() + strength)


def fit_markov(rows: Sequence[Mapping], horizon: int, codebook_size: int, seed: int = 0) -> MarkovChain:
    """A chain whose back-off is the likeliest on a quarter of the training videos; then all of them are counted.

    Args:
        rows (`Sequence[Mapping]`):
            Training rows.
        horizon (`int`):
            How many clips ahead.
        codebook_size (`int`):
            How many visual ids there are.
        seed (`int`, *optional*, defaults to 0):
            Of the quarter.

    Returns:
        [`MarkovChain`]
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = set(order[: max(1, len(rows) // 4)].tolist())
    places = forecast_places([row for number, row in enumerate(rows) if number in chosen], horizon)
    rest = [row for number, row in enumerate(rows) if number not in chosen]
    chain = MarkovChain(rest, horizon, codebook_size)
    strengths: list[float] = []

    def loss(strength, depth):
        chain.strengths = (*strengths, strength)
        return -sum(np.log(chain.probabilities(place.context, depth)[place.coming[horizon - 1]]) for place in places)

    for depth in range(1, ORDER + 1):
        strengths.append(min(STRENGTHS, key=lambda strength: loss(strength, depth)))
    return MarkovChain(rows, horizon, codebook_size, strengths)


def judge_scores(scores: torch.Tensor, targets: torch.Tensor, branch: int | None) -> np.ndarray:
    """What forecasts are worth, place by place.

    Args:
        scores (`torch.Tensor` of shape (N, codebook_size)):
            Log-probabilities.
        targets (`torch.Tensor` of shape (N,)):
            What came.
        branch (`int`, *optional*):
            Visual ids below each node of the codebook's top level, for `branch_top1`.

    Returns:
        `np.ndarray` of shape (N, 4): `FIGURES` of each place, NaN for a branch that is not asked.
    """
    ranks = rank_words(scores, targets)
    likelihood = scores.gather(1, targets[:, None])[:, 0]
    figures = [(ranks <= 1).double(), (ranks <= 5).double(), torch.full_like(likelihood, torch.nan), likelihood]
    if branch:
        sums = scores.double().exp().unflatten(1, (-1, branch)).sum(dim=2)
        figures[2] = (rank_words(sums, targets // branch) <= 1).double()
    return torch.stack([figure.double() for figure in figures], dim=1).numpy()


def evaluate_forecasting(
    model,
    processor,
    train_rows: Sequence[Mapping],
    rows: Sequence[Mapping],
    horizons: Sequence[int] = HORIZONS,
    batch_size: int = 32,
) -> dict[int, dict]:
    """How well the clips to come are named, by the model and by its controls, on the same places.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            Knows the tokens.
        train_rows (`Sequence[Mapping]`):
            Rows that the controls count.
        rows (`Sequence[Mapping]`):
            Rows to forecast, which neither model nor controls have seen.
        horizons (`Sequence[int]`, *optional*, defaults to `HORIZONS`):
            How many clips ahead.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `dict[int, dict]`: By horizon `places`, `videos`, and for each of `METHODS` `top1` and `top5` (exact leaf),
        `branch_top1` (of the codebook's top level; `None` without a tree), `log_likelihood` (nats a clip), with
        `…_se` by bootstrap over videos; `gain` has the paired differences model − `markov2` in the same way. `None`
        where a figure is not finite.

    Raises:
        ValueError: No row is long enough for a horizon, or there are no training rows.
    """
    if not len(train_rows):
        raise ValueError("There are 0 training rows; the controls of a forecast need at least 1 to count.")
    size, branch = model.config.codebook_size, top_branch(processor.codebook)
    judged = _judge_model(model, processor, forecast_places(rows), horizons, branch, batch_size)
    results = {}
    for horizon in horizons:
        places = forecast_places(rows, horizon)
        if not places:
            raise ValueError(
                f"None of the {len(rows)} rows has {ORDER + horizon} clips; a forecast {horizon} clips ahead needs as "
                "many to be checked."
            )
        figures = {"model": judged[horizon]}
        for name, predict in _controls(fit_markov(train_rows, horizon, size)).items():
            figures[name] = _judge_control(predict, places, horizon, branch)
        figures["gain"] = figures["model"] - figures["markov2"]
        videos = [place.video_id for place in places]
        summaries = {name: _summarise(values, videos) for name, values in figures.items()}
        results[horizon] = {"places": len(places), "videos": len(set(videos))} | summaries
    return results


def top_branch(codebook) -> int | None:
    """Visual ids below each node of a codebook's top level; `None` for one that is no tree of several levels."""
    config = getattr(codebook, "config", None)
    levels, branches = getattr(config, "levels", 1), getattr(config, "branches", 0)
    return branches ** (levels - 1) if levels > 1 and branches else None


def _controls(chain: MarkovChain) -> dict[str, Callable]:
    """By name what gives each visual id its probability after a context."""
    controls = {name: partial(chain.probabilities, order=order) for name, order in CHAINS.items()}
    return controls | {"copy_last": lambda context: np.arange(len(chain.unigram)) == context[-1]}


def _judge_model(model, processor, places, horizons, branch, batch_size) -> dict[int, np.ndarray]:
    """By horizon those places where so many clips come."""
    judged, done = {horizon: [np.empty((0, len(FIGURES)))] for horizon in horizons}, 0
    contexts = [place.context for place in places]
    for scores in future_scores(model, processor, contexts, horizons, batch_size):
        some = [place.coming for place in places[done : done + len(scores)]]
        for column, horizon in enumerate(horizons):
            known = [number for number, coming in enumerate(some) if len(coming) >= horizon]
            targets = torch.tensor([some[number][horizon - 1] for number in known], dtype=torch.long)
            judged[horizon].append(judge_scores(scores[known, column].cpu(), targets, branch))
        done += len(scores)
    return {horizon: np.concatenate(parts) for horizon, parts in judged.items()}


def _judge_control(predict: Callable, places, horizon, branch) -> np.ndarray:
    judged = []
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        scores = torch.from_numpy(np.stack([predict(place.context) for place in some]).astype(float)).log()
        judged.append(judge_scores(scores, torch.tensor([place.coming[horizon - 1] for place in some]), branch))
    return np.concatenate(judged)


def _summarise(values: np.ndarray, videos: Sequence[str]) -> dict[str, float | None]:
    with np.errstate(invalid="ignore"):
        means, errors = values.mean(axis=0), bootstrap_se(values, videos)
    summary: dict[str, float | None] = {}
    for name, mean, error in zip(FIGURES, means.tolist(), errors.tolist(), strict=True):
        finite = np.isfinite(mean)
        summary |= {name: mean if finite else None, f"{name}_se": error if finite else None}
    return summary


def forecast_table(results: Mapping[int, Mapping], figure: str = "top1") -> str:
    """One figure of [`evaluate_forecasting`] as a markdown table, shares in per cent, with standard errors."""
    scale = 1 if figure == "log_likelihood" else 100

    def cell(summary):
        value, error = summary[figure], summary[f"{figure}_se"]
        return "–" if value is None else f"{scale * value:.1f} ± {scale * error:.1f}"

    heads = [f"{horizon} clip{'s' * (horizon > 1)} ({result['places']})" for horizon, result in results.items()]
    lines = [f"| {figure.replace('_', ' ')} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, label in (METHODS | {"gain": "model − Markov chain, 2 clips"}).items():
        lines.append(f"| {label} | " + " | ".join(cell(result[name]) for result in results.values()) + " |")
    return "\n".join(lines)


def forecast_figures(model, processor, train_rows: Sequence[Mapping], rows: Sequence[Mapping]) -> dict:
    """The figures of a benchmark: `forecast_top1` and `forecast_markov2`, 1 clip ahead, and `forecast` with all.

    Args:
        model, processor, train_rows, rows:
            See [`evaluate_forecasting`].

    Returns:
        `dict`
    """
    results = evaluate_forecasting(model, processor, train_rows, rows)
    nearest = results[min(results)]
    headline = {"forecast_top1": nearest["model"]["top1"], "forecast_markov2": nearest["markov2"]["top1"]}
    return headline | {"forecast": {str(horizon): result for horizon, result in results.items()}}
