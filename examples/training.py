"""The training loop of `pretrain.py`: token-weighted steps, exact resuming, and figures on held-out rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler
from transformers import get_linear_schedule_with_warmup

from processing.training_data.examples import IGNORED

LABELS = ("labels", "alignment_labels")
TASKS = ("text", "visual", "alignment")
# Sorted together by length: many enough to be alike, few enough that the order stays random.
GROUPED_BATCHES = 50
# Fused: four times faster on the CPU, too.
ADAM = {"betas": (0.9, 0.98), "eps": 1e-6, "fused": True}


class Progress:
    """Where training stands, and what it measured on the way; saved in every checkpoint."""

    def __init__(self):
        self.step, self.epoch, self.batches_done = 0, 0, 0
        self.history, self.held_out = [], []

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


def make_optimizer(model: torch.nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW over what is not frozen; matrices decay, biases and norms do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, **ADAM)


class GroupedSampler(Sampler):
    """
    A random order in which `GROUPED_BATCHES` batches at a time are sorted by length: a batch is of about one length.

    An example's length is known when it is drawn, so each is drawn once more for it. The order comes from seed and
    epoch alone, as exact resuming needs.
    """

    def __init__(self, data, batch_size: int, seed: int):
        self.data, self.lot, self.seed, self.epoch = data, GROUPED_BATCHES * batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        for lot in torch.randperm(len(self.data), generator=generator).split(self.lot):
            yield from sorted(lot.tolist(), key=self._longest)

    def _longest(self, index: int) -> int:
        return max(len(example["input_ids"]) for example in self.data[index])


def make_loader(
    data, collator, batch_size: int, num_workers: int, seed: int | None = None, grouped: bool = False
) -> DataLoader:
    """
    Batches of a [`SegmentDataset`], in a random order if there is a seed; `grouped`: examples of about one length.

    The order needs a generator of its own: with the global one, a resumed run would draw another order.
    """
    generator = torch.Generator().manual_seed(seed or 0)
    order = {"shuffle": seed is not None}
    if grouped:
        order = {"sampler": GroupedSampler(data, batch_size, seed)}
    return DataLoader(data, batch_size, collate_fn=collator, num_workers=num_workers, generator=generator, **order)


def windows(batches, size: int) -> Iterator[list[dict]]:
    """Micro-batches in lots of `size`, one lot a step; the last lot of an epoch may be smaller."""
    window = []
    for batch in batches:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def training_step(
    accelerator: Accelerator, model, optimizer, window: list[dict], max_grad_norm: float
) -> torch.Tensor:
    """
    One step over a window of micro-batches.

    Every predicted token weighs the same, in whichever micro-batch and process it lies: the sums are divided by the
    number of predicted tokens (and of pairs asked) in the whole window over all processes. A mean of means would let
    a token in a short batch count more.

    Returns:
        `torch.Tensor` of shape (3,): loss, cloze loss, alignment loss of the step.
    """
    counts = sum(torch.stack([(batch[name] != IGNORED).sum() for name in LABELS]) for batch in window)
    tokens, pairs = accelerator.reduce(counts, reduction="sum").clamp_min(1)
    losses = torch.zeros(3, device=accelerator.device)
    for number, batch in enumerate(window):
        last = number == len(window) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            outputs = model(**batch, num_items_in_batch=tokens, num_alignments_in_batch=pairs)
            # Gradients are averaged over the processes, while the losses above are already parts of one whole.
            accelerator.backward(outputs.loss * accelerator.num_processes)
        parts = (outputs.loss, outputs.cloze_loss, outputs.alignment_loss)
        losses += torch.stack([part.detach().float() for part in parts])
    accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return accelerator.reduce(losses, reduction="sum")


def example_sums(outputs, batch: dict, config) -> torch.Tensor:
    """Summed loss, number right and number asked for each of `TASKS`, example by example: (B, 3, 3)."""
    labels, pairs, offset = batch["labels"], batch["alignment_labels"], config.visual_token_offset
    asked = labels != IGNORED
    logits, target = outputs.logits[asked].float(), labels[asked]
    if config.predict_within_modality:
        visual = torch.arange(logits.shape[1], device=logits.device) >= offset
        logits = logits.masked_fill(visual != (target >= offset).unsqueeze(1), -torch.inf)
    loss, right = torch.zeros(labels.shape, device=labels.device), torch.zeros(labels.shape, device=labels.device)
    loss[asked] = F.cross_entropy(logits, target, reduction="none")
    right[asked] = (logits.argmax(dim=-1) == target).float()
    sums = []
    for here in (asked & (labels < offset), labels >= offset):
        sums.append(torch.stack([(loss * here).sum(1), (right * here).sum(1), here.sum(1).float()], dim=1))
    judged = (pairs != IGNORED).float()
    pair_loss = F.cross_entropy(outputs.alignment_logits.float(), pairs, ignore_index=IGNORED, reduction="none")
    pair_right = (outputs.alignment_logits.argmax(dim=-1) == pairs).float()
    sums.append(torch.stack([pair_loss * judged, pair_right * judged, judged], dim=1))
    return torch.stack(sums, dim=1)


@torch.no_grad()
def evaluate(accelerator: Accelerator, model, loader, config) -> dict[str, float]:
    """
    Loss and accuracy of each objective on held-out examples, every predicted token weighing the same.

    A token is named among those of the joint vocabulary, or of its own modality if the model is trained so.

    Args:
        accelerator (`Accelerator`): of this run.
        model: the prepared model; it is in training mode again afterwards.
        loader: prepared batches of held-out examples.
        config ([`VideoBertConfig`]): of the model.

    Returns:
        `dict[str, float]`: `{text,visual,alignment}_{loss,accuracy}` of those objectives that were asked anything.
    """
    model.eval()
    total = torch.zeros(len(TASKS), 3, device=accelerator.device)
    for batch in loader:
        outputs = model(**{name: values for name, values in batch.items() if name not in LABELS})
        sums = example_sums(outputs, batch, config)
        # Drops what the last batches repeat to give every process as many.
        total += accelerator.gather_for_metrics(sums).sum(dim=0)
    model.train()
    metrics = {}
    for task, (loss, right, count) in zip(TASKS, total.tolist(), strict=True):
        if count:
            metrics |= {f"{task}_loss": loss / count, f"{task}_accuracy": right / count}
    return metrics


def save_checkpoint(accelerator: Accelerator, folder: Path, step: int, kept: int) -> None:
    """Write `step_<n>` with all that exact resuming needs, then remove all but the newest `kept`."""
    accelerator.save_state(str(folder / "unfinished"))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (folder / "unfinished").rename(folder / f"step_{step}")
        for old in checkpoints(folder)[:-kept]:
            shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first."""
    return sorted(folder.glob("step_*"), key=lambda path: int(path.name.removeprefix("step_")))


