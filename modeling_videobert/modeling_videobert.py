"""
VideoBERT: one BERT over words and visual words (Sun et al., "VideoBERT", ICCV 2019).

The layers are transformers' own BERT layers, so attention kernels, gradient checkpointing and text checkpoints work as
they do there. Added are the joint vocabulary, the two objectives, packed rows, and a vocabulary head that computes
only what the loss asks for.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertModel
from transformers.masking_utils import create_bidirectional_mask, packed_sequence_mask_function
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndCrossAttentions,
    MaskedLMOutput,
    SequenceClassifierOutput,
)
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .cloze_videobert import CLOZE_OBJECTIVES, IGNORED, VideoBertClozeHead, check_ids, check_labels
from .configuration_videobert import VideoBertConfig
from .pretrained_videobert import VideoBertPreTrainedModel

VISION = 1


@dataclass
class VideoBertForPreTrainingOutput(ModelOutput):
    """Output of [`VideoBertForPreTraining`].

    Args:
        loss (`torch.Tensor`, scalar, *optional*):
            `cloze_loss + alignment_weight · alignment_loss`, as far as asked.
        cloze_loss (`torch.Tensor`, scalar, *optional*):
            Mean over predicted tokens, weighted by modality.
        alignment_loss (`torch.Tensor`, scalar, *optional*):
            Mean cross-entropy over the examples that were asked.
        logits (`torch.Tensor` of shape (B, L, vocab_size), *optional*):
            `None` in training with sparse prediction.
        alignment_logits (`torch.Tensor` of shape (B, 2)):
            Column 1 for "belong together".
        objectives (`dict[str, tuple[torch.Tensor, torch.Tensor]]`, *optional*):
            By name (`text_cloze`, `visual_cloze`, `alignment`; those that have labels) the loss summed over what this
            call was asked, and how much that was. Without weights and gradients: what is learned from is `loss`.
        objective_hits (`dict[str, torch.Tensor]`, *optional*):
            By name how many answers were right; `None` in training, where not all scores are computed.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            One (B, L, H) a layer and the embeddings, if asked for.
        attentions (`tuple(torch.Tensor)`, *optional*):
            One (B, heads, L, L) a layer, if asked for.
    """

    loss: torch.Tensor | None = None
    cloze_loss: torch.Tensor | None = None
    alignment_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    alignment_logits: torch.Tensor | None = None
    objectives: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = None
    objective_hits: dict[str, torch.Tensor] | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


def positions_in_sequence(sequence_ids: torch.Tensor) -> torch.Tensor:
    """Number the tokens of each packed example from 0.

    Args:
        sequence_ids (`torch.Tensor` of shape (B, L)):
            Equal within an example, different between neighbours.

    Returns:
        `torch.Tensor` of shape (B, L): 0, 1, 2 … from each change on.
    """
    index = torch.arange(sequence_ids.shape[1], device=sequence_ids.device).expand_as(sequence_ids)
    starts = F.pad(sequence_ids[:, 1:] != sequence_ids[:, :-1], (1, 0), value=True)
    return index - torch.where(starts, index, 0).cummax(dim=1).values


def _first_tokens(sequence_ids: torch.Tensor) -> torch.Tensor:
    """Where each packed example begins: (B, L)."""
    return (positions_in_sequence(sequence_ids) == 0) & (sequence_ids > 0)


def _at_least_one(count: torch.Tensor | int) -> torch.Tensor | int:
    """A divisor: where nothing is asked the loss is 0, not NaN."""
    return count.clamp_min(1) if isinstance(count, torch.Tensor) else max(1, count)


class VideoBertModel(VideoBertPreTrainedModel, BertModel):
    """The encoder over the joint sequence `[CLS] w1 … wn [>] v1 … vm [SEP]` (paper, section 3.2).

    Args:
        config ([`VideoBertConfig`]):
            Sizes and vocabulary.
        add_pooling_layer (`bool`, *optional*, defaults to `True`):
            Whether there is a `pooler_output`.
    """

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        sequence_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor] | BaseModelOutputWithPoolingAndCrossAttentions:
        """
        Args:
            input_ids (`torch.LongTensor` of shape (B, L)):
                Ids of the joint vocabulary.
            attention_mask (`torch.Tensor` of shape (B, L), *optional*):
                0 on padding.
            token_type_ids (`torch.LongTensor` of shape (B, L), *optional*):
                0 language, 1 vision. If not given, visual tokens are vision; a `[MASK]` in the place of one must be
                told, and so must everything with `inputs_embeds`, where all are 0.
            position_ids (`torch.LongTensor` of shape (B, L), *optional*):
                0 … L − 1 if not given.
            inputs_embeds (`torch.Tensor` of shape (B, L, H), *optional*):
                Instead of `input_ids`.
            sequence_ids (`torch.LongTensor` of shape (B, L), *optional*):
                For rows that pack several examples: 1, 2, … for the tokens of the first, second, … example of the row
                and 0 on padding. Examples do not see each other, and positions restart with each.

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutputWithPoolingAndCrossAttentions`]: `last_hidden_state`
            (B, L, H) and `pooler_output` (B, H), that of the row's first token.

        Raises:
            ValueError: An empty batch, ids out of range, more positions than the model has, or `attention_mask`
                beside `sequence_ids`.
        """
        if sequence_ids is not None:
            if attention_mask is not None:
                raise ValueError(
                    "Both attention_mask and sequence_ids are given; allowed is one, sequence_ids have 0 on padding."
                )
            attention_mask = self._packed_mask(sequence_ids)
            position_ids = positions_in_sequence(sequence_ids) if position_ids is None else position_ids
        if token_type_ids is None and input_ids is not None:
            token_type_ids = self.token_types(input_ids)
        self._check_inputs(input_ids, token_type_ids, position_ids, inputs_embeds)
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )

    def _check_inputs(self, input_ids, token_type_ids, position_ids, inputs_embeds):
        inputs = input_ids if input_ids is not None else inputs_embeds
        if inputs is None:
            return  # BertModel says what is missing
        if 0 in inputs.shape:
            raise ValueError(
                f"The batch is empty: its shape is {tuple(inputs.shape)}; allowed is at least 1 in each place."
            )
        places = self.config.max_position_embeddings
        if position_ids is None and inputs.shape[1] > places:
            raise ValueError(
                f"The sequence has {inputs.shape[1]} tokens; allowed are {places} (max_position_embeddings)."
            )
        check_ids("input_ids", input_ids, self.config.vocab_size)
        check_ids("token_type_ids", token_type_ids, self.config.type_vocab_size)
        check_ids("position_ids", position_ids, places)

    def _packed_mask(self, sequence_ids: torch.Tensor) -> torch.Tensor | None:
        """Who sees whom in packed rows, in the form that the chosen attention wants."""
        if "flash" in self.config._attn_implementation:
            if len(sequence_ids) > 1:
                raise ValueError(
                    f"Flash attention got {len(sequence_ids)} packed rows; allowed is 1 that holds all examples."
                )
            # It reads the limits from the restarting positions; padding is an example of its own.
            return None
        like = torch.empty(*sequence_ids.shape, 1, dtype=self.dtype, device=sequence_ids.device)
        return create_bidirectional_mask(
            config=self.config,
            inputs_embeds=like,
            attention_mask=None,
            and_mask_function=packed_sequence_mask_function(sequence_ids),
        )


class VideoBertForPreTraining(VideoBertPreTrainedModel):
    """
    VideoBERT with its two objectives: the cloze over words and visual words, and linguistic-visual alignment from
    `[CLS]` (paper, section 3.2).

    Args:
        config ([`VideoBertConfig`]):
            Sizes, vocabulary and loss weights.
    """

    _tied_weights_keys = {"cloze_head.decoder.weight": "videobert.embeddings.word_embeddings.weight"}
    # transformers' Trainer counts predicted tokens but not pairs; it shall average its micro-batches. A loop of one's
    # own counts with `count_objectives`.
    accepts_loss_kwargs = False

    def __init__(self, config: VideoBertConfig):
        super().__init__(config)
        self.videobert = VideoBertModel(config)
        self.cloze_head = VideoBertClozeHead(config)
        self.alignment_head = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def get_output_embeddings(self):
        return self.cloze_head.decoder

    def set_output_embeddings(self, new_embeddings):
        self.cloze_head.decoder = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        sequence_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        alignment_labels: torch.LongTensor | None = None,
        objective_counts: dict[str, torch.Tensor | int] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor] | VideoBertForPreTrainingOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, sequence_ids:
                As in [`VideoBertModel.forward`].
            labels (`torch.LongTensor` of shape (B, L), *optional*):
                Hidden token ids, −100 where nothing is asked.
            alignment_labels (`torch.LongTensor` of shape (B,), *optional*):
                1 text and video belong together, 0 they do not, −100 not asked. For packed rows (B, L): the label at
                each example's first token.
            objective_counts (`dict[str, torch.Tensor]`, *optional*):
                What [`~VideoBertForPreTraining.count_objectives`] counts in all micro-batches of this step together,
                so that their sum divides right; what this call is asked if not given.

        Returns:
            [`VideoBertForPreTrainingOutput`]: With packed rows, `alignment_logits` has one line for each example.
        """
        outputs = self.videobert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            sequence_ids=sequence_ids,
            **kwargs,
        )
        hidden_states, pooled = outputs.last_hidden_state, outputs.pooler_output
        labels, alignment_labels = self._asked(labels, alignment_labels, input_ids, sequence_ids)
        if sequence_ids is not None:
            first = _first_tokens(sequence_ids)
            pooled = self.videobert.pooler(hidden_states[first].unsqueeze(1))
        alignment_logits = self.alignment_head(pooled)

        cloze = self.cloze_head.answer(hidden_states, labels)
        objectives, hits = dict(cloze.objectives), dict(cloze.hits)
        if alignment_labels is not None:
            alignment_total = self._summed_alignment(alignment_logits, alignment_labels)
            objectives["alignment"] = alignment_total.detach(), (alignment_labels != IGNORED).sum()
            hits["alignment"] = (alignment_logits.argmax(dim=-1) == alignment_labels).sum()
        counts = objective_counts or {name: count for name, (_, count) in objectives.items()}
        loss = cloze_loss = alignment_loss = None
        if cloze.total is not None:
            # Every predicted token weighs the same, whichever modality it is of: one mean over both.
            loss = cloze_loss = cloze.total / _at_least_one(sum(counts[name] for name in CLOZE_OBJECTIVES))
        if alignment_labels is not None:
            alignment_loss = alignment_total / _at_least_one(counts["alignment"])
            weighted = self.config.alignment_weight * alignment_loss
            loss = weighted if loss is None else loss + weighted
        return VideoBertForPreTrainingOutput(
            loss=loss,
            cloze_loss=cloze_loss,
            alignment_loss=alignment_loss,
            logits=cloze.logits,
            alignment_logits=alignment_logits,
            objectives=objectives or None,
            objective_hits=None if self.training else hits or None,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def count_objectives(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Count what a batch asks, without computing anything on it.

        Args:
            batch (`dict[str, torch.Tensor]`):
                Arguments of `forward`.

        Returns:
            `dict[str, torch.Tensor]`: By name of the objective, for those that have labels.
        """
        names = ("labels", "alignment_labels", "input_ids", "sequence_ids")
        labels, alignment_labels = self._asked(*(batch.get(name) for name in names))
        counts = {} if labels is None else self.cloze_head.count(labels)
        if alignment_labels is not None:
            counts["alignment"] = (alignment_labels != IGNORED).sum()
        return counts

    def _asked(self, labels, alignment_labels, input_ids, sequence_ids):
        """The labels that count: no cloze in joint examples where it is off, one alignment label an example."""
        if labels is not None and not self.config.joint_cloze:
            labels = self._without_joint_examples(labels, input_ids, sequence_ids)
        if alignment_labels is not None and sequence_ids is not None:
            alignment_labels = alignment_labels[_first_tokens(sequence_ids)]
        return labels, alignment_labels

    def _summed_alignment(self, logits, labels):
        check_labels("alignment_labels", labels, logits.shape[:1], 2)
        return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")

    def _without_joint_examples(self, labels, input_ids, sequence_ids):
        """Ask nothing in examples that hold the join token."""
        if input_ids is None:
            raise ValueError(
                "joint_cloze is False, so input_ids must show which examples hold [>]; got inputs_embeds."
            )
        join = input_ids == self.config.join_token_id
        if sequence_ids is None:
            joint = join.any(dim=1, keepdim=True)
        else:
            joint = ((sequence_ids[:, :, None] == sequence_ids[:, None, :]) & join[:, None, :]).any(dim=2)
        return labels.masked_fill(joint, IGNORED)


class VideoBertForMaskedLM(VideoBertPreTrainedModel):
    """VideoBERT with the cloze alone: names hidden words and visual words.

    Args:
        config ([`VideoBertConfig`]):
            Sizes and vocabulary.
    """

    _tied_weights_keys = {"cloze_head.decoder.weight": "videobert.embeddings.word_embeddings.weight"}

    def __init__(self, config: VideoBertConfig):
        super().__init__(config)
        self.videobert = VideoBertModel(config, add_pooling_layer=False)
        self.cloze_head = VideoBertClozeHead(config)
        self.post_init()

    def get_output_embeddings(self):
        return self.cloze_head.decoder

    def set_output_embeddings(self, new_embeddings):
        self.cloze_head.decoder = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        sequence_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor] | MaskedLMOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, sequence_ids:
                As in [`VideoBertModel.forward`].
            labels (`torch.LongTensor` of shape (B, L), *optional*):
                As in [`VideoBertForPreTraining.forward`].
            num_items_in_batch (`int`, *optional*):
                Predicted tokens in all micro-batches of this step, so that their sum divides right, as transformers'
                Trainer counts them; those of this call if not given.

        Returns:
            [`~transformers.modeling_outputs.MaskedLMOutput`]: `loss` and `logits` (B, L, vocab_size), which are `None`
            in training with sparse prediction.
        """
        outputs = self.videobert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            sequence_ids=sequence_ids,
            **kwargs,
        )
        cloze, loss = self.cloze_head.answer(outputs.last_hidden_state, labels), None
        if labels is not None:
            count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            loss = cloze.total / _at_least_one(count)
        return MaskedLMOutput(
            loss=loss, logits=cloze.logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class VideoBertForVideoClassification(VideoBertPreTrainedModel):
    """VideoBERT that names the action: a linear layer over the `[CLS]` output beside the mean of the visual outputs.

    Args:
        config ([`VideoBertConfig`]):
            Sizes, vocabulary, `num_labels` or `id2label`, `classifier_dropout`.
    """

    # The loss is a mean over examples: without this, transformers' Trainer forgets to divide it among micro-batches.
    accepts_loss_kwargs = False

    def __init__(self, config: VideoBertConfig):
        super().__init__(config)
        self.videobert = VideoBertModel(config, add_pooling_layer=False)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor] | SequenceClassifierOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds:
                As in [`VideoBertModel.forward`].
            labels (`torch.Tensor` of shape (B,), *optional*):
                The actions' numbers, or whatever `config.problem_type` asks for.

        Returns:
            [`~transformers.modeling_outputs.SequenceClassifierOutput`]: `loss` and `logits` (B, num_labels). A
            sequence without vision has the zero vector for the mean.

        Raises:
            ValueError: Packed rows, which hold several examples.
        """
        if kwargs.get("sequence_ids") is not None:
            raise ValueError("sequence_ids are given; a row to classify holds one example, allowed is attention_mask.")
        if token_type_ids is None and input_ids is not None:
            token_type_ids = self.token_types(input_ids)
        outputs = self.videobert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        vision = self._vision(hidden_states, attention_mask, token_type_ids)
        mean = (hidden_states * vision).sum(dim=1) / vision.sum(dim=1).clamp_min(1)
        logits = self.classifier(self.dropout(torch.cat([hidden_states[:, 0], mean], dim=-1)))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def _vision(self, hidden_states, attention_mask, token_type_ids):
        """1 on visual tokens, 0 on words and padding: (B, L, 1)."""
        if token_type_ids is None:
            return hidden_states.new_zeros(*hidden_states.shape[:2], 1)
        vision = token_type_ids == VISION
        if attention_mask is not None:
            vision = vision & attention_mask.bool()
        return vision.unsqueeze(-1).to(hidden_states.dtype)


__all__ = [
    "VideoBertForMaskedLM",
    "VideoBertForPreTraining",
    "VideoBertForPreTrainingOutput",
    "VideoBertForVideoClassification",
    "VideoBertModel",
    "VideoBertPreTrainedModel",
]
