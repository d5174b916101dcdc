"""Protects the figures of clips with several codes: whole clips are counted, and one code keeps its figures."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_rows import (
    OFFSET,
    cooking_rows,
    cooking_truth,
    row,
    tiny_processor,
    tiny_reader,
    tiny_text_tokenizer,
)

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor, VideoBertVideoProcessor
from processing.codebook import fit_codebook
from processing.codes_videobert import code_choices, join_clips
from processing.evaluation import evaluate_forecasting, evaluate_storyboard, told_steps
from processing.evaluation.forecasting import (
    CHAINS,
    FIGURES,
    MarkovChain,
    forecast_places,
    rank_named,
    top_branch,
)
from processing.evaluation.storyboard import SCORES, imagine_clips, name_clusters, score_strip
from processing.forecasting_videobert import forecast, forecast_inputs, likely_clips, score_clips

# Worked out before clips could have several codes.
BEFORE = {
    ("model", 1): (0.0, 0.03333333333333333, 0.05, -5.705578609307607),
    ("unigram", 1): (0.0, 0.5333333333333333, 0.5333333333333333, -3.223034175649555),
    ("copy_last", 1): (0.36666666666666664, 0.36666666666666664, 0.36666666666666664, np.nan),
    ("markov1", 1): (0.5, 0.6333333333333333, 0.6333333333333333, -2.6971053672851535),
    ("markov2", 1): (0.5, 0.6333333333333333, 0.6333333333333333, -2.6838102422379717),
    ("model", 4): (0.0, 0.0, 0.018518518518518517, -6.009743081198798),
    ("unigram", 4): (0.0, 0.5185185185185185, 0.5185185185185185, -3.2291256209757155),
    ("copy_last", 4): (0.14814814814814814, 0.14814814814814814, 0.25925925925925924, np.nan),
    ("markov1", 4): (0.2962962962962963, 0.5185185185185185, 0.5185185185185185, -3.1329824415812277),
    ("markov2", 4): (0.48148148148148145, 0.5370370370370371, 0.5185185185185185, -3.0072298182820476),
}
STRIPS_BEFORE = {
    "iterative": (0.125, 0.25, 0.125, 0.03125),
    "argmax": (0.125, 0.25, 0.125, 0.03125),
    "nearest": (1.0, 1.0, 1.0, 0.75),
    "random": (0.75, 0.75, 0.5, 0.21875),
    "true": (1.0, 1.0, 1.0, 1.0),
}
ROWS = cooking_rows(8)
TRUTH = cooking_truth(ROWS)


@pytest.fixture(scope="module")
def one_code():
    return evaluate_forecasting(
        tiny_reader(VideoBertForPreTraining), tiny_processor(), ROWS[:6], ROWS[6:], horizons=(1, 4)
    )


@pytest.fixture(scope="module")
def processor():
    return processor_of(residual_codes=2)


@pytest.fixture(scope="module")
def model():
    return model_of(8)


def processor_of(levels=1, branches=4, **options):
    features = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    processor = VideoBertProcessor(VideoBertVideoProcessor(), tiny_text_tokenizer())
    processor.add_codebook(fit_codebook(features, levels, branches, progress=False, **options))
    return processor


def model_of(codebook_size, positions=80):
    torch.manual_seed(1)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vocabulary = {"text_vocab_size": OFFSET, "codebook_size": codebook_size}
    config = VideoBertConfig(**small, **vocabulary, max_position_embeddings=positions, initializer_range=0.5)
    return VideoBertForPreTraining(config).eval()


def coded(*videos):
    """Rows of clips with several codes."""
    return [
        row(f"v{number}", [], len(clips)) | {"visual_ids": join_clips(clips), "tokens_per_clip": len(clips[0])}
        for number, clips in enumerate(videos)
    ]


def figures_of(result):
    return [np.nan if result[figure] is None else result[figure] for figure in FIGURES]


def test_one_code_keeps_its_figures(one_code):
    """Those that stand in published tables must not move because clips can have several codes."""
    for (name, horizon), before in BEFORE.items():
        tolerance = 1e-5 if name == "model" else 1e-12
        assert figures_of(one_code[horizon][name]) == pytest.approx(before, rel=tolerance, nan_ok=True), name
    steps = told_steps(ROWS[:6], TRUTH), told_steps(ROWS[6:], TRUTH)
    strips = evaluate_storyboard(tiny_reader(VideoBertForPreTraining), tiny_processor(), *steps)
    assert {way: tuple(one[score] for score in SCORES) for way, one in strips.items()} == STRIPS_BEFORE


def test_a_second_code_without_a_choice_says_nothing(one_code):
    """Each clip gets a second code that is always the same one: the figures of the controls are those of one code."""
    rows = coded(*([(visual_id, 64) for visual_id in one["visual_ids"]] for one in ROWS))
    processor = tiny_processor()
    codebook = SimpleNamespace(
        code_sizes=(64, 1), codebook_size=65, config=processor.codebook.config, fingerprint="a", centroids=None
    )
    processor.add_codebook(codebook)
    results = evaluate_forecasting(model_of(65), processor, rows[:6], rows[6:], horizons=(1, 4))
    for horizon, name in itertools.product((1, 4), (*CHAINS, "copy_last")):
        before = figures_of(one_code[horizon][name])
        assert figures_of(results[horizon][name]) == pytest.approx(before, rel=1e-12, nan_ok=True)


def test_chains_of_several_codes_by_hand():
    """
    Clips (0,2) (1,3) (0,2) (1,2), two ids a code. Of 4 clips 2 begin with 0, and both go on with 2: the frequency of
    (0,2) is (2+1)/(4+2) · (2+1)/(2+2), that of (1,2) and (1,3) 3/6 · (1+1)/(2+2), of (0,3), never seen, 3/6 · 1/4. One
    clip after (0,2) came (1,3) and (1,2), once each: with strength 2 (1 + 2·2/8)/4, and for (0,3) 2/8/4.
    """
    chain = MarkovChain(coded([(0, 2), (1, 3), (0, 2), (1, 2)]), 1, (2, 2), strengths=(2.0, 1.0))
    assert chain.clips == [(0, 2), (1, 2), (1, 3)]
    assert chain.probabilities([(0, 2)], 0) == pytest.approx([3 / 8, 2 / 8, 2 / 8])
    assert chain.probabilities([(0, 2)], 1) == pytest.approx([2 * 3 / 8 / 4, 1.5 / 4, 1.5 / 4])
    assert chain.probability((0, 3), [(0, 2)], 0) == pytest.approx(1 / 8)
    assert chain.probability((0, 3), [(0, 2)], 1) == pytest.approx(2 / 8 / 4)


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(3, 6)), min_size=1, max_size=9), max_size=4))
@settings(max_examples=40, deadline=None)
def test_chains_of_several_codes_are_distributions(videos):
    """All clips that there could be sum to 1, seen or not; one by one they are what they are together."""
    chain = MarkovChain(coded(*videos), 1, (3, 4), strengths=(0.3, 30.0))
    for order in range(3):
        context = [(1, 4), (0, 3)]
        clips = itertools.product(range(3), range(3, 7))
        found = {clip: chain.probability(clip, context, order) for clip in clips}
        assert sum(found.values()) == pytest.approx(1) and min(found.values()) > 0
        assert chain.probabilities(context, order) == pytest.approx([found[clip] for clip in chain.clips])


def test_the_top_level_and_the_choices_of_several_codes():
    """The top level is that of the first code; of a path no level has more choices than branches."""
    residual = SimpleNamespace(config=SimpleNamespace(levels=2, branches=3), code_sizes=(9, 9))
    paths = SimpleNamespace(config=SimpleNamespace(levels=2, branches=3, levels_as_tokens=True), code_sizes=(3, 9))
    flat = SimpleNamespace(config=SimpleNamespace(levels=1, branches=3), code_sizes=(3, 3))
    assert [top_branch(one) for one in (residual, paths, flat)] == [3, 1, 1]
    assert [code_choices(one.code_sizes) for one in (residual, paths, flat)] == [(9, 9), (3, 3), (3, 3)]
    # Of neither kind, and of one code.
    assert [code_choices(sizes) for sizes in ((4, 10), (4, 8, 16), (9,))] == [(4, 10), (4, 8, 16), (9,)]


def test_ranks_among_named_clips():
    """A tie is no hit, nor is a clip that was not named, nor one whose score is no number."""
    scores = torch.tensor([[0.9, 0.5, 0.5], [0.9, 0.5, 0.5], [0.9, 0.5, 0.1], [torch.nan] * 3])
    right = torch.tensor([[True, False, False], [False, True, False], [False] * 3, [True, False, False]])
    assert rank_named(scores, right).tolist() == [1, 3, torch.inf, 3]


@torch.no_grad()
def test_the_model_is_judged_by_all_clips(processor, model):
    """Each of the 16 clips is scored by itself; from these the ranks, the likelihoods and the first codes."""
    rng = np.random.default_rng(0)
    rows = coded(*(list(zip(rng.integers(0, 4, n), rng.integers(4, 8, n), strict=True)) for n in (9, 4, 5)))
    for one in rows:
        one["visual_ids"] = [int(visual_id) for visual_id in one["visual_ids"]]
    results = evaluate_forecasting(model, processor, rows, rows, horizons=(1, 3), batch_size=4)
    every = torch.tensor([*itertools.product(range(4), range(4, 8))])
    for horizon in (1, 3):
        judged = []
        for place in forecast_places(rows, horizon):
            inputs = forecast_inputs(processor, [join_clips(place.context)], 3, model.config)
            asked = [score_clips(model, inputs, (horizon, 3), (4, 4), clip.expand(1, 2, 2)) for clip in every]
            scores = torch.stack([clip[0, 0] for _, clip in asked])
            codes, truth = asked[0][0][0, 0], place.coming[horizon - 1]
            assert scores.exp().sum() == pytest.approx(1, abs=1e-5) and codes.exp().sum() == pytest.approx(1, abs=1e-5)
            own = scores[every.tolist().index(list(truth))]
            rank = int((scores >= own).sum())
            judged.append([rank == 1, rank <= 5, int(codes.argmax()) == truth[0], float(own)])
        assert figures_of(results[horizon]["model"]) == pytest.approx(np.mean(judged, axis=0), rel=1e-4)
        assert results[horizon]["places"] == len(judged)


def test_what_training_never_showed(processor, model):
    """A control does not name it, though it holds it for possible; but the last clip can be seen again."""
    train, rows = coded([(0, 4), (1, 5), (0, 4), (1, 5)]), coded([(0, 4), (2, 6), (2, 6)])
    [result] = evaluate_forecasting(model, processor, train, rows, horizons=(1,)).values()
    assert result["copy_last"]["top1"] == result["copy_last"]["branch_top1"] == 1
    assert result["copy_last"]["log_likelihood"] == 0
    for name in CHAINS:
        assert result[name]["top5"] == 0 and result[name]["log_likelihood"] is not None
    # (0 + 1) / (4 + 4) for the first code, 1 / 4 for the second.
    assert result["unigram"]["log_likelihood"] == pytest.approx(np.log(1 / 32))


def test_controls_of_few_clips():
    """A copy that is wrong is no hit, however few clips training shows. Of the first codes all counts, also what falls
    to clips that it never shows: 20 of 36 clips begin with 0, and where 0 comes that is right."""
    train, videos = coded([(0, 4)] * 6), coded([(0, 4), (1, 5), (2, 6), (3, 7)])
    [result] = evaluate_forecasting(model_of(8), processor_of(residual_codes=2), train, videos, horizons=(1,)).values()
    assert [result["copy_last"][figure] for figure in ("top1", "top5", "branch_top1")] == [0, 0, 0]
    train = coded([(0, 32)] * 20 + [(1, 32 + code) for code in range(16)])
    chain = MarkovChain(train, 1, (32, 32))
    found = chain.first_probabilities([(0, 32)], 0, chain.unigram)
    assert found[:3] == pytest.approx([21 / 68, 17 / 68, 1 / 68]) and found.sum() == pytest.approx(1)
    for order in (1, 2):
        context = [(1, 33), (0, 32)]
        assert chain.first_probabilities(context, order, chain.probabilities(context, order)).sum() == pytest.approx(1)


class Written(torch.nn.Module):
    """A network whose forecast is a table of what comes after each token: eight first codes are about as likely; after
    the last of them there is one second code, after the others all are as likely."""

    def __init__(self, config):
        super().__init__()
        self.config, self.device = config, torch.device("cpu")
        first = config.visual_token_offset
        table = torch.zeros(first + 64, first + 64)
        table[:, first : first + 32] = torch.tensor([0.12] * 7 + [0.1] + [0.06 / 24] * 24).log()
        table[first + 7, first + 37] = 40.0
        self.table = torch.nn.Parameter(table)

    def base_model(self, input_ids, **_):
        return SimpleNamespace(last_hidden_state=input_ids.roll(1, 1))

    def cloze_head(self, states):
        return self.table[states]


def test_the_likeliest_clip_is_named_whatever_is_asked_for():
    """Its first code is the eighth: how many clips are named, and whether a text is, changes none of them."""
    processor, model = processor_of(1, 32, residual_codes=2), Written(model_of(64).config)
    for top_k in (1, 5, 20):
        [told] = forecast(model, processor, [3, 40, 9, 50], (1,), top_k)
        assert told["visual_ids"][0] == [7, 37] and told["scores"][0] == pytest.approx(0.1)
    rows = coded([(7, 37)] * 10)
    [result] = evaluate_forecasting(model, processor, rows, rows, horizons=(1,)).values()
    assert result["model"]["top1"] == 1 and result["model"]["log_likelihood"] == pytest.approx(np.log(0.1))


def test_paths_down_a_tree_are_judged():
    """Where codes are levels, the first is the top level, and a path that is no path is never one of training's."""
    processor = processor_of(2, 2, levels_as_tokens=True)
    rows = coded([(0, 2), (1, 5), (0, 3), (1, 4)] * 3, [(1, 4), (0, 2), (1, 5)])
    [result] = evaluate_forecasting(model_of(6), processor, rows, rows, horizons=(2,)).values()
    assert result["markov2"]["branch_top1"] >= result["markov2"]["top1"] > 0
    assert np.isfinite(result["model"]["log_likelihood"])


