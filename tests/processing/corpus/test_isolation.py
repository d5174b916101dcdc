"""Protects a build from videos that hang, crash the decoder or eat memory, and the machine from what it leaves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from support.hostile import Hostile, hangs, make_videos
from support.light import LIGHT_START
from support.stand_in import StandIn, videos

from processing import VideoBertProcessor
from processing.corpus import build_corpus, isolation
from processing.corpus.isolation import Child, EndedError, closing_all, make_describers, share_out
from processing.names_videobert import SettingsError

ENDED = "the process that described it "


@pytest.fixture
def light(monkeypatch, tmp_path):
    monkeypatch.setattr("processing.corpus.isolation.START", LIGHT_START)
    monkeypatch.chdir(tmp_path)  # where processes say that they hang, or were killed


@pytest.fixture
def clock(monkeypatch):
    """A time that passes when it is told to, and fast for whoever waits for a process that hangs: on a busy machine no
    other one takes too long."""
    clock, ask, asking = SimpleNamespace(now=0.0), Child._ask, threading.local()

    def note_and_ask(child, *question):
        asking.place, asking.passed = hangs(child._process.pid), 0.0
        return ask(child, *question)

    def tell_time():
        asking.passed += 1000.0 * asking.place.exists()
        return clock.now + asking.passed

    monkeypatch.setattr(Child, "_ask", note_and_ask)
    monkeypatch.setattr(isolation, "time", SimpleNamespace(monotonic=tell_time))
    return clock


def wait_until(true):
    """Until the test's time is up."""
    while not true():
        time.sleep(0.01)


def build(folder, wishes, **options):
    options = {"levels": 1, "branches": 3, "deadline": 60.0, "memory": 1.0} | options
    return build_corpus(make_videos(folder, wishes), Hostile(), folder / "corpus", **options)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_bad_videos_are_rows_and_all_others_are_described(tmp_path, light, clock, num_workers):
    """Whatever a video does to its process, and however many there are of these: its lot loses no other one."""
    wishes = ["ok", "ok", "crash", "ok", "hang", "ok", "leave", "ok", "raise", "ok"]
    rows = build(tmp_path, wishes, shard_size=3, num_workers=num_workers)
    errors = {row["video_id"]: row["error"] for row in rows if row["error"]}
    assert errors == {
        "v0": "v0: not a readable video",
        "v2": f"v2: {ENDED}crashed (SIGSEGV)",
        "v4": f"v4: {ENDED}made no progress in 60 s and was ended",
        "v6": f"v6: {ENDED}ended by itself with status 3",
        "v8": "v8: ZeroDivisionError: float division by zero",
    }
    there = build_corpus(videos(10), StandIn(), tmp_path / "there", levels=1, branches=3)
    for row, expected in zip(rows, there, strict=True):
        if row["video_id"] not in errors:
            assert len(row["visual_ids"]) == len(expected["visual_ids"])
            assert row["sentences"] == expected["sentences"] and row["duration"] == expected["duration"]


def test_what_eats_memory_is_ended(tmp_path, light):
    rows = build(tmp_path, ["ok", "ok", "eat"], memory=0.5)
    assert rows[1]["error"] is None
    start, end = rows[2]["error"].split(" GiB of memory and was ended; ")
    assert start.startswith(f"v2: {ENDED}held 0.") and end == "0.50 are allowed"


def test_a_long_video_may_take_long(tmp_path, light, clock):
    """The deadline is one of progress: from clip to clip 45 s pass, and in the end many times as many as are allowed
    without any."""
    (child,), paths = make_describers(Hostile(), 1, 60, 1), make_videos(tmp_path, ["ok", "beat"])

    def on_beat(text):
        clock.now += 45

    child.on_beat = on_beat
    assert len(child.describe([*paths.values()], [*paths], [None] * 2)) == 2 and clock.now >= 12 * 45
    child.close()


def test_features_come_back_as_they_were(tmp_path, light):
    (child,) = make_describers(Hostile(), 1, 60, 1)
    paths, beats = make_videos(tmp_path, ["ok", "beat", "ok", "ok"]), []
    child.on_beat = beats.append
    for _ in range(2):  # the same process
        rows = child.describe([*paths.values()], [*paths], [None] * 4)
        for row, name in zip(rows, paths, strict=True):
            expected = StandIn().row(name)
            assert np.array_equal(row.pop("features"), expected.pop("features")) and row == expected
    assert {"pictures", "speech"} == child.seconds.keys() and child.seconds["pictures"] >= 2 * 12 * 0.25
    # The four of the last one come at once; where that takes long, more of them are told, and of the speech.
    counts = [int(beat.removeprefix("pictures ")) for beat in beats if not beat.startswith("speech")]
    assert beats[0] == "pictures 1" and 10 <= counts[-1] <= 16
    child.close()


def test_videos_whose_process_was_killed_from_outside_are_given_again(tmp_path, light, monkeypatch):
    """It is no fault of theirs: the same lot, not one by one, gives the same rows as if nothing had happened. What is
    killed every time is a row, and tried again by the next run."""
    assert not any(build(tmp_path, ["ok", "ok", "killed-once", "ok"])["error"][1:])
    assert os.path.getsize("killed") == 2
    rows = build(tmp_path, ["ok", "ok", "killed"], shard_size=1)
    assert rows[2]["error"] == f"v2: {ENDED}was killed from outside (SIGKILL)"
    extracted = []
    monkeypatch.setattr(Child, "describe", lambda self, videos, names, said: extracted.extend(names) or rows_of(names))
    build(tmp_path, ["ok", "ok", "killed"], shard_size=1)
    assert extracted == ["v2"]


