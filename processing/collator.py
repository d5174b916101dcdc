"""From examples to a batch: masking, labels and padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

IGNORED = -100


class VideoBertDataCollator:
    """
    Masks as BERT does, each token within its own modality, and pads to the longest example (paper, section 3.2).

    Of the words (visual tokens), a share `language_probability` (`vision_probability`) must be predicted: 80 % of them
    become `[MASK]`, 10 % a random word (visual token), 10 % stay. Special tokens are never touched. An example in
    which no token was drawn gets one, where it has any.

    Misaligned pairs are masked alike, or the mere presence of `[MASK]` would betray them, but get no cloze labels: to
    name a word from a video that does not show it would only teach the model to ignore the video.

    The masking of an example comes from its own `seed`, so that it depends on no worker and no neighbour in the batch.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): gives `[MASK]`, `[PAD]`, the special tokens and the words.
        visual_token_offset (`int`): id of the first visual token.
        codebook_size (`int`): number of visual tokens.
        language_probability (`float`, defaults to 0.15): share of the words to predict.
        vision_probability (`float`, defaults to 0.15): share of the visual tokens to predict.
        joint_cloze (`bool`, defaults to `True`): whether aligned video-text pairs have cloze labels too.
        pad_to_multiple_of (`int`, *optional*): pad the length to a multiple of this.
    """

    def __init__(
        self,
        tokenizer,
        visual_token_offset: int,
        codebook_size: int,
        language_probability: float = 0.15,
        vision_probability: float = 0.15,
        joint_cloze: bool = True,
        pad_to_multiple_of: int | None = None,
    ):
        for name, value in (("language", language_probability), ("vision", vision_probability)):
            if not 0 < value < 1:
                raise ValueError(f"{name}_probability is {value}; allowed is more than 0 and less than 1.")
        self.mask_id, self.pad_id = tokenizer.mask_token_id, tokenizer.pad_token_id
        self.special_ids = np.unique([*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids("[>]")])
        words = [word for token, word in tokenizer.get_vocab().items() if not token.startswith("[unused")]
        self.word_ids = np.setdiff1d([word for word in words if word < visual_token_offset], self.special_ids)
        self.visual_ids = np.arange(visual_token_offset, visual_token_offset + codebook_size)
        self.probabilities = np.array([language_probability, vision_probability])
        self.joint_cloze, self.pad_to_multiple_of = joint_cloze, pad_to_multiple_of

    def __call__(self, examples: Sequence[Mapping]) -> dict[str, torch.Tensor]:
        """
        Args:
            examples (`Sequence[Mapping]`): B items of a [`SegmentDataset`].

        Returns:
            `dict[str, torch.Tensor]`: `input_ids`, `attention_mask` (0 on padding), `token_type_ids` and `labels`
            (−100 where nothing is to be predicted, padding included), each (B, L) int64, and `alignment_labels` (B,)
            int64.
        """
        longest = max(len(example["input_ids"]) for example in examples)
        multiple = self.pad_to_multiple_of or 1
        shape = (len(examples), -(-longest // multiple) * multiple)
        batch = {
            "input_ids": np.full(shape, self.pad_id, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.zeros(shape, dtype=np.int64),
            "labels": np.full(shape, IGNORED, dtype=np.int64),
        }
        for number, example in enumerate(examples):
            length = len(example["input_ids"])
            batch["attention_mask"][number, :length] = 1
            batch["token_type_ids"][number, :length] = example["token_type_ids"]
            batch["input_ids"][number, :length], batch["labels"][number, :length] = self.mask(example)
        batch["alignment_labels"] = np.array([example["alignment_label"] for example in examples], dtype=np.int64)
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def mask(self, example: Mapping) -> tuple[np.ndarray, np.ndarray]:
        """
        Mask one example.

        Args:
            example (`Mapping`): an item of a [`SegmentDataset`], L tokens.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: masked `input_ids` (L,) and `labels` (L,).
        """
        # Its own branch of the example's seed: the masking repeats no draw of the dataset.
        rng = np.random.default_rng(np.random.SeedSequence(example["seed"], spawn_key=(1,)))
        original, vision = np.array(example["input_ids"]), np.array(example["token_type_ids"])
        allowed = ~np.isin(original, self.special_ids)
        predicted = allowed & (rng.random(len(original)) < self.probabilities[vision])
        if allowed.any() and not predicted.any():
            predicted[rng.choice(np.flatnonzero(allowed))] = True

        kind = rng.random(len(original))
        random_ids = np.where(
            vision == 1, rng.choice(self.visual_ids, len(original)), rng.choice(self.word_ids, len(original))
        )
        masked = np.where(predicted & (kind < 0.8), self.mask_id, original)
        masked = np.where(predicted & (kind >= 0.9), random_ids, masked)
        labels = np.where(predicted, original, IGNORED)

        joint = vision.any() and (allowed & (vision == 0)).any()
        if example["alignment_label"] == 0 or (joint and not self.joint_cloze):
            labels[:] = IGNORED
        return masked, labels
