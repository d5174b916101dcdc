"""Videos described in processes of their own: one that hangs, crashes or eats memory is ended, and the next goes on.

A process is started for the first lot, builds the processor's networks once and is fed lot after lot. It is a fresh
Python, not a fork, whose threads and GPU would be broken, and not one of `multiprocessing`, which would run the user's
main script again. Its memory is watched from outside: a limit of address space (RLIMIT_AS) counts what torch and CUDA
only reserve, RLIMIT_DATA the stacks of threads, and at both FFmpeg crashes or tells of a damaged file, where here one
sentence says how much was held and how much is allowed.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import Pipe

import numpy as np
import psutil
import torch
from transformers.utils import logging

from ..names_videobert import SettingsError
from ..processing_videobert import VideoBertProcessor
from .child import Stages

logger = logging.get_logger(__name__)

DEADLINE = 600.0
MEMORY_SHARE = 0.75  # of the machine's, for all processes together
LOOK_SECONDS = 0.1  # between two looks at the memory
STARTS = 3  # so often a process may end before it is ready
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import serve; serve({ours}, {parent})"
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM)
STOPPED = "the build was stopped"


class EndedError(RuntimeError):
    """The process that described videos was ended, or ended itself; the message goes on after "the process"."""


class KilledError(EndedError):
    """Somebody else killed the process: a user, or the system where memory ran out."""


class RaisedError(RuntimeError):
    """What describing raised in the other process."""

    def __init__(self, raised: dict):
        super().__init__(f"{raised['kind']}: {raised['message']}")
        self.traceback = raised["traceback"]


class Here:
    """Describes videos in this process, where nothing protects it from them.

    Args:
        processor ([`VideoBertProcessor`]):
            Describes them.

    Attributes:
        seconds (`dict[str, float]`):
            Spent on each stage.
        waited (`dict[str, float]`):
            Seconds of it in which networks waited for files.
    """

    def __init__(self, processor: VideoBertProcessor):
        self.processor, self._stages, self.on_beat = processor, Stages(), None
        self.seconds, self.waited = self._stages.seconds, self._stages.waited

    def describe(self, videos: list, names: list[str], subtitles: list) -> list[dict]:
        """As the processor does."""
        self._stages.go_on()
        return self.processor.describe(videos, names, subtitles, on_progress=self._stages)

    def close(self) -> None:
        """There is nothing to end."""


class Child:
    """Describes videos in a process of its own, which is started when it is first needed, and again when it has ended.

    Args:
        begin (`bytes`):
            Pickled: the processor, and how many threads torch has in the process.
        deadline (`float`):
            Seconds without any progress after which it is ended.
        memory (`float`):
            GiB after which it is ended.

    Attributes:
        seconds (`dict[str, float]`):
            Spent on each stage.
        waited (`dict[str, float]`):
            Seconds of it in which networks waited for files.
        on_beat (`Callable[[str], object]`):
            Told now and then what it is at: the stage, and how many clips or blocks of sound it has come to.
    """

    def __init__(self, begin: bytes, deadline: float, memory: float):
        self.begin, self.deadline, self.memory = begin, deadline, memory
        self.seconds, self.waited, self.on_beat = {}, {}, lambda text: None
        self._process, self._connection, self._closed = None, None, False
        self._launching = threading.Lock()

    def describe(self, videos: list, names: list[str], subtitles: list) -> list[dict]:
        """As the processor does.

        Raises:
            EndedError: The process has ended, or had to be ended. Where somebody else killed it, which is no fault of
                the videos, they were given to a second one, which has ended too.
            RaisedError: Describing raised an error.
            SettingsError: A network cannot be had as it is asked for, or the process ends before it is ready.
        """
        for last_try in (False, True):
            try:
                if self._process is None:
                    self._start()
                return self._ask(pickle.dumps((videos, names, subtitles)), self.deadline)
            except KilledError:
                if last_try:
                    raise

    def close(self) -> None:
        """Ends the process, and lets no other one begin. Another thread that waits for an answer, or is about to start
        the process, is told by a `KeyboardInterrupt`."""
        with self._launching:
            self._closed, process = True, self._process
        if process is not None:
            process.kill()
            process.wait()

    def _start(self) -> None:
        for _ in range(STARTS):
            try:
                self._launch()
                self._ask(self.begin, None)
                return
            except OSError as error:
                raise SettingsError(f"The process that is to describe videos cannot be started: {error}") from error
            except EndedError as error:
                reason = error
            except RaisedError as error:
                self._end()
                raise SettingsError(str(error)) from error
        raise SettingsError(
            f"The process that is to describe videos {reason} at its start, {STARTS} times. What it wrote is above; "
            "with num_workers=0 the videos are described in this process, without protection from them."
        )

    def _launch(self) -> None:
        ours, others = Pipe()
        module, parent = f"{__package__}.child", os.getpid()
        command = START.format(module=module, ours=others.fileno(), parent=parent)
        with others, self._launching, without_ctrl_c():
            if self._closed:
                raise KeyboardInterrupt(STOPPED)
            self._process = subprocess.Popen(
                [sys.executable, "-c", command, json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, "TQDM_DISABLE": "1"},  # the bar is here
                pass_fds=[others.fileno()],
            )
            self._connection = ours

    def _ask(self, question: bytes, deadline: float | None) -> list[dict]:
        """Sends something and waits for rows, as long as the process lives, within its limits."""
        try:
            self._connection.send_bytes(question)
            watched, last = psutil.Process(self._process.pid), time.monotonic()
            while True:
                if self._connection.poll(LOOK_SECONDS):
                    answer = json.loads(self._connection.recv_bytes())
                    if "beat" not in answer:
                        return self._read(answer)
                    last = time.monotonic()
                    self.on_beat(f"{answer['beat']} {answer['count']}")
                if (held := watched.memory_info().rss / 2**30) > self.memory:
                    self._end()
                    raise EndedError(f"held {held:.2f} GiB of memory and was ended; {self.memory:.2f} are allowed")
                if deadline is not None and time.monotonic() - last > deadline:
                    self._end()
                    raise EndedError(f"made no progress in {deadline:g} s and was ended")
        except (EOFError, OSError, psutil.NoSuchProcess):
            raise self._explained() from None

    def _read(self, answer: dict) -> list[dict]:
        if "raised" in answer:
            if answer["settings"]:
                raise SettingsError(answer["raised"]["message"])
            raise RaisedError(answer["raised"])
        for told, name in ((self.seconds, "seconds"), (self.waited, "waited")):
            for stage, seconds in answer[name].items():
                told[stage] = told.get(stage, 0.0) + seconds
        features = [self._connection.recv_bytes() for _ in answer["rows"]]
        return [
            {**row, "features": np.frombuffer(content, dtype=np.float32).reshape(shape)}
            for row, content, shape in zip(answer["rows"], features, answer["shapes"], strict=True)
        ]

    def _explained(self) -> BaseException:
        """Why the process has ended."""
        if self._closed:
            return KeyboardInterrupt(STOPPED)
        code = self._process.wait()
        self._end()
        if code >= 0:
            return EndedError(f"ended by itself with status {code}")
        name = signal.Signals(-code).name
        if -code in FROM_OUTSIDE:
            return KilledError(f"was killed from outside ({name})")
        return EndedError(f"crashed ({name})")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._connection.close()
            self._process = None


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """What is started inside never hears of Ctrl-C, which goes to all processes of a terminal: its parent ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def make_describers(
    processor: VideoBertProcessor, num_workers: int, deadline: float, memory: float | None
) -> list[Here | Child]:
    """Who describes videos: so many processes or, for 0, this one.

    Args:
        processor ([`VideoBertProcessor`]):
            Describes them; in this process if it cannot be sent to another one, for what it holds ready-made.
        num_workers (`int`):
            How many processes.
        deadline (`float`):
            Seconds without any progress after which one is ended.
        memory (`float`, *optional*):
            GiB after which one is ended; by default its part of three quarters of the machine's.

    Raises:
        `ValueError`: A number that cannot be.
    """
    if num_workers < 0 or deadline <= 0 or (memory is not None and memory <= 0):
        raise ValueError(
            f"num_workers is {num_workers}, deadline {deadline} and memory {memory}; at least 0 processes are needed, "
            "and more than 0 seconds and GiB."
        )
    if not num_workers:
        return [Here(processor)]
    try:
        lean = copy.copy(processor)
        lean.codebook = None
        begin = pickle.dumps((lean, max(1, torch.get_num_threads() // num_workers)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        logger.warning(
            f"The processor cannot be sent to another process ({error}): videos are described in this one, which a "
            "file that hangs or crashes the decoder ends. Give its networks by name."
        )
        return [Here(processor)]
    memory = MEMORY_SHARE * psutil.virtual_memory().total / 2**30 / num_workers if memory is None else memory
    return [Child(begin, deadline, memory) for _ in range(num_workers)]


def share_out(lots: Iterator, describers: list, work: Callable, pool: ThreadPoolExecutor) -> Iterator:
    """What a function makes of a describer and a lot, as many lots at a time as there are describers.

    Args:
        lots (iterator):
            Read in this thread, no further than there is somebody for it.
        describers (`list`):
            Each has one lot at a time.
        work (`Callable`):
            From a describer and a lot to the result.
        pool (`ThreadPoolExecutor`):
            A thread for each of several describers. The system ends a process with the thread that has started it.
    """
    if len(describers) == 1:
        for lot in lots:
            yield work(describers[0], lot)
        return
    free, busy = [*describers], {}
    while True:
        while free and (lot := next(lots, None)) is not None:
            describer = free.pop()
            busy[pool.submit(work, describer, lot)] = describer
        if not busy:
            return
        done, _ = wait(busy, return_when=FIRST_COMPLETED)
        for future in done:
            free.append(busy.pop(future))
            yield future.result()


@contextmanager
def closing_all(describers: list) -> Iterator[ThreadPoolExecutor]:
    """Threads for describers, all of which are closed in the end, whatever they are doing."""
    with ThreadPoolExecutor(len(describers)) as pool:
        try:
            yield pool
        finally:
            for describer in describers:
                describer.close()
