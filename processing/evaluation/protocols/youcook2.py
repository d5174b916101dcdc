"""YouCook II: its annotation file, and verbs and objects of the steps for zero-shot classification (section 4.4).

The paper takes the 45 commonest verbs and the 100 commonest nouns that a part-of-speech tagger finds in the captions;
its lists are not published. Captions are imperatives ("add the onions to the pan"), so that here verbs are the words
that captions begin with, and nouns those that end a phrase. The objects of YouCook2-BoundingBox, which has a file of
classes, may be taken instead, or the verbs and objects that people wrote down for sentences of 352 of the videos.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from .steps import make_step, read_text

NUM_VERBS, NUM_OBJECTS = 45, 100
# Captions begin with these, too, before their verb.
NOT_VERBS = set("a after deep finely in now on once one the then thinly to when while with".split())
# A noun stands before these or at the end.
AFTER_NOUNS = set(
    "and are at by for from in inside into is of on onto over through to together under until using with".split()
)
NOT_NOUNS = AFTER_NOUNS | set(
    "a about again all around aside as back bit both brown center cup cups down each even evenly everything golden "
    "half it its little lot minute minutes more off one other out part piece pieces rest side sides simmer some tbsp "
    "that the their them then they this tsp two up well".split()
)

# Classes of the bounding boxes that name no object.
PRONOUNS = {"it", "that", "them", "they"}


def read_youcook2(path: str | PathLike) -> list[dict]:
    """The steps of YouCook II's annotation file, `youcookii_annotations_trainval.json`.

    Args:
        path (`str` or `os.PathLike`):
            The file.

    Returns:
        `list[dict]`: Steps as of [`make_step`], in the order of the file; `subset` is `training` or `validation`.

    Raises:
        `ValueError`: It is another file, or a step has no times.
    """
    path = Path(path)
    try:
        videos = json.loads(read_text(path))["database"]
        return [
            make_step(video_id, video["subset"], *part["segment"], sentence=part["sentence"].strip(), source=path)
            for video_id, video in videos.items()
            for part in video["annotations"]
        ]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is no annotation file of YouCook II, whose 'database' has videos with 'annotations' ({error!r})"
        ) from None


def label_captions(steps: Sequence[Mapping], objects: Mapping[str, str] | None = None) -> list[dict]:
    """Steps with the verb and the object that their captions name; the words are counted in training captions.

    A step is labelled with the first of the verbs in its caption, and with the first of the objects behind it, or
    else before it. A step that names none of either has `None`.

    Args:
        steps (`Sequence[Mapping]`):
            As of [`read_youcook2`].
        objects (`Mapping[str, str]`, *optional*):
            By word the object that it names, as of [`read_object_classes`]; by default the commonest nouns.

    Returns:
        `list[dict]`: The steps, with `verb` and `object`.
    """
    captions = [words_of(step["sentence"]) for step in steps if step["subset"] == "training"]
    captions = captions or [words_of(step["sentence"]) for step in steps]
    verbs = common_verbs(captions)
    objects = name_by_use(objects, captions) if objects else {noun: noun for noun in common_nouns(captions, verbs)}
    return [{**step, **label_words(words_of(step["sentence"]), verbs, objects)} for step in steps]


def words_of(sentence: str) -> list[str]:
    return "".join(letter if letter.isalpha() or letter == "'" else " " for letter in sentence.lower()).split()


def label_words(words: Sequence[str], verbs: Collection[str], objects: Mapping[str, str]) -> dict[str, str | None]:
    verb = next((place for place, word in enumerate(words) if word in verbs), None)
    if verb is None:
        named = [word for word in words if word in objects]
    else:
        # "top the salad with cheese": the verb is not its own object.
        named = [word for word in [*words[verb + 1 :], *words[:verb]] if word in objects]
    return {"verb": None if verb is None else words[verb], "object": objects[named[0]] if named else None}


def common_verbs(captions: Iterable[Sequence[str]]) -> list[str]:
    """The words that most captions begin with."""
    first = Counter(words[0] for words in captions if words)
    return [word for word, _ in first.most_common() if word not in NOT_VERBS][:NUM_VERBS]


def common_nouns(captions: Iterable[Sequence[str]], verbs: Collection[str]) -> list[str]:
    """The words that most often end a phrase: before a preposition, an `and`, or the end."""
    ending = Counter(
        word
        for words in captions
        for word, behind in zip(words[1:], [*words[2:], "and"], strict=False)
        if behind in AFTER_NOUNS
    )
    return [word for word, _ in ending.most_common() if word not in NOT_NOUNS and word not in verbs][:NUM_OBJECTS]


def read_object_classes(path: str | PathLike) -> dict[str, str]:
    """The objects of YouCook2-BoundingBox, `yc2bb_class_file.csv`: number, singular and plural forms in each line.

    Pronouns, which the file has as classes of their own, are left out: they name no object.

    Args:
        path (`str` or `os.PathLike`):
            The file.

    Returns:
        `dict[str, str]`: By form its class, the first form.

    Raises:
        `ValueError`: It is another file.
    """
    classes: dict[str, str] = {}
    for line in csv.reader(read_text(Path(path)).splitlines()):
        if len(line) < 2 or not line[0].strip().isdecimal() or not line[1].strip():
            raise ValueError(f"{path} holds the line {','.join(line)!r}; a class has a number and its forms.")
        forms = [form.strip().lower() for form in line[1:] if form.strip()]
        if forms[0] not in PRONOUNS:
            classes |= dict.fromkeys(forms, forms[0])
    return classes


def name_by_use(objects: Mapping[str, str], captions: Iterable[Sequence[str]]) -> dict[str, str]:
    """The same classes, each called by its form that captions use most: what people say is what can be predicted."""
    used = Counter(word for words in captions for word in words)
    names: dict[str, str] = {}
    for form, name in objects.items():
        names[name] = max(names.get(name, name), form, key=lambda one: used[one])
    return {form: names[name] for form, name in objects.items()}


def read_reviewed(path: str | PathLike, subsets: Mapping[str, str]) -> list[dict]:
    """What people wrote down for spoken sentences of YouCook II videos, `cpe_reviewed_0812.csv` of the benchmark for
    extracting procedures from cooking videos.

    Of several verbs of a sentence the first counts, with its object; of several words the verb's first ("put on")
    and the object's last ("olive oil"), so that each is one word. A sentence lasts until the next one begins.

    Args:
        path (`str` or `os.PathLike`):
            The file.
        subsets (`Mapping[str, str]`):
            By video id `training` or `validation`, out of the annotation file; other videos are left out.

    Returns:
        `list[dict]`: Steps with `verb` and `object`.

    Raises:
        `ValueError`: It is another file.
    """
    path, steps = Path(path), []
    lines = list(csv.DictReader(read_text(path).splitlines()))
    needed = {"VideoUrl", "TimeStamp", "Sentence", "Verb", "Object(directly related with Verb)"}
    if not lines or not needed <= lines[0].keys():
        raise ValueError(f"{path} has no columns {', '.join(sorted(needed))}.")
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        video_id, start = line["VideoUrl"].rpartition("v=")[2], seconds_of(line["TimeStamp"])
        end = start + LAST_SECONDS
        if following is not None and following["VideoUrl"] == line["VideoUrl"]:
            end = seconds_of(following["TimeStamp"])
        verb, thing = first_words(line["Verb"]), first_words(line["Object(directly related with Verb)"])
        if video_id in subsets and verb and thing and end > start:
            labels = {"verb": verb[0], "object": thing[-1]}
            steps.append(make_step(video_id, subsets[video_id], start, end, line["Sentence"].strip(), path, **labels))
    return steps


# A video's last sentence, whose end nothing tells.
LAST_SECONDS = 5.0


def seconds_of(stamp: str) -> float:
    """Of `mm:ss.s` or `hh:mm:ss`."""
    seconds = 0.0
    for part in stamp.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def first_words(cell: str | None) -> list[str]:
    """The words of the first entry of a cell, before an `of` ("center of dough" is a center)."""
    return words_of((cell or "").split(";")[0].split(",")[0].partition(" of ")[0])
