"""Protects the corpus: one row a video whatever happens, shards that resume after a kill, settings that never mix."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_from_disk
from support.stand_in import StandIn, videos

from processing.codebook.feature_shards import rows_by_video
from processing.codebook_videobert import VisualCodebook
from processing.corpus import build_corpus
from processing.corpus.describing import extract_features, write_shard
from processing.corpus.settings import check_settings
from processing.corpus.split import held_out_ids, rows_to_fit


def test_rows_are_complete_and_in_order(tmp_path):
    """A bad video stays as a row with its error; features survive the shards as float16; ids match the codebook."""
    processor = StandIn()
    rows = build_corpus(videos(7), processor, tmp_path, levels=1, branches=3, shard_size=2)
    assert rows["video_id"] == list(videos(7))
    assert [len(ids) for ids in rows["visual_ids"]] == list(range(7))
    assert rows[0]["error"] == "v0: not a readable video" and rows[0]["duration"] is None
    assert rows[3]["sentences"] == [{"text": "this is v3.", "start": 0.5, "end": 1.25}]
    expected = processor.codebook.encode(processor.row("v5")["features"].astype(np.float16).astype(np.float32))
    assert rows[5]["visual_ids"] == expected.tolist()
    assert load_from_disk(tmp_path / "rows")[5]["visual_ids"] == expected.tolist()


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    """Killed in the middle: finished shards are not done again, nothing is missing, and the result is the same."""
    with pytest.raises(KeyboardInterrupt):
        build_corpus(videos(9), StandIn(killed_after=4), tmp_path / "killed", levels=1, branches=3, shard_size=2)
    second = StandIn()
    rows = build_corpus(videos(9), second, tmp_path / "killed", levels=1, branches=3, shard_size=2)
    assert second.asked == ["v4", "v5", "v6", "v7", "v8", "v0"]  # v0 had an error: it is tried again, last
    assert rows.to_list() == build_corpus(videos(9), StandIn(), tmp_path / "whole", levels=1, branches=3).to_list()


def test_new_videos_are_added_to_an_old_folder(tmp_path):
    extract_features(videos(3), StandIn(), tmp_path)
    second = StandIn()
    extract_features(videos(5), second, tmp_path)
    assert second.asked == ["v3", "v4", "v0"]
    assert set(rows_by_video(tmp_path)) == set(videos(5))


def test_features_of_two_networks_never_mix(tmp_path):
    extract_features(videos(2), StandIn(), tmp_path)
    other = StandIn()
    other.backbone = "models/other_eyes"
    with pytest.raises(ValueError, match="begun with backbone 'models/eyes', not with 'models/other_eyes'"):
        extract_features(videos(3), other, tmp_path)


def test_a_ready_made_recogniser_is_the_same_on_the_next_run(tmp_path):
    """It is known by its checkpoint, not by where it lies in memory."""
    for _ in range(2):
        processor = StandIn()
        processor.asr_model = SimpleNamespace(model=SimpleNamespace(name_or_path="openai/whisper-small"))
        check_settings(tmp_path, processor, None)


SHARE = 0.3  # of the videos, held out

OTHERS = {
    "language": (None, "de", lambda other: setattr(other, "asr_options", {"language": "de", "batch_size": 4})),
    "fps": (20, 10, lambda other: setattr(other.video_processor, "fps", 10)),
    "clip_seconds": (1.5, 2.0, lambda other: setattr(other.video_processor, "clip_seconds", 2.0)),
    "dtype": ("float32", "bfloat16", lambda other: setattr(other, "backbone_options", {"dtype": torch.bfloat16})),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_described_otherwise_never_mixes(tmp_path, name):
    """One error that names the setting, what it was and what it is; and the folder stays as it was begun."""
    before, now, change = OTHERS[name]
    other = StandIn()
    change(other)
    extract_features(videos(2), StandIn(), tmp_path)
    with pytest.raises(ValueError, match=f"was begun with {name} {before!r}, not with {now!r}; ask for the same"):
        extract_features(videos(3), other, tmp_path)
    assert not other.asked
    extract_features(videos(3), StandIn(), tmp_path)


def test_subtitles_and_hearing_never_mix(tmp_path):
    """A folder whose videos were all heard is not continued with subtitles; new subtitles of new videos are fine."""
    extract_features(videos(2), StandIn(), tmp_path / "heard")
    with pytest.raises(ValueError, match="begun with subtitles False, not with True"):
        extract_features(videos(3), StandIn(), tmp_path / "heard", subtitles={"v2": "v2.srt"})
    extract_features(videos(2), StandIn(), tmp_path / "read", subtitles={})
    extract_features(videos(3), StandIn(), tmp_path / "read", subtitles={"v2": "v2.srt"})


def test_folders_begun_before_a_setting_was_noted_go_on(tmp_path):
    """What is noted must be the same; what an older version did not note is taken for the same, and noted now."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"asr_model": "models/ears", "backbone": "models/eyes", "language": "de"}))
    processor = StandIn()
    with pytest.raises(ValueError, match="begun with language 'de', not with None"):
        extract_features(videos(2), processor, tmp_path)
    processor.asr_options = {"language": "de"}
    extract_features(videos(2), processor, tmp_path)
    assert json.loads(path.read_text())["fps"] == 20


