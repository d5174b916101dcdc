"""Files that are whole or absent whenever a run is killed, and that are named when they were damaged afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished"


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """A folder of one's own inside another, for what is being written; it is gone in the end.

    It is locked as long as its writer lives: so [`remove_unfinished`] knows what a killed one left.
    """
    while True:
        path = Path(tempfile.mkdtemp(suffix=UNFINISHED, dir=folder))
        with suppress(FileNotFoundError):  # taken for litter before it was locked
            lock = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: then nothing is taken for litter
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                break
            os.close(lock)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove_unfinished(folder: Path) -> None:
    """Removes what killed runs left unfinished in a folder; what is being written now stays."""
    for path in folder.glob(f"*{UNFINISHED}"):
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def only_one(folder: Path, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Keeps other runs out of a folder. The system lets go of the lock when its holder ends, however that happens.

    Args:
        folder (`Path`):
            The folder.
        wait (`bool`, *optional*, defaults to `False`):
            Whether to wait until another run has ended.
        shared (`bool`, *optional*, defaults to `False`):
            Whether runs that say so too are let in beside it.

    Raises:
        `ValueError`: Another run is at work there.
    """
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(
                f"Another run is at work in {folder}; wait until it has ended, or use another folder."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(lock)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file, or a folder, at a place that no other process knows, and moves it to its own.

    Args:
        path (`Path`):
            Where it goes; what is there is replaced.
        write (`Callable[[Path], object]`):
            Writes it where it is told to.
    """
    with unfinished_folder(path.parent) as folder:
        write(folder / path.name)
        if path.is_dir():  # which cannot be replaced in one step
            os.replace(path, folder / "before")
        os.replace(folder / path.name, path)


def write_json(path: Path, content: dict) -> None:
    """Writes a small file of settings."""
    write_whole(path, lambda unfinished: unfinished.write_text(json.dumps(content), encoding="utf-8"))


def read_json(path: Path) -> dict:
    """Reads a small file of settings.

    Raises:
        `ValueError`: It is damaged; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is no JSON ({error}).") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds {content!r}; it should hold names and values.")
    return content
