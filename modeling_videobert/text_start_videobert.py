"""From a text BERT to the weights of a VideoBERT (paper, section 4.3)."""

import torch
from transformers import BertConfig, BertForPreTraining, PreTrainedModel

# What a text checkpoint's configuration decides.
TEXT_FIELDS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
)
# The projection of centroids must be the same wherever and whenever a run starts.
PROJECTION_SEED = 0


def text_fields(config: BertConfig) -> dict:
    """The part of a BERT's configuration that its VideoBERT shares."""
    return {name: getattr(config, name) for name in TEXT_FIELDS}


def visual_rows(centroids: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Embeddings of the visual tokens from their clusters' centroids.

    The geometry of the centroids stays: they are only centred, turned by a fixed random projection where the sizes
    differ, and scaled to the size of a word.

    Args:
        centroids (`torch.Tensor` of shape (N, D)):
            One for each visual id.
        words (`torch.Tensor` of shape (V, H)):
            The word embeddings.

    Returns:
        `torch.Tensor` of shape (N, H): float32, mean norm that of `words`.

    Raises:
        ValueError: `centroids` is no matrix of finite numbers.
    """
    centroids = torch.as_tensor(centroids, dtype=torch.float32, device="cpu")
    if centroids.dim() != 2 or not centroids.isfinite().all():
        raise ValueError(
            f"centroids have the shape {tuple(centroids.shape)} and {int((~centroids.isfinite()).sum())} numbers that "
            "are not finite; allowed is a matrix (codebook_size, D) of finite numbers."
        )
    size, hidden_size = centroids.shape[1], words.shape[1]
    rows = centroids - centroids.mean(dim=0)
    if size != hidden_size:
        generator = torch.Generator().manual_seed(PROJECTION_SEED)
        gaussian = torch.randn(max(size, hidden_size), min(size, hidden_size), generator=generator)
        basis = torch.linalg.qr(gaussian).Q
        rows = rows @ (basis if size > hidden_size else basis.T)
    norm = rows.norm(dim=1).mean().clamp_min(1e-6)
    return rows * (words.norm(dim=1).mean() / norm)


@torch.no_grad()
def copy_text_weights(model: PreTrainedModel, source: BertForPreTraining, rows: torch.Tensor) -> None:
    """Fill a VideoBERT, with any head or none, from a text BERT.

    Args:
        model (`PreTrainedModel`):
            Filled in place; what the source does not have keeps its values.
        source (`BertForPreTraining`):
            The text BERT.
        rows (`torch.Tensor` of shape (codebook_size, H)):
            Embeddings of the visual tokens.
    """
    base, text = model.base_model, source.bert
    num_words, offset = model.config.text_vocab_size, model.config.visual_token_offset
    table = base.embeddings.word_embeddings.weight
    table[:num_words] = text.embeddings.word_embeddings.weight
    table[offset : offset + len(rows)] = rows
    for name in ("position_embeddings", "token_type_embeddings", "LayerNorm"):
        base.embeddings.get_submodule(name).load_state_dict(text.embeddings.get_submodule(name).state_dict())
    base.encoder.load_state_dict(text.encoder.state_dict())
    if base.pooler is not None:
        base.pooler.load_state_dict(text.pooler.state_dict())
    head, words = getattr(model, "cloze_head", None), source.cls.predictions
    if head is not None:
        head.dense.load_state_dict(words.transform.dense.state_dict())
        head.LayerNorm.load_state_dict(words.transform.LayerNorm.state_dict())
        head.decoder.weight.copy_(table)
        head.decoder.bias[:num_words] = words.bias
