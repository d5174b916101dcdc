"""Which part of the work is a task's, where several share it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What one of several tasks has to do.

    Args:
        task (`int`, *optional*, defaults to 0):
            Its number, from 0 on.
        tasks (`int`, *optional*, defaults to 1):
            How many there are.

    Raises:
        `ValueError`: There is no such task.
    """

    task: int = 0
    tasks: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.task < self.tasks:
            raise ValueError(f"There is no task {self.task} of {self.tasks}; they are counted from 0 on.")

    def holds(self, number: int) -> bool:
        """Whether the thing with this number is the task's."""
        return number % self.tasks == self.task


WHOLE = Share()
