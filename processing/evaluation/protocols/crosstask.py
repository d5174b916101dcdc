"""CrossTask: 18 primary tasks, whose steps are phrases in an order; each second of a video may show one."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from .steps import make_step, read_text

# Videos of a task that the official code takes for training; it draws them at random and keeps no list.
NUM_TRAINING = 30


def read_crosstask(folder: str | PathLike, seed: int = 0) -> tuple[list[dict], dict[str, list[str]]]:
    """The annotations of CrossTask's release: `tasks_primary.txt`, `videos_val.csv`, `annotations/TASK_VIDEO.csv`.

    The official code leaves the videos of `videos_val.csv` out, trains on 30 others of each task, and tests on the
    rest. So here; the last are called `validation`, so that protocols are alike.

    Args:
        folder (`str` or `os.PathLike`):
            `crosstask_release`.
        seed (`int`, *optional*, defaults to 0):
            Of the videos for training.

    Returns:
        `tuple`: Steps as of [`make_step`] with `task`, and by task its phrases in their order.

    Raises:
        `ValueError`: A file is missing or another one, or names a task or step that is not there.
    """
    folder = Path(folder)
    phrases = read_tasks(folder / "tasks_primary.txt")
    left_out = set()
    if (path := folder / "videos_val.csv").exists():
        left_out = {tuple(line.split(",")[:2]) for line in read_text(path).splitlines() if line.strip()}
    files = {task: sorted((folder / "annotations").glob(f"{task}_*.csv")) for task in phrases}
    if not any(files.values()):
        raise ValueError(f"{folder / 'annotations'} holds no TASK_VIDEO.csv of the {len(phrases)} primary tasks.")
    rng, steps = np.random.default_rng(seed), []
    for task, paths in files.items():
        paths = [path for path in paths if (task, video_of(path, task)) not in left_out]
        # Fewer videos than that train nothing, so that small excerpts are tested on.
        training = set(rng.permutation(len(paths))[:NUM_TRAINING].tolist()) if len(paths) > NUM_TRAINING else set()
        for number, path in enumerate(paths):
            subset = "training" if number in training else "validation"
            steps += read_video(path, task, phrases[task], subset)
    return steps, phrases


def video_of(path: Path, task: str) -> str:
    return path.stem.removeprefix(f"{task}_")


def read_tasks(path: str | PathLike) -> dict[str, list[str]]:
    """By task its phrases: five lines a task (number, title, address, how many steps, steps), then an empty one."""
    path, phrases = Path(path), {}
    for block in read_text(path).replace("\r", "").strip().split("\n\n"):
        lines = block.strip().split("\n")
        steps = [step.strip() for step in lines[-1].split(",")]
        if len(lines) != 5 or not lines[3].strip().isdecimal() or int(lines[3]) != len(steps):
            raise ValueError(
                f"{path}: the task {lines[0]!r} has {len(lines)} lines and {len(steps)} steps; 5 lines are expected, "
                "with the number of steps before the steps."
            )
        phrases[lines[0].strip()] = steps
    return phrases


def read_video(path: Path, task: str, phrases: list[str], subset: str) -> list[dict]:
    """The steps of one video: lines of number (from 1), start and end."""
    steps = []
    for line in read_text(path).splitlines():
        if not line.strip():
            continue
        number, *times = line.split(",")
        if not number.strip().isdecimal() or not 1 <= int(number) <= len(phrases) or len(times) != 2:
            raise ValueError(
                f"{path}: {line!r} is no step; allowed are its number, 1 to {len(phrases)}, its start and its end."
            )
        start, end = times
        steps.append(make_step(video_of(path, task), subset, start, end, phrases[int(number) - 1], path, task=task))
    return steps
