"""How much one visitor may ask for, so that others get their turn."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

MAX_VISITORS = 10_000  # so many are remembered at most


class RateLimit:
    """Counts what each visitor took in the last so many seconds.

    Args:
        most (`int`):
            How often one may take something in that time.
        seconds (`float`):
            The time.
        things (`str`):
            What is taken, for the sentence that refuses it.
        clock (`Callable[[], float]`, *optional*, defaults to `time.monotonic`):
            Tells the time in seconds.

    Raises:
        ValueError: Nobody could have any.
    """

    def __init__(self, most: int, seconds: float, things: str, clock: Callable[[], float] = time.monotonic):
        if most < 1:
            raise ValueError(f"{most} {things} in {spoken(seconds)} cannot be the limit; allowed is 1 or more.")
        self.most, self.seconds, self.things = most, seconds, things
        self._clock, self._lock, self._taken = clock, threading.Lock(), defaultdict(deque)

    def take(self, visitor: str) -> None:
        """Counts one more.

        Args:
            visitor (`str`):
                Whoever takes it: the address that a browser comes from.

        Raises:
            ValueError: It would be one too many; the sentence says when the next one is allowed.
        """
        with self._lock:
            now = self._clock()
            if len(self._taken) >= MAX_VISITORS:
                self._forget(now)
            taken = self._taken[visitor]
            while taken and taken[0] <= now - self.seconds:
                taken.popleft()
            if len(taken) >= self.most:
                raise ValueError(
                    f"{self.most} {self.things} in {spoken(self.seconds)} are allowed, and you have had them; "
                    f"the next one is in {spoken(taken[0] + self.seconds - now)}."
                )
            taken.append(now)

    def _forget(self, now: float) -> None:
        """Leaves out those who took nothing for so long that it does not count; all, if that is nobody."""
        self._taken = defaultdict(
            deque, {one: taken for one, taken in self._taken.items() if taken and taken[-1] > now - self.seconds}
        )
        if len(self._taken) >= MAX_VISITORS:
            self._taken.clear()


def spoken(seconds: float) -> str:
    """A length of time as one says it: `"40 seconds"`, `"1 minute"`, `"1 hour"`."""
    size, name = next((pair for pair in ((3600, "hour"), (60, "minute")) if seconds >= pair[0]), (1, "second"))
    count = max(1, math.ceil(seconds / size))
    return f"{count} {name}{'s' if count > 1 else ''}"
