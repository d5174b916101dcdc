"""Zero-shot action classification: the figures must be those of the model, no better and no worse."""

import json

import numpy as np
import pytest
import torch
from classify_actions import main
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rows import (
    CODEBOOK_SIZE,
    OBJECTS,
    OFFSET,
    VERBS,
    cooking_rows,
    cooking_truth,
    row,
    save_rows,
    save_truth,
    tiny_processor,
    tiny_tokenizer,
)

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing.evaluation import best_words, evaluate_actions, results_table, step_segments
from processing.evaluation.actions import mask_logits
from processing.evaluation.controls import other_videos, rank_words, token_probe_ranks


def tiny_model(seed=0):
    torch.manual_seed(seed)
    config = VideoBertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        text_vocab_size=OFFSET,
        codebook_size=CODEBOOK_SIZE,
        initializer_range=0.5,
    )
    return VideoBertForPreTraining(config).eval()


class Oracle(torch.nn.Module):
    """
    Scores the words by what the visual tokens say: the best word of a mask is `order[0]`, the next `order[1]`, …

    It stands in for the two parts of a model that the evaluation uses, so that the expected figures are known.
    """

    def __init__(self, orders):
        super().__init__()
        self.orders, self.config, self.device = orders, tiny_model().config, torch.device("cpu")

    @property
    def base_model(self):
        return self._read

    def _read(self, input_ids, **kwargs):
        is_vision = input_ids >= OFFSET
        first = (input_ids * is_vision).max(dim=1).values - OFFSET
        places = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        self.says = first
        return type("Output", (), {"last_hidden_state": places[..., None].float()})

    def cloze_head(self, hidden_states):
        vocabulary = tiny_tokenizer().get_vocab()
        logits = torch.zeros(*hidden_states.shape[:2], OFFSET + CODEBOOK_SIZE)
        # Visual tokens are not asked for; that they score best must not matter.
        logits[..., OFFSET:] = 1000.0
        for number, visual_id in enumerate(self.says.tolist()):
            for mask, order in enumerate(self.orders[max(visual_id, 0)]):
                for place, word in enumerate(order):
                    logits[number, mask, vocabulary[word]] = 100.0 - place
        return logits


def segment(visual_ids, verb, thing, video_id="a"):
    return {"video_id": video_id, "visual_ids": visual_ids, "verb": verb, "object": thing}


def test_steps_get_the_clips_that_their_row_says():
    """At 3 s a clip, a step of 6 to 12 s is shown by the clips 2 and 3."""
    long_clips = {**row("a", [], 8), "clip_seconds": 3.0}
    (step,) = step_segments([long_clips], {"a": [{"verb": "cut", "object": "lemon", "start": 6.0, "end": 12.0}]})
    assert step["visual_ids"] == [2, 3]


def test_fault_dropped_best_noun():
    """An earlier evaluation removed the best noun before scoring. The best answer counts, and being best is rank 1."""
    model = Oracle({0: (["cut", "peel"], ["lemon", "onion"])})
    results = evaluate_actions(model, tiny_processor(), [segment([0], "cut", "lemon")])
    assert results["verb_top1"] == results["object_top1"] == 1.0
    assert best_words(model, tiny_processor(), [segment([0], "cut", "lemon")]) == [("cut", "lemon")]


def test_fault_second_best_token():
    """An earlier generation took the second-best token. A truth in second place is no top-1 hit, only a top-5 one."""
    model = Oracle({0: (["peel", "cut"], ["onion", "now", "the", "to", "how", "lemon"])})
    results = evaluate_actions(model, tiny_processor(), [segment([0], "cut", "lemon")])
    assert (results["verb_top1"], results["verb_top5"]) == (0.0, 1.0)
    assert (results["object_top1"], results["object_top5"]) == (0.0, 0.0)
    assert best_words(model, tiny_processor(), [segment([0], "cut", "lemon")]) == [("peel", "onion")]


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12), st.data())
def test_rank_is_the_place_in_the_sorted_list(scores, data):
    """Rank = words with a higher or equal score: ties never help, so a constant model earns nothing."""
    word = data.draw(st.integers(0, len(scores) - 1))
    rank = rank_words(torch.tensor([scores], dtype=torch.float), torch.tensor([word])).item()
    assert rank == sum(score >= scores[word] for score in scores)
    ordered = sorted(scores, reverse=True)
    assert ordered[rank - 1] == scores[word] and (rank == len(scores) or ordered[rank] < scores[word])


