"""Protects the answers that counting alone gives: a model that does not beat them has learned nothing."""

import numpy as np

from processing.evaluation.counting import mutual_information_ranks, nearest_transcript_ranks, spoken_words

HEARD = [
    {"text": "Now cut the egg.", "visual_ids": [1, 1, 2]},
    {"text": "Cut it.", "visual_ids": [1]},
    {"text": "Stir, please.", "visual_ids": [3]},
    {"text": "It has been raining.", "visual_ids": [3, 2]},
]


def step(verb, *visual_ids):
    return {"verb": verb, "visual_ids": list(visual_ids)}


def test_mutual_information_by_hand():
    """ "cut" is said in 2 of 4 segments, both of which show 1; "stir" in 1, which shows 3, as one other does."""
    steps = [step("cut", 1), step("stir", 3), step("stir", 1), step("cut", 2)]
    # At 2, seen twice: "cut" once where chance gives 1, log(2/2); "stir" never where chance gives 0.5, log(1/1.5).
    assert mutual_information_ranks(HEARD, steps, "verb").tolist() == [1, 1, 2, 1]


def test_a_clip_that_training_never_showed_earns_nothing():
    """All words score alike then, and what scores alike counts as better."""
    steps = [step("cut", 9), step("stir")]
    assert mutual_information_ranks(HEARD, steps, "verb").tolist() == [2, 2]


def test_nearest_transcript_by_hand():
    """The nearest segment that names a word names it first; chatter names none and is passed over."""
    steps = [step("cut", 1), step("stir", 1), step("stir", 3), step("cut", 3), step("fry", 3)]
    assert nearest_transcript_ranks(HEARD, steps, "verb").tolist() == [1, 2, 1, 2, np.inf]


def test_words_are_whole_words():
    """ "roll" is not said in "scroll"."""
    assert spoken_words("Now, scroll: Cut!") == ["now", "scroll", "cut"]
