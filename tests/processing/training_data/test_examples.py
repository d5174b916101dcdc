"""What the training examples are made of: regimes, joining, subsampling, and pairs with a false video."""

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, cooking_rows, row, tiny_tokenizer
from torch.utils.data import DataLoader

from processing.training_data import AlignmentPairs, SegmentDataset
from processing.training_data.pairs import FAR_CLIPS, likeness

CLS, SEP, JOIN = 4, 5, 1
BOTH = {"video_text": 1.0}
NO_PAIRS = AlignmentPairs(share=0)


def dataset(rows, **options):
    return SegmentDataset(rows, tiny_tokenizer(), **options)


def examples_of(data, epochs=1):
    """All examples of some epochs, one after the other."""
    for epoch in range(epochs):
        data.set_epoch(epoch)
        for index in range(len(data)):
            yield from data[index]


def words_of(example):
    pairs = zip(example["input_ids"], example["token_type_ids"], strict=True)
    return [token for token, kind in pairs if kind == 0 and token not in (CLS, SEP, JOIN)]


def video_of(example):
    pairs = zip(example["input_ids"], example["token_type_ids"], strict=True)
    return [token - OFFSET for token, kind in pairs if kind == 1]


def test_same_examples_for_any_number_of_workers_and_after_resuming():
    """The examples of an epoch depend on seed, epoch and index alone; another epoch draws others."""
    rows = datasets.Dataset.from_list(cooking_rows())
    data = dataset(rows, seed=7)
    data.set_epoch(3)
    alone = [data[index] for index in range(len(data))]
    assert {len(item) for item in alone} == {1, 2}

    fresh = dataset(rows, seed=7)
    # `list` keeps items as they are.
    loader = DataLoader(fresh, batch_size=None, num_workers=2, persistent_workers=True, collate_fn=list)
    first_epoch = list(loader)
    fresh.set_epoch(3)
    assert list(loader) == alone
    assert first_epoch != alone
    # Reading one example changes no other.
    assert data[5] == alone[5] and data[-1] == alone[-1]


def test_alignment_is_asked_when_it_is_switched_on():
    """Cloze first: until then the same segments ask the cloze, in running workers too."""
    data = dataset(cooking_rows(), mixture=BOTH, pairs=AlignmentPairs(share=1))
    loader = DataLoader(data, batch_size=None, num_workers=1, persistent_workers=True)
    data.set_alignment(False)
    before = list(loader)
    data.set_alignment(True)
    after = list(loader)
    assert [[one["alignment_label"] for one in item] for item in before] == [[-100]] * len(data)
    assert [[one["alignment_label"] for one in item] for item in after] == [[1, 0]] * len(data)
    assert [item[0]["input_ids"] for item in before] == [item[0]["input_ids"] for item in after]


def test_regimes_follow_the_mixture():
    """Each regime shows what its name says, in the wanted shares (1,600 draws: 4 standard errors are 0.05)."""
    data = dataset(cooking_rows(), mixture={"text": 1, "video": 1, "video_text": 2}, pairs=NO_PAIRS, seed=1)
    counts = {"text": 0, "video": 0, "video_text": 0}
    for example in examples_of(data, epochs=50):
        regime = {(True, False): "text", (False, True): "video", (True, True): "video_text"}[
            bool(words_of(example)), bool(video_of(example))
        ]
        counts[regime] += 1
        assert (JOIN in example["input_ids"]) == (regime == "video_text")
        assert example["alignment_label"] == -100 and example["masked"]
    assert np.allclose([counts["text"] / 1600, counts["video"] / 1600], 0.25, atol=0.05)


def test_sentences_are_joined():
    """One to three neighbours in a row; joined ones bring the clips between them; silence is not joined."""
    sentences = [("cut", 0.0, 3.0), ("peel", 6.0, 9.0), ("stir", 12.0, 15.0), ("wash", 18.0, 21.0)]
    data = dataset([row("a", sentences, 14)], mixture=BOTH, pairs=NO_PAIRS, max_step=1)
    cut, peel, stir = tiny_tokenizer()("cut peel stir", add_special_tokens=False)["input_ids"]
    seen = set()
    for epoch in range(30):
        data.set_epoch(epoch)
        (example,) = data[0]
        seen.add((tuple(words_of(example)), tuple(video_of(example))))
    assert seen == {
        ((cut,), (0, 1)),
        ((cut, peel), (0, 1, 2, 3, 4, 5)),
        ((cut, peel, stir), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
    }
    apart = dataset([row("a", [("cut", 0.0, 3.0), ("peel", 30.0, 33.0)], 30)], mixture={"text": 1})
    for epoch in range(10):
        apart.set_epoch(epoch)
        assert words_of(apart[0][0]) == [cut]


def test_joining_stops_at_the_length_limit():
    """Sentences are joined only while everything fits; nothing joined is cut off again."""
    rows = [row("a", [("cut the carrot", 3.0 * step, 3.0 * step + 3) for step in range(6)], 12)]
    data = dataset(rows, mixture=BOTH, pairs=NO_PAIRS, max_length=13, max_step=1)
    for epoch in range(20):
        data.set_epoch(epoch)
        (example,) = data[0]
        assert (len(words_of(example)), len(video_of(example))) in {(3, 2), (6, 4)}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40))
