"""Protects sharing a corpus: however many tasks there are, and whoever was killed, the bytes of a single loop."""

import hashlib
import json
import signal
import subprocess
import sys

import pytest
from support.hostile import Hostile, make_videos
from support.light import LIGHT_START
from support.stand_in import StandIn, videos

from processing.codebook.whole_files import only_one
from processing.corpus import Share, build_corpus, count_tasks, describe_share, note_contents, read_rows

FIT = {"levels": 1, "branches": 3, "shard_size": 3}


def digests(output):
    """By name the SHA-256 of all that was made, but for the summary, which tells times."""
    paths = [path for path in output.rglob("*") if path.is_file() and path.name != "summary.json"]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


class ByContent(StandIn):
    """Describes a video by what its file holds, `broken` too; and in a process of its own nothing."""

    def describe(self, videos, names, subtitles, on_progress=None):
        self.asked += names
        contents = [open(video).read() for video in videos]
        rows = [self.row("v0" if text == "broken" else text) for text in contents]
        return [
            {**row, "video_id": name, "error": row["error"] and f"{name}: not a readable video"}
            for name, row in zip(names, rows, strict=True)
        ]


@pytest.fixture
def files(tmp_path):
    """Files of which some hold the same, good or broken, and one is not there."""
    texts = "v1 v2 v3 broken v4 v1 v5 v6 v3 broken v7 v2 v8 broken v9".split()
    paths = {f"n{number:02d}": tmp_path / f"n{number:02d}.mp4" for number in range(len(texts))}
    for path, text in zip(paths.values(), texts, strict=True):
        path.write_text(text)
    return paths


@pytest.mark.parametrize("tasks", [2, 3, 7])
@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("clips_in_memory", [2**18, 5])
def test_tasks_in_any_order_make_the_corpus_of_a_single_loop(
    tmp_path, files, monkeypatch, tasks, noted, clips_in_memory
):
    """Also where files hold the same, and of a codebook that is fitted from the shards. Nothing is described twice."""
    monkeypatch.setattr("processing.corpus.build.CLIPS_IN_MEMORY", clips_in_memory)
    alone, shared = ByContent(), ByContent()
    rows = build_corpus(files, alone, tmp_path / "alone", **FIT)
    order = sorted(range(tasks), key=lambda task: task * 5 % 7)
    for task in order if noted else []:
        note_contents(files, tmp_path / "shared", Share(task, tasks))
    for task in order:
        describe_share(files, shared, tmp_path / "shared", Share(task, tasks), shard_size=3)
    together = build_corpus(files, shared, tmp_path / "shared", again=False, **FIT)
    assert together.to_list() == rows.to_list() and together["video_id"][:] == list(files)
    assert digests(tmp_path / "shared") == digests(tmp_path / "alone")
    assert sorted(shared.asked) == sorted(alone.asked) and len({*shared.asked}) == len(shared.asked)


@pytest.mark.parametrize("codes", [{"residual_codes": 2}, {"levels": 2, "levels_as_tokens": True}])
def test_tasks_make_several_codes_a_clip(tmp_path, files, codes):
    """What describes needs not know of them; who finishes with other ones is told so."""
    rows = build_corpus(files, ByContent(), tmp_path / "alone", **FIT | codes)
    for task in range(2):
        describe_share(files, ByContent(), tmp_path / "shared", Share(task, 2), shard_size=3)
    together = build_corpus(files, ByContent(), tmp_path / "shared", again=False, **FIT | codes)
    assert together.to_list() == rows.to_list() and set(rows["tokens_per_clip"]) == {2}
    assert digests(tmp_path / "shared") == digests(tmp_path / "alone")
    with pytest.raises(ValueError, match=f"was fitted with .*{[*codes][-1]}"):
        build_corpus(files, ByContent(), tmp_path / "shared", again=False, **FIT)


def test_every_task_reads_only_its_files_once_contents_are_noted(tmp_path, files, monkeypatch):
    for task in (1, 0):
        note_contents(files, tmp_path / "shared", Share(task, 2))
    assert json.loads((tmp_path / "shared" / "features" / "videos.json").read_text()).keys() == files.keys()
    monkeypatch.setattr("processing.corpus.contents.digest_of_file", None)
    describe_share(files, ByContent(), tmp_path / "shared", Share(0, 2), shard_size=3)


def test_tasks_that_are_gone_are_made_up_for(tmp_path):
    """By others, of another number, or by whoever finishes: no video is left out, and none is a row twice."""
    rows = build_corpus(videos(20), StandIn(), tmp_path / "alone", **FIT)
    describe_share(videos(20), StandIn(), tmp_path / "shared", Share(0, 4), shard_size=3)
    with pytest.raises(KeyboardInterrupt):
        describe_share(videos(20), StandIn(killed_after=2), tmp_path / "shared", Share(1, 4), shard_size=3)
    describe_share(videos(20), StandIn(), tmp_path / "shared", Share(1, 3), shard_size=3)
    assert build_corpus(videos(20), StandIn(), tmp_path / "shared", **FIT).to_list() == rows.to_list()
    assert digests(tmp_path / "shared") == digests(tmp_path / "alone")


