"""A folder in which what the documents show can be tried: its names are theirs, with tiny models and videos behind."""

import json
import shutil
import sys
from pathlib import Path

import datasets
import pytest
import torch
from support.tiny_processor import make_video
from support.tiny_rows import OFFSET, cooking_rows, cooking_truth, save_truth, tiny_text_tokenizer

from modeling_videobert import VideoBertConfig, VideoBertForCaptioning, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook.fitting import fit_codebook

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "hooks"))
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
FEATURE_SIZE = 16  # of the tiny backbone


@pytest.fixture(scope="session")
def tiny_kitchen(tmp_path_factory, tiny_backbone):
    """A model folder as `make demo` leaves it, with random weights: model, processor, codebook, rows, truth."""
    folder = tmp_path_factory.mktemp("kitchen")
    tiny_text_tokenizer().save_pretrained(folder / "words")
    (folder / "words" / "config.json").write_text('{"model_type": "bert"}')
    features = torch.randn(256, FEATURE_SIZE, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, levels=2, branches=8, progress=False)
    processor = VideoBertProcessor.from_models(str(folder / "words"), backbone=tiny_backbone, codebook=codebook)
    processor.save_pretrained(folder)
    torch.manual_seed(0)
    vocabulary = {"text_vocab_size": OFFSET, "codebook_size": codebook.codebook_size}
    VideoBertForPreTraining(VideoBertConfig(**SIZES, **vocabulary, max_position_embeddings=96)).save_pretrained(folder)
    rows = [one | {"codebook": codebook.fingerprint} for one in cooking_rows(12)]
    (folder / "rows").mkdir()
    for name, part in (("train", rows[:8]), ("held_out", rows[8:])):
        datasets.Dataset.from_list(part).to_parquet(folder / "rows" / f"{name}.parquet")
    save_truth(cooking_truth(rows), folder / "rows")
    (folder / "all_results.json").write_text(json.dumps({}))
    return folder


@pytest.fixture(scope="session")
def playground(tmp_path_factory, tiny_kitchen):
    """Where the commands and the Python of the documents run."""
    folder = tmp_path_factory.mktemp("playground")
    for name in ("examples", "benchmarks", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    runs = folder / "runs"
    for name in ("kitchen", "kitchen_forecast", "mine", "captioner"):
        shutil.copytree(tiny_kitchen, runs / name)
    save_captioner(runs / "captioner")
    save_corpus(runs / "corpus", tiny_kitchen)
    (folder / "my_videos").mkdir()
    for name in ("film.mp4", "video.mp4", "my_videos/soup.mp4"):
        make_video(folder / name, "testsrc=s=64x48:r=10:d=15")
    (folder / "my_videos" / "broken.mp4").write_bytes(b"no video")
    return folder


def save_captioner(folder):
    """In the place of the model that lies there."""
    videobert = VideoBertForPreTraining.from_pretrained(folder)
    tokenizer = VideoBertProcessor.from_pretrained(folder).tokenizer
    VideoBertForCaptioning.from_videobert(videobert, tokenizer, decoder_layers=1).save_pretrained(folder)


def save_corpus(folder, kitchen):
    """As `build_corpus.py` leaves it."""
    rows = datasets.load_dataset("parquet", data_files=str(kitchen / "rows" / "train.parquet"), split="train")
    rows.save_to_disk(folder / "rows")
    VideoBertProcessor.from_pretrained(kitchen).save_pretrained(folder / "processor")
