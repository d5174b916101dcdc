"""A whole VideoBERT on disk, small enough for tests: model, processor and codebook, for real files."""

import torch

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook.fitting import fit_codebook

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_videobert(folder, text_model, backbone):
    """With random weights, of a text model and of a backbone whose features are 16 wide, as the tiny ones are."""
    features = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, levels=1, branches=8, progress=False)
    processor = VideoBertProcessor.from_models(text_model, backbone=backbone, codebook=codebook)
    processor.save_pretrained(folder)
    torch.manual_seed(0)
    vocabulary = {"text_vocab_size": processor.visual_token_offset, "codebook_size": codebook.codebook_size}
    config = VideoBertConfig(**SIZES, **vocabulary, max_position_embeddings=64)
    VideoBertForPreTraining(config).save_pretrained(folder)
    return folder
