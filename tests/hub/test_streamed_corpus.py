"""Protects building a corpus of a data set on the Hub: it is streamed, nothing comes twice, rows are a folder's."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from threading import Event

import build_corpus as build_script
import datasets
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Video
from huggingface_hub import HfApi, HfFileSystem, constants
from support.hub_server import HubServer
from support.tiny_processor import make_video

from processing import VideoBertProcessor
from processing.corpus import (
    Share,
    build_corpus,
    describe_share,
    find_videos,
    note_contents,
    streamed_videos,
)
from processing.corpus.held import LostConnectionError

FIT = {"levels": 1, "branches": 2, "shard_size": 2, "num_workers": 0}
# Besides, one is another's copy, and one holds nothing that could be a video.
SECONDS = {"a": 1.6, "b": 3.1, "c": 4.6, "d": 3.2, "e": 1.7}
NAMES = [*SECONDS, "f_copy", "g_broken"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A Hub that this process uses, and a folder of videos that lies there four times: as files, as Parquet of two
    files and more row groups, with a row of nothing at its end, as two tar archives, and as two zip archives, of which
    one is packed."""
    folder, patch = tmp_path_factory.mktemp("library"), pytest.MonkeyPatch()
    videos = folder / "files" / "train"
    videos.mkdir(parents=True)
    for number, (name, seconds) in enumerate(SECONDS.items()):
        make_video(videos / f"{name}.mp4", f"testsrc2=s={160 + 16 * number}x120:r=25:d={seconds}")
    shutil.copy(videos / "b.mp4", videos / "f_copy.mp4")
    (videos / "g_broken.mp4").write_text("no video")
    with HubServer(folder / "hub") as hub:
        for name, value in {
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(folder / "cache"),
        }.items():
            patch.setattr(constants, name, value)
        for name, value in {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": False,
            "HF_DATASETS_CACHE": folder / "data",
            "HF_UPDATE_DOWNLOAD_COUNTS": False,
            "MAX_ROW_GROUP_SIZE": "70KB",
        }.items():
            patch.setattr(datasets.config, name, value)
        patch.setenv("HF_TOKEN", "hf_writer")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        HfFileSystem.clear_instance_cache()
        push(folder)
        yield hub, folder
        HfFileSystem.clear_instance_cache()
        patch.undo()


def push(folder):
    videos = folder / "files" / "train"
    paths = [str(videos / f"{name}.mp4") for name in NAMES]
    data = Dataset.from_dict({"clip": [*paths, None], "label": [*range(len(paths) + 1)]}).cast_column("clip", Video())
    data.push_to_hub("me/rows", num_shards=2)
    table = "".join(json.dumps({"file_name": f"{name}.mp4", "label": 1}) + "\n" for name in NAMES)
    (folder / "archives").mkdir()
    (folder / "zips").mkdir()
    for number, names in enumerate((NAMES[:3], NAMES[3:])):
        with tarfile.open(folder / "archives" / f"train-{number}.tar", "w") as archive:
            for name in names:
                archive.add(videos / f"{name}.mp4", arcname=f"{name}.mp4")
        packing = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number]
        with zipfile.ZipFile(folder / "zips" / f"train-{number}.zip", "w", packing) as archive:
            for name in names:
                archive.write(videos / f"{name}.mp4", f"{name}.mp4")
    shutil.copytree(folder / "files", folder / "pushed")
    (folder / "pushed" / "train" / "metadata.jsonl").write_text(table)
    for name, source in {"files": "pushed", "archives": "archives", "zips": "zips"}.items():
        HfApi().create_repo(f"me/{name}", repo_type="dataset")
        HfApi().upload_folder(repo_id=f"me/{name}", repo_type="dataset", folder_path=folder / source)


@pytest.fixture
def make_processor(tiny_text_model, tiny_backbone):
    return lambda: VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone)


@pytest.fixture(scope="module")
def by_folder(library, tmp_path_factory, tiny_text_model, tiny_backbone):
    """The corpus of the folder: where it lies, and its rows."""
    _, folder = library
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone)
    output = tmp_path_factory.mktemp("by_folder")
    return output, build_corpus(find_videos(folder / "files"), processor, output, **FIT).to_list()


def asked_for(hub, since=0):
    """Of each content (start, end) of what was sent of it, in order."""
    found = {}
    for seen in hub.seen[since:]:
        place = seen.path.rpartition("/")[2]
        if seen.method == "GET" and seen.status in (200, 206) and "/storage/" in seen.path or seen.status == 206:
            start, _, end = (seen.range or "bytes=0-").removeprefix("bytes=").partition("-")
            found.setdefault(place, []).append((int(start), int(end) if end else None))
    return found


