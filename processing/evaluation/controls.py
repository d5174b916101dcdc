"""What a result must be compared with: another video's tokens, and a supervised classifier on the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

# The rank of what cannot be found.
MISS = np.inf


def rank_words(logits: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """The place of each true word among all words, 1 for the best.

    Nothing is left out and nothing skipped; words with the same score count as better ones, so that a model that says
    nothing earns nothing.

    Args:
        logits (`torch.Tensor` of shape (N, V)):
            Scores.
        words (`torch.Tensor` of shape (N,)):
            Ids of the true words.

    Returns:
        `torch.Tensor` of shape (N,): int64, 1 … V.
    """
    # "Not less" rather than "at least": NaN is neither, and must not come first.
    return (~(logits < logits.gather(1, words[:, None]))).sum(dim=1)


def other_videos(video_ids: Sequence[str], seed: int = 0) -> np.ndarray | None:
    """A random order in which every place gets something of another video.

    Args:
        video_ids (`Sequence[str]`):
            N ids.
        seed (`int`, *optional*, defaults to 0):
            Of the order.

    Returns:
        `np.ndarray` of shape (N,): indices, or `None` if one video has more than half of the places.
    """
    rng, largest = np.random.default_rng(seed), max(Counter(video_ids).values())
    if 2 * largest > len(video_ids):
        return None
    unique = sorted(set(video_ids))
    turn = dict(zip(unique, rng.permutation(len(unique)), strict=True))
    shuffled = rng.permutation(len(video_ids))
    # Sorted by video, a shift by the largest video's size leads out of every video.
    grouped = shuffled[np.argsort([turn[video_ids[place]] for place in shuffled], kind="stable")]
    order = np.empty(len(video_ids), dtype=int)
    order[grouped] = np.roll(grouped, -largest)
    return order


def frequency_ranks(train: Sequence[Mapping], test: Sequence[Mapping], asked: str) -> np.ndarray:
    """Ranks of the true classes where the commonest of training is always the best answer.

    Args:
        train, test (`Sequence[Mapping]`):
            Segments with the class.
        asked (`str`):
            Under which name the class stands in them.

    Returns:
        `np.ndarray` of shape (len(test),): 1 for the best, equally common ones count as better; infinite for a class
        that training never shows.
    """
    counts = Counter(segment[asked] for segment in train)
    ranks = {one: sum(count >= counts[one] for count in counts.values()) for one in counts}
    return np.array([ranks.get(segment[asked], MISS) for segment in test], dtype=float)


def token_probe_ranks(train: Sequence[Mapping], test: Sequence[Mapping], asked: str, seed: int = 0) -> np.ndarray:
    """Ranks of the true classes under a supervised classifier that sees the same visual tokens: what they hold at all.

    Multinomial logistic regression over bags of visual tokens, see [`probe_ranks`], which also chooses how they are
    counted.

    Args:
        train, test (`Sequence[Mapping]`):
            Segments with `video_id`, `visual_ids` and the class.
        asked (`str`):
            Under which name the class stands in them, such as `verb` or `object`.
        seed (`int`, *optional*, defaults to 0):
            Of the split.

    Returns:
        `np.ndarray` of shape (len(test),): 1 for the best; infinite for a class that training never shows.
    """
    columns = {token: place for place, token in enumerate(sorted({i for one in train for i in one["visual_ids"]}))}
    bags = [_bags(segments, columns) for segments in (train, test)]
    counts = (lambda bag: (bag > 0).float(), torch.sqrt, lambda bag: F.normalize(torch.sqrt(bag), dim=1))
    return probe_ranks(train, test, asked, [tuple(map(count, bags)) for count in counts], seed)


def probe_ranks(
    train: Sequence[Mapping],
    test: Sequence[Mapping],
    asked: str,
    ways: Sequence[tuple[torch.Tensor, torch.Tensor]],
    seed: int = 0,
) -> np.ndarray:
    """Ranks of the true classes under multinomial logistic regression. The way to put what it sees, and how strongly
    weights are held back, are chosen on a quarter of the training videos; then all of them train it.

    Args:
        train, test (`Sequence[Mapping]`):
            Segments with `video_id` and the class.
        asked (`str`):
            Under which name the class stands in them.
        ways (`Sequence[tuple[torch.Tensor, torch.Tensor]]`):
            Ways to put what it sees: vectors of the training segments and of the others, `(segments, size)`.
        seed (`int`, *optional*, defaults to 0):
            Of the split.

    Returns:
        `np.ndarray` of shape (len(test),): 1 for the best; infinite for a class that training never shows.
    """
    classes = sorted({segment[asked] for segment in train})
    target = torch.tensor([classes.index(segment[asked]) for segment in train])
    videos = sorted({segment["video_id"] for segment in train})
    chosen = set(np.random.default_rng(seed).permutation(videos)[: max(1, len(videos) // 4)].tolist())
    held_out = torch.tensor([segment["video_id"] in chosen for segment in train])

    def held_out_loss(setting):
        (inputs, _), decay = setting
        fit = fit_linear(inputs[~held_out], target[~held_out], len(classes), decay)
        return F.cross_entropy(fit(inputs[held_out]), target[held_out]).item()

    settings = [(way, decay) for way in ways for decay in (1e-4, 1e-3, 1e-2, 1e-1)]
    (inputs, others), decay = min(settings, key=held_out_loss) if len(videos) > 1 else settings[1]
    scores = fit_linear(inputs, target, len(classes), decay)(others)
    ranks = np.full(len(test), MISS)
    known = [place for place, segment in enumerate(test) if segment[asked] in classes]
    truth = torch.tensor([classes.index(test[place][asked]) for place in known], dtype=torch.long)
    ranks[known] = rank_words(scores[known], truth)
    return ranks


def _bags(segments, columns) -> torch.Tensor:
    bags = torch.zeros(len(segments), len(columns))
    for number, segment in enumerate(segments):
        for token in segment["visual_ids"]:
            if token in columns:
                bags[number, columns[token]] += 1
    return bags


def fit_linear(inputs: torch.Tensor, target: torch.Tensor, num_classes: int, decay: float):
    """The linear classifier with the least mean cross-entropy + `decay`/2 · squared weights, found by L-BFGS."""
    weight = torch.zeros(num_classes, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weight.T + bias, target) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weight, bias = weight.detach(), bias.detach()
    return lambda new: new @ weight.T + bias
