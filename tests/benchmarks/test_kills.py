"""Protects a build that is killed anywhere: `benchmarks/isolation.py`, which kills builds and their processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_build_that_was_killed_ends_in_the_same_bytes(tmp_path):
    """Three kills at random moments, and then the same call: features, ids, rows and codebook of a build that nobody
    killed, no row missing or twice, and no process left."""
    command = [sys.executable, str(ROOT / "benchmarks" / "isolation.py"), "--smoke", "--json", str(tmp_path / "json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "json").read_text())
    assert figures["kills_of_build"] + figures["kills_of_others"] == 3 and figures["files_compared"] > 20
    assert [figures[name] for name in ("differing", "rows_missing", "rows_twice", "orphans")] == [0] * 4, figures
