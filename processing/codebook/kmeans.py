"""k-means over one node of a codebook's tree, or over several at once: the arithmetic under `fitting`.

Three things make it fast. A node of few points is clustered in their Gram matrix, where an iteration never touches the
features again; one of more points starts from the clusters of a few; and one of very many is clustered by a sample
alone, after which all of its points are only compared with the children. And two make it repeatable to the bit,
however the rows are cut into blocks or spread over processes: a node is clustered as a whole by one core, and the one
function that compares features with centroids, `nearest_child`, settles close calls row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch.nn.functional import pad

from ..cores_videobert import on_cores
from ..nearest_videobert import nearest_child

START_ROWS, START_SHARE = 192, 16  # points that are clustered in their Gram matrix, and points a cluster if more
SETTLED = 1e-3  # iterations over features end when one takes away hardly any of the squared distances
ITERATIONS = 100  # nearly every node settles long before
# Squared distances out of products carry this much rounding, as a share of the points' squared lengths. Points that
# are nearer than that count as the same one.
SAME_POINT = 2e-6
STRIP = 128
SLICE_ROWS = 1024  # a slice whose copies stay in the processor's cache


def one_hot(labels: torch.Tensor, clusters: int) -> torch.Tensor:
    """`(..., clusters)` float32; a label of -1 gives zeros."""
    return (labels[..., None] == torch.arange(clusters, device=labels.device)).float()


def start_rows(clusters: int) -> int:
    """How many points are clustered in their Gram matrix."""
    return max(START_ROWS, START_SHARE * clusters)


def kmeans(points: torch.Tensor, sizes: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Lloyd's k-means with a greedy k-means++ start, for several nodes at once.

    Args:
        points (`torch.FloatTensor` of shape `(B, M, D)`):
            One node a batch entry, padded at the end. More than `start_rows` must be of one node alone and in random
            order: the first ones start the others.
        sizes (`torch.LongTensor` of shape `(B,)`):
            Points of each node, at least one.
        uniforms (`torch.DoubleTensor` of shape `(B, K, trials)`):
            Numbers in [0, 1) that draw the start, for K clusters a node at the most.

    Returns:
        `torch.LongTensor` of shape `(B, M)`: Labels, -1 at padding. A node with fewer distinct points than K has one
        cluster a distinct point (as distinct as rounding beside the node's whole extent lets them be); of the other
        nodes no cluster is empty.
    """
    valid = torch.arange(points.shape[1], device=points.device) < sizes[:, None]
    # Around the node's own middle, where differences between its points are not lost beside their length.
    middle = (valid / sizes[:, None])[:, None].to(points.dtype) @ points
    centred = points - middle
    first, clusters = start_rows(uniforms.shape[1]), uniforms.shape[1]
    if points.shape[1] <= first:
        gram = gram_matrix(centred)
        norms = gram.diagonal(dim1=1, dim2=2)

        def in_gram(weights):
            products = gram @ weights
            return products, (weights * products).sum(1)

        return lloyd(in_gram, norms, valid, spread_start(gram, norms, valid, uniforms), clusters)
    start = pad(kmeans(points[:, :first], sizes.clamp_max(first), uniforms), (0, points.shape[1] - first), value=-1)

    def in_features(weights):
        means = weights.mT @ centred
        return (means @ centred.mT).mT, means.square().sum(2)

    return lloyd(in_features, centred.norm(dim=2).square(), valid, start, clusters, SETTLED)


def lloyd(
    compare: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    norms: torch.Tensor,
    valid: torch.Tensor,
    labels: torch.Tensor,
    clusters: int,
    settled: float | None = None,
) -> torch.Tensor:
    """Lloyd's iterations without the points themselves.

    Args:
        compare (callable):
            From weights `(B, M, K)` to the products `(B, M, K)` of all points with the sums of all
            points by these weights, and to the squared lengths `(B, K)` of the sums.
        norms (`torch.FloatTensor` of shape `(B, M)`):
            Squared lengths of the points.
        valid (`torch.BoolTensor` of shape `(B, M)`):
            Which points are there.
        labels (`torch.LongTensor` of shape `(B, M)`):
            The start; -1 for points that are not yet in a cluster.
        clusters (`int`):
            K.
        settled (`float`, *optional*):
            The iterations end, too, when one takes away less than this share of the sum of squared distances.

    Returns:
        `torch.LongTensor` of shape `(B, M)`: Labels.
    """
    before: float | torch.Tensor = torch.inf
    for _ in range(ITERATIONS):
        members = one_hot(labels, clusters)
        counts = members.sum(1)
        weights = members / counts.clamp_min(1)[:, None]
        products, squares = compare(weights)
        distance = (squares[:, None] - 2 * products).masked_fill(counts[:, None] == 0, torch.inf)
        least, found = distance.min(2)
        least, found = least + norms, found.masked_fill(~valid, -1)
        refilled = refill_empty(found, least, norms, clusters)
        if torch.equal(found, labels):
            break
        labels, now = found, least[valid].sum()
        if settled and not refilled and before - now <= settled * now:
            break
        before = now
    return labels


