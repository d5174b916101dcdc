"""What captions are worth: fair references, baselines by hand, and three modes that are not mixed up."""

import pytest
from support.tiny_rows import cooking_rows, cooking_truth, row

from processing.evaluation import caption_steps, captions_table, evaluate_captions, score_captions
from processing.evaluation.captions import nearest_captions
from processing.training_data.segments import Segment


class Overlap:
    """A metric that can be worked out by hand: the share of captions that are a reference, and how many there are."""

    def compute(self, predictions, references):
        right = [prediction in told for prediction, told in zip(predictions, references, strict=True)]
        return {"cider_d": sum(right) / len(right), "count": len(right)}


STEPS = [
    {
        "video_id": "a",
        "start": 0.0,
        "visual_ids": [1],
        "references": ["cut it.", "cut!"],
        "verb": "cut",
        "object": "it",
    },
    {"video_id": "b", "start": 0.0, "visual_ids": [2], "references": ["stir it."], "verb": "stir", "object": "it"},
    {"video_id": "a", "start": 5.0, "visual_ids": [3], "references": ["wash it."], "verb": "wash", "object": "it"},
    {"video_id": "a", "start": 2.0, "visual_ids": [4], "references": ["peel it."], "verb": "peel", "object": "it"},
]


def test_references_name_verb_and_object():
    """Chatter, sentences about another step and words inside others are none; steps that nobody names are counted."""
    sentences = [
        ("Now Cut the lemon!", 0.5, 2.0),
        ("the lemon is good.", 2.1, 3.0),
        ("let me show you how to cut the lemon.", 3.1, 7.0),
        ("wash the potato.", 20.0, 22.0),
        ("haircuts and lemons.", 30.0, 32.0),
    ]
    rows = [row("a", sentences, 30)]
    steps = [
        {"verb": "cut", "object": "lemon", "start": 0.0, "end": 6.0},
        {"verb": "peel", "object": "lemon", "start": 6.0, "end": 12.0},
        {"verb": "cut", "object": "lemon", "start": 29.0, "end": 33.0},
        {"verb": "wash", "object": "potato", "start": 33.0, "end": 40.0, "references": ["", "clean the potato."]},
    ]
    found, left_out = caption_steps(rows, {"a": steps})
    assert [step["references"] for step in found] == [
        ["Now Cut the lemon!", "let me show you how to cut the lemon."],
        ["clean the potato."],
    ]
    assert left_out == 2
    with pytest.raises(ValueError, match="There are no steps to caption: of 1 steps"):
        caption_steps(rows, {"a": steps[1:2]})


def test_references_of_made_rows():
    """Where each step is named once, each has that one reference."""
    rows = cooking_rows(3)
    found, left_out = caption_steps(rows, cooking_truth(rows))
    assert left_out == 0 and [step["references"] for step in found] == [
        [sentence["text"]] for one in rows for sentence in one["sentences"]
    ]


def test_nearest_by_hand():
    """Rare tokens count more, lengths do not, and a video of unknown tokens gets the first sentence."""
    pairs = [
        Segment("a", "common.", (1, 1, 1, 2), 0, 1),
        Segment("a", "rare.", (1, 3), 0, 1),
        Segment("b", "other.", (1, 4, 5), 0, 1),
    ]
    # Token 1 is everywhere and weighs log(3/3) = 0.
    assert nearest_captions(pairs, [[1, 1, 3], [2, 2, 2], [5, 1], [9]]) == ["rare.", "common.", "other.", "common."]


def test_modes_by_hand():
    """Micro: 3 of 4. Macro: the mean of 2 of 3 and 1 of 1. Paragraph: whole texts in the order of time."""
    captions = ["cut!", "stir it.", "wash it.", "no."]
    scores = score_captions(captions, STEPS, [Overlap()])
    assert scores["micro"] == {"cider_d": 0.75, "count": 4}
    assert scores["macro"] == {"cider_d": pytest.approx((2 / 3 + 1) / 2), "count": 2.0}
    assert scores["paragraph"] == {"cider_d": 0.5, "count": 2}
    right = score_captions(["cut it.", "stir it.", "wash it.", "peel it."], STEPS, [Overlap()], modes=["paragraph"])
    assert right == {"paragraph": {"cider_d": 1.0, "count": 2}}


def test_a_caption_without_words_is_a_full_stop():
    """Metrics refuse what is empty, and a captioner that says nothing must be scored, not stop the script."""
    seen = []

    class Seen:
        def compute(self, predictions, references):
            seen.append(predictions)
            return {"seen": 0.0}

    steps = [{"video_id": name, "references": ["cut it"], "start": 0.0} for name in "ab"]
    score_captions(["", " cut it "], steps, [Seen()])
    assert seen == [[".", "cut it"], ["."], ["cut it"], [".", "cut it"]]


def test_conditions_and_their_table():
    """Each condition has its line in each mode's table, and what is named is counted."""
    results = evaluate_captions(
        {"": ["cut it.", "stir it.", "cut it.", "peel."], "_nn": ["no."] * 4}, STEPS, [Overlap()]
    )
    assert results[""]["micro"]["names_verb"] == 0.75 and results[""]["micro"]["names_object"] == 0.75
    table = captions_table(results)
    assert table.splitlines()[0] == "| micro | cider d | count | names verb | names object |"
    assert "| captioner | 0.500 | 4.000 | 0.750 | 0.750 |" in table
    assert "| sentence of the nearest training segment | 0.000 |" in table
    assert table.count("\n\n") == 2 and "without video" not in table


def test_what_cannot_be_scored():
    with pytest.raises(ValueError, match="There are 1 captions for 4 steps"):
        score_captions(["cut it."], STEPS, [Overlap()])
    with pytest.raises(ValueError, match="The mode 'both' does not exist; allowed are micro, macro, paragraph"):
        score_captions(["cut it."] * 4, STEPS, [Overlap()], modes=["both"])
    with pytest.raises(ValueError, match="The step of b at 0.0 s has no reference"):
        score_captions(["cut it."] * 4, [*STEPS[:1], STEPS[1] | {"references": [" "]}, *STEPS[2:]], [Overlap()])
