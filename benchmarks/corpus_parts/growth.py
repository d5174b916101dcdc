"""Whether time and memory grow with a corpus: many short videos, or one that is long, and a network of no weight."""

import json
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from kitchen.weights import weights_folder
from transformers import VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

from processing import VideoBertProcessor
from processing.corpus import isolation

from .builds import add_counts, count_rows, kept_processes, time_build

SHORT_SECONDS, KINDS = 3.0, 4
TINY = {"image_size": 32, "patch_size": 16, "num_frames": 8}
TINY |= {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CODEBOOK = {"levels": 2, "branches": 4}


def light_processor(folder: Path) -> VideoBertProcessor:
    """Real ears, to which nobody speaks, and eyes of a few thousand weights."""
    if not folder.is_dir():
        VideoMAEModel(VideoMAEConfig(**TINY)).save_pretrained(folder)
        square = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        VideoMAEImageProcessor(**square).save_pretrained(folder)
    text, ears = (str(weights_folder(name)) for name in ("bert-minilm-l6", "whisper-tiny.en"))
    return VideoBertProcessor.from_models(text, ears, str(folder))


def code_video(path: Path, seconds: float, kind: int = 0) -> None:
    """A test picture and a tone."""
    sources = (f"testsrc=s=160x120:r=10:d={seconds}:n={kind}", f"sine=f={200 + 50 * kind}:d={seconds}")
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    coding = ["-pix_fmt", "yuv420p", "-g", "50"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, *coding, str(path)], check=True)


def make_short_videos(folder: Path, count: int) -> dict[str, Path]:
    """Files by video id, each with a content of its own: a few are coded, and get a box behind them that says which
    one it is, which players skip."""
    folder.mkdir()
    kinds = []
    for kind in range(min(KINDS, count)):
        path = folder.parent / f"kind_{kind}.mp4"
        if not path.exists():
            code_video(path, SHORT_SECONDS, kind)
        kinds.append(path.read_bytes())
    videos = {f"short_{number:04}": folder / f"short_{number:04}.mp4" for number in range(count)}
    for number, path in enumerate(videos.values()):
        box = b"free" + number.to_bytes(4, "big")
        path.write_bytes(kinds[number % len(kinds)] + (4 + len(box)).to_bytes(4, "big") + box)
    return videos


def make_long_video(folder: Path, seconds: int) -> dict[str, Path]:
    """One coded minute, over and over."""
    minute, listing, path = folder / "minute.mp4", folder / "minutes.txt", folder / f"long_{seconds}.mp4"
    if not minute.exists():
        code_video(minute, min(60, seconds))
    listing.write_text(f"file {minute.name}\n" * max(1, seconds // 60))
    command = ["ffmpeg", "-v", "error", "-y", "-f", "concat", "-i", str(listing), "-c", "copy", str(path)]
    subprocess.run(command, check=True)
    return {path.stem: path}


def measure_time(folder: Path, counts: list[int], rounds: list[int]) -> dict:
    """Seconds a video in corpora of so many short videos, which are built in turn, the small ones more often."""
    videos = {count: make_short_videos(folder / f"short_{count}", count) for count in counts}
    seconds, figures = {count: [] for count in counts}, {}
    first = next(iter(videos[counts[0]].values()))
    with kept_processes(light_processor(folder / "eyes"), first):
        for turn in range(max(rounds)):
            for count, times in zip(counts, rounds, strict=True):
                if turn >= times:
                    continue
                output = folder / f"corpus_{count}_{turn}"
                rows, took = time_build(videos[count], light_processor(folder / "eyes"), output, **CODEBOOK)
                seconds[count].append(took / count)
                add_counts(figures, count_rows(rows, dict.fromkeys(videos[count], SHORT_SECONDS)))
                print(f"  {count} videos: {1000 * took / count:.1f} ms each", flush=True)
    medians = {count: statistics.median(times) for count, times in seconds.items()}
    figures["seconds_a_video"] = medians
    # The dearest of the larger ones: a small corpus that its fixed costs make dear would hide a growth further on.
    figures["time_growth"] = max(medians[larger] / medians[smaller] for smaller, larger in pairwise(counts))
    return figures


def measure_memory(folder: Path, counts: list[int], lengths: list[int]) -> dict:
    """Peak memory of both processes by the number of videos and by the length of one."""
    figures = {"megabytes": {}}
    for name, sizes in (("number", counts), ("length", lengths)):
        peaks = [peak_of(folder, name, size) for size in sizes]
        for size, peak in zip(sizes, peaks, strict=True):
            shown = {key: round(value) for key, value in peak.items()}
            print(f"  {name} {size}: {shown} MB", flush=True)
            figures["megabytes"][f"{name} {size}"] = peak
        figures[f"rss_growth_{name}"] = max(peaks[-1][who] / peaks[0][who] for who in ("parent", "child"))
    figures["rss_growth"] = max(figures["rss_growth_number"], figures["rss_growth_length"])
    return figures


def peak_of(folder: Path, name: str, size: int) -> dict:
    """The most memory of a build and of the process that describes for it, in MB, in a process of its own."""
    script = Path(__file__).resolve().parents[1] / "corpus.py"
    command = [sys.executable, str(script), "--memory_of", str(folder), name, str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_of(folder: Path, name: str, size: int) -> None:
    """The inside of that process."""
    videos = make_short_videos(folder / f"number_{size}", size) if name == "number" else make_long_video(folder, size)
    end, peaks = isolation.Child.close, {}

    def close(child):
        peaks["child"] = peak_megabytes(child._process.pid)
        end(child)

    with patch.object(isolation.Child, "close", close):
        time_build(videos, light_processor(folder / "eyes"), folder / f"corpus_{name}_{size}", **CODEBOOK)
    print(json.dumps({"parent": peak_megabytes("self"), **peaks}))


def peak_megabytes(process: int | str) -> float:
    """The most memory of a process. (`ru_maxrss` would count what the process that started it had.)"""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
