"""Zero-shot action classification (paper, section 4.4): which deed, and on what? Nothing is trained for it.

The model reads "now let me show you how to [MASK] the [MASK]." with a step's visual tokens: the first mask is the
verb, the second the object. A word of several WordPieces is asked with as many masks in its place; how it is scored
then is told in [`fill_mask_videobert`].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from ..fill_mask_videobert import mask_log_probabilities, plan_questions, score_words, word_pieces
from .controls import MISS, other_videos, rank_words, token_probe_ranks
from .intervals import share_with_interval
from .truth import ASKED

TEMPLATE = "now let me show you how to [MASK] the [MASK]."
# Other ways to ask for the same two words: what a figure owes to its template.
TEMPLATES = (
    TEMPLATE,
    "let's [MASK] the [MASK].",
    "now we are going to [MASK] the [MASK].",
    "next, [MASK] the [MASK].",
    "you want to [MASK] the [MASK].",
    "the next step is to [MASK] the [MASK].",
    "i am going to [MASK] the [MASK].",
    "go ahead and [MASK] the [MASK].",
    "this is how you [MASK] the [MASK].",
    "then you just [MASK] the [MASK].",
    "here i [MASK] the [MASK].",
    "first, we have to [MASK] the [MASK].",
)
TOPS = (1, 5)
# What is counted: a deed is right, or among the best five, where its verb and its object are.
COUNTED = (*ASKED, "action")
# How a condition is called in the results' keys and in the table.
CONDITIONS = {
    "": "true video",
    "_shuffled": "another video (shuffled)",
    "_prior": "no video (language prior)",
    "_multi_piece": "true video, words of several pieces",
    "_unseen_pairs": "true video, pairs never seen in training",
    "_prior_unseen_pairs": "no video, pairs never seen in training",
    "_closed": "true video, among the classes",
    "_prior_closed": "no video, among the classes",
    "_chance": "chance among the classes",
    "_token_probe": "supervised on the same tokens",
}


@torch.inference_mode()
def mask_logits(
    model, processor, visual_ids: Sequence[Sequence[int]], batch_size: int = 32, text: str = TEMPLATE
) -> Iterator[torch.Tensor]:
    """What the model says at the masks of a text, with each of N videos.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the words.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video; an empty one asks without video.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.
        text (`str`, *optional*, defaults to `TEMPLATE`):
            With M masks.

    Yields:
        `torch.Tensor` of shape (batch, M, text_vocab_size): float32 log-probabilities of all words.
    """
    model.eval()
    places, mask_id = model.config.max_position_embeddings, processor.tokenizer.mask_token_id
    for start in range(0, len(visual_ids), batch_size):
        videos = [list(ids) for ids in visual_ids[start : start + batch_size]]
        # The text stands at the front, and only the end of long videos is cut.
        inputs = processor([text] * len(videos), videos, max_length=places).to(model.device)
        yield torch.stack(mask_log_probabilities(model, inputs, mask_id))


def score_lists(
    model,
    processor,
    visual_ids: Sequence[Sequence[int]],
    text: str,
    lists: Sequence[Sequence[str]],
    batch_size: int = 32,
) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Scores of listed words of any length at the masks of a text, with each of N videos.

    Args:
        model, processor, visual_ids, batch_size:
            As in [`mask_logits`].
        text (`str`):
            With a mask for each list.
        lists (`Sequence[Sequence[str]]`):
            For each mask C words.

    Yields:
        `list[tuple[torch.Tensor, torch.Tensor]]`: For each mask the log-probabilities of all WordPieces (batch, V) and
        the scores of the listed words (batch, C).
    """
    plan = plan_questions(processor.tokenizer, text, lists)
    variants = (mask_logits(model, processor, visual_ids, batch_size, variant) for variant in plan)
    for answers in zip(*variants, strict=True):
        listed = [answers[0].new_empty(len(answers[0]), len(words)) for words in lists]
        for found, questions in zip(answers, plan.values(), strict=True):
            for question in questions:
                listed[question.slot][:, question.columns] = score_words(found, question)
        yield [(answers[0][:, slot], scores) for slot, scores in enumerate(listed)]


