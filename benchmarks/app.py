"""How soon the page of `examples/app.py` answers, to one visitor and to two, and whether it grows.

    python benchmarks/app.py --model runs/kitchen --videos runs/kitchen/work/seed_1/videos/test --json FILE
    python benchmarks/app.py --smoke      # a made model and toy videos: shows that it runs

The page is opened as its users open it, in a process of its own, and asked through `gradio_client`.

`first_result_s`: from the upload of a video of some 30 s to its timeline, the median of three, when the page is warm;
`real_time`: how many seconds of video that is a second. `two_visitors_slowdown`: until both of two visitors who come
at once have theirs, over that. `question_s`: the median of a question about it. `rss_growth_50_requests`: memory of
the page with its processes after 50 more requests, every fifth of them a video, over that before.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import psutil
from gradio_client import Client, handle_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from processing.corpus import find_videos
from processing.media_videobert import open_media

ROOT = Path(__file__).resolve().parents[1]
REQUESTS, REPEATS, WARM_UP = 50, 3, 10
SECONDS = 30  # of the videos


@contextmanager
def open_page(model: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a page, and its process."""
    command = [sys.executable, str(ROOT / "examples" / "app.py"), str(model)]
    limits = ["--videos_an_hour", "10000", "--questions_a_minute", "10000"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [*command, *limits], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        for line in process.stdout:
            if found := re.search(r"The page is at (\S+)", line):
                yield found[1], psutil.Process(process.pid)
                return
        raise RuntimeError(f"The page ended with status {process.wait()} before it was open.")
    finally:
        process.terminate()
        process.wait()


def look(client: Client, video: Path) -> float:
    """Seconds until a video's timeline is there."""
    start = time.perf_counter()
    timeline, *_ = client.predict(handle_file(str(video)), api_name="/look")
    if "vb-clips" not in timeline:
        raise RuntimeError(f"The page shows no timeline of {video}: {timeline[:200]}")
    return time.perf_counter() - start


def ask(client: Client, question: str) -> float:
    """Seconds until a question is answered."""
    start = time.perf_counter()
    sentence = "now let me show you how to [MASK] the [MASK]."
    if question == "fill":
        client.predict(sentence, -1, None, api_name="/fill")
    elif question == "forecast":
        client.predict(1.5, sentence, api_name="/forecast")
    else:
        client.predict("cut the lemon", api_name="/find")
    return time.perf_counter() - start


def serve_requests(client: Client, videos: list[Path], count: int) -> list[float]:
    """So many requests, four questions to each video; the seconds of the questions."""
    times, films, questions = [], cycle(videos), cycle(("fill", "forecast", "find"))
    for number in range(count):
        if number % 5 == 0:
            look(client, next(films))
        else:
            times.append(ask(client, next(questions)))
    return times


def resident_bytes(process: psutil.Process) -> int:
    """Memory of a process and of those that it has started."""
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


def measure(address: str, process: psutil.Process, videos: list[Path]) -> dict[str, float]:
    """The figures."""
    patient = {"timeout": 90}  # by itself a client gives a busy page up after 5 s
    clients = [Client(address, verbose=False, httpx_kwargs=patient) for _ in range(2)]
    look(clients[0], videos[0])  # starts the process that watches
    first = statistics.median(look(clients[0], video) for video in islice(cycle(videos), REPEATS))
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(look, clients, islice(cycle(videos), 2)))
    both = time.perf_counter() - start
    serve_requests(clients[0], videos, WARM_UP)
    before = resident_bytes(process)
    times = serve_requests(clients[0], videos, REQUESTS)
    return {
        "first_result_s": first,
        "two_visitors_slowdown": both / first,
        "question_s": statistics.median(times),
        "rss_growth_50_requests": resident_bytes(process) / before,
        "rss_megabytes": resident_bytes(process) / 1e6,
    }


def seconds_of(video: Path) -> float:
    """How long a video lasts."""
    with open_media(video) as media:
        return media.duration


def make_toys(folder: Path) -> tuple[Path, list[Path]]:
    """A tiny model and two short videos."""
    from support.tiny_page import save_tiny_page
    from support.tiny_processor import make_video

    videos = [folder / "one.mp4", folder / "two.mp4"]
    for video in videos:
        make_video(video, "testsrc=s=64x48:r=5:d=4.6")
    return save_tiny_page(folder), videos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained VideoBERT")
    parser.add_argument("--videos", type=Path, help=f"folder of videos; the two nearest to {SECONDS} s are given")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    options = parser.parse_args()
    if not options.smoke and not (options.model and options.videos):
        parser.error("give --model and --videos, or --smoke")
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            model, videos = make_toys(Path(folder))
        else:
            found = find_videos(options.videos).values()
            model, videos = options.model, sorted(found, key=lambda one: abs(seconds_of(one) - SECONDS))[:2]
        with open_page(model) as (address, process):
            figures = measure(address, process, videos)
        seconds = statistics.mean(map(seconds_of, videos))
    figures |= {"video_s": seconds, "real_time": seconds / figures["first_result_s"]}
    for name, value in figures.items():
        print(f"{name:24}{value:10,.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
