"""Protects exact resuming where it takes several processes: `benchmarks/resume.py`, which kills and resumes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_killed_runs_of_two_processes_go_on_exactly(tmp_path):
    """Two processes with two workers each, killed in a window of two micro-batches and resumed, end in the same bits;
    and they learn what one process learns from the same global batch."""
    command = [sys.executable, str(ROOT / "benchmarks" / "resume.py"), "--smoke", "--json", str(tmp_path / "json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "json").read_text())
    assert figures["bit_identical"] == 1 and figures["two_processes_difference"] < 1e-5
    assert 0 < figures["loader_wait_share"] < 1
