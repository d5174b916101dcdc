"""Watching a run: where it stands, what it measured, how fast it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from accelerate import Accelerator
from accelerate.utils import tqdm

from .steps import StepResult

BETTER_IF_LOWER = "loss"


@dataclass
class Progress:
    """Where training stands and what it measured on the way; saved in every checkpoint.

    Args:
        step (`int`, *optional*, defaults to 0):
            Steps taken, those that were skipped included.
        epoch (`int`, *optional*, defaults to 0):
            Epochs finished.
        epoch_steps (`int`, *optional*, defaults to 0):
            Steps taken in the one that has begun.
        bad_steps (`int`, *optional*, defaults to 0):
            Steps skipped for a loss or gradient that was not finite.
        silent_steps (`int`, *optional*, defaults to 0):
            Steps in which nothing was asked.
        tokens (`int`, *optional*, defaults to 0):
            Tokens seen, padding apart.
        history (`list[dict]`, *optional*):
            The losses on training examples, a line every `logging_steps`.
        held_out (`list[dict]`, *optional*):
            The figures on held-out examples, a line every `eval_steps`.
        best_step (`int`, *optional*):
            Where the watched figure was best.
        best_value (`float`, *optional*):
            The figure there.
        looks_since_best (`int`, *optional*, defaults to 0):
            Looks at held-out examples since.
        unlogged (`dict[str, list[float]]`, *optional*):
            By name the sum and the count of what happened since the last line of the history.
    """

    step: int = 0
    epoch: int = 0
    epoch_steps: int = 0
    bad_steps: int = 0
    silent_steps: int = 0
    tokens: int = 0
    history: list[dict] = field(default_factory=list)
    held_out: list[dict] = field(default_factory=list)
    best_step: int | None = None
    best_value: float | None = None
    looks_since_best: int = 0
    unlogged: dict[str, list[float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)

    def count_step(self, result: StepResult) -> None:
        """One more step, of which this came."""
        self.step, self.epoch_steps, self.tokens = self.step + 1, self.epoch_steps + 1, self.tokens + result.tokens
        self.silent_steps += result.silent
        self.bad_steps += not result.finite
        if result.silent or not result.finite:
            return
        news = {"loss": (result.loss, 1), "gradient_norm": (result.gradient_norm, 1)}
        news |= {f"{name}_loss": part for name, part in result.objectives.items()}
        for name, (total, count) in news.items():
            old = self.unlogged.get(name, [0.0, 0])
            self.unlogged[name] = [old[0] + total, old[1] + count]

    def close_line(self) -> dict[str, float]:
        """The means since the last line of the history, which they become."""
        means = {name: total / count for name, (total, count) in self.unlogged.items() if count}
        means |= {"bad_steps": self.bad_steps, "silent_steps": self.silent_steps}
        self.history.append({"step": self.step, **means})
        self.unlogged = {}
        return means

    def judge_look(self, figures: dict[str, float], watched: str | None) -> bool:
        """Keep the figures of a look at held-out examples.

        Args:
            figures (`dict[str, float]`):
                By name.
            watched (`str`, *optional*):
                The one that must get better: lower if it is a loss, higher otherwise.

        Returns:
            `bool`: Whether it is better than ever before.

        Raises:
            ValueError: There is no figure of this name.
        """
        self.held_out.append({"step": self.step, **figures})
        if watched is None:
            return False
        if watched not in figures:
            raise ValueError(f"--metric_for_best_model is {watched}; allowed are {', '.join(sorted(figures))}.")
        value, sign = figures[watched], -1 if watched.endswith(BETTER_IF_LOWER) else 1
        # A figure that is not a number is never better.
        better = value == value and (self.best_value is None or sign * value > sign * self.best_value)
        self.looks_since_best = 0 if better else self.looks_since_best + 1
        if better:
            self.best_step, self.best_value = self.step, value
        return better


class Watch:
    """Measures speed and waiting, and shows them with the losses.

    Args:
        accelerator (`Accelerator`):
            Its trackers get the figures.
        max_steps (`int`):
            Steps of the whole run.
    """

    def __init__(self, accelerator: Accelerator, max_steps: int):
        self.accelerator, self.max_steps = accelerator, max_steps
        self.bar = tqdm(total=max_steps, desc="Training", unit="step")
        self.started, self.waited, self.worked = time.perf_counter(), 0.0, 0.0
        self.first_step = self.first_tokens = 0

    def begin(self, progress: Progress) -> None:
        """Count from here: what came before a resumed run was not its work."""
        self.first_step, self.first_tokens = progress.step, progress.tokens
        self.bar.update(progress.step)
        self.started = time.perf_counter()

    def time_waiting(self, batches: Iterable) -> Iterator:
        """The same batches; what the loop waits for them is measured."""
        iterator = iter(batches)
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    @contextmanager
    def time_work(self) -> Iterator[None]:
        """Measures what is computed in a step."""
        began = time.perf_counter()
        yield
        self.worked += time.perf_counter() - began

    def speed(self, progress: Progress) -> dict[str, float]:
        """Tokens a second and the share of waiting for batches, both of the steps alone; the seconds that are left."""
        stepping = max(1e-9, self.waited + self.worked)
        steps = max(1, progress.step - self.first_step)
        return {
            "tokens_per_second": (progress.tokens - self.first_tokens) / stepping,
            "loader_wait_share": self.waited / stepping,
            "seconds_left": (time.perf_counter() - self.started) / steps * (self.max_steps - progress.step),
        }

    def show_losses(self, losses: dict[str, float], learning_rate: float, progress: Progress) -> None:
        """A line to the trackers, the losses and the speed beside the bar."""
        speed = self.speed(progress)
        self.accelerator.log({**losses, **speed, "learning_rate": learning_rate}, step=progress.step)
        shown = {name: f"{value:.2f}" for name, value in losses.items() if name.endswith("loss")}
        self.bar.set_postfix({**shown, "tokens/s": f"{speed['tokens_per_second']:.0f}"})

    def show_figures(self, figures: dict[str, float], step: int) -> None:
        """Figures on held-out examples to the trackers."""
        self.accelerator.log({f"held_out/{name}": value for name, value in figures.items()}, step=step)
