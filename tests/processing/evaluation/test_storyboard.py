"""Clips imagined for sentences: in which order they are named, and what they are worth, by hand."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, cooking_rows, cooking_truth, row, tiny_tokenizer

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing.evaluation import evaluate_storyboard, imagine_clips, storyboard_figures, storyboard_table, told_steps
from processing.evaluation.storyboard import name_clusters, nearest_texts, score_strip

MASK = 6
PROCESSOR = SimpleNamespace(tokenizer=tiny_tokenizer())


class Painter(torch.nn.Module):
    """
    Names place p of a strip by `strip[p]` once the place before it is named, or if it is the first; otherwise, less
    surely, by 63. It stands in for the two parts of a model that the storyboard uses.
    """

    def __init__(self, strip):
        super().__init__()
        self.strip, self.config, self.device = strip, tiny_model().config, torch.device("cpu")
        self.asked = []

    @property
    def base_model(self):
        return self._read

    def _read(self, input_ids, token_type_ids, attention_mask):
        self.asked.append(input_ids[token_type_ids == 1].tolist())
        place = (token_type_ids.cumsum(dim=1) - 1) * token_type_ids
        known = input_ids.roll(1, dims=1) != MASK
        return SimpleNamespace(last_hidden_state=torch.stack([place, known.long()], dim=-1).float())

    def cloze_head(self, states):
        logits = torch.zeros(len(states), OFFSET + CODEBOOK_SIZE)
        logits[:, :OFFSET] = 1000.0  # words are not asked for
        for line, (place, known) in zip(logits, states.long().tolist(), strict=True):
            line[OFFSET + (self.strip[place] if known else 63)] = 9.0 if known else 5.0
        return logits


def tiny_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"max_position_embeddings": 40, "text_vocab_size": OFFSET, "codebook_size": CODEBOOK_SIZE}
    return VideoBertForPreTraining(VideoBertConfig(**sizes, initializer_range=0.5)).eval()


def test_iterative_unmasking_by_hand():
    """
    Four places in four rounds: after them floor(4 cos(π/8 · r)) = 3, 2, 1, 0 stay hidden. The first place is the
    surest, then the one behind it. All at once, what hangs on a neighbour cannot be right.
    """
    painter = Painter([5, 4, 3, 2])
    assert imagine_clips(painter, PROCESSOR, ["cut the lemon"], 4, rounds=4, guidance=0) == [[5, 4, 3, 2]]
    named = [[token - OFFSET if token >= OFFSET else None for token in round_] for round_ in painter.asked]
    hidden = None
    assert named == [[hidden] * 4, [5, *[hidden] * 3], [5, 4, hidden, hidden], [5, 4, 3, hidden]]
    assert imagine_clips(Painter([5, 4, 3, 2]), PROCESSOR, ["cut the lemon"], 4, 1, 0) == [[5, 63, 63, 63]]


def test_guidance_by_hand():
    """
    With words 5 is e^0.5 as likely as 6, without them e^3: the words speak for 6. Counted once more, they decide:
    2 · 0.5 − 3 is below 0.
    """

    class Talker(Painter):
        def _read(self, input_ids, token_type_ids, attention_mask):
            told = (token_type_ids == 0).sum(dim=1, keepdim=True) > 2
            return SimpleNamespace(last_hidden_state=told.expand_as(input_ids)[..., None].float())

        def cloze_head(self, states):
            logits = torch.full((len(states), OFFSET + CODEBOOK_SIZE), -9.0)
            logits[:, OFFSET + 5] = torch.where(states[:, 0] > 0, 2.0, 3.0)
            logits[:, OFFSET + 6] = torch.where(states[:, 0] > 0, 1.5, 0.0)
            return logits

    for guidance, chosen in ((0, 5), (0.1, 5), (1, 6)):
        assert imagine_clips(Talker([]), PROCESSOR, ["cut"], 1, 1, guidance) == [[chosen]]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_every_place_is_named_once(num_clips, rounds, batch_size):
    """Whatever the rounds: as many visual ids as asked for, and no text depends on its neighbours in the batch."""
    model, texts = tiny_model(), ["cut the lemon", "now let me show you how to peel the onion.", "wash"]
    strips = imagine_clips(model, PROCESSOR, texts, num_clips, rounds, batch_size=batch_size)
    assert [len(strip) for strip in strips] == [num_clips] * 3
    assert all(0 <= visual_id < CODEBOOK_SIZE for strip in strips for visual_id in strip)
    assert strips[2] == imagine_clips(model, PROCESSOR, texts[2:], num_clips, rounds)[0]


def step(verb, thing, visual_ids, text="", video_id="a"):
    return {"video_id": video_id, "verb": verb, "object": thing, "visual_ids": visual_ids, "text": text}


TRAIN = [
    step("cut", "lemon", [1, 1, 2], "now cut the lemon"),
    step("peel", "lemon", [1, 3], "we peel the lemon"),
    step("peel", "onion", [3, 4], "peel the onion"),
]


def test_clusters_and_scores_by_hand():
    """Id 1 is lemon and cut (twice of three), 3 is peel and, of lemon and onion once each, the first: lemon."""
    clusters = name_clusters(TRAIN)
    assert clusters[1] == {"verb": "cut", "object": "lemon"} and clusters[2] == clusters[1]
    assert clusters[3] == {"verb": "peel", "object": "lemon"} and clusters[4] == {"verb": "peel", "object": "onion"}
    assert score_strip([1, 9, 4], step("peel", "lemon", [1, 3]), clusters) == [1, 1, 1, 0.5]
    assert score_strip([1, 2], step("peel", "lemon", [3]), clusters) == [0, 1, 0, 0]
    assert score_strip([9, 8], step("cut", "onion", [4, 4, 1]), clusters) == [0, 0, 0, 0]


def test_nearest_texts_by_hand():
    """A word that stands in every text says little: "onion" outweighs "the", and words nobody knows count nothing."""
    others = ["cut the lemon", "peel the lemon", "peel the onion"]
    assert nearest_texts(["Cut the potato!", "the onion the the", "PEEL the lemon", "zzz"], others) == [0, 2, 1, 0]


def test_what_is_said_in_a_step():
    """A sentence belongs to the step that its middle lies in; steps without words or clips are left out."""
    sentences = [("first.", 0.0, 2.0), ("second.", 2.5, 4.5), ("third.", 9.0, 10.0)]
    truth = {"a": [{"verb": "cut", "object": "lemon", "start": s, "end": e} for s, e in ((0, 3.5), (3.5, 6), (6, 9))]}
    [only] = told_steps([row("a", sentences, 2, error="cut off")], truth)
    assert only["text"] == "first." and only["visual_ids"] == [0, 1]
    [first, second] = told_steps([row("a", sentences, 4, error="cut off")], truth)
    assert (first["text"], second["text"]) == ("first.", "second.")


def test_ways_by_hand():
    """A painter of lemon being peeled: right for the first step, half right for the second; the control reads."""
    steps = [
        step("peel", "lemon", [1, 3], "we peel the lemon now", "x"),
        step("cut", "onion", [2, 4], "cut the onion", "y"),
    ]
    results = evaluate_storyboard(Painter([1, 3]), PROCESSOR, TRAIN, steps, num_clips=2)
    assert [results["iterative"][name] for name in ("verb", "object", "pair", "exact")] == [1, 0.5, 0.5, 0.5]
    assert results["argmax"]["pair"] == 0  # [1, 63] for both: cut and lemon, each right once
    assert results["argmax"]["verb"] == results["argmax"]["object"] == 0.5
    # The second's nearest is "peel the onion" (onion is the rarer word): [3, 4].
    assert results["nearest"]["pair"] == 0.5 and results["nearest"]["object"] == 1
    assert results["iterative"]["pair_unseen"] == 0 and results["true"]["pair"] == 1
    figures = storyboard_figures(Painter([1, 3, 3, 3]), PROCESSOR, TRAIN, steps)
    assert figures["storyboard_recall"] == 0.5 and figures["storyboard_nn"] == 0.5
    assert "| nearest training text's clips | 50.0 ±" in storyboard_table(results)


def test_on_rows():
    """From rows and truth to a table, with a real network."""
    rows = cooking_rows()
    truth = cooking_truth(rows)
    results = evaluate_storyboard(
        tiny_model(), PROCESSOR, told_steps(rows[:6], truth), told_steps(rows[6:], truth), num_clips=8
    )
    assert results["true"]["pair"] == 1 and results["true"]["exact"] == 1
    assert all(0 <= results[way]["pair"] <= 1 for way in results)


def test_bad_input_is_named():
    """One clear sentence each."""
    model = tiny_model()
    with pytest.raises(ValueError, match="The text ' ' holds no words"):
        imagine_clips(model, PROCESSOR, [" "])
    with pytest.raises(ValueError, match="num_clips is 0; allowed is at least 1"):
        imagine_clips(model, PROCESSOR, ["cut"], num_clips=0)
    with pytest.raises(ValueError, match="rounds is 0"):
        imagine_clips(model, PROCESSOR, ["cut"], rounds=0)
    with pytest.raises(ValueError, match="num_clips is 50; beside 1 tokens of text the model has no room"):
        imagine_clips(model, PROCESSOR, ["cut"], num_clips=50)
    with pytest.raises(ValueError, match="There are 0 steps to imagine"):
        evaluate_storyboard(model, PROCESSOR, TRAIN, [])
    with pytest.raises(ValueError, match="There are 0 steps of training videos"):
        evaluate_storyboard(model, PROCESSOR, [], TRAIN)
