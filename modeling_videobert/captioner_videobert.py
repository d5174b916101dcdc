"""Captions (paper, section 4.5): transformers' encoder-decoder with VideoBERT as its encoder.

A class of our own, because transformers' own cannot build a VideoBERT where our package is not imported: this file
travels with a captioner and brings both halves.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertLMHeadModel, EncoderDecoderConfig, EncoderDecoderModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .cloze_videobert import IGNORED, token_cross_entropy
from .configuration_videobert import PipelinesMixin, VideoBertConfig
from .modeling_videobert import VideoBertModel
from .text_start_videobert import text_fields

AUTO_MAP = {
    "AutoConfig": "captioner_videobert.VideoBertCaptionerConfig",
    "AutoModel": "captioner_videobert.VideoBertForCaptioning",
    "AutoModelForSeq2SeqLM": "captioner_videobert.VideoBertForCaptioning",
}
# How captions are written unless a call says otherwise.
GENERATION = {"max_length": 40, "num_beams": 4, "length_penalty": 1.0}


@strict
class VideoBertCaptionerConfig(PipelinesMixin, EncoderDecoderConfig):
    """
    Configuration of [`VideoBertForCaptioning`].

    Args:
        encoder ([`VideoBertConfig`] or `dict`):
            Of the VideoBERT that sees the video.
        decoder ([`~transformers.BertConfig`] or `dict`):
            Of the BERT that writes. Its vocabulary is the words, without visual tokens.
        freeze_encoder (`bool`, defaults to `True`):
            Whether the VideoBERT stays as it is, as in the paper, which takes features from it. It then has no dropout
            in training either.
        feature_size (`int`, *optional*):
            If given, the decoder does not read the encoder's outputs but one vector of this size a video: see
            `features` of [`VideoBertForCaptioning.forward`].
    """

    model_type = "videobert-captioner"

    freeze_encoder: bool = True
    feature_size: int | None = None

    def __post_init__(self, **kwargs):
        # By class and not by name: no registry knows ours in a process without the package.
        self.encoder = _configured(VideoBertConfig, self.encoder)
        self.decoder = _configured(BertConfig, self.decoder, is_decoder=True, add_cross_attention=True)
        # The folder's own map and pipelines are the captioner's.
        self.encoder.auto_map = None
        kwargs.setdefault("auto_map", dict(AUTO_MAP))
        super().__post_init__(**kwargs)


def _configured(config_class, config, **fields):
    """A half of the configuration from what a caller or a file gives, without the place where it came from."""
    given = {} if config is None else dict(config) if isinstance(config, dict) else config.to_dict()
    given.pop("_name_or_path", None)
    return config_class(**(given | fields))


class VideoBertForCaptioning(EncoderDecoderModel):
    """
    A VideoBERT that sees the visual tokens of a video, and a BERT decoder that puts them in words.

    Args:
        config ([`VideoBertCaptionerConfig`]):
            Of both halves. [`VideoBertForCaptioning.from_videobert`] makes a captioner out of a VideoBERT.
    """

    config_class = VideoBertCaptionerConfig
    # The loss is a mean over all words of a step, however it is cut into micro-batches.
    accepts_loss_kwargs = True

    def __init__(self, config: VideoBertCaptionerConfig):
        encoder, decoder = VideoBertModel(config.encoder, add_pooling_layer=False), BertLMHeadModel(config.decoder)
        super().__init__(config, encoder, decoder)
        if config.feature_size is not None:
            self.feature_projection = nn.Linear(config.feature_size, config.encoder.hidden_size)

    @classmethod
    def from_videobert(
        cls, videobert, tokenizer, decoder_layers: int = 2, **config_kwargs
    ) -> "VideoBertForCaptioning":
        """Make a captioner out of a VideoBERT. Both halves start from it, for it is a text BERT too.

        The decoder takes its word embeddings, its first layers and its masked-word head. The attention to the encoder
        starts as a copy of the same layer's attention to itself, which has learned to look from words at visual
        tokens: from random weights, decoders looked at the video only after several times as many steps. The tables of
        token embeddings are frozen: they know many words that the captions of a small corpus do not have.

        Args:
            videobert ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
                The model; it is copied.
            tokenizer ([`BertTokenizer`]):
                The joint vocabulary: captions begin with its `[CLS]` and end with its `[SEP]`.
            decoder_layers (`int`, *optional*, defaults to 2):
                Layers of the decoder, at most those of the VideoBERT.
            config_kwargs:
                Fields of [`VideoBertCaptionerConfig`].

        Returns:
            [`VideoBertForCaptioning`]: in evaluation mode.

        Raises:
            ValueError: `decoder_layers` is not among 1 … the layers of the VideoBERT.
        """
        source = videobert.config
        if not 1 <= decoder_layers <= source.num_hidden_layers:
            raise ValueError(f"decoder_layers is {decoder_layers}; allowed are 1 … {source.num_hidden_layers}.")
        ids = {
            "pad_token_id": tokenizer.pad_token_id,
            "decoder_start_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id,
        }
        fields = text_fields(source) | {"num_hidden_layers": decoder_layers, "vocab_size": source.text_vocab_size}
        config = VideoBertCaptionerConfig(
            encoder=source.to_dict() | {"freeze_input_embeddings": True}, decoder=fields, **ids, **config_kwargs
        )
        model = cls(config).eval()
        model._copy_weights(videobert)
        model.generation_config.update(**GENERATION, **ids)
        return model

    @torch.no_grad()
    def _copy_weights(self, videobert) -> None:
        """Both halves from a VideoBERT."""
        base, num_words = videobert.base_model, self.config.decoder.vocab_size
        weights = {name: value for name, value in base.state_dict().items() if not name.startswith("pooler.")}
        self.encoder.load_state_dict(weights)
        decoder, head = self.decoder.bert, self.decoder.cls.predictions
        decoder.embeddings.word_embeddings.weight.copy_(base.embeddings.word_embeddings.weight[:num_words])
        for name in ("position_embeddings", "token_type_embeddings", "LayerNorm"):
            decoder.embeddings.get_submodule(name).load_state_dict(base.embeddings.get_submodule(name).state_dict())
        for layer, source in zip(decoder.encoder.layer, base.encoder.layer, strict=False):
            layer.load_state_dict(source.state_dict(), strict=False)  # no attention to an encoder in there
            layer.crossattention.load_state_dict(source.attention.state_dict())
        head.transform.dense.load_state_dict(videobert.cloze_head.dense.state_dict())
        head.transform.LayerNorm.load_state_dict(videobert.cloze_head.LayerNorm.state_dict())
        head.bias.copy_(videobert.cloze_head.decoder.bias[:num_words])

    def tie_weights(self, *args, **kwargs):
        """Tie, then freeze: loading forgets what was frozen."""
        super().tie_weights(*args, **kwargs)
        if self.config.freeze_encoder:
            self.encoder.requires_grad_(False)
        if self.config.encoder.freeze_input_embeddings:
            self.encoder.get_input_embeddings().weight.requires_grad_(False)
            self.decoder.get_input_embeddings().weight.requires_grad_(False)

    def train(self, mode: bool = True):
        """As in torch; a frozen encoder stays as it is in evaluation."""
        super().train(mode)
        if self.config.freeze_encoder:
            self.encoder.eval()
        return self

    def encode_features(self, features: torch.Tensor) -> BaseModelOutput:
        """One vector a video, (B, feature_size), as the outputs of an encoder, (B, 1, H)."""
        return BaseModelOutput(self.feature_projection(features)[:, None])

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        features: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids:
                The video, as in [`VideoBertModel.forward`].
            features (`torch.Tensor` of shape (B, feature_size), *optional*):
                Instead of them, where the configuration has a `feature_size`.
            labels (`torch.LongTensor` of shape (B, T), *optional*):
                The words of the captions and what ends them; −100 on padding.
            num_items_in_batch (`torch.Tensor`, scalar, *optional*):
                By how many words the summed loss is divided; those of `labels` if not given.
            encoder_outputs, decoder_input_ids, kwargs:
                As in [`~transformers.EncoderDecoderModel.forward`].

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: In training without `logits`: scores of all words are
            computed only where a word is asked.
        """
        if features is not None:
            encoder_outputs = self.encode_features(features)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, token_type_ids)
        if labels is not None and decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if labels is not None and self.training:
            loss = self._sum_loss(encoder_outputs[0], attention_mask, decoder_input_ids, labels)
            return Seq2SeqLMOutput(loss=loss / self._count(labels, num_items_in_batch))
        outputs = super().forward(
            attention_mask=attention_mask,
            encoder_outputs=encoder_outputs,
            decoder_input_ids=decoder_input_ids,
            **kwargs,
        )
        if labels is not None:
            scores = outputs.logits.float().flatten(0, 1)
            loss = F.cross_entropy(scores, labels.flatten(), ignore_index=IGNORED, reduction="sum")
            outputs.loss = loss / self._count(labels, num_items_in_batch)
        return outputs

    @staticmethod
    def _count(labels, num_items_in_batch):
        return (labels != IGNORED).sum().clamp_min(1) if num_items_in_batch is None else num_items_in_batch

    def _sum_loss(self, hidden_states, attention_mask, decoder_input_ids, labels):
        """The summed loss, with the vocabulary head at the asked words only."""
        said = self.decoder.bert(
            decoder_input_ids, encoder_hidden_states=hidden_states, encoder_attention_mask=attention_mask
        ).last_hidden_state
        asked, head = labels != IGNORED, self.decoder.cls.predictions
        words = head.transform(said[asked])
        ones = torch.ones(len(words), device=words.device)
        total, _ = token_cross_entropy(words, head.decoder.weight, head.decoder.bias, labels[asked], ones)
        return total


__all__ = ["VideoBertCaptionerConfig", "VideoBertForCaptioning"]