def assert_sent_once(hub, since):
    """No byte of a content was sent twice."""
    for parts in asked_for(hub, since).values():
        ends = sorted(parts)
        assert all(first[1] < second[0] for first, second in zip(ends, ends[1:], strict=False)), parts


def without_errors(rows):
    """Rows but for their names, and the paths that errors tell."""
    return [
        {name: value for name, value in row.items() if name != "video_id"} | {"error": bool(row["error"])}
        for row in rows
    ]


def shards_of(output):
    """What all shards hold, but for how files were known to be the same, and the paths that errors tell."""
    return [
        {**row, "stamp": None, "error": bool(row["error"])}
        for path in sorted((output / "features").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def test_files_are_the_corpus_of_the_folder(library, by_folder, make_processor, tmp_path):
    """The same rows under the same names, the same shards and codebook to the byte; every content is sent once, a copy
    never, and nothing a second time. In the corpus of the folder itself nothing is sent at all: the Hub tells what
    files hold."""
    hub, folder = library
    videos = streamed_videos("me/files", tmp_path / "features")
    assert [*videos] == [f"train/{name}" for name in NAMES]
    since = len(hub.seen)
    rows = build_corpus(videos, make_processor(), tmp_path, **FIT).to_list()
    output, expected = by_folder
    assert [row["video_id"] for row in rows] == [row["video_id"] for row in expected]
    assert without_errors(rows) == without_errors(expected) and sum(bool(row["error"]) for row in rows) == 1
    assert rows[-1]["error"].startswith("train/g_broken: not a readable video")
    key = lambda row: row["video_id"]  # noqa: E731
    assert sorted(shards_of(tmp_path), key=key) == sorted(shards_of(output), key=key)
    weights = [folder / "codebook" / "model.safetensors" for folder in (tmp_path, output)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    contents = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "files" / "train").iterdir()}
    assert asked_for(hub, since) == {content: [(0, None)] for content in contents} and len(contents) == len(NAMES) - 1
    since = len(hub.seen)
    assert build_corpus(videos, make_processor(), tmp_path, **FIT).to_list() == rows
    shutil.copytree(output, tmp_path / "again")
    again = streamed_videos("me/files", tmp_path / "again" / "features")
    assert build_corpus(again, make_processor(), tmp_path / "again", **FIT).to_list() == expected
    assert not {*asked_for(hub, since)} & contents


@pytest.mark.parametrize("name", ["rows", "archives"])
def test_rows_and_archives_hold_what_the_folder_does(library, by_folder, make_processor, tmp_path, name):
    """In their own order and under numbers; a row of nothing has an error. No byte of them is sent twice, and from the
    second run on none but those that list them."""
    hub, folder = library
    since = len(hub.seen)
    videos = streamed_videos(f"me/{name}", tmp_path / "features")
    listing = sum(end + 1 - start for parts in asked_for(hub, since).values() for start, end in parts)
    if name == "rows":  # but for the footers, of 64 KB at the most
        assert listing < 2 * 65536 + 1000
    told = [f"{number:06d}_{one}" for number, one in enumerate(NAMES)]
    assert [*videos] == told + (["000007_video"] if name == "rows" else [])
    since = len(hub.seen)
    rows = build_corpus(videos, make_processor(), tmp_path, **FIT).to_list()
    expected = {row["video_id"]: row for row in by_folder[1]}
    assert without_errors(rows[: len(NAMES)]) == without_errors(expected[f"train/{one}"] for one in NAMES)
    if name == "rows":
        assert rows[-1]["error"] == "000007_video: the data set holds no video there"
    assert_sent_once(hub, since)
    since = len(hub.seen)
    assert build_corpus(videos, make_processor(), tmp_path, **FIT).to_list() == rows
    assert not asked_for(hub, since)


def test_members_of_zip_archives_hold_what_the_folder_does(library, by_folder, make_processor, tmp_path):
    """Under their paths in the archives. No byte is sent twice, and none of the second run's."""
    hub, _ = library
    videos = streamed_videos("me/zips", tmp_path / "features")
    assert [*videos] == [f"train-{number}.zip/{name}" for number, name in zip([0] * 3 + [1] * 4, NAMES, strict=True)]
    since = len(hub.seen)
    rows = build_corpus(videos, make_processor(), tmp_path, **FIT).to_list()
    expected = {row["video_id"]: row for row in by_folder[1]}
    assert without_errors(rows) == without_errors(expected[f"train/{one}"] for one in NAMES)
    assert_sent_once(hub, since)
    since = len(hub.seen)
    assert build_corpus(videos, make_processor(), tmp_path, **FIT).to_list() == rows
    assert not asked_for(hub, since)


def test_no_more_than_a_lot_lies_on_the_disk(library, make_processor, tmp_path):
    """A file is there while its lot is described, under a name of its own, and then no longer."""
    held, processor = [], make_processor()
    describe = processor.describe

    def look(*given, **more):
        held.append(sorted(path.name for path in (tmp_path / "features").glob("*.unfinished/*")))
        return describe(*given, **more)

    processor.describe = look
    build_corpus(streamed_videos("me/files", tmp_path / "features"), processor, tmp_path, **FIT)
    assert [len(files) for files in held] == [2, 2, 2] and held[0] == ["train_a.mp4", "train_b.mp4"]
    assert not [*tmp_path.rglob("*.unfinished")]


def test_tasks_share_it(library, make_processor, tmp_path):
    """Each takes its own videos from the Hub once, and none of another task's, which are noted by these before. In the
    end there are the bytes of a single loop. Without notes it is not known which videos are copies, and of these alone
    other shards."""
    hub, _ = library
    processor, options = make_processor(), {name: FIT[name] for name in ("shard_size", "num_workers")}
    rows = build_corpus(streamed_videos("me/archives", tmp_path), processor, tmp_path / "whole", **FIT).to_list()
    for noted, sent in {"noted": [4, 3, 2, 4], "not_noted": [0, 0, 3, 4]}.items():
        shared, counts = tmp_path / noted, []
        videos = streamed_videos("me/archives", shared / "features")
        for work in (0, 1, 2, 3):
            since, share = len(hub.seen), Share(work % 2 if work < 2 else 3 - work, 2)
            if work > 1:
                describe_share(videos, processor, shared, share, **options)
            elif noted == "noted":
                note_contents(videos, shared, share)
            counts.append(sum(map(len, asked_for(hub, since).values())))
        assert counts == sent
        since, codebook = len(hub.seen), make_processor()
        assert build_corpus(videos, codebook, shared, again=False, **FIT).to_list() == rows
        assert not asked_for(hub, since)
        names = [{path.name for path in (one / "ids").iterdir()} for one in (shared, tmp_path / "whole")]
        assert (names[0] == names[1]) == (noted == "noted")


class Always(dict):
    """The line is cut again, whenever."""

    pop = dict.get


class Held(dict):
    """Once something is true no more is sent, for a while."""

    def __init__(self, is_true):
        self.is_true, self.reached, self.goes_on = is_true, Event(), Event()

    def pop(self, *_):
        if self.is_true():
            self.reached.set()
            self.goes_on.wait()


def test_a_cut_line_is_a_sentence_and_the_next_run_goes_on(library, by_folder, make_processor, tmp_path):
    """Once is no matter. Where it is cut again, what was described stays, and is not sent once more."""
    hub, folder = library
    once, twice = (hashlib.sha256((folder / f"files/train/{name}.mp4").read_bytes()).hexdigest() for name in "ac")
    videos, since = streamed_videos("me/files", tmp_path / "features"), len(hub.seen)
    hub.cut_downloads = Always({twice: 1000})
    with pytest.raises(LostConnectionError) as told:
        build_corpus(videos, make_processor(), tmp_path, **FIT)
    assert str(told.value).startswith("train/c.mp4 cannot be fetched (") and "\n" not in str(told.value)
    assert str(told.value).endswith("run the same command again to go on.")
    assert not [*tmp_path.rglob("*.unfinished")]
    hub.cut_downloads = {twice: 1000}
    rows = build_corpus(videos, make_processor(), tmp_path, **FIT).to_list()
    assert without_errors(rows) == without_errors(by_folder[1])
    sent = asked_for(hub, since)
    assert sent[once] == [(0, None)] and len(sent[twice]) == 4


def test_a_row_names_no_file_but_one_of_its_data_set(library, make_processor, tmp_path):
    """Whoever made a data set does not choose what is read of this machine, or of others: such a row has an error."""
    hub, folder = library
    api, secret = HfApi(), folder / "files" / "train" / "a.mp4"
    (commit,) = api.list_repo_refs("me/files", repo_type="dataset").branches
    root = f"hf://datasets/me/files@{commit.target_commit}"
    names = [str(secret), f"file://{secret}", f"{root}/train/a.mp4", f"{hub.url}/datasets/me/files/resolve/main/a.mp4"]
    names += [f"zip://a.mp4::{root}/train/a.mp4", "hf://datasets/me/names@main/../files/a.mp4", "train/a.mp4", None]
    api.create_repo("me/names", repo_type="dataset")
    lines = "".join(json.dumps({"clip": name}) + "\n" for name in names)
    api.upload_file(path_or_fileobj=lines.encode(), path_in_repo="t.jsonl", repo_id="me/names", repo_type="dataset")
    videos = streamed_videos("me/names", tmp_path / "features", column="clip")
    since = len(hub.seen)
    with pytest.raises(ValueError, match="None of 8 videos gave a feature"):
        build_corpus(videos, make_processor(), tmp_path, **FIT)
    (rows,) = [[row for row in shards_of(tmp_path)]]
    assert sorted(row["video_id"] for row in rows) == [*videos] and all(row["error"] for row in rows)
    assert len(rows) == len(names) and len(hub.seen) == since


def test_other_bytes_than_the_hub_tells_of_are_not_described(library, tmp_path):
    """What is kept under a content's hash is that content, whoever changed it on the way."""
    hub, folder = library
    video = streamed_videos("me/files", tmp_path / "features")["train/e"]
    kept = hub.store.blobs.path(video.digest)
    before = kept.read_bytes()
    kept.write_bytes(before[:-1] + b"?")
    with pytest.raises(LostConnectionError, match="train/e.mp4 came with other bytes than the Hub tells of"):
        video.fetch()
    kept.write_bytes(before)
    assert video.fetch().read_bytes() == before and not video.drop()


@pytest.mark.slow
def test_killed_it_goes_on(library, tiny_text_model, tiny_backbone, tmp_path, monkeypatch, capsys):
    """The script, killed in the midst of its work: the same command ends in the bytes of a build that nobody stopped,
    nothing of which it had a shard is sent again, and nothing that it had fetched stays."""
    hub, folder = library
    words = ["--dataset", "me/archives", "--text_model", tiny_text_model, "--backbone", tiny_backbone]
    words += ["--levels=1", "--branches=2", "--test_share=0", "--shard_size=2", "--num_workers=0", "--output"]
    command = [sys.executable, str(Path(build_script.__file__)), *words, str(tmp_path / "killed")]
    env = hub.environment(tmp_path / "home", "hf_writer", PYTHONPATH=os.pathsep.join(sys.path), OMP_NUM_THREADS="1")
    shards = tmp_path / "killed" / "features"
    hub.cut_downloads = Held(lambda: [*shards.glob("*.parquet")] and [*shards.glob("*.unfinished/*.mp4")])
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as work:
        while work.poll() is None and not hub.cut_downloads.reached.wait(0.05):
            pass
        work.kill()
        told = work.stderr.read()
    hub.cut_downloads.goes_on.set()
    hub.cut_downloads = {}
    assert work.returncode == -signal.SIGKILL, told
    done = {path: path.read_bytes() for path in shards.glob("*.parquet")}
    assert len(done) == 1 and [*shards.glob("*.unfinished")]
    since, sent = len(hub.seen), {}
    streamed_videos("me/archives", tmp_path)
    listing = sum(map(len, asked_for(hub, since).values()))
    for name in ("killed", "whole"):
        since = len(hub.seen)
        monkeypatch.setattr(sys, "argv", ["build_corpus.py", *words, str(tmp_path / name)])
        build_script.main()
        sent[name] = sum(map(len, asked_for(hub, since).values())) - listing
    assert sent == {"killed": 7 - sum(pq.read_metadata(path).num_rows for path in done), "whole": 7}
    told = capsys.readouterr().out
    assert told.startswith("7 videos, ")
    assert "1 with an error: not a readable video or sound file" in told
    made = [
        {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
        for output in (tmp_path / "killed", tmp_path / "whole")
    ]
    times = [one.pop("summary.json") for one in made]
    assert made[0] == made[1] and len(times) == 2
    assert all(made[0][f"features/{path.name}"] == content for path, content in done.items())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["me/nothing"], "me/nothing cannot be opened as a data set: "),
        (["me/files", "test"], "me/files has no split 'test'; its splits are train."),
        (["me/rows", "train", "film"], "The data set has no column 'film'; its columns are clip, label."),
        (["me/archives", "train", "avi"], "Split 'train' of me/archives holds no video."),
    ],
)
def test_what_is_not_there_is_a_sentence(library, tmp_path, given, sentence):
    split, column, *_ = (*given[1:], None, None)
    with pytest.raises(ValueError) as told:
        streamed_videos(given[0], tmp_path, split or "train", column)
    assert str(told.value).startswith(sentence) and "\n" not in str(told.value)
