"""What the first user of an installed package does: make a tiny VideoBERT, save it, open it by the Auto classes, ask.

    python first_use.py    # in an environment that has the package, and outside the repository

Prints what answered; any mistake is a traceback. `installs.py` runs it in an environment of each Python.
"""

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoProcessor, BertTokenizer, pipeline

import modeling_videobert
import processing
import processing.corpus
import processing.evaluation
import processing.model_card
import processing.search
import processing.training_data
from processing.codebook import fit_codebook

WORDS = "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] now cut the lemon".split()
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def check_home() -> None:
    """Both packages are the installed ones, of one version."""
    installed = Path(sys.prefix).resolve()
    for package in (modeling_videobert, processing):
        assert Path(package.__file__).resolve().is_relative_to(installed), f"{package.__file__} was imported"
        assert package.__version__ == version("videobert"), f"{package.__name__} is {package.__version__}"


def save_tiny(folder: Path) -> None:
    """A model and its processor with random weights."""
    text_model = folder / "text_model"
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(text_model)
    (text_model / "config.json").write_text('{"model_type": "bert"}')
    features = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, levels=1, branches=8, progress=False)
    processor = processing.VideoBertProcessor.from_models(text_model, codebook=codebook)
    processor.save_pretrained(folder)
    vocabulary = {"text_vocab_size": processor.visual_token_offset, "codebook_size": codebook.codebook_size}
    config = modeling_videobert.VideoBertConfig(**SIZES, **vocabulary, max_position_embeddings=64)
    torch.manual_seed(0)
    modeling_videobert.VideoBertForPreTraining(config).save_pretrained(folder)


def ask_tiny(folder: Path) -> str:
    """What it fills into a sentence with and without visual tokens."""
    assert AutoConfig.from_pretrained(folder).codebook_size == 8
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(text="now cut the [MASK]")
    hidden = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
    assert hidden.shape == (1, 6, 16) and hidden.isfinite().all()
    model = AutoModelForMaskedLM.from_pretrained(folder)
    fill = pipeline("fill-mask", model=model, tokenizer=processor.tokenizer, device="cpu")
    return ", ".join(answer["token_str"] for answer in fill("cut the [MASK] [>] <v_00003> <v_00005>", top_k=3))


if __name__ == "__main__":
    check_home()
    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder))
        answers = ask_tiny(Path(folder))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}; [MASK] may be {answers}")