def test_subsampling_never_destroys_a_segment(num_clips):
    """Steps of 1 to 5, yet four tokens remain where there were four, and all where there were fewer."""
    data = dataset([row("a", [], num_clips)], mixture={"video": 1}, silence_tokens=num_clips)
    steps = set()
    for example in examples_of(data, epochs=40):
        video = video_of(example)
        assert len(video) >= min(num_clips, 4)
        steps |= set(np.diff(video).tolist())
    assert steps <= set(range(1, 6))
    if num_clips >= 20:
        assert steps == {1, 2, 3, 4, 5}


# --- pairs for the alignment objective -------------------------------------------------------------------------------


def draw_pairs(rows, epochs=40, same_video_share=0.5, candidates=1, **options):
    """(true example, false example) of every text, where a false video is found."""
    pairs = AlignmentPairs(share=1, same_video_share=same_video_share, candidates=candidates)
    data = dataset(rows, mixture=BOTH, pairs=pairs, **options)
    for epoch in range(epochs):
        data.set_epoch(epoch)
        yield from (item for item in (data[index] for index in range(len(data))) if len(item) == 2)


def test_fault_misaligned_pairs_that_are_aligned():
    """
    Earlier implementations paired a text with its own video and called it misaligned. Here every clip has an id that
    names its video and place, so that the donor can be seen: never the true place, nor near it, nor the same words.
    """
    sentences = [("cut", 0.0, 6.0), ("stir", 6.0, 12.0)]
    rows = [row(f"v{number}", sentences, 8, first_id=8 * number) for number in range(4)]
    cut, stir = tiny_tokenizer()("cut stir", add_special_tokens=False)["input_ids"]
    count = 0
    for true, false in draw_pairs(rows, max_joined=1, max_step=1):
        assert (true["alignment_label"], false["alignment_label"]) == (1, 0)
        own_video, own_step = divmod(true["seed"][2], 2)
        assert words_of(true) == words_of(false) == [[cut], [stir]][own_step]
        assert video_of(true) == list(range(8 * own_video + 4 * own_step, 8 * own_video + 4 * own_step + 4))
        video, place = divmod(video_of(false)[0], 8)
        assert video != own_video
        # Where the other words are spoken: "cut" gets the video of a "stir".
        assert place // 4 != own_step
        count += 1
    assert count == 40 * 8


def test_twins_are_shown_whole():
    """A text stands beside its true and its false video, unmasked: only comparing them can tell which is which."""
    for true, false in draw_pairs(cooking_rows(), epochs=2):
        assert not true["masked"] and not false["masked"] and true["seed"] == false["seed"]
        assert words_of(true) == words_of(false) and video_of(true) != video_of(false)


