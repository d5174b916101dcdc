"""Zero-shot action classification: the figures must be those of the model, no better and no worse."""

import json
import math
from types import SimpleNamespace

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
    tiny_reader,
    tiny_tokenizer,
)

from modeling_videobert import VideoBertForPreTraining
from processing.evaluation import (
    best_words,
    evaluate_actions,
    evaluate_templates,
    read_truth,
    read_words,
    results_table,
    step_segments,
    templates_table,
)
from processing.evaluation.actions import TEMPLATE, TEMPLATES, mask_logits, rank_lists, score_lists
from processing.evaluation.controls import MISS, frequency_ranks, other_videos, rank_words, token_probe_ranks

MASK = 6  # its id in the tiny tokenizer


class Oracle(torch.nn.Module):
    """
    Scores the words by what the visual tokens say: the best word of a mask is `order[0]`, the next `order[1]`, …

    It stands in for the two parts of a model that the evaluation uses, so that the expected figures are known.
    """

    def __init__(self, orders):
        super().__init__()
        self.orders, self.config, self.device = (
            orders,
            tiny_reader(VideoBertForPreTraining).config,
            torch.device("cpu"),
        )

    @property
    def base_model(self):
        return self._read

    def _read(self, input_ids, **kwargs):
        first = ((input_ids >= OFFSET) * input_ids).max(dim=1).values - OFFSET
        place = (input_ids == MASK).cumsum(dim=1) - 1
        return SimpleNamespace(last_hidden_state=torch.stack([first[:, None].expand_as(place), place], dim=-1))

    def cloze_head(self, hidden_states):
        vocabulary = tiny_tokenizer().get_vocab()
        logits = torch.zeros(len(hidden_states), OFFSET + CODEBOOK_SIZE)
        # Visual tokens are not asked for; that they score best must not matter.
        logits[:, OFFSET:] = 1000.0
        for number, (visual_id, mask) in enumerate(hidden_states.tolist()):
            for place, word in enumerate(self.orders[max(visual_id, 0)][min(mask, 1)]):
                logits[number, vocabulary[word]] = 100.0 - place
        return logits


class Known(torch.nn.Module):
    """Says the same of every video: by number of masks in the text, for each mask the probabilities of some words."""

    def __init__(self, tables):
        super().__init__()
        self.tables, self.config, self.device = (
            tables,
            tiny_reader(VideoBertForPreTraining).config,
            torch.device("cpu"),
        )

    @property
    def base_model(self):
        return self._read

    def _read(self, input_ids, **kwargs):
        place = (input_ids == MASK).cumsum(dim=1) - 1
        masks = (place[:, -1:] + 1).expand_as(place)
        return SimpleNamespace(last_hidden_state=torch.stack([masks, place], dim=-1))

    def cloze_head(self, hidden_states):
        vocabulary = tiny_tokenizer().get_vocab()
        probabilities = torch.full((len(hidden_states), OFFSET), 1e-9)
        for number, (masks, place) in enumerate(hidden_states.tolist()):
            for word, probability in self.tables[masks][place].items():
                probabilities[number, vocabulary[word]] = probability
            probabilities[number, 0] = 1 - probabilities[number, 1:].sum()  # the rest is padding's
        return probabilities.log()


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
    """The scores are those of the full model at the two [MASK]s, with and without video, for any batch size."""
    model, tokenizer = tiny_reader(VideoBertForPreTraining), tiny_tokenizer()
    videos = [[3, 4], [], [5], list(range(60))]
    found = torch.cat(list(mask_logits(model, tiny_processor(), videos, batch_size=3)))
    assert found.shape == (4, 2, OFFSET)
    for visual_ids, expected in zip(videos, found, strict=True):
        words = tokenizer("now let me show you how to [MASK] the [MASK].", add_special_tokens=False)["input_ids"]
        sequence = [4, *words] + ([1] if visual_ids else []) + [OFFSET + number for number in visual_ids]
        # The model has 40 positions; a longer video is cut at its end, before [SEP].
        input_ids = torch.tensor([[*sequence[:39], 5]])
        types = (input_ids >= OFFSET).long()
        logits = model(input_ids=input_ids, token_type_ids=types).logits[0, input_ids[0] == MASK, :OFFSET]
        torch.testing.assert_close(expected, logits.log_softmax(dim=-1), atol=1e-4, rtol=1e-4)


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
    assert "| true video | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 |" in table and "50.0 ± 35.4" in table


