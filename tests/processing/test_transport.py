"""MPEG streams whose clock begins anew, jumps or wraps are read as one video: pictures and sound in step, in order."""

import io
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.media_videobert import open_media
from processing.transport_videobert import WRAP, Stamps, _pack, _steady_shifts, _unpack, steady_stamps


def make_part(path, seconds, flash, *options):
    """Grey, white for a second from `flash` on, when a tone sets in; nothing of both where that is later."""
    picture = (
        f"color=gray:s=64x48:r=25:d={seconds},drawbox=0:0:64:48:white:fill:enable='between(t,{flash},{flash}+0.99)'"
    )
    sound = f"aevalsrc='gte(t,{flash})*0.3*sin(2764*t)':d={seconds}:s=48000"
    sources = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    codecs = ["-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"]
    subprocess.run(["ffmpeg", "-v", "error", *sources, *codecs, *options, str(path)], check=True)
    return path.read_bytes()


def flash_and_tone(data):
    """(seconds of the video, when it turns white, when its tone sets in)"""
    with open_media(data) as media:
        levels = np.concatenate([clip.float().mean((1, 2, 3)).numpy() for clip in media.iter_clips()])
        waveform, start = media.read_speech()
        assert media.problems == []
        return media.duration, np.argmax(levels > 200) / 20, start + np.argmax(np.abs(waveform) > 0.1) / 16000


@pytest.mark.parametrize(
    "name, options, again",
    [
        ("a.ts", (), ()),
        ("a.ts", (), ("-output_ts_offset", "500")),
        ("a.m2ts", ("-mpegts_m2ts_mode", "1"), ()),
        ("a.mpg", (), ()),
        ("a.vob", (), ()),
    ],
)
def test_clock_that_begins_anew_or_jumps(tmp_path, name, options, again):
    """4 s, then 6 s that turn white and loud after 3 of them, joined byte by byte: 10 s, white and loud at 7 s. The
    parts of a program stream, whose packets hold several frames, fit together to some of them."""
    first = make_part(tmp_path / f"1{name}", 4, 99, *options)
    second = make_part(tmp_path / f"2{name}", 6, 3, *options, *again)
    duration, white, loud = flash_and_tone(first + second)
    assert duration == pytest.approx(10, abs=0.25)
    assert white == pytest.approx(7, abs=0.25) and loud == pytest.approx(white, abs=0.11)


def test_clock_that_wraps(tmp_path):
    """33 bits of a 90 kHz clock wrap 2 s after the start: nothing is lost, nothing is doubled."""
    data = make_part(tmp_path / "a.ts", 6, 3, "-output_ts_offset", f"{WRAP / 90_000 - 3.4:.3f}")
    assert flash_and_tone(data) == pytest.approx((6, 3, 3), abs=0.06)


@pytest.mark.parametrize(
    "name, white", [("ts_clock_begins_anew_after_8s.ts", 13), ("ts_33bit_clock_wraps_at_6s.ts", 5)]
)
def test_as_a_remux_of_ffmpeg(shared_media, name, white):
    """Where `ffmpeg -c copy` puts pictures and speech, to the frame: the speech sets in 0.28 s after the white."""
    duration, seen, heard = flash_and_tone((shared_media.parent / "faults" / name).read_bytes())
    assert (duration, seen) == pytest.approx((white + 15, white), abs=0.01)
    assert heard == pytest.approx(white + 0.28, abs=0.15)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg", "a.mp4"])
def test_steady_clock_is_left_alone(tmp_path, name):
    assert steady_stamps(io.BytesIO(make_part(tmp_path / name, 4, 2))) is None


@pytest.mark.parametrize("content", [b"G" * 18_800, (b"G" + bytes(187)) * 100, b"\0\0\1\xba" + bytes(1000)])
def test_packets_without_any_time_are_left_alone(content):
    """What begins as a stream and is none was an unforeseen error."""
    assert steady_stamps(io.BytesIO(content)) is None


def test_shifts_by_hand():
    """Frames of 40 ms: a clock that begins anew, and late packets of the sound (stream 2) still on the clock before
    it. What one stream alone leaves out is a pause, no other clock."""
    frame = 3600
    streams = [1, 2, 1, 1, 2, 2]
    times = [90 * frame, 90 * frame, 91 * frame, 5 * frame, 91 * frame, 6 * frame]
    shifts = _steady_shifts(streams, times)
    assert np.diff(np.array(times) + shifts).tolist() == [0, frame, frame, -frame, 2 * frame]
    pause = _steady_shifts([1, 2, 2, 2, 2, 2, 1, 2], [90_000 * time for time in (0, 0, 8, 16, 24, 32, 40, 40)])
    assert len(set(pause.tolist())) == 1


@given(st.lists(st.integers(0, WRAP - 1), min_size=1, max_size=20))
def test_times_in_five_bytes(times):
    fields = np.tile(np.array([0x21, 0, 1, 0, 1], np.uint8), (len(times), 1))
    packed = _pack(np.array(times), fields)
    assert _unpack(packed).tolist() == times and (packed[:, ::2] & 1).all() and (packed[:, 0] & 0xF0 == 0x20).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.lists(st.integers(5, 20), max_size=5))
def test_stamps_across_the_borders_of_reads(reads, gaps):
    """However a file is read, the same bytes come."""
    places = np.cumsum(gaps, dtype=np.int64)
    fields = np.arange(5 * len(places), dtype=np.uint8).reshape(-1, 5) + 100
    stamps, data, place, got = Stamps(places, fields), bytes(sum(reads)), 0, b""
    for size in reads:
        got += stamps.written_into(data[place : place + size], place)
        place += size
    assert got == stamps.written_into(data, 0)
    for start, field in zip(places, fields, strict=True):
        assert got[start : start + 5] == field.tobytes()[: max(0, len(data) - start)]
