"""The kept kitchen's features, which are too large to be kept: its videos are drawn once more, and looked at."""

import json
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from kitchen.prepare import KEPT_SEED, KEPT_VIDEOS, make_videos
from kitchen.weights import weights_folder
from torch.nn import functional as F
from training.material import Material

from processing import VideoBertProcessor, find_subtitles
from processing.codebook.fitting import fit_codebook
from processing.codes_videobert import noted_in_row
from processing.corpus import find_videos
from processing.corpus.describing import extract_features
from processing.evaluation import step_segments
from processing.evaluation.controls import probe_ranks
from processing.evaluation.truth import ASKED
from processing.training_data.segments import clips_between

Features = dict[str, torch.Tensor]
TEXT_MODEL = "bert-minilm-l6"


def kept_features(folder: Path, material: Material, workers: int = 2) -> Features:
    """By video id `(clips, 1024)`, float32. What was drawn and looked at before is read; all of it takes half an hour.
    Nothing is heard anew."""
    make_videos(folder / "videos", KEPT_VIDEOS, KEPT_SEED, workers)
    text_model, backbone = (str(weights_folder(name)) for name in (TEXT_MODEL, "i3d-kinetics400"))
    processor = VideoBertProcessor.from_models(text_model, backbone=backbone)
    said, features = folder / "captions.json", {}
    for split, rows in (("train", material.train_rows), ("test", material.test_rows)):
        said.write_text(json.dumps({row["video_id"]: row["sentences"] for row in rows}))
        videos, shards = find_videos(folder / "videos" / split), folder / "features" / split
        subtitles = find_subtitles(videos, said)
        extract_features(videos, processor, shards, subtitles=subtitles, num_workers=workers)
        data = Dataset.from_parquet([str(path) for path in sorted(shards.glob("*.parquet"))])
        features |= {row["video_id"]: torch.tensor(row["features"]) for row in data}
    return features


def raw_probes(material: Material, features: Features) -> dict[str, float]:
    """What the features hold of verbs and objects, for a linear classifier that is told the labels of the training
    steps: the share of held-out steps that it names."""
    train, test = (step_segments(rows, material.truth) for rows in (material.train_rows, material.test_rows))
    means = [step_features(steps, features, material) for steps in (train, test)]
    middle, scale = means[0].mean(0), means[0].std(0) + 1e-6
    changes = (lambda one: one, lambda one: F.normalize(one, dim=1), lambda one: (one - middle) / scale)
    ways = [tuple(map(change, means)) for change in changes]
    return {f"{asked}_raw_probe": float((probe_ranks(train, test, asked, ways) <= 1).mean()) for asked in ASKED}


def ids_as_kept(material: Material, features: Features) -> float:
    """The share of clips whose visual id is the one that was kept, of features in bfloat16."""
    rows = [row for rows in (material.train_rows, material.test_rows) for row in rows]
    ids = material.processor.codebook.encode(torch.cat([features[row["video_id"]] for row in rows]))
    return float((ids.numpy() == np.concatenate([row["visual_ids"] for row in rows])).mean())


def step_features(steps: list[dict], features: Features, material: Material) -> torch.Tensor:
    """The mean feature of the clips of each step, `(steps, 1024)`; of a step without a clip, nothing but zeros."""
    clip_seconds, found = material.train_rows[0]["clip_seconds"], []
    for step in steps:
        clips = features[step["video_id"]]
        first, last = clips_between(step["start"], step["end"], clip_seconds, len(clips))
        found.append(clips[first:last].mean(0) if last > first else clips.new_zeros(clips.shape[1]))
    return torch.stack(found)


def with_codes(material: Material, features: Features, codes: dict, seed: int) -> Material:
    """The same rows in the words of another codebook, of the kept one's shape, fitted on the same training clips.

    Args:
        codes (`dict`):
            How many visual ids it gives a clip: `residual_codes` or `levels_as_tokens` of [`fit_codebook`].
    """
    shape = material.processor.codebook.config
    clips = torch.cat([features[video_id] for video_id in material.train_rows["video_id"]])
    codebook = fit_codebook(clips, shape.levels, shape.branches, seed=seed, progress=False, **codes)
    processor = VideoBertProcessor.from_models(str(weights_folder(TEXT_MODEL)), codebook=codebook)

    def encode(row):
        ids = codebook.encode(features[row["video_id"]]).tolist()
        return {"visual_ids": ids, **noted_in_row(codebook)}

    train, test = (rows.map(encode) for rows in (material.train_rows, material.test_rows))
    return Material(train, test, processor, material.truth)
