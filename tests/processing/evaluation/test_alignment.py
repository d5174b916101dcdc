"""Alignment: both scores are those of the model, and the figures say what the scores are worth."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from score_alignment import main
from sklearn.metrics import roc_auc_score
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, cooking_rows, row, save_rows, tiny_processor

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing.evaluation import alignment, alignment_table, evaluate_alignment, likelihood_gain
from processing.evaluation.alignment import GROUPS, alignment_pairs, area_under_curve, product_regression

MASK, JOIN, SEP = 6, 1, 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vocabulary = {"text_vocab_size": OFFSET, "codebook_size": CODEBOOK_SIZE}
    config = VideoBertConfig(**sizes, **vocabulary, max_position_embeddings=128, initializer_range=0.5)
    return VideoBertForPreTraining(config).eval()


@pytest.fixture(scope="module")
def pairs():
    return alignment_pairs(cooking_rows(), tiny_processor(), 0.5)


def test_curve_by_hand():
    """Of the six (true, false) pairs four are in order and one is level."""
    assert area_under_curve([3, 2, 1, 2, 0], [1, 1, 0, 0, 1]) == pytest.approx((2 + 1.5 + 0) / 6)
    assert math.isnan(area_under_curve([1, 2], [1, 1]))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40))
def test_curve_equals_scikit_learn(scored):
    """Ties and all."""
    scores, labels = map(np.array, zip(*scored, strict=True))
    if len(set(labels.tolist())) == 2:
        assert area_under_curve(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_pairs_are_whole(pairs):
    """Every clip and every word is there: subsampling and masks are for training."""
    assert len(pairs) > 0 and [one["alignment_label"] for one in pairs[:4]] == [1, 0, 1, 0]
    for true, false in zip(pairs[::2], pairs[1::2], strict=True):
        join = true["input_ids"].index(JOIN)
        assert true["input_ids"][:join] == false["input_ids"][:join] and MASK not in true["input_ids"]
        assert sum(true["token_type_ids"]) % 8 == 0  # a step of the recipe has eight clips


def test_each_kind_of_false_video_is_measured_apart():
    """A kind that does not exist has no figures, instead of those of the other kind."""
    short = [row(word, [(word, 0.0, 6.0)], 4, first_id=4 * n) for n, word in enumerate(("cut", "peel", "wash"))]
    assert alignment_pairs(short, tiny_processor(), 1.0) == []
    assert len(alignment_pairs(short, tiny_processor(), 0.0)) == 6


def test_alignment_is_what_the_model_says(model, pairs):
    """Equal to the whole model, one example at a time and without padding."""
    expected = []
    for example in pairs:
        inputs = {name: torch.tensor([example[name]]) for name in ("input_ids", "token_type_ids")}
        with torch.inference_mode():
            wrong, right = model(**inputs).alignment_logits[0].tolist()
        expected.append(right - wrong)
    assert alignment(model, tiny_processor(), pairs, batch_size=5) == pytest.approx(np.array(expected), abs=1e-5)


def test_likelihood_gain_by_definition(model, pairs):
    """Each group of words hidden in turn, with the video and without, word by word."""

    def log_likelihood(ids, types):
        total, end = 0.0, ids.index(JOIN) if JOIN in ids else len(ids) - 1
        for group in range(GROUPS):
            places = [place for place in range(1, end) if (place - 1) % GROUPS == group]
            masked = [MASK if place in places else token for place, token in enumerate(ids)]
            with torch.inference_mode():
                logits = model(torch.tensor([masked]), token_type_ids=torch.tensor([types])).logits[0, :, :OFFSET]
            total += sum(logits[place].log_softmax(0)[ids[place]].item() for place in places)
        return total

    expected = []
    for example in pairs[:6]:
        ids, types = example["input_ids"], example["token_type_ids"]
        alone = [*ids[: ids.index(JOIN)], SEP]
        expected.append(log_likelihood(ids, types) - log_likelihood(alone, [0] * len(alone)))
    assert likelihood_gain(model, tiny_processor(), pairs[:6], batch_size=4) == pytest.approx(
        np.array(expected), abs=1e-4
    )


def test_regression_learns_which_words_meet_which_tokens():
    """In the made recipes verb and thing decide every clip, so that a table of products is nearly enough."""
    known = alignment_pairs(cooking_rows(40), tiny_processor(), 0.0)
    new = alignment_pairs(cooking_rows(60)[40:], tiny_processor(), 0.0)
    labels = [example["alignment_label"] for example in new]
    assert area_under_curve(product_regression(known, new), labels) > 0.9
    assert (
        abs(area_under_curve(product_regression(known, new), np.random.default_rng(0).permutation(labels)) - 0.5) < 0.2
    )


def test_regression_of_what_training_never_showed():
    """Words and visual ids that training never saw together divided by nothing; they say nothing, all alike."""
    known = [{"input_ids": [5, 60], "token_type_ids": [0, 1], "alignment_label": label} for label in (0, 1)]
    strange = [{"input_ids": [7, 71], "token_type_ids": [0, 1]}, {"input_ids": [8, 72], "token_type_ids": [0, 1]}]
    first, second = product_regression(known, strange)
    assert first == second


def test_all_figures_are_there(model):
    """A model that knows nothing is near chance; the headline is the worse of the two kinds."""
    figures = evaluate_alignment(model, tiny_processor(), cooking_rows(12), cooking_rows(24))
    for kind in ("other_video", "same_video"):
        assert figures[f"alignment_pairs_{kind}"] > 20
        assert abs(figures[f"alignment_auc_{kind}"] - 0.5) < 0.2 and 0 <= figures[f"alignment_accuracy_{kind}"] <= 1
        assert {f"likelihood_gain_auc_{kind}", f"regression_auc_{kind}"} <= set(figures)
    assert figures["alignment_auc"] == min(figures["alignment_auc_other_video"], figures["alignment_auc_same_video"])
    quick = evaluate_alignment(model, tiny_processor(), cooking_rows(), gain=False, max_texts=5)
    assert "likelihood_gain_auc_other_video" not in quick
    assert (quick["alignment_pairs_other_video"], quick["alignment_pairs_same_video"]) == (5, 5)


def test_table_shows_what_was_measured():
    """A kind without pairs and a score that was not wanted have no cells."""
    figures = {"alignment_auc_other_video": 0.9, "alignment_accuracy_other_video": 0.8}
    assert alignment_table(figures).splitlines() == [
        "| | against other video |",
        "|---|---|",
        "| `[CLS]`, AUC | 0.900 |",
        "| `[CLS]`, right | 0.800 |",
    ]


def test_rows_without_speech_have_no_pairs(model):
    """Nothing is asked of them, and nothing is made up."""
    assert evaluate_alignment(model, tiny_processor(), [row("a", [], 20)]) == {}


def test_script_scores_a_saved_model(model, tmp_path, monkeypatch, capsys):
    """A saved model and rows on disk give the table and the JSON file."""
    processor = tiny_processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    rows = save_rows([one | {"codebook": processor.codebook.fingerprint} for one in cooking_rows()], tmp_path)
    options = ["--model", tmp_path, "--corpus", rows, "--max_length", 96, "--output", tmp_path / "out.json"]
    monkeypatch.setattr("sys.argv", ["score_alignment.py", *map(str, options)])
    main()
    assert "| the cloze's likelihood gain, AUC |" in capsys.readouterr().out
    assert 0 < json.loads((tmp_path / "out.json").read_text())["alignment_auc"] < 1
