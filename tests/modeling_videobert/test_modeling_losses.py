"""The two objectives: what is counted, how it is weighted, and that the cheap way of computing it changes nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_videobert import MASK, joint_example, masked, padded, tiny_model
from transformers import Trainer, TrainingArguments

from modeling_videobert import VideoBertForMaskedLM, VideoBertForPreTraining, VideoBertForVideoClassification
from modeling_videobert.cloze_videobert import token_cross_entropy

SHAPES = [(4, 5), (6, 0), (0, 7), (3, 9)]


@pytest.fixture
def batch():
    """Two video-text examples, a text-only and a video-only one, with cloze labels."""
    generator = torch.Generator().manual_seed(1)
    examples = [joint_example(words, clips, generator) for words, clips in SHAPES]
    return masked(padded(examples), 0.4, generator) | {"alignment_labels": torch.tensor([1, -100, -100, 0])}


def gradients(model, **inputs):
    model.zero_grad()
    output = model(**inputs)
    output.loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def token_losses(model, batch):
    """−log p of every label by the definition: softmax over the whole joint vocabulary at its position."""
    inputs = {name: value for name, value in batch.items() if "labels" not in name}
    log_p = model(**inputs).logits.double().log_softmax(-1)
    asked = batch["labels"] != -100
    return -log_p[asked].gather(1, batch["labels"][asked][:, None])[:, 0], batch["labels"][asked]


def test_cloze_loss_is_the_mean_over_predicted_tokens_of_the_joint_softmax(batch):
    """Fault of earlier implementations: padding counted in the loss. Only asked positions count, each once."""
    model = tiny_model(VideoBertForPreTraining)
    losses, _ = token_losses(model, batch)
    assert model(**batch).cloze_loss.item() == pytest.approx(losses.mean().item(), abs=1e-5)


def test_padding_changes_nothing(batch):
    """Longer padding must not change the losses."""
    model = tiny_model(VideoBertForPreTraining)
    more = {
        name: torch.nn.functional.pad(value, (0, 9), value=-100 if name == "labels" else 0)
        if value.dim() > 1
        else value
        for name, value in batch.items()
    }
    assert model(**more).loss.item() == pytest.approx(model(**batch).loss.item(), abs=1e-5)


def test_alignment_loss_by_hand():
    """Cross-entropy over the asked examples only; 1 means that text and video belong together."""
    model = tiny_model(VideoBertForPreTraining)
    with torch.no_grad():
        model.alignment_head.weight.zero_()
        model.alignment_head.bias.copy_(torch.tensor([0.0, math.log(3.0)]))  # p(together) = 3/4 for everybody
    batch = padded([joint_example(3, 3, torch.Generator().manual_seed(0)) for _ in range(4)])
    loss = model(**batch, alignment_labels=torch.tensor([1, 1, 0, -100])).alignment_loss
    assert loss.item() == pytest.approx(-(2 * math.log(3 / 4) + math.log(1 / 4)) / 3, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"predict_within_modality": True}, {"text_cloze_weight": 3.0}])
def test_objectives_are_what_the_definition_gives(batch, options):
    """Each objective's summed loss, count and right answers, counted by hand from the scores; training gives the same
    sums without the scores, and the weights of the total do not change them."""
    model = tiny_model(VideoBertForPreTraining, **options)
    output, expected = model(**batch), {}
    for name, start, stop in (("text_cloze", 0, 120), ("visual_cloze", 120, 160)):
        asked = (batch["labels"] >= start) & (batch["labels"] < stop)
        scores, target = output.logits[asked].double(), batch["labels"][asked]
        if model.config.predict_within_modality:
            scores, target = scores[:, start:stop], target - start
        losses = -scores.log_softmax(-1).gather(1, target[:, None])
        expected[name] = losses.sum(), len(target), (scores.argmax(1) == target).sum()
    judged = batch["alignment_labels"] != -100
    scores, target = output.alignment_logits[judged].double(), batch["alignment_labels"][judged]
    losses = -scores.log_softmax(-1).gather(1, target[:, None])
    expected["alignment"] = losses.sum(), 2, (scores.argmax(1) == target).sum()
    training = model.train()(**batch)
    assert training.objective_hits is None and training.objectives.keys() == expected.keys()
    for name, (total, count, right) in expected.items():
        for objectives in (output.objectives, training.objectives):
            assert objectives[name][0].item() == pytest.approx(total.item(), rel=1e-5)
            assert objectives[name][1] == count == model.count_objectives(batch)[name]
        assert output.objective_hits[name] == right


def test_count_of_joint_examples_without_their_cloze(batch):
    """What the model does not ask is not counted: else the loss would be divided by too much."""
    model = tiny_model(VideoBertForPreTraining, joint_cloze=False)
    counted, asked = model.count_objectives(batch), model(**batch).objectives
    assert {name: int(count) for name, count in counted.items()} == {name: int(n) for name, (_, n) in asked.items()}
    assert counted["text_cloze"] < tiny_model(VideoBertForPreTraining).count_objectives(batch)["text_cloze"]


def test_total_is_the_weighted_sum(batch):
    """Each weight reaches the part it is named after."""
    plain = tiny_model(VideoBertForPreTraining)
    weighted = tiny_model(
        VideoBertForPreTraining, text_cloze_weight=2.0, visual_cloze_weight=0.5, alignment_weight=3.0
    )
    losses, labels = token_losses(plain, batch)
    weights = torch.where(labels >= 120, 0.5, 2.0)
    output, reference = weighted(**batch), plain(**batch)
    assert output.cloze_loss.item() == pytest.approx((weights * losses).mean().item(), abs=1e-5)
    assert output.alignment_loss.item() == pytest.approx(reference.alignment_loss.item(), abs=1e-6)
    total = output.cloze_loss + 3.0 * output.alignment_loss
    assert output.loss.item() == pytest.approx(total.item(), abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_asked_is_zero_and_not_nan(batch, training):
    """A batch of a single regime asks nothing of one objective; its part is 0 and the gradients stay finite."""
    model = tiny_model(VideoBertForPreTraining).train(training)
    nothing = {"labels": torch.full_like(batch["labels"], -100), "alignment_labels": torch.full((4,), -100)}
    output, grads = gradients(model, **(batch | nothing))
    assert (output.loss.item(), output.cloze_loss.item(), output.alignment_loss.item()) == (0.0, 0.0, 0.0)
    assert all((grad == 0).all() for grad in grads.values())


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("model_class", [VideoBertForPreTraining, VideoBertForMaskedLM])
def test_sparse_head_gives_the_dense_loss_and_gradients(batch, model_class, within):
    """Computing predicted positions only, without logits in memory, is the same function of the weights."""
    if model_class is VideoBertForMaskedLM:
        batch.pop("alignment_labels")
    options = {"predict_within_modality": within, "visual_cloze_weight": 0.7}
    sparse = tiny_model(model_class, **options).train()
    dense = tiny_model(model_class, sparse_prediction=False, **options).train()
    sparse_output, sparse_grads = gradients(sparse, **batch)
    dense_output, dense_grads = gradients(dense, **batch)
    assert sparse_output.logits is None and dense_output.logits.shape == (*batch["labels"].shape, 160)
    assert sparse_output.loss.item() == pytest.approx(dense_output.loss.item(), abs=1e-5)
    assert sparse_grads.keys() == dense_grads.keys()
    for name, grad in sparse_grads.items():
        torch.testing.assert_close(grad, dense_grads[name], atol=1e-5, rtol=1e-4, msg=name)


def test_sparse_head_computes_predicted_positions_only(batch):
    """The saving itself: the head sees as many rows as there are labels, in training; all of them in evaluation."""
    model, rows = tiny_model(VideoBertForPreTraining), []
    model.cloze_head.LayerNorm.register_forward_hook(lambda module, args, out: rows.append(out[..., 0].numel()))
    model.train()(**batch)
    assert sum(rows) == (batch["labels"] != -100).sum()
    rows.clear()
    model.eval()(**batch)
    assert rows == [batch["labels"].numel()]


def test_prediction_within_the_modality(batch):
    """The option: a visual token competes with visual tokens only, a word with words only."""
    model = tiny_model(VideoBertForPreTraining, predict_within_modality=True)
    inputs = {name: value for name, value in batch.items() if "labels" not in name}
    logits, labels = model(**inputs).logits.double(), batch["labels"]
    expected = []
    for start, stop in ((0, 120), (120, 160)):
        asked = (labels >= start) & (labels < stop)
        log_p = logits[asked][:, start:stop].log_softmax(-1)
        expected += (-log_p.gather(1, labels[asked][:, None] - start)[:, 0]).tolist()
    assert model(**batch).cloze_loss.item() == pytest.approx(sum(expected) / len(expected), abs=1e-5)


def test_joint_cloze_switch(batch):
    """Switched off, video-text examples train alignment alone; text-only and video-only ones keep the cloze."""
    model = tiny_model(VideoBertForPreTraining, joint_cloze=False)
    single = batch | {"labels": batch["labels"].clone()}
    single["labels"][[0, 3]] = -100
    assert (single["labels"] != -100).any()
    expected = tiny_model(VideoBertForPreTraining)(**single)
    output = model(**batch)
    assert output.cloze_loss.item() == pytest.approx(expected.cloze_loss.item(), abs=1e-6)
    assert output.alignment_loss.item() == pytest.approx(expected.alignment_loss.item(), abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(cut=st.integers(1, 5), seed=st.integers(0, 1000))
def test_gradient_accumulation_divides_right(cut, seed):
    """Micro-batches with unequal numbers of labels add up to the loss of the whole batch, if told its counts."""
    generator = torch.Generator().manual_seed(seed)
    whole = masked(padded([joint_example(2 + n, 8 - n, generator) for n in range(6)]), 0.3, generator)
    whole["alignment_labels"] = torch.tensor([1, -100, 0, 1, -100, -100])
    model = tiny_model(VideoBertForPreTraining).train()
    parts = [{name: value[piece] for name, value in whole.items()} for piece in (slice(0, cut), slice(cut, 6))]
    first, second = (model.count_objectives(part) for part in parts)
    counts = {name: first[name] + second[name] for name in first}
    assert counts == model.count_objectives(whole) and counts["alignment"] == 3
    total = sum(model(**part, objective_counts=counts).loss for part in parts)
    assert total.item() == pytest.approx(model(**whole).loss.item(), abs=1e-5)


@pytest.mark.parametrize("model_class", [VideoBertForPreTraining, VideoBertForVideoClassification])
def test_accumulation_under_the_trainer(batch, model_class, tmp_path):
    """transformers' Trainer takes one step over a batch, or over two halves that hold the same: its micro-batches must
    be averaged, not added up."""
    if model_class is VideoBertForVideoClassification:
        batch = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
        batch["labels"] = torch.tensor([0, 1, 1, 0])
    examples = [{name: value[place] for name, value in batch.items()} for place in (*range(4), *range(4))]
    weights = []
    for size in (8, 4):
        model = tiny_model(model_class)
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size, "max_steps": 1}
        options |= {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0, "use_cpu": True, "report_to": "none"}
        Ordered(model, TrainingArguments(str(tmp_path), **options), train_dataset=examples).train()
        weights.append({name: parameter.detach() for name, parameter in model.named_parameters()})
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, atol=1e-5, rtol=1e-4, msg=name)
    assert not torch.equal(expected, dict(tiny_model(model_class).named_parameters())[name])


class Ordered(Trainer):
    """Examples in their order, so that both halves hold the same."""

    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_loss_of_many_tokens_in_half_precision(dtype):
    """torch's fused loss sums in its own precision: 7,000 tokens overflow float16, and bfloat16 keeps two digits."""
    generator = torch.Generator().manual_seed(0)
    hidden_states = torch.randn(7000, 16, generator=generator).to(dtype)
    weight, bias = torch.randn(12000, 16, generator=generator).to(dtype), torch.zeros(12000, dtype=dtype)
    target = torch.randint(12000, (7000,), generator=generator)
    expected = torch.nn.functional.cross_entropy(hidden_states.float() @ weight.float().T, target).item()
    total, losses = token_cross_entropy(hidden_states, weight, bias, target, torch.ones(len(target)))
    assert total.item() / len(target) == pytest.approx(expected, rel=1e-3)
    assert losses.mean().item() == pytest.approx(expected, rel=1e-3)


