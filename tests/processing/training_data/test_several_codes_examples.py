"""Protects rows with several visual ids a clip on their way to batches: times, whole clips, and what is hidden."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rows import OFFSET, cooking_rows, row, tiny_text_tokenizer, tiny_tokenizer

from processing.codes_videobert import ids_of_clips, num_clips
from processing.corpus.counts import count_rows
from processing.evaluation.truth import step_segments
from processing.search.moments import row_moments
from processing.sequence_videobert import joint_sequence, joint_tokenizer
from processing.training_data import AlignmentPairs, FutureDataset, SegmentDataset, VideoBertDataCollator, row_segments

EACH, FIRST = 2, 64  # the second code of visual id i is FIRST + i % 16


def doubled(one):
    """A row of one visual id a clip as a codebook with two codes makes it."""
    ids = [visual_id for first in one["visual_ids"] for visual_id in (first, FIRST + first % 16)]
    return {**one, "visual_ids": ids, "tokens_per_clip": EACH}


def two_codes():
    return joint_tokenizer(tiny_text_tokenizer(), FIRST + 16, (FIRST, 16))


def first_codes(ids):
    assert list(ids[1::EACH]) == [FIRST + one % 16 for one in ids[::EACH]], "a clip is torn"
    return list(ids[::EACH])


def visual_ids(example):
    return [token - OFFSET for token in example["input_ids"] if token >= OFFSET]


def test_times_are_those_of_clips():
    """Segments, steps, moments and counts of two codes a clip are those of one, with both codes of every clip."""
    single = row("v", [("cut it.", 1.0, 4.4), ("stir it.", 40.0, 44.0)], 40)
    both = doubled(single)
    assert num_clips(both) == 40 and ids_of_clips(both, range(2, 7, 3)) == [2, 66, 5, 69]
    assert count_rows([both])["clips"] == count_rows([single])["clips"] == 40
    # The middles of clips 1 and 2, 2.25 and 3.75 s, lie in the first sentence.
    assert row_segments(both)[0].visual_ids == (1, 65, 2, 66)
    for cut in (row_segments, row_moments):
        for one, other in zip(cut(single), cut(both), strict=True):
            one, other = (part if isinstance(part, dict) else part._asdict() for part in (one, other))
            assert (one["start"], one["end"]) == (other["start"], other["end"])
            assert list(one["visual_ids"]) == first_codes(other["visual_ids"])
    truth = {"v": [{"verb": "cut", "object": "it", "start": 1.0, "end": 4.4}]}
    assert step_segments([both], truth)[0]["visual_ids"] == [1, 65, 2, 66]


def test_examples_are_those_of_one_code():
    """Regimes, joined sentences, steps and false videos are drawn by clip: with the same seed the same ones."""
    rows = cooking_rows()
    options = {"max_length": 200, "pairs": AlignmentPairs(share=0.5), "seed": 3}
    ones = SegmentDataset(rows, tiny_tokenizer(), **options)
    twos = SegmentDataset([doubled(one) for one in rows], two_codes(), **options)
    assert len(ones) == len(twos)
    thinned = 0
    for one, two in zip((item for n in ones.draw_epoch(0) for item in n), sum(twos.draw_epoch(0), []), strict=True):
        assert visual_ids(one) == first_codes(visual_ids(two))
        assert one["alignment_label"] == two["alignment_label"]
        thinned += 0 < len(visual_ids(one)) < 8
    assert thinned, "no example was subsampled"


@given(st.integers(0, 30), st.integers(0, 12), st.integers(2, 4), st.integers(10, 40))
def test_a_sequence_that_is_too_long_keeps_whole_clips(words, clips, each, max_length):
    """Neither modality is lost, no clip is torn, and no more room is left over than a clip needs."""
    ids, types = joint_sequence([7] * words, range(clips * each), 4, 1, 5, 100, max_length, each)
    vision, whole = sum(types), words + clips * each + 2 + (words > 0 and clips > 0)
    assert len(ids) <= max_length and vision % each == 0
    assert bool(ids.count(7)) == bool(words) and bool(vision) == bool(clips)
    assert len(ids) == whole if whole <= max_length else len(ids) > max_length - each


def test_no_room_for_a_clip_and_torn_clips_are_refused():
    with pytest.raises(ValueError, match="max_length is 6; allowed is 7 or more for words and video, 5 for one"):
        joint_sequence([7], [0, 1, 2], 4, 1, 5, 100, 6, 3)
    with pytest.raises(ValueError, match="There are 3 visual ids; a clip has 2"):
        joint_sequence([7], [0, 1, 2], 4, 1, 5, 100, None, 2)


def hidden(labels):
    """By clip which codes are asked, of a sequence [CLS] v1 … vm [SEP]."""
    return (labels[1:-1] >= 0).reshape(-1, EACH)


def test_a_clip_is_hidden_from_one_code_on():
    """Whoever asks a first code hides the second, which would give it away and is never left in its place; a second
    one is asked alone as well."""
    collator = VideoBertDataCollator(two_codes(), vision_probability=0.4)
    ids, types = joint_sequence([], doubled(row("v", [], 50))["visual_ids"], 4, 1, 5, OFFSET, None, EACH)
    kinds, replaced = [], []
    for seed in range(20):
        masked, labels = collator.mask(
            {"input_ids": ids, "token_type_ids": types, "alignment_label": -100, "masked": True, "seed": (seed,)}
        )
        kinds += map(tuple, hidden(labels).tolist())
        second = masked[1:-1].reshape(-1, EACH)[hidden(labels)[:, 0], 1]
        assert (second == collator.mask_id).all()
        assert [label for label in labels if label >= 0] == [
            one for one, label in zip(ids, labels, strict=True) if label >= 0
        ]
        changed = (masked != ids) & (masked != collator.mask_id)
        replaced += [(int(masked[place]) - OFFSET, place) for place in np.flatnonzero(changed)]
    share = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert set(share) == {(False, False), (True, True), (False, True)}
    assert abs(share[True, True] - 0.2) < 0.05 and abs(share[False, True] - 0.2) < 0.05
    # A random code is one of its kind.
    assert replaced and all((visual_id >= FIRST) == (place % EACH == 0) for visual_id, place in replaced)


def test_the_last_clips_are_hidden_but_for_the_first_codes_of_one():
    """As a forecast goes, code by code: all that comes is asked, but what one clip may show already."""
    rows = [doubled(row("v", [], 12))]
    data, collator = FutureDataset(rows, two_codes()), VideoBertDataCollator(two_codes(), vision_probability=1e-9)
    assert len(data) == 11
    shown = []
    for index in range(len(data)):
        [example] = data[index]
        coming = min(8, 11 - index)
        assert example["future"] == coming and len(example["input_ids"]) == 2 + EACH * (index + 1 + 8)
        masked, labels = collator.mask(example)
        asked = hidden(labels)
        assert not asked[: index + 1].any() and asked[index + 1 : index + 1 + coming, 1].all()
        assert not asked[index + 1 + coming :].any()
        assert (masked[labels >= 0] == collator.mask_id).all()
        shown.append(coming - asked[:, 0].sum())
    assert set(shown) == {0, 1}
