"""Protects figures that are read from ranks: ties never help, what cannot be found is missed, nothing is left out."""

import math
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.ranks import rank_by_scores

from processing.evaluation.controls import rank_words

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "metrics"
scores = st.lists(st.one_of(st.integers(-2, 2).map(float), st.just(math.nan)), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def load():
    return lambda name: evaluate.load(str(FOLDER / name))


@given(scores, st.data())
def test_ranks_are_those_of_the_library(scores, data):
    """A Space cannot import `rank_words`: the rule is there twice, and must be one. Ties and NaN come first."""
    truth = data.draw(st.integers(0, len(scores) - 1))
    expected = rank_words(torch.tensor([scores]), torch.tensor([truth])).item()
    assert rank_by_scores(scores, truth) == expected


def test_actions_from_words_by_hand(load):
    predictions = [
        {"verb": ["cut", "peel"], "object": ["egg", "lemon"]},
        {"verb": ["mix"], "object": ["soup"]},
        {"verb": ["fry", "stir"], "object": ["pan", "wok", "egg"]},
        {"verb": ["cut"], "object": ["egg"]},
    ]
    truths = [("cut", "lemon"), ("stir", "soup"), ("stir", "egg"), ("cut", "egg")]
    references = [dict(zip(("verb", "object"), pair, strict=True)) for pair in truths]
    results = load("zero_shot_action").compute(predictions=predictions, references=references, tops=(1, 2))
    assert results == pytest.approx({
        "num_segments": 4,
        "verb_top1": 0.5,
        "verb_top1_se": 0.25,
        "verb_top2": 0.75,
        "verb_top2_se": math.sqrt(0.75 * 0.25 / 4),
        "object_top1": 0.5,
        "object_top1_se": 0.25,
        "object_top2": 0.75,
        "object_top2_se": math.sqrt(0.75 * 0.25 / 4),
    })  # fmt: skip


def test_actions_from_scores_count_ties_against_the_model(load):
    predictions = [{"verb": np.array([0.1, 0.7, 0.7], dtype=np.float32), "object": [3.0, -math.inf]}]
    results = load("zero_shot_action").compute(predictions=predictions, references=[{"verb": 1, "object": 0}])
    assert (results["verb_top1"], results["verb_top5"], results["object_top1"]) == (0, 1, 1)


def test_forecasts_by_hand(load):
    """The second moment ends before the second horizon; the third is forecast by one id only."""
    predictions = [[[7, 3], [3, 7]], [[7, 1], []], [[5], [5]]]
    references = [[3, 3], [7, -100], [6, 5]]
    results = load("forecast_at_k").compute(
        predictions=predictions, references=references, horizons=(1, 4), tops=(1, 2)
    )
    shares = {"top1_at_1": 1 / 3, "top2_at_1": 2 / 3, "top1_at_4": 1, "top2_at_4": 1}
    errors = {"top1_at_1_se": math.sqrt(2 / 27), "top2_at_1_se": math.sqrt(2 / 27), "top1_at_4_se": 0}
    expected = {"num_at_1": 3, "num_at_4": 2, "top2_at_4_se": 0, **shares, **errors}
    assert results == pytest.approx(expected)


def test_a_horizon_that_nobody_reaches_has_no_figure(load):
    results = load("forecast_at_k").compute(
        predictions=[[[1], []]], references=[[1, -100]], horizons=(1, 2), tops=(1,)
    )
    assert (results["num_at_2"], results["top1_at_2"], results["top1_at_2_se"]) == (0, None, None)


def test_retrieval_by_hand(load):
    similarity = [[0.9, 0.1, 0.3], [0.2, 0.2, 0.1], [0.5, 0.4, 0.3]]
    results = load("retrieval_at_k").compute(predictions=similarity, references=[0, 1, 2], tops=(1, 2))
    ranks = load("retrieval_at_k").compute(predictions=[1, 2, 3], references=[3, 3, 3], tops=(1, 2))
    expected = {"r1": 1 / 3, "r2": 2 / 3, "r1_chance": 1 / 3, "r2_chance": 2 / 3, "median_rank": 2}
    assert results == ranks == pytest.approx({**expected, "num_queries": 3, "num_items": 3})


@pytest.mark.parametrize("kind", [np.ones, torch.ones])
def test_a_model_that_says_nothing_finds_nothing(kind, load):
    results = load("retrieval_at_k").compute(predictions=kind((12, 12)), references=np.arange(12))
    assert (results["r1"], results["r10"], results["median_rank"]) == (0, 0, 12)


@settings(max_examples=50)
@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.floats(-1, 1), min_size=n, max_size=n), min_size=1)))
def test_retrieval_keeps_its_bounds_and_forgets_the_order_of_queries(similarity):
    metric = evaluate.load(str(FOLDER / "retrieval_at_k"))
    results = metric._compute(similarity, [0] * len(similarity))
    assert results == metric._compute(similarity[::-1], [0] * len(similarity))
    assert 0 <= results["r1"] <= results["r5"] <= results["r10"] == 1
    assert 1 <= results["median_rank"] <= results["num_items"] == len(similarity[0])


