"""Protects naming by phrases: scores worked out by hand, ties that earn nothing, and the conditions."""

import math

import numpy as np
import pytest
import torch
from support.tiny_rows import tiny_processor

from processing.evaluation import phrases as module
from processing.evaluation.phrases import evaluate_phrases, phrase_places, phrase_scores, rank_phrases

PROCESSOR = tiny_processor()
IDS = {word: PROCESSOR.tokenizer.convert_tokens_to_ids(word) for word in ("cut", "stir", "lemon", "onion")}
SIZE = len(PROCESSOR.tokenizer.get_vocab())


def seeing(monkeypatch):
    """A model that takes visual ids 0 to 3 for: cut, stir, lemon, onion; without video stir is likelier than cut."""

    def mask_logits(model, processor, visual_ids, batch_size):
        logits = torch.full((len(visual_ids), 2, SIZE), -100.0)
        for number, ids in enumerate(visual_ids):
            logits[number, 0, IDS["cut"]], logits[number, 0, IDS["stir"]] = 0.0, math.log(3)
            logits[number, 1, IDS["lemon"]] = logits[number, 1, IDS["onion"]] = 0.0
            for visual_id in ids:
                word = list(IDS)[visual_id]
                logits[number, visual_id // 2, IDS[word]] += math.log(9)
        yield logits.log_softmax(dim=-1)

    monkeypatch.setattr(module, "mask_logits", mask_logits)


def test_scores_by_hand(monkeypatch):
    """Verb and object are probabilities at their masks; empty words do not count."""
    seeing(monkeypatch)
    names = ["cut the lemon", "stir onion", "cut"]
    scores = np.exp(phrase_scores(None, PROCESSOR, [[], [0, 3]], names))
    # Without video cut 1/4, stir 3/4, each thing 1/2; with "cut" and "onion" 9/12 and 3/12, 1/10 and 9/10.
    assert scores[:, :2] == pytest.approx(np.array([[1 / 8, 3 / 8], [9 / 12 / 10, 3 / 12 * 9 / 10]]), rel=1e-4)
    assert phrase_places(PROCESSOR, ["cut the lemon", "cut up"])[0] == ([IDS["cut"]], [IDS["lemon"]])
    with pytest.raises(ValueError, match="has no word"):
        phrase_places(PROCESSOR, [" "])


def test_ties_earn_nothing():
    scores = np.array([[1.0, 1.0, 0.0], [2.0, np.nan, 0.0]])
    assert rank_phrases(scores, np.array([0, 2])).tolist() == [2, 3]
    allowed = np.array([[True, False, True], [False, False, True]])
    assert rank_phrases(scores, np.array([0, 2]), allowed).tolist() == [1, 1]


def segment(video_id, visual_ids, sentence, task="t"):
    return {"video_id": video_id, "visual_ids": visual_ids, "sentence": sentence, "task": task}


def test_what_is_seen_is_named_and_what_others_see_is_not(monkeypatch):
    seeing(monkeypatch)
    names = {"t": ["cut the lemon", "stir the onion"], "u": ["cut the onion", "stir the lemon"]}
    segments = [
        segment("a", [0, 2], "cut the lemon"),
        segment("b", [1, 3], "stir the onion"),
        segment("c", [0, 3], "cut the onion", "u"),
        segment("d", [1, 2], "stir the lemon", "u"),
    ]
    figures = evaluate_phrases(None, PROCESSOR, segments, names, segments)
    assert figures["num_segments"] == figures["num_phrases"] == 4
    assert figures["step_top1"] == figures["own_task_top1"] == figures["step_top5"] == 1.0
    assert figures["step_top1_shuffled"] < 1.0
    # The likeliest without video is "stir the …", of which two are equally likely: so nobody is first.
    assert figures["step_top1_prior"] == 0.0 and figures["own_task_top1_prior"] == 0.5
    assert figures["step_top1_chance"] == 0.25 and figures["own_task_top1_chance"] == 0.5
    assert figures["step_top1_token_probe"] == 1.0 and figures["step_top1_low"] == 1.0


def test_bad_input(monkeypatch):
    seeing(monkeypatch)
    with pytest.raises(ValueError, match="no steps to name"):
        evaluate_phrases(None, PROCESSOR, [], {})
    with pytest.raises(ValueError, match="a: 'wash it' is none of the phrases of t"):
        evaluate_phrases(None, PROCESSOR, [segment("a", [], "wash it")], {"t": ["cut"]})
