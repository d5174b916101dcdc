"""Pictures of a codebook: its report, and what its tokens stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import torch
from matplotlib import pyplot as plt

from processing.media_videobert import MediaError, open_media

plt.switch_backend("Agg")  # pictures go into files

NAME_LENGTH = 18  # letters of a video's name that fit over a frame
ERRORS = {
    "quantization_error": "this tree",
    "nearest_leaf_error": "its leaves,\nsearched flat",
    "refit_error": "a tree of\nthese clips",
    "flat_error": "flat k-means\nof these clips",
    "random_error": "random clips\nas leaves",
}


def plot_report(report: Mapping, path: str | Path) -> None:
    """Draw the figures of `codebook_report`.

    Args:
        report (`Mapping`):
            What it returned.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    columns = 4 if "robustness" in report else 3
    figure, axes = plt.subplots(1, columns, figsize=(16 * columns / 3, 4.5), layout="constrained")
    sizes = report["sizes_by_level"]
    bins = max((list(level) for level in sizes), key=len)
    for number, level in enumerate(sizes):
        nodes = {place: count for place, count in enumerate(level.values()) if count}
        axes[0].plot(list(nodes), list(nodes.values()), "o-", label=f"level {number + 1}")
    axes[0].set_xticks(range(len(bins)), bins, rotation=45, ha="right", fontsize="small")
    axes[0].set_yscale("log")
    axes[0].set_ylim(bottom=0.7)
    axes[0].set_xlabel("training clips of a node")
    axes[0].set_ylabel("nodes")
    axes[0].legend(fontsize="small")
    axes[0].set_title(
        f"{report['leaves_alive']:,} of {report['codebook_size']:,} leaves alive, {report['leaves_dead']:,} dead",
        fontsize="medium",
    )
    errors = {name: report[key] for key, name in ERRORS.items() if report[key] is not None}
    axes[1].bar_label(axes[1].bar(list(errors), list(errors.values())), fmt="%.4f")
    axes[1].margins(y=0.1)
    axes[1].tick_params(axis="x", labelsize="small")
    axes[1].set_title("quantisation error: squared distance to the leaf / variance", fontsize="medium")
    levels = [f"level {number + 1}" for number in range(len(sizes))]
    bars = dict(zip(levels, report.get("stability", []), strict=False))
    axes[2].bar_label(axes[2].bar(list(bars), list(bars.values())), fmt="%.2f")
    axes[2].bar_label(axes[2].bar(["leaf is the\nnearest"], [report["tree_flat_agreement"]]), fmt="%.2f")
    axes[2].set_ylim(0, 1.1)
    axes[2].set_title("agreement with another seed (AMI) and with flat search", fontsize="medium")
    if "robustness" in report:
        plot_survival(report["robustness"], axes[3])
    for one in axes:
        one.grid(alpha=0.3)
    figure.suptitle(
        f"{report['clips_fitted']:,} clips fitted; {report['clips_measured']:,} measured, which use "
        f"{report['leaves_used']:,} leaves, perplexity {report['perplexity']:,.0f}"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_survival(robustness: Mapping, axis) -> None:
    """Draw what `surviving_ids` returned: two bars an alteration, and chance as lines."""
    names = [fill(name, 14) for name in robustness["survive"]]
    for place, (level, told) in enumerate({0: "top level", -1: "visual id"}.items()):
        bars = [share[level] for share in robustness["survive"].values()]
        places = [number + 0.4 * place - 0.2 for number in range(len(bars))]
        drawn = axis.bar(places, bars, 0.4, label=f"same {told}")
        axis.bar_label(drawn, fmt="%.2f", fontsize="small")
        chance = robustness["chance"][level]
        axis.axhline(chance, ls="--", color=drawn[0].get_facecolor(), label=f"by chance {chance:.2f}")
    axis.set_xticks(range(len(names)), names, fontsize="small")
    axis.set_ylim(0, 1.3)  # with room for the legend
    axis.legend(fontsize="small", loc="upper center", ncols=2)
    axis.set_title(f"clips that stay where videos are altered, of {robustness['clips']:,}", fontsize="medium")


def plot_gallery(
    tokens: Mapping[int, Sequence],
    frames: Mapping,
    counts: Sequence[int],
    path: str | Path,
    clip_seconds: float,
) -> None:
    """Draw, a row a token, the middle frames of the training clips nearest to its centroid.

    Args:
        tokens (`Mapping[int, Sequence]`):
            By visual id the clips, `(video_id, number)`, nearest first.
        frames (`Mapping[tuple[str, int], torch.Tensor]`):
            By clip its frame `(3, H, W)` uint8; clips without one stay empty.
        counts (`Sequence[int]`):
            Training clips by visual id.
        path (`str` or `Path`):
            Where the PNG goes.
        clip_seconds (`float`):
            Length of a clip.
    """
    columns = max(len(clips) for clips in tokens.values())
    figure, axes = plt.subplots(
        len(tokens), columns, figsize=(1.7 * columns + 1, 1.6 * len(tokens)), layout="constrained", squeeze=False
    )
    for one in axes.flat:
        one.set_axis_off()
    for line, (token, clips) in zip(axes, tokens.items(), strict=True):
        for one, clip in zip(line, clips, strict=False):
            if clip in frames:
                one.imshow(frames[clip].permute(1, 2, 0).numpy())
            # The end of a name tells more.
            name = clip[0] if len(clip[0]) <= NAME_LENGTH else f"…{clip[0][1 - NAME_LENGTH :]}"
            one.set_title(f"{name}  {clip[1] * clip_seconds:.1f} s", fontsize=6)
        label = f"<v_{token:05}>\n{int(counts[token])} clips"
        line[0].text(-0.08, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def middle_frames(clips: Sequence, videos: Mapping[str, Path], size: int, clip_seconds: float) -> dict:
    """The frame in the middle of each clip.

    Args:
        clips (`Sequence[tuple[str, int]]`):
            `(video_id, number of the clip)`.
        videos (`Mapping[str, Path]`):
            The file of each video; clips of others are left out.
        size (`int`):
            Pixels of a frame's sides, after a square is cut out of its centre.
        clip_seconds (`float`):
            Length of a clip.

    Returns:
        `dict[tuple[str, int], torch.Tensor]`: `(3, size, size)` uint8 by clip. What cannot be read is left out.
    """
    wanted, frames = {}, {}
    for video_id, number in clips:
        if video_id in videos:
            wanted.setdefault(video_id, set()).add(number)
    for video_id, numbers in wanted.items():
        try:
            with open_media(videos[video_id]) as media:
                # Two looks at a clip: the second one is in its middle.
                looks = media.iter_clips(clip_seconds, fps=2 / clip_seconds, size=size, crop_size=(size, size))
                for number, look in zip(range(max(numbers) + 1), looks, strict=False):
                    if number in numbers:
                        frames[video_id, number] = torch.as_tensor(look[1]).clone()
        except MediaError as error:
            print(f"no frame of {video_id}: {error}")
    return frames