def test_false_videos_of_the_same_video_lie_far_away():
    """With a single long video the other place lies in it, at least FAR_CLIPS away on either side."""
    rows = [row("a", [(word, 24.0 * n, 24.0 * n + 6) for n, word in enumerate(["cut", "stir", "peel", "wash"])], 64)]
    starts = set()
    for true, false in draw_pairs(rows, max_joined=1, max_step=1):
        own = 16 * true["seed"][2]
        starts.add(video_of(false)[0])
        assert all(clip + FAR_CLIPS < own or clip >= own + 4 + FAR_CLIPS for clip in video_of(false))
    assert starts == {0, 16, 32, 48}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_false_videos_from_the_same_video(share):
    """By share another place of the same video or another video (640 draws: 4 standard errors are 0.07); 0 and 1 allow
    one kind only."""
    sentences = [("cut", 0.0, 6.0), ("stir", 30.0, 36.0), ("peel", 60.0, 66.0)]
    rows = [row(f"v{number}", sentences, 48) for number in range(4)]
    for number, one in enumerate(rows):
        one["visual_ids"] = [number * 16 + clip // 3 for clip in range(48)]
    same = [
        video_of(true)[0] // 16 == video_of(false)[0] // 16 for true, false in draw_pairs(rows, same_video_share=share)
    ]
    assert abs(np.mean(same) - share) < (0.07 if share == 0.25 else 1e-9)


def test_a_hard_false_video_is_the_most_alike():
    """Of several candidates the one that shares most visual ids; {1, 2, 3} and {3, 4} have a quarter in common."""
    assert likeness([1, 2, 3, 3], [3, 4]) == 0.25
    rows = [row(word, [(word, 0.0, 6.0)], 4) for word in ("cut", "peel", "wash", "stir")]
    for one, ids in zip(rows, ([1, 2, 3, 4], [1, 2, 3, 9], [20, 21, 22, 23], [30, 31, 32, 33]), strict=True):
        one["visual_ids"] = ids
    found = {
        tuple(video_of(false)) for true, false in draw_pairs(rows, candidates=9) if video_of(true) == [1, 2, 3, 4]
    }
    assert found == {(1, 2, 3, 9)}


def test_pairs_never_have_identical_visual_ids():
    """Two places that look alike to the codebook are no negative, even in different videos."""
    # Different words, so that nothing but the visual ids can tell that these places are no negatives.
    same = [row(word, [(word, 0.0, 6.0)], 4) for word in ("cut", "peel", "wash", "show", "good")]
    rows = [*same, row("other", [("stir", 0.0, 6.0)], 4, first_id=20)]
    pairs = list(draw_pairs(rows))
    assert len(pairs) == 40 * 6
    for true, false in pairs:
        assert video_of(false) == ([20, 21, 22, 23] if true["seed"][2] < 5 else [0, 1, 2, 3])


def test_false_videos_are_as_long_as_true_ones():
    """If the number of visual tokens told the two apart, alignment could be learned without looking."""
    for true, false in draw_pairs(cooking_rows(), epochs=20, max_step=1):
        assert len(video_of(true)) == len(video_of(false)) == 8 * words_of(true).count(tiny_tokenizer().vocab["now"])


def test_pairs_as_masked_single_examples():
    """Today's other way stays reachable, for comparison: each text with one video, masked, half of them false."""
    pairs = AlignmentPairs(share=1, twins=False, masked=True)
    examples = list(examples_of(dataset(cooking_rows(), mixture=BOTH, pairs=pairs), epochs=20))
    assert len(examples) == 20 * 32 and all(example["masked"] for example in examples)
    assert abs(np.mean([example["alignment_label"] for example in examples]) - 0.5) < 0.08


def test_no_other_place_is_said_or_skipped():
    """A corpus of one place is refused; a text without another place asks the cloze."""
    with pytest.raises(ValueError, match="two places"):
        dataset([row("a", [("cut", 0.0, 6.0)], 4)])
    rows = [row("a", [("cut", 0.0, 6.0)], 4), row("b", [("cut", 0.0, 6.0)], 4, 8)]
    data = dataset(rows, mixture=BOTH, pairs=AlignmentPairs(share=1))
    assert {(example["alignment_label"], example["masked"]) for example in examples_of(data)} == {(-100, True)}


STOP = tiny_tokenizer().convert_tokens_to_ids(".")


def test_fault_the_last_mask_is_a_full_stop():
    """Every recognised sentence ends in a stop, so a model said "." to any mask at the end. A share of the texts now
    ends in a word, joined ones too, whose inner stops stay; all else that is drawn stays as it is without."""
    rows, options = cooking_rows(), {"mixture": BOTH, "max_joined": 3, "seed": 5}
    kept = list(examples_of(dataset(rows, bare_share=0.0, **options), epochs=6))
    some = list(examples_of(dataset(rows, **options), epochs=6))
    bare = list(examples_of(dataset(rows, bare_share=1.0, **options), epochs=6))
    assert all(words_of(example)[-1] == STOP for example in kept)
    assert [words_of(example)[:-1] for example in kept] == [words_of(example) for example in bare]
    assert any(STOP in words_of(example) for example in bare)
    for example, original in zip(some, kept, strict=True):
        assert words_of(example) in (words_of(original), words_of(original)[:-1])
        assert video_of(example) == video_of(original)
        assert all(example[name] == original[name] for name in ("alignment_label", "masked", "seed"))
    share = np.mean([words_of(example)[-1] != STOP for example in some])
    assert abs(share - 0.3) < 0.1


def test_texts_of_stops_alone_stay():
    """Nothing would be left of them."""
    data = dataset([row("a", [("...", 0, 9)], 8)], mixture={"text": 1.0}, pairs=NO_PAIRS, bare_share=1.0)
    assert [words_of(example) for example in examples_of(data)] == [[STOP] * 3]
    with pytest.raises(ValueError, match="bare_share is 1.5; allowed is 0 to 1"):
        dataset(cooking_rows(), bare_share=1.5)


def test_bad_rows_and_options():
    """Rows with an error give no example; impossible options are named."""
    rows = [row("a", [("cut", 0.0, 3.0)], 4), row("b", [], 0, error="broken"), row("c", [], 3, 9)]
    assert len(dataset(rows)) == 2
    with pytest.raises(ValueError, match="no example"):
        dataset(rows[1:2])
    with pytest.raises(ValueError, match="mixture is {'vidoe': 1}"):
        dataset(rows, mixture={"vidoe": 1})
    assert len(dataset(rows, mixture={"text": 1})) == 1
    assert all(0 <= token < CODEBOOK_SIZE for token in video_of(dataset(rows, mixture={"video": 1})[1][0]))
    with pytest.raises(ValueError, match="share of the alignment pairs is 1.5; allowed is 0 to 1"):
        AlignmentPairs(share=1.5)
    with pytest.raises(ValueError, match="candidates of the alignment pairs is 0"):
        AlignmentPairs(candidates=0)
