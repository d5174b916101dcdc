"""Forecasting (paper, section 4.2): how often the next visual tokens are named right, beside what needs no network.

Published tables leave Markov chains out, and some networks lose to them. Here they stand on the same rows: direct
counts of what follows a clip, and the last two, at each horizon, backing off to fewer where they were seen seldom.

Where a clip has several visual ids, all of them must be right, and likelihoods are of all together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ..codes_videobert import Clip, beginnings, clips_of, code_choices, codes_per_clip, join_clips
from ..forecasting_videobert import HORIZONS, forecast_inputs, future_scores, likely_clips, score_clips
from ..sequence_videobert import visual_code_sizes
from .controls import MISS, rank_words
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
NUMBERS = 2**24  # and at most so many probabilities
# Clips with several codes that the model names: one more than `top5` asks for, so that a tie with the sixth shows.
NAMED_CLIPS = 6


class Place(NamedTuple):
    """A place in a video: its id, the clips so far (2 at least), and those to come, 1 at least."""

    video_id: str
    context: list[Clip]
    coming: list[Clip]


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
        Place(row["video_id"], clips[:cut], clips[cut:])
        for row in rows
        for clips in [clips_of(row)]
        for cut in range(ORDER, len(clips) - horizon + 1)
    ]


class MarkovChain:
    """What follows the last clips, `horizon` clips ahead, counted directly, with back-off.

    With n observations of the last k clips, c of which were followed by x, and the strength s of order k,
    `p_k(x) = (c + s · p_{k−1}(x)) / (n + s)`; `p_0` are the frequencies in training, each visual id counted once more:
    of several codes the frequency of the first, times that of the second after it, and so on. Such clips are named
    only if training shows them: `clips` are those, and of one visual id a clip all that there are.

    Args:
        rows (`Sequence[Mapping]`):
            Training rows.
        horizon (`int`):
            How many clips ahead.
        choices (`Sequence[int]`):
            Visual ids to choose from for each code of a clip, as of [`code_choices`].
        strengths (`Sequence[float]`, *optional*, defaults to `(1.0, 1.0)`):
            Of the back-off of the orders 1, 2.
    """

    def __init__(
        self, rows: Sequence[Mapping], horizon: int, choices: Sequence[int], strengths: Sequence[float] = (1.0, 1.0)
    ):
        self.choices, self.strengths, self.total = tuple(choices), tuple(strengths), 0
        self.begun: Counter[Clip] = Counter()
        self.followers: list[dict[tuple, Counter]] = [{} for _ in range(ORDER)]
        for row in rows:
            clips = clips_of(row)
            self.total += len(clips)
            self.begun.update(part for clip in clips for part in beginnings(clip))
            for order, followers in enumerate(self.followers, start=1):
                for cut in range(order, len(clips) - horizon + 1):
                    followers.setdefault(tuple(clips[cut - order : cut]), Counter())[clips[cut + horizon - 1]] += 1
        shown = (part for part in self.begun if isinstance(part, tuple) and len(part) == len(self.choices))
        self.clips: list[Clip] = [*(range(self.choices[0]) if len(self.choices) == 1 else sorted(shown))]
        self.number = {clip: number for number, clip in enumerate(self.clips)}
        self.first = first_codes(self.clips)
        self.unigram = np.array([self.frequency(clip) for clip in self.clips])
        # Of the first codes, what falls to clips that training does not show.
        alone = [self.begun[one if len(self.choices) == 1 else (one,)] for one in range(self.choices[0])]
        named = np.bincount(self.first.numpy(), self.unigram, self.choices[0])
        self.unnamed = (np.array(alone) + 1) / (self.total + self.choices[0]) - named

    def frequency(self, clip: Clip) -> float:
        """How often a clip stands in training, its codes by themselves, each after the ones before it."""
        parts = beginnings(clip)[::-1]
        before = [self.total, *(self.begun[part] for part in parts[:-1])]
        counted = zip(parts, before, self.choices, strict=True)
        return math.prod((self.begun[part] + 1) / (count + choices) for part, count, choices in counted)

    def probabilities(self, context: Sequence[Clip], order: int = ORDER) -> np.ndarray:
        """Of each of `clips` after these, looking back on `order` of them: (len(clips),)."""
        if order == 0:
            return self.unigram
        seen, strength = self._seen(context, order), self.strengths[order - 1]
        mixed = strength * self.probabilities(context, order - 1)
        np.add.at(mixed, [self.number[clip] for clip in seen], list(seen.values()))
        return mixed / (seen.total() + strength)

    def first_probabilities(self, context: Sequence[Clip], order: int, found: np.ndarray) -> np.ndarray:
        """Of each first code after these, of clips as [`~MarkovChain.probabilities`] found them: (choices[0],)."""
        share = 1.0  # of the frequencies in the mixture
        for strength, depth in zip(self.strengths[:order], range(1, order + 1), strict=True):
            share *= strength / (self._seen(context, depth).total() + strength)
        return np.bincount(self.first.numpy(), found, self.choices[0]) + share * self.unnamed

    def probability(self, clip: Clip, context: Sequence[Clip], order: int = ORDER) -> float:
        """Of one clip, which training need not show."""
        if order == 0:
            return self.frequency(clip)
        seen, strength = self._seen(context, order), self.strengths[order - 1]
        return (seen[clip] + strength * self.probability(clip, context, order - 1)) / (seen.total() + strength)

    def _seen(self, context: Sequence[Clip], order: int) -> Counter:
        return self.followers[order - 1].get(tuple(context[-order:]), Counter())


def first_codes(clips: Sequence[Clip]) -> torch.Tensor:
    """The first visual id of each of N clips: (N,)."""
    return torch.tensor([join_clips([clip])[0] for clip in clips], dtype=torch.long)


def fit_markov(rows: Sequence[Mapping], horizon: int, choices: Sequence[int], seed: int = 0) -> MarkovChain:
    """A chain whose back-off is the likeliest on a quarter of the training videos; then all of them are counted.

    Args:
        rows (`Sequence[Mapping]`):
            Training rows.
        horizon (`int`):
            How many clips ahead.
        choices (`Sequence[int]`):
            Visual ids to choose from for each code of a clip.
        seed (`int`, *optional*, defaults to 0):
            Of the quarter.

    Returns:
        [`MarkovChain`]
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = set(order[: max(1, len(rows) // 4)].tolist())
    places = forecast_places([row for number, row in enumerate(rows) if number in chosen], horizon)
    rest = [row for number, row in enumerate(rows) if number not in chosen]
    chain = MarkovChain(rest, horizon, choices)
    strengths: list[float] = []

    def loss(strength, depth):
        chain.strengths = (*strengths, strength)
        return -sum(np.log(chain.probability(place.coming[horizon - 1], place.context, depth)) for place in places)

    for depth in range(1, ORDER + 1):
        strengths.append(min(STRENGTHS, key=lambda strength: loss(strength, depth)))
    return MarkovChain(rows, horizon, choices, strengths)


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
    return judge_ranks(rank_words(scores, targets), scores.gather(1, targets[:, None])[:, 0], scores, targets, branch)


def judge_ranks(
    ranks: torch.Tensor, likelihood: torch.Tensor, codes: torch.Tensor, first: torch.Tensor, branch: int | None
) -> np.ndarray:
    """As [`judge_scores`], where not all clips have been scored.

    Args:
        ranks, likelihood (`torch.Tensor` of shape (N,)):
            The place of what came, 1 for the best, and its log-probability.
        codes (`torch.Tensor` of shape (N, S)):
            Log-probabilities of the first code of a clip.
        first (`torch.Tensor` of shape (N,)):
            The first code of what came.
        branch (`int`, *optional*):
            First codes below each node of the codebook's top level.

    Returns:
        `np.ndarray` of shape (N, 4)
    """
    figures = [(ranks <= 1).double(), (ranks <= 5).double(), torch.full_like(likelihood, torch.nan), likelihood]
    if branch:
        sums = codes.double().exp().unflatten(1, (-1, branch)).sum(dim=2)
        figures[2] = (rank_words(sums, first // branch) <= 1).double()
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
        `dict[int, dict]`: By horizon `places`, `videos`, and for each of `METHODS` `top1` and `top5` (exact leaf, or
        all codes of a clip), `branch_top1` (of the codebook's top level, in the first code; `None` without a tree),
        `log_likelihood` (nats a clip), with
        `…_se` by bootstrap over videos; `gain` has the paired differences model − `markov2` in the same way. `None`
        where a figure is not finite.

    Raises:
        ValueError: No row is long enough for a horizon, or training rows hold no clip.
    """
    if not any(row["visual_ids"] for row in train_rows):
        raise ValueError(
            f"The {len(train_rows)} training rows hold 0 clips; the controls of a forecast need at least 1 to count."
        )
    branch, sizes = top_branch(processor.codebook), visual_code_sizes(processor.tokenizer)
    judge, choices = _judge_clips if len(sizes) > 1 else _judge_model, code_choices(sizes)
    judged = judge(model, processor, forecast_places(rows), horizons, branch, batch_size)
    results = {}
    for horizon in horizons:
        places = forecast_places(rows, horizon)
        if not places:
            raise ValueError(
                f"None of the {len(rows)} rows has {ORDER + horizon} clips; a forecast {horizon} clips ahead needs as "
                "many to be checked."
            )
        chain = fit_markov(train_rows, horizon, choices)
        figures = {"model": judged[horizon]}
        figures |= _judge_controls(chain, places, horizon, branch)
        figures["gain"] = figures["model"] - figures["markov2"]
        videos = [place.video_id for place in places]
        summaries = {name: _summarise(values, videos) for name, values in figures.items()}
        results[horizon] = {"places": len(places), "videos": len(set(videos))} | summaries
    return results


def top_branch(codebook) -> int | None:
    """First codes of a clip below each node of a codebook's top level; `None` where these nodes are the clips."""
    config, several = getattr(codebook, "config", None), codes_per_clip(codebook) > 1
    levels = 1 if getattr(config, "levels_as_tokens", False) else getattr(config, "levels", 1)
    branches = getattr(config, "branches", 0)
    return branches ** (levels - 1) if branches and (several or levels > 1) else None


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


@torch.inference_mode()
def _judge_clips(model, processor, places, horizons, branch, batch_size) -> dict[int, np.ndarray]:
    """As [`_judge_model`], of several codes: the clips that a forecast names, and how likely the true one is."""
    judged: dict[int, list] = {horizon: [np.empty((0, len(FIGURES)))] for horizon in horizons}
    sizes = visual_code_sizes(processor.tokenizer)
    model.eval()
    for start in range(0, len(places), batch_size):
        some = places[start : start + batch_size]
        contexts = [join_clips(place.context) for place in some]
        inputs = forecast_inputs(processor, contexts, max(horizons), model.config).to(model.device)
        # Where the video ends before, any clip will do: it is not counted.
        truths = [[(one.coming[h - 1 : h] or one.context)[0] for h in horizons] for one in some]
        truth = torch.tensor(truths, device=model.device)
        scores, named = likely_clips(model, inputs, horizons, sizes, NAMED_CLIPS)
        codes, likelihood = score_clips(model, inputs, horizons, sizes, truth)
        ranks = rank_named(scores, (named == truth[:, :, None]).all(dim=-1))
        for column, horizon in enumerate(horizons):
            known = [number for number, one in enumerate(some) if len(one.coming) >= horizon]
            place, own, begun, first = (one[known, column].cpu() for one in (ranks, likelihood, codes, truth[..., 0]))
            judged[horizon].append(judge_ranks(place, own, begun, first, branch))
    return {horizon: np.concatenate(parts) for horizon, parts in judged.items()}


def rank_named(scores: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The place of what came among the clips that were named, 1 for the best; those with its score count as better.

    Args:
        scores, right (`torch.Tensor` of shape (…, K)):
            Of each clip its score, and whether it came, as one of them did at most.

    Returns:
        `torch.Tensor` of shape (…): Infinite where none of them came.
    """
    own = scores.masked_fill(~right, torch.inf).amin(dim=-1, keepdim=True)
    return torch.where(right.any(dim=-1), (~(scores < own)).sum(dim=-1).float(), MISS)


def _judge_controls(chain: MarkovChain, places: Sequence[Place], horizon: int, branch) -> dict[str, np.ndarray]:
    """By name the figures of what needs no network."""
    judges = {name: partial(_judge_chain, chain, order) for name, order in CHAINS.items()}
    judges |= {"copy_last": partial(_judge_copies, chain)}
    at_once = max(1, min(BATCH, NUMBERS // len(chain.clips)))
    batches = [places[start : start + at_once] for start in range(0, len(places), at_once)]
    return {
        name: np.concatenate([judge(some, [one.coming[horizon - 1] for one in some], branch) for some in batches])
        for name, judge in judges.items()
    }


def _judge_chain(chain: MarkovChain, order: int, places: Sequence[Place], truths: Sequence[Clip], branch):
    mixed = [chain.probabilities(place.context, order) for place in places]
    firsts = [chain.first_probabilities(place.context, order, one) for place, one in zip(places, mixed, strict=True)]
    found = torch.from_numpy(np.stack(mixed))
    at = torch.tensor([chain.number.get(truth, -1) for truth in truths])
    scores, known = found.log(), at.clamp(min=0)
    ranks, likelihood = rank_words(scores, known).double(), scores.gather(1, known[:, None])[:, 0]
    for number in (at < 0).nonzero().flatten().tolist():
        ranks[number] = MISS
        likelihood[number] = math.log(chain.probability(truths[number], places[number].context, order))
    codes = torch.from_numpy(np.stack(firsts)).log()
    return judge_ranks(ranks, likelihood, codes, first_codes(truths), branch)


def _judge_copies(chain: MarkovChain, places: Sequence[Place], truths: Sequence[Clip], branch):
    """The last clip is all that is expected."""
    last = [place.context[-1] for place in places]
    right = torch.tensor([one == other for one, other in zip(last, truths, strict=True)])
    codes = torch.nn.functional.one_hot(first_codes(last), chain.choices[0]).double().log()
    ranks = torch.where(right, 1.0, MISS)
    return judge_ranks(ranks, right.double().log(), codes, first_codes(truths), branch)


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
