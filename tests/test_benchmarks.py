"""Protects the benchmarks: each script runs to its end at toy sizes, and its file holds the figures asked for.

What a figure is at toy sizes says nothing; that it is there, and finite, does. `i3d_speed.py` runs inside `media.py`.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaged import packaged_weights

ROOT = Path(__file__).resolve().parents[1]
# Options that keep the toy runs short, and the figures.
RUNS = {
    # The other two parts start processes only to measure their memory.
    "codebook": (["--parts", "small", "assign"], ["fit_vs_minibatch", "inertia_vs_kmeans", "assign_vs_flat"]),
    "media": ([], ["read_vs_best_peer", "rss_ratio_2h_10min", "i3d_matmul_share", "i3d_vs_plain"]),
    "pretraining_step": (["--repeats", "1", "--examples", "8"], ["loss_difference", "matmul_share", "memory_ratio"]),
    "speech": (["--parts", "with_pauses", "--only_plain"], ["speed_with_pauses", "time_error_median"]),
}
PEERS = {"codebook": "sklearn", "speech": "piper"}


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_gives_its_figures(name, tmp_path):
    options, figures = RUNS[name]
    if name in PEERS and importlib.util.find_spec(PEERS[name]) is None:
        pytest.skip(f"{PEERS[name]}, which {name}.py compares or speaks with, is not installed")
    if name == "speech":
        for weights in ("piper-joe", "whisper-tiny.en"):
            packaged_weights(weights)
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--smoke", "--json", str(tmp_path / "json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "json").read_text())
    assert all(math.isfinite(written[figure]) for figure in figures), written
