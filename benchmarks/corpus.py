"""Building a corpus: beside a plain loop over public parts, and whether time and memory grow with it.

    pip install -e ".[benchmarks]"
    python benchmarks/corpus.py --json benchmarks/results/corpus.json   # less than ten minutes on two cores
    python benchmarks/corpus.py --full --json FILE                      # more videos and rounds, and two hours of one
    python benchmarks/corpus.py --parts time memory --json FILE         # some parts; the file keeps the others
    python benchmarks/corpus.py --smoke --parts speed time decode       # toy sizes: shows that it runs

`speed`: videos of the kitchen with real I3D and Whisper tiny, from files to rows, a codebook included, by turns with a
plain loop: decord's frames, the same I3D as a plain module, the ASR pipeline of transformers with one beam, k-means of
scikit-learn, one video after another, on all cores. Ours describes six videos at a time in each of as many processes
as there are cores (`--num_workers`). Neither side counts the loading of its networks. `speed_vs_plain`: seconds of the
loop over ours, the median of rounds; `speed_vs_plain_bfloat16`: the same of one build after them, with our network of
pictures in bfloat16 (`--backbone_dtype`), and `visual_ids_as_float32` the share of clips whose visual id stays so;
`hours_per_hour_…`: hours of video an hour by stage on all cores of this machine; `loader_wait_share`: the share of the
time of pictures and speech in which networks wait for files to be opened and decoded.
`isolation`: `isolation_cost`, see `isolation.py`.
`time`: short videos (real files, a network of no weight). `time_growth`: seconds a video in a corpus of 200 over those
in one of 50, or of 800 over 200, whichever is larger.
`memory`: `rss_growth`: the most memory of the build, or of the process that describes, with 800 videos over 50, or
with a video of forty minutes (two hours with `--full`) over one of ten, whichever is larger.
`decode`: hours of video an hour when only decoded and made small.
`rows_missing`, `rows_twice`, `clips_differing`: how the rows of all these builds differ from what there is.
`paper_…`: a calculation out of these figures, whose assumptions it names.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from logging import ERROR, getLogger
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "examples"))

import datasets
import media
import torch
from corpus_parts.builds import add_counts, count_rows, kept_processes, time_build
from corpus_parts.growth import SHORT_SECONDS, make_short_videos, measure_memory, measure_time, memory_of
from corpus_parts.paper import calculate
from corpus_parts.plain import PlainLoop
from kitchen.generate import generate
from kitchen.weights import weights_folder
from transformers.utils import logging

from processing import VideoBertProcessor, VisualCodebook
from processing.codebook.whole_files import read_json
from processing.corpus import encode_rows
from processing.corpus.build import SUMMARY_NAME
from processing.media_videobert import open_media

ROOT = Path(__file__).resolve().parents[1]
COUNTED = ("rows_missing", "rows_twice", "clips_differing")
CODEBOOK = {"levels": 2, "branches": 16}
SEED, SHARD_SIZE = 7, 6


def make_kitchen(folder: Path, count: int) -> tuple[dict[str, Path], dict[str, float]]:
    """Videos and their true lengths in seconds by video id; drawn when they are asked for the first time."""
    folder, truth = folder / f"{count}_videos", folder / f"{count}_videos" / "truth.jsonl"
    made = [json.loads(line) for line in truth.read_text().splitlines()] if truth.exists() else []
    if len(made) != count:
        print(f"  {count} videos are drawn in {folder}", flush=True)
        made = generate(folder, count, seed=SEED, workers=torch.get_num_threads())
    return {line["video_id"]: folder / f"{line['video_id']}.mp4" for line in made}, {
        line["video_id"]: line["duration"] for line in made
    }


def material(options, folder: Path) -> tuple[dict[str, Path], dict[str, float]]:
    if options.smoke:
        videos = make_short_videos(folder / "material", 2)
        return videos, dict.fromkeys(videos, SHORT_SECONDS)
    return make_kitchen(options.kitchen, options.videos)


# --- the parts -------------------------------------------------------------------------------------------------------


def measure_speed(options, folder: Path) -> dict:
    """Ours and the plain loop by turns on the same files, and ours with the network of pictures in bfloat16."""
    videos, durations = material(options, folder)
    names = ("bert-minilm-l6", "whisper-tiny.en", "i3d-kinetics400")
    text, ears, eyes = (str(weights_folder(name)) for name in names)
    first, hours = next(iter(videos.values())), sum(durations.values()) / 3600
    plain, rounds, figures, stages = PlainLoop(ears, eyes), [], {}, []
    plain.look_at(first), plain.hear(first)  # what is built at first use

    def make_processor(dtype="float32"):
        return VideoBertProcessor.from_models(text, ears, eyes, backbone_options={"dtype": dtype})

    with kept_processes(make_processor(), first, options.processes):
        for turn in range(options.rounds):
            output = folder / f"rows_{turn}"
            rows, ours = time_build(videos, make_processor(), output, shard_size=SHARD_SIZE, **CODEBOOK)
            add_counts(figures, count_rows(rows, durations))
            stages.append(read_json(output / SUMMARY_NAME)["stages"])
            begun = time.perf_counter()
            clips = plain.run(videos, **CODEBOOK)
            rounds.append({"ours": ours, "plain": time.perf_counter() - begun})
            print(f"  {3600 * hours:.0f} s of video: {rounds[-1]}", flush=True)
    with kept_processes(make_processor("bfloat16"), first, options.processes):
        halved = folder / "rows_bfloat16"
        _, took = time_build(videos, make_processor("bfloat16"), halved, shard_size=SHARD_SIZE, **CODEBOOK)
        print(f"  in bfloat16 {took:.1f} s", flush=True)
    seconds = median_seconds(stages, options.processes)
    clips = {"ours": sum(map(len, rows["visual_ids"])), "plain": sum(clips.values())}
    return {
        **figures,
        "seconds_of_video": 3600 * hours,
        "rounds": rounds,
        "stages": stages,
        "clips": clips,
        "speed_vs_plain": statistics.median(one["plain"] / one["ours"] for one in rounds),
        "speed_vs_plain_bfloat16": statistics.median(one["plain"] for one in rounds) / took,
        "visual_ids_as_float32": share_of_same(*ids_in_one_codebook(output, halved)),
        "loader_wait_share": statistics.median(map(share_of_waiting, stages)),
        "clips_an_hour": 3600 * clips["ours"] / seconds["network_of_pictures"],
        **{f"hours_per_hour_{name}": 3600 * hours / took for name, took in seconds.items()},
        **{f"hours_per_hour_{who}": 3600 * hours / statistics.median(one[who] for one in rounds) for who in rounds[0]},
    }


def ids_in_one_codebook(output: Path, other: Path) -> list[dict[str, list[int]]]:
    """The visual ids of two corpora of the same videos in the codebook of the first, by video id."""
    codebook = VisualCodebook.from_pretrained(output / "codebook")
    places = {"ids": output / "features", "other_ids": other / "features"}
    encoded = [encode_rows(codebook, shards, output / place) for place, shards in places.items()]
    return [{row["video_id"]: row["visual_ids"] for row in rows} for rows in encoded]


def share_of_same(ids: dict[str, list[int]], others: dict[str, list[int]]) -> float:
    """The share of places with one id in both."""
    same = [one == other for name in ids for one, other in zip(ids[name], others[name], strict=True)]
    return sum(same) / len(same)


def share_of_waiting(stages: dict) -> float:
    """Of the time of pictures and speech together."""
    both = [stages["pictures"], stages["speech"]]
    return sum(seconds_waited(one) for one in both) / sum(one["seconds"] for one in both)


def seconds_waited(stage: dict) -> float:
    return stage["seconds"] * (stage["waiting_share"] or 0.0)


def median_seconds(stages: list[dict], processes: int) -> dict:
    """Seconds by stage, of which processes share some, and without waiting those of the networks."""
    seconds = {name: statistics.median(one[name]["seconds"] for one in stages) for name in stages[0]}
    for name in ("pictures", "speech"):
        seconds[name] /= processes
        waited = statistics.median(seconds_waited(one[name]) for one in stages)
        seconds[f"network_of_{name}"] = seconds[name] - waited / processes
    return seconds


def measure_isolation(options, folder: Path) -> dict:
    from isolation import measure_cost

    return {"isolation_cost": measure_cost(folder)}


def measure_decode(options, folder: Path) -> dict:
    """Files opened, decoded and made small, with no network behind."""
    videos, durations = material(options, folder)
    big, seconds = folder / "720p.mp4", 2 if options.smoke else 30
    media.make_video(big, 30, 48, "none", seconds)
    begun = time.perf_counter()
    for path in videos.values():
        with open_media(path) as opened:
            for _ in opened.iter_clips(size=160, crop_size=(160, 160)):
                pass
            for _ in opened.iter_speech():
                pass
    kitchen = sum(durations.values()) / (time.perf_counter() - begun)
    return {
        "hours_per_hour_decode": kitchen,
        "hours_per_hour_decode_720p": seconds / media.seconds_of(media.ours, str(big)),
    }


def measure_growth_of_time(options, folder: Path) -> dict:
    return measure_time(folder, options.counts, options.turns)


def measure_growth_of_memory(options, folder: Path) -> dict:
    return measure_memory(folder, [options.counts[0], options.counts[-1]], options.lengths)


PARTS = {
    "speed": measure_speed,
    "isolation": measure_isolation,
    "time": measure_growth_of_time,
    "memory": measure_growth_of_memory,
    "decode": measure_decode,
}


# --- the run ---------------------------------------------------------------------------------------------------------


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too; those of other parts stay in it")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; default: all")
    parser.add_argument("--kitchen", type=Path, default=ROOT / "runs" / "corpus", help="keeps the videos drawn")
    parser.add_argument("--full", action="store_true", help="larger sizes")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    parser.add_argument("--memory_of", nargs=3, metavar=("FOLDER", "KIND", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.videos, options.rounds = (24, 3) if options.full else (12, 1)
    options.processes = 1 if options.smoke else torch.get_num_threads()
    options.counts, options.turns, options.lengths = [50, 200, 800], [3, 1, 1], [600, 2400]
    if options.full:
        options.turns, options.lengths = [8, 4, 2], [600, 7200]
    if options.smoke:
        options.rounds, options.counts, options.turns, options.lengths = 1, [2, 4, 8], [1, 1, 1], [60, 120]
    return options


def top_figures(figures: dict) -> dict:
    """The figures that are asked for, out of those of the parts, and the calculation."""
    parts = [figures[part] for part in PARTS if part in figures]
    top = {name: value for part in parts for name, value in part.items() if isinstance(value, float)}
    top |= {name: sum(part.get(name, 0) for part in parts) for name in COUNTED}
    if "speed" in figures and "decode" in figures:
        top |= calculate(top, torch.get_num_threads())
    return top


def show(figures: dict) -> None:
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:30}{value:12,.3f}")
        elif isinstance(value, int):
            print(f"{name:30}{value:12,}")
    for line in figures.get("paper_assumptions", []):
        print(f"  paper: {line}")


def main():
    options = parse_options()
    getLogger("processing").setLevel(ERROR)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    if options.memory_of:
        folder, name, size = options.memory_of
        return memory_of(Path(folder), name, int(size))
    figures = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for part in options.parts:
        begun = time.perf_counter()
        print(f"{part}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            figures[part] = PARTS[part](options, Path(folder))
        print(f"  {part} was measured in {time.perf_counter() - begun:.0f} s", flush=True)
        figures |= top_figures(figures)
        if options.json:  # after each part, so that no measured figure is lost
            options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)


if __name__ == "__main__":
    main()