def test_subtitles_reach_the_videos_they_belong_to(tmp_path):
    """A shard holds videos with subtitles beside videos that are heard."""
    processor = StandIn()
    build_corpus(videos(4), processor, tmp_path, levels=1, branches=3, subtitles={"v2": "v2.srt"})
    assert processor.given == [None, None, "v2.srt", None]


def test_nothing_to_fit_on_is_said(tmp_path):
    """Also where the videos are good and few: "gave no feature" was said of those that are held out."""
    with pytest.raises(ValueError, match="None of 1 videos gave a feature"):
        build_corpus(videos(1), StandIn(), tmp_path)
    two = dict([*videos(3).items()][1:])
    with pytest.raises(ValueError, match="All of 2 videos are held out, .* a share of 0.1 was asked for"):
        build_corpus(two, StandIn(), tmp_path / "two", held_out_share=0.1)
    with pytest.raises(ValueError, match="None of 1 videos that are not held out gave a feature"):
        build_corpus(videos(3), StandIn(), tmp_path / "three", held_out_share=0.1)


def test_a_repaired_video_takes_the_place_of_its_broken_row(tmp_path):
    """A half-copied upload that is whole on the next run must not stay broken for ever."""
    build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)
    repaired = StandIn()
    repaired.row = lambda name: {**StandIn().row("v2"), "video_id": name}
    rows = build_corpus(videos(4), repaired, tmp_path, levels=1, branches=3)
    assert repaired.asked == ["v0"]
    assert rows[0]["video_id"] == "v0" and rows[0]["error"] is None and len(rows[0]["visual_ids"]) == 2


def test_the_codebook_is_fitted_once_and_only_on_what_it_may_see(tmp_path):
    """Held-out videos stay out of the fit, and a second run, with more videos, does not renumber the visual ids."""
    first, second = StandIn(), StandIn()
    build_corpus(videos(6), first, tmp_path, held_out_share=SHARE, levels=1, branches=3)
    # Of v1 to v5, v1 draws less than 0.3, and v4 least of the others; v0 draws less still, but cannot be read.
    assert first.codebook.counts(0).sum() == 2 + 3 + 5
    before = build_corpus(videos(6), first, tmp_path, levels=1, branches=3)["visual_ids"]
    after = build_corpus(videos(8), second, tmp_path, held_out_share=SHARE, levels=1, branches=3)["visual_ids"]
    assert list(after)[:6] == list(before)


def test_a_codebook_that_saw_other_videos_is_refused(tmp_path):
    """With another share, some that are held out now would have been seen by the codebook."""
    build_corpus(videos(6), StandIn(), tmp_path, held_out_share=SHARE, levels=1, branches=3)
    with pytest.raises(ValueError, match="fitted with held_out_share 0.3, not with 0.5; ask for the same"):
        build_corpus(videos(6), StandIn(), tmp_path, held_out_share=0.5, levels=1, branches=3)


@pytest.mark.parametrize("share", [0.01, 0.3])
@pytest.mark.parametrize("few", [1, 16])
def test_what_a_codebook_may_see_is_what_training_may(tmp_path, monkeypatch, share, few):
    """Of videos that hold anything, two at least are held out: v0 and w0 hold nothing and do not count as these."""
    described = [{**StandIn().row(f"v{number}"), "video_id": name} for number, name in enumerate("vabcdefghi")]
    described += [{**described[0], "video_id": f"w{number}"} for number in range(30)]
    write_shard(described, tmp_path / "0.parquet")
    monkeypatch.setattr("processing.corpus.split.FEW", few)
    rows = rows_by_video(tmp_path)
    readable = {row["video_id"] for row in described if len(row["features"]) or row["sentences"]}
    fitted = rows_to_fit(tmp_path, rows, share)
    assert readable & fitted.keys() == readable - held_out_ids(readable, share)


def test_a_large_corpus_fits_its_codebook_from_the_shards(tmp_path, monkeypatch):
    """Only what may be seen is read: rows of held-out videos, and broken rows whose video was repaired, are left."""
    extract_features(videos(9), StandIn(), tmp_path / "features", shard_size=2)
    monkeypatch.setattr("processing.corpus.build.CLIPS_IN_MEMORY", 5)
    processor, seen = StandIn(), [2, 3, 4, 5]  # the others draw less than the share
    build_corpus(videos(9), processor, tmp_path, held_out_share=SHARE, levels=1, branches=3)
    assert processor.codebook.counts(0).sum() == sum(seen)
    expected = np.concatenate([processor.row(f"v{number}")["features"].astype(np.float16) for number in seen])
    assert np.allclose(processor.codebook.mean, expected.astype(np.float32).mean(0), rtol=1e-3, atol=1e-4)


