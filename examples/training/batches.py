"""Which examples come when: an order that depends on seed, epoch and step alone, for every number of processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

# Sorted together by length: many enough to be alike, few enough that the order stays random.
GROUPED_BATCHES = 50


@dataclass(frozen=True)
class StepShape:
    """How the examples of a step are shared out.

    Args:
        batch_size (`int`):
            Examples in a micro-batch.
        micro_batches (`int`, *optional*, defaults to 1):
            Micro-batches of a process in a step.
        processes (`int`, *optional*, defaults to 1):
            How many processes take part.
        rank (`int`, *optional*, defaults to 0):
            Which of them this is.
    """

    batch_size: int
    micro_batches: int = 1
    processes: int = 1
    rank: int = 0

    @property
    def examples(self) -> int:
        """Examples in a step, over all processes."""
        return self.batch_size * self.micro_batches * self.processes


class StepBatches(Sampler):
    """The micro-batches of one process, epoch by epoch.

    An epoch is a random order, cut into steps of as many examples as all micro-batches of all processes hold, so that
    two processes see in a step what one process with twice the batch sees. What does not fill a step at the end is
    left out: it comes in other epochs, whose order is another. Data smaller than a step are a step by themselves.

    Args:
        data ([`SegmentDataset`]):
            The examples.
        shape ([`StepShape`]):
            How those of a step are shared out.
        seed (`int`):
            Of the order, together with the epoch.
        grouped (`bool`, *optional*, defaults to `False`):
            Sort some steps' worth of examples by length, so that a batch is of about one length. The length is known
            when an example is drawn, so each is drawn once more for it.

    Raises:
        ValueError: There are fewer examples than micro-batches in a step.
    """

    def __init__(self, data, shape: StepShape, seed: int, grouped: bool = False):
        parts = shape.micro_batches * shape.processes
        if len(data) < parts:
            raise ValueError(
                f"There are {len(data)} examples for {parts} micro-batches in a step; allowed are fewer processes or "
                "a smaller gradient_accumulation_steps."
            )
        self.data, self.shape, self.seed, self.grouped = data, shape, seed, grouped
        self.epoch, self.first_step = 0, 0

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return max(1, len(self.data) // self.shape.examples)

    def start_at(self, epoch: int, step: int) -> None:
        """Begin the next pass in this epoch at this step of it."""
        self.epoch, self.first_step = epoch, step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.shape.micro_batches

    def __iter__(self) -> Iterator[list[int]]:
        order, shape = self._order(), self.shape
        for step in range(self.first_step, self.steps):
            chosen = order[step * shape.examples : (step + 1) * shape.examples]
            parts = np.array_split(chosen, shape.micro_batches * shape.processes)
            for micro_batch in range(shape.micro_batches):
                yield parts[micro_batch * shape.processes + shape.rank].tolist()

    def _order(self) -> np.ndarray:
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self.seed + self.epoch)).numpy()
        if not self.grouped:
            return order
        lots = [order[start : start + self._lot] for start in range(0, len(order), self._lot)]
        return np.concatenate([sorted(lot, key=self._longest) for lot in lots])

    def _longest(self, index: int) -> int:
        return max(len(example["input_ids"]) for example in self.data[index])

    @property
    def _lot(self) -> int:
        return GROUPED_BATCHES * self.shape.batch_size


def make_loader(data, collator, batches: Iterable[list[int]], num_workers: int = 0) -> DataLoader:
    """Load and collate these batches.

    Args:
        data ([`SegmentDataset`]):
            The examples.
        collator ([`VideoBertDataCollator`]):
            Makes a batch of some of them.
        batches (`Iterable[list[int]]`):
            The numbers of the examples in each batch.
        num_workers (`int`, *optional*, defaults to 0):
            Processes that prepare batches ahead.

    Returns:
        `DataLoader`
    """
    # With the global generator every pass would move the numbers that dropout draws.
    generator = torch.Generator().manual_seed(0)
    pinned = torch.cuda.is_available()
    return DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=collator,
        num_workers=num_workers,
        generator=generator,
        pin_memory=pinned,
    )


def held_out_batches(count: int, batch_size: int, processes: int = 1, rank: int = 0) -> list[list[int]]:
    """Share out examples so that each comes once and every process has as many batches.

    Args:
        count (`int`):
            How many examples there are.
        batch_size (`int`):
            The most in a batch; one more where there are hardly more examples than processes.
        processes (`int`, *optional*, defaults to 1):
            How many processes take part.
        rank (`int`, *optional*, defaults to 0):
            Which of them this is.

    Returns:
        `list[list[int]]`: The numbers of the examples in each batch of this process.

    Raises:
        ValueError: There are fewer examples than processes.
    """
    if count < processes:
        raise ValueError(f"{count} examples are held out for {processes} processes; allowed is at least 1 for each.")
    rounds = min(-(-count // (batch_size * processes)), count // processes)
    return [part.tolist() for part in np.array_split(np.arange(count), rounds * processes)[rank::processes]]


def cut_windows(batches: Iterable[dict], size: int) -> Iterator[list[dict]]:
    """Micro-batches in lots of `size`, one lot a step."""
    window = []
    for batch in batches:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
