"""The processes that share a fit, each of which reads its part of the features."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env, reduce


class Processes:
    """This process and the others.

    Args:
        alone (`bool`, *optional*, defaults to `False`):
            Whether this one does without the others.
    """

    def __init__(self, alone: bool = False):
        # It does not look by itself whether processes without GPUs are meant, and would take each for the only one.
        state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
        self.index: int = 0 if alone else state.process_index
        self.count: int = 1 if alone else state.num_processes

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def share(self, number: int) -> range:
        """Which of so many things are this process's."""
        return range(self.index, number, self.count)

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over processes."""
        if self.count == 1:
            return tensor
        # On the device whose memory the processes can exchange: GPUs exchange nothing that lies in the host's.
        return reduce(tensor.detach().to(PartialState().device, copy=True), "sum").to(tensor.device)

    def gather(self, items: list) -> list:
        """The joined lists of all processes."""
        return gather_object(items) if self.count > 1 else items

    def wait(self) -> None:
        """Until all of them are here."""
        if self.count > 1:
            PartialState().wait_for_everyone()
