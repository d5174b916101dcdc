"""k-means over one node of a codebook's tree, or over several at once: the arithmetic under `codebook_fitting`.

Two things make it fast. Points that are few beside their width are clustered in their Gram matrix, where an iteration
never touches the features again; points that are many start from the clusters of a sample. And two make it repeatable
to the bit, however the rows are cut into blocks or spread over processes: sums are exact (see `exact_sums`), and the
one function that compares features with centroids, `nearest_child`, settles close calls row by row.
"""

import math

import torch

from .cores_videobert import on_cores
from .nearest_videobert import nearest_child

PASSES = 12  # over the points of a large node, at the most
SETTLED = 1e-3  # passes end when one explains hardly more variance, as a share of what the clusters explain
ITERATIONS = 100  # a Gram iteration costs little, and nearly every node settles long before
# Squared distances out of a Gram matrix carry this much rounding, as a share of the points' squared lengths. Points
# that are nearer than that count as the same one.
SAME_POINT = 2e-6
# Points on a grid of 2**-26 of the largest value: 2**27 of them have an exact sum in float64.
GRID_BITS = 26
STRIP = 128
SUM_ROWS = 1024  # a slice whose float64 copy stays in the processor's cache


def grid_scale(largest):
    """The power of two that bounds values up to `largest`; what `exact_sums` takes its grid from."""
    return 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0


def exact_sums(points, members, scale=1.0):
    """Sums of the points of every cluster, without any rounding after the points were put on a grid.

    Floating-point sums depend on their order, hence on blocks, processes and threads. These do not: every point is
    rounded to a multiple of `scale * 2**-26` first, and sums of such multiples are exact in float64.

    Args:
        points (`torch.FloatTensor` of shape `(N, D)`): No value larger than `scale`.
        members (`torch.Tensor` of shape `(N, K)`): One-hot rows; zeros belong to no cluster.
        scale (`float`): A power of two.

    Returns:
        `torch.DoubleTensor` of shape `(K, D)`.
    """
    grid = 2**GRID_BITS / scale
    sums = torch.zeros(members.shape[1], points.shape[1], dtype=torch.float64, device=points.device)
    for rows, chosen in zip(points.split(SUM_ROWS), members.split(SUM_ROWS), strict=True):
        sums += chosen.double().T @ rows.double().mul_(grid).round_()
    return sums.div_(grid)


def rounded(tensor, bits=16):
    """float32 with a mantissa of so few bits that sums taken in another order round to the same."""
    mantissa, exponent = torch.frexp(tensor)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent).float()


def one_hot(labels, clusters):
    """`(..., clusters)` float32; a label of -1 gives zeros."""
    return (labels[..., None] == torch.arange(clusters, device=labels.device)).float()


def gram_kmeans(points, sizes, uniforms):
    """Lloyd's k-means with a greedy k-means++ start, for several nodes at once, in their Gram matrices.

    Args:
        points (`torch.FloatTensor` of shape `(B, M, D)`): One node a batch entry, padded at the end.
        sizes (`torch.LongTensor` of shape `(B,)`): Points of each node, at least one.
        uniforms (`torch.DoubleTensor` of shape `(B, K, trials)`): Numbers in [0, 1) that draw the start, for K
            clusters a node at the most.

    Returns:
        `torch.LongTensor` of shape `(B, M)`: Labels, -1 at padding. A node with fewer distinct points than K has one
        cluster a distinct point; of the other nodes no cluster is empty.
    """
    valid = torch.arange(points.shape[1], device=points.device) < sizes[:, None]
    clusters = uniforms.shape[1]
    # Around the node's own middle, where differences between its points are not lost beside their length.
    middle = (valid / sizes[:, None])[:, None].to(points.dtype) @ points
    centred = points - middle
    gram = gram_matrix(centred)
    norms = gram.diagonal(dim1=1, dim2=2)
    centres, alive = spread_start(gram, norms, valid, uniforms)
    labels = None
    distance = norms.gather(1, centres)[:, None] - 2 * gram.gather(2, centres[:, None].expand(-1, gram.shape[1], -1))
    for _ in range(ITERATIONS):
        distance = distance.masked_fill(~alive[:, None], torch.inf)
        found = distance.argmin(2).masked_fill(~valid, -1)
        members = one_hot(found, clusters)
        counts = members.sum(1)
        if ((counts == 0) & alive).any():
            found = refill_empty(found, distance + norms[..., None], alive)
            members = one_hot(found, clusters)
            counts = members.sum(1)
        if labels is not None and torch.equal(found, labels):
            break
        labels = found
        products = gram @ (members / counts.clamp_min(1)[:, None])  # of every point with every cluster's mean
        squares = (members * products).sum(1) / counts.clamp_min(1)
        distance = squares[:, None] - 2 * products
    return labels


