"""Forecasts and their controls: figures worked out by hand, and no look into the future."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, row, tiny_tokenizer

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing.evaluation import evaluate_forecasting, forecast_figures, forecast_table
from processing.evaluation.forecasting import (
    MarkovChain,
    fit_markov,
    forecast_places,
    judge_scores,
    top_branch,
)
from processing.evaluation.intervals import bootstrap_se
from processing.forecasting_videobert import forecast, future_scores, tell_forecast


def tiny_model(positions=40):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = VideoBertConfig(
        **sizes,
        max_position_embeddings=positions,
        text_vocab_size=OFFSET,
        codebook_size=CODEBOOK_SIZE,
        initializer_range=0.5,
    )
    return VideoBertForPreTraining(config).eval()


def processor(levels=2, branches=8):
    """What a forecast needs of one: words, the length of a clip, the codebook's shape."""
    codebook = SimpleNamespace(config=SimpleNamespace(levels=levels, branches=branches))
    return SimpleNamespace(
        tokenizer=tiny_tokenizer(), video_processor=SimpleNamespace(clip_seconds=1.5), codebook=codebook
    )


class Counter(torch.nn.Module):
    """Expects that ids go on by one a clip, as they do in the rows of `row`: it is always right.

    It stands in for the two parts of a model that a forecast uses.
    """

    def __init__(self):
        super().__init__()
        self.config, self.device = tiny_model().config, torch.device("cpu")

    @property
    def base_model(self):
        return self._read

    def _read(self, input_ids, **kwargs):
        last = (input_ids * (input_ids >= OFFSET)).cumsum(dim=1)
        shown = (input_ids >= OFFSET).cumsum(dim=1)
        newest = torch.where(input_ids >= OFFSET, input_ids - OFFSET, 0)
        newest = newest.gather(1, (shown == shown[:, -1:]).int().argmax(dim=1, keepdim=True))
        hidden = (input_ids == 6).cumsum(dim=1)
        assert last.shape == hidden.shape
        return SimpleNamespace(last_hidden_state=((newest + hidden) % CODEBOOK_SIZE)[..., None].float())

    def cloze_head(self, states):
        logits = torch.zeros(*states.shape[:2], OFFSET + CODEBOOK_SIZE)
        logits[..., :OFFSET] = 1000.0  # words are not asked for
        return logits.scatter(2, states.long() + OFFSET, 10.0)


def rows_of(*videos):
    return [row(f"v{number}", [], len(ids)) | {"visual_ids": list(ids)} for number, ids in enumerate(videos)]


def test_places_by_hand():
    """Two clips at least are seen, and what comes is the rest, not a clip more or less."""
    [first, second] = forecast_places(rows_of([5, 6, 7, 8], [1]))
    assert first == ("v0", [5, 6], [7, 8]) and second == ("v0", [5, 6, 7], [8])
    assert forecast_places(rows_of([5, 6, 7, 8]), horizon=2) == [first]
    assert forecast_places(rows_of([5, 6, 7, 8]), horizon=3) == []


def test_unigram_and_markov_by_hand():
    """
    Training video 0 1 0 1 2, three ids. Unigram with one more of each: (3, 3, 2) / 8. One clip ahead 0 was followed by
    1 twice, and 1 by 0 and by 2. With strength 2 after 1: (1 + 2·3/8, 2·3/8, 1 + 2·2/8) / 4. After "0 1" came 0 and 2;
    with strength 1: (1 + p1(0), p1(1), 1 + p1(2)) / 3. Two clips ahead 0 was followed by 0 and by 2... directly.
    """
    chain = MarkovChain(rows_of([0, 1, 0, 1, 2]), 1, (3,), strengths=(2.0, 1.0))
    assert chain.probabilities([0, 1], 0) == pytest.approx([3 / 8, 3 / 8, 2 / 8])
    first = [1.75 / 4, 0.75 / 4, 1.5 / 4]
    assert chain.probabilities([0, 1], 1) == pytest.approx(first)
    assert chain.probabilities([0, 1]) == pytest.approx([(1 + first[0]) / 3, first[1] / 3, (1 + first[2]) / 3])
    # Never seen: all is left to the shorter memory, and of a clip never seen to the frequencies.
    assert chain.probabilities([2, 1]) == pytest.approx(first)
    assert chain.probabilities([0, 2]) == pytest.approx([3 / 8, 3 / 8, 2 / 8])
    ahead = MarkovChain(rows_of([0, 1, 0, 1, 2]), 2, (3,), strengths=(1.0, 1.0))
    assert ahead.followers[0] == {(0,): {0: 1, 2: 1}, (1,): {1: 1}}
    assert ahead.followers[1] == {(0, 1): {1: 1}, (1, 0): {2: 1}}


