"""Protects the wheel: it holds every file of the packages, and is imported where the repository is not."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import modeling_videobert
import processing

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("modeling_videobert", "processing")
IMPORT = """
import modeling_videobert, processing.codebook, processing.corpus, processing.evaluation, processing.model_card
import processing.training_data
print(modeling_videobert.__file__, processing.__file__, sep="\\n")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer builds the wheel")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    # From a copy: what an earlier build left in `build/` would come along.
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--wheel-dir", target, source)
    return next(target.glob("*.whl"))


def pip(command, *arguments):
    call = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--no-index", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_holds_every_file_and_the_licence(wheel):
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert files == {name for name in held if ".dist-info/" not in name}
    assert any(name.endswith("/licenses/LICENSE") for name in held)


def test_there_is_one_version(wheel):
    """Of the wheel, of both packages, of what is cited, and of the newest changes."""
    version = modeling_videobert.__version__
    assert processing.__version__ == version
    assert wheel.name.startswith(f"videobert-{version}-")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


@pytest.mark.slow
def test_is_imported_outside_the_repository(wheel, tmp_path):
    pip("install", "--no-compile", "--target", tmp_path / "installed", wheel)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(tmp_path / "installed") for line in done.stdout.split())