def gram_matrix(points):
    """Products of all points with each other, `(B, M, M)`; what is the same on both sides is computed once."""
    size = points.shape[1]
    gram = points.new_empty(len(points), size, size)
    for start in range(0, size, STRIP):
        stop = start + STRIP
        gram[:, start:stop, start:] = strip = points[:, start:stop] @ points[:, start:].mT
        gram[:, stop:, start:stop] = strip[:, :, STRIP:].mT
    return gram


def spread_start(gram, norms, valid, uniforms):
    """Greedy k-means++: of a few points drawn with their squared distance as weight, the one that helps most.

    Returns:
        `tuple`: The chosen points `(B, K)`, and which of them are a further distinct point `(B, K)` bool.
    """
    batch, clusters, trials = uniforms.shape
    centres = torch.zeros(batch, clusters, dtype=torch.long, device=gram.device)
    alive = torch.zeros(batch, clusters, dtype=torch.bool, device=gram.device)
    weights = valid.double()  # the first one is any point
    closest = torch.full_like(norms, torch.inf)
    for number in range(clusters):
        cumulative = weights.cumsum(1)
        total = cumulative[:, -1:]
        alive[:, number] = total[:, 0] > 0
        drawn = torch.searchsorted(cumulative, uniforms[:, number] * total, right=True).clamp_max(gram.shape[1] - 1)
        drawn = drawn if number else drawn[:, :1]
        rows = gram.gather(1, drawn[..., None].expand(-1, -1, gram.shape[2]))
        lengths = norms[:, None] + norms.gather(1, drawn)[..., None]
        distance = lengths - 2 * rows
        distance = torch.where(distance > SAME_POINT * lengths, distance, 0.0)
        left = torch.minimum(closest[:, None], distance).masked_fill(~valid[:, None], 0.0)
        best = left.sum(2).argmin(1, keepdim=True)
        centres[:, number] = drawn.gather(1, best)[:, 0]
        closest = left.gather(1, best[..., None].expand(-1, -1, left.shape[2]))[:, 0]
        weights = closest.double()
    return centres, alive


def refill_empty(labels, distance, alive):
    """Gives every empty cluster the point farthest from its own centre, out of a cluster that can spare one."""
    labels = labels.clone()
    for node in range(len(labels)):
        inside = labels[node] >= 0
        sizes = torch.bincount(labels[node][inside], minlength=alive.shape[1])
        for empty in ((sizes == 0) & alive[node]).nonzero().flatten().tolist():
            own = distance[node].gather(1, labels[node].clamp_min(0)[:, None])[:, 0]
            own = own.masked_fill(~inside | (sizes[labels[node]] < 2), -torch.inf)
            farthest = own.argmax()
            sizes[labels[node, farthest]] -= 1
            sizes[empty] += 1
            labels[node, farthest] = empty
    return labels


