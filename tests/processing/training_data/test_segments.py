"""Segments: which clips belong to which words, and what the training examples are made of."""

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, cooking_rows, row, tiny_tokenizer
from torch.utils.data import DataLoader

from processing.sequence_videobert import joint_sequence
from processing.training_data.segments import FAR_CLIPS, SegmentDataset, clips_between, row_segments, row_spans

CLS, SEP, JOIN = 4, 5, 1
BOTH = {"video_text": 1.0}


def dataset(rows, **options):
    return SegmentDataset(rows, tiny_tokenizer(), OFFSET, **options)


def words_of(example):
    pairs = zip(example["input_ids"], example["token_type_ids"], strict=True)
    return [token for token, kind in pairs if kind == 0 and token not in (CLS, SEP, JOIN)]


def video_of(example):
    pairs = zip(example["input_ids"], example["token_type_ids"], strict=True)
    return [token - OFFSET for token, kind in pairs if kind == 1]


def test_sequence_layouts():
    """Protects the three layouts and the token types, token by token."""
    arguments = dict(cls_id=CLS, join_id=JOIN, sep_id=SEP, visual_token_offset=100)
    assert joint_sequence([7, 8], [0, 3], **arguments) == ([CLS, 7, 8, JOIN, 100, 103, SEP], [0, 0, 0, 0, 1, 1, 0])
    assert joint_sequence([7, 8], [], **arguments) == ([CLS, 7, 8, SEP], [0, 0, 0, 0])
    assert joint_sequence([], [0, 3], **arguments) == ([CLS, 100, 103, SEP], [0, 1, 1, 0])


@given(st.integers(0, 40), st.integers(0, 40), st.integers(5, 50))
def test_truncation_keeps_both_modalities(num_words, num_clips, max_length):
    """A long sentence must not push out the video, nor the video the sentence; and no room is wasted."""
    ids, types = joint_sequence([7] * num_words, range(num_clips), CLS, JOIN, SEP, 100, max_length)
    words, vision = ids.count(7), sum(types)
    whole = num_words + num_clips + 2 + (num_words > 0 and num_clips > 0)
    assert len(ids) == len(types) == min(whole, max_length)
    assert bool(words) == bool(num_words) and bool(vision) == bool(num_clips)
    half = (max_length - 3) // 2
    assert words >= min(num_words, half) and vision >= min(num_clips, half)


def test_sequence_without_room_is_refused():
    """A length that cannot hold both modalities is named, not silently obeyed."""
    with pytest.raises(ValueError, match="max_length is 4"):
        joint_sequence([7], [0], CLS, JOIN, SEP, 100, 4)


def test_clip_belongs_where_its_middle_lies():
    """Middles lie at 0.75, 2.25, 3.75, …: the start is included, the end is not."""
    assert clips_between(0.0, 3.0, 1.5, 10) == (0, 2)
    assert clips_between(0.75, 2.25, 1.5, 10) == (0, 1)
    assert clips_between(0.76, 2.26, 1.5, 10) == (1, 2)
    assert clips_between(1.0, 2.0, 1.5, 10) == (1, 1)
    assert clips_between(12.0, 99.0, 1.5, 10) == (8, 10)
    assert clips_between(99.0, 120.0, 1.5, 10) == (10, 10)


def test_sentences_own_the_clips_in_their_span():
    """The paper's rule, and with `trailing_seconds` also what is shown just after, whoever speaks over it."""
    one = row("a", [("cut", 0.0, 3.0), ("stir", 6.0, 9.0)], 10)
    assert [(part.text, part.visual_ids) for part in row_segments(one)] == [("cut", (0, 1)), ("stir", (4, 5))]
    assert [part.visual_ids for part in row_segments(one, trailing_seconds=1.5)] == [(0, 1, 2), (4, 5, 6)]
    assert [part.visual_ids for part in row_segments(one, trailing_seconds=4.5)] == [(0, 1, 2, 3, 4), (4, 5, 6, 7, 8)]


def test_overlapping_sentences_share_no_clip():
    """Recognisers let sentences overlap: a clip then belongs to the one that began last, and only to it."""
    one = row("a", [("cut", 0.0, 9.0), ("stir", 3.0, 6.0)], 10)
    assert [part.visual_ids for part in row_segments(one)] == [(0, 1), (2, 3)]


def test_silence_is_cut_into_sixteens():
    """Without speech 16 tokens make a segment; a long pause in a narrated video is treated alike, a short is not."""
    sizes = [len(part.visual_ids) for part in row_segments(row("a", [], 40))]
    assert sizes == [16, 16, 8]
    pause = row("b", [("cut", 0.0, 3.0), ("stir", 33.0, 36.0), ("wash", 39.0, 42.0)], 30)
    assert [(part.text, len(part.visual_ids)) for part in row_segments(pause)] == [
        ("cut", 2),
        ("", 16),
        ("", 4),
        ("stir", 2),
        ("wash", 2),
    ]
    assert row_segments(row("c", [], 0, error="broken")) == []


