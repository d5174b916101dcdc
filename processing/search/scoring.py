"""The second pass: the model reads text and moment together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation import alignment
from ..sequence_videobert import joint_sequence, sequence_ids

# What a dot product of the first pass weighs in the log-odds of `[CLS]`. Chosen on training rows of the kitchen:
# `[CLS]` alone is worse than the first pass, and with less weight than this the best ten are not all candidates any
# more. The cloze's likelihood gain together with `[CLS]` puts the right moment first more often, and among five as
# often, but takes four passes instead of one: more than a tenth of a second allows.
FIRST_PASS_WEIGHT = 48.0


def score_pairs(
    model,
    processor,
    texts: Sequence[str],
    visual_ids: Sequence[Sequence[int]],
    first_pass: np.ndarray,
    batch_size: int = 64,
) -> np.ndarray:
    """How well each of N texts fits its moment.

    Args:
        model ([`VideoBertForPreTraining`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the words.
        texts (`Sequence[str]`):
            N texts.
        visual_ids (`Sequence[Sequence[int]]`):
            N moments.
        first_pass (`np.ndarray` of shape (N,)):
            Their dot products.
        batch_size (`int`, *optional*, defaults to 64):
            Pairs at a time.

    Returns:
        `np.ndarray` of shape (N,): the log-odds of `[CLS]` and the weighted dot product together.
    """
    special_ids, longest = sequence_ids(processor.tokenizer), model.config.max_position_embeddings
    different = sorted(set(texts))
    ids_of = processor.tokenizer(different, add_special_tokens=False)["input_ids"] if different else []
    words = dict(zip(different, ids_of, strict=True))
    examples = []
    for text, ids in zip(texts, visual_ids, strict=True):
        input_ids, types = joint_sequence(words[text], ids, max_length=longest, **special_ids)
        examples.append({"input_ids": input_ids, "token_type_ids": types})
    return alignment(model, processor, examples, batch_size) + FIRST_PASS_WEIGHT * np.asarray(first_pass)
