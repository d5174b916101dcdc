"""The codebook's fit and assignment beside scikit-learn and faiss doing the same tree on the same features.

    pip install -e ".[benchmarks]"
    python benchmarks/codebook.py --json benchmarks/results/codebook.json    # about ten minutes, 2 GB of disk
    python benchmarks/codebook.py --parts small assign    # some parts; the JSON file keeps the others
    python benchmarks/codebook.py --smoke                 # toy sizes, seconds: shows that it runs

Features are drawn like those of a video network: clusters in clusters (as deep and wide as the tree, each level's
offsets 0.6 times those above it, clusters of equal size, in random order) in 64 dimensions, mapped into 1024 and
given a little noise in all of them. Every tree is grown over the same normalised features.

`small`: 6,000 x 1024, 12 branches, 3 levels. `fit_vs_minibatch`: seconds of recursive `MiniBatchKMeans` with its
defaults over ours; `inertia_vs_kmeans`: ours over recursive `KMeans`' with its defaults.
`large`: 100,000 x 1024, 4 levels. `fit_vs_faiss`: seconds of recursive `faiss.Kmeans` with its defaults over ours;
`leaves_alive`: share of our 20,736; `memory_ratio`: all that the fit adds at its peak, the codebook's 89 MB included,
over the features' size, streamed in blocks from Parquet; `memory_ratio_in_memory`: with the features beside it.
`assign`: `assign_vs_flat`: rate of `encode` over the fastest flat search of the same leaves; `assign_rate`: clips/s.
`million`: 1,000,000 x 1024 in float16 Parquet: `million_seconds`, `million_megabytes` (the most the process had).
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processing.codebook.feature_shards import FeatureShards
from processing.codebook.fitting import fit_codebook

PARTS = ("small", "large", "assign", "million")
LATENT, SHRINK, NOISE = 64, 0.6, 0.05
# clips, width, branches, levels
SIZES = {
    "small": (6_000, 1024, 12, 3),
    "large": (100_000, 1024, 12, 4),
    "million": (1_000_000, 1024, 12, 4),
}
SMOKE = {"small": (600, 32, 4, 3), "large": (3000, 32, 4, 4), "million": (5000, 32, 4, 4)}
BLOCK = 10_000


def draw_features(clips, width, branches, levels, seed=0):
    """Blocks of features `(up to BLOCK, width)` float32; see the top of this file."""
    draw = np.random.default_rng(seed)
    centres = np.zeros((1, LATENT), dtype=np.float32)
    for level in range(levels):
        offsets = SHRINK**level * draw.normal(size=(len(centres), branches, LATENT))
        centres = (centres[:, None] + offsets).astype(np.float32).reshape(-1, LATENT)
    leaf = draw.permutation(np.arange(clips) % len(centres))
    spread = draw.standard_normal((LATENT, width), dtype=np.float32) / LATENT**0.5
    for start in range(0, clips, BLOCK):
        inside = centres[leaf[start : start + BLOCK]]
        inside = inside + SHRINK**levels * draw.standard_normal(inside.shape, dtype=np.float32)
        yield inside @ spread + NOISE * draw.standard_normal((len(inside), width), dtype=np.float32)


def normalised(size):
    """The features as the trees see them: centred, unit length."""
    features = np.concatenate(list(draw_features(*size)))
    features -= features.mean(0)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def grow(features, branches, levels, split):
    """A peer's tree: `split` labels one node's features. Seconds, and inertia in the leaves."""
    start, nodes = time.perf_counter(), [np.arange(len(features))]
    for _ in range(levels):
        below = []
        for rows in nodes:
            labels = split(features[rows], branches) if len(rows) > branches else np.arange(len(rows))
            below += [part for label in range(branches) if len(part := rows[labels == label])]
        nodes = below
    seconds = time.perf_counter() - start
    inertia = sum(float(np.square(features[rows] - features[rows].mean(0)).sum()) for rows in nodes)
    return {"seconds": seconds, "inertia": inertia, "leaves": len(nodes)}


def ours(features, branches, levels):
    start = time.perf_counter()
    codebook = fit_codebook(features, levels, branches, progress=False)
    seconds = time.perf_counter() - start
    points, ids = codebook.prepare(features), codebook.encode(features)
    inertia = float((points - codebook.centroids(ids)).double().square().sum())
    return {"seconds": seconds, "inertia": inertia, "leaves": int((codebook.counts(levels - 1) > 0).sum())}


def scikit_learn(name):
    from sklearn import cluster

    return lambda features, branches: getattr(cluster, name)(branches, random_state=0).fit_predict(features)


def faiss_kmeans():
    import faiss  # here, because imported before torch it makes forked workers hang

    def split(features, branches):
        kmeans = faiss.Kmeans(features.shape[1], branches, seed=0, verbose=False)
        kmeans.cp.min_points_per_centroid = 1  # only silences a warning
        kmeans.train(features)
        return kmeans.index.search(features, 1)[1][:, 0]

    return split


def alternate(sides, repeats):
    """Rounds of every side in turn: a first one that warms up, then the medians of the seconds of the others."""
    rounds = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, run in sides.items():
            rounds[name].append(run())
            print(f"  {name}: {rounds[name][-1]}", flush=True)
    return {
        name: results[-1] | {"seconds": statistics.median(result["seconds"] for result in results[1:])}
        for name, results in rounds.items()
    }


def peers(named):
    """Those that are installed."""
    found = {}
    for name, load in named.items():
        try:
            found[name] = load()
        except ImportError as error:
            print(f"{name} is left out: {error}")
    return found


def small(options):
    clips, width, branches, levels = options.sizes["small"]
    features = normalised(options.sizes["small"])
    splits = peers({name: lambda name=name: scikit_learn(name) for name in ("MiniBatchKMeans", "KMeans")})
    sides = {"ours": lambda: ours(features, branches, levels)}
    if "MiniBatchKMeans" in splits:
        sides["MiniBatchKMeans"] = lambda: grow(features, branches, levels, splits["MiniBatchKMeans"])
    figures = alternate(sides, options.repeats)
    if "KMeans" in splits:  # once: only its inertia is asked for
        figures["KMeans"] = grow(features, branches, levels, splits["KMeans"])
        figures["inertia_vs_kmeans"] = figures["ours"]["inertia"] / figures["KMeans"]["inertia"]
    if "MiniBatchKMeans" in splits:
        figures["fit_vs_minibatch"] = figures["MiniBatchKMeans"]["seconds"] / figures["ours"]["seconds"]
    return figures


def large(options):
    clips, width, branches, levels = options.sizes["large"]
    features = normalised(options.sizes["large"])
    sides = {"ours": lambda: ours(features, branches, levels)}
    for name, split in peers({"faiss": faiss_kmeans}).items():
        sides[name] = lambda: grow(features, branches, levels, split)  # noqa: B023 (there is one)
    figures = alternate(sides, options.repeats)
    figures["leaves_alive"] = figures["ours"]["leaves"] / branches**levels
    if "faiss" in figures:
        figures["fit_vs_faiss"] = figures["faiss"]["seconds"] / figures["ours"]["seconds"]
        figures["inertia_vs_faiss"] = figures["ours"]["inertia"] / figures["faiss"]["inertia"]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "features.npy", features)
        figures |= in_a_process("memory", Path(folder) / "features.npy", options)
        for number, block in enumerate(np.split(features, len(features) // BLOCK or 1)):
            write_shard(block, Path(folder) / f"{number:05}.parquet")
        figures |= in_a_process("streamed", folder, options)
    return figures


def assign(options):
    clips, width, branches, levels = options.sizes["large"]
    features = torch.from_numpy(normalised(options.sizes["large"]))
    codebook = fit_codebook(features, levels, branches, progress=False)
    leaves, asked = codebook.centroids(), codebook.prepare(features[: options.flat_clips])

    def encode():
        codebook.encode(features)
        return len(features)

    def torch_flat():
        for block in asked.split(1024):
            (leaves.square().sum(1) / 2 - block @ leaves.T).argmin(1)
        return len(asked)

    def faiss_flat():
        import faiss

        index = faiss.IndexFlatL2(width)
        index.add(leaves.numpy())
        return lambda: index.search(asked.numpy(), 1) and len(asked)

    searches = {"ours": encode, "torch, flat": torch_flat, **peers({"faiss, flat": faiss_flat})}
    rates = {name: [] for name in searches}
    for repeat in range(options.repeats + 1):
        for name, search in searches.items():
            start = time.perf_counter()
            done = search()
            if repeat:
                rates[name].append(done / (time.perf_counter() - start))
    rates = {name: statistics.median(values) for name, values in rates.items()}
    fastest = max(rate for name, rate in rates.items() if name != "ours")
    return {"rates": rates, "assign_rate": rates["ours"], "assign_vs_flat": rates["ours"] / fastest}


def million(options):
    size = options.sizes["million"]
    with tempfile.TemporaryDirectory() as folder:
        for number, block in enumerate(draw_features(*size)):
            write_shard(block, Path(folder) / f"{number:05}.parquet")
        return in_a_process("million", folder, options)


def write_shard(features, path, clips_a_video=100):
    """As `processing.corpus.build` writes them: a row a video, float16."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = pa.array(features.astype(np.float16).ravel())
    clips = pa.ListArray.from_arrays(np.arange(0, features.size + 1, features.shape[1], dtype=np.int32), values)
    ends = np.append(np.arange(0, len(features), clips_a_video), len(features)).astype(np.int32)
    videos = pa.ListArray.from_arrays(ends, clips)
    table = pa.table({"video_id": [f"{path.stem}_{i}" for i in range(len(videos))], "features": videos})
    pq.write_table(table, path, compression="none", use_dictionary=False)


