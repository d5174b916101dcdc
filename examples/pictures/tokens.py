"""Pictures of visual tokens: what a forecast and a storyboard look like."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from pictures.codebook import middle_frames
from processing.codes_videobert import Clip, beginnings, clips_of, join_clips
from processing.sequence_videobert import visual_token

FRAME_SIZE = 96
SHOWN_CLIPS = 6  # of those so far


def token_frames(
    clips: Iterable[Clip], codebook, rows: Iterable[Mapping] = (), videos: Mapping[str, Path] | None = None
) -> dict[Clip, torch.Tensor]:
    """A frame for each clip: the codebook's own or, where it has none, of a training clip with these visual ids.

    A clip with several codes is shown by a training clip that shares as many of the first ones as any does.

    Args:
        clips (`Iterable[Clip]`):
            What is to be seen: visual ids, or tuples of the codes of a clip.
        codebook ([`VisualCodebook`]):
            May keep frames.
        rows (`Iterable[Mapping]`, *optional*):
            Training rows.
        videos (`Mapping[str, Path]`, *optional*):
            The files of those videos that are at hand.

    Returns:
        `dict[Clip, torch.Tensor]`: By clip a frame `(3, H, W)` uint8; those that nothing shows are left out.
    """
    wanted = sorted(set(clips))
    own = getattr(codebook, "frame", lambda visual_id: None)
    frames = {one: frame for one in wanted if isinstance(one, int) and (frame := own(one)) is not None}
    missing = {one: beginnings(one) for one in wanted if one not in frames}
    sought, places, clip_seconds = {part for parts in missing.values() for part in parts}, {}, None
    for row in rows:
        if row["video_id"] in (videos or {}):
            clip_seconds = row["clip_seconds"]
            for number, clip in enumerate(clips_of(row)):
                for part in beginnings(clip):
                    if part in sought:
                        places.setdefault(part, (row["video_id"], number))
    nearest = {one: next((places[part] for part in parts if part in places), None) for one, parts in missing.items()}
    wanted = sorted({place for place in nearest.values() if place is not None})
    found = middle_frames(wanted, videos, FRAME_SIZE, clip_seconds) if wanted else {}
    return frames | {one: found[place] for one, place in nearest.items() if place in found}


def plot_forecast(
    clips: Sequence[Clip],
    answers: Sequence[Mapping],
    frames: Mapping[Clip, torch.Tensor],
    path: str | Path,
    clip_seconds: float,
    words: Sequence[str] = (),
) -> None:
    """Draw the last clips of a video in a row and, to their right, a column of what is expected at each horizon.

    Args:
        clips (`Sequence[Clip]`):
            The clips so far.
        answers (`Sequence[Mapping]`):
            As of [`forecast`].
        frames (`Mapping[Clip, torch.Tensor]`):
            As of [`token_frames`].
        path (`str` or `Path`):
            Where the PNG goes.
        clip_seconds (`float`):
            Length of a clip.
        words (`Sequence[str]`, *optional*):
            What stands above each column of answers.
    """
    past = list(clips[-SHOWN_CLIPS:])
    lines, columns = len(answers[0]["visual_ids"]), len(past) + 1 + len(answers)
    high = 1.5 + 0.1 * len(join_clips(past[-1:]))  # a line for each code
    figure, axes = plt.subplots(
        lines, columns, figsize=(1.35 * columns, high * lines + 0.5), layout="constrained", squeeze=False
    )
    for one in axes.flat:
        one.set_axis_off()
    first = len(clips) - len(past)
    for place, clip in enumerate(past):
        _draw_token(axes[0, place], clip, frames, f"{(first + place) * clip_seconds:.1f} s")
    words = words or [""] * len(answers)
    for place, (answer, told) in enumerate(zip(answers, words, strict=True), start=len(past) + 1):
        when = f"in {answer['horizon']}: {answer['start']:.1f} s\n{told}\n".replace("\n\n", "\n")
        for line, (clip, score) in enumerate(zip(named_clips(answer), answer["scores"], strict=True)):
            _draw_token(axes[line, place], clip, frames, f"{'' if line else when}{100 * score:.0f} %")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def named_clips(answer: Mapping) -> list[Clip]:
    """The clips that a forecast names at one horizon."""
    return [tuple(ids) if isinstance(ids, list) else ids for ids in answer["visual_ids"]]


def plot_storyboard(
    strips: Sequence[tuple[str, Sequence[Clip]]], frames: Mapping[Clip, torch.Tensor], path: str | Path
) -> None:
    """Draw a strip of frames for each sentence.

    Args:
        strips (`Sequence[tuple[str, Sequence[Clip]]]`):
            Sentences, and the clips imagined for them.
        frames (`Mapping[Clip, torch.Tensor]`):
            As of [`token_frames`].
        path (`str` or `Path`):
            Where the PNG goes.
    """
    columns = max(len(clips) for _, clips in strips)
    figure, axes = plt.subplots(
        len(strips), columns, figsize=(1.4 * columns + 3, 1.5 * len(strips)), layout="constrained", squeeze=False
    )
    for one in axes.flat:
        one.set_axis_off()
    for line, (text, clips) in zip(axes, strips, strict=True):
        for one, clip in zip(line, clips, strict=False):
            _draw_token(one, clip, frames, "")
        said = textwrap.fill(text, 34)
        line[0].text(-0.1, 0.5, said, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_token(axes, clip: Clip, frames: Mapping[Clip, torch.Tensor], title: str) -> None:
    axes.set_box_aspect(1)  # with a frame or without
    codes = join_clips([clip])
    if clip in frames:
        axes.imshow(frames[clip].permute(1, 2, 0).cpu().numpy())
    else:
        axes.add_patch(plt.Rectangle((0, 0), 1, 1, color=plt.get_cmap("hsv")(codes[0] * 0.618 % 1), alpha=0.4))
        axes.text(0.5, 0.5, "\n".join(map(str, codes)), ha="center", va="center", fontsize=9)
    axes.set_title("\n".join([title, *map(visual_token, codes)]).strip(), fontsize=6)
