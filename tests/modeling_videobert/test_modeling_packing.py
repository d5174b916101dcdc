"""Packed rows: many short examples in one row, none of which knows of the others."""

import shutil
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_videobert import joint_example, masked, padded, tiny_model
from transformers import AttentionInterface
from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

from modeling_videobert import VideoBertForPreTraining, VideoBertModel
from modeling_videobert.modeling_videobert import positions_in_sequence

# transformers compiles the mask of flex attention.
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
SHAPES = [(4, 5), (6, 0), (0, 7), (3, 9), (1, 1)]


def examples_of(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [joint_example(words, clips, generator) for words, clips in shapes]


def packed(examples, rows):
    """`rows` lists which examples share a row; 0 is padding."""
    lines = []
    for members in rows:
        parts = [examples[member] for member in members]
        line = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        lengths = torch.tensor([len(part["input_ids"]) for part in parts])
        lines.append(line | {"sequence_ids": torch.arange(1, len(parts) + 1).repeat_interleave(lengths)})
    batch = padded(lines)
    batch.pop("attention_mask")
    return batch


def in_order(batch, values):
    """Values of the real tokens, example by example."""
    return [
        values[row, batch["sequence_ids"][row] == number]
        for row in range(len(values))
        for number in range(1, batch["sequence_ids"][row].max() + 1)
    ]


def test_positions_restart_by_hand():
    """[CLS] of every packed example is at position 0."""
    ids = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1, 2, 2, 2, 3, 3, 3]])
    assert positions_in_sequence(ids).tolist() == [[0, 1, 2, 0, 1, 0, 1], [0, 0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize(
    "attention", ["sdpa", "eager", pytest.param("flex_attention", marks=(COMPILER, pytest.mark.slow))]
)
@torch.no_grad()  # flex attention has no backward on a CPU
def test_packed_equals_unpacked(attention):
    """transformers' bidirectional mask alone lets packed examples see each other; ours must not."""
    examples, rows = examples_of(SHAPES), [[0, 1, 2], [3, 4]]
    model = tiny_model(VideoBertModel, attn_implementation=attention)
    batch = packed(examples, rows)
    got = in_order(batch, model(**batch).last_hidden_state)
    for example, hidden_states in zip(examples, got, strict=True):
        alone = model(**{name: value[None] for name, value in example.items()}).last_hidden_state[0]
        torch.testing.assert_close(hidden_states, alone, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=15)
@given(shapes=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=6), data=st.data())
def test_an_example_does_not_know_its_neighbours(shapes, data):
    """Whatever stands in the rest of the row, an example's outputs stay the same."""
    model, cut = tiny_model(VideoBertModel), data.draw(st.integers(1, len(shapes) - 1))
    one, other = examples_of(shapes, seed=1), examples_of(shapes, seed=2)
    row = [list(range(len(shapes)))]
    first, second = packed(one, row), packed(one[:cut] + other[cut:], row)
    kept = first["sequence_ids"] <= cut
    torch.testing.assert_close(
        model(**first).last_hidden_state[kept], model(**second).last_hidden_state[kept], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("joint_cloze", [True, False])
def test_packed_losses_and_gradients(joint_cloze):
    """Both objectives: every example's own [CLS] is asked about alignment, and the joint-cloze switch looks at the
    example, not at the row."""
    generator = torch.Generator().manual_seed(3)
    examples = [masked(example, 0.4, generator) for example in examples_of(SHAPES)]
    verdicts = torch.tensor([1, -100, -100, 0, 1])
    for example, verdict in zip(examples, verdicts, strict=True):
        example["alignment_labels"] = torch.full_like(example["labels"], -100)
        example["alignment_labels"][0] = verdict
    batch = packed(examples, [[0, 1, 2], [3, 4]])
    for name in ("labels", "alignment_labels"):
        batch[name] = batch[name].masked_fill(batch["sequence_ids"] == 0, -100)
    plain = padded([{name: e[name] for name in ("input_ids", "token_type_ids")} for e in examples])
    labels = torch.nn.utils.rnn.pad_sequence([e["labels"] for e in examples], True, padding_value=-100)

    outputs, grads = [], []
    for inputs in (batch, plain | {"labels": labels, "alignment_labels": verdicts}):
        model = tiny_model(VideoBertForPreTraining, joint_cloze=joint_cloze).train()
        outputs.append(model(**inputs))
        outputs[-1].loss.backward()
        grads.append(model.videobert.encoder.layer[0].attention.self.query.weight.grad)
    for name in ("loss", "cloze_loss", "alignment_loss", "alignment_logits"):
        torch.testing.assert_close(outputs[0][name], outputs[1][name], atol=1e-5, rtol=1e-5, msg=name)
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-4)


def by_limits(module, query, key, value, attention_mask, scaling=None, position_ids=None, **kwargs):
    """Stands for a flash kernel, which runs on GPUs only: each example on its own, between limits that transformers
    reads from the positions as it does for the kernel."""
    assert attention_mask is None
    (limits, _), _ = prepare_fa_kwargs_from_position_ids(position_ids)
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            *(part[:, :, start:stop] for part in (query, key, value)), scale=scaling
        )
        for start, stop in pairwise(limits.tolist())
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def test_flash_attention_gets_the_limits_from_the_positions(monkeypatch):
    """Flash kernels take no mask function: packed rows must reach them as restarting positions without a mask."""
    model, batch = tiny_model(VideoBertModel), packed(examples_of(SHAPES), [range(5)])
    batch = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in batch.items()}
    expected = model(**batch).last_hidden_state
    monkeypatch.setitem(AttentionInterface._global_mapping, "flash_attention_2", by_limits)
    model.config._attn_implementation_internal = "flash_attention_2"
    torch.testing.assert_close(model(**batch).last_hidden_state, expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="Flash attention got 2 packed rows; allowed is 1"):
        model(**packed(examples_of(SHAPES), [[0, 1, 2], [3, 4]]))


def test_a_packed_example_longer_than_the_positions():
    """The row may be longer than the model's positions, an example may not."""
    model = tiny_model(VideoBertModel, max_position_embeddings=20)
    model(**packed(examples_of([(8, 8), (8, 8)]), [[0, 1]]))
    with pytest.raises(ValueError, match="position_ids holds 20; allowed are 0 … 19"):
        model(**packed(examples_of([(9, 9), (3, 3)]), [[0, 1]]))
