"""Protects what is said about a codebook: figures by hand and against a reference, and the example that shows them."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.made_features import made_features, write_shards

from processing.codebook.feature_shards import FeatureShards
from processing.codebook.fitting import fit_codebook
from processing.codebook.report import adjusted_mutual_information, codebook_report, nearest_clips, size_histogram
from processing.codebook.saving import load_codebook
from processing.codebook_videobert import VisualCodebook, VisualCodebookConfig
from processing.corpus import held_out_ids, read_rows

ROOT = Path(__file__).resolve().parents[3]


def test_figures_by_hand():
    """A tree on a line whose second level cannot give 4.5 its nearest leaf."""
    codebook = VisualCodebook(VisualCodebookConfig(levels=2, branches=2, feature_size=1, normalize=False))
    codebook.tree[0].data = torch.tensor([[0.0], [10.0]])
    codebook.tree[1].data = torch.tensor([[-1.0], [1.0], [5.0], [10.0]])
    codebook.counts_0.copy_(torch.tensor([5, 3]))
    codebook.counts_1.copy_(torch.tensor([4, 1, 3, 0]))
    report = codebook_report(codebook, torch.tensor([[-1.0], [1.0], [4.5], [7.0]]))
    # Leaves 0, 1, 1 and 2, at squared distances 0, 0, 12.25 and 4; searched flat, 4.5 is 0.5 from leaf 2.
    variance = np.var([-1.0, 1.0, 4.5, 7.0])
    assert report["clips_fitted"] == 8 and report["codebook_size"] == 4
    assert report["leaves_alive"] == 3 and report["leaves_dead"] == 1 and report["leaves_used"] == 3
    assert report["tree_flat_agreement"] == 0.75
    assert report["quantization_error"] == pytest.approx(16.25 / 4 / variance)
    assert report["nearest_leaf_error"] == pytest.approx(4.25 / 4 / variance)
    # Flat k-means ends with 4.5 and 7 together, 1.25 from their mean.
    assert report["flat_error"] == pytest.approx(2 * 1.25**2 / 4 / variance)
    assert report["perplexity"] == pytest.approx(np.exp(-(0.5 * np.log(0.25) + 0.5 * np.log(0.5))))
    assert report["sizes_by_level"][1] == {"0": 1, "1": 1, "2-3": 1, "4-7": 1}


def test_sizes_are_binned_by_powers_of_two():
    sizes = torch.tensor([0, 0, 1, 2, 3, 4, 7, 8])
    assert size_histogram(sizes) == {"0": 2, "1": 1, "2-3": 2, "4-7": 2, "8-15": 1}
    assert size_histogram(torch.zeros(3)) == {"0": 3, "1": 0}


def test_agreement_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    ids = draw.integers(0, 12, 3000)
    for noise in (0.0, 0.3, 1.0):
        others = np.where(draw.random(3000) < noise, draw.integers(0, 12, 3000), (ids + 5) % 12)
        ours = adjusted_mutual_information(torch.tensor(ids), torch.tensor(others), torch.Generator().manual_seed(0))
        assert ours == pytest.approx(metrics.adjusted_mutual_info_score(ids, others), abs=0.005)


def test_a_seed_agrees_with_itself_and_a_random_codebook_is_worse():
    features = made_features()
    codebook, other = (fit_codebook(features, levels=2, branches=4, seed=seed, progress=False) for seed in (0, 1))
    assert codebook_report(codebook, features, codebook)["stability"] == pytest.approx([1, 1])
    report = codebook_report(codebook, features[:2000], other, spare=features[2000:])
    assert all(0 < share <= 1 for share in report["stability"])
    assert (
        report["flat_error"] <= report["nearest_leaf_error"] <= report["quantization_error"] < report["random_error"]
    )


def test_a_figure_that_the_clips_do_not_allow_is_left_out_and_said():
    """As many leaves as clips: neither a random codebook of these clips nor a flat fit to them would measure it."""
    features = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, levels=2, branches=4, progress=False)
    alive = int((codebook.counts(1) > 0).sum())
    report = codebook_report(codebook, features[:alive])
    assert report["random_error"] is None and f"{alive} random leaves" in report["skipped"]["random_error"]
    assert report["flat_error"] is None and f"{alive} flat clusters need" in report["skipped"]["flat_error"]
    more = codebook_report(codebook, features[:alive], spare=torch.randn(alive, 12))
    assert more["random_error"] > 0.2 and list(more["skipped"]) == ["flat_error"]


def test_features_that_are_all_the_same_have_a_report():
    """One clip, or a still picture: nothing varies, and nothing is lost by a codebook of one live leaf."""
    for features in (torch.ones(1, 6), torch.ones(50, 6)):
        report = codebook_report(fit_codebook(features, 2, 3, progress=False), features)
        assert report["leaves_alive"] == report["leaves_used"] == report["perplexity"] == 1
        assert report["quantization_error"] == report["nearest_leaf_error"] == 0 and report["leaves_dead"] == 8


def test_nearest_clips_are_the_nearest(tmp_path):
    """Every named clip lies in its leaf, the nearest one first, and no other of the leaf is nearer."""
    source = FeatureShards(write_shards(made_features(400), tmp_path / "features"))
    features = {}
    for path in sorted((tmp_path / "features").glob("*")):
        for row in pq.read_table(path).to_pylist():
            features |= {(row["video_id"], number): clip for number, clip in enumerate(row["features"])}
    points = np.array(list(features.values()), dtype=np.float32)
    codebook = fit_codebook(source, levels=2, branches=3, progress=False)
    ids = codebook.encode(points)
    distance = (codebook.prepare(points) - codebook.centroids(ids)).norm(dim=1)
    for visual_id, clips in nearest_clips(codebook, source, 3).items():
        found = [distance[list(features).index(clip)].item() for clip in clips]
        assert found == pytest.approx(distance[ids == visual_id].sort()[0][:3].tolist())


@pytest.mark.slow
def test_the_example_fits_reports_and_writes_ids(tmp_path, monkeypatch, capsys):
    """The script as a user runs it, twice: the second run finds the codebook and fits nothing.

    Its ids are what the saved codebook gives another process, on more threads and with other instructions.
    """
    shards = write_shards(made_features(300), tmp_path / "features", shards=2)
    command = [sys.executable, str(ROOT / "examples" / "fit_codebook.py"), "--features", str(shards)]
    command += ["--levels", "2", "--branches", "3", "--output", str(tmp_path / "codebook")]
    command += ["--report", str(tmp_path / "report"), "--ids", str(tmp_path / "ids")]
    command += ["--test_share", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "level 1" in done.stderr and not (tmp_path / "codebook" / "unfinished").exists()
    monkeypatch.setattr(sys, "argv", command[1:])
    importlib.import_module("fit_codebook").main()
    assert "level 1" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*command[1:], "--seed", "1"])
    with pytest.raises(ValueError, match="fitted with seed 0, not with 1; ask for the same"):
        importlib.import_module("fit_codebook").main()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["clips_fitted"] == 300 and len(report["stability"]) == 2
    assert report["random_error"] > report["flat_error"] > 0 and report["skipped"] == {}
    assert (tmp_path / "report" / "report.png").stat().st_size > 10_000
    codebook = VisualCodebook.from_pretrained(tmp_path / "codebook")
    for path in sorted(shards.glob("*")):
        for row, ids in zip(
            pq.read_table(path).to_pylist(), pq.read_table(tmp_path / "ids" / path.name).to_pylist(), strict=True
        ):
            assert ids["video_id"] == row["video_id"] and "features" not in ids
            features = np.array(row["features"], dtype=np.float32).reshape(-1, 12)
            assert ids["visual_ids"] == codebook.encode(features).tolist()


def test_the_example_does_not_see_held_out_videos(tmp_path, monkeypatch):
    """Neither they nor any other share of them by accident: their clips are counted in no leaf, yet all get ids."""
    shards, script = (
        write_shards(made_features(600), tmp_path / "features", shards=2),
        importlib.import_module("fit_codebook"),
    )
    command = ["fit_codebook.py", "--features", str(shards), "--levels", "1", "--branches", "3"]
    command += ["--output", str(tmp_path / "codebook"), "--ids", str(tmp_path / "ids")]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    clips = {
        row["video_id"]: len(row["features"]) for path in shards.glob("*") for row in pq.read_table(path).to_pylist()
    }
    held_out = held_out_ids([name for name, count in clips.items() if count], 0.1)
    counted = sum(count for name, count in clips.items() if name not in held_out)
    codebook = load_codebook(tmp_path / "codebook")
    assert codebook.counts(0).sum() == counted < 600
    rows = read_rows(tmp_path / "ids")
    assert {row["video_id"]: len(row["visual_ids"]) for row in rows} == clips
    assert set(rows["codebook"]) == {codebook.fingerprint}
    monkeypatch.setattr(sys, "argv", [*command, "--test_share", "0.3"])
    with pytest.raises(ValueError, match="held_out_share 0.1, not with 0.3, features .* ask for the same"):
        script.main()


def test_joined_networks_are_named_without_folders(tmp_path):
    """Of two networks that made the features the record names both, and no folder of this machine."""
    script = importlib.import_module("fit_codebook")
    shards, eyes = write_shards(made_features(60), tmp_path / "features", shards=1), tmp_path / "i3d"
    eyes.mkdir()
    (shards / "settings.json").write_text(json.dumps({"backbone": f"{eyes}+facebook/dinov2-base"}))
    assert script.described_by(FeatureShards(shards)) == "i3d+facebook/dinov2-base"


def test_features_of_other_clips_are_not_fitted_together(tmp_path):
    """Folders of clips of 1.5 and of 3 s gave one codebook without a word; its pictures were all cut at 1.5 s."""
    script = importlib.import_module("fit_codebook")
    one = write_shards(made_features(60), tmp_path / "one", shards=1)
    other = write_shards(made_features(60), tmp_path / "other", shards=1, clip_seconds=3.0)
    assert script.clip_seconds_of([other]) == 3.0
    with pytest.raises(ValueError, match="Rows of different clip_seconds cannot be used together: v000 has 1.5 and"):
        script.open_features([one, other], 0.1)
