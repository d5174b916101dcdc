"""How well moments are found by what is said in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from accelerate.utils import tqdm

from ..evaluation.controls import other_videos
from ..evaluation.counting import spoken_words
from ..evaluation.intervals import share_with_interval
from ..evaluation.retrieval import TOPS, rank_of, summarise_ranks
from .embedding import known_words, moment_embeddings, text_embeddings
from .index import CANDIDATES, best_places
from .moments import row_moments
from .scoring import score_pairs

# How a condition is called in the keys of [`step_retrieval_figures`] and in a table.
CONDITIONS = {
    "": "VideoBERT, zero-shot",
    "_first_pass": "first pass alone",
    "_shuffled": "clips of other videos (shuffled)",
    "_chance": "chance",
}


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
    texts, shown = [moments[place]["text"] for place in asked], [moment["visual_ids"] for moment in moments]
    return summarise_ranks(rank_moments(model, processor, texts, asked, shown, candidates), len(moments))


def rank_moments(
    model,
    processor,
    texts: Sequence[str],
    places: Sequence[int],
    visual_ids: Sequence[Sequence[int]],
    candidates: int = CANDIDATES,
) -> list[int]:
    """Where a search ranks the moment that each of N texts belongs to.

    Args:
        model ([`VideoBertForPreTraining`]):
            The model.
        processor ([`VideoBertProcessor`]):
            Its processor.
        texts (`Sequence[str]`):
            What is looked for.
        places (`Sequence[int]`):
            Which moment each belongs to.
        visual_ids (`Sequence[Sequence[int]]`):
            All moments, none of them empty.
        candidates (`int`, *optional*, defaults to `CANDIDATES`):
            How many the second pass reads; with 0 the first pass stands alone.

    Returns:
        `list[int]`: N ranks, from 1.

    Raises:
        ValueError: A text holds no word that the model knows.
    """
    vectors, ranks = moment_embeddings(model, processor, visual_ids), []
    asked = text_embeddings(model, processor, texts)
    for text, place, vector in zip(tqdm(texts, desc="Queries"), places, asked, strict=True):
        first_pass = vectors @ vector
        rank = rank_of(first_pass, place)
        if rank <= candidates:
            chosen = best_places(first_pass, candidates)
            shown = [visual_ids[one] for one in chosen]
            scores = score_pairs(model, processor, [text] * len(chosen), shown, first_pass[chosen])
            rank = rank_of(scores, chosen.tolist().index(place))
        ranks.append(rank)
    return ranks


def step_retrieval_figures(model, processor, steps: Sequence[Mapping]) -> dict[str, float | int | None]:
    """Text to clip as YouCook II is scored: each step's sentence is looked for among the clips of all steps.

    Args:
        model ([`VideoBertForPreTraining`]):
            The model.
        processor ([`VideoBertProcessor`]):
            Its processor.
        steps (`Sequence[Mapping]`):
            With `video_id`, `sentence` and `visual_ids`. Those without clips cannot be found and are left out.

    Returns:
        `dict`: For each of `CONDITIONS` the shares `r1`, `r5`, `r10`, the model's with `…_low` and `…_high` of their
        intervals over videos, and `median_rank`; `num_segments`, the clips, and `num_queries`, the sentences.

    Raises:
        ValueError: No step has both, clips and a sentence.
    """
    steps = [step for step in steps if len(step["visual_ids"])]
    known = known_words(processor, [step["sentence"] for step in steps])
    places = [place for place, ids in enumerate(known) if ids]
    if not places:
        raise ValueError("No step has clips and a sentence whose words the model knows: there is nothing to look for.")
    texts, videos = [steps[place]["sentence"] for place in places], [step["video_id"] for step in steps]
    shown = [step["visual_ids"] for step in steps]
    ranks = {
        "": rank_moments(model, processor, texts, places, shown),
        "_first_pass": rank_moments(model, processor, texts, places, shown, candidates=0),
    }
    if (order := other_videos(videos)) is not None:
        ranks["_shuffled"] = rank_moments(model, processor, texts, places, [shown[one] for one in order])
    figures: dict[str, float | int | None] = {"num_segments": len(steps), "num_queries": len(texts)}
    for condition, found in ranks.items():
        figures[f"median_rank{condition}"] = float(np.median(found))
        for top in TOPS:
            share = share_with_interval(np.asarray(found) <= top, [videos[place] for place in places])
            name = f"r{top}{condition}"
            figures |= {name: share["share"], f"{name}_low": share["low"], f"{name}_high": share["high"]}
    figures |= {f"r{top}_chance": min(1.0, top / len(steps)) for top in TOPS}
    return figures | {"median_rank_chance": (len(steps) + 1) / 2}


def names_each(text: str, groups: Sequence[Collection[str]]) -> bool:
    """Whether a text names a word of each group."""
    named = set(spoken_words(text))
    return all(not named.isdisjoint(group) for group in groups)