times = st.floats(0, 60, allow_nan=False)


texts = st.sampled_from(["cut", " ", "stir the lemon"])


@given(st.lists(st.tuples(texts, times, times), max_size=8), st.integers(0, 40))
def test_spans_never_share_a_clip(sentences, num_clips):
    """Whatever a recogniser returns, spans stay inside the video, in order, and no clip is used twice."""
    spans = row_spans(row("a", sentences, num_clips))
    clips = [clip for span in spans for clip in range(span.first_clip, span.last_clip)]
    assert clips == sorted(set(clips)) and set(clips) <= set(range(num_clips))
    assert sorted(span.sentence for span in spans if span.sentence >= 0) == [
        number for number, (text, _, _) in enumerate(sentences) if text.strip()
    ]


def test_same_examples_for_any_number_of_workers_and_after_resuming():
    """The examples of an epoch depend on seed, epoch and index alone; another epoch draws others."""
    rows = datasets.Dataset.from_list(cooking_rows())
    data = dataset(rows, seed=7)
    data.set_epoch(3)
    alone = [data[index] for index in range(len(data))]

    fresh = dataset(rows, seed=7)
    loader = DataLoader(fresh, batch_size=None, num_workers=2, persistent_workers=True)
    first_epoch = list(loader)
    fresh.set_epoch(3)
    in_workers = list(loader)
    assert [one["input_ids"] for one in in_workers] == [one["input_ids"] for one in alone]
    assert [one["alignment_label"] for one in in_workers] == [one["alignment_label"] for one in alone]
    assert [one["input_ids"] for one in first_epoch] != [one["input_ids"] for one in alone]
    # Reading one example changes no other.
    assert data[5] == alone[5] and data[-1] == alone[-1]


def test_regimes_follow_the_mixture():
    """Each regime shows what its name says, in the wanted shares (1,600 draws: 4 standard errors are 0.05)."""
    data = dataset(cooking_rows(), mixture={"text": 1, "video": 1, "video_text": 2}, seed=1)
    counts = {"text": 0, "video": 0, "video_text": 0}
    for epoch in range(50):
        data.set_epoch(epoch)
        for example in (data[index] for index in range(len(data))):
            regime = {(True, False): "text", (False, True): "video", (True, True): "video_text"}[
                bool(words_of(example)), bool(video_of(example))
            ]
            counts[regime] += 1
            assert (JOIN in example["input_ids"]) == (regime == "video_text")
            assert (example["alignment_label"] == -100) == (regime != "video_text")
    assert np.allclose([counts["text"] / 1600, counts["video"] / 1600], 0.25, atol=0.05)


def test_sentences_are_joined():
    """One to three neighbours in a row; joined ones bring the clips between them; silence is not joined."""
    sentences = [("cut", 0.0, 3.0), ("peel", 6.0, 9.0), ("stir", 12.0, 15.0), ("wash", 18.0, 21.0)]
    data = dataset([row("a", sentences, 14)], mixture=BOTH, misaligned_probability=0, max_step=1)
    cut, peel, stir = tiny_tokenizer()("cut peel stir", add_special_tokens=False)["input_ids"]
    seen = set()
    for epoch in range(30):
        data.set_epoch(epoch)
        seen.add((tuple(words_of(data[0])), tuple(video_of(data[0]))))
    assert seen == {
        ((cut,), (0, 1)),
        ((cut, peel), (0, 1, 2, 3, 4, 5)),
        ((cut, peel, stir), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
    }
    apart = dataset([row("a", [("cut", 0.0, 3.0), ("peel", 30.0, 33.0)], 30)], mixture={"text": 1})
    for epoch in range(10):
        apart.set_epoch(epoch)
        assert words_of(apart[0]) == [cut]


def test_joining_stops_at_the_length_limit():
    """Sentences are joined only while everything fits; nothing joined is cut off again."""
    rows = [row("a", [("cut the carrot", 3.0 * step, 3.0 * step + 3) for step in range(6)], 12)]
    data = dataset(rows, mixture=BOTH, misaligned_probability=0, max_length=13, max_step=1)
    for epoch in range(20):
        data.set_epoch(epoch)
        assert (len(words_of(data[0])), len(video_of(data[0]))) in {(3, 2), (6, 4)}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40))