class Lloyd:
    """Lloyd's iterations over points that come in blocks, for several nodes at once.

    Args:
        scan (callable): Gives an iterable over this process's blocks: number of the first point, what `prepare` makes
            the points from, and their nodes `(N,)`, -1 for points of no node.
        prepare (callable): From a block and the number of its first point to points `(N, D)`.
        take (callable): From the ascending numbers of some points to the points.
        scale (`float`): Power of two that bounds the points' values; see `exact_sums`.
        longest (`float`): Bounds the points' lengths.
        cores (`int`): Blocks worked on at a time; see `on_cores`.
        total (callable, *optional*): From a process's tensor to the sum over all processes.
        gather (callable, *optional*): From a process's list to the joined lists of all processes.
    """

    def __init__(self, scan, prepare, take, scale, longest, cores=1, total=lambda tensor: tensor, gather=list):
        self.scan, self.prepare, self.take, self.scale, self.longest = scan, prepare, take, scale, longest
        self.cores, self.total, self.gather = cores, total, gather
        self.children, self.alive, self.explained = None, None, None
        self.settled_nodes, self.passes = None, 0

    @property
    def settled(self):
        return self.passes == PASSES or bool(self.settled_nodes.all())

    def begin(self, samples, draws):
        """Starts every node from the clusters of a sample of its points.

        Args:
            samples (list of `torch.FloatTensor` of shape `(n, D)`): One sample a node.
            draws (list of `torch.DoubleTensor` of shape `(branches, trials)`): The uniform numbers of its start.
        """
        children, alive = [], []
        for sample, uniforms in zip(samples, draws, strict=True):
            sizes, clusters = torch.tensor([len(sample)]), uniforms.shape[0]
            members = one_hot(gram_kmeans(sample[None], sizes, uniforms[None].to(sample.device))[0], clusters)
            counts = members.sum(0)
            children.append((exact_sums(sample, members, self.scale) / counts.clamp_min(1)[:, None]).float())
            alive.append(counts > 0)
        self.begin_with(torch.stack(children), torch.stack(alive))

    def begin_with(self, children, alive=None):
        """Starts from given centroids `(nodes, branches, D)`."""
        self.children = children
        self.alive = torch.ones(children.shape[:2], dtype=torch.bool) if alive is None else alive
        self.explained = torch.zeros(len(children), dtype=torch.float64)
        self.settled_nodes = torch.zeros(len(children), dtype=torch.bool)

    def state(self):
        """What to go on from, as tensors."""
        names = ("children", "alive", "explained", "settled_nodes")
        return {name: getattr(self, name) for name in names} | {"passes": torch.tensor(self.passes)}

    def load_state(self, state):
        for name, value in state.items():
            setattr(self, name, value)
        self.passes = int(self.passes)

    def _nearest(self, points, node):
        penalties = (self.children.norm(dim=2).square() / 2).masked_fill(~self.alive, torch.inf)
        return nearest_child(points, node, self.children, penalties, self.longest)

    def _over(self, wanted, work):
        """What `work` makes of the numbers, points, nodes and children of every block's points of wanted nodes."""
        wanted = torch.cat([wanted, wanted.new_zeros(1)])  # the last entry is for points of no node

        def work_on(block):
            first, rows, node = block
            numbers = first + wanted[node].nonzero()[:, 0]
            if not len(numbers):
                return None
            points = self.prepare(rows, first)
            if len(numbers) < len(points):
                points, node = points.index_select(0, numbers - first), node[numbers - first]
            return work(numbers, points, node, self._nearest(points, node))

        return (result for result in on_cores(self.cores, work_on, self.scan()) if result is not None)

    def step(self):
        """One pass: every child moves to the mean of its points."""
        nodes, branches, size = self.children.shape
        sums = torch.zeros(nodes, branches, size, dtype=torch.float64)
        counts = torch.zeros(nodes, branches, dtype=torch.float64)

        def sum_up(numbers, points, node, child):
            members, found = one_hot(child, branches), {}
            for number in node.unique().tolist():
                own = (node == number).nonzero()[:, 0]
                part = points if nodes == 1 else points.index_select(0, own)
                found[number] = exact_sums(part, members[own], self.scale), members[own].sum(0)
            return found

        for found in self._over(~self.settled_nodes, sum_up):
            for number, (part, count) in found.items():
                sums[number] += part
                counts[number] += count
        sums, counts = self.total(sums), self.total(counts)
        means = sums / counts.clamp_min(1)[..., None]
        middle = sums.sum(1, keepdim=True) / counts.sum(1).clamp_min(1)[:, None, None]
        explained = ((means - middle).square().sum(2) * counts).sum(1)
        moving = ~self.settled_nodes
        self.settled_nodes |= explained - self.explained <= SETTLED * explained
        self.explained = torch.where(moving, explained, self.explained)
        self.children = torch.where((counts > 0)[..., None] & moving[:, None, None], means.float(), self.children)
        self.passes += 1
        if (empty := (counts == 0) & moving[:, None]).any():
            self._fill(empty)

    def _fill(self, empty):
        """Gives empty children the points that are farthest from their own child, at most one out of each of them."""
        self.alive &= ~empty
        branches = self.alive.shape[1]

        def farthest(numbers, points, node, child):
            far = []  # a child, negative distance and number of its farthest point
            for lines in torch.arange(len(points)).split(SUM_ROWS):
                own = self.children[node[lines], child[lines]]
                distance = (points[lines] - own).double().square_().sum(1)
                distance[distance <= SAME_POINT * own.double().square_().sum(1)] = 0
                label = node[lines] * branches + child[lines]
                for one in label.unique().tolist():
                    best = torch.where(label == one, distance, -1.0).argmax()
                    far.append((one, (-distance[best].item(), numbers[lines[best]].item())))
            return far

        merged = {}
        for one, found in self.gather([item for far in self._over(empty.any(1), farthest) for item in far]):
            merged[one] = min(merged.get(one, found), found)
        free = {node: children.nonzero()[:, 0].tolist() for node, children in enumerate(empty)}
        moved = {}  # by number of the point, the place that it takes
        for (distance, number), one in sorted((found, one) for one, found in merged.items()):
            if distance < 0 and free[one // branches]:
                moved[number] = (one // branches, free[one // branches].pop(0))
        if moved:
            numbers = sorted(moved)
            for point, number in zip(self.take(torch.tensor(numbers)), numbers, strict=True):
                node, child = moved[number]
                self.children[node, child], self.alive[node, child] = point, True
                self.settled_nodes[node] = False

    def assign(self, length):
        """A last pass, over all nodes, with the children where they are now.

        Returns:
            `tuple`: Every point's child `(length,)` int32, 0 for points that other processes read and points of no
            node; and the points of every child `(nodes, branches)` of all processes.
        """
        labels = torch.zeros(length, dtype=torch.int32)
        counts = torch.zeros(self.alive.numel(), dtype=torch.int64)
        everywhere = torch.ones(len(self.children), dtype=torch.bool)
        for numbers, node, child in self._over(everywhere, lambda numbers, points, *found: (numbers, *found)):
            labels[numbers] = child.int()
            counts += torch.bincount(node * self.alive.shape[1] + child, minlength=len(counts))
        return labels, self.total(counts).view(self.alive.shape)
