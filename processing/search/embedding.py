"""Text and moments as vectors whose dot product tells how well they fit: the first pass of a search.

The cloze was never asked to make such vectors, but it can name what it sees. A moment is the words that the model says
at the masks of a template; a text is the words that it holds. Both are thrown onto `WIDTH` random directions, which
keeps their dot product but for a little noise and needs no fit, so that an index can grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from ..sequence_videobert import joint_sequence, sequence_ids

# What is done, and with what.
TEMPLATE = "now [MASK] the [MASK]."
WIDTH = 256


@torch.inference_mode()
def moment_embeddings(model, processor, visual_ids: Sequence[Sequence[int]], batch_size: int = 64) -> np.ndarray:
    """What the model says is done, and with what, in each of N moments.

    A word counts by the square root of its probability, summed over the masks: a few sure words would otherwise drown
    what is said besides.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the words.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a moment, none empty.
        batch_size (`int`, *optional*, defaults to 64):
            Moments at a time.

    Returns:
        `np.ndarray` of shape (N, `WIDTH`): float32.
    """
    model.eval()
    tokenizer, vocab_size = processor.tokenizer, model.config.text_vocab_size
    text_ids = tokenizer(TEMPLATE, add_special_tokens=False)["input_ids"]
    masks = [1 + place for place, token in enumerate(text_ids) if token == tokenizer.mask_token_id]
    special_ids, longest = sequence_ids(tokenizer), model.config.max_position_embeddings
    directions = torch.from_numpy(random_directions(vocab_size)).to(model.device)
    vectors = np.zeros((len(visual_ids), WIDTH), dtype=np.float32)
    order = sorted(range(len(visual_ids)), key=lambda number: len(visual_ids[number]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        pairs = [joint_sequence(text_ids, visual_ids[place], max_length=longest, **special_ids) for place in places]
        ids, types = zip(*pairs, strict=True)
        inputs = tokenizer.pad({"input_ids": list(ids), "token_type_ids": list(types)}, return_tensors="pt")
        hidden_states = model.base_model(**inputs.to(model.device)).last_hidden_state
        logits = model.cloze_head(hidden_states[:, masks])[..., :vocab_size].float()
        said = logits.softmax(dim=-1).sqrt().sum(dim=1)
        vectors[places] = (said @ directions).cpu().numpy()
    return vectors


def text_embeddings(model, processor, texts: Sequence[str]) -> np.ndarray:
    """The words of each of N texts, once each; the model itself is not asked.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            For its number of words.
        processor ([`VideoBertProcessor`]):
            For the words.
        texts (`Sequence[str]`):
            Sentences, or only words.

    Returns:
        `np.ndarray` of shape (N, `WIDTH`): float32.

    Raises:
        ValueError: A text holds no word that the model knows.
    """
    directions = random_directions(model.config.text_vocab_size)
    vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for place, ids in enumerate(known_words(processor, texts)):
        if not ids:
            raise ValueError(f"The text {texts[place]!r} holds no word that the model knows; ask with words.")
        vectors[place] = directions[ids].sum(axis=0) / len(ids) ** 0.5
    return vectors


def known_words(processor, texts: Sequence[str]) -> list[list[int]]:
    """The ids of the WordPieces of each text, once each; none where a text holds nothing but signs."""
    if not len(texts):
        return []
    tokenizer = processor.tokenizer
    others, first_visual = set(tokenizer.all_special_ids), processor.visual_token_offset
    words = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [
        sorted({one for one in ids if one < first_visual} - others) if any(map(str.isalnum, text)) else []
        for text, ids in zip(texts, words, strict=True)
    ]


@lru_cache(maxsize=1)
def random_directions(vocab_size: int) -> np.ndarray:
    """Each word's place in the space of the vectors, always the same: (vocab_size, `WIDTH`), of length 1."""
    signs = np.random.default_rng(0).integers(0, 2, (vocab_size, WIDTH), dtype=np.int8)
    return (signs * np.float32(2) - 1) / np.float32(WIDTH**0.5)