@given(st.lists(st.lists(st.integers(0, 4), max_size=9), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 2))
@settings(deadline=None)
def test_chains_are_distributions(videos, horizon, order):
    """Whatever was counted, probabilities are above 0 and sum to 1."""
    chain = MarkovChain(rows_of(*videos), horizon, (5,), strengths=(0.3, 30.0))
    found = chain.probabilities([1, 2], order)
    assert found.sum() == pytest.approx(1) and (found > 0).all()


def test_back_off_is_chosen_by_what_is_left_out():
    """In videos that always go on alike, little is backed off; in noise, much."""
    alike = rows_of(*[[number % 4 for number in range(start, start + 12)] for start in range(8)])
    assert fit_markov(alike, 1, (4,)).strengths[0] == 0.3
    rng = np.random.default_rng(0)
    noise = rows_of(*rng.integers(0, 30, (20, 12)).tolist())
    assert fit_markov(noise, 1, (30,)).strengths[0] == 300


def test_judgement_by_hand():
    """Ranks among all, a tie is no hit, and the branch is the sum of its leaves."""
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.0, 0.3, 0.3], [0.5, 0.5, 0.0, 0.0]]).log()
    found = judge_scores(scores, torch.tensor([3, 2, 0]), branch=2)
    assert found[:, 0].tolist() == [1, 0, 0] and found[:, 1].tolist() == [1, 1, 1]
    assert found[:, 2].tolist() == [1, 1, 1]
    assert found[:, 3] == pytest.approx(np.log([0.4, 0.3, 0.5]))
    assert np.isnan(judge_scores(scores, torch.tensor([3, 2, 0]), None)[:, 2]).all()


def test_standard_error_is_over_videos():
    """Places of one video are no independent witnesses: two videos, all right and all wrong, say next to nothing."""
    values, videos = np.array([1.0] * 50 + [0.0] * 50), ["a"] * 50 + ["b"] * 50
    assert bootstrap_se(values, videos, draws=4000) == pytest.approx(np.sqrt(1 / 8), abs=0.02)
    assert bootstrap_se(np.ones((4, 2)), ["a", "a", "b", "c"]).tolist() == [0, 0]


def test_the_top_level_of_a_codebook():
    """Leaves n·b … below a node of the top; something that is no tree has none."""
    assert top_branch(processor(2, 16).codebook) == 16
    assert top_branch(processor(4, 12).codebook) == 12**3
    assert top_branch(processor(1, 64).codebook) is None
    assert top_branch(object()) is None


def test_a_model_that_is_always_right_scores_so():
    """All horizons are read at their own places; controls stand on the same places, and the gain is the difference."""
    train, rows = rows_of(range(20), range(30, 50)), rows_of(range(40, 60), range(11))
    results = evaluate_forecasting(Counter(), processor(), train, rows, batch_size=7)
    assert [results[horizon]["places"] for horizon in (1, 2, 4, 8)] == [27, 25, 21, 13]
    for result in results.values():
        assert result["model"]["top1"] == result["model"]["branch_top1"] == 1
        assert result["copy_last"]["top1"] == 0 and result["copy_last"]["log_likelihood"] is None
        assert result["gain"]["top1"] == pytest.approx(1 - result["markov2"]["top1"])
    # Of the clips 42 … 59 training has the step to 42 … 49, and all of the second video.
    assert results[1]["markov1"]["top1"] == pytest.approx((8 + 9) / 27)
    figures = forecast_figures(Counter(), processor(), train, rows)
    assert figures["forecast_top1"] == 1 and figures["forecast_markov2"] == pytest.approx(17 / 27)
    assert json.loads(json.dumps(figures))["forecast"].keys() == {"1", "2", "4", "8"}
    assert "| model | 100.0 ± 0.0 |" in forecast_table(results)