def rank_lists(
    model,
    processor,
    visual_ids: Sequence[Sequence[int]],
    text: str,
    lists: Sequence[Sequence[str]],
    truth: Sequence[Sequence[str]],
    batch_size: int = 32,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of true words, among all words and among the listed ones.

    All words are all WordPieces and what is listed in several pieces: the same choice for every video.

    Args:
        model, processor, visual_ids, text, lists, batch_size:
            As in [`score_lists`].
        truth (`Sequence[Sequence[str]]`):
            For each mask the true word of each video.

    Returns:
        `tuple[np.ndarray, np.ndarray]` of shape (masks, N): Among all and among the listed, where a true word that is
        not listed is a miss.
    """
    for words in lists:
        word_pieces(processor.tokenizer, words)  # none must be empty
    # What is true but not listed is scored too, behind the others.
    scored = [list(dict.fromkeys([*words, *true])) for words, true in zip(lists, truth, strict=True)]
    pieces = [word_pieces(processor.tokenizer, words) for words in scored]
    ranks = np.empty((2, len(lists), len(visual_ids)))
    done = 0
    for batch in score_lists(model, processor, visual_ids, text, scored, batch_size):
        for slot, (every, listed) in enumerate(batch):
            places = slice(done, done + len(every))
            columns = [scored[slot].index(word) for word in truth[slot][places]]
            several = [column for column, ids in enumerate(pieces[slot]) if len(ids) > 1]
            # Each scored word's place among the choices: its WordPiece, or behind all of them.
            choice = {column: every.shape[1] + place for place, column in enumerate(several)}
            chosen = [choice.get(column, pieces[slot][column][0]) for column in columns]
            among_all = torch.cat([every, listed[:, several]], dim=1)
            ranks[0, slot, places] = rank_words(among_all, torch.tensor(chosen, device=every.device)).cpu()
            count = len(lists[slot])
            known = torch.tensor(columns, device=every.device)
            found = rank_words(listed[:, :count], known.clamp(max=count - 1)).double()
            ranks[1, slot, places] = found.masked_fill(known >= count, MISS).cpu()
        done += len(batch[0][0])
    return ranks[0], ranks[1]


def _with_action(ranks: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Ranks by what is counted: a deed's is the worse of its two."""
    return {**dict(zip(ASKED, ranks, strict=True)), "action": np.maximum(*ranks)}


def evaluate_actions(
    model,
    processor,
    segments: Sequence[Mapping],
    batch_size=32,
    train_segments: Sequence[Mapping] | None = None,
    lists: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, float | int | None]:
    """Zero-shot accuracies with the true video, and what they must be compared with.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            For the words.
        segments (`Sequence[Mapping]`):
            N steps with `visual_ids`, `verb`, `object` and `video_id`, as of [`step_segments`].
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.
        train_segments (`Sequence[Mapping]`, *optional*):
            Labelled steps of the training videos, for the token probe and to know which pairs were never seen.
        lists (`Mapping[str, Sequence[str]]`, *optional*):
            The classes, as `verb` and `object`; by default those that occur.

    Returns:
        `dict`: `{verb,object,action}_top{1,5}`, among all words unless it is said otherwise, with the suffixes `""`
        (true video), `_shuffled` (visual tokens of another video, which may by chance show the same), `_prior` (words
        alone), `_multi_piece` (those of several WordPieces), `_unseen_pairs` and `_prior_unseen_pairs` (steps whose
        verb and object no training video shows together), `_closed` and `_prior_closed` (among the classes),
        `_chance` (1 and 5 of the classes) and `_token_probe`, each with its binomial standard error `…_se` and, where
        all segments count, the ends of its interval over videos, `…_low` and `…_high`; `multi_piece_top1` over verbs
        and objects together; `phrase_top1`, the whole deed asked as one answer ("cut the lemon") among those that
        occur; and `num_segments`, `num_unseen_pairs`, `num_multi_piece`. `None` where a figure cannot be had:
        shuffled with one video only, the probe and unseen pairs without `train_segments`.

    Raises:
        ValueError: There are no segments, or a list of words is empty.
    """
    if not segments:
        raise ValueError("There are no segments to classify: no video id of the truth is among the rows.")
    known = [*segments, *(train_segments or ())]
    classes = {asked: sorted({one[asked] for one in known}) for asked in ASKED} | dict(lists or {})
    truth = [[segment[asked] for segment in segments] for asked in ASKED]
    own = [segment["visual_ids"] for segment in segments]
    videos = [segment["video_id"] for segment in segments]
    order = other_videos(videos)
    shown = {"": own, "_prior": [[]] * len(own)}
    if order is not None:
        shown["_shuffled"] = [own[place] for place in order]
    ranks = {}
    for condition, visual_ids in shown.items():
        words = [classes[asked] for asked in ASKED]
        among_all, among_listed = rank_lists(model, processor, visual_ids, TEMPLATE, words, truth, batch_size)
        ranks[condition], ranks[condition + "_closed"] = _with_action(among_all), _with_action(among_listed)
    if train_segments:
        ranks["_token_probe"] = _with_action([token_probe_ranks(train_segments, segments, asked) for asked in ASKED])

    unseen, several = _unseen_pairs(segments, train_segments), _several_pieces(processor.tokenizer, truth)
    results = {"num_segments": len(segments)}
    for counted in COUNTED:
        every = math.prod(len(classes[asked]) for asked in (ASKED if counted == "action" else (counted,)))
        of_condition = {condition: found[counted] for condition, found in ranks.items()}
        of_condition["_multi_piece"] = of_condition[""][several[counted]]
        if unseen is not None:
            of_condition |= {f"{one}_unseen_pairs": of_condition[one][unseen] for one in ("", "_prior")}
        for top in TOPS:
            for condition in CONDITIONS:
                share, se = share_within(of_condition.get(condition, ()), top)
                if condition == "_chance":
                    share, se = min(1.0, top ** (1 + (counted == "action")) / every), 0.0
                results[f"{counted}_top{top}{condition}"] = share
                results[f"{counted}_top{top}{condition}_se"] = se
                if condition in ranks:
                    found = share_with_interval(of_condition[condition] <= top, videos)
                    results |= {f"{counted}_top{top}{condition}_{end}": found[end] for end in ("low", "high")}
    pooled = np.concatenate([ranks[""][asked][several[asked]] for asked in ASKED])
    results["multi_piece_top1"], results["num_multi_piece"] = share_within(pooled, 1)[0], len(pooled)
    results["num_unseen_pairs"] = None if unseen is None else int(unseen.sum())
    results["phrase_top1"] = _phrase_top1(model, processor, own, truth, batch_size)
    return results


def share_within(ranks: Sequence[float], top: int) -> tuple[float | None, float | None]:
    """The share of ranks up to `top` and its binomial standard error; `None` of nothing."""
    if not len(ranks):
        return None, None
    share = float((np.asarray(ranks) <= top).mean())
    return share, math.sqrt(share * (1 - share) / len(ranks))


def _unseen_pairs(segments, train_segments) -> np.ndarray | None:
    """(N,) whether no training video shows the verb with the object."""
    if not train_segments:
        return None
    seen = {tuple(one[asked] for asked in ASKED) for one in train_segments}
    return np.array([tuple(one[asked] for asked in ASKED) not in seen for one in segments])


def _several_pieces(tokenizer, truth) -> dict[str, np.ndarray]:
    """(N,) whether the true verb, object, or either has several WordPieces."""
    several = [np.array([len(ids) > 1 for ids in word_pieces(tokenizer, words)]) for words in truth]
    return {**dict(zip(ASKED, several, strict=True)), "action": several[0] | several[1]}


def _phrase_top1(model, processor, visual_ids, truth, batch_size) -> float:
    """How often the whole deed, asked as one answer of several pieces, is the best of those that occur."""
    phrases = [f"{verb} the {thing}" for verb, thing in zip(*truth, strict=True)]
    mask = processor.tokenizer.mask_token
    text = TEMPLATE.replace(f"{mask} the {mask}", mask)
    _, among = rank_lists(model, processor, visual_ids, text, [sorted(set(phrases))], [phrases], batch_size)
    return share_within(among[0], 1)[0]


def evaluate_templates(
    model, processor, segments: Sequence[Mapping], templates: Sequence[str] = TEMPLATES, batch_size: int = 32
) -> dict:
    """What a figure owes to the template that asks for it.

    Args:
        model, processor, segments, batch_size:
            As in [`evaluate_actions`].
        templates (`Sequence[str]`, *optional*, defaults to `TEMPLATES`):
            Sentences with "[MASK] the [MASK]", verb and object.

    Returns:
        `dict`: `templates` (by template its `verb_top1`, `object_top1` and `action_top1` among all words), and of the
        deeds over the templates `template_mean`, `template_min`, `template_max` and `template_spread`, their standard
        deviation.

    Raises:
        ValueError: There are no segments, no templates, or one with another number of masks than two.
    """
    if not segments or not templates:
        raise ValueError(
            f"There are {len(segments)} segments and {len(templates)} templates; allowed is at least one of each."
        )
    truth = [[segment[asked] for segment in segments] for asked in ASKED]
    own, figures = [segment["visual_ids"] for segment in segments], {}
    for template in templates:
        among_all, _ = rank_lists(model, processor, own, template, truth, truth, batch_size)
        ranks = _with_action(among_all)
        figures[template] = {f"{counted}_top1": share_within(ranks[counted], 1)[0] for counted in COUNTED}
    shares = np.array([one["action_top1"] for one in figures.values()])
    summary = {"mean": shares.mean(), "min": shares.min(), "max": shares.max(), "spread": shares.std()}
    return {"templates": figures, **{f"template_{name}": float(value) for name, value in summary.items()}}


def results_table(results: Mapping[str, float | None]) -> str:
    """The results of [`evaluate_actions`] as a markdown table, in per cent with standard errors.

    Conditions of which nothing is known are left out.
    """
    keys = [f"{asked}_top{top}" for asked in ASKED for top in TOPS] + ["action_top1"]
    lines = ["| | " + " | ".join(key.replace("_top", " top-") for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for condition, name in CONDITIONS.items():
        cells = []
        for key in keys:
            share, se = results[key + condition], results[f"{key}{condition}_se"]
            cells.append("–" if share is None else f"{100 * share:.1f}" + (f" ± {100 * se:.1f}" if se else ""))
        if set(cells) != {"–"}:
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def templates_table(results: Mapping) -> str:
    """The results of [`evaluate_templates`] as a markdown table, in per cent, the best template first."""
    keys = [f"{counted}_top1" for counted in COUNTED]
    lines = ["| template | " + " | ".join(key.replace("_top", " top-") for key in keys) + " |", "|---" * 4 + "|"]
    for template, figures in sorted(results["templates"].items(), key=lambda item: -item[1]["action_top1"]):
        lines.append(f"| {template} | " + " | ".join(f"{100 * figures[key]:.1f}" for key in keys) + " |")
    mean, spread, least, most = (100 * results[f"template_{name}"] for name in ("mean", "spread", "min", "max"))
    lines.append(f"\ndeeds over {len(lines) - 2} templates: {mean:.1f} on average, {least:.1f} to {most:.1f}, ")
    return "\n".join(lines) + f"standard deviation {spread:.1f}"


def best_words(model, processor, segments: Sequence[Mapping], batch_size: int = 32) -> list[tuple[str, str]]:
    """The best verb and the best object for each segment, as words."""
    tokenizer = processor.tokenizer
    words = []
    for logits in mask_logits(model, processor, [segment["visual_ids"] for segment in segments], batch_size):
        words += [tuple(tokenizer.convert_ids_to_tokens(pair)) for pair in logits.argmax(dim=-1).tolist()]
    return words
