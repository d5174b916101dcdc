"""A pretraining run small enough for tests: rows, truth, processor and a text BERT on disk, and a model in memory."""

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from support.tiny_rows import (
    CODEBOOK_SIZE,
    OFFSET,
    cooking_rows,
    cooking_truth,
    row,
    save_rows,
    save_truth,
    tiny_processor,
    tiny_text_tokenizer,
)
from transformers import BertConfig, BertForPreTraining

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


def forget_accelerator():
    """Accelerate keeps its state for the whole process; each run gets its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def fresh_accelerator():
    forget_accelerator()
    yield
    forget_accelerator()


def tiny_model(**options):
    torch.manual_seed(0)
    config = VideoBertConfig(**SIZES, text_vocab_size=OFFSET, codebook_size=CODEBOOK_SIZE, **options)
    return VideoBertForPreTraining(config)


def save_text_model(folder, vocab_size=OFFSET, **options):
    """A text BERT with its tokenizer."""
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(vocab_size=vocab_size, **(SIZES | options))).save_pretrained(folder)
    tiny_text_tokenizer().save_pretrained(folder)


def save_source(folder, videos=12, **options):
    """What pretrain.py learns from, as its options; `options` go to the text BERT."""
    folder.mkdir(parents=True, exist_ok=True)
    save_text_model(folder / "bert", **options)
    processor = tiny_processor()
    processor.save_pretrained(folder / "processor")
    rows = [*cooking_rows(videos), row("broken", [], 0, error="broken.mp4: truncated")]
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in rows]
    names = {
        "corpus": save_rows(rows, folder),
        "truth": save_truth(cooking_truth(rows), folder),
        "processor": folder / "processor",
        "text_model": folder / "bert",
    }
    # Small in everything, so that the defaults of the paper do not matter; 10 videos to train on give 40 examples.
    small = ["--report_to=none", "--max_length=64", "--batch_size=8", "--learning_rate=1e-3"]
    return [*(f"--{name}={path}" for name, path in names.items()), *small]


@pytest.fixture
def source(tmp_path, fresh_accelerator):
    return save_source(tmp_path)