@torch.no_grad()
def test_only_paths_are_named():
    """Of codes that are levels the ids behind a code are its children: all paths together are certain, with a beam too
    wide nothing else is named, and strips are of paths alone."""
    processor, model, sizes = processor_of(2, 3, levels_as_tokens=True), model_of(12), (3, 9)
    inputs = forecast_inputs(processor, [[0, 3, 2, 11]], 2, model.config)
    scores, named = likely_clips(model, inputs, (1, 2), sizes, 100)
    paths = [[top, 3 + 3 * top + child] for top in range(3) for child in range(3)]
    for horizon in range(2):
        assert sorted(named[0, horizon].tolist()) == paths
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(1, 2))
    _, again = score_clips(model, inputs, (1, 2), sizes, named[:, :, 4])
    torch.testing.assert_close(again, scores[..., 4])
    for guidance in (0.0, 2.0):
        (strip,) = imagine_clips(model, processor, ["cut it."], num_clips=6, guidance=guidance)
        assert all(clip in paths for clip in map(list, zip(strip[::2], strip[1::2], strict=True)))


@torch.no_grad()
def test_beginnings_are_read_in_batches(processor, model, monkeypatch):
    """However many clips are looked for, a forward pass has its bound; what is found is the same."""
    context, horizons = [[0, 5, 3, 6, 1, 4], [2, 7]], (1, 2, 4)
    inputs = forecast_inputs(processor, context, 4, model.config)
    wide, named = likely_clips(model, inputs, horizons, (4, 4), 4)
    sizes = []
    hook = model.base_model.register_forward_hook(lambda module, given, found: sizes.append(len(found[0])))
    monkeypatch.setattr("processing.forecasting_videobert.BEGUN_CLIPS", 5)
    narrow, same = likely_clips(model, inputs, horizons, (4, 4), 4)
    hook.remove()
    assert sizes == [2, *[5] * 4, 4]  # 2 videos, then 2 · 3 · 4 beginnings
    assert torch.equal(named, same)
    torch.testing.assert_close(wide, narrow)
    codes, scores = score_clips(model, inputs, horizons, (4, 4), named[:, :, 0])
    torch.testing.assert_close(scores, wide[..., 0])


