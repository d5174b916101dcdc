"""Pictures of a training run: its losses, and one video with what the model makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from processing.codes_videobert import Clip, clips_of, join_clips, num_clips, tokens_per_clip
from processing.media_videobert import open_media

plt.switch_backend("Agg")  # pictures go into files
FRAME_SIZE = 96


def plot_losses(history: Sequence[Mapping], held_out: Sequence[Mapping], path: str | Path) -> None:
    """Draw the losses on the training examples beside those on held-out ones, and the held-out accuracies.

    Args:
        history (`Sequence[Mapping]`):
            Lines with `step` and `{objective}_loss`.
        held_out (`Sequence[Mapping]`):
            Lines with `step` and the figures on held-out examples: those that end in `_loss` stand left, shares such
            as accuracies and AUC right.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    _draw_curves(left, history, "_loss", "-", "training ")
    _draw_curves(left, held_out, "_loss", "o--", "held-out ")
    for ending in ("_accuracy", "_auc"):
        _draw_curves(right, held_out, ending, "o--", "held-out ")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    left.set_title("losses (nats)")
    right.set_title("figures on held-out videos")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_curves(axes, lines: Sequence[Mapping], ending: str, style: str, prefix: str) -> None:
    """A curve for each figure whose name has this ending."""
    for name in sorted({name for line in lines for name in line if name.endswith(ending)}):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), style, label=f"{prefix}{name.replace('_', ' ')}")


def plot_timeline(row: Mapping, filled: Sequence[Mapping], path: str | Path, video=None) -> None:
    """Draw one video over time: frames, visual tokens, sentences, and the words the model fills in.

    Args:
        row (`Mapping`):
            The video's row.
        filled (`Sequence[Mapping]`):
            `start`, `end` and `text`; where `right` is given, it colours the text.
        path (`str` or `Path`):
            Where the PNG goes.
        video (path, bytes or open file, *optional*):
            The video itself; without it there are no frames.
    """
    clips, clip_seconds = num_clips(row), row["clip_seconds"]
    heights = ([0.85] if video is not None else []) + [0.4 * tokens_per_clip(row), 1.5, 1.0]
    size = (max(8, 0.85 * clips), 0.8 + sum(heights))  # frames come out about square
    figure, rows = plt.subplots(
        len(heights), sharex=True, figsize=size, height_ratios=heights, layout="constrained", squeeze=False
    )
    *frames, tokens, sentences, masks = rows[:, 0]
    if frames:
        _draw_frames(frames[0], video, clip_seconds)
    _draw_tokens(tokens, clips_of(row), clip_seconds)
    _draw_texts(sentences, [{**sentence, "colour": "#dbe9f6"} for sentence in row["sentences"]])
    colours = {None: "#eeeeee", True: "#cfe8cf", False: "#f6d5d0"}
    _draw_texts(masks, [{**one, "colour": colours[one.get("right")]} for one in filled])
    names = (["frames"] if frames else []) + ["visual\ntokens", "sentences", "filled\nmasks"]
    for axes, name in zip(rows[:, 0], names, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_yticks([])
    masks.set_xlim(0, max(clips, 1) * clip_seconds)
    masks.set_xlabel("seconds")
    figure.suptitle(row["video_id"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_frames(axes, video, clip_seconds: float) -> None:
    """The middle of each clip."""
    with open_media(video) as media:
        for number, frames in enumerate(media.iter_clips(clip_seconds, fps=2 / clip_seconds, size=FRAME_SIZE)):
            span = (number * clip_seconds, (number + 1) * clip_seconds, 0, 1)
            axes.imshow(frames[1].permute(1, 2, 0).numpy(), extent=span, aspect="auto")
    axes.set_ylim(0, 1)


def _draw_tokens(axes, clips: Sequence[Clip], clip_seconds: float) -> None:
    """A colour for each visual id: the same id looks the same wherever it returns. The first code of a clip on top."""
    colours = plt.get_cmap("hsv")
    for number, clip in enumerate(clips):
        codes = join_clips([clip])
        for lane, visual_id in enumerate(reversed(codes)):
            bottom, height = lane / len(codes), 1 / len(codes)
            # Steps of the golden ratio keep neighbouring ids apart.
            colour = colours(visual_id * 0.618 % 1)
            axes.axvspan(
                number * clip_seconds, (number + 1) * clip_seconds, bottom, bottom + height, color=colour, alpha=0.4
            )
            middle = (number + 0.5) * clip_seconds, bottom + height / 2
            axes.text(*middle, str(visual_id), ha="center", va="center", fontsize=7)
    axes.set_ylim(0, 1)


def _draw_texts(axes, texts: Sequence[Mapping]) -> None:
    """Boxes over time, in two lanes by turns so that overlapping neighbours stay readable."""
    for number, one in enumerate(texts):
        bottom, width = 0.5 * (1 - number % 2), max(one["end"] - one["start"], 0.1)
        axes.broken_barh([(one["start"], width)], (bottom + 0.03, 0.44), color=one["colour"], ec="grey")
        axes.text(
            one["start"] + width / 2, bottom + 0.25, _wrapped(one["text"], width), ha="center", va="center", fontsize=7
        )
    axes.set_ylim(0, 1)


def _wrapped(text: str, seconds: float) -> str:
    """Lines as wide as their box; a second is about five letters."""
    lines, width = [""], max(8, int(5 * seconds))
    for word in text.split():
        if len(lines[-1]) + len(word) > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
