"""What captions are worth (paper, section 4.5), beside what they must be compared with.

Captions are judged against what is heard. People speak beside the point, so of the sentences heard during a step only
those are references that name its verb and its object; steps that nobody names are left out and counted. YouCook II is
scored in three ways whose figures do not compare:

- micro: each caption against its references, all videos in one corpus.
- macro: the same for each video as a corpus of its own, then the mean over videos.
- paragraph: all captions of a video as one text against the first references of its steps as one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

from ..captioning_videobert import write_captions
from .controls import other_videos
from .counting import bag_likeness
from .truth import ASKED, step_segments

MODES = ("micro", "macro", "paragraph")
# How a condition is called in the results' keys and in the table.
CONDITIONS = {
    "": "captioner",
    "_text_start": "captioner from a text-only start",
    "_shuffled": "captioner with another video (shuffled)",
    "_no_video": "captioner without video",
    "_nn": "sentence of the nearest training segment",
}


def named_in(word: str, text: str) -> bool:
    """Whether a text holds a word, or words, as such; however they are capitalised."""
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def caption_steps(rows: Iterable[Mapping], truth: Mapping[str, Sequence[Mapping]]) -> tuple[list[dict], int]:
    """The steps to caption, with their references.

    Args:
        rows (`Iterable[Mapping]`):
            Rows of the corpus.
        truth (`Mapping[str, Sequence[Mapping]]`):
            By video id its steps, as of [`step_segments`]. A step may bring `references` (`list[str]`) of its own.

    Returns:
        `tuple[list[dict], int]`: Steps as of [`step_segments`], in order, each with `references`: those that it
        brings, else the sentences that overlap it and name its verb and its object; and how many steps had clips or
        references missing and were left out.

    Raises:
        ValueError: None is left.
    """
    steps, left_out = [], 0
    for row in rows:
        own = truth.get(row["video_id"], ())
        for step, told in zip(step_segments([row], truth), own, strict=True):
            step["references"] = [text for text in told.get("references", ()) if text.strip()] or [
                sentence["text"].strip()
                for sentence in row["sentences"]
                if sentence["start"] < step["end"]
                and sentence["end"] > step["start"]
                and all(named_in(step[asked], sentence["text"]) for asked in ASKED)
            ]
            if step["references"] and step["visual_ids"]:
                steps.append(step)
            else:
                left_out += 1
    if not steps:
        raise ValueError(
            f"There are no steps to caption: of {left_out} steps in the truth none has clips and a sentence that "
            "names its verb and object."
        )
    return steps, left_out


def nearest_captions(pairs: Sequence, visual_ids: Sequence[Sequence[int]]) -> list[str]:
    """For each of N videos the sentence of the pair whose visual tokens are most like its own.

    Bags of visual tokens are compared as in [`bag_likeness`]; of equals the first pair is taken.

    Args:
        pairs (`Sequence[Segment]`):
            With `text` and `visual_ids`, as of [`caption_pairs`].
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video.
    """
    likeness = bag_likeness(visual_ids, [pair.visual_ids for pair in pairs])
    return [pairs[int(place)].text for place in likeness.argmax(axis=1)]


def score_captions(
    captions: Sequence[str], steps: Sequence[Mapping], metrics: Sequence, modes: Sequence[str] = MODES
) -> dict[str, dict[str, float]]:
    """Scores of captions, by mode and name of the figure. A caption without words counts as one full stop: it earns
    nothing, and metrics that refuse what is empty take it.

    Args:
        captions (`Sequence[str]`):
            One for each step.
        steps (`Sequence[Mapping]`):
            With `video_id`, `references` and `start`.
        metrics (`Sequence`):
            Of `evaluate`, or whatever has `compute(predictions=list[str], references=list[list[str]]) -> dict`.
        modes (`Sequence[str]`, *optional*, defaults to all of `MODES`):
            How they are put together.

    Raises:
        ValueError: There are not as many captions as steps, a step has no reference, or a mode does not exist.
    """
    if len(captions) != len(steps):
        raise ValueError(f"There are {len(captions)} captions for {len(steps)} steps; one each is needed.")
    for step in steps:
        if not any(text.strip() for text in step["references"]):
            raise ValueError(f"The step of {step['video_id']} at {step['start']} s has no reference; one is needed.")
    for mode in modes:
        if mode not in MODES:
            raise ValueError(f"The mode {mode!r} does not exist; allowed are {', '.join(MODES)}.")
    captions = [text.strip() or "." for text in captions]
    references = [list(step["references"]) for step in steps]
    in_time = sorted(range(len(steps)), key=lambda number: (steps[number]["video_id"], steps[number]["start"]))
    videos = [list(numbers) for _, numbers in groupby(in_time, key=lambda number: steps[number]["video_id"])]

    def compute(predictions, told) -> dict[str, float]:
        return {
            name: value
            for metric in metrics
            for name, value in metric.compute(predictions=predictions, references=told).items()
        }

    scores = {}
    if "micro" in modes:
        scores["micro"] = compute(captions, references)
    if "macro" in modes:
        each = [
            compute([captions[number] for number in numbers], [references[number] for number in numbers])
            for numbers in videos
        ]
        scores["macro"] = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    if "paragraph" in modes:
        texts = [" ".join(captions[number] for number in numbers) for numbers in videos]
        told = [[" ".join(references[number][0] for number in numbers)] for numbers in videos]
        scores["paragraph"] = compute(texts, told)
    return scores


def make_captions(
    captioner, processor, steps: Sequence[Mapping], pairs: Sequence, no_video=None, text_start=None, **generation
) -> dict[str, list[str]]:
    """Captions of steps, and those that they must be compared with.

    Args:
        captioner ([`VideoBertForCaptioning`]):
            The captioner.
        processor ([`VideoBertProcessor`]):
            Its processor.
        steps (`Sequence[Mapping]`):
            Of [`caption_steps`].
        pairs (`Sequence[Segment]`):
            What the captioners were trained on, as of [`caption_pairs`].
        no_video ([`VideoBertForCaptioning`], *optional*):
            One that was trained without visual tokens, and is shown none.
        text_start ([`VideoBertForCaptioning`], *optional*):
            One that started from text, without pretraining on video.
        generation:
            Options of [`write_captions`].

    Returns:
        `dict[str, list[str]]`: By the name of the condition, as in `CONDITIONS`, one caption a step.
    """
    own = [step["visual_ids"] for step in steps]
    shown = {"": (captioner, own), "_text_start": (text_start, own), "_no_video": (no_video, [[]] * len(own))}
    order = other_videos([step["video_id"] for step in steps])
    if order is not None:
        shown["_shuffled"] = captioner, [own[place] for place in order]
    captions = {
        condition: write_captions(one, processor, visual_ids, **generation)
        for condition, (one, visual_ids) in shown.items()
        if one is not None
    }
    return captions | {"_nn": nearest_captions(pairs, own)}


def evaluate_captions(
    captions: Mapping[str, Sequence[str]],
    steps: Sequence[Mapping],
    metrics: Sequence,
    modes: Sequence[str] = MODES,
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by condition, mode and name of the figure.

    Args:
        captions (`Mapping[str, Sequence[str]]`):
            Of [`make_captions`].
        steps (`Sequence[Mapping]`):
            Of [`caption_steps`].
        metrics, modes:
            As of [`score_captions`].

    Returns:
        `dict`: The scores of [`score_captions`]; the mode micro has also `names_verb` and `names_object`, the share of
        captions that name the step's verb and its object, where steps have these.
    """
    results = {}
    for condition, texts in captions.items():
        results[condition] = score_captions(texts, steps, metrics, modes)
        for asked in ASKED:
            if "micro" in modes and all(asked in step for step in steps):
                named = [named_in(step[asked], text) for step, text in zip(steps, texts, strict=True)]
                results[condition]["micro"][f"names_{asked}"] = float(np.mean(named))
    return results


def captions_table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The results of [`evaluate_captions`] as markdown, a table for each mode."""
    tables = []
    for mode in next(iter(results.values())):
        keys = list(next(iter(results.values()))[mode])
        lines = [f"| {mode} | " + " | ".join(key.replace("_", " ") for key in keys) + " |"]
        lines.append("|---" * (len(keys) + 1) + "|")
        for condition, name in CONDITIONS.items():
            if condition in results:
                cells = (f"{results[condition][mode][key]:.3f}" for key in keys)
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