def test_clusters_of_several_codes_by_hand():
    """(1,9) is shown when something is cut; (1,8), which training never shows, is taken for what begins with 1."""
    step = {"video_id": "a", "tokens_per_clip": 2, "verb": "cut", "object": "lemon"}
    steps = [
        step | {"visual_ids": [1, 9, 1, 9, 2, 9]},
        step | {"visual_ids": [1, 7, 2, 8], "verb": "peel"},
        step | {"visual_ids": [2, 8], "verb": "peel", "object": "onion"},
    ]
    clusters = name_clusters(steps)
    assert clusters[1, 9] == {"verb": "cut", "object": "lemon"} == clusters[(1,)]
    assert clusters[1, 7] == {"verb": "peel", "object": "lemon"}
    assert clusters[(2,)]["verb"] == clusters[2, 8]["verb"] == "peel"
    assert score_strip([(1, 8)], steps[0], clusters) == [1, 1, 1, 0]
    assert score_strip([(1, 7), (3, 9)], steps[1], clusters) == [1, 1, 1, 0.5]
    assert score_strip([(3, 9)], steps[0], clusters) == [0, 0, 0, 0]


def test_strips_of_codes_that_say_the_same(model):
    """The second code follows from the first: what needs no network scores as with one code."""
    twice = [
        one | {"visual_ids": [i for v in one["visual_ids"] for i in (v, 64 + v % 4)], "tokens_per_clip": 2}
        for one in ROWS
    ]
    processor = tiny_processor()
    processor.add_codebook(SimpleNamespace(code_sizes=(64, 4), codebook_size=68, fingerprint="a", centroids=None))
    results = evaluate_storyboard(model_of(68), processor, told_steps(twice[:6], TRUTH), told_steps(twice[6:], TRUTH))
    for way in ("nearest", "random", "true"):
        assert tuple(results[way][score] for score in SCORES) == STRIPS_BEFORE[way]
