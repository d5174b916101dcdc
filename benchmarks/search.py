"""Search in many moments: how long a query takes, and what the two passes lose against reading every moment.

    python benchmarks/search.py --model runs/kitchen --rows runs/kitchen/rows/held_out.parquet \
        --truth runs/kitchen/rows/truth.jsonl --json FILE
    python benchmarks/search.py --model … --rows … --full     # embeds all moments, however long it takes
    python benchmarks/search.py --smoke                       # a made model and toy sizes: shows that it runs

Moments are made of the rows' visual ids: of a first and a second half that two of their own moments lend, so that all
are different and none is impossible. The model embeds them for at most five minutes; where that is too short for all,
those that it embedded are repeated: `moments_embedded` says how many they are.

`query_ms`: the median of whole queries, both passes and reading moments from disk, one at a time, each sentence once.
`speed_vs_exhaustive`: the time in which the model would read the query with every moment, over that; its rate is
measured on a sample of moments and scaled. `rss_growth`: memory of the process after all queries over that after ten.
`recall_vs_exhaustive`: among `small_moments` true moments, how many of the ten best of reading every moment two passes
find too. Beside it the share of sentences whose own moment is among the ten: `recall`, and `recall_exhaustive`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import tqdm
from datasets import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import read_rows
from processing.evaluation import read_truth
from processing.search import MomentIndex, read_index, row_moments
from processing.search.embedding import moment_embeddings, text_embeddings
from processing.search.figures import names_each
from processing.search.index import CANDIDATES, FEATURES, best_places
from processing.search.scoring import score_pairs

TRAILING_SECONDS, CLIP_SECONDS = 3.0, 1.5  # as the kitchen is trained
BLOCK = 2048
EMBED_SECONDS = 300
TOP = 10


def make_moments(own, count, seed=0):
    """Different moments out of the halves of the model's own ones, as many as there can be up to `count`."""
    draw, seen, made = np.random.default_rng(seed), set(), []
    for _ in range(20 * count):
        if len(made) == count:
            break
        first, second = (own[place]["visual_ids"] for place in draw.integers(len(own), size=2))
        ids = (*first[: (len(first) + 1) // 2], *second[len(second) // 2 :])
        if ids not in seen:
            seen.add(ids)
            made.append(list(ids))
    return made


def embed(model, processor, shown, seconds):
    """Vectors of as many as the time allows, and moments a second."""
    start, blocks = time.perf_counter(), []
    for place in tqdm(range(0, len(shown), BLOCK), desc="Embedding", unit="block"):
        blocks.append(moment_embeddings(model, processor, shown[place : place + BLOCK]))
        if seconds is not None and time.perf_counter() - start > seconds:
            break
    vectors = np.concatenate(blocks)
    return vectors, len(vectors) / (time.perf_counter() - start)


def fill_index(model, processor, shown, vectors, count):
    """An index of `count` moments, those that have vectors as often as it takes."""
    places = np.arange(count) % len(vectors)
    moments = {
        "video_id": [f"made_{place}" for place in range(count)],
        "start": [0.0] * count,
        "end": [CLIP_SECONDS * len(shown[place]) for place in places],
        "text": [""] * count,
        "visual_ids": [shown[place] for place in places],
        "clip_seconds": [CLIP_SECONDS] * count,
        "embedding": list(vectors[places]),
    }
    return MomentIndex(model, processor, Dataset.from_dict(moments, FEATURES))


def resident_megabytes():
    """Memory of this process now."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def time_queries(index, texts):
    """Milliseconds of each query, and how memory grows from the first ten on."""
    times, before = [], None
    for number, text in enumerate(tqdm(texts, desc="Queries")):
        start = time.perf_counter()
        index.search(text, TOP)
        times.append(1000 * (time.perf_counter() - start))
        if number == min(10, len(texts) - 1):
            before = resident_megabytes()
    return times, resident_megabytes() / before


def time_reading(model, processor, texts, shown):
    """Seconds in which the model reads one text with one moment."""
    pairs = [(texts[place % len(texts)], ids) for place, ids in enumerate(shown)]
    start = time.perf_counter()
    score_pairs(model, processor, *zip(*pairs, strict=True), np.zeros(len(pairs)))
    return (time.perf_counter() - start) / len(pairs)


def compare_with_exhaustive(model, processor, own, asked):
    """Ten best of two passes and of reading everything, on true moments."""
    shown = [moment["visual_ids"] for moment in own]
    vectors = moment_embeddings(model, processor, shown)
    queries = text_embeddings(model, processor, [own[place]["text"] for place in asked])
    found, found_exhaustive, same = 0, 0, 0
    for place, query in zip(tqdm(asked, desc="Exhaustive"), queries, strict=True):
        first_pass = vectors @ query
        scores = score_pairs(model, processor, [own[place]["text"]] * len(shown), shown, first_pass)
        # The second pass gives a pair the same score wherever it stands, so that it need not be asked twice.
        chosen = best_places(first_pass, CANDIDATES)
        best = set(chosen[best_places(scores[chosen], TOP)].tolist())
        exhaustive = set(best_places(scores, TOP).tolist())
        found, found_exhaustive = found + (place in best), found_exhaustive + (place in exhaustive)
        same += len(best & exhaustive)
    return {
        "recall": found / len(asked),
        "recall_exhaustive": found_exhaustive / len(asked),
        "recall_vs_exhaustive": same / (len(asked) * min(TOP, len(shown))),
        "small_moments": len(shown),
        "small_queries": len(asked),
    }


def load(options):
    if not options.smoke:
        model = VideoBertForPreTraining.from_pretrained(options.model)
        return model, VideoBertProcessor.from_pretrained(options.model), read_rows(options.rows)
    from support.tiny_rows import cooking_rows, tiny_processor
    from support.tiny_run import tiny_model

    return tiny_model(), tiny_processor(), cooking_rows()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a trained VideoBERT")
    parser.add_argument("--rows", type=Path, help="rows whose moments are searched")
    parser.add_argument("--truth", type=Path, help="ask only what names a deed and a thing of this truth file")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--moments", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--full", action="store_true", help="embed all moments, however long it takes")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    options = parser.parse_args()
    if not options.smoke and not (options.model and options.rows):
        parser.error("give --model and --rows, or --smoke")
    if options.smoke:
        options.moments, options.queries = 300, 4
    torch.manual_seed(0)
    model, processor, rows = load(options)
    own = [moment for row in rows for moment in row_moments(row, TRAILING_SECONDS)]
    steps = [step for video in read_truth(options.truth).values() for step in video] if options.truth else []
    names = [{step[asked] for step in steps} for asked in ("verb", "object") if steps]
    can_be_asked = [bool(moment["text"]) and names_each(moment["text"], names) for moment in own]
    told = sorted({moment["text"] for moment, asked in zip(own, can_be_asked, strict=True) if asked})
    texts = [told[place] for place in np.linspace(0, len(told) - 1, min(len(told), options.queries)).astype(int)]

    shown = make_moments(own, options.moments)
    vectors, rate = embed(model, processor, shown, None if options.full else EMBED_SECONDS)
    figures = {"moments": options.moments, "moments_embedded": len(vectors), "embedded_a_second": rate}
    with tempfile.TemporaryDirectory() as folder:
        fill_index(model, processor, shown, vectors, options.moments).save(Path(folder) / "index")
        index = read_index(Path(folder) / "index", model, processor)
        times, figures["rss_growth"] = time_queries(index, texts)
    figures["query_ms"] = statistics.median(times)
    figures["query_ms_p95"] = float(np.quantile(times, 0.95))
    pair_seconds = time_reading(model, processor, texts, shown[: 20 * len(texts)])
    figures["exhaustive_seconds"] = pair_seconds * options.moments
    figures["speed_vs_exhaustive"] = 1000 * figures["exhaustive_seconds"] / figures["query_ms"]
    small = own[: 40 if options.smoke else 500]
    asked = [place for place in range(len(small)) if can_be_asked[place]]
    asked = [asked[place] for place in np.linspace(0, len(asked) - 1, min(len(asked), 60)).astype(int)]
    figures |= compare_with_exhaustive(model, processor, small, asked)
    for name, value in figures.items():
        print(f"{name:24}{value:14,.3f}" if isinstance(value, float) else f"{name:24}{value:14,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
