"""Which videos there are below a folder, and what they are called."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from transformers.utils import logging

from ..opening_videobert import leads_out_of
from .describing import as_utf8

logger = logging.get_logger(__name__)

VIDEO_ENDINGS = set(
    ".3g2 .3gp .asf .avi .divx .f4v .flv .m2t .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm .ogv .qt "
    ".rm .rmvb .ts .vob .webm .wmv .wtv".split()
)


def find_videos(folder: str | PathLike) -> dict[str, Path]:
    """The videos below a folder. The log says what was skipped, and why.

    Args:
        folder (`str` or `os.PathLike`):
            Searched with its subfolders; links inside it are followed, and every folder is entered once. Links that
            lead out of it are not: list what is behind them, see [`listed_videos`].

    Returns:
        `dict[str, pathlib.Path]`: Path by video id, which is the path inside the folder without its ending (with it
        where two files differ in nothing else), in order. Bytes of a name that are not UTF-8 are spelled out. Pipes,
        sockets and devices that are called videos are among them, and become rows with an error.

    Raises:
        `ValueError`: There is no such folder, or no video in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give a folder of videos.")
    skipped: dict[str, list[Path]] = {}  # by reason the paths
    paths = sorted(walk(folder, skipped))
    for reason, those in skipped.items():
        others = f" and {len(those) - 1} more" if len(those) > 1 else ""
        logger.warning(as_utf8(f"Skipped {those[0]}{others}: {reason}."))
    if not paths:
        raise ValueError(f"{folder} holds no video; looked for files ending in {', '.join(sorted(VIDEO_ENDINGS))}.")
    return named_videos(folder, paths)


def listed_videos(path: str | PathLike) -> dict[str, Path]:
    """The videos of a list.

    Args:
        path (`str` or `os.PathLike`):
            A text file with the path of a video in each line, from the folder of the list on. Files that are not there
            stay in, and become rows with an error.

    Returns:
        `dict[str, pathlib.Path]`: Path by video id, which is the path as it is written, without its ending.

    Raises:
        `ValueError`: The list cannot be read, or is empty.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: the list of videos cannot be read ({error.strerror}).") from error
    if not (paths := [path.parent / line.strip() for line in dict.fromkeys(lines) if line.strip()]):
        raise ValueError(f"{path} lists no video; write the path of one in each line.")
    return named_videos(path.parent, paths)


def walk(top: Path, skipped: dict[str, list[Path]]) -> Iterator[Path]:
    """Files below a folder whose ending is that of a video; folders behind links are entered after all others."""
    behind_links: deque[Path] = deque()
    folders, entered = deque([top]), set()
    while folders or behind_links:
        folder = folders.popleft() if folders else behind_links.popleft()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            skip(skipped, folder, error)
            continue
        if (place := (status.st_dev, status.st_ino)) in entered:
            skipped.setdefault("a link to a folder that is searched already", []).append(folder)
            continue
        entered.add(place)
        for entry in entries:
            path, is_video = Path(entry.path), Path(entry.name).suffix.lower() in VIDEO_ENDINGS
            if entry.name.startswith("."):
                if is_video or entry.is_dir(follow_symlinks=False):
                    skipped.setdefault("hidden", []).append(path)
                continue
            try:
                mode = path.stat().st_mode
            except OSError as error:
                skip(skipped, path, error)
                continue
            is_folder = stat.S_ISDIR(mode)
            if entry.is_symlink() and (is_folder or is_video) and leads_out_of(path, top):
                skipped.setdefault("a link that leads out of the folder", []).append(path)
            elif is_folder:
                (behind_links if entry.is_symlink() else folders).append(path)
            elif is_video:
                yield path


def skip(skipped: dict[str, list[Path]], path: Path, error: OSError) -> None:
    """Notes what the system refuses."""
    skipped.setdefault(f"it cannot be opened ({error.strerror})", []).append(path)


def named_videos(folder: Path, paths: list[Path]) -> dict[str, Path]:
    """Videos by id: without its ending where that is enough to tell a file from all others."""
    inside = [path.relative_to(folder if path.is_relative_to(folder) else path.anchor) for path in paths]
    full = [as_utf8(path.as_posix()) for path in inside]
    names = [as_utf8(path.with_suffix("").as_posix()) for path in inside]
    while (times := Counter(names)) and max(times.values()) > 1:
        # `x.mp4.mp4` is called as `x.mp4`, which may need its own ending: so again, until all differ.
        longer = [name if times[name] == 1 else whole for name, whole in zip(names, full, strict=True)]
        if longer == names:
            twice = [str(path) for name, path in zip(names, paths, strict=True) if times[name] > 1]
            raise ValueError(as_utf8(f"{' and '.join(twice)} have one name in UTF-8; rename one of them."))
        names = longer
    return dict(zip(names, paths, strict=True))