# P("good" after "cut") makes the mean of "cut good" √(0.4 · 0.9) = 0.6, between those of "peel" and "cut".
TABLES = {
    2: [{"peel": 0.65, "cut": 0.3}, {"lemon": 0.5, "onion": 0.3}],
    3: [{"cut": 0.4, "peel": 0.1}, {"good": 0.9, "lemon": 0.1}, {"the": 0.2, "lemon": 0.8}],
}


def test_words_of_several_pieces_are_scored_by_the_mean_of_their_pieces():
    """Worked out by hand: each piece at its own mask of the variant with as many masks, verb and object apart."""
    lists = [["cut good", "cut", "peel"], ["lemon", "the lemon"]]
    (((_, verbs), (every, objects)),) = score_lists(Known(TABLES), tiny_processor(), [[3]], TEMPLATE, lists)
    expected = [0.6, 0.3, 0.65], [0.5, math.sqrt(0.1e-8 * 0.8)]
    # "the" at the object's first mask of the three has no probability of its own: 1e-9.
    expected[1][1] = math.sqrt(1e-9 * 0.8)
    torch.testing.assert_close(verbs.exp(), torch.tensor([expected[0]]))
    torch.testing.assert_close(objects.exp(), torch.tensor([expected[1]]), atol=1e-7, rtol=1e-3)
    assert every.shape == (1, OFFSET)


def test_long_words_compete_with_all_words():
    """A listed word of several pieces is found, and beats words of one piece, by the same scores for every truth."""
    words = [["cut good", "cut", "peel"], ["lemon", "onion"]]
    truth = [["peel", "cut good", "cut", "wash"], ["lemon", "onion", "lemon", "lemon"]]
    among_all, among = rank_lists(Known(TABLES), tiny_processor(), [[1], [2], [3], [4]], TEMPLATE, words, truth)
    assert among_all[0, :3].tolist() == [1, 2, 3] and among_all[1].tolist() == [1, 2, 1, 1]
    # "wash" is no class, and all words but three are as likely as it.
    assert among_all[0, 3] > 4 and among[0].tolist() == [1, 2, 3, MISS]
    segments = [segment([0], "cut good", "lemon", "a"), segment([0], "peel", "lemon", "b")]
    results = evaluate_actions(Known({1: [{}], **TABLES, 4: [{}] * 4}), tiny_processor(), segments)
    assert (results["verb_top1"], results["verb_top5"], results["num_multi_piece"]) == (0.5, 1.0, 1)
    assert results["multi_piece_top1"] == results["verb_top1_multi_piece"] == 0.0
    assert results["object_top1_multi_piece"] is None
    assert "| true video, words of several pieces | 0.0 | 100.0 | – | – | 0.0 |" in results_table(results)


def test_pairs_that_training_never_showed_count_by_themselves():
    """Known verb and known object, together for the first time: a share of their own, and its prior."""
    model = Oracle({0: (["cut"], ["lemon"]), 1: (["cut"], ["onion"]), 2: (["peel"], ["onion"])})
    train = [segment([0], "cut", "lemon", "t"), segment([2], "peel", "onion", "u")]
    segments = [
        segment([0], "cut", "lemon", "a"),
        segment([1], "cut", "onion", "b"),
        segment([2], "wash", "onion", "c"),
    ]
    results = evaluate_actions(model, tiny_processor(), segments, train_segments=train)
    assert results["num_unseen_pairs"] == 2
    assert results["action_top1"] == pytest.approx(2 / 3) and results["action_top1_unseen_pairs"] == 0.5
    assert (results["verb_top1_unseen_pairs"], results["object_top1_unseen_pairs"]) == (0.5, 1.0)
    # Without video the oracle says "cut the lemon".
    assert (results["verb_top1_prior_unseen_pairs"], results["object_top1_prior_unseen_pairs"]) == (0.5, 0.0)
    assert results["action_top1_chance"] == pytest.approx(1 / 6)
    assert "never seen" not in results_table(evaluate_actions(model, tiny_processor(), segments))


