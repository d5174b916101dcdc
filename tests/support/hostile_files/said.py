"""Subtitles and captions that no one can read, or should."""

import json
import os
from pathlib import Path

from .world import World

CUE = "1\n{} --> {}\n{}\n\n"


def subtitles(world: World, folder: Path):
    """A good video, with bad subtitles beside it."""
    for name, content in _subtitles(world, folder):
        if content is not None:
            (folder / name).write_bytes(content)
        yield Path(name).with_suffix(".mp4").name, world.good(".mp4")


def _subtitles(world: World, folder: Path):
    good = CUE.format("00:00:00,100", "00:00:01,000", "cut the lemon")
    yield "script.srt", CUE.format("00:00:00,000", "00:00:01,000", "<script>alert(1)</script>" * 100).encode()
    yield "lines.srt", b"\n" * 5_000_000
    yield "too_large.srt", b"a" * 20_000_001
    yield "long_line.srt", CUE.format("00:00:00,000", "00:00:01,000", "a" * 2_000_000).encode()
    yield "arrows.srt", b"-->" * 300_000
    yield "spaces.srt", b" " * 500_000 + b"-->" + b" " * 500_000
    yield "tags.srt", CUE.format("00:00:00,000", "00:00:01,000", "<b " * 30_000).encode()
    yield "braces.srt", CUE.format("00:00:00,000", "00:00:01,000", "{\\" * 30_000).encode()
    yield "escapes.srt", CUE.format("00:00:00,000", "00:00:01,000", "&#99999999999;" * 5000).encode()
    yield "late.srt", good.encode() + CUE.format("99999999:00:00,000", "999999999:00:00,000", "late").encode()
    yield "digits.srt", CUE.format("9" * 5000 + ":00:00,000", "9" * 5001 + ":00:00,000", "late").encode()
    yield "backwards.srt", CUE.format("00:00:01,000", "00:00:00,000", "back").encode()
    yield "negative.srt", CUE.format("-00:10:00,000", "-00:00:01,000", "before").encode()
    yield "many.srt", "".join(CUE.format("00:00:00,000", "00:00:01,000", f"w{n}") for n in range(20_000)).encode()
    yield "zeros.srt", bytes(100_000)
    yield "nul.srt", good.replace("lemon", "le\0mon\x1b]0;owned\x07").encode()
    yield "utf16.srt", good.encode("utf-16-le")
    yield "bytes.srt", good.encode() + bytes(range(256)) * 100
    yield "surrogates.srt", good.encode().replace(b"lemon", b"\xed\xa0\x80\xed\xb0\x80")
    yield "overlong.srt", good.encode().replace(b"lemon", b"\xc0\xaf\xe0\x80\xaf")
    yield (
        "style.vtt",
        f"WEBVTT\n\nSTYLE\n::cue {{ background: url(http://{world.url}/) }}\n\n{good}".replace(",", ".").encode(),
    )
    (folder / "link.srt").symlink_to(world.elsewhere / "secret.srt")
    yield "link.srt", None
    os.mkfifo(folder / "pipe.srt")
    yield "pipe.srt", None
    (folder / "folder.srt").mkdir()
    yield "folder.srt", None


def captions(world: World, folder: Path):
    """A good video, and captions of other shapes than a list of cues, as JSON."""
    for name, content in _captions():
        (folder / name).write_bytes(content)
        yield Path(name).with_suffix(".mp4").name, world.good(".mp4")


def _captions():
    for name, text in {
        "number": "1",
        "word": '"a"',
        "nothing": "null",
        "numbers": "[1, 2]",
        "lists": "[[[]]]",
        "half": '[{"text": "a"',
        "nan": '[{"text": "a", "start": NaN, "end": Infinity}]',
        "much": '[{"text": "a", "start": 0, "end": 1e999}]',
        "long": f'[{{"text": "a", "start": 0, "end": 1{"0" * 400}}}]',
        "digits": f'[{{"text": "a", "start": 0, "end": {"9" * 5000}}}]',
        "kinds": '[{"text": {"a": 1}, "start": "0", "end": [1]}]',
        "columns": '{"text": "a", "start": 1, "end": {}}',
        "lengths": '{"text": ["a"], "start": [0, 1], "end": []}',
        "flags": '[{"text": "a", "start": false, "end": true}]',
        "surrogate": '[{"text": "\\ud800 word", "start": 0, "end": 1}]',
    }.items():
        yield f"{name}.json", text.encode()
    yield "deep.json", b"[" * 200_000
    yield "wide.json", json.dumps([{"text": "a", "start": 0, "end": 1}] * 5000).encode()
