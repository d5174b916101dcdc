"""
Runs tests with the lowest version of each dependency that setup.py allows, on the oldest Python that is here.

    python tests/packaging/oldest.py                       # all fast tests
    python tests/packaging/oldest.py tests/hub -x          # what pytest is told instead

The environment is kept in `build/oldest` until setup.py changes; its packages come from the package index.
"""

import subprocess
import sys
from pathlib import Path

from installs import ROOT, VERSIONS, interpreter, uv

FOLDER = ROOT / "build" / "oldest"


def make_environment(folder: Path) -> Path:
    """The environment's Python; made anew if setup.py is younger."""
    done, python = folder / "installed", folder / "bin" / "python"
    if not done.exists() or done.stat().st_mtime < (ROOT / "setup.py").stat().st_mtime:
        oldest = next(filter(None, map(interpreter, VERSIONS)))
        uv("venv", "--clear", "--seed", "--python", oldest, folder)
        uv("pip", "install", "--python", python, "--resolution", "lowest-direct", "--editable", f"{ROOT}[demo,test]")
        done.touch()
    return python


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["-m", "not slow"]
    sys.exit(subprocess.run([make_environment(FOLDER), "-m", "pytest", *arguments], cwd=ROOT).returncode)
