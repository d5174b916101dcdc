"""Protects the fit at any size: the same codebook from memory and from shards, however cut, shared or interrupted."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.made_features import CLIPS, LITTLE, OPTIONS, WIDTH, made_features, write_shards

from processing.codebook import processes
from processing.codebook.feature_shards import FeatureShards, rows_by_video
from processing.codebook.fitting import fit_codebook
from processing.codebook.processes import Processes
from processing.codebook.state import FitState
from processing.codebook.whole_files import write_whole
from processing.codebook_videobert import VisualCodebook
from processing.corpus.ids import write_ids

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(made_features(), tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def expected():
    return fit_codebook(made_features(), **OPTIONS)


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_every_clip_has_the_leaf_it_was_counted_in(expected):
    ids = expected.encode(made_features())
    assert torch.equal(torch.bincount(ids, minlength=64), expected.counts(2))
    assert expected.counts(0).sum() == CLIPS and (expected.counts(2) > 0).float().mean() > 0.9


@pytest.mark.parametrize("memory", [LITTLE["memory"], 2**30])
def test_memory_and_shards_and_any_share_of_memory_give_one_codebook(expected, shards, memory):
    """Passes over shards, subtrees from shards, and all in memory: equal to the bit."""
    assert same(fit_codebook(FeatureShards(shards), memory=memory, **OPTIONS), expected)
    assert same(fit_codebook(made_features(), memory=memory, **OPTIONS), expected)


def test_blocks_do_not_matter(expected, shards, monkeypatch):
    monkeypatch.setattr("processing.codebook.feature_shards.BLOCK_ROWS", 37)
    monkeypatch.setattr("processing.codebook_videobert.CACHED_ROWS", 11)
    monkeypatch.setattr("processing.codebook.fitting.CACHED_ROWS", 13)
    monkeypatch.setattr("processing.codebook.space.CACHED_ROWS", 17)
    assert same(fit_codebook(FeatureShards(shards), **LITTLE, **OPTIONS), expected)


@pytest.mark.parametrize("options", [{"normalize": False}, {"whiten": True}, {"whiten": True, "normalize": False}])
def test_other_spaces_are_as_repeatable(shards, options, tmp_path):
    """Whitening is kept in the artefact: a saved codebook gives the same ids."""
    fitted = fit_codebook(FeatureShards(shards), **LITTLE, **OPTIONS, **options)
    assert same(fitted, fit_codebook(made_features(), **OPTIONS, **options))
    fitted.save_pretrained(tmp_path)
    ids = fitted.encode(made_features())
    assert torch.equal(VisualCodebook.from_pretrained(tmp_path).encode(made_features(), batch_size=7), ids)
    assert torch.equal(torch.bincount(ids, minlength=64), fitted.counts(2))


def test_whitened_features_have_like_variance_in_every_direction():
    """Against the definition: the covariance of prepared features is close to the identity."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(4000, WIDTH)) @ draw.normal(size=(WIDTH, WIDTH)) + 5
    codebook = fit_codebook(features, levels=1, branches=2, normalize=False, whiten=True, progress=False)
    values = torch.linalg.eigvalsh(torch.cov(codebook.prepare(features).T))
    # Ill-conditioned directions are held back by the shrinkage; none is blown up.
    assert values.max() < 1.01 and values.median() > 0.8


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import os
from processing.codebook import fit_codebook
from processing.codebook.feature_shards import FeatureShards
from support.made_features import LITTLE, OPTIONS
from accelerate import PartialState
from processing.codebook import state

writes = 0
write_whole = state.write_whole

def killing(path, write):
    global writes
    write_whole(path, write)
    writes += path.name.startswith({kill_at[0]!r})
    if writes == {kill_at[1]}:
        os.kill(os.getpid(), 9)

state.write_whole = killing
codebook = fit_codebook(FeatureShards({shards!r}), state_dir={state!r}, **LITTLE, **OPTIONS)
assert PartialState().num_processes == int(os.environ.get("WORLD_SIZE", "1"))
if os.environ.get("RANK", "0") == "0":
    codebook.save_pretrained({output!r})
