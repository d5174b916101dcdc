"""How words and visual tokens become one sequence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.sequence_videobert import joint_sequence

CLS, SEP, JOIN = 4, 5, 1


def test_sequence_layouts():
    """Protects the three layouts and the token types, token by token."""
    arguments = dict(cls_id=CLS, join_id=JOIN, sep_id=SEP, visual_token_offset=100)
    assert joint_sequence([7, 8], [0, 3], **arguments) == ([CLS, 7, 8, JOIN, 100, 103, SEP], [0, 0, 0, 0, 1, 1, 0])
    assert joint_sequence([7, 8], [], **arguments) == ([CLS, 7, 8, SEP], [0, 0, 0, 0])
    assert joint_sequence([], [0, 3], **arguments) == ([CLS, 100, 103, SEP], [0, 1, 1, 0])


@given(st.integers(0, 40), st.integers(0, 40), st.integers(5, 50))
def test_truncation_keeps_both_modalities(num_words, num_clips, max_length):
    """A long sentence must not push out the video, nor the video the sentence; and no room is wasted."""
    ids, types = joint_sequence([7] * num_words, range(num_clips), CLS, JOIN, SEP, 100, max_length)
    words, vision = ids.count(7), sum(types)
    whole = num_words + num_clips + 2 + (num_words > 0 and num_clips > 0)
    assert len(ids) == len(types) == min(whole, max_length)
    assert bool(words) == bool(num_words) and bool(vision) == bool(num_clips)
    half = (max_length - 3) // 2
    assert words >= min(num_words, half) and vision >= min(num_clips, half)


def test_sequence_without_room_is_refused():
    """A length that cannot hold both modalities is named, not silently obeyed."""
    with pytest.raises(ValueError, match="max_length is 4"):
        joint_sequence([7], [0], CLS, JOIN, SEP, 100, 4)