def test_what_failed_is_tried_again_by_its_task_alone(tmp_path):
    """A file that hangs takes its whole deadline: whoever finishes does not wait for all of them once more."""
    describe_share(videos(8), StandIn(), tmp_path, Share(0, 2), shard_size=3)
    other, same, last = StandIn(), StandIn(), StandIn()
    describe_share(videos(8), other, tmp_path, Share(1, 2), shard_size=3)
    describe_share(videos(8), same, tmp_path, Share(0, 2), shard_size=3)
    build_corpus(videos(8), last, tmp_path, again=False, **FIT)
    assert (other.asked, same.asked, last.asked) == (["v3", "v4", "v5"], ["v0"], [])


def test_a_single_build_and_tasks_keep_out_of_each_others_way(tmp_path):
    describe_share(videos(8), StandIn(), tmp_path, Share(0, 2))
    with only_one(tmp_path, shared=True):
        describe_share(videos(8), StandIn(), tmp_path, Share(1, 2))
        with pytest.raises(ValueError, match="Another run is at work"):
            build_corpus(videos(8), StandIn(), tmp_path, **FIT)
    with only_one(tmp_path), pytest.raises(ValueError, match="Another run is at work"):
        describe_share(videos(8), StandIn(), tmp_path, Share(1, 2))


def test_a_damaged_shard_is_made_again_by_the_task_whose_it_is(tmp_path):
    for task in range(2):
        describe_share(videos(9), StandIn(), tmp_path, Share(task, 2), shard_size=3)
    before = digests(tmp_path)
    damaged = next((tmp_path / "features").glob("*.parquet"))
    damaged.write_bytes(b"PAR1" + damaged.read_bytes()[100:])
    for task in range(2):
        describe_share(videos(9), StandIn(), tmp_path, Share(task, 2), shard_size=3)
    aside = f"features/{damaged.stem}.damaged"
    assert {name: digest for name, digest in digests(tmp_path).items() if name != aside} == before


def test_the_settings_of_all_tasks_are_the_same(tmp_path):
    describe_share(videos(8), StandIn(), tmp_path, Share(0, 2))
    other = StandIn()
    other.backbone = "models/other_eyes"
    with pytest.raises(ValueError, match="begun with backbone 'models/eyes'"):
        describe_share(videos(8), other, tmp_path, Share(1, 2))


def test_there_is_no_task_beyond_the_last():
    with pytest.raises(ValueError, match="no task 3 of 3; they are counted from 0 on"):
        Share(3, 3)


def test_the_number_of_tasks_comes_from_the_corpus():
    assert [count_tasks(videos(count)) for count in (1, 1024, 1025, 3000)] == [1, 1, 2, 3]
    assert count_tasks(videos(10), shard_size=2, lots=1) == 5


THREE = """
import json, os, signal, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
import torch
from processing.corpus import Share, describe_share, describing, isolation
from support.hostile import Hostile
from support.light import LIGHT_START

torch.set_num_threads(1)  # this process is copied, and threads are not
isolation.START = LIGHT_START
output, videos = Path(sys.argv[2]), {path.stem: path for path in map(Path, sys.argv[3:])}
write_shard, (reading, writing), SHARDS = describing.write_shard, os.pipe(), []


def write_tell_and_wait(*given):
    if SHARDS:
        signal.pause()  # at its second one, until it is killed
    write_shard(*given)
    SHARDS.append(given)
    os.write(writing, b"x")


def begin(task):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            describing.write_shard = write_tell_and_wait if task == 1 else write_shard
            describe_share(videos, Hostile(), output, Share(task, 3), shard_size=3)
            status = 0
        finally:
            os._exit(status)
    return pid


tasks = [begin(task) for task in range(3)]
os.read(reading, 1)
os.kill(tasks[1], signal.SIGKILL)
ended = [os.waitpid(pid, 0)[1] for pid in tasks]
write_tell_and_wait = write_shard
shards = len([*(output / "features").glob("*.parquet")])
print(json.dumps([ended, shards, [os.waitpid(begin(task), 0)[1] for task in (2, 1, 0)]]))
"""


@pytest.mark.slow
def test_three_processes_of_which_one_is_killed(tmp_path, monkeypatch):
    """With SIGKILL in the middle of its work, beside two that go on, and one video that crashes its process: run again
    they end in the bytes of a single loop, with no row missing or twice."""
    monkeypatch.setattr("processing.corpus.isolation.START", LIGHT_START)
    paths, output = make_videos(tmp_path, ["slow"] * 7 + ["crash"] + ["slow"] * 19), tmp_path / "shared"
    command = [sys.executable, "-c", THREE, json.dumps(sys.path), str(output), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ended, shards, again = json.loads(done.stdout)
    assert ended == [0, signal.SIGKILL, 0] and shards == 7 and again == [0, 0, 0]
    rows = build_corpus(paths, Hostile(), output, again=False, **FIT)
    assert rows["video_id"][:] == list(paths) and read_rows(output / "rows").to_list() == rows.to_list()
    build_corpus(paths, Hostile(), tmp_path / "alone", **FIT)
    assert digests(output) == digests(tmp_path / "alone")
