"""Fine-tuning a trained VideoBERT to forecast: it is asked for all that comes after a place, over and over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from tqdm.auto import tqdm

from processing.training_data import FutureDataset, VideoBertDataCollator

from .batches import StepBatches, StepShape, make_loader
from .steps import make_optimizer, move_batch, rate_factor

STEPS, BATCH_SIZE, LEARNING_RATE = 160, 32, 2e-4
WARMUP_SHARE, MAX_GRAD_NORM, WEIGHT_DECAY = 0.1, 1.0, 0.01


def train_to_forecast(
    model,
    processor,
    rows: Sequence[Mapping],
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
) -> list[float]:
    """Train on, in place, with video alone and hidden futures.

    Args:
        model ([`VideoBertForPreTraining`]):
            The model, which is in evaluation mode afterwards.
        processor ([`VideoBertProcessor`]):
            Knows the tokens.
        rows (`Sequence[Mapping]`):
            Training rows.
        steps (`int`, *optional*, defaults to `STEPS`):
            Steps to take.
        batch_size (`int`, *optional*, defaults to `BATCH_SIZE`):
            Places in a step.
        learning_rate (`float`, *optional*, defaults to `LEARNING_RATE`):
            The highest, after a tenth of the steps; it falls to 0 at the last one.
        seed (`int`, *optional*, defaults to 0):
            Of the order and of dropout.

    Returns:
        `list[float]`: The loss of each step, nats a hidden clip.
    """
    data = FutureDataset(rows, processor.tokenizer, model.config.max_position_embeddings, seed)
    batches = StepBatches(data, StepShape(min(batch_size, len(data))), seed)
    loader = make_loader(data, VideoBertDataCollator(processor.tokenizer, layout="packed"), batches)
    optimizer = make_optimizer(model, learning_rate, WEIGHT_DECAY)
    torch.manual_seed(seed)
    model.train()
    losses, bar = [], tqdm(range(steps), desc="learning to forecast")
    for step, batch in zip(bar, _endless(loader, data, batches), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate_factor(step + 1, round(WARMUP_SHARE * steps), steps)
        loss = model(**move_batch(batch, model.device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.2f}")
    model.eval()
    return losses


def _endless(loader, data: FutureDataset, batches: StepBatches) -> Iterator[dict]:
    epoch = 0
    while True:
        data.set_epoch(epoch)
        batches.start_at(epoch, 0)
        yield from loader
        epoch += 1
