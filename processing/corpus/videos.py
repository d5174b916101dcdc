"""Which videos there are below a folder, and what they are called."""

from collections import Counter
from pathlib import Path

VIDEO_ENDINGS = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"}


def find_videos(folder):
    """The videos below a folder.

    Args:
        folder (`str` or `os.PathLike`): Searched with its subfolders.

    Returns:
        `dict[str, pathlib.Path]`: Path by video id, which is the path inside the folder without its ending (with it
        where two files differ in nothing else), in order.

    Raises:
        ValueError: There is no such folder, or no video in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give a folder of videos.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS and path.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no video; looked for files ending in {', '.join(sorted(VIDEO_ENDINGS))}.")
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    times = Counter(names)
    return {
        name if times[name] == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(names, paths, strict=True)
    }
