"""Protects how a build ends that cannot go on: in a sentence, with nothing lost, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import build_corpus as script
import psutil
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Video
from endings import end_in_a_sentence
from support.hostile import HOLD, Hostile, hangs, make_videos
from support.stand_in import StandIn

from processing.corpus import build_corpus, dataset_videos, read_rows

FIT = {"levels": 1, "branches": 3, "shard_size": 2, "num_workers": 0}
WAIT = "wait until it has ended, or use another folder."


def ended(capsys, work):
    """What is said, in one line, at the end of something that ends with an exit code of 1."""
    with pytest.raises(SystemExit) as end, end_in_a_sentence():
        work()
    told = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 1 and not any("Traceback" in line for line in told)
    return told[-1]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, and what gives it another size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can make a disk")
    yield disk, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}k", str(disk)], check=True)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


class FromBytes(StandIn):
    """Describes what a data set holds, by its number."""

    def describe(self, videos, names, subtitles, on_progress=None):
        self.asked += names
        assert all(os.path.getsize(video) == 20_000 for video in videos)
        return [self.row(f"v{int(name[:6]) + 1}") | {"video_id": name} for name in names]


def test_a_disk_that_is_full_at_any_moment(small_disk, tmp_path, capsys):
    """While a video is fetched, a shard, the codebook, ids or rows are written: with a little more room each time, the
    same build goes on from there, describes nothing twice, and makes what it would have made at once."""
    disk, resize = small_disk
    clips = [{"bytes": bytes([number]) * 20_000, "path": f"{number}.mp4"} for number in range(7)]
    data = Dataset.from_dict({"clip": clips}).cast_column("clip", Video())
    data.save_to_disk(tmp_path / "data")
    data = Dataset.load_from_disk(tmp_path / "data")
    videos = dataset_videos(data, disk / "corpus" / "features")
    processor, sentences, sizes = FromBytes(), [], iter(range(12, 4000, 12))

    def build():
        processor.codebook = None
        return build_corpus(videos, processor, disk / "corpus", **FIT)

    rows, shards = None, disk / "corpus" / "features"
    while rows is None:
        resize(next(sizes))
        there = {name for path in shards.glob("*.parquet") for name in pq.read_table(path)["video_id"].to_pylist()}
        processor.asked.clear()
        try:
            rows = build().to_list()
        except Exception as error:
            caught = error

            def again(error=caught):
                raise error

            sentences.append(ended(capsys, again))
            assert there.isdisjoint(processor.asked)
            assert not [*disk.rglob("*.unfinished")]
    assert len(sentences) > 5
    for sentence in sentences:
        assert sentence.startswith("Stopped") and ": there is no space left on the device. Run the same" in sentence
    assert there == {*videos}  # at the end only codebook, ids and rows were missing
    videos = dataset_videos(data, tmp_path / "whole" / "features")
    assert rows == build_corpus(videos, FromBytes(), tmp_path / "whole", **FIT).to_list()


def test_where_nothing_may_be_written(capsys, tmp_path, tiny_text_model, tiny_backbone, monkeypatch):
    """Not even by root: the folder is named."""
    make_videos(tmp_path, ["some"])
    words = ["--text_model", tiny_text_model, "--backbone", tiny_backbone, "--videos", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["build_corpus.py", *words, "--output", "/sys/corpus"])
    sentence = ended(capsys, script.main)
    assert sentence.startswith("Stopped at /sys/corpus: ") and "permission is missing" in sentence


BUILDS = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
import torch
torch.set_num_threads(1)  # this process is copied, and threads are not
import build_corpus
from endings import end_in_a_sentence
from processing.corpus import isolation
from support.hostile import Hostile
from support.light import LIGHT_START

isolation.START = LIGHT_START
Hostile.save_pretrained = lambda self, folder: None
build_corpus.make_processor = lambda models, codebook: Hostile()
for line in sys.stdin:
    word, *given = json.loads(line)
    if word == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(given[0], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if not pid:
        output, log = given
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.argv = ["build_corpus.py", "--videos", sys.argv[2], "--output", output, "--levels=1", "--branches=3"]
        sys.argv += ["--test_share=0", "--shard_size=2", "--num_workers=2"]
        status = 0
        try:
            with end_in_a_sentence():
                build_corpus.main()
        except SystemExit as end:
            status = end.code
        os._exit(status)
    print(pid, flush=True)
"""


def holding(build):
    """The processes of a build that are at a video which they may not finish."""
    return [process for process in psutil.Process(build).children() if hangs(process.pid).exists()]


def test_ctrl_c_a_signal_and_a_second_build(tmp_path, monkeypatch):
    """The script, with processes that describe, at work: Ctrl-C, SIGTERM as a scheduler sends it, and somebody who
    starts it twice. Each is told in a line; the same command ends in the rows of a build that nobody stopped, and no
    process stays, nor anything unfinished."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    videos, log = make_videos(tmp_path / "videos", ["ok", "ok"] + ["hold"] * 8), tmp_path / "log"
    command = [sys.executable, "-c", BUILDS, json.dumps(sys.path), str(tmp_path / "videos")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as builds:

        def ask(*question):
            builds.stdin.write(json.dumps(question) + "\n")
            builds.stdin.flush()
            return int(builds.stdout.readline())

        def told(pid):
            code, text = ask("wait", pid), log.read_text()
            assert "Traceback" not in text, text
            return code, text.strip().splitlines()[-1]

        for number, code in {signal.SIGINT: 130, signal.SIGTERM: 143}.items():
            output, stopped = tmp_path / number.name, "Stopped. Run the same command again to go on where it stopped."
            HOLD.touch()
            first = ask("begin", str(output), str(tmp_path / "first.log"))
            # Until both are at a video that is not done before it may be: there is a shard, and no other one comes.
            while len(describing := holding(first)) < 2:
                time.sleep(0.01)
            if number == signal.SIGINT:
                second = told(ask("begin", str(output), str(log)))
                assert second == (1, f"Stopped: Another run is at work in {output}; {WAIT}")
            os.kill(first, number)
            log = tmp_path / "first.log"
            assert told(first) == (code, stopped) and len(describing) == 2
            assert not any(process.is_running() for process in describing)
            assert len([*(output / "features").glob("*.parquet")]) == 1
            assert not [*output.rglob("*.unfinished")] and not (output / "rows").exists()
            HOLD.unlink()
            assert ask("wait", ask("begin", str(output), str(tmp_path / "again.log"))) == 0
    rows = build_corpus(videos, Hostile(), tmp_path / "whole", **FIT).to_list()
    for name in ("SIGINT", "SIGTERM"):
        assert read_rows(tmp_path / name / "rows").to_list() == rows
