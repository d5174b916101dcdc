"""How long the networks of this process have waited for files: what says whether more processes would help to read."""

import threading
import time
from collections.abc import Iterable, Iterator


class Waiting:
    """Adds up seconds, of whichever thread.

    Attributes:
        seconds (`float`):
            So many since this process began.
    """

    def __init__(self):
        self.seconds, self._lock = 0.0, threading.Lock()

    def add(self, seconds: float) -> None:
        """Takes note of a wait."""
        with self._lock:
            self.seconds += seconds

    def for_items(self, stream: Iterable) -> Iterator:
        """The items of a stream; that each of them is not there yet counts."""
        stream, end = iter(stream), object()
        while True:
            begun = time.monotonic()
            item = next(stream, end)
            self.add(time.monotonic() - begun)
            if item is end:
                return
            yield item


WAITING = Waiting()
