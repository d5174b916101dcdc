"""Protects `benchmarks/corpus.py`: it runs to its end at toy sizes, with its figures, and its count gate finds what it
is there to find."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

ROOT = Path(__file__).resolve().parents[2]
FIGURES = (
    "speed_vs_plain",
    "speed_vs_plain_bfloat16",
    "visual_ids_as_float32",
    "loader_wait_share",
    "time_growth",
    "hours_per_hour_pictures",
    "paper_hours_per_gpu_day",
)


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_corpora_of_toy_size(tmp_path):
    """Real networks on two short videos beside the plain loop, and corpora of 2, 4 and 8 videos: no row is missing."""
    command = [sys.executable, str(ROOT / "benchmarks" / "corpus.py"), "--smoke", "--json", str(tmp_path / "json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["--parts", "speed", "time", "decode"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "json").read_text())
    assert all(0 < figures[name] < math.inf for name in FIGURES), figures
    assert figures["visual_ids_as_float32"] <= 1
    assert [figures[name] for name in ("rows_missing", "rows_twice", "clips_differing")] == [0, 0, 0]
    assert figures["speed"]["clips"] == {"ours": 4, "plain": 4}


def test_the_count_gate_finds_what_differs(parts):
    """Of five videos one is missing, one there twice, one has a clip too many, one is nobody's."""
    from corpus_parts.builds import count_rows

    rows = {"video_id": ["a", "b", "b", "c", "x"], "visual_ids": [[0, 1], [3], [3], [1, 2, 3], [0]]}
    counts = count_rows(Dataset.from_dict(rows), {"a": 3.0, "b": 1.5, "c": 3.0, "d": 9.0})
    assert counts == {"rows_missing": 1, "rows_twice": 2, "clips_differing": 1}


def test_ids_that_stay_are_counted(parts):
    """Of eight, clip by clip and video by video, whatever their order."""
    from corpus import share_of_same

    assert share_of_same({"a": [1, 2, 3, 4, 5], "b": [6, 7, 8]}, {"b": [6, 8, 7], "a": [1, 2, 3, 4, 9]}) == 5 / 8


def test_short_videos_differ_and_can_be_read(parts, tmp_path):
    """Copies would be described once: each has a box of its own behind it, which readers skip."""
    from corpus_parts.growth import SHORT_SECONDS, make_short_videos

    from processing.media_videobert import open_media

    videos = make_short_videos(tmp_path / "videos", 6)
    assert len({path.read_bytes() for path in videos.values()}) == 6
    with open_media(videos["short_0005"]) as media:
        assert media.has_audio and media.duration == pytest.approx(SHORT_SECONDS, abs=0.05)


def test_the_calculation(parts, monkeypatch):
    """Worked out by hand. A GPU of 40 TFLOP/s beside 0.4 TFLOP/s here is 100 times as fast: 10 and 30 hours an hour
    of two networks are 7.5 of both, so 750 on it and 18,000 a day; at 7.5 hours an hour, two cores decode a hundredth
    of that."""
    from corpus_parts import paper

    monkeypatch.setattr(paper, "count_gigaflop", lambda: 50.0)
    rates = {"network_of_pictures": 10.0, "network_of_speech": 30.0, "decode_720p": 7.5}
    figures = {f"hours_per_hour_{name}": rate for name, rate in rates.items()} | {"clips_an_hour": 8 * 3600}
    found = paper.calculate(figures, cores=2)
    assert found["paper_hours_per_gpu_day"] == pytest.approx(18_000)
    assert found["paper_gpu_days"] == pytest.approx(23_186 / 18_000)
    assert found["paper_cores_per_gpu"] == pytest.approx(200)
