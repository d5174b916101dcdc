"""Does a build that is killed anywhere end in the same rows? And what do processes of their own cost short videos?

    python benchmarks/isolation.py                       # 20 kills, and the cost on 40 short videos: some minutes
    python benchmarks/isolation.py --json results.json   # the figures in a file too
    python benchmarks/isolation.py --smoke               # 3 kills and no cost: shows that it runs

Kills: builds of made-up videos, one of which crashes its process, run in three processes (the build and two that
describe). At random moments SIGKILL ends the build, which is then begun again by the same call, or one of the others,
which it has to cope with. When a build has come to its end, the bytes of its features, ids, rows and codebook are
compared with those of a build that nobody killed. `kills_of_build` and `kills_of_others` count them, `differing`
the files that are not the same, `rows_missing` and `rows_twice` the rows, `orphans` the processes that outlived a
killed build.

Cost: lots of 4 short videos are described in this process and in one of its own, by turns, whose start is not counted;
`isolation_cost` is the median of the ratios of their times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(2, str(Path(__file__).resolve().parents[1] / "examples"))

import psutil
import torch
from support.hostile import Hostile, make_videos
from support.light import LIGHT_START

from processing import VideoBertProcessor
from processing.corpus import build_corpus, isolation, read_rows

WISHES = ["slow"] * 7 + ["crash"] + ["slow"] * 32
LOT, LOTS = 4, 10


def build(videos: dict, output: Path) -> None:
    options = {"levels": 1, "branches": 3, "shard_size": 3, "num_workers": 2}
    build_corpus(videos, Hostile(), output, **options)


def begin(videos: dict, output: Path) -> psutil.Process:
    """A build in a copy of this process: the libraries need not be loaded again for each of them."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            logging.disable()
            isolation.START = LIGHT_START
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            build(videos, output)
            status = 0
        finally:
            os._exit(status)
    return psutil.Process(pid)


def kill_one(process: psutil.Process, draw: random.Random) -> tuple[str, int]:
    """Kills a build or one of its processes: which of them it was, and how many outlived a killed build."""
    others = process.children(recursive=True)
    if others and draw.random() < 0.5:
        with suppress(psutil.NoSuchProcess):  # it has ended by itself
            draw.choice(others).send_signal(signal.SIGKILL)
            return "kills_of_others", 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(others, timeout=10)
    return "kills_of_build", len(alive)


def build_and_kill(videos: dict, output: Path, seconds: float, kills: int, draw: random.Random, counts: Counter):
    """Builds until the end is reached, with up to so many kills."""
    process, begun = begin(videos, output), time.monotonic()
    while True:
        moment = begun + draw.uniform(0, seconds)
        while (running := process.is_running() and process.status() != psutil.STATUS_ZOMBIE) and (
            time.monotonic() < moment or not kills
        ):
            time.sleep(0.005)
        if running:
            who, alive = kill_one(process, draw)
            counts[who] += 1
            counts["orphans"] += alive
            kills -= 1
            if who == "kills_of_others":
                begun = time.monotonic()
                continue
        elif process.wait() == 0:
            return
        else:
            raise RuntimeError("A build failed that nobody had killed.")
        process, begun = begin(videos, output), time.monotonic()


def digests(output: Path) -> dict[str, str]:
    """By name the SHA-256 of what a build made."""
    paths = [path for kind in ("*.parquet", "*.arrow", "*.safetensors") for path in output.rglob(kind)]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def count_kills(folder: Path, kills: int, seed: int) -> dict:
    """Kills until it is enough, and what came of it."""
    torch.set_num_threads(1)  # this process is copied, and threads are not
    (folder / "videos").mkdir()
    videos, draw, counts = make_videos(folder / "videos", WISHES), random.Random(seed), Counter()
    begun = time.monotonic()
    begin(videos, folder / "whole").wait()
    seconds, expected, builds = time.monotonic() - begun, digests(folder / "whole"), 0
    while (left := kills - counts["kills_of_build"] - counts["kills_of_others"]) > 0:
        output = folder / f"killed{builds}"
        build_and_kill(videos, output, seconds, min(left, 5), draw, counts)
        found, names = digests(output), read_rows(output / "rows")["video_id"][:]
        counts["differing"] += len(found.items() ^ expected.items())
        counts["rows_missing"] += len(videos.keys() - {*names})
        counts["rows_twice"] += len(names) - len({*names})
        builds += 1
    names = ("kills_of_build", "kills_of_others", "differing", "rows_missing", "rows_twice", "orphans")
    return {"builds": builds, "files_compared": len(expected), **{name: counts[name] for name in names}}


def measure_cost(folder: Path) -> float:
    """Short videos, 3 s each with a tone, and the packaged networks."""
    from kitchen.weights import weights_folder

    names = ("bert-minilm-l6", "whisper-tiny.en", "i3d-kinetics400")
    processor = VideoBertProcessor.from_models(*(str(weights_folder(name)) for name in names))
    paths = [folder / f"{number}.mp4" for number in range(LOT)]
    for number, path in enumerate(paths):
        sources = (f"testsrc=s=320x240:r=25:d=3:n={number}", f"sine=f={200 + 50 * number}:d=3")
        inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, "-shortest", str(path)], check=True)
    here, (other,) = isolation.Here(processor), isolation.make_describers(processor, 1, 600, None)
    ratios = []
    for number in range(LOTS + 1):
        times = {}
        for describer in (here, other)[:: 1 if number % 2 else -1]:  # each is the first as often
            begun = time.perf_counter()
            describer.describe(paths, [path.stem for path in paths], [None] * LOT)
            times[describer] = time.perf_counter() - begun
        if number:  # the first lot builds the networks
            ratios.append(times[other] / times[here])
            print(f"  lot {number} of {LOTS}: {ratios[-1]:.3f}", flush=True)
    other.close()
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--parts", nargs="+", choices=["kills", "cost"], default=["kills", "cost"])
    parser.add_argument("--smoke", action="store_true", help="3 kills and no cost")
    options = parser.parse_args()
    if options.smoke:
        options.kills, options.parts = 3, ["kills"]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        if "kills" in options.parts:
            figures |= count_kills(Path(folder), options.kills, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        if "cost" in options.parts:
            figures["isolation_cost"] = measure_cost(Path(folder))
    for name, value in figures.items():
        print(f"{name:20}{value:.3f}" if isinstance(value, float) else f"{name:20}{value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
