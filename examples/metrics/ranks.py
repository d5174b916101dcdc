"""Ranks of the truth, and how often it is among the first.

Each folder of a metric that needs this has it as a link, as `coco_captions.py` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# The rank of what is not there.
MISS = math.inf


def rank_by_scores(scores: Sequence[float], truth: int) -> int:
    """The place of the truth, 1 for the best. What has the same score counts as better, and so does NaN."""
    scores = np.asarray(scores, dtype=float)
    return int(np.count_nonzero(~(scores < scores[truth])))


def rank_in_list(best_first: Sequence, truth) -> float:
    """The place of the truth in a list, 1 for the first; infinite if it is not there."""
    return best_first.index(truth) + 1 if truth in best_first else MISS


def share_within(ranks: Sequence[float], top: int) -> tuple[float, float]:
    """Which share of the ranks is among the first `top`, and its binomial standard error."""
    share = sum(rank <= top for rank in ranks) / len(ranks)
    return share, math.sqrt(share * (1 - share) / len(ranks))
