"""What a codebook is worth: how much of it is used, how well it covers features, what its tokens stand for."""

from __future__ import annotations

import heapq

import torch

from ..codebook_videobert import VisualCodebook, VisualCodebookConfig
from .feature_shards import FeatureShards
from .fitting import fit_codebook

FLAT_PRODUCTS = 3e13  # multiplications that the comparison with a flat k-means may take: enough for 2 x 12**4 clips
BLOCK = 512
PASSES = 12  # of the flat k-means, at the most
SETTLED = 0.01  # the flat k-means ends when a pass lowers its error by less than this share


@torch.no_grad()
def codebook_report(
    codebook: VisualCodebook,
    features: torch.Tensor,
    other: VisualCodebook | None = None,
    seed: int = 0,
    spare: torch.Tensor | None = None,
) -> dict:
    """How well a codebook covers features, beside a flat one and a random one of as many live leaves.

    Args:
        codebook ([`VisualCodebook`]):
            The codebook.
        features (`torch.Tensor` of shape `(clips, feature_size)`):
            Features, those of the fit, a sample, or others.
        other ([`VisualCodebook`], *optional*):
            One of the same features and shape with another seed, for stability.
        seed (`int`, *optional*, defaults to 0):
            Of the random codebook, and of the chance level of stability.
        spare (`torch.Tensor` of shape `(clips, feature_size)`, *optional*):
            Features of other clips, which the random codebook is drawn from: it must not hold the clips that it is
            measured on.

    Returns:
        `dict`: Figures of the training: `clips_fitted`, `codebook_size`, `leaves_alive` (with a training point),
        `leaves_dead`, and `sizes_by_level`, one dict a level: how many nodes have 0, 1, 2-3, 4-7, ... training clips.
        On the given features, `clips_measured` many: `leaves_used`, `perplexity`, `tree_flat_agreement` (share whose
        leaf is the nearest of all live leaves), and the mean squared distance to the leaf as a share of the variance:
        `quantization_error`, `nearest_leaf_error` (searched flat), `random_error` (spare features drawn as leaves,
        searched flat), `flat_error` (flat k-means of these features, begun from the leaves) and, to compare that with,
        `refit_error` (a tree of these features). Where there are too few clips for `random_error` or `flat_error` it
        is `None`, and `skipped` says why, by its name.
        With `other`, `stability`: for each level the adjusted mutual information of the two codebooks' ids, 1 for the
        same partition, 0 for chance. Where a clip has several codes, all of this is of the first tree and its leaves,
        and `error_by_codes` is the `quantization_error` with the first code, the first two, ... of each clip.
    """
    if len(codebook.code_sizes) > 1:
        alone = None if other is None else other.one_code()
        return codebook_report(codebook.one_code(), features, alone, seed, spare) | {
            "error_by_codes": errors_by_codes(codebook, features)
        }
    points, generator = codebook.prepare(features), torch.Generator().manual_seed(seed)
    ids = codebook.encode(features)
    share = torch.bincount(ids, minlength=codebook.config.codebook_size).double() / len(ids)
    used = share[share > 0]
    counts = [codebook.counts(level) for level in range(codebook.config.levels)]
    alive = codebook.centroids()[counts[-1] > 0]
    nearest, flat_ids = flat_search(points, alive)
    variance = (points - points.mean(0)).square().sum(1).mean().item() or 1.0  # of features that are all the same
    distances = {
        "quantization_error": (points - codebook.centroids(ids)).square().sum(1),
        "nearest_leaf_error": nearest,
        "refit_error": tree_distances(points, codebook.config, seed),
    }
    extra, skipped = 0 if spare is None else len(spare), {}
    if spare is not None and extra >= len(alive):
        drawn = codebook.prepare(spare[torch.randperm(extra, generator=generator)[: len(alive)]])
        distances["random_error"] = flat_search(points, drawn)[0]
    else:
        skipped["random_error"] = f"{len(alive)} random leaves need as many spare clips; there are {extra}"
    report = {
        "clips_fitted": int(counts[0].sum()),
        "codebook_size": codebook.config.codebook_size,
        "leaves_alive": len(alive),
        "leaves_dead": codebook.config.codebook_size - len(alive),
        "sizes_by_level": [size_histogram(level) for level in counts],
        "clips_measured": len(points),
        "leaves_used": len(used),
        "perplexity": float((-(used * used.log()).sum()).exp()),
        "tree_flat_agreement": float(((counts[-1] > 0).cumsum(0)[ids] - 1 == flat_ids).double().mean()),
        **{name: float(distance.mean()) / variance for name, distance in distances.items()},
    }
    if len(points) <= len(alive):
        skipped["flat_error"] = f"{len(alive)} flat clusters need more clips than that; {len(points)} are measured"
    elif 2 * PASSES * points.numel() * len(alive) > FLAT_PRODUCTS:
        skipped["flat_error"] = f"{len(alive)} flat clusters of {len(points)} clips would take too long"
    else:
        report["flat_error"] = float(flat_kmeans_error(points, alive, nearest, flat_ids)) / variance
    report |= {**dict.fromkeys(skipped), "skipped": skipped}
    if other is not None:
        theirs, width = other.encode(features), codebook.config.branches
        steps = [width ** (codebook.config.levels - 1 - level) for level in range(codebook.config.levels)]
        report["stability"] = [adjusted_mutual_information(ids // s, theirs // s, generator) for s in steps]
    return report


def errors_by_codes(codebook: VisualCodebook, features: torch.Tensor) -> list[float]:
    """The mean squared distance to what the first code of each clip, the first two, … say, as a share of variance."""
    points, ids = codebook.prepare(features), codebook.encode(features)
    variance = (points - points.mean(0)).square().sum(1).mean().item() or 1.0  # of features that are all the same
    known = (codebook.decode(ids, codes) for codes in range(1, len(codebook.code_sizes) + 1))
    return [(points - one).square().sum(1).mean().item() / variance for one in known]


def size_histogram(counts: torch.Tensor) -> dict[str, int]:
    """How many nodes have so many clips: `{"0": …, "1": …, "2-3": …, "4-7": …}`."""
    bins = torch.where(counts > 0, counts.double().log2().floor() + 1, 0).long()
    names = ["0", "1"] + [f"{2**power}-{2 ** (power + 1) - 1}" for power in range(1, int(bins.max()))]
    return dict(zip(names, torch.bincount(bins, minlength=len(names)).tolist(), strict=True))


def flat_search(points: torch.Tensor, leaves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distance to the nearest of all leaves, and its number."""
    half, found = leaves.square().sum(1) / 2, []
    for block in points.split(BLOCK):
        found.append((half - block @ leaves.T).min(1))
    least, number = (torch.cat([getattr(part, name) for part in found]) for name in ("values", "indices"))
    return (points - leaves[number]).square().sum(1), number


def flat_kmeans_error(
    points: torch.Tensor, centroids: torch.Tensor, distance: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """Mean squared distance to the nearest centroid of a flat k-means that goes on from given centroids.

    `distance` `(N,)` and `ids` `(N,)` are what [`flat_search`] finds for them.
    """
    for _ in range(PASSES):
        before, counts = distance.mean(), torch.bincount(ids, minlength=len(centroids))
        centroids = torch.zeros_like(centroids).index_add_(0, ids, points).div_(counts.clamp_min(1)[:, None])
        empty = (counts == 0).nonzero()[:, 0]
        centroids[empty] = points[distance.topk(len(empty)).indices]
        distance, ids = flat_search(points, centroids)
        if distance.mean() > (1 - SETTLED) * before:
            break
    return min(before, distance.mean())


def tree_distances(points: torch.Tensor, config: VisualCodebookConfig, seed: int) -> torch.Tensor:
    """Squared distances to the leaf of a tree that is fitted to these points, in their space."""
    tree = fit_codebook(points, config.levels, config.branches, False, seed, progress=False, alone=True)
    return (points - tree.centroids(tree.encode(points))).square().sum(1)


def adjusted_mutual_information(
    ids: torch.Tensor, others: torch.Tensor, generator: torch.Generator, draws: int = 3
) -> float:
    """Mutual information of two labellings over the mean of their entropies, both less what chance would give.

    Chance is what remains when one of them is shuffled, the mean of a few draws.
    """
    shuffled = (others[torch.randperm(len(ids), generator=generator)] for _ in range(draws))
    chance, most = sum(mutual_information(ids, one) for one in shuffled) / draws, (entropy(ids) + entropy(others)) / 2
    return 1.0 if most - chance < 1e-12 else (mutual_information(ids, others) - chance) / (most - chance)


def entropy(ids: torch.Tensor) -> float:
    share = ids.unique(return_counts=True)[1].double() / len(ids)
    return -(share * share.log()).sum().item()


def mutual_information(ids: torch.Tensor, others: torch.Tensor) -> float:
    return entropy(ids) + entropy(others) - entropy(ids * (int(others.max()) + 1) + others)


@torch.no_grad()
def nearest_clips(codebook: VisualCodebook, source: FeatureShards, count: int) -> dict[int, list[tuple[str, int]]]:
    """The training clips that lie nearest to their leaf's centroid: what a visual token looks like.

    Of several codes of a clip, those that lie nearest to what their codes up to this one say.

    Args:
        codebook ([`VisualCodebook`]):
            The codebook.
        source ([`FeatureShards`]):
            Features with `video_id`s; read once.
        count (`int`):
            Clips a leaf, at the most.

    Returns:
        `dict[int, list[tuple[str, int]]]`: By visual id `(video_id, number of the clip in its video)`, nearest first.
    """
    nearest: dict[int, tuple] = {}
    clips = source.clips()
    for piece in range(source.num_pieces):
        for block in source.read(piece):
            ids, points = codebook.encode(block), codebook.prepare(block)
            codes = range(1, len(codebook.code_sizes) + 1)
            distances = torch.stack([(points - codebook.decode(ids, code)).norm(dim=1) for code in codes], dim=1)
            for own, far in zip(ids.view(distances.shape).tolist(), distances.tolist(), strict=True):
                clip = next(clips)
                for visual_id, distance in zip(own, far, strict=True):
                    heap, item = nearest.setdefault(visual_id, []), (-distance, clip)
                    (heapq.heappush if len(heap) < count else heapq.heappushpop)(heap, item)
    return {visual_id: [clip for _, clip in sorted(heap, reverse=True)] for visual_id, heap in nearest.items()}
