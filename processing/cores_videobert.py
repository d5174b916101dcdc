"""Work in pieces, each on one core: many small products are slower when all cores meet for every one of them."""

import functools
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch


@contextmanager
def one_core_each():
    """Inside, torch computes everything on the core that asks; gives the number of cores there are for pieces."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield cores
    finally:
        torch.set_num_threads(cores)


def on_cores(cores, function, items):
    """Results of a function of every item, in order, as many at a time as there are cores.

    Args:
        cores (`int`): How many, as given by `one_core_each`.
        function (callable): From an item to its result.
        items (iterable): Is read in this thread, only a little ahead of the results.

    Yields:
        What the function returns.
    """
    if cores == 1:
        yield from map(function, items)
        return
    pool, waiting = workers(os.getpid(), cores), deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait(waiting)


@functools.cache
def workers(process, cores):
    """The threads of a process (a fork does not inherit them), kept: new ones would each hold memory of their own."""
    return ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
