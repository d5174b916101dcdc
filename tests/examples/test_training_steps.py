"""A step and a look at held-out examples: every predicted token weighs the same, and bad steps move nothing."""

import copy

import pytest
import torch
from accelerate import Accelerator
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, cooking_rows, tiny_tokenizer
from support.tiny_run import tiny_model
from training.batches import held_out_batches, make_loader
from training.steps import evaluate, make_optimizer, rate_factor, training_step
from transformers import get_linear_schedule_with_warmup

from processing.training_data import SegmentDataset, VideoBertDataCollator

pytestmark = pytest.mark.usefixtures("fresh_accelerator")
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def examples_of(count, seed=0):
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), max_length=64, seed=seed)
    return [data[index] for index in range(count)]


def batches_of(sizes, **options):
    collator = VideoBertDataCollator(tiny_tokenizer(), 0.3, 0.3, **options)
    examples, batches = examples_of(sum(sizes)), []
    for size in sizes:
        batches.append(collator(examples[:size]))
        examples = examples[size:]
    return batches


def take_step(window, model=None):
    """The result of a step, and how each weight moved."""
    accelerator, model = Accelerator(cpu=True), model or tiny_model(**NO_DROPOUT)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    result = training_step(accelerator, model, optimizer, window, max_grad_norm=1e9)
    return result, {name: (before[name] - value) / 0.1 for name, value in model.state_dict().items()}


def assert_same_step(found, expected):
    assert found[0].loss == pytest.approx(expected[0].loss, abs=1e-5)
    assert found[0].tokens == expected[0].tokens and found[0].objectives.keys() == expected[0].objectives.keys()
    for name, (loss, count) in expected[0].objectives.items():
        assert found[0].objectives[name] == (pytest.approx(loss, rel=1e-5), count) and count > 0
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=2e-5, rtol=1e-3)


def test_accumulated_steps_weigh_every_predicted_token_alike():
    """Micro-batches of 1, 5 and 10 examples give the loss and the gradient of one batch of 16, not a mean of means."""
    assert_same_step(take_step(batches_of([1, 5, 10])), take_step(batches_of([16])))


@pytest.mark.parametrize("layout", ["packed", "flat"])
def test_a_packed_step_is_a_padded_step(layout):
    """The same examples in fewer rows give the same losses and gradients, all objectives."""
    assert_same_step(take_step(batches_of([12], layout=layout)), take_step(batches_of([12])))


def test_fault_padding_counted_in_the_loss():
    """Padding the same examples to twice the length changes neither the loss nor any figure."""
    model, figures = tiny_model().eval(), []
    for multiple in (1, 64):
        (batch,) = batches_of([8], pad_to_multiple_of=multiple)
        outputs = model(**batch)
        figures.append((outputs.loss, outputs.objectives, outputs.objective_hits))
    torch.testing.assert_close(figures[0], figures[1], atol=1e-4, rtol=1e-4)


def test_a_loss_that_is_no_number_moves_no_weight():
    """One broken weight or example must not make NaN of all weights; with weights that are whole again, the next step
    is as good as any."""
    model = tiny_model(**NO_DROPOUT)
    bias = model.cloze_head.decoder.bias
    with torch.no_grad():
        bias[7] = float("nan")
    result, moved = take_step(batches_of([4]), model)
    assert not result.finite and not result.silent
    with torch.no_grad():
        bias[7] = 0.0
    assert all((value == 0).all() for name, value in moved.items() if name != "cloze_head.decoder.bias")
    assert_same_step(take_step(batches_of([4]), model), take_step(batches_of([4])))


def test_a_step_in_which_nothing_is_asked_is_silent():
    """It is told apart from a loss of 0, and moves no weight: not even by decay."""
    (batch,) = batches_of([4])
    batch = {name: torch.full_like(value, -100) if "labels" in name else value for name, value in batch.items()}
    result, moved = take_step([batch])
    assert result.silent and result.finite and result.tokens > 0
    assert all((value == 0).all() for value in moved.values())


def look_at(model, batch_size, layout="padded"):
    data = SegmentDataset(cooking_rows(), tiny_tokenizer(), max_length=64)
    collator = VideoBertDataCollator(tiny_tokenizer(), layout=layout)
    items = data.draw_epoch(0)
    loader = make_loader(items, collator, held_out_batches(len(items), batch_size))
    batch = VideoBertDataCollator(tiny_tokenizer())(items)
    return evaluate(Accelerator(cpu=True), model, loader), batch


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("within", [False, True])
def test_held_out_figures_are_those_counted_by_hand(within, layout):
    """Each objective has its own mean over what was asked, for any batch size and layout; where training names within
    the modality, so does evaluation."""
    model = tiny_model(predict_within_modality=within)
    metrics, batch = look_at(model, 5, layout)
    assert model.training
    outputs = model.eval()(**batch)
    for name, start, stop in (("text_cloze", 0, OFFSET), ("visual_cloze", OFFSET, OFFSET + CODEBOOK_SIZE)):
        asked = (batch["labels"] >= start) & (batch["labels"] < stop)
        scores, target = outputs.logits[asked], batch["labels"][asked]
        if within:
            scores, target = scores[:, start:stop], target - start
        expected = torch.nn.functional.cross_entropy(scores, target).item()
        assert metrics[f"{name}_loss"] == pytest.approx(expected, abs=1e-4)
        assert metrics[f"{name}_accuracy"] == pytest.approx((scores.argmax(-1) == target).float().mean().item())
    judged = batch["alignment_labels"] != -100
    right = outputs.alignment_logits.argmax(-1)[judged] == batch["alignment_labels"][judged]
    assert metrics["alignment_accuracy"] == pytest.approx(right.float().mean().item())


def test_held_out_examples_stay_the_same():
    """A curve over training compares the same examples: an untouched model has the same figures every time."""
    model = tiny_model()
    assert look_at(model, 5)[0] == look_at(model, 5)[0]


def test_frozen_and_bare_parameters():
    """What is frozen is not in the optimiser, and biases and norms do not decay."""
    model = tiny_model(freeze_input_embeddings=True)
    optimizer = make_optimizer(model, 1e-3, 0.1)
    decaying, bare = optimizer.param_groups
    trained = {id(one) for group in optimizer.param_groups for one in group["params"]}
    assert id(model.get_input_embeddings().weight) not in trained
    assert (decaying["weight_decay"], bare["weight_decay"]) == (0.1, 0.0)
    assert all(one.ndim == 1 for one in bare["params"]) and all(one.ndim > 1 for one in decaying["params"])


@pytest.mark.parametrize("warmup", [0, 3])
def test_learning_rate_is_transformers_linear_schedule(warmup):
    """Up in the warmup, down in a line: of the step alone, so that no state of it need be saved."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, 10)
    for step in range(12):
        assert rate_factor(step, warmup, 10) == schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()


def test_learning_rate_can_be_held():
    """By hand: 2 steps up, then 10 of which the last 4 go down."""
    rates = [rate_factor(step, 2, 12, 0.4) for step in range(13)]
    assert rates == [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
