"""Work in pieces, each on one core: many small products are slower when all cores meet for every one of them."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import torch


def each_on_a_core(function, items):
    """Results of a function of every item, in order, as many at a time as torch has threads.

    Args:
        function (callable): From an item to its result.
        items (iterable): Is read in this thread, only a little ahead of the results.

    Yields:
        What the function returns.
    """
    cores = torch.get_num_threads()
    if cores == 1:
        yield from map(function, items)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(cores)
