"""What there is in a corpus, and what it took: the end of a build."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass
class Stage:
    """What was done by a stage of a build in one run.

    Args:
        seconds (`float`):
            It took; of several processes, all of theirs.
        video_seconds (`float`):
            Of video that went through it.
        waited (`float`, *optional*):
            Seconds of it in which networks waited for files; `None` of a stage without networks.
    """

    seconds: float
    video_seconds: float
    waited: float | None = None

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work a second of video: below 1 it is faster than watching; `None` where nothing was done."""
        return self.seconds / self.video_seconds if self.video_seconds else None

    @property
    def waiting_share(self) -> float | None:
        """The part of the time in which networks waited for files; `None` where there is none."""
        return self.waited / self.seconds if self.waited is not None and self.seconds else None


def summarise(rows: Iterable[Mapping], stages: Mapping[str, Stage]) -> dict:
    """The figures of a corpus.

    Args:
        rows (iterable of `dict`):
            One row a video.
        stages (`Mapping[str, Stage]`):
            By name what was done in this run.

    Returns:
        `dict`: `videos`, `hours`, `visual_tokens`, `sentences`, `words`; `speech_share`, the part of the time in which
        somebody speaks; `errors`, how many videos have one of each kind; and `stages`, of each its `seconds`,
        `video_hours`, `real_time_factor` and `waiting_share`.
    """
    videos, seconds, spoken = 0, 0.0, 0.0
    counts: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for row in rows:
        videos += 1
        seconds += row["duration"] or 0.0
        spoken += sum(sentence["end"] - sentence["start"] for sentence in row["sentences"])
        counts["visual_tokens"] += len(row["visual_ids"])
        counts["sentences"] += len(row["sentences"])
        counts["words"] += sum(len(sentence["text"].split()) for sentence in row["sentences"])
        if row["error"]:
            errors[kind_of(row["error"], row["video_id"])] += 1
    return {
        "videos": videos,
        "hours": seconds / 3600,
        **{name: counts[name] for name in ("visual_tokens", "sentences", "words")},
        "speech_share": spoken / seconds if seconds else 0.0,
        "errors": dict(errors.most_common()),
        "stages": {
            name: {
                "seconds": stage.seconds,
                "video_hours": stage.video_seconds / 3600,
                "real_time_factor": stage.real_time_factor,
                "waiting_share": stage.waiting_share,
            }
            for name, stage in stages.items()
        },
    }


def kind_of(error: str, video_id: str) -> str:
    """An error without what only one video has: its name, numbers, and what stands in brackets."""
    first = error.split("; ")[0]
    name, colon, reason = first.partition(": ")
    if colon and (name == video_id or "/" in name or "\\" in name):
        first = reason
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(r"\s*\([^()]*\)", "", first)).strip()


def summary_lines(summary: Mapping) -> list[str]:
    """A summary as people read it."""
    lines = [
        f"{summary['videos']} videos, {summary['hours']:.2f} hours: {summary['visual_tokens']} visual tokens, "
        f"{summary['words']} words in {summary['sentences']} sentences; somebody speaks "
        f"{summary['speech_share']:.0%} of the time"
    ]
    lines += [f"{count:>6} with an error: {kind}" for kind, count in summary["errors"].items()]
    for name, stage in summary["stages"].items():
        if stage["video_hours"]:
            lines.append(
                f"{name:>16}: {stage['seconds']:.1f} s for {stage['video_hours']:.2f} hours of video, "
                f"{stage['real_time_factor']:.3f} of real time"
                + ("" if stage["waiting_share"] is None else f"; {stage['waiting_share']:.0%} waiting for files")
            )
    return lines
