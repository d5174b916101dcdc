"""Protects the visual vocabulary: k-means itself, the tree, small nodes, repeatability, and what is saved."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processing import nearest_videobert
from processing.codebook.feature_shards import FeatureArray
from processing.codebook.fitting import fit_codebook
from processing.codebook.report import codebook_report
from processing.codebook_videobert import VisualCodebook, VisualCodebookConfig


def blobs(points=40, width=8, seed=0):
    """Three groups, far apart, of three blobs each; and which blob each point belongs to."""
    generator = torch.Generator().manual_seed(seed)
    groups = 300 * torch.eye(width)[:3]
    centres = (groups[:, None] + 20 * torch.eye(width)[3:6]).flatten(0, 1)
    labels = torch.arange(9).repeat_interleave(points)
    return centres[labels] + 0.1 * torch.randn(9 * points, width, generator=generator), labels


def fit(features, **options):
    return fit_codebook(features, **{"levels": 2, "branches": 3, "progress": False, **options})


def test_tree_separates_blobs():
    """Nine blobs and 3 x 3 leaves: points share an id exactly when they share a blob; none is lost in the tree."""
    features, labels = blobs()
    codebook = fit(features, normalize=False)
    ids = codebook.encode(features)
    assert codebook.counts(0).sum() == codebook.counts(1).sum() == len(features)
    assert len(set(zip(ids.tolist(), labels.tolist(), strict=True))) == len(set(ids.tolist())) == 9


def test_walk_takes_the_nearest_child_on_each_level():
    """A tree by hand: the second level is searched only below the winner of the first (hierarchical, not flat)."""
    codebook = VisualCodebook(VisualCodebookConfig(levels=2, branches=2, feature_size=1, normalize=False))
    codebook.tree[0].data = torch.tensor([[0.0], [10.0]])
    codebook.tree[1].data = torch.tensor([[-1.0], [1.0], [4.0], [12.0]])
    codebook.counts_0.fill_(1)
    codebook.counts_1.fill_(1)
    # 4.5 is nearest to leaf 2 (4.0), yet lies on the side of 0 at the first level: leaf 1.
    assert codebook.encode([[4.5], [-3.0], [5.5], [11.0]]).tolist() == [1, 0, 2, 3]
    assert codebook.centroids([1, 3]).tolist() == [[1.0], [12.0]]


def test_small_nodes_leave_dead_children_and_no_duplicates():
    """Five distinct points cannot fill nine leaves: five are alive, all different, and dead ones are never chosen."""
    features = torch.tensor([[0.0, 0], [0, 1], [9, 9], [9, 8], [-9, 5]]).repeat(4, 1)
    codebook = fit(features, normalize=False)
    alive = codebook.counts(1) > 0
    assert alive.sum() == 5
    assert len(codebook.centroids()[alive].unique(dim=0)) == 5
    assert set(codebook.encode(torch.randn(50, 2)).tolist()) <= set(alive.nonzero().flatten().tolist())
    assert codebook_report(codebook, features)["leaves_alive"] == 5


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(2, 5), st.integers(0, 9))
def test_every_training_point_gets_the_leaf_it_was_counted_in(points, levels, branches, seed):
    """Encoding the training features gives back the counts of the fit, for any size and shape."""
    features = torch.randn(points, 4, generator=torch.Generator().manual_seed(seed))
    codebook = fit_codebook(features, levels=levels, branches=branches, seed=seed, progress=False)
    ids = codebook.encode(features)
    assert torch.equal(torch.bincount(ids, minlength=branches**levels), codebook.counts(levels - 1))


def test_same_seed_same_codebook_and_ids_do_not_depend_on_the_batch():
    features, _ = blobs(seed=3)
    first, second = fit(features, seed=5), fit(features, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(first.encode(features), first.encode(features, batch_size=7))


def test_saved_codebook_gives_the_same_ids(tmp_path):
    """The fault of earlier work, centroids never published: what is saved is complete."""
    features, _ = blobs(seed=4)
    codebook = fit(features, backbone="i3d")
    codebook.save_pretrained(tmp_path)
    again = VisualCodebook.from_pretrained(tmp_path)
    assert again.config.backbone == "i3d"
    assert torch.equal(again.encode(features), codebook.encode(features))
    assert torch.equal(again.counts(1), codebook.counts(1))
    assert not any(
        tensor.requires_grad for tensor in (again.prepare(features), again.centroids(), *again.parameters())
    )


def test_bad_features_are_named():
    codebook = fit(blobs()[0])
    with pytest.raises(ValueError, match=r"\(3, 5\).*\(clips, 8\)"):
        codebook.encode(np.zeros((3, 5)))
    broken = np.zeros((3, 8))
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="clip 2 holds NaN"):
        codebook.encode(broken)
    with pytest.raises(ValueError, match="has not been fitted"):
        VisualCodebook(VisualCodebookConfig(levels=1, branches=2, feature_size=8)).encode(np.zeros((1, 8)))
    with pytest.raises(ValueError, match="clips > 0"):
        fit(np.zeros((0, 8)))
    assert codebook.encode(np.zeros((0, 8))).tolist() == []


def test_a_leaf_keeps_its_picture(tmp_path):
    """What a token stands for is saved with the codebook, saved again by whoever loads it, and absent where it was."""
    codebook = fit(blobs()[0])
    assert codebook.frame(3) is None
    picture = torch.zeros(3, 48, 48, dtype=torch.uint8)
    picture[0] = 200
    codebook.set_frames({3: picture})
    codebook.save_pretrained(tmp_path / "one")
    VisualCodebook.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    again = VisualCodebook.from_pretrained(tmp_path / "two")
    assert again.frame(2) is None and again.frame(8) is None
    assert (again.frame(3).int() - picture.int()).abs().max() <= 4
    fit(blobs()[0]).save_pretrained(tmp_path / "three")
    assert VisualCodebook.from_pretrained(tmp_path / "three").frame(3) is None


def test_pictures_do_not_hang_on_the_folder_they_came_from(tmp_path, monkeypatch):
    """Loaded by a relative path, saved elsewhere when that is gone; a codebook without any leaves none behind."""
    codebook = fit(blobs()[0])
    codebook.set_frames({3: torch.full((3, 48, 48), 90, dtype=torch.uint8)})
    codebook.save_pretrained(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    loaded = VisualCodebook.from_pretrained("one")
    shutil.rmtree("one")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    loaded.save_pretrained(tmp_path / "two")
    assert torch.equal(VisualCodebook.from_pretrained(tmp_path / "two").frame(3), codebook.frame(3))
    fit(blobs()[0]).save_pretrained(tmp_path / "two")
    assert VisualCodebook.from_pretrained(tmp_path / "two").frame(3) is None


def test_small_and_large_calls_give_the_same_ids():
    """Few features are compared one by one, many in matrix products, in batches of any size: equal to the bit."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3000, 20, generator=generator)
    codebook = fit(features, levels=3, branches=7)
    ids = codebook.encode(features)
    assert torch.equal(torch.cat([codebook.encode(features[i : i + 1]) for i in range(100)]), ids[:100])
    assert torch.equal(codebook.encode(features.half().float(), batch_size=999), codebook.encode(features.half()))
    assert torch.equal(codebook.encode(features, batch_size=301), ids)


