"""Timed sentences to a file of subtitles, `.vtt` or `.srt`, that players and [`read_subtitles`] read."""

import html
import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

# Longest line of a subtitle, as broadcasters have it.
LINE_CHARACTERS = 42
# Least pause between two subtitles: the eye sees that a new one has come, and no reader takes it for the old one that
# rolls on.
PAUSE_SECONDS = 0.1
# The kinds of files that are written.
SUBTITLES = (".vtt", ".srt")


def write_subtitles(path: str | os.PathLike, sentences: Sequence[Mapping]) -> None:
    """Write sentences as subtitles.

    Args:
        path (`str` or `os.PathLike`):
            A file that ends in `.vtt` or `.srt`.
        sentences (`Sequence[Mapping]`):
            `{"text", "start", "end"}`, in seconds, in order. Those without text are left out. Where the next one
            follows at once, a sentence ends `PAUSE_SECONDS` earlier.

    Raises:
        ValueError: Another kind of file, or a sentence that does not end after it starts.
    """
    path = Path(path)
    if path.suffix.lower() not in SUBTITLES:
        raise ValueError(f"{path}: subtitles are written to files that end in .vtt or .srt")
    path.write_text(format_subtitles(sentences, web=path.suffix.lower() == ".vtt"), encoding="utf-8")


def format_subtitles(sentences: Sequence[Mapping], web: bool) -> str:
    """The text of a file of subtitles.

    Args:
        sentences (`Sequence[Mapping]`):
            As of [`write_subtitles`].
        web (`bool`):
            Whether it is WebVTT, in which `&`, `<` and `>` are escaped; SubRip has no escapes.

    Raises:
        ValueError: A sentence that does not end after it starts, on a clock of milliseconds.
    """
    blocks = ["WEBVTT"] if web else []
    for sentence, following in zip_longest(sentences, sentences[1:]):
        start, end = (round(sentence[name] * 1000) for name in ("start", "end"))
        if following is not None:
            # What is short keeps half of its time.
            end = min(end, max(round((following["start"] - PAUSE_SECONDS) * 1000), (start + end) // 2))
        if not 0 <= start < end:
            raise ValueError(
                f"The sentence {sentence['text']!r:.60} lasts from {sentence['start']} to {sentence['end']} s; "
                "allowed is 0 <= start < end."
            )
        lines = textwrap.wrap(
            " ".join(sentence["text"].split()), LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False
        )
        if not lines:
            continue
        number = [] if web else [str(len(blocks) + 1)]
        times = f"{_written_time(start, web)} --> {_written_time(end, web)}"
        said = [html.escape(line, quote=False) if web else line for line in lines]
        blocks.append("\n".join([*number, times, *said]))
    return "\n\n".join(blocks) + "\n"


def _written_time(milliseconds: int, web: bool) -> str:
    """`00:01:02.500`, or with a comma for SubRip."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{'.' if web else ','}{rest:03}"
