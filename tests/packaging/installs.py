"""
Builds sdist and wheel, and uses the wheel in a fresh environment of each Python, outside the repository.

    python tests/packaging/installs.py                    # the Python that runs this; about two minutes
    python tests/packaging/installs.py --all              # each of 3.10 … 3.14 that is here or that uv can fetch
    python tests/packaging/installs.py --python 3.12      # this one; may be given several times

The wheel is built from the sdist, from a copy of what git knows. Dependencies come from the package index, the newest
that are allowed, and are kept once in uv's cache: an environment costs their download, not their size. Ends with 1 if
a Python fails; one that is not to be had is named and left out.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_USE = Path(__file__).with_name("first_use.py")
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def run(*command: str | Path, **options) -> str:
    """What a command prints; if it fails, `RuntimeError` with the end of what it said."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{(done.stderr or done.stdout)[-3000:]}")
    return done.stdout


def uv(*arguments: str | Path, **options) -> str:
    return run(sys.executable, "-m", "uv", *arguments, "--quiet", **options)


def build(folder: Path) -> Path:
    """The wheel, built from the sdist in a copy: an earlier build's leftovers would come along."""
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    uv("build", "--out-dir", folder / "built", folder / "source")
    return next((folder / "built").glob("*.whl"))


def interpreter(version: str) -> str | None:
    """The program of a Python version such as "3.12": of pyenv's, or what uv finds or fetches; `None` without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for program in sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")):
        return str(program)
    try:
        return uv("python", "find", version).strip()
    except RuntimeError:
        pass
    try:
        uv("python", "install", version)
        return uv("python", "find", version).strip()
    except RuntimeError:
        return None


def use(wheel: Path, python: str, folder: Path) -> str:
    """What the first user in a fresh environment of this Python is told."""
    uv("venv", "--python", python, folder)
    uv("pip", "install", "--python", folder, wheel)
    outside = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    work = folder / "outside"
    work.mkdir()
    program = shutil.copy(FIRST_USE, work)
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return run(folder / "bin" / "python", program, cwd=work, env=outside | offline).strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help=f"each of {', '.join(VERSIONS)}")
    parser.add_argument("--python", action="append", metavar="VERSION", help="a version such as 3.12")
    options = parser.parse_args()
    found = {version: interpreter(version) for version in (VERSIONS if options.all else options.python or ())}
    found = found or {"{}.{}".format(*sys.version_info): sys.executable}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for version, python in found.items():
            if python is None:
                print(f"Python {version}: not here, and not to be had", flush=True)
                continue
            try:
                said = use(wheel, python, Path(folder) / version)
            except RuntimeError as error:
                failed, said = True, f"FAILED: {error}"
            shutil.rmtree(Path(folder) / version, ignore_errors=True)
            print(f"Python {version}: {said}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