os._exit(0)  # tearing down gloo's threads now and then aborts a process
"""


def run(shards, tmp_path, kill_at=("", -1), processes=1):
    script = tmp_path / "fit.py"
    settings = {"shards": str(shards), "state": str(tmp_path / "state"), "output": str(tmp_path / "codebook")}
    script.write_text(SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"), kill_at=kill_at, **settings))
    command = [sys.executable, str(script)]
    if processes > 1:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(processes),
            str(script),
        ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_killed_fit_goes_on_where_it_stopped(expected, shards, tmp_path):
    """Killed when the root is split, then after the second subtree; then it ends, and is the same."""
    for kill_at in (("level", 1), ("subtree", 2)):
        assert run(shards, tmp_path, kill_at).returncode == -9
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "state").glob("subtree*")}
    done = run(shards, tmp_path)
    assert done.returncode == 0, done.stderr
    assert same(VisualCodebook.from_pretrained(tmp_path / "codebook"), expected)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "state").glob("subtree*")}
    assert len(before) == 2 and before.items() < after.items()  # what was done was not done again
    with pytest.raises(ValueError, match="begun with other features or settings.*'seed': \\(3, 4\\)"):
        fit_codebook(FeatureShards(shards), state_dir=tmp_path / "state", **LITTLE, **{**OPTIONS, "seed": 4})
    with pytest.raises(ValueError, match="begun with other features or settings .*'mean'"):
        fit_codebook(made_features() + 1, state_dir=tmp_path / "state", **LITTLE, **OPTIONS)


@pytest.mark.slow
def test_two_processes_give_the_codebook_of_one(expected, shards, tmp_path):
    done = run(shards, tmp_path, processes=2)
    assert done.returncode == 0, done.stderr
    assert same(VisualCodebook.from_pretrained(tmp_path / "codebook"), expected)


class Waits:
    """The second of two processes, which notes what it finds in a folder whenever it waits."""

    count, index, is_first = 2, 1, False

    def __init__(self, folder, meanwhile):
        self.folder, self.meanwhile, self.found = folder, meanwhile, []

    def wait(self):
        self.found.append([path.name for path in self.folder.iterdir()])
        self.meanwhile()


def test_only_the_first_process_begins_the_folder(tmp_path):
    """The second one comes first: it writes nothing, waits, and compares what the first has written meanwhile."""
    state = FitState(tmp_path)
    waits = Waits(tmp_path, lambda: FitState(tmp_path).begin({"seed": 0}, Processes(alone=True)))
    state.begin({"seed": 0}, waits)
    assert waits.found == [[]] and [path.name for path in tmp_path.iterdir()] == ["settings.json"]
    with pytest.raises(ValueError, match="begun with other features or settings"):
        state.begin({"seed": 1}, waits)


def test_sums_over_processes_are_made_on_the_device_and_come_back(monkeypatch):
    """A group of GPUs cannot exchange the host's memory, where the fit computes."""

    class State:
        device = torch.device("meta")

    def reduce(tensor, reduction):
        assert tensor.device.type == "meta" and reduction == "sum"
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    both = Processes(alone=True)
    both.count = 2
    monkeypatch.setattr(processes, "PartialState", State)
    monkeypatch.setattr(processes, "reduce", reduce)
    total = both.total(torch.zeros(3, dtype=torch.int64))
    assert total.tolist() == [1, 1, 1] and total.device.type == "cpu"