def rows_of(names):
    return [StandIn().row(name) for name in names]


@pytest.mark.parametrize("wish", ["leave", "crash"])
def test_a_process_that_ends_at_its_start_is_not_started_for_ever(tmp_path, light, wish):
    """One sentence, no video blamed, and the folder is as if nothing had been asked."""
    said = {"leave": "ended by itself with status 3", "crash": r"crashed \(SIGSEGV\)"}[wish]
    with pytest.raises(SettingsError, match=f"process that is to describe videos {said} at its start, 3 times"):
        build_corpus(make_videos(tmp_path, ["ok"] * 3), Hostile(wish), tmp_path / "corpus")
    assert not [path for path in (tmp_path / "corpus").rglob("*") if path.is_file()]


def test_a_network_that_cannot_be_built_is_said_once(tmp_path, light):
    with pytest.raises(SettingsError, match="ZeroDivisionError: float division by zero"):
        build_corpus(make_videos(tmp_path, ["ok"] * 3), Hostile("raise"), tmp_path / "corpus")


def test_numbers_that_cannot_be_are_refused(tmp_path):
    for options in ({"num_workers": -1}, {"deadline": 0}, {"memory": 0}):
        with pytest.raises(ValueError, match="at least 0 processes are needed, and more than 0 seconds and GiB"):
            build(tmp_path, ["ok"], **options)


def test_nothing_is_started_where_nothing_is_to_be_done(tmp_path, light, monkeypatch):
    build(tmp_path, ["ok", "ok", "ok"])
    monkeypatch.setattr("processing.corpus.isolation.START", "raise SystemExit(9)")
    options = {"levels": 1, "branches": 3}
    paths = {name: path for name, path in make_videos(tmp_path, ["ok"] * 3).items() if name != "v0"}
    build_corpus(paths, Hostile(), tmp_path / "corpus", **options)
    with pytest.raises(SettingsError, match="status 9 at its start"):
        build(tmp_path, ["ok"] * 4)


def test_ctrl_c_ends_every_process(tmp_path, light):
    """Also those that are at work for another thread."""
    describers = make_describers(Hostile(), 2, 60, 1)
    paths = make_videos(tmp_path, ["hang", "ok", "hang"])

    def work(describer, name):
        return describer.describe([paths[name]], [name], [None])

    with pytest.raises(KeyboardInterrupt), closing_all(describers) as pool:
        results = share_out(iter(paths), describers, work, pool)
        assert next(results)[0]["video_id"] == "v1"
        wait_until(lambda: [*tmp_path.glob(hangs("*").name)])
        processes = [psutil.Process(describer._process.pid) for describer in describers]
        raise KeyboardInterrupt
    assert not any(process.is_running() for process in processes)


def test_what_is_closed_before_it_begins_begins_no_more(tmp_path, light, monkeypatch):
    """Ctrl-C between the start of a thread and that of its process: the process outlived its build, and a video that
    hangs kept Ctrl-C waiting for the whole deadline."""
    (child,) = make_describers(Hostile(), 1, 60, 1)
    (path,) = make_videos(tmp_path, ["ok"]).values()
    started, pipe = [], isolation.Pipe
    monkeypatch.setattr(isolation, "Pipe", lambda: child.close() or pipe())
    monkeypatch.setattr(isolation.subprocess, "Popen", lambda *given, **more: started.append(given))
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        child.describe([path], ["v0"], [None])
    assert not started


PARENT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from processing.corpus import isolation
from support.hostile import Hostile
from support.light import LIGHT_START
isolation.START = LIGHT_START
(child,) = isolation.make_describers(Hostile(), 1, 60, 1)
child._start()
print(child._process.pid, flush=True)
sys.stdin.readline()
child.describe([sys.argv[2]], ["v1"], [None])
"""


@pytest.mark.slow
@pytest.mark.parametrize("wish", ["ok", "hang"])
def test_no_process_outlives_its_parent(tmp_path, wish):
    """Killed, the parent tells nobody: a process that hangs in a decoder must be ended by the system."""
    (path,) = make_videos(tmp_path, [wish]).values()
    command = [sys.executable, "-c", PARENT, json.dumps([*sys.path]), str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.stdin.write("go on\n")
        parent.stdin.flush()
        if wish == "hang":
            wait_until((tmp_path / hangs(child.pid)).exists)
            parent.send_signal(signal.SIGKILL)
        parent.wait()
    child.wait(60)


def test_a_processor_that_cannot_be_sent_works_here(tmp_path):
    """For a network in memory that no other process can have: with a warning, as before."""
    (describer,) = make_describers(SimpleNamespace(codebook=None, network=lambda: None), 2, 1, 1)
    assert not isinstance(describer, Child)


@pytest.mark.slow
def test_a_real_processor_gives_the_same_rows_in_a_process_of_its_own(tiny_text_model, tiny_backbone, silent_video):
    """Sent without the networks that it has built here, and with an error of a file as it is told here."""
    processor = VideoBertProcessor.from_models(tiny_text_model, None, tiny_backbone)
    paths, names = [silent_video, silent_video.with_name("gone.mp4")], ["silent", "gone"]
    here = processor.describe(paths, names, [None, None])
    (child,) = make_describers(processor, 1, 300, None)
    there = child.describe(paths, names, [None, None])
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.pop("features"), other.pop("features")) and one == other
    assert "no such file" in there[1]["error"] and len(here) == 2
    processor.backbone = "no/such_network"
    with pytest.raises(SettingsError, match="no/such_network"):
        make_describers(processor, 1, 300, None)[0].describe(paths, names, [None, None])
    child.close()
    with pytest.raises((EndedError, KeyboardInterrupt)):
        child._ask(b"", None)
