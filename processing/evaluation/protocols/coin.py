"""COIN: 180 tasks of 12 domains, 778 kinds of steps."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from .steps import make_step, read_text

SUBSETS = {"training": "training", "testing": "validation", "validation": "validation"}


def read_coin(path: str | PathLike) -> tuple[list[dict], dict[str, list[str]]]:
    """The annotations of `COIN.json`.

    Args:
        path (`str` or `os.PathLike`):
            The file.

    Returns:
        `tuple`: Steps as of [`make_step`] with `task`, where `validation` is what the file calls `testing`; and by
        task the phrases that occur in it.

    Raises:
        `ValueError`: It is another file, or a step has no times.
    """
    path = Path(path)
    try:
        videos = json.loads(read_text(path))["database"]
        steps = [
            make_step(
                video_id,
                SUBSETS[video["subset"]],
                *part["segment"],
                sentence=part["label"].strip(),
                source=path,
                task=video["class"],
            )
            for video_id, video in videos.items()
            for part in video["annotation"]
        ]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is no annotation file of COIN, whose 'database' has videos with 'annotation' ({error!r})"
        ) from None
    phrases: dict[str, list[str]] = {}
    for step in steps:
        known = phrases.setdefault(step["task"], [])
        if step["sentence"] not in known:
            known.append(step["sentence"])
    return steps, phrases
