"""Protects the figures at the end of a build, worked out by hand."""

import pytest

from processing.corpus.summary import Stage, kind_of, summarise, summary_lines


def row(video_id, duration, sentences, clips, error=None):
    sentences = [{"text": text, "start": start, "end": end} for text, start, end in sentences]
    return {
        "video_id": video_id,
        "duration": duration,
        "sentences": sentences,
        "visual_ids": [0] * clips,
        "error": error,
    }


def test_a_summary():
    rows = [
        row("a", 3600.0, [("now cut the lemon.", 0.0, 900.0), ("well done.", 1000.0, 1900.0)], 2400),
        row("b", 1800.0, [], 1200, "/some where/b.mp4: only 3.2 of 8 s of sound are there; and more"),
        row("c", None, [], 0, "c: the process that described it crashed (SIGSEGV)"),
        row("d", 1800.0, [], 0, "/else/d.mp4: only 12 of 80.5 s of sound are there"),
    ]
    summary = summarise(rows, {"pictures": Stage(720.0, 7200.0, 36.0), "speech": Stage(0.0, 0.0)})
    assert summary["videos"] == 4 and summary["hours"] == 2.0 and summary["visual_tokens"] == 3600
    assert summary["sentences"] == 2 and summary["words"] == 6 and summary["speech_share"] == 0.25
    assert summary["errors"] == {"only N of N s of sound are there": 2, "the process that described it crashed": 1}
    pictures = {"seconds": 720.0, "video_hours": 2.0, "real_time_factor": 0.1, "waiting_share": 0.05}
    assert summary["stages"]["pictures"] == pictures
    assert summary["stages"]["speech"]["real_time_factor"] is None
    assert summary_lines(summary) == [
        "4 videos, 2.00 hours: 3600 visual tokens, 6 words in 2 sentences; somebody speaks 25% of the time",
        "     2 with an error: only N of N s of sound are there",
        "     1 with an error: the process that described it crashed",
        "        pictures: 720.0 s for 2.00 hours of video, 0.100 of real time; 5% waiting for files",
    ]


def test_nothing_is_summed_up():
    summary = summarise([], {})
    assert summary["speech_share"] == 0.0 and summary["errors"] == {} and len(summary_lines(summary)) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("a: ZeroDivisionError: float division by zero", "ZeroDivisionError: float division by zero"),
        ("the video is damaged: 1 of its packets cannot be decoded", None),
        ("x/a.mp4: no such file (a path must lead to an existing regular file)", "no such file"),
    ],
)
def test_errors_of_one_kind_are_counted_together(error, kind):
    assert kind_of(error, "a") == (kind or "the video is damaged: N of its packets cannot be decoded")