def test_a_damaged_state_is_named(shards, tmp_path):
    """Cut, or with one bit changed in its numbers: one sentence with the file, and no codebook of other numbers."""
    state = FitState(tmp_path)
    state.save("level_0", {"children": torch.ones(4, 3), "alive": torch.ones(4, dtype=torch.bool)})
    path = tmp_path / "level_0.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-4], whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="level_0.safetensors is damaged: .* Delete it, and it is computed again"):
            state.load("level_0")
    (tmp_path / "settings.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match="settings.json is damaged: it is no JSON"):
        state.begin({"seed": 0}, Processes(alone=True))


def test_dead_leaves_are_said(caplog):
    """Seven distinct clips cannot fill nine leaves, and the log counts the two that are left."""
    logging.getLogger("transformers").propagate = True
    features = np.random.default_rng(0).normal(size=(7, 4)).repeat(3, 0)
    with caplog.at_level(logging.WARNING, logger="processing.codebook.fitting"):
        codebook = fit_codebook(features, levels=2, branches=3, progress=False)
    dead = int((codebook.counts(1) == 0).sum())
    assert dead >= 2 and f"{dead} of 9 leaves are dead" in caplog.text


def test_copies_do_not_hide_the_few_other_clips():
    """A large node of one still picture, whose sample shows nothing else: the other clips get their own children."""
    features = np.zeros((5000, 4), dtype=np.float32)
    features[[7, 1234, 4999]] = 5 * np.eye(4)[:3]
    codebook = fit_codebook(features, levels=1, branches=6, normalize=False, progress=False)
    assert sorted(codebook.counts(0)[codebook.counts(0) > 0].tolist()) == [1, 1, 1, 4997]


def test_features_whose_squares_overflow_are_refused():
    with pytest.raises(ValueError, match="too large to be compared"):
        fit_codebook(1e30 * made_features(100).astype(np.float64), **{**OPTIONS, "normalize": False})


def test_bad_shards_are_named(tmp_path):
    features = made_features(100)
    features[70, 3] = np.nan
    write_shards(features, tmp_path / "nan", shards=1)
    with pytest.raises(ValueError, match=r"0\.parquet, row group \d+: The feature of clip \d+ holds NaN"):
        fit_codebook(FeatureShards(tmp_path / "nan"), **OPTIONS)
    write_shards(made_features(100), tmp_path / "mixed", shards=1)
    table = pa.table({"features": pa.array([[[1.0, 2.0]]], pa.list_(pa.list_(pa.float16())))})
    pq.write_table(table, tmp_path / "mixed" / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet.* width \[2\].* here 12"):
        fit_codebook(FeatureShards(tmp_path / "mixed"), **OPTIONS)
    with pytest.raises(ValueError, match="no column 'sights'"):
        FeatureShards(tmp_path / "nan", column="sights")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="There is no Parquet file in"):
        FeatureShards(tmp_path / "none")
    write_shards(made_features(0), tmp_path / "none", shards=1)
    with pytest.raises(ValueError, match="hold no feature"):
        fit_codebook(FeatureShards(tmp_path / "none"), **OPTIONS)


def test_shards_of_single_clips_and_chosen_rows(tmp_path):
    """One clip a row is read too; only the wanted rows' clips are, in order, and each knows where it is from."""
    features = made_features(50)
    table = pa.table({"features": pa.array(list(features), pa.list_(pa.float16()))})
    pq.write_table(table, tmp_path / "flat.parquet")
    read = torch.cat([block for block in FeatureShards(tmp_path / "flat.parquet").read(0)])
    assert np.array_equal(read.numpy(), features)
    folder = write_shards(made_features(500), tmp_path / "videos", shards=2)
    rows = [row for path in sorted(folder.glob("*")) for row in pq.read_table(path).to_pylist()]
    chosen = [3, 7, len(rows) - 1]
    source = FeatureShards(folder, rows=chosen)
    read = torch.cat([block for piece in range(source.num_pieces) for block in source.read(piece)])
    wanted = [
        (row["video_id"], number, clip)
        for row in map(rows.__getitem__, chosen)
        for number, clip in enumerate(row["features"])
    ]
    assert np.array_equal(read.numpy(), np.array([clip for _, _, clip in wanted], dtype=np.float16))
    assert list(source.clips()) == [(video_id, number) for video_id, number, _ in wanted]


def test_ids_of_another_codebook_are_written_again(tmp_path):
    """The same folder, the same codebook: nothing is written; another codebook: its ids, not the old ones."""
    shards = write_shards(made_features(200), tmp_path / "features", shards=2)
    first, second = (fit_codebook(made_features(200), 1, branches, progress=False) for branches in (3, 4))
    written = {}
    for codebook in (first, first, second):
        write_ids(codebook, shards, tmp_path / "ids")
        path = tmp_path / "ids" / "1.parquet"
        features = np.concatenate(
            [np.array(row) for row in pq.read_table(shards / path.name)["features"].to_pylist() if row]
        )
        assert (
            np.concatenate(pq.read_table(path)["visual_ids"].to_pylist()).tolist()
            == codebook.encode(features).tolist()
        )
        written.setdefault(codebook.config.branches, []).append(path.stat().st_mtime_ns)
    assert written[3][0] == written[3][1] < written[4][0]


def test_shards_of_one_name_are_refused(tmp_path):
    """Under one name, one of the two would be lost without a word."""
    folders = [write_shards(made_features(60), tmp_path / name, shards=1) for name in ("one", "two")]
    codebook = fit_codebook(made_features(60), 1, 3, progress=False)
    with pytest.raises(ValueError, match="one.0.parquet and .*two.0.parquet have one name"):
        write_ids(codebook, folders, tmp_path / "ids")
    assert not (tmp_path / "ids").exists()


def tried_again(folder):
    """Shards in which `a` failed, then came; `b` came, then was cut; `c` came twice; `d` failed twice, once opened."""
    folder.mkdir()
    shards = [
        [("a", "broken", None, 0), ("b", None, 3.0, 1), ("c", None, 3.0, 2), ("d", "cut", 3.0, 1)],
        [("a", None, 3.0, 3), ("b", "cut", 3.0, 2), ("c", None, 3.0, 4), ("d", "gone", None, 0)],
    ]
    for number, rows in enumerate(shards):
        names, errors, durations, counts = zip(*rows, strict=True)
        clips = [[[float(10 * number + i)] * 3 for i in range(count)] for count in counts]
        columns = {"video_id": names, "error": pa.array(errors, pa.string()), "duration": pa.array(durations)}
        features = pa.array(clips, pa.list_(pa.list_(pa.float16())))
        pq.write_table(pa.table({**columns, "features": features}), folder / f"{number}.parquet")
    return folder


def test_of_a_video_that_was_tried_again_one_row_counts(tmp_path):
    """The last good one; of videos that never came, the one that was opened. No other is fitted or gets ids."""
    shards = tried_again(tmp_path / "features")
    rows = rows_by_video(shards)
    assert rows == {"a": 4, "b": 1, "c": 6, "d": 3}
    source = FeatureShards(shards, rows=list(rows.values()))
    assert torch.cat([block for piece in range(2) for block in source.read(piece)])[:, 0].tolist() == [
        0.0,
        0.0,
        *(10.0, 11.0, 12.0),
        *(10.0, 11.0, 12.0, 13.0),
    ]
    codebook = fit_codebook(source, 1, 3, normalize=False, progress=False)
    assert codebook.counts(0).sum() == 9
    write_ids(codebook, shards, tmp_path / "ids", rows)
    ids = [row for number in range(2) for row in pq.read_table(tmp_path / "ids" / f"{number}.parquet").to_pylist()]
    assert {row["video_id"]: len(row["visual_ids"]) for row in ids} == {"b": 1, "d": 1, "a": 3, "c": 4}
    assert len(ids) == 4 and "features" not in ids[0]


def test_rows_of_single_clips_are_no_videos(tmp_path):
    """A name may stand in many rows of one clip each: none of them is a further try."""
    features = pa.array(list(made_features(5)), pa.list_(pa.float16()))
    pq.write_table(pa.table({"video_id": ["a"] * 5, "features": features}), tmp_path / "0.parquet")
    assert rows_by_video(tmp_path) is None


def test_files_that_hold_no_features_are_named(tmp_path):
    whole = write_shards(made_features(60), tmp_path / "whole", shards=1) / "0.parquet"
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "empty.parquet").touch()
    pq.write_table(pa.table({"features": ["a", "b"]}), tmp_path / "text.parquet")
    for name, problem in (
        ("cut", "cannot be read as a Parquet file: Parquet magic bytes"),
        ("empty", "cannot be read as a Parquet file: .* 0 bytes"),
        ("gone", "cannot be read as a Parquet file: .*No such file"),
        ("text", "'features' holds string; a feature is a list of numbers"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.parquet:? {problem}"):
            FeatureShards([whole, tmp_path / f"{name}.parquet"])
    with pytest.raises(ValueError, match="cut.parquet cannot be read"):
        rows_by_video([whole, tmp_path / "cut.parquet"])
    with pytest.raises(ValueError, match=r"shape \(3, 0\); .* feature_size > 0"):
        fit_codebook(np.zeros((3, 0)), **OPTIONS)


def test_a_shard_without_rows_changes_nothing(tmp_path):
    """As the end of a share of videos may leave one: rows are numbered as if it were not there."""
    folder = write_shards(made_features(100), tmp_path / "features", shards=2)
    rows, features = rows_by_video(folder), FeatureShards(folder)
    pq.write_table(pq.read_table(folder / "0.parquet").slice(0, 0), folder / "00.parquet")
    assert rows_by_video(folder) == rows
    again = FeatureShards(folder, rows=list(rows.values()))
    assert same(fit_codebook(again, **OPTIONS), fit_codebook(features, **OPTIONS))
    write_ids(fit_codebook(again, **OPTIONS), folder, tmp_path / "ids", rows)
    assert pq.read_table(tmp_path / "ids" / "00.parquet").column_names == [
        "video_id",
        "clip_seconds",
        "visual_ids",
        "codebook",
    ]


def test_features_are_told_from_others(tmp_path):
    """The same features elsewhere are the same; other values, other rows, and one shard more are not."""
    first = write_shards(made_features(200), tmp_path / "first")
    signature = FeatureShards(first).signature()
    assert FeatureShards(write_shards(made_features(200), tmp_path / "copy")).signature() == signature
    others = [FeatureShards(write_shards(made_features(200) + 1, tmp_path / "other")), FeatureShards(first, rows=[1])]
    others.append(FeatureShards([first, tmp_path / "copy" / "0.parquet"]))
    assert len({signature, *(other.signature() for other in others)}) == 4


def test_ids_of_shards_that_do_not_fit_are_named(tmp_path):
    """A width or a value that the codebook does not take: the shard is named, and no file is begun."""
    codebook = fit_codebook(made_features(100), 1, 3, progress=False)
    features = made_features(100)
    features[70, 3] = np.inf
    for shards, problem in ((features, "infinity"), (made_features(100)[:, :5], r"\(\d+, 5\).*\(clips, 12\)")):
        folder = write_shards(shards, tmp_path / f"{shards.shape[1]}", shards=1)
        with pytest.raises(ValueError, match=rf"0\.parquet, row group \d+: .*{problem}"):
            write_ids(codebook, folder, tmp_path / "ids")
    assert not list((tmp_path / "ids").iterdir())


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    """The second one begins and ends while the first is writing; one that fails leaves nothing behind."""
    path = tmp_path / "a.parquet"

    def slow(unfinished):
        unfinished.write_text("first, begun")
        write_whole(path, lambda other: other.write_text("second"))
        assert path.read_text() == "second" and unfinished.read_text() == "first, begun"
        unfinished.write_text("first")

    write_whole(path, slow)
    assert path.read_text() == "first"
    with pytest.raises(ZeroDivisionError):
        write_whole(path, lambda unfinished: unfinished.write_text("half") / 0)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]