def test_masks_are_read_in_their_place():
    """The logits are those of the full model at the two [MASK]s, with and without video, for any batch size."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    videos = [[3, 4], [], [5], list(range(60))]
    found = torch.cat(list(mask_logits(model, tiny_processor(), videos, batch_size=3)))
    assert found.shape == (4, 2, OFFSET)
    for visual_ids, expected in zip(videos, found, strict=True):
        words = tokenizer("now let me show you how to [MASK] the [MASK].", add_special_tokens=False)["input_ids"]
        sequence = [4, *words] + ([1] if visual_ids else []) + [OFFSET + number for number in visual_ids]
        # The model has 40 positions; a longer video is cut at its end, before [SEP].
        input_ids = torch.tensor([[*sequence[:39], 5]])
        types = (input_ids >= OFFSET).long()
        logits = model(input_ids=input_ids, token_type_ids=types).logits[0, input_ids[0] == 6, :OFFSET]
        torch.testing.assert_close(expected, logits, atol=1e-4, rtol=1e-4)


def test_conditions_compare_the_same_model():
    """With a perfect reader of the video: true video right, another wrong, words alone as good as chance."""
    model = Oracle({0: (["cut"], ["lemon"]), 1: (["peel"], ["onion"]), 2: (["stir"], ["stir"])})
    segments = [segment([0], "cut", "lemon", "a"), segment([1], "peel", "onion", "b")]
    # Without vision the oracle reads visual id 0 as well: one of the two is then right.
    results = evaluate_actions(model, tiny_processor(), segments, train_segments=segments)
    assert results["verb_top1"] == 1.0 and results["verb_top1_shuffled"] == 0.0
    assert results["verb_top1_prior"] == results["verb_top1_chance"] == 0.5 and results["verb_top5_chance"] == 1.0
    assert results["verb_top1_prior_se"] == pytest.approx(np.sqrt(0.25 / 2)) and results["verb_top1_se"] == 0
    assert results["num_segments"] == 2
    table = results_table(results)
    assert "| true video | 100.0 | 100.0 | 100.0 | 100.0 |" in table and "50.0 ± 35.4" in table


def test_words_of_several_pieces_are_misses_not_omissions():
    """One mask cannot name a word of two pieces: it counts as wrong and stays in the denominator."""
    model = Oracle({0: (["cut"], ["lemon"])})
    segments = [segment([0], "cut", "lemon", "a"), segment([0], "cut good", "lemon", "b")]
    assert evaluate_actions(model, tiny_processor(), segments)["verb_top1"] == 0.5


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.integers(0, 5))
def test_shuffled_never_gives_the_own_video(video_ids, seed):
    """Every segment gets another video's tokens, each is used once; impossible orders are refused."""
    order = other_videos(video_ids, seed)
    if order is None:
        assert max(video_ids.count(one) for one in video_ids) * 2 > len(video_ids)
    else:
        assert sorted(order) == list(range(len(video_ids)))
        assert all(video_ids[place] != video_ids[other] for place, other in enumerate(order))


def test_token_probe_learns_what_the_tokens_hold():
    """Where a token names the class the probe finds it; where tokens are noise it stays near chance."""
    rng = np.random.default_rng(0)

    def steps(count, informative, name):
        return [
            segment(
                [VERBS.index(verb) if informative else 0, *rng.integers(10, 40, 3).tolist()],
                verb,
                "lemon",
                f"{name}{n}",
            )
            for n in range(count)
            for verb in VERBS
        ]

    good = token_probe_ranks(steps(15, True, "train"), steps(10, True, "test"), "verb")
    assert (good == 1).mean() > 0.9
    noise = token_probe_ranks(steps(15, False, "train"), steps(25, False, "test"), "verb")
    assert (noise == 1).mean() < 0.5
    unseen = token_probe_ranks(steps(5, True, "train"), [segment([0], "boil", "lemon")], "verb")
    assert np.isinf(unseen).all()


def test_steps_take_the_clips_whose_middle_they_hold():
    """The truth's seconds choose the clips; a step too short for any clip stays, and other videos are left out."""
    rows = [row("a", [], 6), row("unknown", [], 6)]
    truth = {
        "a": [
            {"verb": "cut", "object": "lemon", "start": 0.0, "end": 3.0},
            {"verb": "peel", "object": "onion", "start": 3.0, "end": 3.5},
        ]
    }
    segments = step_segments(rows, truth)
    assert [one["visual_ids"] for one in segments] == [[0, 1], []]
    with pytest.raises(ValueError, match="no segments"):
        evaluate_actions(tiny_model(), tiny_processor(), [])


def test_command_line(tmp_path, monkeypatch, capsys):
    """A saved model, rows and truth on disk give the table and the JSON file, and the keys have their fixed names."""
    processor = tiny_processor()
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in cooking_rows()]
    tiny_model().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    corpus, truth = save_rows(rows, tmp_path), save_truth(cooking_truth(rows), tmp_path)
    options = ["--model", tmp_path / "model", "--corpus", corpus, "--truth", truth, "--output", tmp_path / "out.json"]
    options += ["--train_corpus", corpus, "--train_truth", truth]
    monkeypatch.setattr("sys.argv", ["classify_actions.py", *map(str, options)])
    main()
    assert "| supervised on the same tokens |" in capsys.readouterr().out
    results = json.loads((tmp_path / "out.json").read_text())
    suffixes = ("", "_shuffled", "_prior", "_chance", "_token_probe")
    names = [f"{asked}_top{top}{suffix}" for asked in ("verb", "object") for top in (1, 5) for suffix in suffixes]
    assert set(results) == {"num_segments", *names, *(f"{name}_se" for name in names)}
    # Every verb and object has a token of its own in these rows, which the probe has seen.
    assert results["verb_top1_token_probe"] > 0.9 and results["object_top1_token_probe"] > 0.9
    assert results["verb_top1_chance"] == 1 / len(VERBS) and results["object_top1_chance"] == 1 / len(OBJECTS)


def test_rows_of_another_codebook_are_refused(tmp_path, monkeypatch):
    """Their visual ids mean other clips; figures of them would be about nothing."""
    tiny_model().save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    rows = save_rows([one | {"codebook": "another"} for one in cooking_rows()], tmp_path)
    truth = save_truth(cooking_truth(cooking_rows()), tmp_path)
    options = ["--model", tmp_path, "--corpus", rows, "--truth", truth]
    monkeypatch.setattr("sys.argv", ["classify_actions.py", *map(str, options)])
    with pytest.raises(ValueError, match="The rows have codebook"):
        main()


def test_a_model_that_says_nothing_earns_nothing():
    """NaN compares as neither better nor worse: a diverged model must come last, not first."""
    logits = torch.full((2, 5), torch.nan)
    assert rank_words(logits, torch.tensor([0, 3])).tolist() == [5, 5]
