"""Networks, text models and videos small enough for tests of the processor."""

import subprocess

import pytest
import torch
from transformers import (
    BertTokenizer,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
)

WORDS = "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] now cut the lemon let me show you how to ##s".split()


def text_tokenizer():
    return BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
    """A video network of transformers with random weights, a few milliseconds a clip."""
    return save_tiny_backbone(tmp_path_factory.mktemp("backbone"))


def save_tiny_backbone(folder):
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=4,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    VideoMAEModel(config).save_pretrained(folder)
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_text_model(tmp_path_factory):
    return save_tiny_text_model(tmp_path_factory.mktemp("text_model"))


def save_tiny_text_model(folder):
    text_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return str(folder)


@pytest.fixture(scope="session")
def silent_video(tmp_path_factory):
    """4.6 s at 25 fps without sound: three clips, the last of them kept since more than half of it is there."""
    path = tmp_path_factory.mktemp("videos") / "silent.mp4"
    make_video(path, "testsrc=s=64x48:r=25:d=4.6")
    return path


def make_video(path, *inputs):
    given = [word for source in inputs for word in ("-f", "lavfi", "-i", source)]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *given, "-shortest", str(path)], check=True)
