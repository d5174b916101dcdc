"""Protects the benchmarks: each script runs to its end at toy sizes, and its file holds the figures asked for.

What a figure is at toy sizes says nothing; that it is there, and finite, does. `i3d_speed.py` runs inside `media.py`;
`speech.py` takes minutes even so, and is left out.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Options that keep the toy runs short, and the figures.
RUNS = {
    "app": ([], ["first_result_s", "two_visitors_slowdown", "rss_growth_50_requests"]),
    # The other two parts start processes only to measure their memory.
    "codebook": (["--parts", "small", "assign"], ["fit_vs_minibatch", "inertia_vs_kmeans", "assign_vs_flat"]),
    "media": ([], ["read_vs_best_peer", "rss_ratio_2h_10min", "i3d_matmul_share", "i3d_vs_plain"]),
    "quality_kitchen": ([], ["object_top1", "pmi_verb", "auc_other_video", "forecast_top1", "markov2_top1"]),
    "pretraining_step": ([], ["loss_difference", "matmul_share", "memory_ratio"]),
    "search": ([], ["query_ms", "speed_vs_exhaustive", "recall_vs_exhaustive", "rss_growth"]),
}
# Packages that not everybody has who runs the tests.
NEEDED = {"app": "gradio_client", "codebook": "sklearn"}


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_gives_its_figures(name, tmp_path):
    options, figures = RUNS[name]
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{name}.py needs it")
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--smoke", "--json", str(tmp_path / "json")]
    # On one thread: toy sizes gain nothing from more, and beside other work wait for each other.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "json").read_text())
    assert all(math.isfinite(written[figure]) for figure in figures), written
