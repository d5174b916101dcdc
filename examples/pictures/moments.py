"""A picture of the moments that a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from .codebook import middle_frames

plt.switch_backend("Agg")  # pictures go into files

FRAMES, PIXELS = 5, 160


def draw_moments(moments: Sequence[Mapping], videos: Mapping[str, str | Path], title: str, path: str | Path) -> None:
    """Draw, a row a moment, frames out of it in the order of time, with its video and its times.

    Args:
        moments (`Sequence[Mapping]`):
            As [`~MomentIndex.search`] returns them.
        videos (`Mapping[str, str | Path]`):
            The file of each video; the frames of others stay empty.
        title (`str`):
            What was asked.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    shown = [clips_to_show(moment["start"], moment["end"], moment["clip_seconds"]) for moment in moments]
    # Two at least, so that there is room for names.
    size = len(moments), max(2, *map(len, shown))
    figure, axes = plt.subplots(
        *size, figsize=(1.7 * size[1] + 0.4, 2.0 * size[0] + 0.4), layout="constrained", squeeze=False
    )
    figure.suptitle(title)
    for one in axes.flat:
        one.set_axis_off()
    for number, (line, moment, clips) in enumerate(zip(axes, moments, shown, strict=True), start=1):
        wanted = [(moment["video_id"], clip) for clip in clips]
        frames = middle_frames(wanted, videos, PIXELS, moment["clip_seconds"])
        for one, clip in zip(line, wanted, strict=False):
            if clip in frames:
                one.imshow(frames[clip].permute(1, 2, 0).numpy())
            else:
                one.text(0.5, 0.5, "no picture", ha="center", va="center", color="grey", fontsize=8)
        told = f"{number}. {moment['video_id']}  {moment['start']:.1f}–{moment['end']:.1f} s"
        line[0].set_title(told, loc="left", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def clips_to_show(start: float, end: float, clip_seconds: float) -> list[int]:
    """At most `FRAMES` clips, evenly out of those of a moment."""
    first, last = round(start / clip_seconds), max(round(start / clip_seconds) + 1, round(end / clip_seconds))
    count = min(FRAMES, last - first)
    return [first + place * (last - first) // count for place in range(count)]
