"""Segments: which clips belong to which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rows import row

from processing.training_data.segments import clips_between, row_segments, row_spans


def test_clip_belongs_where_its_middle_lies():
    """Middles lie at 0.75, 2.25, 3.75, …: the start is included, the end is not."""
    assert clips_between(0.0, 3.0, 1.5, 10) == (0, 2)
    assert clips_between(0.75, 2.25, 1.5, 10) == (0, 1)
    assert clips_between(0.76, 2.26, 1.5, 10) == (1, 2)
    assert clips_between(1.0, 2.0, 1.5, 10) == (1, 1)
    assert clips_between(12.0, 99.0, 1.5, 10) == (8, 10)
    assert clips_between(99.0, 120.0, 1.5, 10) == (10, 10)


def test_sentences_own_the_clips_in_their_span():
    """The paper's rule, and with `trailing_seconds` also what is shown just after, whoever speaks over it."""
    one = row("a", [("cut", 0.0, 3.0), ("stir", 6.0, 9.0)], 10)
    assert [(part.text, part.visual_ids) for part in row_segments(one)] == [("cut", (0, 1)), ("stir", (4, 5))]
    assert [part.visual_ids for part in row_segments(one, trailing_seconds=1.5)] == [(0, 1, 2), (4, 5, 6)]
    assert [part.visual_ids for part in row_segments(one, trailing_seconds=4.5)] == [(0, 1, 2, 3, 4), (4, 5, 6, 7, 8)]


def test_overlapping_sentences_share_no_clip():
    """Recognisers let sentences overlap: a clip then belongs to the one that began last, and only to it."""
    one = row("a", [("cut", 0.0, 9.0), ("stir", 3.0, 6.0)], 10)
    assert [part.visual_ids for part in row_segments(one)] == [(0, 1), (2, 3)]


def test_silence_is_cut_into_sixteens():
    """Without speech 16 tokens make a segment; a long pause in a narrated video is treated alike, a short is not."""
    sizes = [len(part.visual_ids) for part in row_segments(row("a", [], 40))]
    assert sizes == [16, 16, 8]
    pause = row("b", [("cut", 0.0, 3.0), ("stir", 33.0, 36.0), ("wash", 39.0, 42.0)], 30)
    assert [(part.text, len(part.visual_ids)) for part in row_segments(pause)] == [
        ("cut", 2),
        ("", 16),
        ("", 4),
        ("stir", 2),
        ("wash", 2),
    ]
    assert row_segments(row("c", [], 0, error="broken")) == []


times = st.floats(0, 60, allow_nan=False)


texts = st.sampled_from(["cut", " ", "stir the lemon"])


@given(st.lists(st.tuples(texts, times, times), max_size=8), st.integers(0, 40))
def test_spans_never_share_a_clip(sentences, num_clips):
    """Whatever a recogniser returns, spans stay inside the video, in order, and no clip is used twice."""
    spans = row_spans(row("a", sentences, num_clips))
    clips = [clip for span in spans for clip in range(span.first_clip, span.last_clip)]
    assert clips == sorted(set(clips)) and set(clips) <= set(range(num_clips))
    assert sorted(span.sentence for span in spans if span.sentence >= 0) == [
        number for number, (text, _, _) in enumerate(sentences) if text.strip()
    ]


@pytest.mark.parametrize("clip_seconds, clips", [(1.5, (4, 8)), (3.0, (2, 4)), (0.5, (12, 24))])
def test_the_row_says_how_long_a_clip_is(clip_seconds, clips):
    """At 3 s a clip, speech at 6 to 12 s once got the clips 4 to 7, which show 12 to 24 s, without a word."""
    spoken = {**row("a", [("cut", 6.0, 12.0)], 40), "clip_seconds": clip_seconds}
    (span,) = (span for span in row_spans(spoken) if span.sentence == 0)
    assert (span.first_clip, span.last_clip) == clips
    silent = row_spans({**row("b", [], 20), "clip_seconds": clip_seconds})
    assert [(span.start, span.end) for span in silent] == [
        (0, 16 * clip_seconds),
        (16 * clip_seconds, 20 * clip_seconds),
    ]
