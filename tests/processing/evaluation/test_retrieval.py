"""Protects the figures of a search: ranks that luck cannot improve, and shares that are those of the ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.evaluation import rank_of, summarise_ranks


def test_ranks_by_hand():
    """Equal scores count as better, and so does what is no number: a search that says nothing is the last."""
    scores = np.array([3.0, 1.0, 2.0, 2.0, np.nan])
    assert [rank_of(scores, place) for place in range(5)] == [2, 5, 4, 4, 5]
    assert rank_of(np.zeros(7), 3) == 7


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30, unique=True), st.data())
def test_a_rank_is_the_place_in_order(scores, data):
    """Where no two are equal."""
    place = data.draw(st.integers(0, len(scores) - 1))
    assert rank_of(np.array(scores), place) == 1 + sorted(scores, reverse=True).index(scores[place])


def test_summary_by_hand():
    """Ten queries among fifty: one first rank, three up to 5, five up to 10; the middle lies between 9 and 11."""
    assert summarise_ranks([1, 3, 5, 7, 9, 11, 20, 30, 40, 50], 50) == {
        "retrieval_r1": 0.1,
        "retrieval_r5": 0.3,
        "retrieval_r10": 0.5,
        "retrieval_median_rank": 10.0,
        "retrieval_chance": 0.1,
        "retrieval_queries": 10,
        "retrieval_candidates": 50,
    }
    assert summarise_ranks([1], 2)["retrieval_chance"] == 1
    with pytest.raises(ValueError, match="no ranks"):
        summarise_ranks([], 50)
