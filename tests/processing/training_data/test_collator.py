"""Masking and padding: what is hidden, what must be predicted, and what must not count."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, SPECIALS, cooking_rows, tiny_tokenizer
from transformers import Trainer, TrainingArguments

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing.sequence_videobert import joint_sequence
from processing.training_data import AlignmentPairs, SegmentDataset, VideoBertDataCollator
from processing.training_data.collator import first_fit

MASK, PAD = 6, 0


def collator(**options):
    return VideoBertDataCollator(tiny_tokenizer(), **options)


def item(words, vision, alignment_label=1, index=0, masked=True):
    """A segment that gives one example."""
    return [example(words, vision, alignment_label, index, masked)]


def example(words, vision, alignment_label=1, index=0, masked=True):
    input_ids, token_type_ids = joint_sequence(words, vision, 4, 1, 5, OFFSET)
    return {
        "masked": masked,
        "input_ids": input_ids,
        "token_type_ids": token_type_ids,
        "alignment_label": alignment_label,
        "seed": (0, 0, index),
    }


def many(**options):
    """4,000 sequences of 10 words and 10 visual tokens, masked."""
    words, vision = list(range(len(SPECIALS), len(SPECIALS) + 10)), list(range(10))
    examples = [example(words, vision, index=index) for index in range(4000)]
    return examples, collator(**options)([examples])


def test_fault_no_masking_at_all():
    """
    A causal model was once called BERT: nothing was hidden. Here every example hides something, and the shares are
    BERT's: 80 % [MASK], 10 % random, 10 % kept (40,000 words, 4 standard errors of the shares are below 0.02).
    """
    examples, batch = many(language_probability=0.2, vision_probability=0.4)
    original = torch.tensor([one["input_ids"] for one in examples])
    predicted = batch["labels"] != -100
    assert predicted.any(dim=1).all()
    assert torch.equal(batch["labels"][predicted], original[predicted])
    for kind, share, size in ((0, 0.2, collator().word_ids.size), (1, 0.4, CODEBOOK_SIZE)):
        here = (batch["token_type_ids"] == kind) & (original >= len(SPECIALS))
        assert abs(predicted[here].float().mean() - share) < 0.02
        masked, truth = batch["input_ids"][predicted & here], original[predicted & here]
        assert abs((masked == MASK).float().mean() - 0.8) < 0.02
        # A random token is by chance the true one in 1 of `size` cases.
        assert abs((masked == truth).float().mean() - (0.1 + 0.1 / size)) < 0.02
    assert torch.equal(batch["input_ids"][~predicted], original[~predicted])


def test_random_replacement_stays_in_its_modality():
    """A word becomes a word and a visual token a visual token; never a special token or an empty slot."""
    examples, batch = many(language_probability=0.5, vision_probability=0.5)
    changed = (batch["labels"] != -100) & (batch["input_ids"] != MASK)
    words = batch["input_ids"][changed & (batch["token_type_ids"] == 0)]
    vision = batch["input_ids"][changed & (batch["token_type_ids"] == 1)]
    assert set(words.tolist()) == set(range(len(SPECIALS), OFFSET))
    assert set(vision.tolist()) == set(range(OFFSET, OFFSET + CODEBOOK_SIZE))


def test_special_tokens_are_never_masked():
    """[CLS], [>], [SEP], [UNK] stay what they are, even when nearly everything is masked."""
    batch = collator(language_probability=0.99, vision_probability=0.99)([item([3, 7, 3], [1, 2], index=1)])
    assert batch["input_ids"][0, [0, 1, 3, 4, 7]].tolist() == [4, 3, 3, 1, 5]
    assert batch["labels"][0, [0, 1, 3, 4, 7]].tolist() == [-100] * 5


def test_at_least_one_token_is_predicted():
    """A short example must not be a wasted one; one without any word or visual token has nothing to predict."""
    masking = collator(language_probability=0.01, vision_probability=0.01)
    batch = masking([item([7], [], -100, index) for index in range(50)])
    assert (batch["labels"] != -100).sum(dim=1).tolist() == [1] * 50
    assert (masking([item([3], [], -100)])["labels"] == -100).all()


def test_misaligned_pairs_are_masked_but_have_no_cloze_labels():
    """Labels would teach to ignore the video; missing [MASK]s would give the answer of the alignment away."""
    words, vision = list(range(7, 17)), list(range(10))
    aligned = collator(language_probability=0.3)([item(words, vision, 1, index) for index in range(20)])
    misaligned = collator(language_probability=0.3)([item(words, vision, 0, index) for index in range(20)])
    assert torch.equal(aligned["input_ids"], misaligned["input_ids"])
    assert (misaligned["labels"] == -100).all() and (aligned["labels"] != -100).any()
    assert aligned["alignment_labels"].tolist() == [1] * 20 and misaligned["alignment_labels"].tolist() == [0] * 20


def test_pairs_that_only_ask_alignment_stay_whole():
    """Half of what tells whether text and video belong together was hidden, and nothing was learned."""
    twins = [example([7, 8, 9], [1, 2], 1, masked=False), example([7, 8, 9], [4, 5], 0, masked=False)]
    batch = collator(language_probability=0.9, vision_probability=0.9)([twins, item([7, 8], [3], -100)])
    assert batch["input_ids"][:2].tolist() == [one["input_ids"] for one in twins]
    assert (batch["labels"][:2] == -100).all() and (batch["labels"][2] != -100).any()
    assert batch["alignment_labels"].tolist() == [1, 0, -100]


def test_joint_cloze_has_a_switch():
    """Without the joint cloze only text-only and video-only examples have cloze labels."""
    batch = collator(joint_cloze=False)([item([7, 8], [1, 2], 1), item([7], [], -100), item([], [1], -100)])
    assert (batch["labels"] != -100).any(dim=1).tolist() == [False, True, True]


def test_fault_padding_counted_in_the_loss():
    """Padding has no label and no attention, whatever the lengths and the multiple."""
    batch = collator(pad_to_multiple_of=8)([item([7, 8, 9], [1, 2]), item([7], [], -100)])
    assert batch["input_ids"].shape == (2, 8)
    assert batch["attention_mask"].tolist() == [[1] * 8, [1] * 3 + [0] * 5]
    assert batch["input_ids"][1, 3:].tolist() == [PAD] * 5
    assert batch["labels"][1, 3:].tolist() == [-100] * 5
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 0], [0] * 8]
    assert {name: array.dtype for name, array in batch.items()} == dict.fromkeys(batch, torch.int64)
    assert collator()([item([7], [], -100)])["input_ids"].shape == (1, 3)


def test_masking_depends_on_no_neighbour():
    """An example is masked alike alone, in a batch, and in another order; in another epoch differently."""
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), pairs=AlignmentPairs(share=0), seed=3)
    masking = collator(language_probability=0.3, vision_probability=0.3)
    batch = masking([data[index] for index in range(len(data))])
    backwards = masking([data[index] for index in reversed(range(len(data)))])
    assert torch.equal(batch["input_ids"], backwards["input_ids"].flip(0))
    alone = masking([data[4]])["labels"][0]
    assert torch.equal(batch["labels"][4, : len(alone)], alone)

    again = [[{**data[4][0], "seed": (3, epoch, 4)}] for epoch in range(20)]
    assert len({tuple(labels.tolist()) for labels in masking(again)["labels"]}) > 10


def test_masking_is_not_the_draw_of_the_dataset():
    """The masking has its own branch of the seed: it must not repeat the numbers the example was drawn with."""
    drawn = np.random.default_rng(np.random.SeedSequence((0, 0, 0))).random(14)
    labels = collator(language_probability=0.5)([item(list(range(7, 19)), [], -100)])["labels"][0].numpy()
    assert (labels[1:-1] != -100).tolist() != (drawn[1:-1] < 0.5).tolist()


@pytest.mark.parametrize("probability", [0, 1, -0.1])
def test_bad_probability_is_refused(probability):
    """Masking nothing or everything trains nothing."""
    with pytest.raises(ValueError, match="language_probability"):
        collator(language_probability=probability)


def test_packed_rows_by_hand():
    """Examples of 6, 5, 4 and 3 tokens: rows of 6 hold one each, rows of 9 two, and one row of 18 holds them all."""
    examples = [example(list(range(7, 7 + n)), [], label, n) for n, label in ((1, 1), (4, 0), (2, -100), (3, 1))]
    assert [len(one["input_ids"]) for one in examples] == [3, 6, 4, 5]
    assert first_fit([3, 6, 4, 5], 6) == [[1], [3], [2], [0]]
    assert first_fit([3, 6, 4, 5], 9) == [[1, 0], [3, 2]]
    batch = collator(layout="flat")([examples])
    assert batch["sequence_ids"].tolist() == [[1] * 6 + [2] * 5 + [3] * 4 + [4] * 3]
    expected = torch.full((1, 18), -100)
    expected[0, [0, 6, 15]] = torch.tensor([0, 1, 1])  # the third is not asked
    assert torch.equal(batch["alignment_labels"], expected)
    assert "attention_mask" not in batch


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 40))
def test_first_fit_loses_nothing(lengths, slack):
    """Every example is in exactly one row, no row overflows, and no two rows could have been one."""
    room = max(lengths) + slack
    rows = first_fit(lengths, room)
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    filled = [sum(lengths[number] for number in row) for row in rows]
    assert max(filled) <= room
    assert all(one + other > room for one, other in combinations(filled, 2))


def test_layouts_hold_the_same_examples():
    """Whatever the layout, an example has the same masked tokens, labels and types; padding asks for nothing."""
    examples = [example(list(range(7, 7 + n % 5)), list(range(n % 7)), n % 2, n) for n in range(1, 20)]
    found = {}
    for layout in ("padded", "packed", "flat"):
        batch = collator(layout=layout)([examples])
        numbers = batch.get("sequence_ids", batch.get("attention_mask"))
        assert (batch["labels"][numbers == 0] == -100).all()
        found[layout] = sorted(
            tuple(batch[name][row][here].tolist() for name in ("input_ids", "labels", "token_type_ids"))
            for row in range(len(numbers))
            for number in range(1, numbers[row].max() + 1)
            for here in [numbers[row] == number]
        )
    assert found["padded"] == found["packed"] == found["flat"]
    assert len(collator(layout="packed")([examples])["input_ids"]) < len(examples)


def test_bad_batches_and_layouts_are_named():
    """One clear sentence each."""
    with pytest.raises(ValueError, match="The batch holds 0 examples"):
        collator()([])
    with pytest.raises(ValueError, match="layout is 'tight'; allowed are padded, packed, flat"):
        collator(layout="tight")


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_the_trainer_of_transformers_takes_them_as_they_are(tmp_path, layout):
    """With its default arguments it drops what the model's forward does not name, such as the seed of the masking."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = VideoBertConfig(**sizes, text_vocab_size=OFFSET, codebook_size=CODEBOOK_SIZE)
    data = SegmentDataset(cooking_rows(), tiny_tokenizer())
    trainer = Trainer(
        VideoBertForPreTraining(config),
        TrainingArguments(tmp_path, max_steps=2, use_cpu=True, report_to="none"),
        data_collator=collator(layout=layout),
        train_dataset=data,
    )
    assert np.isfinite(trainer.train().training_loss)
