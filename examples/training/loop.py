"""The training loop: steps, looks at held-out examples, and checkpoints, exactly resumed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from .batches import StepBatches, StepShape, cut_windows, held_out_batches, make_loader
from .checkpoints import Checkpoints
from .options import Options
from .steps import StepResult, evaluate, make_optimizer, rate_factor, training_step
from .watching import Progress, Watch


class Loop:
    """Trains a model until its last step, or until it gets no better.

    Args:
        accelerator (`Accelerator`):
            Of this run.
        model ([`VideoBertForPreTraining`]):
            Trained in place.
        train_data ([`SegmentDataset`]):
            Examples to learn from.
        held_out_items (`Sequence[list[dict]]`):
            Examples to look at, which stay the same all the time: those of one epoch.
        collator ([`VideoBertDataCollator`]):
            Makes batches of both.
        options ([`Options`]):
            Of the run.
        origin (`Mapping[str, Any]`, *optional*):
            What the examples come from, which a resumed run must have alike besides the options.
        figures (`Mapping[str, Callable]`, *optional*):
            By name, what else to measure on held-out videos at each look: called with the model, in evaluation mode,
            by every process; returns a dictionary of figures.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model,
        train_data,
        held_out_items: Sequence[list[dict]],
        collator,
        options: Options,
        origin: Mapping[str, Any] | None = None,
        figures: Mapping[str, Callable[[Any], dict[str, float]]] | None = None,
    ):
        self.accelerator, self.options, self.figures = accelerator, options, dict(figures or {})
        self.train_data = train_data
        chosen, running = options.optimisation, options.running
        processes, rank = accelerator.num_processes, accelerator.process_index
        shape = StepShape(chosen.batch_size, chosen.gradient_accumulation_steps, processes, rank)
        self.order = StepBatches(train_data, shape, chosen.seed, running.layout == "grouped")
        self.loader = make_loader(train_data, collator, self.order, running.num_workers)
        # Smaller batches, because here all positions get their scores of the whole vocabulary.
        batches = held_out_batches(len(held_out_items), max(1, chosen.batch_size // 4), processes, rank)
        self.held_out = make_loader(held_out_items, collator, batches)
        optimizer = make_optimizer(model, chosen.learning_rate, chosen.weight_decay)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        settings = options.determining() | dict(origin or {}) | {"examples": len(train_data), "processes": processes}
        settings["mixed_precision"] = accelerator.mixed_precision
        folder = Path(running.output_dir) / "checkpoints"
        self.checkpoints = Checkpoints(
            folder, accelerator, self.model, self.optimizer, settings, running.checkpoints_kept
        )
        self.alignment_step, self.learning_rate = options.alignment_step(), chosen.learning_rate
        self.progress, self.watch = Progress(), Watch(accelerator, chosen.max_steps)

    def run(self) -> Progress:
        """Train; afterwards the model has its last weights, or its best where a figure is watched."""
        if wanted := self.options.running.resume_from_checkpoint:
            self.progress = Progress(**self.checkpoints.resume(wanted))
        else:
            self.checkpoints.start_anew()
        self.watch.begin(self.progress)
        self.model.train()
        while not self._finished():
            self._run_epoch()
        self.watch.bar.close()
        self._take_best()
        return self.progress

    def final_figures(self) -> dict[str, float]:
        """Those on held-out examples that the model's weights have, and how the run went."""
        progress = self.progress
        kept = progress.best_step or progress.step
        figures = next((line for line in reversed(progress.held_out) if line["step"] == kept), {"step": kept})
        speed = self.watch.speed(progress)
        counts = {"bad_steps": progress.bad_steps, "silent_steps": progress.silent_steps}
        return {**figures, **counts, **{name: speed[name] for name in ("tokens_per_second", "loader_wait_share")}}

    def _finished(self) -> bool:
        patience = self.options.running.early_stopping
        tired = patience is not None and self.progress.looks_since_best >= patience
        return tired or self.progress.step >= self.options.optimisation.max_steps

    def _run_epoch(self) -> None:
        """Until the epoch ends. Where alignment begins, too: no batch that was prepared before may come after it."""
        progress = self.progress
        aligned = progress.step >= self.alignment_step
        self.train_data.set_epoch(progress.epoch)
        self.train_data.set_alignment(aligned)
        self.order.start_at(progress.epoch, progress.epoch_steps)
        batches = self.watch.time_waiting(self.loader)
        for window in cut_windows(batches, self.options.optimisation.gradient_accumulation_steps):
            self._take_step(window)
            if self._finished() or (not aligned and progress.step >= self.alignment_step):
                break
        if progress.epoch_steps == self.order.steps:
            progress.epoch, progress.epoch_steps = progress.epoch + 1, 0

    def _take_step(self, window: list[dict]) -> None:
        progress, running, chosen = self.progress, self.options.running, self.options.optimisation
        schedule = chosen.warmup_steps, chosen.max_steps, chosen.decay_share
        rate = self.learning_rate * rate_factor(progress.step, *schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.watch.time_work():
            result = training_step(self.accelerator, self.model, self.optimizer, window, chosen.max_grad_norm)
        progress.count_step(result)
        if not result.finite:
            self._report_bad_step(result, window)
        self.watch.bar.update()
        last = progress.step == chosen.max_steps
        if progress.step % running.logging_steps == 0 or last:
            self.watch.show_losses(progress.close_line(), rate, progress)
        better = (progress.step % running.eval_steps == 0 or last) and self._look()
        if better or progress.step % running.checkpointing_steps == 0:
            # An epoch that is over is counted when the next one begins; a resumed run begins with that.
            self.checkpoints.save(progress.step, progress.as_dict(), progress.best_step)

    def _report_bad_step(self, result: StepResult, window: list[dict]) -> None:
        step, bad, allowed = self.progress.step, self.progress.bad_steps, self.options.running.max_bad_steps
        what = f"Step {step} has the loss {result.loss} and a gradient of length {result.gradient_norm}"
        if bad <= allowed:
            if self.accelerator.is_main_process:
                warnings.warn(f"{what}; it is skipped, {bad} of at most {allowed}.", stacklevel=2)
            return
        folder = Path(self.options.running.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"bad_step_{step}_process_{self.accelerator.process_index}.safetensors"
        tensors = {f"{number}.{name}": value for number, batch in enumerate(window) for name, value in batch.items()}
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, path)
        raise RuntimeError(
            f"{what}, as {bad} steps so far; --max_bad_steps allows {allowed}. Its batches are in {path}."
        )

    def _look(self) -> bool:
        """Measure on held-out examples; whether the watched figure is better than ever before."""
        # What is drawn here must not move what dropout draws afterwards.
        with torch.random.fork_rng():
            figures = evaluate(self.accelerator, self.model, self.held_out)
            self.model.eval()
            for measure in self.figures.values():
                figures |= measure(self.accelerator.unwrap_model(self.model))
            self.model.train()
        self.watch.show_figures(figures, self.progress.step)
        return self.progress.judge_look(figures, self.options.running.metric_for_best_model)

    def _take_best(self) -> None:
        best = self.progress.best_step
        if best is None or best == self.progress.step:
            return
        folder = self.checkpoints.folder / f"step_{best}"
        if folder.is_dir():
            self.checkpoints.load_weights(folder)
        else:
            warnings.warn(f"The best checkpoint, {folder}, is gone; the last weights are kept.", stacklevel=2)
