"""Protects what was described from being described again, and what has changed from being taken for the same."""

import json
import logging
import os
import shutil

import pytest
from support.stand_in import StandIn

from processing.codebook import load_codebook
from processing.codebook.feature_shards import rows_by_video
from processing.corpus import build_corpus, encode_rows, find_videos, read_rows
from processing.corpus.contents import digest_of_file, stamp_of
from processing.corpus.describing import extract_features

OPTIONS = {"levels": 1, "branches": 3, "shard_size": 2}


class Reader(StandIn):
    """Describes what the file holds, and not what it is called."""

    def describe(self, videos, names, subtitles, on_progress=None):
        self.asked += names
        self.given += subtitles
        texts = [open(video).read() for video in videos]
        return [{**self.row(text), "video_id": name} for name, text in zip(names, texts, strict=True)]


def make(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text)
    return folder


def build(folder, output, **options):
    processor = Reader()
    rows = build_corpus(find_videos(folder), processor, output, **(OPTIONS | options))
    return processor.asked, rows


def test_a_moved_or_renamed_folder_costs_nothing(tmp_path):
    """Neither as a whole, nor with other names of its files, nor copied, which changes all times."""
    make(tmp_path / "videos", a="v3", b="v4", c="v5")
    asked, first = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["a", "b", "c"]
    (tmp_path / "videos").rename(tmp_path / "moved")
    assert build(tmp_path / "moved", tmp_path / "corpus")[0] == []
    shutil.copytree(tmp_path / "moved", tmp_path / "copied" / "deep", copy_function=shutil.copyfile)
    asked, rows = build(tmp_path / "copied", tmp_path / "corpus")
    assert asked == [] and rows["video_id"][:] == ["deep/a", "deep/b", "deep/c"]
    (tmp_path / "copied" / "deep" / "a.mp4").rename(tmp_path / "copied" / "z.mp4")
    asked, rows = build(tmp_path / "copied", tmp_path / "corpus")
    assert asked == [] and rows["video_id"][:] == ["deep/b", "deep/c", "z"]
    assert [len(ids) for ids in rows["visual_ids"]] == [4, 5, 3]
    expected = [one | {"video_id": name} for name, one in zip(["z", "deep/b", "deep/c"], first.to_list(), strict=True)]
    assert sorted(rows.to_list(), key=lambda row: row["duration"]) == expected
    # Whoever has the shards alone sees the videos under their names of now, each once.
    assert set(rows_by_video(tmp_path / "corpus" / "features")) == {"deep/b", "deep/c", "z"}
    assert sorted(read_rows(tmp_path / "corpus" / "ids")["video_id"]) == ["deep/b", "deep/c", "z"]


def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    """Of ten terabytes, reading all to find nothing changed would take a night."""
    make(tmp_path / "videos", a="v3", b="v4", c="v0")
    build(tmp_path / "videos", tmp_path / "corpus")
    monkeypatch.setattr("processing.corpus.contents.digest_of_file", lambda *_: pytest.fail("it was read"))
    assert build(tmp_path / "videos", tmp_path / "corpus")[0] == []


def test_a_changed_file_is_seen(tmp_path):
    """Of the same size, and with its date set back: it is described again, and only its new row counts."""
    make(tmp_path / "videos", a="v3", b="v4", c="v5")
    path = tmp_path / "videos" / "a.mp4"
    before = os.stat(path)
    build(tmp_path / "videos", tmp_path / "corpus")
    path.write_text("v7")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["a"] and [len(ids) for ids in rows["visual_ids"]] == [7, 4, 5]
    path.write_text("v0")  # what is broken now does not get the row of what it was
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["a"] and rows[0]["error"] and rows[0]["visual_ids"] == []
    path.write_text("v3")  # and what it was is known
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == [] and len(rows[0]["visual_ids"]) == 3


def test_another_file_under_an_old_name_takes_nothing_away(tmp_path):
    """The shard of the new one was called as that of the old one, whose row another name needs."""
    make(tmp_path / "videos", a="v3")
    build(tmp_path / "videos", tmp_path / "corpus")
    (tmp_path / "videos" / "a.mp4").rename(tmp_path / "videos" / "b.mp4")
    make(tmp_path / "videos", a="v7")
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["a"] and [len(ids) for ids in rows["visual_ids"]] == [7, 3]