def test_a_kill_while_the_codebook_is_saved_does_no_harm(tmp_path, monkeypatch):
    """Half a folder of a codebook is no codebook: the next run makes a whole one."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(VisualCodebook, "save_pretrained", half_saved)
        build_corpus(videos(5), StandIn(), tmp_path, levels=1, branches=3)
    assert (tmp_path / "codebook").is_dir()
    processor = StandIn()
    build_corpus(videos(5), processor, tmp_path, levels=1, branches=3)
    assert not list((tmp_path / "codebook").glob("unfinished*"))
    saved = VisualCodebook.from_pretrained(tmp_path / "codebook")
    assert torch.equal(saved.centroids(), processor.codebook.centroids()) and saved.counts(0).sum() == 10


def half_saved(codebook, folder):
    codebook.config.save_pretrained(folder)
    raise KeyboardInterrupt


def test_a_codebook_of_another_shape_is_not_taken_for_the_one_asked_for(tmp_path):
    build_corpus(videos(5), StandIn(), tmp_path, levels=1, branches=3)
    with pytest.raises(ValueError, match="fitted with levels 1, not with 2; ask for the same, or use another folder"):
        build_corpus(videos(5), StandIn(), tmp_path, levels=2, branches=3)


def test_a_feature_too_large_for_its_shard_is_an_error_of_its_row(tmp_path):
    """float16 would make it infinite, and the fit would refuse the whole corpus: the row keeps what is before it."""
    processor = StandIn()
    given = processor.row("v4")
    given["features"][2, 1] = 1e5
    processor.row = lambda name: given if name == "v4" else StandIn().row(name)
    rows = build_corpus(videos(6), processor, tmp_path, levels=1, branches=3)
    assert [len(ids) for ids in rows["visual_ids"]] == [0, 1, 2, 3, 2, 5]
    assert "v4: the feature of clip 2 has values that float16 cannot hold" in rows[4]["error"]
    assert rows[5]["error"] is None


def test_features_lie_on_the_disk_once(tmp_path):
    """A copy of them in a cache would be made at every change: of a large corpus, a hundred gigabytes."""
    for count in (4, 7):
        build_corpus(videos(count), StandIn(), tmp_path, levels=1, branches=3, shard_size=2)
    kinds = {path.suffix for path in (tmp_path / "features").rglob("*") if path.is_file()}
    assert kinds == {".json", ".parquet"} and {path.name for path in tmp_path.iterdir()} == {
        "features",
        "codebook",
        "ids",
        "rows",
        "summary.json",
    }


def test_only_what_is_new_gets_ids(tmp_path):
    """Shards of ids whose codebook and rows are the same stay; one whose row was superseded is written again."""
    build_corpus(videos(5), StandIn(), tmp_path, levels=1, branches=3)
    repaired = StandIn()
    repaired.row = lambda name: {**StandIn().row("v2" if name == "v0" else name), "video_id": name}
    dates = []
    for count in (5, 5, 6):
        dates.append({path.name: path.stat().st_mtime_ns for path in (tmp_path / "ids").iterdir()})
        build_corpus(videos(count), repaired, tmp_path, levels=1, branches=3)
    (first,) = dates[0]
    assert dates[1][first] > dates[0][first] and dates[2] == dates[1]
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "ids").iterdir()}
    assert dates[1].items() < after.items()
    names = [row["video_id"] for path in (tmp_path / "ids").iterdir() for row in pq.read_table(path).to_pylist()]
    assert sorted(names) == list(videos(6))


def test_a_corpus_without_any_feature_has_rows(tmp_path):
    """With a codebook at hand, videos that failed or only speak are rows as all others are."""
    processor = StandIn()
    build_corpus(videos(4), processor, tmp_path / "whole", levels=1, branches=3)
    rows = build_corpus(videos(1), processor, tmp_path / "failed")
    assert rows["visual_ids"][:] == [[]] and rows["error"][:] == ["v0: not a readable video"]


FIRST_OF_TWO = """
import faulthandler, os, sys
faulthandler.dump_traceback_later(400, exit=True)
sys.path[:0] = [{root!r}, {tests!r}]
from accelerate import Accelerator
from processing.corpus import build_corpus
from support.stand_in import StandIn, videos

accelerator = Accelerator()
assert accelerator.num_processes == 2
with accelerator.main_process_first():
    build_corpus(videos(7), StandIn(), {output!r}, levels=1, branches=3)
os._exit(0)  # tearing down gloo's threads now and then aborts a process
"""


@pytest.mark.slow
def test_the_first_of_two_processes_fits_alone(tmp_path):
    """The others wait until the corpus is there; a fit that waited for their share would hang for ever."""
    root, script = Path(__file__).resolve().parents[3], tmp_path / "build.py"
    script.write_text(FIRST_OF_TWO.format(root=str(root), tests=str(root / "tests"), output=str(tmp_path / "corpus")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = build_corpus(videos(7), StandIn(), tmp_path / "alone", levels=1, branches=3)
    assert load_from_disk(tmp_path / "corpus" / "rows").to_list() == rows.to_list()