def train(accelerator: Accelerator, model, train_data, held_out_data, collators, args):
    """
    Train until `args.max_steps`.

    Args:
        accelerator (`Accelerator`): with a seedable sampler, which exact resuming needs.
        model ([`VideoBertForPreTraining`]): trained in place.
        train_data, held_out_data ([`SegmentDataset`]): examples; those held out stay the same all the time.
        collators (`tuple`): one [`VideoBertDataCollator`] for training, one that pads for the examples held out.
        args (`argparse.Namespace`): options of `pretrain.py`.

    Returns:
        `tuple`: the model as the accelerator wrapped it, and [`Progress`] with the losses and held-out figures.
    """
    optimizer = make_optimizer(model, args.learning_rate, args.weight_decay)
    # Not prepared: a prepared one would step once for every process.
    scheduler = get_linear_schedule_with_warmup(optimizer, args.warmup_steps, args.max_steps)
    grouped = args.layout == "grouped"
    loader = make_loader(train_data, collators[0], args.batch_size, args.num_workers, args.seed, grouped)
    # Smaller batches, because here all positions get their scores of the whole vocabulary.
    held_out = make_loader(held_out_data.draw_epoch(0), collators[1], max(1, args.batch_size // 4), 0)
    config, progress = model.config, Progress()
    model, optimizer, loader, held_out = accelerator.prepare(model, optimizer, loader, held_out)
    accelerator.register_for_checkpointing(progress, scheduler)
    folder = Path(args.output_dir) / "checkpoints"
    if args.resume_from_checkpoint:
        resume(accelerator, folder, args.resume_from_checkpoint)
    elif accelerator.is_main_process and folder.exists():
        # Those of an earlier run would pass for this one's; they are put aside, not lost.
        folder.rename(folder.with_name(f"checkpoints_before_{time.strftime('%Y%m%d_%H%M%S')}"))

    bar = tqdm(total=args.max_steps, initial=progress.step, desc="Training", unit="step")
    model.train()
    while progress.step < args.max_steps:
        train_data.set_epoch(progress.epoch)
        loader.set_epoch(progress.epoch)
        batches = accelerator.skip_first_batches(loader, progress.batches_done) if progress.batches_done else loader
        for window in windows(batches, args.gradient_accumulation_steps):
            losses = training_step(accelerator, model, optimizer, window, args.max_grad_norm)
            scheduler.step()
            progress.step += 1
            progress.batches_done += len(window)
            bar.update()
            finished = progress.step == args.max_steps
            if progress.step % args.logging_steps == 0 or finished:
                logs = dict(zip(("loss", "cloze_loss", "alignment_loss"), losses.tolist(), strict=True))
                progress.history.append({"step": progress.step, **logs})
                accelerator.log({**logs, "learning_rate": scheduler.get_last_lr()[0]}, step=progress.step)
                bar.set_postfix({name: f"{value:.2f}" for name, value in logs.items()})
            if progress.step % args.eval_steps == 0 or finished:
                metrics = evaluate(accelerator, model, held_out, config)
                progress.held_out.append({"step": progress.step, **metrics})
                accelerator.log({f"held_out/{name}": value for name, value in metrics.items()}, step=progress.step)
            if progress.step % args.checkpointing_steps == 0:
                save_checkpoint(accelerator, folder, progress.step, args.checkpoints_kept)
            if finished:
                break
        else:
            progress.epoch, progress.batches_done = progress.epoch + 1, 0
    bar.close()
    return model, progress


def resume(accelerator: Accelerator, folder: Path, wanted: str) -> None:
    """Load the checkpoint at the path `wanted`, or the newest in `folder` for "latest"."""
    found = checkpoints(folder)
    if wanted == "latest" and not found:
        raise ValueError(f"There is no checkpoint in {folder} to resume from.")
    accelerator.load_state(str(found[-1]) if wanted == "latest" else wanted)
