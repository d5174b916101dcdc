"""Protects codebooks that give a clip several visual ids: their codes, what is saved, and the fit of every tree."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.made_features import made_features, write_shards

from processing.codebook import check_record, codebook_report, fit_codebook
from processing.codebook.feature_shards import FeatureShards
from processing.codebook.report import errors_by_codes, nearest_clips
from processing.codebook.saving import save_codebook
from processing.codebook_videobert import VisualCodebook, VisualCodebookConfig
from processing.corpus.ids import encode_rows

KINDS = ({"residual_codes": 3}, {"levels_as_tokens": True})


@pytest.fixture(scope="module")
def features():
    return torch.from_numpy(made_features(600)).float()


def by_hand(**options):
    """Two trees on a line, of two leaves each, filled in by hand."""
    config = VisualCodebookConfig(levels=1, branches=2, feature_size=1, residual_codes=2, **options)
    codebook = VisualCodebook(config)
    for tree, leaves in zip(codebook.trees, ([[0.0], [10.0]], [[-1.0], [2.0]]), strict=True):
        tree.tree[0].data = torch.tensor(leaves)
        tree.counts_0.fill_(1)
    return codebook


def test_residual_codes_by_hand():
    """The second code is of what the first leaves, has ids behind its, and both together say the feature again."""
    codebook = by_hand(normalize=False)
    # 11.5 is nearest to 10, which leaves 1.5, nearest to 2: ids 1 and 2 + 1. -0.9 leaves -0.9: ids 0 and 2 + 0.
    ids = codebook.encode([[11.5], [-0.9], [8.6]])
    assert ids.tolist() == [1, 3, 0, 2, 1, 2]
    assert codebook.decode(ids).tolist() == [[12.0], [-1.0], [9.0]]
    assert codebook.decode(ids, codes=1).tolist() == [[10.0], [0.0], [10.0]]
    assert codebook.code_sizes == (2, 2) and codebook.codebook_size == 4
    assert codebook.centroids().tolist() == [[0.0], [10.0], [-1.0], [2.0]]


def test_what_is_left_is_centred_and_scaled_by_hand():
    """In the plane: what is left, (0, 3), is compared by its direction, and counts as long as the gain says."""
    codebook = VisualCodebook(VisualCodebookConfig(levels=1, branches=2, feature_size=2, residual_codes=2))
    first, second = codebook.trees
    first.tree[0].data, second.tree[0].data = torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    second.mean.data, codebook.gains.data = torch.tensor([0.0, 0.1]), torch.tensor([0.5])
    for tree in codebook.trees:
        tree.counts_0.fill_(1)
    # (3, 4) is (0.6, 0.8), nearest to (0, 1), which leaves (0.6, -0.2); without the mean (0.6, -0.3): id 2 + 1.
    ids = codebook.encode([[3.0, 4.0]])
    assert ids.tolist() == [1, 3]
    # (0, 1) + mean (0, 0.1) + 0.5 · (0, -1)
    torch.testing.assert_close(codebook.decode(ids), torch.tensor([[0.0, 0.6]]))


def test_levels_as_tokens_spell_the_path(features):
    """The last code is the leaf of the paper's one id; each code before is its parent, behind ids of their own."""
    paths = fit_codebook(features, 3, 3, progress=False, levels_as_tokens=True)
    leaves = fit_codebook(features, 3, 3, progress=False)
    assert paths.code_sizes == (3, 9, 27)
    leaf = leaves.encode(features)
    assert torch.equal(paths.encode(features).view(-1, 3), torch.stack([leaf // 9, leaf // 3 + 3, leaf + 12], dim=1))
    assert torch.equal(paths.decode(paths.encode(features)), leaves.centroids(leaf))
    assert torch.equal(paths.one_code().encode(features), leaf)
    assert paths.training_counts().view(-1).tolist() == [
        n for level in range(3) for n in leaves.counts(level).tolist()
    ]


def test_one_code_is_what_it_was(features):
    """The first tree of several codes is the codebook of one; without the options shape and fingerprint have none."""
    one = fit_codebook(features, 2, 3, progress=False)
    three = fit_codebook(features, 2, 3, residual_codes=3, progress=False)
    assert three.one_code().fingerprint == one.fingerprint != three.fingerprint
    assert torch.equal(three.encode(features).view(-1, 3)[:, 0], one.encode(features))
    assert one.code_sizes == (9,) and one.one_code() is one and not hasattr(one, "gains")
    assert torch.equal(one.decode([4, 2]), one.centroids([4, 2]))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.integers(1, 2), st.integers(2, 4), st.booleans(), st.integers(0, 9))
def test_every_code_lowers_the_error(points, levels, branches, normalize, seed):
    """On the clips of the fit each further residual code says what is left better than nothing does."""
    features = torch.randn(points, 5, generator=torch.Generator().manual_seed(seed))
    options = {"normalize": normalize, "residual_codes": 3, "seed": seed, "progress": False}
    errors = errors_by_codes(fit_codebook(features, levels, branches, **options), features)
    # Rounding of the gain and of the mean, and nothing else, may be seen where nothing is left.
    assert all(after <= before * (1 + 1e-4) + 1e-6 for before, after in zip(errors, errors[1:], strict=False))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_by_batch(kind, features, tmp_path):
    """Ids are the same after saving, whatever the batch and whether many or few are encoded; so is the fingerprint."""
    codebook = fit_codebook(features, 2, 3, progress=False, **kind)
    ids = codebook.encode(features)
    codebook.save_pretrained(tmp_path)
    again = VisualCodebook.from_pretrained(tmp_path)
    assert again.fingerprint == codebook.fingerprint and again.code_sizes == codebook.code_sizes
    assert torch.equal(again.encode(features), ids) and torch.equal(codebook.encode(features, batch_size=7), ids)
    assert torch.equal(torch.cat([codebook.encode(part) for part in features.split(100)]), ids)
    assert codebook.summary() == again.summary() and "codes a clip" in codebook.summary()
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_shards_and_a_second_call_give_the_same_trees(features, tmp_path):
    """Out of memory or out of files, in one go or going on from what every tree left: the same codebook."""
    shards = write_shards(made_features(600), tmp_path / "shards")
    options = {"levels": 2, "branches": 3, "residual_codes": 2, "progress": False, "state_dir": tmp_path / "state"}
    first = fit_codebook(FeatureShards(shards), **options)
    kept = sorted(path.name for path in (tmp_path / "state" / "code_2").iterdir())
    assert any(name.startswith("subtree") for name in kept)
    again = fit_codebook(FeatureShards(shards), **options)
    in_memory = fit_codebook(features, 2, 3, residual_codes=2, progress=False)
    assert first.fingerprint == again.fingerprint == in_memory.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_all_codes_of_every_clip(kind, tmp_path):
    """Each row of the shards gets its own clips' codes, side by side, and says how many a clip has."""
    shards = write_shards(made_features(300), tmp_path / "shards")
    codebook = fit_codebook(FeatureShards(shards), 2, 3, progress=False, **kind)
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in shards.glob("*.parquet"):
        table = pq.read_table(path)
        plain = {"duration": pa.float64(), "has_speech": pa.bool_(), "error": pa.string(), "notes": pa.string()}
        for name, kind_of in plain.items():
            table = table.append_column(name, pa.nulls(len(table), kind_of))
        spoken = pa.list_(pa.struct({"text": pa.string(), "start": pa.float64(), "end": pa.float64()}))
        pq.write_table(table.append_column("sentences", pa.array([[]] * len(table), spoken)), path)
    rows, each = encode_rows(codebook, shards, tmp_path / "ids"), len(codebook.code_sizes)
    given = {
        row["video_id"]: row["features"]
        for path in shards.glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    assert set(rows["tokens_per_clip"]) == {each} and sum(map(len, rows["visual_ids"])) == 300 * each
    for row in rows:
        own = np.array(given[row["video_id"]], dtype=np.float32).reshape(-1, codebook.config.feature_size)
        assert row["visual_ids"] == codebook.encode(own).tolist()


def test_report_and_pictures_know_all_codes(features, tmp_path):
    """The report is that of the first tree, with the error after every code; a clip stands for each of its codes."""
    codebook = fit_codebook(features, 1, 4, progress=False, residual_codes=2)
    report = codebook_report(codebook, features)
    alone = codebook_report(codebook.one_code(), features)
    assert report["quantization_error"] == alone["quantization_error"] == report["error_by_codes"][0]
    assert report["error_by_codes"][1] < report["error_by_codes"][0] and report["codebook_size"] == 4
    shards = write_shards(made_features(600), tmp_path / "shards")
    assert set(nearest_clips(codebook, FeatureShards(shards), 1)) == set(codebook.encode(features).tolist())


def test_what_cannot_be_is_refused(features, tmp_path):
    with pytest.raises(ValueError, match="residual_codes is 0; a clip has at least 1"):
        fit_codebook(features, residual_codes=0)
    with pytest.raises(ValueError, match="residual_codes is 2 and levels_as_tokens is True"):
        fit_codebook(features, residual_codes=2, levels_as_tokens=True)
    # A codebook from before there was the option is not taken for one of several codes.
    save_codebook(fit_codebook(features, 1, 2, progress=False), tmp_path, {})
    settings = (tmp_path / "config.json").read_text().replace('"residual_codes": 1,', "")
    (tmp_path / "config.json").write_text(settings.replace('"levels_as_tokens": false,', ""))
    check_record(tmp_path, {"residual_codes": 1, "branches": 2})
    with pytest.raises(ValueError, match="fitted with residual_codes 1, not with 4"):
        check_record(tmp_path, {"residual_codes": 4, "branches": 2})
