"""The nearest child of a node, for many features at once: fast as a matrix product, and the same to the bit always."""

import math

import torch

# A float32 product of D pairs is off by about sqrt(D) * 2**-24 of their lengths. Distances that differ by less than
# this many times as much are compared again, row by row: a choice never hangs on how a product was computed.
CLOSE_CALL = 8
PAIRS = 2048  # compared row by row at once
CACHED_ROWS = 1024  # gathered at once, so that the copies stay in the processor's cache


def nearest_child(points, node, children, penalties, longest=1.0):
    """For every point the nearest child of its node.

    Args:
        points (`torch.FloatTensor` of shape `(N, D)`):
            The points.
        node (`torch.LongTensor` of shape `(N,)`):
            Which node each one is at.
        children (`torch.FloatTensor` of shape `(nodes, branches, D)`):
            The children's centroids.
        penalties (`torch.FloatTensor` of shape `(nodes, branches)`):
            Half their squared lengths; infinite for children that must not be chosen.
        longest (`float`):
            No point is longer than this.

    Returns:
        `torch.LongTensor` of shape `(N,)`: 0 ... branches - 1, the first of equally near ones. It does not depend on
        the other points, on how products are computed, or on the number of threads.
    """
    return choose(grouped_products(points, node, children), points, node, children, penalties, longest)


def choose(products, points, node, children, penalties, longest):
    """The nearest child, given the products `(N, branches)` of every point with the children of its node."""
    # |x - c|^2 / 2 without the part that all children share.
    score = penalties[node] - products
    child = score.argmin(1)
    reach = penalties[penalties.isfinite()].amax().mul(2).sqrt()
    tolerance = CLOSE_CALL * math.sqrt(points.shape[1]) * 2**-23 * longest * reach
    close = score <= score.gather(1, child[:, None]) + tolerance
    rows = (close.sum(1) > 1).nonzero()[:, 0]
    if len(rows):
        child[rows] = settle(points, node, children, rows, close[rows])
    return child


def grouped_products(points, node, children):
    """Products of every point with the children of its own node, `(N, branches)`."""
    if len(children) == 1:
        return (children[0] @ points.T).T  # much faster than the other way round: there are few children
    order = node.argsort()
    products = torch.empty(len(points), children.shape[1], device=points.device)
    spare = -points.shape[1] % 4  # grouped_mm wants rows of whole 16 bytes
    for rows in order.split(CACHED_ROWS):
        at = node[rows]
        first, last = at[0].item(), at[-1].item()
        own, theirs = (
            points.index_select(0, rows),
            children[first : last + 1],
        )  # several times faster than points[rows]
        if spare:
            own, theirs = (torch.nn.functional.pad(tensor, (0, spare)) for tensor in (own, theirs))
        ends = torch.bincount(at - first, minlength=len(theirs)).cumsum(0).int()
        products[rows] = torch.nn.functional.grouped_mm(own, theirs.mT, offs=ends)
    return products


def settle(points, node, children, rows, candidates):
    """The nearest child of some rows among `candidates` `(rows, branches)` bool, each distance summed by itself."""
    distance = torch.full(candidates.shape, torch.inf, dtype=torch.float64, device=points.device)
    line, child = candidates.nonzero(as_tuple=True)
    for lines, kids in zip(line.split(PAIRS), child.split(PAIRS), strict=True):
        row = rows[lines]
        distance[lines, kids] = (points[row] - children[node[row], kids]).double().square_().sum(1)
    return distance.argmin(1)
