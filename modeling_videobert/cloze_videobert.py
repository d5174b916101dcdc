"""The cloze: the head that names hidden words and visual words, and its loss."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.utils.import_utils import is_tracing

from .configuration_videobert import VideoBertConfig

IGNORED = -100
# The cloze's two objectives, by the modality of what is hidden.
CLOZE_OBJECTIVES = ("text_cloze", "visual_cloze")
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


class FusedCrossEntropy(torch.autograd.Function):
    """Cross-entropy of a linear layer in chunks, so that no (N, V) logits are kept.

    The gradients are computed on the way forward, where the logits are at hand, and can be asked for once only.

    torch's `linear_cross_entropy` gives either the sum of all tokens' losses or, at twice the time, each token's. Here
    come both, because words and visual tokens are reported apart but share one pass.
    """

    @staticmethod
    def forward(ctx, hidden_states, weight, bias, target, scale):
        """The sum over tokens of `scale` · loss, and each token's loss, which has no gradient: (), (N,)."""
        losses = torch.empty(len(target), dtype=torch.float32, device=hidden_states.device)
        needed = ctx.needs_input_grad
        for_hidden = torch.empty_like(hidden_states) if needed[0] else None
        # Float32 whatever the inputs are: thousands of tokens added up in half of it lose digits.
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if needed[1] else None
        for_bias = torch.zeros_like(bias, dtype=torch.float32) if needed[2] else None
        # One piece of memory for all chunks: to ask for a fresh one costs as much as a pass over it.
        scores = hidden_states.new_empty(min(LOSS_CHUNK, len(target)), len(weight))
        for start in range(0, len(target), LOSS_CHUNK):
            here = slice(start, start + LOSS_CHUNK)
            chunk, answers = hidden_states[here], target[here]
            logits = torch.addmm(bias, chunk, weight.T, out=scores[: len(chunk)]).float()
            right, largest = logits.gather(1, answers[:, None])[:, 0], logits.amax(1)
            powers = logits.sub_(largest[:, None]).exp_()
            total = powers.sum(1)
            losses[here] = total.log() + largest - right
            if not any(needed):
                continue
            # Softmax is powers / total: dividing on the narrow side spares two passes over all scores.
            share, part = (scale[here] / total)[:, None], scale[here, None]
            narrow = powers.to(chunk.dtype)
            if for_hidden is not None:
                for_hidden[here] = (narrow @ weight) * share - part * weight[answers]
            if for_weight is not None:
                scaled = (chunk * share).to(chunk.dtype)
                if chunk.dtype == for_weight.dtype:
                    for_weight.addmm_(narrow.T, scaled)
                else:
                    for_weight += narrow.T @ scaled
                for_weight.index_add_(0, answers, (chunk * -part).float())
            if for_bias is not None:
                for_bias += (share.T @ powers)[0]
                for_bias.index_add_(0, answers, -scale[here])
        ctx.gradients, ctx.dtypes = [for_hidden, for_weight, for_bias], (weight.dtype, bias.dtype)
        ctx.mark_non_differentiable(losses)
        return (losses * scale).sum(), losses

    @staticmethod
    def backward(ctx, upstream, _):
        """The gradients of the sum, multiplied in place: they are as large as the vocabulary's matrix."""
        if ctx.gradients is None:
            raise RuntimeError(
                "The gradients of a sparse head can be asked for once only; set sparse_prediction=False."
            )
        (hidden, weight, bias), ctx.gradients = ctx.gradients, None
        parts = [part if part is None else part.mul_(upstream) for part in (hidden, weight, bias)]
        for place, dtype in enumerate(ctx.dtypes, start=1):
            parts[place] = parts[place] if parts[place] is None else parts[place].to(dtype)
        return *parts, None, None


