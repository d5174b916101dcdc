"""The cloze: the head that names hidden words and visual words, and its loss."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.utils.import_utils import is_tracing

from .configuration_videobert import VideoBertConfig

IGNORED = -100
# Rows of logits that exist at a time in the fused loss: enough to keep the matrix product fast.
LOSS_CHUNK = 256


def check_ids(name: str, ids: torch.Tensor | None, size: int) -> None:
    """Raise `ValueError` unless all `ids` are in 0 … size − 1. Traced graphs keep no such check."""
    if ids is None or is_tracing(ids) or ids.is_meta or not ids.numel():
        return
    low, high = (bound.item() for bound in ids.aminmax())
    if low < 0 or high >= size:
        raise ValueError(f"{name} holds {low if low < 0 else high}; allowed are 0 … {size - 1}.")


def check_labels(name: str, labels: torch.Tensor, shape: torch.Size, size: int) -> None:
    """Raise `ValueError` unless `labels` have this shape and are in 0 … size − 1, or −100."""
    if labels.shape != shape:
        raise ValueError(f"{name} have the shape {tuple(labels.shape)}; allowed is {tuple(shape)}.")
    check_ids(name, labels.masked_fill(labels == IGNORED, 0), size)


def summed_cross_entropy(
    hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of a linear layer, summed over N tokens; where torch has a fused form, no (N, V) logits are kept.

    Args:
        hidden_states (`torch.Tensor` of shape (N, H)):
            Inputs of the layer.
        weight (`torch.Tensor` of shape (V, H)):
            Its matrix.
        bias (`torch.Tensor` of shape (V,)):
            Its bias.
        target (`torch.Tensor` of shape (N,)):
            The right rows.

    Returns:
        `torch.Tensor`: a scalar, 0 for N = 0.
    """
    if torch.compiler.is_compiling() or not hasattr(F, "linear_cross_entropy"):
        # The compiler fuses the plain form itself, and would have to leave the graph for the other.
        return F.cross_entropy(F.linear(hidden_states, weight, bias).float(), target, reduction="sum")
    device = hidden_states.device.type
    if torch.is_autocast_enabled(device):
        # Autocast does not know the fused operation.
        dtype = torch.get_autocast_dtype(device)
        hidden_states, weight, bias = hidden_states.to(dtype), weight.to(dtype), bias.to(dtype)
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=LOSS_CHUNK, chunking_method=None)
    # The operation sums in its own precision: thousands of tokens in half of it lose digits, or overflow.
    exact = hidden_states.dtype == torch.float32
    loss = F.linear_cross_entropy(
        hidden_states, weight, target, linear_bias=bias, reduction="sum" if exact else "none", options=options
    )
    return loss if exact else loss.float().sum()


class VideoBertClozeHead(nn.Module):
    """A feed-forward layer, then one score for each row of the joint vocabulary (paper, section 3.2).

    Args:
        config ([`VideoBertConfig`]):
            Sizes, vocabulary and the weights of the two modalities.
    """

    def __init__(self, config: VideoBertConfig):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def transform(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The feed-forward layer: (…, H) to (…, H)."""
        return self.LayerNorm(self.activation(self.dense(hidden_states)))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Scores of all rows: (…, H) to (…, V)."""
        return self.decoder(self.transform(hidden_states))

    def logits_and_loss(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """
        What a model with this head returns. In training with sparse prediction only predicted positions are computed.

        Args:
            hidden_states (`torch.Tensor` of shape (B, L, H)):
                The encoder's output.
            labels (`torch.Tensor` of shape (B, L), *optional*):
                Token ids, −100 where nothing is asked.
            num_items_in_batch (`int`, *optional*):
                Predicted tokens in all micro-batches of this step.

        Returns:
            `tuple`: logits (B, L, V), or `None` where they are not all computed, and the loss: the mean over predicted
            tokens, each weighted by its modality, 0 if nothing is asked; `None` without labels.

        Raises:
            ValueError: A label is no token, or labels and inputs differ in shape.
        """
        if labels is None:
            return self(hidden_states), None
        check_labels("labels", labels, hidden_states.shape[:2], self.config.vocab_size)
        logits = None if self.training and self.config.sparse_prediction else self(hidden_states)
        if num_items_in_batch is None:
            num_items_in_batch = (labels != IGNORED).sum().clamp_min(1)
        return logits, self._summed_loss(hidden_states, labels, logits) / num_items_in_batch

    def _summed_loss(self, hidden_states, labels, logits):
        config, total = self.config, 0.0
        parts = [
            (0, config.visual_token_offset, config.text_cloze_weight),
            (config.visual_token_offset, config.vocab_size, config.visual_cloze_weight),
        ]
        if not config.predict_within_modality and config.text_cloze_weight == config.visual_cloze_weight:
            # Each part costs a gradient as large as the vocabulary's matrix, and nothing tells them apart here.
            parts = [(0, config.vocab_size, config.text_cloze_weight)]
        for start, stop, weight in parts:
            asked = (labels >= start) & (labels < stop)
            rows = slice(start, stop) if config.predict_within_modality else slice(0, config.vocab_size)
            target = labels[asked] - rows.start
            if logits is None:
                predicted = self.transform(hidden_states[asked])
                part = summed_cross_entropy(predicted, self.decoder.weight[rows], self.decoder.bias[rows], target)
            else:
                part = F.cross_entropy(logits[asked][:, rows].float(), target, reduction="sum")
            total = total + weight * part
        return total
