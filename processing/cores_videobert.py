"""Work in pieces, each on one core: many small products are slower when all cores meet for every one of them."""

import functools
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

# torch keeps the number of its threads for each thread, and one for MKL and for threads that are new to it. While any
# thread is inside a block that one is 1; whoever comes meanwhile takes the number from before.
_lock, _inside, _before, _own = threading.Lock(), 0, 1, threading.local()


def cores_here():
    """How many cores this thread may use: those of the process, or 1 inside `one_core_each`."""
    with _lock:
        return _before if _inside and not getattr(_own, "depth", 0) else torch.get_num_threads()


@contextmanager
def one_core_each():
    """Inside, torch computes everything on the core that asks; gives the number of cores there are for pieces."""
    global _inside, _before
    cores = cores_here()
    with _lock:
        if not _inside:
            _before = cores
        _inside += 1
        _own.depth = getattr(_own, "depth", 0) + 1
        torch.set_num_threads(1)
    try:
        yield cores
    finally:
        with _lock:
            _inside -= 1
            _own.depth -= 1
            if not _own.depth:
                torch.set_num_threads(cores)
                if _inside:  # another thread still is: set from a third, 1 holds for all but this one
                    _in_new_thread(torch.set_num_threads, 1)


def _in_new_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


def on_cores(cores, function, items):
    """Results of a function of every item, in order, as many at a time as there are cores.

    Args:
        cores (`int`):
            How many, as given by `one_core_each`.
        function (callable):
            From an item to its result.
        items (iterable):
            Is read in this thread, only a little ahead of the results.

    Yields:
        What the function returns.
    """
    if cores == 1:
        yield from map(function, items)
        return
    waiting: deque[Future] = deque()
    pool = workers(os.getpid(), cores)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            # So far ahead that a long piece, whose result must come first, leaves no core idle.
            if len(waiting) > 4 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait(waiting)


@functools.cache
def workers(process, cores):
    """The threads of a process (a fork does not inherit them), kept: new ones would each hold memory of their own."""
    return ThreadPoolExecutor(cores, initializer=_begin_work)


def _begin_work():
    _own.depth = 1
    torch.set_num_threads(1)
