"""Which examples come when: the same for every number of processes, and from any step on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rows import cooking_rows, tiny_tokenizer
from training.batches import StepBatches, StepShape, cut_windows, held_out_batches, make_loader

from processing.training_data import AlignmentPairs, SegmentDataset, VideoBertDataCollator

sizes = st.integers(1, 4)


def steps_of(count, batch_size, micro_batches, processes, epoch=1, first=0):
    """The examples of each step, over all processes."""
    steps = []
    for rank in range(processes):
        batches = StepBatches(range(count), StepShape(batch_size, micro_batches, processes, rank), seed=3)
        batches.start_at(epoch, first)
        own = list(batches)
        assert len(own) == len(batches) and all(0 < len(batch) <= batch_size for batch in own)
        lots = [sum(own[start : start + micro_batches], []) for start in range(0, len(own), micro_batches)]
        steps = [old + new for old, new in zip(steps or [[]] * len(lots), lots, strict=True)]
    return [sorted(step) for step in steps]


@given(count=st.integers(24, 90), batch_size=sizes, micro_batches=sizes, processes=sizes, first=st.integers(0, 1))
def test_a_step_holds_the_same_examples_however_it_is_shared_out(count, batch_size, micro_batches, processes, first):
    """Two processes, or two micro-batches, see in a step what one process sees that has room for it all; begun in the
    middle of an epoch, the rest of it comes as it would have."""
    expected = steps_of(count, batch_size * micro_batches * processes, 1, 1)
    found = steps_of(count, batch_size, micro_batches, processes)
    assert found == expected
    seen = sum(found, [])
    assert len(set(seen)) == len(seen)
    assert steps_of(count, batch_size, micro_batches, processes, first=first) == expected[first:]


def test_too_few_examples_are_named():
    with pytest.raises(ValueError, match="There are 3 examples for 4 micro-batches"):
        StepBatches(range(3), StepShape(8, 2, 2), seed=0)


@given(count=st.integers(4, 60), batch_size=st.integers(1, 9), processes=sizes)
def test_held_out_examples_come_once_each_and_in_as_many_batches_on_every_process(count, batch_size, processes):
    """Else figures would count some twice, or a process would wait for ever for one that has finished."""
    shares = [held_out_batches(count, batch_size, processes, rank) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    batches = sum(shares, [])
    assert sorted(sum(batches, [])) == list(range(count)) and all(
        0 < len(batch) <= batch_size + 1 for batch in batches
    )


def test_windows_hold_whole_steps():
    assert list(cut_windows(range(6), 2)) == [[0, 1], [2, 3], [4, 5]]


def test_grouped_batches_are_of_about_one_length_and_resume_exactly():
    """The order comes from seed and epoch alone, no example comes twice, and the batches that the collator makes of it
    hold hardly any padding, because it goes by the lengths that this epoch's examples really have."""
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), pairs=AlignmentPairs(share=0), max_length=64)
    first, second = (StepBatches(data, StepShape(4), seed=3, grouped=True) for _ in range(2))
    list(first)
    data.set_epoch(1)
    first.start_at(1, 0)
    second.start_at(1, 2)
    order = list(first)
    assert order[2:] == list(second) and sorted(sum(order, [])) == list(range(len(data)))
    second.start_at(2, 0)
    assert order != list(second)
    padding = {}
    for grouped in (True, False):
        collator = VideoBertDataCollator(tiny_tokenizer())
        batches = StepBatches(data, StepShape(4), seed=3, grouped=grouped)
        masks = [batch["attention_mask"] for batch in make_loader(data, collator, batches)]
        padding[grouped] = 1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks)
    assert padding[True] < 0.6 * padding[False]
