"""Pictures of visual tokens: what a forecast and a storyboard look like."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from pictures.codebook import middle_frames

FRAME_SIZE = 96
SHOWN_CLIPS = 6  # of those so far


def token_frames(
    visual_ids: Iterable[int], codebook, rows: Iterable[Mapping] = (), videos: Mapping[str, Path] | None = None
) -> dict[int, torch.Tensor]:
    """A frame for each visual id: the codebook's own or, where it has none, of a training clip with that id.

    Args:
        visual_ids (`Iterable[int]`):
            What is to be seen.
        codebook ([`VisualCodebook`]):
            May keep frames.
        rows (`Iterable[Mapping]`, *optional*):
            Training rows.
        videos (`Mapping[str, Path]`, *optional*):
            The files of those videos that are at hand.

    Returns:
        `dict[int, torch.Tensor]`: By visual id a frame `(3, H, W)` uint8; those that nothing shows are left out.
    """
    wanted = sorted(set(visual_ids))
    own = getattr(codebook, "frame", lambda visual_id: None)
    frames = {visual_id: frame for visual_id in wanted if (frame := own(visual_id)) is not None}
    clips, clip_seconds = {}, None
    for row in rows:
        if row["video_id"] in (videos or {}):
            clip_seconds = row["clip_seconds"]
            for number, visual_id in enumerate(row["visual_ids"]):
                if visual_id in wanted and visual_id not in frames:
                    clips.setdefault(visual_id, (row["video_id"], number))
    found = middle_frames(list(clips.values()), videos, FRAME_SIZE, clip_seconds) if clips else {}
    return frames | {visual_id: found[clip] for visual_id, clip in clips.items() if clip in found}


def plot_forecast(
    visual_ids: Sequence[int],
    answers: Sequence[Mapping],
    frames: Mapping[int, torch.Tensor],
    path: str | Path,
    clip_seconds: float,
    words: Sequence[str] = (),
) -> None:
    """Draw the last clips of a video in a row and, to their right, a column of what is expected at each horizon.

    Args:
        visual_ids (`Sequence[int]`):
            The clips so far.
        answers (`Sequence[Mapping]`):
            As of [`forecast`].
        frames (`Mapping[int, torch.Tensor]`):
            As of [`token_frames`].
        path (`str` or `Path`):
            Where the PNG goes.
        clip_seconds (`float`):
            Length of a clip.
        words (`Sequence[str]`, *optional*):
            What stands above each column of answers.
    """
    past = list(visual_ids[-SHOWN_CLIPS:])
    lines, columns = len(answers[0]["visual_ids"]), len(past) + 1 + len(answers)
    figure, axes = plt.subplots(
        lines, columns, figsize=(1.35 * columns, 1.6 * lines + 0.5), layout="constrained", squeeze=False
    )
    for one in axes.flat:
        one.set_axis_off()
    first = len(visual_ids) - len(past)
    for place, visual_id in enumerate(past):
        _draw_token(axes[0, place], visual_id, frames, f"{(first + place) * clip_seconds:.1f} s")
    words = words or [""] * len(answers)
    for place, (answer, told) in enumerate(zip(answers, words, strict=True), start=len(past) + 1):
        when = f"in {answer['horizon']}: {answer['start']:.1f} s\n{told}\n".replace("\n\n", "\n")
        for line, (visual_id, score) in enumerate(zip(answer["visual_ids"], answer["scores"], strict=True)):
            _draw_token(axes[line, place], visual_id, frames, f"{'' if line else when}{100 * score:.0f} %")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_storyboard(
    strips: Sequence[tuple[str, Sequence[int]]], frames: Mapping[int, torch.Tensor], path: str | Path
) -> None:
    """Draw a strip of frames for each sentence.

    Args:
        strips (`Sequence[tuple[str, Sequence[int]]]`):
            Sentences, and the visual ids imagined for them.
        frames (`Mapping[int, torch.Tensor]`):
            As of [`token_frames`].
        path (`str` or `Path`):
            Where the PNG goes.
    """
    columns = max(len(ids) for _, ids in strips)
    figure, axes = plt.subplots(
        len(strips), columns, figsize=(1.4 * columns + 3, 1.5 * len(strips)), layout="constrained", squeeze=False
    )
    for one in axes.flat:
        one.set_axis_off()
    for line, (text, visual_ids) in zip(axes, strips, strict=True):
        for one, visual_id in zip(line, visual_ids, strict=False):
            _draw_token(one, visual_id, frames, "")
        said = textwrap.fill(text, 34)
        line[0].text(-0.1, 0.5, said, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_token(axes, visual_id: int, frames: Mapping[int, torch.Tensor], title: str) -> None:
    axes.set_box_aspect(1)  # with a frame or without
    if visual_id in frames:
        axes.imshow(frames[visual_id].permute(1, 2, 0).cpu().numpy())
    else:
        axes.add_patch(plt.Rectangle((0, 0), 1, 1, color=plt.get_cmap("hsv")(visual_id * 0.618 % 1), alpha=0.4))
        axes.text(0.5, 0.5, str(visual_id), ha="center", va="center", fontsize=9)
    axes.set_title(f"{title}\n<v_{visual_id:05}>".strip(), fontsize=6)
