"""Hierarchical k-means (paper, section 4.2): from the features of many clips to a `VisualCodebook`, and a report."""

import numpy as np
import torch
from accelerate.utils import tqdm

from .codebook_videobert import VisualCodebook, VisualCodebookConfig

ITERATIONS = 50  # Lloyd stops by itself as soon as no point changes its cluster; this bounds the rare slow node.


def fit_codebook(features, levels=4, branches=12, normalize=True, seed=0, backbone=None, progress=True):
    """Fits a codebook top down: k-means over all features, then inside each cluster, `levels` times.

    Args:
        features (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`): Features of the training clips.
        levels (`int`): Depth of the tree; 4 in the paper.
        branches (`int`): Clusters of a node; 12 in the paper.
        normalize (`bool`): Whether features are centred and scaled to unit length first.
        seed (`int`): Every node draws its start from (seed, level, node), so a fit is repeatable.
        backbone (`str`, *optional*): Id of the network that made the features; kept in the configuration.
        progress (`bool`): Whether to show a progress bar.

    Returns:
        [`VisualCodebook`]: A node with fewer distinct points than branches gets one child a point; the children left
        over are dead (count 0), never duplicates.

    Raises:
        ValueError: No features, or NaN among them.
    """
    features = torch.as_tensor(features)
    if features.ndim != 2 or not len(features):
        raise ValueError(
            f"Features have shape {tuple(features.shape)}; a codebook needs (clips, feature_size), clips > 0."
        )
    config = VisualCodebookConfig(
        levels=levels, branches=branches, feature_size=features.shape[1], normalize=normalize, backbone=backbone
    )
    codebook = VisualCodebook(config)
    codebook.mean.data = features.double().mean(0).float()
    points = codebook.prepare(features)
    node = torch.zeros(len(points), dtype=torch.long)
    parents = points.mean(0, keepdim=True)
    for level in tqdm(range(levels), desc="Codebook", disable=not progress):
        centroids = parents.repeat_interleave(branches, 0)  # what a child without points keeps
        child = torch.zeros_like(node)
        order = node.argsort(stable=True)
        occupied, sizes = node[order].unique_consecutive(return_counts=True)
        for parent, members in zip(occupied.tolist(), order.split(sizes.tolist()), strict=True):
            state = np.random.SeedSequence([seed, level, parent]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> 1))
            found, labels = kmeans(points[members], branches, generator)
            centroids[parent * branches : parent * branches + len(found)] = found
            child[members] = labels
        node = node * branches + child
        codebook.tree[level].data.copy_(centroids)
        codebook.counts(level).copy_(torch.bincount(node, minlength=len(centroids)))
        parents = centroids
    return codebook


def kmeans(points, clusters, generator):
    """Lloyd's k-means with a k-means++ start.

    Args:
        points (`torch.FloatTensor` of shape `(N, D)`): What to cluster.
        clusters (`int`): How many clusters at the most; there are fewer where there are fewer distinct points.
        generator (`torch.Generator`): Draws the start.

    Returns:
        `tuple`: Centroids `(K, D)`, K <= clusters and none empty, and labels `(N,)`.
    """
    distinct, labels = points.unique(dim=0, return_inverse=True)
    if len(distinct) <= clusters:
        return distinct, labels
    centroids = spread_start(points, clusters, generator)
    labels = None
    for _ in range(ITERATIONS):
        distance = torch.cdist(points, centroids)
        new_labels = distance.argmin(1)
        if labels is not None and torch.equal(labels, new_labels):
            break
        labels = refill_empty(new_labels, distance, clusters)
        one_hot = torch.nn.functional.one_hot(labels, clusters).to(points.dtype)
        centroids = one_hot.T @ points / one_hot.sum(0)[:, None]
    return centroids, labels


def spread_start(points, clusters, generator):
    """k-means++: each further centre is drawn with the squared distance to the nearest centre so far as its weight."""
    first = torch.randint(len(points), (1,), generator=generator)
    centres = [points[first]]
    weight = (points - centres[0]).square().sum(1)
    for _ in range(clusters - 1):
        centres.append(points[torch.multinomial(weight, 1, generator=generator)])
        weight = torch.minimum(weight, (points - centres[-1]).square().sum(1))
    return torch.cat(centres)


def refill_empty(labels, distance, clusters):
    """Gives every empty cluster the point farthest from its own centre, out of a cluster that can spare one."""
    labels = labels.clone()
    sizes = torch.bincount(labels, minlength=clusters)
    for empty in (sizes == 0).nonzero().flatten().tolist():
        own = distance.gather(1, labels[:, None]).squeeze(1).masked_fill(sizes[labels] < 2, -1)
        farthest = own.argmax()
        sizes[labels[farthest]] -= 1
        sizes[empty] += 1
        labels[farthest] = empty
    return labels


def codebook_report(codebook, features):
    """How well a codebook covers features.

    Args:
        codebook ([`VisualCodebook`]): The codebook.
        features (`torch.Tensor` of shape `(clips, feature_size)`): Features, those of the fit or others.

    Returns:
        `dict`: `codebook_size`, `leaves_alive` (leaves with a training point), `leaves_used` and `perplexity` (on
        these features) and `quantization_error` (mean squared distance to the centroid over that to the mean).
    """
    ids = codebook.encode(features)
    points = codebook.prepare(features)
    share = torch.bincount(ids, minlength=codebook.config.codebook_size).double() / len(ids)
    used = share[share > 0]
    error = (points - codebook.centroids(ids)).square().sum(1).mean()
    return {
        "codebook_size": codebook.config.codebook_size,
        "leaves_alive": int((codebook.counts(codebook.config.levels - 1) > 0).sum()),
        "leaves_used": len(used),
        "perplexity": float((-(used * used.log()).sum()).exp()),
        "quantization_error": float(error / (points - points.mean(0)).square().sum(1).mean()),
    }