def peak_megabytes():
    """The most memory of this process."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def in_a_process(what, path, options):
    """Runs this file again for one measurement of memory, which a process of its own is needed for."""
    command = [sys.executable, __file__, "--measure", what, str(path)] + ["--smoke"] * options.smoke
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(what, path, options):
    clips, width, branches, levels = options.sizes["million" if what == "million" else "large"]
    data = clips * width * 4 / 2**20
    if what != "million":
        features = np.load(path) if what == "memory" else FeatureShards(path)
        before = peak_megabytes()
        fit_codebook(features, levels, branches, progress=False, memory=2**25)
        held = (data if what == "memory" else 0) + peak_megabytes() - before
        return {"memory_ratio" if what == "streamed" else "memory_ratio_in_memory": held / data}
    start = time.perf_counter()
    codebook = fit_codebook(FeatureShards(path), levels, branches, memory=2**28)
    seconds = time.perf_counter() - start
    alive = int((codebook.counts(levels - 1) > 0).sum()) / branches**levels
    return {"million_seconds": seconds, "million_megabytes": peak_megabytes(), "million_leaves_alive": alive}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.sizes = SMOKE if options.smoke else SIZES
    options.flat_clips = 256 if options.smoke else 4096
    logging.getLogger("processing").setLevel(logging.ERROR)
    if options.measure:
        return print(json.dumps(measure(*options.measure, options)))
    figures = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for part in options.parts:
        print(f"{part}:", flush=True)
        figures[part] = {"small": small, "large": large, "assign": assign, "million": million}[part](options)
        # The figures that are asked for stand at the top.
        figures |= {name: value for name, value in figures[part].items() if isinstance(value, float)}
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)


def show(figures):
    print(f"\n{'':28}{'seconds':>10}{'inertia':>12}{'leaves':>9}")
    for part in ("small", "large"):
        for name, result in figures.get(part, {}).items():
            if isinstance(result, dict):
                print(f"{part + ', ' + name:28}{result['seconds']:10.2f}{result['inertia']:12.1f}{result['leaves']:9}")
    for name, rate in figures.get("assign", {}).get("rates", {}).items():
        print(f"{'assign, ' + name:28}{rate:10,.0f} clips a second")
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:28}{value:10.3f}")


if __name__ == "__main__":
    main()
