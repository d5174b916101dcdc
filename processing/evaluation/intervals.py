"""How sure a figure is: intervals by bootstrap over videos, whose steps are alike and must be drawn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

DRAWS = 1000
# Of the draws, those between these percentiles.
PERCENTILES = (2.5, 97.5)


def video_interval(
    statistic: Callable[[np.ndarray], float], num_videos: int, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % interval of a figure when other videos might have been drawn.

    Args:
        statistic (`Callable`):
            From how often each video is drawn, (num_videos,), to the figure.
        num_videos (`int`):
            Videos there are.
        seed (`int`, *optional*, defaults to 0):
            Of the draws.

    Returns:
        `tuple[float, float]`: Lower and upper end; `None` with fewer than two videos, which cannot tell.
    """
    if num_videos < 2:
        return None
    drawn = draw_videos(num_videos, DRAWS, seed)
    low, high = np.nanpercentile([statistic(times) for times in drawn], PERCENTILES)
    return float(low), float(high)


def share_with_interval(hits: Sequence[bool] | np.ndarray, video_ids: Sequence[str]) -> dict[str, float | None]:
    """A share of N items with its interval over their videos.

    Args:
        hits (`np.ndarray` of shape (N,)):
            Which items are right.
        video_ids (`Sequence[str]`):
            Their videos.

    Returns:
        `dict`: `share`, `low` and `high`.
    """
    _, place = np.unique(np.asarray(video_ids), return_inverse=True)
    right, all_of = np.bincount(place, np.asarray(hits, dtype=float)), np.bincount(place)
    interval = video_interval(lambda times: float((times @ right) / (times @ all_of)), len(all_of))
    low, high = interval or (None, None)
    return {"share": float(np.mean(np.asarray(hits, dtype=float))), "low": low, "high": high}


def bootstrap_se(values: np.ndarray, videos: Sequence[str], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """The standard error of a mean over places.

    Args:
        values (`np.ndarray` of shape (N, …)):
            One value, or several, a place.
        videos (`Sequence[str]`):
            The video of each place.
        draws (`int`, *optional*, defaults to `DRAWS`):
            How often as many videos are drawn.
        seed (`int`, *optional*, defaults to 0):
            Of the draws.

    Returns:
        `np.ndarray` of shape (…).
    """
    names, numbers = np.unique(np.asarray(videos), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, numbers, values)
    drawn, sizes = draw_videos(len(names), draws, seed), np.bincount(numbers)
    return np.std([np.tensordot(times, sums, 1) / (times @ sizes) for times in drawn], axis=0)


def draw_videos(num_videos: int, draws: int, seed: int) -> np.ndarray:
    """How often each video is drawn where as many as there are are drawn with putting back, (draws, num_videos)."""
    chosen = np.random.default_rng(seed).integers(num_videos, size=(draws, num_videos))
    return np.stack([np.bincount(one, minlength=num_videos) for one in chosen])