def test_copies_are_described_once(tmp_path):
    """And fitted once; of a bad one, each has an error of its own."""
    make(tmp_path / "videos", a="v3", b="v3", c="v5", d="v0", e="v0", f="v3")
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus", branches=2)
    assert asked == ["a", "c", "d", "e"]
    assert [len(ids) for ids in rows["visual_ids"]] == [3, 3, 5, 0, 0, 3] and rows[4]["error"]
    assert build(tmp_path / "videos", tmp_path / "corpus", branches=2)[0] == []
    processor = Reader()
    build_corpus(find_videos(tmp_path / "videos"), processor, tmp_path / "corpus", levels=1, branches=2)
    assert processor.codebook.counts(0).sum() == 3 + 5


def test_other_subtitles_are_another_content(tmp_path):
    make(tmp_path / "videos", a="v3", b="v4")
    said = tmp_path / "a.srt"
    said.write_text("one")
    assert build(tmp_path / "videos", tmp_path / "corpus", subtitles={"a": said})[0] == ["a", "b"]
    assert build(tmp_path / "videos", tmp_path / "corpus", subtitles={"a": said})[0] == []
    said.write_text("two")
    assert build(tmp_path / "videos", tmp_path / "corpus", subtitles={"a": said})[0] == ["a"]
    assert build(tmp_path / "videos", tmp_path / "corpus", subtitles={})[0] == ["a"]


def test_of_captions_of_many_videos_each_has_its_own(tmp_path):
    """A line that is added for one of a million videos makes no other one be described again."""
    make(tmp_path / "videos", a="v3", b="v4", c="v5")
    captions = {name: [{"text": f"this is {name}", "start": 0, "end": 1}] for name in "ab"}
    said, path = dict.fromkeys("ab", tmp_path / "said.json"), tmp_path / "said.json"
    path.write_text(json.dumps(captions))
    assert build(tmp_path / "videos", tmp_path / "corpus", subtitles=said)[0] == ["a", "b", "c"]
    captions["b"][0]["text"] = "another text"
    path.write_text(json.dumps(captions))
    assert build(tmp_path / "videos", tmp_path / "corpus", subtitles=said)[0] == ["b"]


def test_an_error_of_an_unchanged_file_is_not_met_again(tmp_path):
    """Unless all are asked for; one that may be the machine's is tried at every run, and so is a file that is gone."""
    make(tmp_path / "videos", a="v3", b="v0", c="v4")
    assert build(tmp_path / "videos", tmp_path / "corpus")[0] == ["a", "b", "c"]
    assert build(tmp_path / "videos", tmp_path / "corpus")[0] == []
    shards = {*(tmp_path / "corpus" / "features").iterdir()}
    assert build(tmp_path / "videos", tmp_path / "corpus", retry_errors=True)[0] == ["b"]
    assert {*(tmp_path / "corpus" / "features").iterdir()} == shards  # the same error is not written once more
    processor, given = Reader(), find_videos(tmp_path / "videos")
    unforeseen = {**processor.row("v0"), "error": "v0: an unforeseen error (OutOfMemoryError)"}
    processor.row = lambda name: dict(unforeseen) if name == "v9" else StandIn().row(name)
    make(tmp_path / "videos", b="v9")
    build_corpus(given, processor, tmp_path / "corpus", **OPTIONS)
    make(tmp_path / "videos", b="v9")
    assert build(tmp_path / "videos", tmp_path / "corpus")[0] == ["b"]


def test_a_video_that_is_gone_keeps_its_row(tmp_path):
    make(tmp_path / "videos", a="v3", b="v4")
    given = find_videos(tmp_path / "videos")
    before = build_corpus(given, Reader(), tmp_path / "corpus", **OPTIONS)
    (tmp_path / "videos" / "a.mp4").unlink()
    processor = Reader()
    after = build_corpus(given, processor, tmp_path / "corpus", **OPTIONS)
    assert not processor.asked and after.to_list() == before.to_list()


