"""Features in clusters, in memory and in shards."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, CLIPS = 12, 3500


OPTIONS = {"levels": 3, "branches": 4, "seed": 3, "progress": False}


# So little that the upper levels are split in passes over the shards.
LITTLE = {"memory": 4 * WIDTH * 1100}


def made_features(clips=CLIPS):
    """Clusters in clusters, as float16 like those of a corpus; a third of the clips are one still picture."""
    draw = np.random.default_rng(5)
    centres = 3 * draw.normal(size=(6, 1, WIDTH)) + draw.normal(size=(6, 7, WIDTH))
    features = centres.reshape(-1, WIDTH)[draw.integers(42, size=clips)] + 0.3 * draw.normal(size=(clips, WIDTH))
    features[draw.random(clips) < 0.35] = 0.25
    return features.astype(np.float16)


def write_shards(features, folder, shards=3, clip_seconds=1.5):
    """Rows of videos with 0 to 60 clips each, several row groups a shard."""
    folder.mkdir(exist_ok=True)
    draw, start, number = np.random.default_rng(0), 0, 0
    for shard, part in enumerate(np.array_split(features, shards)):
        rows, names, start = [], [], 0
        while start < len(part):
            count = int(draw.integers(0, 60))
            rows.append(list(part[start : start + count]))
            names.append(f"v{number:03}")
            start, number = start + count, number + 1
        columns = {"video_id": names, "clip_seconds": [clip_seconds] * len(names)}
        table = pa.table({**columns, "features": pa.array(rows, pa.list_(pa.list_(pa.float16())))})
        pq.write_table(table, folder / f"{shard}.parquet", row_group_size=20)
    return folder
