"""What a model is asked for so that it learns to forecast: all that comes last, and nothing of it shown."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_rows import OFFSET, row, tiny_tokenizer

from processing.forecasting_videobert import CONTEXT_CLIPS, HORIZONS
from processing.sequence_videobert import joint_sequence
from processing.training_data import FutureDataset, VideoBertDataCollator

TOKENIZER = tiny_tokenizer()
CLS, SEP, MASK, ASKED = 4, 5, 6, max(HORIZONS)


def example(words, clips, index=0):
    """As a [`SegmentDataset`] gives it."""
    input_ids, token_type_ids = joint_sequence(words, clips, CLS, 1, SEP, OFFSET)
    shown = {"input_ids": input_ids, "token_type_ids": token_type_ids}
    return {**shown, "alignment_label": -100, "masked": True, "seed": (0, 0, index)}


def test_by_hand():
    """A video of three clips, cut after the second: two are shown, one is asked, seven places ask nothing."""
    data = FutureDataset([row("a", [], 3, first_id=7), row("short", [], 1)], TOKENIZER)
    assert len(data) == 2
    [one] = data[1]
    assert one["input_ids"] == [CLS, OFFSET + 7, OFFSET + 8, OFFSET + 9, *[MASK] * 7, SEP]
    assert one["token_type_ids"] == [0, *[1] * 10, 0]
    assert one["future"] == 1
    masked, labels = VideoBertDataCollator(TOKENIZER, vision_probability=1e-9).mask(one)
    assert masked.tolist() == [CLS, OFFSET + 7, OFFSET + 8, *[MASK] * 8, SEP]
    assert labels.tolist() == [*[-100] * 3, OFFSET + 9, *[-100] * 8]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=3), st.integers(0, 10**6), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_place_shows_its_past_and_hides_its_future(lengths, pick, epoch):
    """The clips to come are masks, whatever is drawn, the answers are those clips, and the past is all there."""
    rows = [row(f"v{number}", [], 1 + length, first_id=number) for number, length in enumerate(lengths)]
    data = FutureDataset(rows, TOKENIZER)
    assert len(data) == sum(lengths)
    data.set_epoch(epoch)
    places = [(one["visual_ids"], cut) for one in rows for cut in range(1, len(one["visual_ids"]))]
    index = pick % len(data)
    ids, cut = places[index]
    masked, labels = VideoBertDataCollator(TOKENIZER).mask(data[index][0])
    assert masked[-1] == SEP and (masked[-1 - ASKED : -1] == MASK).all()
    coming = [OFFSET + visual_id for visual_id in ids[cut : cut + ASKED]]
    assert labels[-1 - ASKED : -1].tolist() == coming + [-100] * (ASKED - len(coming))
    past = [OFFSET + visual_id for visual_id in ids[max(0, cut - CONTEXT_CLIPS) : cut]]
    answered = np.where(labels == -100, masked, labels)[1 : -1 - ASKED]
    assert answered.tolist() == past


def test_long_pasts_are_cut_to_what_the_model_takes():
    """The newest clips stay: what was last seen says most of what comes next."""
    [one] = FutureDataset([row("a", [], 40)], TOKENIZER, max_length=20)[29]
    assert len(one["input_ids"]) == 20
    assert one["input_ids"][1:11] == [OFFSET + clip for clip in range(20, 30)]


def test_rows_without_a_future_are_refused():
    """One clip has nothing after it."""
    with pytest.raises(ValueError, match="None of the 1 rows has 2 clips"):
        FutureDataset([row("a", [], 1)], TOKENIZER)


@given(st.integers(2, 30), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_option_hides_the_end_of_videos(clips, index):
    """With a share of 1, each video-only example ends in 1 to 8 masks that ask for all of what stood there."""
    one = example([], list(range(clips)), index)
    masking = VideoBertDataCollator(TOKENIZER, vision_probability=1e-9, future_probability=1.0)
    masked, labels = masking.mask(one)
    hidden = int((masked == MASK).sum())
    assert 1 <= hidden <= min(ASKED, clips - 1)
    assert (masked[-1 - hidden : -1] == MASK).all()
    assert labels.tolist() == [-100] * (1 + clips - hidden) + one["input_ids"][-1 - hidden : -1] + [-100]
    again, _ = masking.mask(one)
    assert again.tolist() == masked.tolist()


def test_the_option_leaves_other_examples_and_other_runs_alone():
    """Words, pairs of both, and every example without the option are masked to the bit as before."""
    examples = [example([7, 8, 9], [1, 2, 3], n) for n in range(40)] + [example([7, 8], [], n) for n in range(40)]
    videos = [example([], list(range(12)), n) for n in range(400)]
    without, with_it = (VideoBertDataCollator(TOKENIZER, future_probability=share) for share in (0.0, 0.5))
    for one in examples:
        assert all(np.array_equal(*both) for both in zip(without.mask(one), with_it.mask(one), strict=True))
    changed = sum(not np.array_equal(without.mask(one)[0], with_it.mask(one)[0]) for one in videos)
    assert 150 < changed < 230  # half of them, but for those whose last clip alone was hidden in both


def test_a_share_is_a_share():
    """One clear sentence."""
    with pytest.raises(ValueError, match="future_probability is 1.5; allowed is 0 to 1"):
        VideoBertDataCollator(TOKENIZER, future_probability=1.5)


def test_both_kinds_make_one_batch():
    """A batch may mix them; packed, the hidden places of one are no neighbours' business."""
    data = FutureDataset([row("a", [], 12)], TOKENIZER)
    batch = VideoBertDataCollator(TOKENIZER, layout="packed")([data[3], [example([7, 8], [1, 2])]])
    assert set(batch["sequence_ids"].unique().tolist()) <= {0, 1, 2}
    assert torch.equal(batch["labels"] != -100, (batch["labels"] >= 7))
