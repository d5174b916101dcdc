"""Protects the arithmetic under the codebook: k-means itself, and choices that hang on nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.codebook.kmeans import START_ROWS, Passes, kmeans, one_hot, split_by
from processing.codebook.space import rounded
from processing.nearest_videobert import nearest_child


def uniforms(batch, clusters, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, clusters, 4, dtype=torch.float64, generator=generator)


def means(points, labels, clusters):
    members = one_hot(labels, clusters)
    return members.T @ points / members.sum(0)[:, None]


def test_kmeans_finds_hand_made_clusters():
    """Two pairs on a line: the centroids are the pairs' means, by hand."""
    points = torch.tensor([[0.0], [1.0], [10.0], [12.0]])
    labels = kmeans(points[None], torch.tensor([4]), uniforms(1, 2))[0]
    assert sorted(means(points, labels, 2).flatten().tolist()) == [0.5, 11.0]
    assert labels[0] == labels[1] != labels[2] == labels[3]


@pytest.mark.parametrize("count", [150, 600])
def test_kmeans_is_as_tight_as_scikit_learn(count):
    """In the Gram matrix and from a start of some points, on data without clear clusters."""
    cluster = pytest.importorskip("sklearn.cluster")
    assert 150 < START_ROWS < 600
    points = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    theirs = cluster.KMeans(8, n_init=1, random_state=0).fit(points.numpy()).inertia_
    labels = kmeans(points[None], torch.tensor([count]), uniforms(1, 8))[0]
    assert (points - means(points, labels, 8)[labels]).square().sum() <= 1.05 * theirs


def test_nodes_of_a_batch_do_not_touch_each_other():
    """A node gets the same clusters alone and beside others, padded to one size."""
    generator = torch.Generator().manual_seed(0)
    nodes = [torch.randn(size, 12, generator=generator) + 5 * number for number, size in enumerate((9, 16, 3, 1))]
    draws = uniforms(4, 5)
    block = torch.nn.utils.rnn.pad_sequence(nodes, batch_first=True, padding_value=7.0)
    together = kmeans(block, torch.tensor([9, 16, 3, 1]), draws)
    for number, points in enumerate(nodes):
        alone = kmeans(block[number : number + 1], torch.tensor([len(points)]), draws[number : number + 1])
        assert torch.equal(alone[0], together[number])
        assert (together[number, len(points) :] == -1).all()
    assert len(together[2, :3].unique()) == 3 and len(together[1].unique()) == 5


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_clusters_are_as_many_as_distinct_points_allow(distinct, copies, clusters, seed):
    """Copies of a point never make a cluster of their own, and no cluster is empty where there are points for it."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(distinct, 5, generator=generator).repeat(copies, 1)
    labels = kmeans(points[None], torch.tensor([len(points)]), uniforms(1, clusters, seed))[0]
    assert len(labels.unique()) == min(distinct, clusters)
    assert (labels.view(copies, distinct) == labels[:distinct]).all()


def test_rounded_means_hide_the_order_of_a_sum():
    values = torch.randn(1000, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rounded(values.mean(0)), rounded(values.flip(0).mean(0) * (1 + 1e-15)))
    assert torch.allclose(rounded(values.mean(0)), values.mean(0).float(), rtol=2**-15)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 6), st.integers(1, 40), st.integers(0, 99), st.data())
def test_the_nearest_child_is_the_nearest_whatever_is_close(count, nodes, branches, width, seed, data):
    """Children that lie within rounding of each other, and exact doubles: the choice equals the float64 definition's,
    and a point's does not depend on which others are asked with it."""
    generator = torch.Generator().manual_seed(seed)
    children = torch.randn(nodes, 1, width, generator=generator) + data.draw(
        st.sampled_from([0.0, 1e-6, 1e-3, 1.0])
    ) * torch.randn(nodes, branches, width, generator=generator)
    points = torch.randn(count, width, generator=generator)
    node = torch.randint(nodes, (count,), generator=generator)
    alive = torch.rand(nodes, branches, generator=generator) < 0.8
    alive[:, 0] = True
    penalties = (children.norm(dim=2).square() / 2).masked_fill(~alive, torch.inf)
    found = nearest_child(points, node, children, penalties, points.norm(dim=1).amax())
    some = torch.rand(count, generator=generator) < 0.5
    some[0] = True
    again = nearest_child(points[some], node[some], children, penalties, points.norm(dim=1).amax())
    assert torch.equal(found[some], again)
    # Distances are compared in float64 after a subtraction in float32.
    chosen = (points - children[node, found]).double().square().sum(1)
    least = (points[:, None] - children[node]).double().square().sum(2).masked_fill(~alive[node], torch.inf).amin(1)
    assert torch.equal(chosen, least)


def test_points_far_from_all_children_fill_the_dead_ones():
    """A sample of copies finds one cluster; passes then find the few other points and give each a child."""
    points = torch.cat([torch.zeros(3000, 4), 5 * torch.eye(4)])
    children, alive = split_by(points[:1000], uniforms(1, 6)[0])
    assert alive.sum() == 1
    nodes = torch.zeros(len(points), dtype=torch.long)
    blocks = [(0, points[:700], nodes[:700]), (700, points[700:], nodes[700:])]
    held = SimpleNamespace(
        scan=lambda: blocks, prepare=lambda block: block, take=points.__getitem__, longest=10.0, cores=1, gather=list
    )
    passes = Passes(children[None], alive[None], held)
    passes.fill(torch.tensor([True]))
    assert passes.alive.sum() == 5
    labels, counts = passes.assign(len(points))
    assert sorted(counts[0].tolist()) == [0, 1, 1, 1, 1, 3000] and (labels[:3000] == labels[0]).all()
    assert np.array_equal(passes.children[0, labels[3000:].long()].numpy(), points[3000:].numpy())
