"""How high a search ranks what was looked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOPS = (1, 5, 10)


def rank_of(scores: np.ndarray, place: int) -> int:
    """The rank of one of N candidates, 1 for the best.

    What has the same score counts as better, and so does what has no number: a search that says nothing earns nothing.

    Args:
        scores (`np.ndarray` of shape (N,)):
            The higher, the better.
        place (`int`):
            Which of them was looked for.

    Returns:
        `int`: 1 … N.
    """
    return int((~(scores < scores[place])).sum())


def summarise_ranks(ranks: Sequence[int], candidates: int) -> dict[str, float | int]:
    """What ranks come to.

    Args:
        ranks (`Sequence[int]`):
            N ranks, from 1.
        candidates (`int`):
            How many things were ranked.

    Returns:
        `dict`: `retrieval_r1`, `retrieval_r5` and `retrieval_r10`, the shares of ranks up to these;
        `retrieval_median_rank`; `retrieval_chance`, what `retrieval_r5` is when the order says nothing;
        `retrieval_queries`, which is N, and `retrieval_candidates`.

    Raises:
        ValueError: There are no ranks.
    """
    if not len(ranks):
        raise ValueError("There are no ranks to summarise: nothing was looked for.")
    found = np.asarray(ranks)
    return {
        **{f"retrieval_r{top}": float((found <= top).mean()) for top in TOPS},
        "retrieval_median_rank": float(np.median(found)),
        "retrieval_chance": min(1.0, 5 / candidates),
        "retrieval_queries": len(ranks),
        "retrieval_candidates": candidates,
    }
