"""Which of some phrases says what is done in a video ("pour milk", "jack up the car")? Nothing is trained for it.

The model reads the template of zero-shot actions with a step's visual tokens. A phrase's first word is looked for at
the verb's mask and its other words at the object's, and a phrase counts by how much likelier the video makes them: so
one pass is enough for a step, however many phrases there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .actions import mask_logits
from .controls import MISS, other_videos, token_probe_ranks
from .intervals import share_with_interval

TOPS = (1, 5)
# Words that say nothing of what is seen; phrases of nothing else keep them.
EMPTY_WORDS = set("a an and at by for from in into it its of off on onto or out over the to up with".split())


def phrase_places(processor, phrases: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """For each phrase the WordPieces of its verb and of its other words.

    Raises:
        ValueError: A phrase has no word.
    """
    places = []
    for phrase in phrases:
        words = phrase.split()
        if not words:
            raise ValueError(f"The phrase {phrase!r} has no word; a step is called by one word or more.")
        others = [word for word in words[1:] if word.lower() not in EMPTY_WORDS] or words[1:] or words
        pieces = processor.tokenizer([words[0], " ".join(others)], add_special_tokens=False)["input_ids"]
        places.append((pieces[0], pieces[1]))
    return places


def phrase_scores(model, processor, visual_ids: Sequence[Sequence[int]], phrases: Sequence[str], batch_size: int = 32):
    """How likely each of K phrases is, said of each of N videos.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the words.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video; an empty one asks without video.
        phrases (`Sequence[str]`):
            What may be done.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `np.ndarray` of shape (N, K): Log-probability of the verb plus the mean of those of the other WordPieces.
    """
    places, scores = phrase_places(processor, phrases), []
    for logits in mask_logits(model, processor, visual_ids, batch_size):
        found = logits.cpu().numpy()
        parts = [found[:, 0, verb].mean(1) + found[:, 1, others].mean(1) for verb, others in places]
        scores.append(np.stack(parts, axis=1))
    return np.concatenate(scores) if scores else np.zeros((0, len(phrases)))


def rank_phrases(scores: np.ndarray, truth: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """The place of each true phrase, 1 for the best; what has the same score counts as better.

    Args:
        scores (`np.ndarray` of shape (N, K)):
            Of the phrases.
        truth (`np.ndarray` of shape (N,)):
            The numbers of the true ones.
        allowed (`np.ndarray` of shape (N, K), *optional*):
            Among which phrases; by default among all.
    """
    own = scores[np.arange(len(scores)), truth]
    better = ~(scores < own[:, None])
    return (better if allowed is None else better & allowed).sum(1)


def evaluate_phrases(
    model,
    processor,
    segments: Sequence[Mapping],
    phrases: Mapping[str, Sequence[str]],
    train_segments: Sequence[Mapping] | None = None,
    batch_size: int = 32,
) -> dict[str, float | int | None]:
    """Names steps by phrases, with the true video and with what it must be compared with.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            For the words.
        segments (`Sequence[Mapping]`):
            N steps with `visual_ids`, `sentence` (the true phrase), `task` and `video_id`.
        phrases (`Mapping[str, Sequence[str]]`):
            By task its phrases.
        train_segments (`Sequence[Mapping]`, *optional*):
            Labelled steps of the training videos, for the token probe only.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `dict`: `step_top{1,5}` among the phrases of all tasks and `own_task_top1` among those of the video's task,
        with the suffixes of [`evaluate_actions`] and the ends of their intervals over videos, `…_low` and `…_high`.

    Raises:
        ValueError: There are no segments, or one's phrase is none of its task's.
    """
    if not segments:
        raise ValueError("There are no steps to name: none of the videos that are asked for is there.")
    known = list(dict.fromkeys(phrase for own in phrases.values() for phrase in own))
    number = {phrase: place for place, phrase in enumerate(known)}
    for segment in segments:
        if segment["sentence"] not in phrases.get(segment["task"], ()):
            raise ValueError(
                f"{segment['video_id']}: {segment['sentence']!r} is none of the phrases of {segment['task']}."
            )
    truth = np.array([number[segment["sentence"]] for segment in segments])
    allowed = np.zeros((len(segments), len(known)), dtype=bool)
    for place, segment in enumerate(segments):
        allowed[place, [number[phrase] for phrase in phrases[segment["task"]]]] = True

    own = [segment["visual_ids"] for segment in segments]
    order = other_videos([segment["video_id"] for segment in segments])
    prior = phrase_scores(model, processor, [[]], known)
    scores = {"": phrase_scores(model, processor, own, known, batch_size) - prior}
    if order is not None:
        scores["_shuffled"] = scores[""][order]
    scores["_prior"] = np.repeat(prior, len(segments), axis=0)
    ranks = {condition: (rank_phrases(s, truth), rank_phrases(s, truth, allowed)) for condition, s in scores.items()}
    if train_segments:
        probed = token_probe_ranks(train_segments, segments, "sentence")
        ranks["_token_probe"] = (probed, np.full(len(segments), MISS))

    videos = [segment["video_id"] for segment in segments]
    figures: dict[str, float | None] = {"num_segments": len(segments), "num_phrases": len(known)}
    for condition, (among_all, among_own) in ranks.items():
        for top in TOPS:
            figures |= named(f"step_top{top}{condition}", share_with_interval(among_all <= top, videos))
        if condition != "_token_probe":
            figures |= named(f"own_task_top1{condition}", share_with_interval(among_own <= 1, videos))
    chances = {f"step_top{top}": min(1.0, top / len(known)) for top in TOPS}
    chances["own_task_top1"] = float((1 / allowed.sum(1)).mean())
    return figures | {f"{name}_chance": share for name, share in chances.items()}


def named(name: str, figure: Mapping[str, float | None]) -> dict[str, float | None]:
    """A share and its interval under the names that they have among figures."""
    return {name: figure["share"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