def test_codebook_usage_by_hand(load):
    """Six clips on four of eight leaves: three times id 0, once each 1, 2 and 3, in a tree of two branches."""
    results = load("codebook_usage").compute(data=[[0, 1, 2, 3], [0, 0], []], codebook_size=8, branches=2)
    leaves = 2**0.5 * 6**0.5  # exp of the entropy of 1/2, 1/6, 1/6, 1/6
    pairs = (3 / 2) ** (2 / 3) * 3 ** (1 / 3)  # of 2/3, 1/3
    by_level = results.pop("perplexity_by_level")
    assert by_level == pytest.approx([1, pairs, leaves])
    assert results.pop("share_used_by_level") == [0.5, 0.5, 0.5]
    assert results == pytest.approx({"num_clips": 6, "leaves_used": 4, "share_used": 0.5, "perplexity": leaves})


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 26), min_size=1), min_size=1))
def test_codebook_usage_keeps_its_bounds(data):
    results = evaluate.load(str(FOLDER / "codebook_usage"))._compute(data, 27, 3)
    assert 1 - 1e-9 <= results["perplexity"] <= results["leaves_used"] + 1e-9 <= 27 + 1e-9
    assert results["share_used"] == results["leaves_used"] / 27 == results["share_used_by_level"][-1]
    assert results["perplexity_by_level"] == sorted(results["perplexity_by_level"])


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("zero_shot_action", ([{"verb": ["a"], "object": []}], [{"verb": "a", "object": "b"}]), "0 has no object to"),
        ("zero_shot_action", ([{"verb": ["a"], "object": ["b"]}], [{"verb": "a", "object": ""}]), "0 has no true obj"),
        ("zero_shot_action", ([{"verb": [1.0], "object": [1.0]}], [{"verb": 1, "object": 0}]), "has verb 1, but .* 0"),
        ("forecast_at_k", ([[[1]] * 3], [[1] * 4]), "Moment 0 has 3 forecasts, but there are 4 horizons"),
        ("forecast_at_k", ([[[1]] * 4], [[1] * 3]), "Moment 0 has 3 references, but there are 4 horizons"),
        ("forecast_at_k", ([[[1], [1], [], [1]]], [[1] * 4]), "Moment 0 has no forecast at 4"),
        ("retrieval_at_k", ([[1.0, 2.0], [1.0]], [0, 0]), "Query 1 searched 1 items, but query 0 searched 2"),
        ("retrieval_at_k", ([[1.0, 2.0]], [2]), "right item of query 0 is 2, but items are 0 to 1"),
        ("retrieval_at_k", ([3], [2]), "Query 0 has rank 3, but ranks are 1 to 2"),
        ("retrieval_at_k", ([], []), "no queries"),
        ("zero_shot_action", ([], []), "no segments"),
        ("forecast_at_k", ([], []), "no moments"),
    ],
)
def test_bad_input_is_named(name, arguments, sentence, load):
    with pytest.raises(ValueError, match=sentence):
        load(name).compute(predictions=arguments[0], references=arguments[1])


@pytest.mark.parametrize(
    ("data", "size", "branches", "sentence"),
    [
        ([[1], [9]], 8, None, "Video 1 has visual id 9, but ids are 0 to 7"),
        ([[], []], 8, None, "no clips to count"),
        ([[1]], 8, 3, "8, which is not a power of branches, 3"),
        ([[1]], 8, 1, "8, which is not a power of branches, 1"),
    ],
)
def test_bad_visual_ids_are_named(data, size, branches, sentence, load):
    with pytest.raises(ValueError, match=sentence):
        load("codebook_usage").compute(data=data, codebook_size=size, branches=branches)
