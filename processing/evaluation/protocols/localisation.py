"""When is each step of a task done? One moment a step, in the task's order: CrossTask's average recall."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...codes_videobert import Clip, clips_of, join_clips
from ..controls import other_videos
from ..intervals import video_interval
from ..phrases import phrase_scores

# Clips that the model sees at once, one moment in their middle.
WINDOW = 5
CONDITIONS = ("", "_shuffled", "_prior")


def localise_steps(
    model,
    processor,
    rows: Iterable[Mapping],
    steps: Iterable[Mapping],
    phrases: Mapping[str, Sequence[str]],
    batch_size: int = 32,
) -> dict[str, float | int | None]:
    """The recall of the steps of each task, and its mean over tasks.

    A step counts as found if the moment that is chosen for it lies in one of its stretches, whose ends are full
    seconds, as the official code has it. Without video (`_prior`), the steps of the task are spread evenly.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            For the words.
        rows (`Iterable[Mapping]`):
            One a video.
        steps (`Iterable[Mapping]`):
            The true ones, with `video_id`, `task`, `start`, `end` and `sentence`, one of the task's phrases.
        phrases (`Mapping[str, Sequence[str]]`):
            By task its phrases in their order.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `dict`: `average_recall` with the suffixes `""`, `_shuffled` (the clips of another video, stretched to this
        one's length) and `_prior`, each with `…_low` and `…_high`; `num_videos` and `num_steps`.

    Raises:
        ValueError: There is no video with steps.
    """
    true: dict[tuple[str, str], dict[str, list]] = {}
    for step in steps:
        true.setdefault((step["video_id"], step["task"]), {}).setdefault(step["sentence"], []).append(step)
    rows = {row["video_id"]: row for row in rows if len(row["visual_ids"])}
    places = [place for place in true if place[0] in rows]
    if not places:
        raise ValueError("There are no steps to find: none of the videos that are asked for is there.")
    order = other_videos([video_id for video_id, _ in places])
    tasks = sorted({task for _, task in places})
    found, all_of = {name: np.zeros(len(places)) for name in CONDITIONS}, np.zeros(len(places))
    known = np.array([tasks.index(task) for _, task in places])
    for number, (video_id, task) in enumerate(places):
        row, names = rows[video_id], phrases[task]
        shown, wanted = {"": clips_of(row)}, true[video_id, task]
        count = len(shown[""])
        if order is not None:
            other = clips_of(rows[places[order[number]][0]])
            shown["_shuffled"] = [other[place * len(other) // count] for place in range(count)]
        prior = phrase_scores(model, processor, [[]], names)
        moments = {"_prior": spread_evenly(count, len(names))}
        for condition, seen in shown.items():
            scores = phrase_scores(model, processor, windows(seen), names, batch_size) - prior
            moments[condition] = assign_in_order(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
        all_of[number] = len(wanted)
        for condition, clips in moments.items():
            for name, clip in zip(names, clips, strict=True):
                time = (clip + 0.5) * row["clip_seconds"]
                found[condition][number] += any(holds(step, time) for step in wanted.get(name, ()))
    figures: dict[str, float | int | None] = {"num_videos": len(places), "num_steps": int(all_of.sum())}
    for condition in CONDITIONS if order is not None else ("", "_prior"):
        recall = mean_of_tasks(found[condition], all_of, known)
        low, high = video_interval(recall, len(places)) or (None, None)
        name = f"average_recall{condition}"
        figures |= {name: recall(np.ones(len(places))), f"{name}_low": low, f"{name}_high": high}
    return figures


def holds(step: Mapping, time: float) -> bool:
    """Whether a moment lies in a step, from the second in which it begins to the end of the one in which it ends."""
    return math.floor(step["start"]) <= time < math.ceil(step["end"])


def mean_of_tasks(found: np.ndarray, all_of: np.ndarray, tasks: np.ndarray):
    """The mean of the tasks' recalls as a function of how often each video counts."""

    def recall(times: np.ndarray) -> float:
        right, steps = np.bincount(tasks, times * found), np.bincount(tasks, times * all_of)
        return float((right[steps > 0] / steps[steps > 0]).mean())

    return recall


def windows(clips: Sequence[Clip]) -> list[list[int]]:
    """The visual ids of the clips around each clip."""
    half = WINDOW // 2
    return [join_clips(clips[max(0, place - half) : place + half + 1]) for place in range(len(clips))]


def spread_evenly(count: int, steps: int) -> np.ndarray:
    """A clip for each step, as far from one another as they can be."""
    return np.minimum(np.floor((np.arange(steps) + 0.5) * count / steps), count - 1).astype(int)


def assign_in_order(scores: np.ndarray) -> np.ndarray:
    """The clips, each later than the one before, in which steps in this order have the highest sum of scores.

    Args:
        scores (`np.ndarray` of shape (clips, steps)):
            Of each step in each clip.

    Returns:
        `np.ndarray` of shape (steps,): Clips. Where there are fewer clips than steps, each step's best one.
    """
    count, steps = scores.shape
    if count < steps:
        return scores.argmax(0)
    best = np.full((steps, count), -np.inf)
    best[0] = scores[:, 0]
    for step in range(1, steps):
        best[step, 1:] = np.maximum.accumulate(best[step - 1])[:-1] + scores[1:, step]
    clips = np.zeros(steps, dtype=int)
    end = count
    for step in reversed(range(steps)):
        clips[step] = end = best[step, :end].argmax()
    return clips
