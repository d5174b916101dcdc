"""Pictures of how VideoBERT works, from a narrated film to its answers: those of the notebook `step_by_step.ipynb`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from processing.media_videobert import open_media

plt.switch_backend("Agg")  # pictures go into files

LANGUAGE, VISION, SPECIAL, HIDDEN = "#cfe2f3", "#fce5cd", "#e6e6e6", "#f4b6b6"
DOTS = 100  # an inch
FRAME_SIZE = 112
SOUND_RATE = 16_000


def plot_film(video, sentences: Sequence[Mapping], clip_seconds: float, path: str | Path) -> list[torch.Tensor]:
    """Draw what a video consists of: pictures, sound, and what is said.

    Args:
        video (path, bytes or open file):
            The video.
        sentences (`Sequence[Mapping]`):
            `text`, `start` and `end` in seconds.
        clip_seconds (`float`):
            Length of a clip, which has a picture each.
        path (`str` or `Path`):
            Where the PNG goes.

    Returns:
        `list[torch.Tensor]`: The picture in the middle of each clip, `(3, H, W)` uint8, for the other pictures.
    """
    with open_media(video) as media:
        # Two looks at a clip: the second one is in its middle.
        looks = media.iter_clips(clip_seconds, fps=2 / clip_seconds, size=FRAME_SIZE)
        middles = [torch.as_tensor(look[1]).clone() for look in looks]
        sound = media.read_speech()
    seconds = len(middles) * clip_seconds
    figure, (pictures, waves, said) = plt.subplots(
        3, sharex=True, figsize=(max(8, 0.75 * len(middles)), 3.4), height_ratios=[1, 0.6, 1.2], layout="constrained"
    )
    for number, frame in enumerate(middles):
        span = (number * clip_seconds, (number + 1) * clip_seconds, 0, 1)
        pictures.imshow(frame.permute(1, 2, 0).numpy(), extent=span, aspect="auto")
    if sound is not None:
        wave, start = sound
        block = SOUND_RATE // 50
        loudness = np.abs(wave[: len(wave) // block * block]).reshape(-1, block).max(axis=1)
        times = start + (np.arange(len(loudness)) + 0.5) * block / SOUND_RATE
        waves.fill_between(times, -loudness, loudness, color="#6fa8dc", linewidth=0)
    for number, sentence in enumerate(sentences):
        bottom, width = 0.5 * (1 - number % 2), sentence["end"] - sentence["start"]
        said.broken_barh([(sentence["start"], width)], (bottom + 0.03, 0.1), color="#6fa8dc")
        told = textwrap.fill(sentence["text"], 19)
        centre = np.clip(sentence["start"] + width / 2, 0.05 * seconds, 0.95 * seconds)
        said.text(centre, bottom + 0.31, told, ha="center", va="center", fontsize=8.5)
    for axes, name in ((pictures, "pictures"), (waves, "sound"), (said, "sentences")):
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_yticks([])
    pictures.set_ylim(0, 1)
    said.set_ylim(0, 1)
    said.set_xlim(0, seconds)
    said.set_xlabel("seconds")
    _save(figure, path)
    return middles


def plot_clip(frames: torch.Tensor, start: float, fps: float, path: str | Path) -> None:
    """Draw the frames of one clip.

    Args:
        frames (`torch.Tensor` of shape (T, 3, H, W)):
            As they were prepared for the network, −1 … 1, or 0 … 255.
        start (`float`):
            When the clip begins, in seconds.
        fps (`float`):
            Frames a second.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    frames = frames.float()
    frames = (frames - frames.min()) / (frames.max() - frames.min()).clamp_min(1e-6)
    columns = min(10, len(frames))
    lines = -(-len(frames) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(columns, 1.2 * lines), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (axes, frame) in enumerate(zip(grid.flat, frames, strict=False)):
        axes.imshow(frame.permute(1, 2, 0).numpy())
        axes.set_title(f"{start + number / fps:.2f} s", fontsize=7)
    _save(figure, path)


def paths_down_the_tree(codebook, features: torch.Tensor) -> list[list[Mapping]]:
    """How each feature finds its leaf.

    Args:
        codebook ([`VisualCodebook`]):
            The tree.
        features (`torch.Tensor` of shape (clips, feature_size)):
            One a clip.

    Returns:
        `list[list[dict]]`: For each clip and level the `distances` to the children of the node it is at, infinite for
        those that no training clip had, and the `child` that it takes.
    """
    points, ways = codebook.prepare(features), []
    for point in points:
        node, way = torch.zeros(1, dtype=torch.long), []
        for level in range(codebook.config.levels):
            children = codebook.siblings(level)[node[0]]
            alive = codebook.counts(level).view(-1, codebook.config.branches)[node[0]] > 0
            distances = (children - point).norm(dim=1).masked_fill(~alive, torch.inf)
            node = codebook.descend(level, point[None], node)
            way.append({"distances": distances.tolist(), "child": int(node[0]) % codebook.config.branches})
        ways.append(way)
    return ways


def plot_paths(frames: Sequence, features: torch.Tensor, ways: Sequence, visual_ids: Sequence[int], path) -> None:
    """Draw, a row a clip, the way from its picture to its visual id.

    Args:
        frames (`Sequence[torch.Tensor]`):
            The middle frame of each clip.
        features (`torch.Tensor` of shape (clips, feature_size)):
            What the video network says.
        ways (`Sequence`):
            As of [`paths_down_the_tree`].
        visual_ids (`Sequence[int]`):
            Where they end.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    levels = len(ways[0])
    size = (4.2 + 2.8 * levels, 1.6 * len(ways) + 0.3)
    widths = [1, 1.6, *[2.2] * levels, 0.7]
    figure, grid = plt.subplots(
        len(ways), len(widths), figsize=size, width_ratios=widths, layout="constrained", squeeze=False
    )
    for line, frame, feature, way, visual_id in zip(grid, frames, features, ways, visual_ids, strict=True):
        line[0].imshow(frame.permute(1, 2, 0).numpy())
        line[1].imshow(as_block(feature), cmap="magma", aspect="auto")
        for axes, step in zip(line[2:-1], way, strict=True):
            finite = [distance for distance in step["distances"] if np.isfinite(distance)]
            colours = ["#e69138" if child == step["child"] else "#d0d0d0" for child in range(len(step["distances"]))]
            heights = [distance if np.isfinite(distance) else 0 for distance in step["distances"]]
            axes.bar(range(len(heights)), heights, color=colours)
            axes.set_ylim(0.9 * min(finite), 1.02 * max(finite))
            axes.set_xticks([step["child"]])
            axes.tick_params(labelsize=7)
        line[-1].text(0.5, 0.5, f"<v_{visual_id:05}>", ha="center", va="center", fontsize=9)
        for axes in (line[0], line[1], line[-1]):
            axes.set_axis_off()
    names = ["clip", f"feature, {features.shape[1]} numbers", *(f"distances, level {n + 1}" for n in range(levels))]
    for axes, name in zip(grid[0], [*names, "visual token"], strict=True):
        axes.set_title(name, fontsize=9)
    _save(figure, path)


def as_block(vector: torch.Tensor) -> np.ndarray:
    """A vector as a block of about one to four; what is missing to its last line is empty."""
    lines = max(1, int((len(vector) / 4) ** 0.5))
    columns = -(-len(vector) // lines)
    block = np.full(lines * columns, np.nan)
    block[: len(vector)] = vector.detach().numpy()
    return block.reshape(lines, columns)


def plot_sequence(
    sequences: Sequence[tuple[str, Sequence[str]]], frames: Mapping[str, torch.Tensor], path: str | Path
) -> None:
    """Draw sequences of tokens as boxes: words, special tokens, and visual tokens with their pictures.

    Args:
        sequences (`Sequence[tuple[str, Sequence[str]]]`):
            A name and the tokens.
        frames (`Mapping[str, torch.Tensor]`):
            By visual token a picture of it; none for those that are not there.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    width = max(len(tokens) for _, tokens in sequences)
    margin = 1.0 if any(name for name, _ in sequences) else 0.0
    figure, axes = plt.subplots(figsize=(0.82 * (width + margin), 1.7 * len(sequences)), layout="constrained")
    for line, (name, tokens) in enumerate(sequences):
        bottom = -2.2 * line
        axes.text(-0.15, bottom + 0.5, name, ha="right", va="center", fontsize=11)
        for place, token in enumerate(tokens):
            _draw_box(axes, place, bottom, token)
            if token in frames:
                picture = frames[token].permute(1, 2, 0).numpy()
                axes.imshow(picture, extent=(place + 0.06, place + 0.94, bottom - 0.95, bottom - 0.07), zorder=2)
    axes.set_xlim(-margin, width)
    axes.set_ylim(-2.2 * len(sequences) + 1.1, 1.1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    _save(figure, path)


def _draw_box(axes, place: float, bottom: float, token: str) -> None:
    colour = HIDDEN if token == "[MASK]" else SPECIAL if token.startswith("[") else LANGUAGE
    colour = VISION if token.startswith("<v_") else colour
    axes.add_patch(plt.Rectangle((place + 0.04, bottom + 0.1), 0.92, 0.8, facecolor=colour, edgecolor="grey"))
    axes.text(place + 0.5, bottom + 0.5, token.replace("<v_", "<v_\n"), ha="center", va="center", fontsize=10)


def plot_representations(
    tokens: Sequence[str], inputs: torch.Tensor, outputs: torch.Tensor, told: str, path: str | Path
) -> None:
    """Draw the encoder: an embedding of each token goes in, a representation of each comes out.

    Args:
        tokens (`Sequence[str]`):
            L tokens.
        inputs (`torch.Tensor` of shape (L, H)):
            Their embeddings: word, position and type added up.
        outputs (`torch.Tensor` of shape (L, H)):
            Their representations.
        told (`str`):
            What stands in the box between them.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    figure, axes = plt.subplots(figsize=(0.82 * (len(tokens) + 1), 5.2), layout="constrained")
    for place, token in enumerate(tokens):
        _draw_box(axes, place, -1.1, token)
        name = token.strip("[]<>") or token  # [CLS] is R of CLS in the books, too
        axes.text(place + 0.5, 4.8, f"R\n{name}", ha="center", va="bottom", fontsize=10)
        for bottom, vectors in ((0.0, inputs), (3.7, outputs)):
            limit = float(vectors.abs().quantile(0.98))
            span = (place + 0.2, place + 0.8, bottom, bottom + 1.0)
            axes.imshow(as_block(vectors[place]).T, extent=span, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for low in (1.1, 3.2):
            arrow = {"arrowstyle": "->", "color": "grey"}
            axes.annotate("", (place + 0.5, low + 0.45), (place + 0.5, low), arrowprops=arrow)
    axes.add_patch(plt.Rectangle((0.05, 1.6), len(tokens) - 0.1, 1.55, facecolor="#d9ead3", edgecolor="grey"))
    axes.text(len(tokens) / 2, 2.4, told, ha="center", va="center", fontsize=15)
    for bottom, name in ((-0.6, "tokens"), (0.5, "embeddings"), (4.2, "represen-\ntations")):
        axes.text(-0.1, bottom, name, ha="right", va="center", fontsize=10)
    axes.set_xlim(-1, len(tokens))
    axes.set_ylim(-1.2, 5.4)
    axes.set_axis_off()
    _save(figure, path)


def plot_answers(answers: Mapping[str, Sequence[Sequence[tuple[str, float]]]], path: str | Path) -> None:
    """Draw the likeliest answers to each question, a column a question and a row for each thing shown.

    Args:
        answers (`Mapping[str, Sequence[Sequence[tuple[str, float]]]]`):
            By what is shown: for each question pairs of answer and probability, the best first.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    questions = max(len(lists) for lists in answers.values())
    figure, grid = plt.subplots(
        len(answers), questions, figsize=(3.4 * questions + 1.2, 1.6 * len(answers) + 0.3), layout="constrained",
        squeeze=False, sharex=True,
    )  # fmt: skip
    for line, (shown, lists) in zip(grid, answers.items(), strict=True):
        for number, (axes, best) in enumerate(zip(line, lists, strict=True)):
            names, shares = zip(*best, strict=True)
            bars = axes.barh(range(len(best)), shares, color="#6fa8dc")
            axes.bar_label(bars, [f"{100 * share:.1f} %" for share in shares], fontsize=9, padding=2)
            axes.set_yticks(range(len(best)), names, fontsize=9)
            axes.invert_yaxis()
            axes.set_xlim(0, 1.25)
            axes.set_xticks([])
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            if not number:
                axes.set_ylabel(shown, rotation=0, ha="right", va="center", fontsize=10)
    for number, axes in enumerate(grid[0], start=1):
        axes.set_title(f"mask {number}" if questions > 1 else "mask", fontsize=9)
    _save(figure, path)


def plot_alignment(
    pairs: Sequence[tuple[str, float]], true: Sequence[float], false: Sequence[float], path: str | Path
) -> None:
    """Draw what `[CLS]` says of a few pairs, and of many.

    Args:
        pairs (`Sequence[tuple[str, float]]`):
            What is shown, and the probability that text and video belong together.
        true, false (`Sequence[float]`):
            The same probability for many pairs that do, and that do not.
        path (`str` or `Path`):
            Where the PNG goes.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained")
    names, shares = zip(*pairs, strict=True)
    left.bar_label(
        left.barh(range(len(pairs)), shares, color="#93c47d"), [f"{share:.3f}" for share in shares], padding=2
    )
    left.set_yticks(range(len(pairs)), names, fontsize=8)
    left.invert_yaxis()
    left.set_xlim(0, 1.15)
    left.set_title("this text with …", fontsize=9)
    bins = np.linspace(0, 1, 21)
    right.hist([list(true), list(false)], bins=bins, color=["#93c47d", "#e06666"], label=["belong together", "do not"])
    right.set_xlabel("probability that they belong together", fontsize=8)
    right.set_ylabel("pairs", fontsize=8)
    right.legend(fontsize=8)
    right.set_title("many held-out pairs", fontsize=9)
    _save(figure, path)


def _save(figure, path: str | Path) -> None:
    """With 256 colours, which a page loads in a third of the time."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DOTS)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, dither=0).save(path, optimize=True)
    plt.close(figure)