def gram_matrix(points: torch.Tensor) -> torch.Tensor:
    """Products of all points with each other, `(B, M, M)`; what is the same on both sides is computed once."""
    size = points.shape[1]
    gram = points.new_empty(len(points), size, size)
    for start in range(0, size, STRIP):
        stop = start + STRIP
        gram[:, start:stop, start:] = strip = points[:, start:stop] @ points[:, start:].mT
        gram[:, stop:, start:stop] = strip[:, :, STRIP:].mT
    return gram


def spread_start(gram: torch.Tensor, norms: torch.Tensor, valid: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Greedy k-means++: of a few points drawn with their squared distance as weight, the one that helps most.

    Returns:
        `torch.LongTensor` of shape `(B, M)`: Number of a cluster at the point chosen for it, -1 at all others. There
        are fewer clusters than K where there are fewer distinct points.
    """
    lengths = norms[:, :, None] + norms[:, None]
    distance = lengths - 2 * gram
    # Nothing is far from a copy of itself, and nothing from padding.
    distance = distance.masked_fill_((distance <= SAME_POINT * lengths) | ~valid[:, None], 0.0)
    labels = torch.full(valid.shape, -1, device=gram.device)
    closest, weights = torch.full_like(norms, torch.inf), valid  # the first one is any point
    for number in range(uniforms.shape[1]):
        cumulative = weights.cumsum(1, dtype=torch.float64)
        total = cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, uniforms[:, number] * total, right=True).clamp_max_(len(valid[0]) - 1)
        drawn = drawn if number else drawn[:, :1]
        left = torch.minimum(closest[:, None], rows_of(distance, drawn))
        best = left.sum(2).argmin(1, keepdim=True)
        chosen = drawn.gather(1, best)
        labels.scatter_(1, chosen, torch.where(total > 0, number, labels.gather(1, chosen)))
        closest = weights = rows_of(left, best)[:, 0]
    return labels


def rows_of(matrices: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Some rows `(B, n, M)` of every matrix of `(B, N, M)`, by their numbers `(B, n)`."""
    return matrices.gather(1, numbers[..., None].expand(-1, -1, matrices.shape[2]))


def refill_empty(labels: torch.Tensor, distance: torch.Tensor, norms: torch.Tensor, clusters: int) -> bool:
    """Gives an empty cluster the point farthest from its own centre, out of a cluster that can spare one.

    Args:
        labels, distance, norms (`torch.Tensor` of shape `(B, M)`):
            Every point's cluster (-1 at padding; is changed), squared distance to it, and squared length.
        clusters (`int`):
            K.

    Returns:
        `bool`: Whether there was such a point.
    """
    sizes = one_hot(labels, clusters).sum(1)
    apart = (labels >= 0) & (distance > 2 * SAME_POINT * norms)
    needy = (sizes == 0).any(1) & (apart & (sizes.gather(1, labels.clamp_min(0)) > 1)).any(1)
    for node in needy.nonzero()[:, 0].tolist():
        for empty in (sizes[node] == 0).nonzero()[:, 0].tolist():
            spare = apart[node] & (sizes[node][labels[node]] > 1)
            if not spare.any():
                break
            farthest = torch.where(spare, distance[node], -torch.inf).argmax()
            sizes[node, labels[node, farthest]] -= 1
            sizes[node, empty] += 1
            labels[node, farthest] = empty
    return bool(needy.any())


def split_by(points: torch.Tensor, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The children of one node, by some of its points or all of them.

    Args:
        points (`torch.FloatTensor` of shape `(M, D)`):
            The points, in random order.
        uniforms (`torch.DoubleTensor` of shape `(K, trials)`):
            The uniform numbers of the start.

    Returns:
        `tuple`: Centroids `(K, D)`, and which of them are alive `(K,)` bool.
    """
    labels = kmeans(points[None], torch.tensor([len(points)]), uniforms[None].to(points.device))[0]
    members = one_hot(labels, len(uniforms))
    counts = members.sum(0)
    return members.T @ points / counts.clamp_min(1)[:, None], counts > 0


class Points(Protocol):
    """Points that come in blocks, wherever they lie; `longest` bounds their lengths."""

    longest: float
    cores: int  # blocks worked on at a time; see `on_cores`

    def scan(self) -> Iterable[tuple[int, torch.Tensor, torch.Tensor]]:
        """This process's blocks: number of the first point, what `prepare` makes the points from, and their nodes
        `(N,)`, -1 for points of no node."""

    def prepare(self, rows: torch.Tensor) -> torch.Tensor:
        """From (some rows of) a block to points `(N, D)`."""

    def take(self, numbers: torch.Tensor) -> torch.Tensor:
        """From the ascending numbers of some points to the points."""

    def gather(self, items: list) -> list:
        """From a process's list to the joined lists of all processes."""


class Passes:
    """Passes over points that come in blocks, and that belong to several nodes whose children are known.

    Args:
        children (`torch.FloatTensor` of shape `(nodes, branches, D)`):
            The children's centroids.
        alive (`torch.BoolTensor` of shape `(nodes, branches)`):
            Which of them there are.
        points ([`Points`]):
            The points.
    """

    def __init__(self, children: torch.Tensor, alive: torch.Tensor, points: Points):
        self.children, self.alive, self.points = children, alive, points

    def _over(self, wanted: torch.Tensor, work: Callable) -> Iterator:
        """What `work` makes of the numbers, points, nodes and children of every block's points of wanted nodes."""
        wanted = torch.cat([wanted, wanted.new_zeros(1)])  # the last entry is for points of no node
        penalties = (self.children.norm(dim=2).square() / 2).masked_fill(~self.alive, torch.inf)

        def work_on(block):
            first, rows, node = block
            inside = wanted[node].nonzero()[:, 0]
            if not len(inside):
                return None
            if len(inside) < len(rows):
                rows, node = rows.index_select(0, inside), node[inside]
            points = self.points.prepare(rows)
            child = nearest_child(points, node, self.children, penalties, self.points.longest)
            return work(first + inside, points, node, child)

        return (result for result in on_cores(self.points.cores, work_on, self.points.scan()) if result is not None)

    def fill(self, wanted: torch.Tensor) -> None:
        """Gives dead children of wanted nodes `(nodes,)` the points farthest from their own child, one out of each.

        A sample of a node that is nearly all copies of one point shows nothing else; the others are found here.
        """
        while (dead := ~self.alive & wanted[:, None]).any():
            free = {node: children.nonzero()[:, 0].tolist() for node, children in enumerate(dead)}
            moved = {}  # by number of the point, the place that it takes
            for one, number in self._farthest(dead.any(1)):
                if free[one // self.alive.shape[1]]:
                    node = one // self.alive.shape[1]
                    moved[number] = node, free[node].pop(0)
            if not moved:
                return
            numbers = sorted(moved)
            for point, number in zip(self.points.take(torch.tensor(numbers)), numbers, strict=True):
                self.children[moved[number]], self.alive[moved[number]] = point, True

    def _farthest(self, wanted: torch.Tensor) -> list[tuple[int, int]]:
        """Every child that has points away from it, and the number of the farthest one; the farthest of all first."""
        branches = self.alive.shape[1]

        def farthest(numbers, points, node, child):
            far = []  # a child, negative distance and number of its farthest point
            for lines in torch.arange(len(points)).split(SLICE_ROWS):
                own = self.children[node[lines], child[lines]]
                distance = (points[lines] - own).double().square_().sum(1)
                distance[distance <= SAME_POINT * own.double().square_().sum(1)] = 0
                label = node[lines] * branches + child[lines]
                for one in label.unique().tolist():
                    best = torch.where(label == one, distance, -1.0).argmax()
                    far.append((one, (-distance[best].item(), numbers[lines[best]].item())))
            return far

        merged: dict[int, list] = {}
        for one, found in self.points.gather([item for far in self._over(wanted, farthest) for item in far]):
            merged[one] = min(merged.get(one, found), found)
        return [(one, number) for (far, number), one in sorted((found, one) for one, found in merged.items()) if far]

    def assign(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The last pass, over all nodes.

        Returns:
            `tuple`: Every point's child `(length,)` int32, 0 for points that other processes read and points of no
            node; and how many points every child `(nodes, branches)` has, of those that this process reads.
        """
        labels = torch.zeros(length, dtype=torch.int32)
        counts = torch.zeros(self.alive.numel(), dtype=torch.int64)
        everywhere = torch.ones(len(self.children), dtype=torch.bool)
        for numbers, node, child in self._over(everywhere, lambda numbers, points, *found: (numbers, *found)):
            labels[numbers] = child.int()
            counts += torch.bincount(node * self.alive.shape[1] + child, minlength=len(counts))
        return labels, counts.view(self.alive.shape)