def test_subsampling_never_destroys_a_segment(num_clips):
    """Steps of 1 to 5, yet four tokens remain where there were four, and all where there were fewer."""
    data = dataset([row("a", [], num_clips)], mixture={"video": 1}, silence_tokens=num_clips)
    steps = set()
    for epoch in range(40):
        data.set_epoch(epoch)
        video = video_of(data[0])
        assert len(video) >= min(num_clips, 4)
        steps |= set(np.diff(video).tolist())
    assert steps <= set(range(1, 6))
    if num_clips >= 20:
        assert steps == {1, 2, 3, 4, 5}


def misaligned_examples(rows, epochs=40, **options):
    data = dataset(rows, mixture=BOTH, misaligned_probability=1.0, **options)
    for epoch in range(epochs):
        data.set_epoch(epoch)
        yield from (data[index] for index in range(len(data)))


def test_fault_misaligned_pairs_that_are_aligned():
    """
    Earlier implementations paired a text with its own video and called it misaligned. Here every clip has an id that
    names its video and place, so that the donor can be seen: never the true place, nor near it, nor the same words.
    """
    sentences = [("cut", 0.0, 6.0), ("stir", 6.0, 12.0)]
    rows = [row(f"v{number}", sentences, 8, first_id=8 * number) for number in range(4)]
    cut, stir = tiny_tokenizer()("cut stir", add_special_tokens=False)["input_ids"]
    count = 0
    for example in misaligned_examples(rows, max_joined=1, max_step=1):
        assert example["alignment_label"] == 0
        own_video, own_step = divmod(example["seed"][2], 2)
        assert words_of(example) == [[cut], [stir]][own_step]
        video, place = divmod(video_of(example)[0], 8)
        assert video != own_video
        # Where the other words are spoken: "cut" gets the video of a "stir".
        assert place // 4 != own_step
        count += 1
    assert count == 40 * 8


def test_misaligned_pairs_take_a_far_place_of_a_long_video():
    """With a single long video the other place lies in it, at least FAR_CLIPS away on either side."""
    rows = [row("a", [(word, 24.0 * n, 24.0 * n + 6) for n, word in enumerate(["cut", "stir", "peel", "wash"])], 64)]
    starts = set()
    for example in misaligned_examples(rows, max_joined=1, max_step=1):
        if example["alignment_label"] == 0:
            own = 16 * example["seed"][2]
            starts.add(video_of(example)[0])
            assert all(clip + FAR_CLIPS < own or clip >= own + 4 + FAR_CLIPS for clip in video_of(example))
    assert starts == {0, 16, 32, 48}


def test_misaligned_pairs_never_have_identical_visual_ids():
    """Two places that look alike to the codebook are no negative, even in different videos."""
    # Different words, so that nothing but the visual ids can tell that these places are no negatives.
    same = [row(word, [(word, 0.0, 6.0)], 4) for word in ("cut", "peel", "wash", "show", "good")]
    rows = [*same, row("other", [("stir", 0.0, 6.0)], 4, first_id=20)]
    for example in misaligned_examples(rows):
        own = example["seed"][2]
        assert example["alignment_label"] == 0
        assert video_of(example) == ([20, 21, 22, 23] if own < 5 else [0, 1, 2, 3])


def test_misaligned_pairs_are_as_long_as_aligned_ones():
    """If the number of visual tokens told the two apart, alignment could be learned without looking."""
    rows = cooking_rows()
    data = dataset(rows, mixture=BOTH, misaligned_probability=0.5, max_step=1)
    labels = []
    for epoch in range(20):
        data.set_epoch(epoch)
        for example in (data[index] for index in range(len(data))):
            labels.append(example["alignment_label"])
            assert len(video_of(example)) == 8 * words_of(example).count(tiny_tokenizer().vocab["now"])
    assert set(labels) == {0, 1} and abs(np.mean(labels) - 0.5) < 0.08


def test_no_other_place_is_said_or_skipped():
    """A corpus of one place is refused; a single example without another place goes without alignment label."""
    with pytest.raises(ValueError, match="two places"):
        dataset([row("a", [("cut", 0.0, 6.0)], 4)])
    rows = [row("a", [("cut", 0.0, 6.0)], 4), row("b", [("cut", 0.0, 6.0)], 4, 8)]
    assert {example["alignment_label"] for example in misaligned_examples(rows)} == {-100}


def test_bad_rows_and_options():
    """Rows with an error give no example; an impossible mixture is named."""
    rows = [row("a", [("cut", 0.0, 3.0)], 4), row("b", [], 0, error="broken"), row("c", [], 3, 9)]
    assert len(dataset(rows)) == 2
    with pytest.raises(ValueError, match="no example"):
        dataset(rows[1:2])
    with pytest.raises(ValueError, match="mixture is {'vidoe': 1}"):
        dataset(rows, mixture={"vidoe": 1})
    assert len(dataset(rows, mixture={"text": 1})) == 1
    assert all(0 <= token < CODEBOOK_SIZE for token in video_of(dataset(rows, mixture={"video": 1})[1]))
