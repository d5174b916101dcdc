"""The inside of a process that describes videos for another one, which outlives whatever a video does to it.

It gets a processor, builds its networks once, and is fed lots of videos until its parent closes the connection or is
gone. What it gets is its parent's and is unpickled; what it answers may have been touched by a hostile file, and is
JSON and plain bytes.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from ..names_videobert import SettingsError
from ..waiting_videobert import WAITING

BEAT_SECONDS = 0.2  # between two signs of life
PR_SET_PDEATHSIG = 1  # of prctl


class Stages:
    """Adds up the seconds of each stage: those since the last sign of any.

    Attributes:
        seconds (`dict[str, float]`):
            By stage.
        waited (`dict[str, float]`):
            By stage the seconds of it in which networks waited for files.
    """

    def __init__(self):
        self.seconds, self.waited, self._last = {}, {}, (time.monotonic(), WAITING.seconds)

    def __call__(self, stage: str) -> None:
        now = time.monotonic(), WAITING.seconds
        for told, one, before in zip((self.seconds, self.waited), now, self._last, strict=True):
            told[stage] = told.get(stage, 0.0) + one - before
        self._last = now

    def go_on(self) -> None:
        """What was done since the last sign was none of them."""
        self._last = time.monotonic(), WAITING.seconds


class Answers:
    """What goes back to the parent. Clips are cut, and tell of it, in a thread of their own.

    Args:
        connection (`multiprocessing.connection.Connection`):
            To the parent.
    """

    def __init__(self, connection: Connection):
        self._connection, self._lock, self._beaten = connection, threading.Lock(), 0.0
        self._stages = Stages()
        self._counts: dict[str, int] = {}

    def tell_progress(self, stage: str) -> None:
        """A sign of life: rare enough to cost nothing."""
        with self._lock:
            self._stages(stage)
            self._counts[stage] = self._counts.get(stage, 0) + 1
            if time.monotonic() - self._beaten > BEAT_SECONDS:
                self._beaten = time.monotonic()
                self._send({"beat": stage, "count": self._counts[stage]})

    def begin(self) -> None:
        """From here on the seconds of stages count, and their steps."""
        self._stages, self._counts = Stages(), {}

    def tell_rows(self, rows: list[dict]) -> None:
        """Rows, and after them the bytes of the features of each."""
        features = [np.ascontiguousarray(row["features"], dtype=np.float32) for row in rows]
        shapes = [one.shape for one in features]
        told = [{name: value for name, value in row.items() if name != "features"} for row in rows]
        with self._lock:
            took = {"seconds": self._stages.seconds, "waited": self._stages.waited}
            self._send({"rows": told, "shapes": shapes, **took})
            for one in features:
                self._connection.send_bytes(one.tobytes())

    def tell_error(self, error: Exception) -> None:
        """What was raised, with its traceback."""
        with self._lock:
            raised = {"kind": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
            self._send({"raised": raised, "settings": isinstance(error, SettingsError)})

    def _send(self, message: dict) -> None:
        self._connection.send_bytes(json.dumps(message).encode())


def serve(number: int, parent: int) -> None:
    """Describes what it is given, until there is no more or nobody to give it.

    Args:
        number (`int`):
            File descriptor of the connection.
        parent (`int`):
            Process id of the one at its other end.
    """
    end_with(parent)
    be_first_to_go()
    connection = Connection(number)
    answers = Answers(connection)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has ended
        try:
            processor, threads = connection.recv()
            torch.set_num_threads(threads)
            processor.describe([], [], [])  # builds the networks that every video needs
        except Exception as error:
            answers.tell_error(error)
            return
        answers.tell_rows([])
        while True:
            videos, names, subtitles = connection.recv()
            answers.begin()
            try:
                rows = processor.describe(videos, names, subtitles, on_progress=answers.tell_progress)
            except Exception as error:
                answers.tell_error(error)
            else:
                answers.tell_rows(rows)


def end_with(parent: int) -> None:
    """Lets the system end this process, whatever it is doing, when its parent ends, however that does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which has ended meanwhile
        os._exit(0)


def be_first_to_go() -> None:
    """Where the machine's memory runs out between two looks at it, this process is ended and not another one."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no gigabytes of core