def test_videos_that_are_taken_away_meanwhile_end_the_build_in_a_sentence(tmp_path):
    """A disk that is unmounted made a thousand rows with errors; brought back, the build goes on where it stopped."""
    make(tmp_path / "videos", a="v3", b="v4", c="v5", d="v6")
    processor, given = Reader(), find_videos(tmp_path / "videos")
    describe = processor.describe

    def unmount(videos, names, subtitles, on_progress=None):
        rows = describe(videos, names, subtitles)
        if "c" in names:
            (tmp_path / "videos").rename(tmp_path / "elsewhere")
        return rows

    processor.describe = unmount
    with pytest.raises(ValueError, match="None of 2 videos is there any longer, such as .*c.mp4. Bring back"):
        build_corpus(given, processor, tmp_path / "corpus", **OPTIONS)
    (tmp_path / "elsewhere").rename(tmp_path / "videos")
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["c", "d"]
    assert rows.to_list() == build(tmp_path / "videos", tmp_path / "whole")[1].to_list()


def test_a_file_that_changes_while_it_is_described_is_an_error(tmp_path):
    """Nobody knows which half of an upload was seen; the next run sees the whole."""
    make(tmp_path / "videos", a="v3", b="v4")
    processor, given = Reader(), find_videos(tmp_path / "videos")
    processor.row = lambda name: make(tmp_path / "videos", b="v6") and StandIn().row(name)
    rows = build_corpus(given, processor, tmp_path / "corpus", **OPTIONS)
    assert rows["error"][:] == [None, "b: the file changed while it was described"]
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["b"] and rows["error"][:] == [None, None] and len(rows[1]["visual_ids"]) == 6


def test_a_file_that_vanishes_while_it_is_described_is_an_error(tmp_path):
    """And no more: the others are described, and the next run describes it when it is back."""
    make(tmp_path / "videos", a="v3", b="v4")
    processor, given, aside = Reader(), find_videos(tmp_path / "videos"), tmp_path / "b.mp4"
    processor.row = lambda name: (given["b"].exists() and given["b"].rename(aside), StandIn().row(name))[1]
    rows = build_corpus(given, processor, tmp_path / "corpus", **OPTIONS)
    assert rows["error"][:] == [None, "b: the file was taken away while it was described"]
    aside.rename(given["b"])
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == ["b"] and rows["error"][:] == [None, None] and len(rows[1]["visual_ids"]) == 4


def test_folders_of_before_go_on(tmp_path):
    """Their rows do not tell what they were made of, and count by name."""
    make(tmp_path / "videos", a="v3", b="v4")
    given = find_videos(tmp_path / "videos")
    gone = {name: tmp_path / "old" / path.name for name, path in given.items()}
    extract_features(gone, StandInOf(given), tmp_path / "corpus" / "features")
    (tmp_path / "corpus" / "features" / "videos.json").unlink()
    asked, rows = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == [] and [len(ids) for ids in rows["visual_ids"]] == [3, 4]


class StandInOf(StandIn):
    """Describes files that are not there, as those that are."""

    def __init__(self, files):
        super().__init__()
        self.files = files

    def row(self, name):
        return {**super().row(self.files[name].read_text()), "video_id": name}


def test_a_damaged_list_of_videos_is_made_again(tmp_path, caplog):
    logging.getLogger("transformers").propagate = True
    make(tmp_path / "videos", a="v3", b="v4")
    _, before = build(tmp_path / "videos", tmp_path / "corpus")
    path = tmp_path / "corpus" / "features" / "videos.json"
    path.write_text(path.read_text()[:20])
    asked, after = build(tmp_path / "videos", tmp_path / "corpus")
    assert asked == [] and after.to_list() == before.to_list() and "videos.json is damaged" in caplog.text
    assert json.loads(path.read_text()).keys() == {"a", "b"}


def test_videos_of_an_earlier_run_stay(tmp_path):
    """Two folders that are described one after the other into one output: their shards hold the videos of both."""
    make(tmp_path / "one", a="v3")
    make(tmp_path / "two", b="v4")
    for folder in ("one", "two"):
        _, rows = build(tmp_path / folder, tmp_path / "corpus")
    features = tmp_path / "corpus" / "features"
    assert rows["video_id"][:] == ["b"] and set(rows_by_video(features)) == {"a", "b"}
    alone = encode_rows(load_codebook(tmp_path / "corpus" / "codebook"), features, tmp_path / "ids")
    assert sorted(alone["video_id"]) == ["a", "b"]


def test_what_cannot_be_read_has_no_content(tmp_path):
    """Nor a pipe, which would be waited for, nor a name with a zero in it."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "gone", tmp_path / "pipe", tmp_path):
        assert digest_of_file(path) is None
    assert stamp_of(tmp_path / "gone") is None and stamp_of("a\0b") is None
