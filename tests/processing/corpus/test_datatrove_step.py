"""Protects the step of datatrove: three of its processes, one of them killed, end in the bytes of a single loop."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from support.hostile import Hostile, make_videos
from support.light import LIGHT_START
from support.stand_in import StandIn
from test_tasks import FIT, digests

from processing.corpus import build_corpus, read_rows
from processing.corpus.datatrove_step import CorpusStep

ENGINE = """
import json, os, signal, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
import torch
from datatrove.executor import LocalPipelineExecutor
from processing.corpus import describing, isolation
from processing.corpus.datatrove_step import CorpusStep
from support.hostile import Hostile
from support.light import LIGHT_START

torch.set_num_threads(1)  # this process is copied, and threads are not
isolation.START = LIGHT_START
Hostile.save_pretrained = lambda processor, folder: None
output, videos = Path(sys.argv[2]), {path.stem: path for path in map(Path, sys.argv[3:])}
write_shard, (reading, writing), SHARDS = describing.write_shard, os.pipe(), []


def write_tell_and_wait(*given):
    if SHARDS:
        signal.pause()  # at its second one, until it is killed
    write_shard(*given)
    SHARDS.append(given)
    os.write(writing, b"x")


def begin(stage, task, tasks=3):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            describing.write_shard = write_tell_and_wait if task == 1 else write_shard
            fitting = {"levels": 1, "branches": 3}
            step = CorpusStep(stage, videos, Hostile(), output, fitting=fitting, shard_size=3)
            executor = LocalPipelineExecutor(
                [step],
                tasks=tasks,
                workers=1,
                local_tasks=1,
                local_rank_offset=task,
                skip_completed=False,
                logging_dir=str(output.with_name("logs") / stage),
            )
            executor.run()
            status = 0
        finally:
            os._exit(status)
    return pid


def end(pids):
    return [os.waitpid(pid, 0)[1] for pid in pids]


statuses = [end([begin("contents", task) for task in range(3)])]
tasks = [begin("features", task) for task in range(3)]
os.read(reading, 1)
os.kill(tasks[1], signal.SIGKILL)
statuses.append(end(tasks))
write_tell_and_wait = write_shard
shards = len([*(output / "features").glob("*.parquet")])
statuses.append(end([begin("features", task) for task in range(3)]))
statuses.append(end([begin("finish", 0, 1)]))
print(json.dumps([statuses, shards]))
"""


@pytest.mark.slow
def test_three_processes_of_the_engine_of_which_one_is_killed(tmp_path, monkeypatch):
    """The engine has noted that two tasks are completed, and nothing of the third: what counts are the shards."""
    monkeypatch.setattr("processing.corpus.isolation.START", LIGHT_START)
    (tmp_path / "videos").mkdir()
    paths = make_videos(tmp_path / "videos", ["slow"] * 7 + ["crash"] + ["slow"] * 19)
    output = tmp_path / "shared"
    command = [sys.executable, "-c", ENGINE, json.dumps(sys.path), str(output), *map(str, paths.values())]
    said = tmp_path / "said"
    with said.open("w") as file:
        engine = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            assert engine.wait() == 0, said.read_text()
        finally:  # a killed executor leaves its manager behind
            with suppress(ProcessLookupError):
                os.killpg(engine.pid, signal.SIGKILL)
    statuses, shards = json.loads(said.read_text().splitlines()[-1])
    assert statuses == [[0, 0, 0], [0, signal.SIGKILL, 0], [0, 0, 0], [0]] and shards == 7, said.read_text()
    assert read_rows(output / "rows")["video_id"][:] == list(paths)
    build_corpus(paths, Hostile(), tmp_path / "alone", **FIT)
    assert digests(output) == digests(tmp_path / "alone")


def test_what_stops_a_task_is_told_and_raised_nowhere(tmp_path):
    """It would end all tasks after it; the count is in the engine's statistics."""
    paths = make_videos(tmp_path, ["ok"] * 3)
    build_corpus(paths, StandIn(), tmp_path / "corpus", levels=1, branches=3)
    step = CorpusStep("finish", paths, Hostile(), tmp_path / "corpus", fitting={"levels": 2, "branches": 3})
    assert step.run("piped", 0, 1) == "piped"
    assert step.stats["stopped"].total == 1
    assert not Path(tmp_path / "corpus" / "processor").exists()


def test_nothing_is_described_in_the_engines_own_process(tmp_path):
    with pytest.raises(ValueError, match="num_workers is 0; at least 1 process is needed"):
        CorpusStep("features", {}, Hostile(), tmp_path, num_workers=0)
    with pytest.raises(ValueError, match="cannot be sent to another process .a stand-in stays here.: name its"):
        CorpusStep("features", {}, StandIn(), tmp_path)
    with pytest.raises(ValueError, match="The stage is 'rows'; allowed are"):
        CorpusStep("rows", {}, Hostile(), tmp_path)
