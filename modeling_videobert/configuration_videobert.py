"""The configuration of VideoBERT: BERT's own, with a second vocabulary of visual tokens behind the words."""

from huggingface_hub.dataclasses import strict
from transformers import BertConfig

AUTO_MAP = {
    "AutoConfig": "configuration_videobert.VideoBertConfig",
    "AutoModel": "modeling_videobert.VideoBertModel",
    "AutoModelForPreTraining": "modeling_videobert.VideoBertForPreTraining",
    "AutoModelForMaskedLM": "modeling_videobert.VideoBertForMaskedLM",
    "AutoModelForVideoClassification": "modeling_videobert.VideoBertForVideoClassification",
}
# By Auto class of a pipeline's model the models whose weights hold all of it. Opened from others, a head would be new.
TRAINED = {
    "AutoModelForMaskedLM": {"VideoBertForMaskedLM", "VideoBertForPreTraining"},
    "AutoModelForSeq2SeqLM": {"VideoBertForCaptioning"},
}
# By task what transformers calls a custom pipeline: `impl`, a file of the folder and the class in it, and `pt`, the
# Auto class of its model. The package that brings the pipelines enters them, so that saved models tell of them.
CUSTOM_PIPELINES: dict[str, dict] = {}


class PipelinesMixin:
    """Configurations whose saved file says which pipelines the folder's code offers: those that ask what it holds.

    As with the Auto classes, local code wins: what is registered in this process needs no trust in a folder's code, so
    a loaded configuration names only the pipelines that are not.
    """

    def __post_init__(self, **kwargs):
        told = kwargs.get("custom_pipelines") or {}
        kwargs["custom_pipelines"] = {task: one for task, one in told.items() if task not in CUSTOM_PIPELINES}
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict:
        output = super().to_dict()
        pipelines = (output.pop("custom_pipelines", None) or {}) | CUSTOM_PIPELINES
        # transformers' `pipeline` puts the classes themselves in the place of their names.
        named = {
            task: {**one, "pt": [getattr(auto, "__name__", auto) for auto in one["pt"]]}
            for task, one in pipelines.items()
        }
        own = {task: one for task, one in named.items() if any(map(self._holds, one["pt"]))}
        return output | ({"custom_pipelines": own} if own else {})

    def _holds(self, auto_class: str) -> bool:
        """Whether the saved weights are all that a model of this Auto class has."""
        if auto_class not in (getattr(self, "auto_map", None) or ()):
            return False
        return auto_class not in TRAINED or not TRAINED[auto_class].isdisjoint(self.architectures or ())


@strict
class VideoBertConfig(PipelinesMixin, BertConfig):
    """
    Configuration of the VideoBERT models (paper, section 3). All that BERT has, `hidden_size`, `num_hidden_layers` and
    so on, means what it means in [`~transformers.BertConfig`]; `type_vocab_size` 2 tells language (0) from vision (1).

    The joint vocabulary is the words, ids 0 … `text_vocab_size` − 1, and then the visual tokens: visual id v is token
    id `visual_token_offset` + v. The join token `[>]` sits in the slot that BERT leaves unused.

    Args:
        text_vocab_size (`int`, *optional*, defaults to 30522):
            Number of WordPieces.
        codebook_size (`int`, *optional*, defaults to 20736):
            Number of visual tokens, 12⁴ in the paper.
        visual_token_offset (`int`, *optional*):
            Token id of visual id 0; `text_vocab_size` if not given.
        vocab_size (`int`, *optional*):
            Rows of the embedding table and of the vocabulary head; `visual_token_offset + codebook_size` if not given.
        join_token_id (`int`, *optional*, defaults to 1):
            Id of `[>]`, BERT's `[unused0]`.
        text_cloze_weight (`float`, *optional*, defaults to 1.0):
            Weight of a predicted word in the cloze loss.
        visual_cloze_weight (`float`, *optional*, defaults to 1.0):
            Weight of a predicted visual token in the cloze loss.
        alignment_weight (`float`, *optional*, defaults to 1.0):
            Weight of the alignment loss in the total.
        joint_cloze (`bool`, defaults to `True`):
            Whether examples that hold text and video train the cloze too; if not, their cloze labels are ignored.
        predict_within_modality (`bool`, defaults to `False`):
            Whether a word competes only with words and a visual token only with visual tokens in the cloze loss. The
            paper's softmax is over the whole joint vocabulary.
        sparse_prediction (`bool`, defaults to `True`):
            Whether training computes the vocabulary head at predicted positions only. The loss and its gradients stay
            the same, though they can be asked for once only (no `retain_graph`); the output then has no `logits`.
        freeze_input_embeddings (`bool`, defaults to `False`):
            Whether the table of token embeddings stays as it is, as in the paper's pretraining. A vocabulary head that
            is tied to it (`tie_word_embeddings`) keeps its matrix too and learns its transform and bias; one that is
            not tied learns its matrix. Frozen and tied is enough to tell near clusters apart: of 4,096 clustered
            centroids on MiniLM, 128 in use, hidden visual tokens were named 41, 88 and 100 % right after 80, 120 and
            160 steps, against 53, 94 and 100 % untied, where the optimiser has 13 M weights more to move in each step.
            Sensible only for a table that comes from somewhere, so
            [`VideoBertForPreTraining.from_text_checkpoint`] turns it on and a model from scratch does not. Loaded as a
            part of another model (`EncoderDecoderModel`), the table must be frozen again by hand.

    Raises:
        ValueError: There is no visual token, or they overlap the words, or do not fit into `vocab_size` rows.
    """

    model_type = "videobert"
    # Losses among the outputs, which transformers' Trainer would take for predictions.
    keys_to_ignore_at_inference = ["cloze_loss", "alignment_loss", "objectives", "objective_hits"]

    vocab_size: int | None = None
    text_vocab_size: int = 30522
    codebook_size: int = 20736
    visual_token_offset: int | None = None
    join_token_id: int = 1
    text_cloze_weight: float | int = 1.0
    visual_cloze_weight: float | int = 1.0
    alignment_weight: float | int = 1.0
    joint_cloze: bool = True
    predict_within_modality: bool = False
    sparse_prediction: bool = True
    freeze_input_embeddings: bool = False

    def __post_init__(self, **kwargs):
        if self.visual_token_offset is None:
            self.visual_token_offset = self.text_vocab_size
        if self.vocab_size is None:
            self.vocab_size = self.visual_token_offset + self.codebook_size
        self._check_vocabulary()
        # Complete, because saving one model writes only that model's own entry. A Hub folder brings its own map.
        kwargs.setdefault("auto_map", dict(AUTO_MAP))
        super().__post_init__(**kwargs)

    def _check_vocabulary(self):
        needed = self.visual_token_offset + self.codebook_size
        if self.codebook_size < 1:
            raise ValueError(f"codebook_size is {self.codebook_size}; allowed is at least 1 visual token.")
        if self.visual_token_offset < self.text_vocab_size:
            raise ValueError(
                f"visual_token_offset is {self.visual_token_offset}, inside the text vocabulary; "
                f"allowed is text_vocab_size = {self.text_vocab_size} or more."
            )
        if self.vocab_size < needed:
            raise ValueError(
                f"vocab_size is {self.vocab_size}; {self.codebook_size} visual tokens from id "
                f"{self.visual_token_offset} on need {needed}."
            )


__all__ = ["VideoBertConfig"]
