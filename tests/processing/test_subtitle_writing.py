"""Subtitles that are written: what players expect, and what our own reader makes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.subtitle_writing_videobert import format_subtitles, write_subtitles
from processing.subtitles_videobert import read_subtitles

SENTENCES = [
    {"text": "Salt & pepper, if temperature < 5 --> heat it up.", "start": 0.0, "end": 6.0},
    {"text": "now cut   the\n\nlemon.", "start": 3661.0005, "end": 3662.5},
    {"text": "  ", "start": 3663.0, "end": 3664.0},
]
VTT = """WEBVTT

00:00:00.000 --> 00:00:06.000
Salt &amp; pepper, if temperature &lt; 5 --&gt; heat
it up.

01:01:01.000 --> 01:01:02.500
now cut the lemon.
"""
SRT = """1
00:00:00,000 --> 00:00:06,000
Salt & pepper, if temperature < 5 --> heat
it up.

2
01:01:01,000 --> 01:01:02,500
now cut the lemon.
"""


def test_files_by_hand(tmp_path):
    """Escapes where the format has them, lines that can be read, and no empty cue."""
    write_subtitles(tmp_path / "a.vtt", SENTENCES)
    write_subtitles(tmp_path / "a.SRT", SENTENCES)
    assert (tmp_path / "a.vtt").read_text() == VTT
    assert (tmp_path / "a.SRT").read_text() == SRT


words = st.lists(
    st.sampled_from("cut the lemon & stir <i> it's 5 < 6 soup again über".split()), min_size=1, max_size=14
)


@given(st.lists(words, max_size=6), st.sampled_from([".vtt", ".srt"]), st.booleans())
def test_our_own_reader_reads_them(tmp_path_factory, texts, ending, full_stop):
    """All words come back, and of sentences with a full stop their times; though the next one follows at once, and may
    say the same words again."""
    texts = [" ".join(text) for text in texts]
    if ending == ".srt":  # which cannot say that a tag is none
        texts = [text.replace("<i>", "i") for text in texts]
    sentences = [
        {"text": f"{text} {number % 2}{'.' * full_stop}", "start": 7.0 * number, "end": 7.0 * number + 7}
        for number, text in enumerate(texts)
    ]
    path = tmp_path_factory.mktemp("written") / f"a{ending}"
    write_subtitles(path, sentences)
    if not sentences:
        return
    found = read_subtitles(path)
    said, read = (" ".join(one["text"] for one in some).replace(".", "") for some in (sentences, found))
    assert read == said
    if not full_stop:  # where one sentence ends is then the reader's guess
        return
    for one, wanted in zip(found, sentences, strict=True):
        assert one["start"] == pytest.approx(wanted["start"], abs=1e-3)
        last = wanted is sentences[-1]
        assert one["end"] == pytest.approx(wanted["end"] - (0 if last else 0.1), abs=1e-3)


def test_other_files_and_times(tmp_path):
    """One sentence that names the file, or the sentence and its times."""
    with pytest.raises(ValueError, match="a.txt: subtitles are written to files that end in .vtt or .srt"):
        write_subtitles(tmp_path / "a.txt", SENTENCES)
    with pytest.raises(ValueError, match="'cut it.' lasts from 2.0 to 2.0002 s; allowed is 0 <= start < end"):
        format_subtitles([{"text": "cut it.", "start": 2.0, "end": 2.0002}], web=True)
