"""Protects the rows the demo trains on: complete, made by the codebook beside them, honest about what is held out."""

import pytest
from datasets import Dataset
from kitchen.prepare import KEPT, KEPT_VIDEOS, prepare_kitchen, read_lines
from kitchen.recipes import HELD_OUT_PAIRS

from processing import VisualCodebook
from processing.frames_videobert import count_clips


@pytest.fixture(scope="module")
def kept():
    rows = {split: Dataset.from_parquet(str(KEPT / f"{split}.parquet")) for split in KEPT_VIDEOS}
    return rows, {line["video_id"]: line for line in read_lines(KEPT / "truth.jsonl")}


def test_every_video_is_there_with_every_clip(kept):
    rows, truth = kept
    codebook = VisualCodebook.from_pretrained(KEPT / "codebook")
    for split, count in KEPT_VIDEOS.items():
        assert len(rows[split]) == count
        for row in rows[split]:
            assert row["error"] is None and row["has_speech"]
            assert len(row["visual_ids"]) == count_clips(truth[row["video_id"]]["duration"])
            assert all(0 <= i < codebook.config.codebook_size for i in row["visual_ids"])


def test_every_training_clip_is_counted_in_the_codebook(kept):
    """Rows and codebook belong together: the leaves count the clips of the training rows, and of no held-out video."""
    rows, _ = kept
    codebook = VisualCodebook.from_pretrained(KEPT / "codebook")
    found = [0] * codebook.config.codebook_size
    for row in rows["train"]:
        for i in row["visual_ids"]:
            found[i] += 1
    assert found == codebook.counts(codebook.config.levels - 1).tolist()


def test_held_out_pairs_are_never_seen_in_training(kept):
    rows, truth = kept
    seen = {
        split: {(step["verb"], step["object"]) for row in rows[split] for step in truth[row["video_id"]]["steps"]}
        for split in rows
    }
    assert not seen["train"] & HELD_OUT_PAIRS
    assert seen["test"] & HELD_OUT_PAIRS == HELD_OUT_PAIRS
    assert not set(rows["train"]["video_id"]) & set(rows["test"]["video_id"])


def test_recognised_speech_names_what_is_done(kept):
    """The rows hold what Whisper heard, which is nearly always what was said: 19 of 20 steps name their thing."""
    rows, truth = kept
    named = []
    for row in rows["test"]:
        words = " ".join(sentence["text"] for sentence in row["sentences"]).lower()
        named += [step["object"] in words for step in truth[row["video_id"]]["steps"]]
    assert sum(named) >= 0.95 * len(named)


def test_another_backbone_needs_from_scratch(tmp_path):
    """Kept ids mean nothing to features of another network; mixing them would be silent."""
    with pytest.raises(ValueError, match="--from_scratch"):
        prepare_kitchen(tmp_path, backbone="MCG-NJU/videomae-base")