def test_loss_is_not_causal():
    """A class named …ForPreTraining gets transformers' shifted causal loss unless it computes its own: the label at a
    masked position is judged by the scores at that very position."""
    model = tiny_model(VideoBertForMaskedLM)
    batch = padded([joint_example(5, 5, torch.Generator().manual_seed(0))])
    labels = torch.full_like(batch["input_ids"], -100)
    labels[0, 3], batch["input_ids"][0, 3] = batch["input_ids"][0, 3].item(), MASK
    expected = -model(**batch).logits[0, 3].log_softmax(-1)[labels[0, 3]]
    assert model(**batch, labels=labels).loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("labels", [{"labels": 160}, {"labels": -1}, {"alignment_labels": 2}])
def test_labels_out_of_range_are_named(batch, labels):
    """One clear sentence instead of an index error in a kernel."""
    ((name, value),) = labels.items()
    wrong = batch[name].clone()
    wrong.view(-1)[0] = value
    with pytest.raises(ValueError, match=f"{name} holds {value}; allowed are 0 …"):
        tiny_model(VideoBertForPreTraining)(**(batch | {name: wrong}))


def test_labels_of_another_shape_are_named(batch):
    """(B, L) labels are not silently broadcast."""
    with pytest.raises(ValueError, match=r"labels have the shape \(4, 3\); allowed is \(4, 15\)"):
        tiny_model(VideoBertForPreTraining)(**(batch | {"labels": batch["labels"][:, :3]}))