@given(st.lists(st.integers(0, CODEBOOK_SIZE - 1), min_size=3, max_size=20), st.data())
@settings(max_examples=25, deadline=None)
def test_nothing_of_the_future_is_seen(ids, data):
    """Other clips to come change no forecast, and neither does who else is in the batch."""
    cut = data.draw(st.integers(2, len(ids) - 1))
    model, others = tiny_model(), [*ids[:cut], *[(i + 1) % CODEBOOK_SIZE for i in ids[cut:]]]
    contexts = [
        next(place.context for place in forecast_places(rows_of(video)) if len(place.context) == cut)
        for video in (ids, others)
    ]
    assert contexts[0] == contexts[1] == ids[:cut]
    alone = next(future_scores(model, processor(), [ids[:cut]]))
    together = next(future_scores(model, processor(), [ids[:cut], ids]))
    assert torch.allclose(alone[0], together[0], atol=1e-5)


def test_forecast_by_hand():
    """After clips 3, 4, 5 of 1.5 s comes 6 at 4.5 s; probabilities fall, and sum to 1 over the codebook."""
    answers = forecast(Counter(), processor(), [3, 4, 5], horizons=(1, 4), top_k=2)
    assert [one["visual_ids"][0] for one in answers] == [6, 9]
    assert answers[0]["tokens"][0] == "<v_00006>"
    assert [(one["horizon"], one["start"], one["end"]) for one in answers] == [(1, 4.5, 6.0), (4, 9.0, 10.5)]
    everything = forecast(tiny_model(), processor(), [3, 4, 5], horizons=(1,), top_k=CODEBOOK_SIZE)[0]["scores"]
    assert sum(everything) == pytest.approx(1, abs=1e-5) and everything == sorted(everything, reverse=True)


def test_bad_input_is_named():
    """One clear sentence each."""
    model = tiny_model()
    with pytest.raises(ValueError, match="The video has 0 clips; a forecast needs at least 1, and a clip is 1.5 s"):
        forecast(model, processor(), [])
    with pytest.raises(ValueError, match="Visual id 64 is outside the codebook, whose ids are 0 to 63"):
        forecast(model, processor(), [1, 64])
    with pytest.raises(ValueError, match=r"horizons are \(0, 1\); allowed are whole numbers"):
        forecast(model, processor(), [1], horizons=(0, 1))
    with pytest.raises(ValueError, match="top_k is 65; allowed is 1 to 64"):
        forecast(model, processor(), [1], top_k=65)
    with pytest.raises(ValueError, match="A forecast of 38 clips needs sequences of 41 tokens; the model takes 40"):
        forecast(model, processor(), [1], horizons=(38,))
    with pytest.raises(ValueError, match=r"'peel it' holds no \[MASK\]"):
        tell_forecast(model, processor(), "peel it", torch.zeros(1, 64))
    with pytest.raises(ValueError, match="The 0 training rows hold 0 clips"):
        evaluate_forecasting(model, processor(), [], rows_of(range(12)))
    with pytest.raises(ValueError, match="None of the 1 rows has 10 clips; a forecast 8 clips ahead"):
        evaluate_forecasting(model, processor(), rows_of(range(12)), rows_of(range(9)))


def test_words_are_weighted_by_hand(monkeypatch):
    """Id 0 says "cut" for sure, ids 1 and 2 say "peel" with 0.8: unlikelier each, together they come close."""
    words = {"cut": 19, "peel": 20}
    says = {0: {19: 1.0}, 1: {20: 0.8, 19: 0.2}, 2: {20: 0.8, 19: 0.2}}

    def named(model, inputs, mask_id):
        found = []
        for visual_id in inputs["ids"]:
            line = torch.zeros(1, OFFSET)
            for word, probability in says.get(visual_id, {7: 1.0}).items():
                line[0, word] = probability
            found.append(line.log())
        return found

    class Inputs(dict):
        def to(self, device):
            return self

    class Asked(SimpleNamespace):
        def __call__(self, texts, videos, max_length):
            assert len(texts) == len(videos)
            return Inputs(ids=[one for [one] in videos])

    monkeypatch.setattr("processing.forecasting_videobert.mask_log_probabilities", named)
    probabilities = torch.zeros(2, CODEBOOK_SIZE)
    probabilities[0, :3], probabilities[1, 0] = torch.tensor([0.4, 0.3, 0.3]), 1.0
    asked = Asked(tokenizer=tiny_tokenizer())
    [[first], [second]] = tell_forecast(tiny_model(), asked, "how to [MASK] it", probabilities.log(), top_k=2)
    assert [one["token"] for one in first] == [words["cut"], words["peel"]]
    assert [one["score"] for one in first] == pytest.approx([0.4 + 0.6 * 0.2, 0.6 * 0.8])
    assert second[0]["token_str"] == "cut" and second[0]["score"] == pytest.approx(1)
