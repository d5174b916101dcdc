"""Loading, saving, publishing and the start from text, common to all VideoBERT models."""

import hashlib
import re
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from torch import nn
from transformers import AutoConfig, BertForPreTraining, BertPreTrainedModel

from .configuration_videobert import VideoBertConfig
from .text_start_videobert import copy_text_weights, text_fields, visual_rows

EMPTY_CARD = "[More Information Needed]"  # what the library's form for a model card is full of
# Where the code of a card says what it loads.
LOADED = re.compile(r'(from_pretrained\(|pipeline\("[\w-]+", model=)"[^"]*"')
# How a card names the weights that its figures were measured with, and its section of them.
MEASURED = re.compile(r"weights with the fingerprint `([0-9a-f]{16})`")
RESULTS = re.compile(r"^## Results\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
NOT_MEASURED = """## Results

This model was trained on after the figures of its card were measured: it has none of its own yet.

"""


class VideoBertPreTrainedModel(BertPreTrainedModel):
    """Loading, saving and the start from text, common to all VideoBERT models."""

    config: VideoBertConfig
    config_class = VideoBertConfig
    base_model_prefix = "videobert"
    # Without BERT's own entry for the embeddings: FSDP shards each of these by itself, but a tied table belongs to the
    # vocabulary head too.
    _no_split_modules = ["BertLayer"]
    # Loaded for one task, a model leaves out the heads of others, which is no news. What is missing is always told.
    _keys_to_ignore_on_load_unexpected = [r"^(cloze_head|alignment_head|classifier)\.", r"pooler\."]

    def tie_weights(self, *args, **kwargs):
        """Tie, then freeze: the last step after weights are made or loaded, and loading forgets what was frozen."""
        super().tie_weights(*args, **kwargs)
        if self.config.freeze_input_embeddings:
            self.get_input_embeddings().weight.requires_grad_(False)

    @classmethod
    def from_text_checkpoint(
        cls,
        checkpoint: str,
        codebook_size: int | None = None,
        centroids: torch.Tensor | None = None,
        freeze_input_embeddings: bool = True,
        **config_kwargs,
    ):
        """Start from a text BERT (paper, section 4.3): on text alone, the hidden states are the checkpoint's own.

        Words, positions, layers, pooler and, where the checkpoint has one, the masked-word head are taken over. The
        visual tokens get rows behind the words; `[>]` takes the place of `[unused0]`; the alignment head is new.

        Args:
            checkpoint (`str`):
                Hub id or folder of any BERT, with or without heads.
            codebook_size (`int`, *optional*):
                Number of visual tokens; without `centroids` their rows are random.
            centroids (`torch.Tensor` of shape (codebook_size, D), *optional*):
                See [`visual_rows`].
            freeze_input_embeddings (`bool`, *optional*, defaults to `True`):
                The paper's choice; see [`VideoBertConfig`].
            config_kwargs:
                Fields of [`VideoBertConfig`] to set.

        Returns:
            a model of this class, in evaluation mode and float32.

        Raises:
            ValueError: The checkpoint is no BERT; `codebook_size` and `centroids` are both missing, or disagree.
        """
        model_type = AutoConfig.from_pretrained(checkpoint).model_type
        if model_type != "bert":
            raise ValueError(f"{checkpoint} is a {model_type!r} checkpoint; allowed is 'bert'.")
        if centroids is None and codebook_size is None:
            raise ValueError("codebook_size and centroids are both None; one of them must say how many visual tokens.")
        if centroids is not None and codebook_size not in (None, len(centroids)):
            raise ValueError(f"codebook_size is {codebook_size}, but there are {len(centroids)} centroids.")

        source = BertForPreTraining.from_pretrained(checkpoint, dtype=torch.float32)
        words = source.get_input_embeddings().weight.data
        if centroids is None:
            centroids = torch.randn(codebook_size, words.shape[1])
        config = VideoBertConfig(
            **(text_fields(source.config) | config_kwargs),
            text_vocab_size=len(words),
            codebook_size=len(centroids),
            freeze_input_embeddings=freeze_input_embeddings,
        )
        model = cls(config).eval()
        copy_text_weights(model, source, visual_rows(centroids, words))
        return model

    def weights_fingerprint(self) -> str:
        """Tells the encoder's weights from all others, whatever head stands on it: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.base_model.state_dict().items()):
            if not name.startswith("pooler."):  # some heads have none
                digest.update(name.encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    def _upload_modified_files(self, working_dir, repo_id, *args, **kwargs):
        """A push brings the card of the folder that the model is from, where the library would leave an empty form;
        figures of other weights are taken out, whosever card it is."""
        folder_card, path = Path(self.name_or_path) / "README.md", Path(working_dir) / "README.md"
        card = path.read_text(encoding="utf-8") if path.is_file() else EMPTY_CARD
        # A model that was not loaded is from no folder; an empty name would be the one where the program runs.
        if EMPTY_CARD in card and self.name_or_path and folder_card.is_file():
            # What the card's code loads is what the repository is called.
            card = folder_card.read_text(encoding="utf-8")
            card = LOADED.sub(rf'\1"{repo_id}"', card)
        measured = MEASURED.search(card)
        if measured and measured[1] != self.weights_fingerprint():
            card = without_figures(card)
        if card != EMPTY_CARD:
            path.write_text(card, encoding="utf-8")
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def token_types(self, input_ids: torch.LongTensor) -> torch.LongTensor:
        """What the ids tell of token types: 1 for visual tokens, 0 for all others, `[MASK]` among them."""
        first = self.config.visual_token_offset
        return ((input_ids >= first) & (input_ids < first + self.config.codebook_size)).long()

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Module:
        """As in transformers. Rows go at the end, and with them the last visual tokens."""
        embeddings = super().resize_token_embeddings(*args, **kwargs)
        left = self.config.vocab_size - self.config.visual_token_offset
        self.config.codebook_size = min(self.config.codebook_size, left)
        return embeddings

    def get_position_embeddings(self) -> nn.Embedding:
        """The table of positions, (max_position_embeddings, H)."""
        return self.base_model.embeddings.position_embeddings

    def resize_position_embeddings(self, new_num_position_embeddings: int) -> None:
        """Change how many tokens a sequence may have. Old positions stay, further ones start random.

        Args:
            new_num_position_embeddings (`int`):
                The new `config.max_position_embeddings`.
        """
        embeddings, old = self.base_model.embeddings, self.get_position_embeddings().weight
        new = nn.Embedding(new_num_position_embeddings, old.shape[1], device=old.device, dtype=old.dtype)
        self._init_weights(new)
        kept = min(new_num_position_embeddings, len(old))
        with torch.no_grad():
            new.weight[:kept] = old[:kept]
        embeddings.position_embeddings = new
        places = torch.arange(new_num_position_embeddings, device=old.device).unsqueeze(0)
        embeddings.position_ids, embeddings.token_type_ids = places, torch.zeros_like(places)
        self.config.max_position_embeddings = new_num_position_embeddings


def without_figures(text: str) -> str:
    """A card without the figures of its metadata and of its section of results."""
    card = ModelCard(text)
    card.data.eval_results = card.data.model_name = None
    card.text = RESULTS.sub(NOT_MEASURED, card.text)
    return str(card)