def test_classes_may_be_given():
    """What is not among the given classes is a miss among them; chance follows their number."""
    model = Oracle({0: (["peel", "cut"], ["lemon"])})
    segments, lists = [segment([0], "cut", "lemon")], {"verb": ["cut", "wash", "stir"]}
    results = evaluate_actions(model, tiny_processor(), segments, lists=lists)
    assert (results["verb_top1"], results["verb_top1_closed"]) == (0.0, 1.0)
    assert results["verb_top1_chance"] == pytest.approx(1 / 3)
    assert evaluate_actions(model, tiny_processor(), segments, lists={"verb": ["wash"]})["verb_top5_closed"] == 0.0
    with pytest.raises(ValueError, match="list of words is \\[\\]; allowed is a list of at least one"):
        evaluate_actions(model, tiny_processor(), segments, lists={"object": []})


def test_templates_and_their_spread():
    """Mean, range and standard deviation over the templates, by hand; each of ours asks verb and object."""
    assert len(TEMPLATES) >= 10 and all(one.count("[MASK] the [MASK]") == 1 for one in TEMPLATES)
    model = Oracle({0: (["cut"], ["lemon"])})
    segments = [segment([0], "cut", "lemon", "a"), segment([0], "peel", "lemon", "b")]
    found = evaluate_templates(model, tiny_processor(), segments, ["we [MASK] the [MASK].", "now [MASK] the [MASK]."])
    assert set(found["templates"]) == {"we [MASK] the [MASK].", "now [MASK] the [MASK]."}
    assert found["templates"]["now [MASK] the [MASK]."] == {"verb_top1": 0.5, "object_top1": 1.0, "action_top1": 0.5}
    assert (found["template_mean"], found["template_min"], found["template_max"]) == (0.5, 0.5, 0.5)
    assert found["template_spread"] == 0.0 and "0.0" in templates_table(found)
    shares = {"a": 0.2, "b": 0.6}
    figures = {"templates": {name: {"verb_top1": 0, "object_top1": 0, "action_top1": x} for name, x in shares.items()}}
    told = figures | {"template_mean": 0.4, "template_min": 0.2, "template_max": 0.6, "template_spread": 0.2}
    assert "2 templates: 40.0 on average, 20.0 to 60.0, standard deviation 20.0" in templates_table(told)
    with pytest.raises(ValueError, match="holds no \\[MASK\\]"):
        evaluate_templates(model, tiny_processor(), segments, ["now cut the lemon."])
    with pytest.raises(ValueError, match="2 lists of words for the 1 masks of 'cut the"):
        evaluate_templates(model, tiny_processor(), segments, ["cut the [MASK]."])


def test_the_commonest_class_is_always_the_best_answer():
    """Equally common classes count as better than the true one; unknown ones are missed."""
    train = [segment([0], verb, "lemon") for verb in ("cut", "cut", "peel", "stir")]
    test = [segment([0], verb, "lemon") for verb in ("cut", "peel", "wash")]
    assert frequency_ranks(train, test, "verb").tolist() == [1, 3, MISS]


@pytest.mark.parametrize(
    "start, end, named", [(9.0, 12.0, "9.0 to 12.0 s"), (-1.0, 2.0, "-1.0 to 2.0"), (3.0, 3.0, "3.0 to 3.0")]
)
def test_steps_outside_their_video_are_refused(start, end, named):
    """Such an annotation is of another video or another cut; silently it would be a step that nobody can see."""
    step = {"verb": "cut", "object": "lemon", "start": start, "end": end}
    with pytest.raises(ValueError, match=f"Step 1 of video a .cut lemon. is at {named}.*within the 9.0 s"):
        step_segments([row("a", [], 6)], {"a": [step]})


def test_a_damaged_video_keeps_its_steps():
    """A row with an error may hold less than the video has: its later steps are there and cannot be seen."""
    step = {"verb": "cut", "object": "lemon", "start": 9.0, "end": 12.0}
    (found,) = step_segments([row("a", [], 2, error="stops early")], {"a": [step]})
    assert found["visual_ids"] == []