@pytest.mark.parametrize("width", [20, 21, 23])
def test_ids_do_not_hang_on_how_products_are_computed(width, monkeypatch):
    """torch's grouped product, which differs between devices, and one plain product a node: the same ids, to the bit.

    Of a width that is no multiple of four, too, which the grouped product only takes padded.
    """
    features = torch.randn(3000, width, generator=torch.Generator().manual_seed(0))
    codebook = fit(features, levels=3, branches=7)
    ids, calls = codebook.encode(features), []

    def grouped(points, children, offs):
        calls.append(len(points))
        parts = points.double().split(offs.diff(prepend=offs.new_zeros(1)).tolist())
        return torch.cat([part @ kids for part, kids in zip(parts, children.double(), strict=True)]).float()

    points, node = codebook.prepare(features), ids // 7
    children = codebook.siblings(2)
    ours = nearest_videobert.grouped_products(points, node, children)
    assert torch.allclose(ours, torch.einsum("nd,nkd->nk", points, children[node]), atol=1e-5)
    monkeypatch.setattr(torch.nn.functional, "grouped_mm", grouped)
    assert torch.equal(codebook.encode(features), ids) and sum(calls) == 2 * len(features)


def test_autocast_does_not_change_ids():
    """Products in bfloat16 would: with autocast around it, everything is as without."""
    features = torch.randn(2000, 20, generator=torch.Generator().manual_seed(0))
    codebook = fit(features, levels=2, branches=7, whiten=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prepared, ids = codebook.prepare(features), codebook.encode(features[:300])
        again = fit(features, levels=2, branches=7, whiten=True)
    assert torch.equal(prepared, codebook.prepare(features)) and torch.equal(ids, codebook.encode(features)[:300])
    assert torch.equal(again.centroids(), codebook.centroids())


def test_what_cannot_give_ids_is_said():
    with pytest.raises(ValueError, match="in torch.float16; its ids need float32"):
        fit(blobs()[0]).half().encode(blobs()[0])
    for levels, branches in ((0, 3), (2, 1)):
        with pytest.raises(ValueError, match=f"levels={levels}, branches={branches}: a codebook has at least 1 level"):
            fit(blobs()[0], levels=levels, branches=branches)


def test_features_of_another_device_are_brought_block_by_block():
    """The fit reads plain tensors of the host; a stand-in shows what was brought."""

    class Far(torch.Tensor):
        def cpu(self):
            return self.as_subclass(torch.Tensor)

    features = blobs()[0]
    source = FeatureArray(features.as_subclass(Far))
    blocks = [*source.read(0), *source.take(np.arange(3), None)]
    assert {type(block) for block in blocks} == {torch.Tensor}
    assert torch.equal(fit(features.as_subclass(Far)).centroids(), fit(features).centroids())