def token_cross_entropy(
    hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, target: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of a linear layer over N tokens; no (N, V) logits are kept.

    Args:
        hidden_states (`torch.Tensor` of shape (N, H)):
            Inputs of the layer.
        weight (`torch.Tensor` of shape (V, H)):
            Its matrix.
        bias (`torch.Tensor` of shape (V,)):
            Its bias.
        target (`torch.Tensor` of shape (N,)):
            The right rows.
        scale (`torch.Tensor` of shape (N,)):
            The weight of each token in the sum.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: The weighted sum, a scalar that is 0 for N = 0, and the loss of each token
        (N,), which has no gradient.
    """
    if torch.compiler.is_compiling():
        # The compiler fuses the plain form itself, and would have to leave the graph for the other.
        losses = F.cross_entropy(F.linear(hidden_states, weight, bias).float(), target, reduction="none")
        return (losses * scale).sum(), losses.detach()
    device = hidden_states.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_states, weight, bias = hidden_states.to(dtype), weight.to(dtype), bias.to(dtype)
    # Each product inside has the precision that it needs.
    with torch.autocast(device, enabled=False):
        return FusedCrossEntropy.apply(hidden_states, weight, bias, target, scale)


class ClozeAnswers(NamedTuple):
    """What the cloze head makes of a batch.

    Args:
        logits (`torch.Tensor` of shape (B, L, V), *optional*):
            Scores, `None` where they are not all computed.
        total (`torch.Tensor`, scalar, *optional*):
            The loss summed over predicted tokens, each weighted by its modality; `None` without labels.
        objectives (`dict[str, tuple[torch.Tensor, torch.Tensor]]`):
            By modality, the summed loss and the number of predicted tokens, without weights and gradients.
        hits (`dict[str, torch.Tensor]`):
            By modality, how many tokens were named right; empty in training.
    """

    logits: torch.Tensor | None
    total: torch.Tensor | None
    objectives: dict[str, tuple[torch.Tensor, torch.Tensor]]
    hits: dict[str, torch.Tensor]


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

    def answer(self, hidden_states: torch.Tensor, labels: torch.Tensor | None = None) -> ClozeAnswers:
        """Scores and losses. In training with sparse prediction only predicted positions are computed.

        Args:
            hidden_states (`torch.Tensor` of shape (B, L, H)):
                The encoder's output.
            labels (`torch.Tensor` of shape (B, L), *optional*):
                Token ids, −100 where nothing is asked.

        Returns:
            [`ClozeAnswers`]

        Raises:
            ValueError: A label is no token, or labels and inputs differ in shape.
        """
        if labels is None:
            return ClozeAnswers(self(hidden_states), None, {}, {})
        check_labels("labels", labels, hidden_states.shape[:2], self.config.vocab_size)
        logits = None if self.training and self.config.sparse_prediction else self(hidden_states)
        total, objectives, hits = 0.0, {name: (0.0, 0) for name in CLOZE_OBJECTIVES}, {}
        for rows, names in self._parts():
            asked = (labels >= rows.start) & (labels < rows.stop)
            target = labels[asked]
            part, losses, right = self._judge(hidden_states, logits, asked, rows, target)
            total = total + part
            for name in names:
                here = (target >= self.config.visual_token_offset) == (name == "visual_cloze")
                objectives[name] = (losses * here).sum(), here.sum()
                if not self.training:
                    hits[name] = (right & here).sum()
        return ClozeAnswers(logits, total, objectives, hits)

    def count(self, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """How many words and how many visual tokens `labels` ask for."""
        visual = labels >= self.config.visual_token_offset
        return dict(zip(CLOZE_OBJECTIVES, ((labels != IGNORED).sum() - visual.sum(), visual.sum()), strict=True))

    def _parts(self) -> list[tuple[slice, tuple[str, ...]]]:
        """Rows of the vocabulary that compete with each other, and the objectives that ask for them."""
        offset, size = self.config.visual_token_offset, self.config.vocab_size
        if not self.config.predict_within_modality:
            # Each part costs a gradient as large as the vocabulary's matrix.
            return [(slice(0, size), CLOZE_OBJECTIVES)]
        return [(slice(0, offset), CLOZE_OBJECTIVES[:1]), (slice(offset, size), CLOZE_OBJECTIVES[1:])]

    def _judge(self, hidden_states, logits, asked, rows, target):
        """Weighted sum of the losses, the loss of each token, and, out of training, which are right."""
        config = self.config
        scale = torch.where(
            target >= config.visual_token_offset, float(config.visual_cloze_weight), float(config.text_cloze_weight)
        )
        target = target - rows.start
        if logits is None:
            predicted = self.transform(hidden_states[asked])
            weight, bias = self.decoder.weight[rows], self.decoder.bias[rows]
            return *token_cross_entropy(predicted, weight, bias, target, scale), None
        scores = logits[asked][:, rows].float()
        losses = F.cross_entropy(scores, target, reduction="none")
        right = None if self.training else scores.argmax(dim=1) == target
        return (losses * scale).sum(), losses.detach(), right