def test_lists_and_truth_that_cannot_be_read_are_named(tmp_path):
    """One sentence with the file, and the line where there is one."""
    (tmp_path / "words").write_text("cut\n\n  cut \nslice up\n")
    assert read_words(tmp_path / "words") == ["cut", "slice up"]
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="empty holds no words"):
        read_words(tmp_path / "empty")
    (tmp_path / "latin").write_bytes("crème\n".encode("latin-1"))
    for read in (read_words, read_truth):
        with pytest.raises(ValueError, match="nowhere cannot be read: No such file or directory"):
            read(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="latin cannot be read: it is no text in UTF-8"):
            read(tmp_path / "latin")
    for line, named in (("nothing", "Line 2 .* is no step list"), ('{"video_id": "b"}', "Line 2 .* is no step list")):
        (tmp_path / "truth").write_text('{"video_id": "a", "steps": []}\n' + line)
        with pytest.raises(ValueError, match=named):
            read_truth(tmp_path / "truth")
    (tmp_path / "truth").write_text('{"video_id": "a", "steps": [{"verb": "cut", "start": 0}]}')
    with pytest.raises(ValueError, match="Line 1 .* has a step without end, object"):
        read_truth(tmp_path / "truth")


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
        evaluate_actions(tiny_reader(VideoBertForPreTraining), tiny_processor(), [])


def test_command_line(tmp_path, monkeypatch, capsys):
    """A saved model, rows and truth on disk give the table and the JSON file, and the keys have their fixed names."""
    processor = tiny_processor()
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in cooking_rows()]
    tiny_reader(VideoBertForPreTraining).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    corpus, truth = save_rows(rows, tmp_path), save_truth(cooking_truth(rows), tmp_path)
    options = ["--model", tmp_path / "model", "--corpus", corpus, "--truth", truth, "--output", tmp_path / "out.json"]
    options += ["--train_corpus", corpus]
    monkeypatch.setattr("sys.argv", ["classify_actions.py", *map(str, options)])
    main()
    printed = capsys.readouterr().out
    assert "| supervised on the same tokens |" in printed and f"deeds over {len(TEMPLATES)} templates" in printed
    results = json.loads((tmp_path / "out.json").read_text())
    suffixes = ("", "_shuffled", "_prior", "_chance", "_token_probe")
    suffixes += ("_closed", "_prior_closed", "_multi_piece", "_unseen_pairs", "_prior_unseen_pairs")
    counted = ("verb", "object", "action")
    names = [f"{one}_top{top}{suffix}" for one in counted for top in (1, 5) for suffix in suffixes]
    others = {"num_segments", "num_unseen_pairs", "num_multi_piece", "multi_piece_top1", "phrase_top1", "templates"}
    others |= {f"template_{name}" for name in ("mean", "min", "max", "spread")}
    whole = ("", "_shuffled", "_prior", "_closed", "_prior_closed", "_token_probe")
    sure = {f"{one}_top{top}{end}" for one in counted for top in (1, 5) for end in whole} & set(names)
    ends = {f"{name}_{end}" for name in sure for end in ("low", "high")}
    assert set(results) == {*others, *names, *ends, *(f"{name}_se" for name in names)}
    # Intervals are those of videos, around the share.
    assert all(results[f"{name}_low"] <= results[name] <= results[f"{name}_high"] for name in sure)
    # Every verb and object has a token of its own in these rows, which the probe has seen.
    assert results["verb_top1_token_probe"] > 0.9 and results["object_top1_token_probe"] > 0.9
    assert results["verb_top1_chance"] == 1 / len(VERBS) and results["object_top1_chance"] == 1 / len(OBJECTS)
    assert results["num_unseen_pairs"] == 0


def test_rows_of_another_codebook_are_refused(tmp_path, monkeypatch):
    """Their visual ids mean other clips; figures of them would be about nothing."""
    tiny_reader(VideoBertForPreTraining).save_pretrained(tmp_path)
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
