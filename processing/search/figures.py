"""How well moments are found by what is said in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from accelerate.utils import tqdm

from ..evaluation.retrieval import rank_of, summarise_ranks
from .embedding import known_words, moment_embeddings, text_embeddings
from .index import CANDIDATES, best_places
from .moments import row_moments
from .scoring import score_pairs


def retrieval_figures(
    model,
    processor,
    rows: Sequence[Mapping],
    words: Sequence[Collection[str]] = (),
    trailing_seconds: float = 0.0,
    candidates: int = CANDIDATES,
    max_queries: int | None = None,
) -> dict[str, float | int]:
    """Text to video: where a search ranks the moment that a sentence was said over, among all moments of some rows.

    Others may show the same just as well, so that the share of first ranks has a bound below 1.

    Args:
        model ([`VideoBertForPreTraining`]):
            The model.
        processor ([`VideoBertProcessor`]):
            Its processor.
        rows (`Sequence[Mapping]`):
            Rows it was not trained on.
        words (`Sequence[Collection[str]]`, *optional*):
            Groups of words, such as all verbs and all objects: only sentences that name one of each group are asked.
            By default all are, the small talk too.
        trailing_seconds (`float`, *optional*, defaults to 0.0):
            As of [`row_moments`].
        candidates (`int`, *optional*, defaults to `CANDIDATES`):
            How many the second pass reads; with 0 the first pass stands alone.
        max_queries (`int`, *optional*):
            Ask at most so many sentences, evenly out of all.

    Returns:
        `dict`: As of [`summarise_ranks`]. Equal scores count against the search in both passes.

    Raises:
        ValueError: No sentence can be asked.
    """
    moments = [moment for row in rows for moment in row_moments(row, trailing_seconds)]
    known = known_words(processor, [moment["text"] for moment in moments])
    asked = [place for place, ids in enumerate(known) if ids and names_each(moments[place]["text"], words)]
    if not asked:
        raise ValueError(f"None of {len(moments)} moments has a sentence that can be asked.")
    if max_queries is not None and len(asked) > max_queries:
        asked = [asked[place] for place in np.linspace(0, len(asked) - 1, max_queries).astype(int)]
    shown = [moment["visual_ids"] for moment in moments]
    vectors = moment_embeddings(model, processor, shown)
    texts = [moments[place]["text"] for place in asked]
    ranks = []
    for text, place, vector in zip(
        tqdm(texts, desc="Queries"), asked, text_embeddings(model, processor, texts), strict=True
    ):
        first_pass = vectors @ vector
        rank = rank_of(first_pass, place)
        if rank <= candidates:
            chosen = best_places(first_pass, candidates)
            scores = score_pairs(
                model, processor, [text] * len(chosen), [shown[one] for one in chosen], first_pass[chosen]
            )
            rank = rank_of(scores, chosen.tolist().index(place))
        ranks.append(rank)
    return summarise_ranks(ranks, len(moments))


def names_each(text: str, groups: Sequence[Collection[str]]) -> bool:
    """Whether a text names a word of each group."""
    named = set(re.findall(r"[^\W_]+", text.lower()))
    return all(not named.isdisjoint(group) for group in groups)