def test_cloze_learns_what_fits_the_video():
    """The objectives can be learnt: a tiny model finds that the hidden word follows from the visual token, and that
    pairs without that relation do not belong together."""
    torch.manual_seed(0)
    model = tiny_model(VideoBertForPreTraining, initializer_range=0.02).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    clips = torch.arange(8).repeat(8)
    shown = torch.where(torch.arange(64) < 32, clips, (clips + torch.randint(1, 8, (64,))) % 8)
    rows = torch.tensor([101, 110, 1, 120, 102]).repeat(64, 1)
    rows[:, 1], rows[:, 3] = 110 + clips, 120 + shown
    labels = torch.full_like(rows, -100)
    labels[:32, 1] = rows[:32, 1]
    # The cloze hides the word; alignment is asked where both are shown.
    hidden = rows.clone()
    hidden[:, 1] = MASK
    batch = {
        "input_ids": torch.cat([hidden[:32], rows]),
        "token_type_ids": torch.tensor([0, 0, 0, 1, 0]).expand(96, 5),
        "labels": torch.cat([labels[:32], torch.full_like(rows, -100)]),
        "alignment_labels": torch.cat([torch.full((32,), -100), (shown == clips).long()]),
    }
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    output = model.eval()(**batch)
    assert (output.logits[:32, 1].argmax(-1) == rows[:32, 1]).all()
    assert (output.alignment_logits[32:].argmax(-1) == (shown == clips)).float().mean() > 0.95
