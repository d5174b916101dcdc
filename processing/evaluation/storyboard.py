"""From text to video (paper, section 4.2): visual tokens stand hidden behind words, and the cloze names them.

The paper shows such videos as pictures. Here they are scored, too: do the clips that were imagined for a step belong
to steps with the same verb and object?
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from ..codes_videobert import Clip, beginnings, clips_of, split_clips
from ..forecasting_videobert import among_next
from ..sequence_videobert import joint_sequence, sequence_ids, visual_code_sizes
from .counting import bag_likeness, spoken_words
from .intervals import bootstrap_se
from .truth import ASKED, step_segments

# Clips imagined for a step, in how many rounds, and how much more the words count than they do by themselves.
NUM_CLIPS = 4
ROUNDS = 4
GUIDANCE = 1.0
# How a way to a strip is called in the results' keys and in the table.
WAYS = {
    "iterative": "iterative unmasking",
    "argmax": "all at once (argmax)",
    "nearest": "nearest training text's clips",
    "random": "random training clips",
    "true": "the true clips",
}
SCORES = ("verb", "object", "pair", "exact")


@torch.inference_mode()
def imagine_clips(
    model,
    processor,
    texts: Sequence[str],
    num_clips: int = NUM_CLIPS,
    rounds: int = ROUNDS,
    guidance: float = GUIDANCE,
    batch_size: int = 32,
) -> list[list[int]]:
    """Visual ids for texts, the surest first.

    In each round all hidden places are named and the surest names stay, as many as a quarter of a cosine asks for
    (MaskGIT); what was named before helps with the rest. Clips tell of each other more than words do, so a strip would
    soon follow some film that was seen in training instead of the text. Hence the guidance, as in Muse: what the words
    add to the same clips without words, log p(clip | words, clips) − log p(clip | clips), counts more.

    A single round without guidance names every place by itself, as in the paper. Where a clip has several visual ids,
    all clips get their first codes in this way, then their second ones, and so on.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            Knows the tokens.
        texts (`Sequence[str]`):
            Sentences.
        num_clips (`int`, *optional*, defaults to `NUM_CLIPS`):
            Clips for each text.
        rounds (`int`, *optional*, defaults to `ROUNDS`):
            1 names all places at once.
        guidance (`float`, *optional*, defaults to `GUIDANCE`):
            How much more; 0 saves half of the time.
        batch_size (`int`, *optional*, defaults to 32):
            Texts at a time.

    Returns:
        `list[list[int]]`: The visual ids of `num_clips` clips for each text.

    Raises:
        ValueError: A text without words, no clips or rounds, or more clips than the model has room for.
    """
    for name, value in (("num_clips", num_clips), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed is at least 1.")
    model.eval()
    mask_id, sizes, strips = processor.tokenizer.mask_token_id, visual_code_sizes(processor.tokenizer), []
    for start in range(0, len(texts), batch_size):
        told = _hidden_clips(model, processor, texts[start : start + batch_size], num_clips)
        untold = _hidden_clips(model, processor, [None] * len(told["input_ids"]), num_clips)
        tokens = torch.full((len(told["input_ids"]), num_clips * len(sizes)), mask_id, device=model.device)
        first = model.config.visual_token_offset
        for code, size in enumerate(sizes):
            these = torch.arange(tokens.shape[1], device=model.device) % len(sizes) == code
            for number in range(1, rounds + 1):
                scores = _token_scores(model, told, tokens, first, size)
                if guidance:
                    scores = (1 + guidance) * scores - guidance * _token_scores(model, untold, tokens, first, size)
                before = tokens.roll(1, dims=1) - model.config.visual_token_offset
                sure, ids = among_next(scores.log_softmax(dim=-1), before, sizes, code).max(dim=-1)
                hidden = (tokens == mask_id) & these
                left = math.floor(num_clips * math.cos(math.pi / 2 * number / rounds))
                sure = sure.masked_fill(~hidden, -torch.inf)
                order = sure.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
                # One at least, so that each round helps the next.
                named = hidden & (order < (hidden.sum(dim=1, keepdim=True) - left).clamp(min=1))
                tokens = torch.where(named, ids + first, tokens)
            first += size
        strips += (tokens - model.config.visual_token_offset).tolist()
    return strips


def _token_scores(model, inputs, tokens: torch.Tensor, first: int, size: int) -> torch.Tensor:
    """Log-probabilities (texts, places, size) among `size` tokens from `first` on, where `tokens` are shown."""
    places = inputs["token_type_ids"] == 1
    inputs["input_ids"][places] = tokens.flatten()
    states = model.base_model(**inputs).last_hidden_state[places]
    scores = model.cloze_head(states)[:, first : first + size]
    return scores.float().log_softmax(dim=-1).view(*tokens.shape, -1)


def _hidden_clips(model, processor, texts: Sequence[str | None], num_clips: int):
    """A batch of texts, or of none, with room for so many clips behind each."""
    tokenizer, longest = processor.tokenizer, model.config.max_position_embeddings
    count = num_clips * len(visual_code_sizes(tokenizer))
    rows: dict[str, list] = {"input_ids": [], "token_type_ids": []}
    for text in texts:
        words = [] if text is None else tokenizer(text, add_special_tokens=False)["input_ids"]
        if text is not None and not (words and any(map(str.isalnum, text))):
            raise ValueError(f"The text {text!r} holds no words; clips are imagined for sentences.")
        ids, types = joint_sequence(words, [0] * count, max_length=longest, **sequence_ids(tokenizer))
        if sum(types) < count:
            raise ValueError(f"num_clips is {num_clips}; beside {len(words)} tokens of text the model has no room.")
        rows["input_ids"].append(ids)
        rows["token_type_ids"].append(types)
    return tokenizer.pad(rows, return_tensors="pt").to(model.device)


def told_steps(rows: Iterable[Mapping], truth: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """Steps with what is said in them.

    Args:
        rows (`Iterable[Mapping]`):
            Rows.
        truth (`Mapping[str, Sequence[Mapping]]`):
            As of [`read_truth`].

    Returns:
        `list[dict]`: Steps as of [`step_segments`], and in `text` the sentences whose middle lies in them. Steps
        without words, or without clips, are left out.
    """
    steps = []
    for row in rows:
        for step in step_segments([row], truth):
            said = [
                sentence["text"].strip()
                for sentence in row["sentences"]
                if step["start"] <= (sentence["start"] + sentence["end"]) / 2 < step["end"]
            ]
            step["text"] = " ".join(said)
            steps.append(step)
    return [step for step in steps if step["text"] and step["visual_ids"]]


def name_clusters(steps: Sequence[Mapping]) -> dict[Clip, dict[str, str]]:
    """Which verb and which object a clip belongs to: the one in whose training steps its ids stand most often.

    Args:
        steps (`Sequence[Mapping]`):
            Training steps.

    Returns:
        `dict[Clip, dict[str, str]]`: By visual id its `verb` and its `object`; of equals the first in the alphabet. Of
        several codes also by each beginning of a clip, for clips of which training shows no more.
    """
    counts: dict[Clip, dict[str, Counter]] = {}
    for step in steps:
        for part in (part for clip in clips_of(step) for part in beginnings(clip)):
            here = counts.setdefault(part, {asked: Counter() for asked in ASKED})
            for asked in ASKED:
                here[asked][step[asked]] += 1
    return {
        part: {asked: min(found, key=lambda name: (-found[name], name)) for asked, found in here.items()}
        for part, here in counts.items()
    }


def score_strip(strip: Sequence[Clip], step: Mapping, clusters: Mapping[Clip, Mapping[str, str]]) -> list[float]:
    """What a strip is worth for a step.

    A clip with several codes belongs where the training clips do that share as many of its first codes as any does,
    as a picture of it would show.

    Args:
        strip (`Sequence[Clip]`):
            The clips that were imagined.
        step (`Mapping`):
            `verb`, `object` and the true `visual_ids`.
        clusters (`Mapping[int, Mapping[str, str]]`):
            As of [`name_clusters`].

    Returns:
        `list[float]`: `SCORES`: whether a clip of the right verb, of the right object, and of both is there (one clip
        may give both), and which share of the true clips is among them, with all of their ids.
    """
    shown = [next((clusters[part] for part in beginnings(clip) if part in clusters), {}) for clip in strip]
    verb, thing = (any(one.get(asked) == step[asked] for one in shown) for asked in ASKED)
    true = set(clips_of(step))
    return [float(verb), float(thing), float(verb and thing), len(true & set(strip)) / len(true)]


def nearest_texts(texts: Sequence[str], others: Sequence[str]) -> list[int]:
    """For each text the place of the other that is most like it: as of [`bag_likeness`], of equals the first.

    Args:
        texts (`Sequence[str]`):
            Texts.
        others (`Sequence[str]`):
            Those to choose from, whose words are counted.

    Returns:
        `list[int]`
    """
    asked, known = ([spoken_words(text) for text in some] for some in (texts, others))
    return bag_likeness(asked, known).argmax(axis=1).tolist()


def evaluate_storyboard(
    model, processor, train_steps: Sequence[Mapping], steps: Sequence[Mapping], num_clips=NUM_CLIPS, seed: int = 0
) -> dict[str, dict]:
    """How often a strip imagined for what is said in a step shows its verb and its object, beside other ways.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            Knows the tokens.
        train_steps (`Sequence[Mapping]`):
            Training steps, as of [`told_steps`]: they say what a clip belongs to, and are what the nearest
            neighbour is taken from.
        steps (`Sequence[Mapping]`):
            Steps to imagine.
        num_clips (`int`, *optional*, defaults to `NUM_CLIPS`):
            Clips in a strip, at most those for the nearest neighbour and the truth, which may be shorter.
        seed (`int`, *optional*, defaults to 0):
            Of the random clips.

    Returns:
        `dict[str, dict]`: For each of `WAYS` the means of `SCORES`, each with `…_se` by bootstrap over videos, and
        `pair_unseen`, of the verb–object pairs that no training step has (`None` without any).

    Raises:
        ValueError: There are no steps to imagine or no training steps.
    """
    for name, some in (("to imagine", steps), ("of training videos", train_steps)):
        if not some:
            raise ValueError(f"There are 0 steps {name} with words and clips; allowed is at least 1.")
    clusters, texts = name_clusters(train_steps), [step["text"] for step in steps]
    nearest = nearest_texts(texts, [step["text"] for step in train_steps])
    clips = [clip for step in train_steps for clip in clips_of(step)]
    drawn = np.random.default_rng(seed).choice(len(clips), (len(steps), num_clips))
    imagined = {
        "iterative": imagine_clips(model, processor, texts, num_clips),
        "argmax": imagine_clips(model, processor, texts, num_clips, rounds=1, guidance=0.0),
    }
    each = len(visual_code_sizes(processor.tokenizer))
    strips = {way: [split_clips(ids, each) for ids in found] for way, found in imagined.items()} | {
        "nearest": [_spread(clips_of(train_steps[place]), num_clips) for place in nearest],
        "random": [[clips[place] for place in places] for places in drawn],
        "true": [_spread(clips_of(step), num_clips) for step in steps],
    }
    known = {tuple(step[asked] for asked in ASKED) for step in train_steps}
    unseen = np.array([tuple(step[asked] for asked in ASKED) not in known for step in steps])
    videos = [step["video_id"] for step in steps]
    results = {}
    for way in WAYS:
        values = np.array([score_strip(*one, clusters) for one in zip(strips[way], steps, strict=True)])
        means, errors = values.mean(axis=0).tolist(), bootstrap_se(values, videos).tolist()
        results[way] = dict(zip(SCORES, means, strict=True))
        results[way] |= {f"{name}_se": error for name, error in zip(SCORES, errors, strict=True)}
        pair = values[unseen, SCORES.index("pair")]
        results[way]["pair_unseen"] = float(pair.mean()) if len(pair) else None
    return results


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """At most `count` of them, evenly over time."""
    if len(clips) <= count:
        return list(clips)
    return [clips[place] for place in np.linspace(0, len(clips) - 1, count).round().astype(int)]


def storyboard_table(results: Mapping[str, Mapping]) -> str:
    """The results of [`evaluate_storyboard`] as a markdown table, in per cent with standard errors."""
    heads = ["verb", "object", "verb and object", "of pairs unseen in training", "true clips"]
    lines = ["| a strip shows the right | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for way, label in WAYS.items():
        one = results[way]
        cells = [f"{100 * one[name]:.1f} ± {100 * one[f'{name}_se']:.1f}" for name in SCORES]
        cells.insert(3, "–" if one["pair_unseen"] is None else f"{100 * one['pair_unseen']:.1f}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def storyboard_figures(model, processor, train_steps: Sequence[Mapping], steps: Sequence[Mapping]) -> dict:
    """The figures of a benchmark: `storyboard_recall`, `storyboard_nn`, `storyboard_random` (verb and object), and
    `storyboard` with all.

    The recall is that of iterative unmasking, which was decided on training rows; there it and argmax show the right
    pair equally often (77.9 % of the kitchen's steps), so that they give no reason to change. Argmax stands beside it.

    Args:
        model, processor, train_steps, steps:
            See [`evaluate_storyboard`].

    Returns:
        `dict`
    """
    results = evaluate_storyboard(model, processor, train_steps, steps)
    ways = {"storyboard_recall": "iterative", "storyboard_nn": "nearest", "storyboard_random": "random"}
    return {name: results[way]["pair"] for name, way in ways.items()} | {"storyboard": results}
