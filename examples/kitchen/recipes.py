"""What happens and what is said: recipes of a few steps, sentences about them, and when each is spoken."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass

import numpy as np

from kitchen.motions import MOTIONS
from kitchen.objects import OBJECTS

VERBS = tuple(MOTIONS)
THINGS = tuple(OBJECTS)
ORDER = ("wash", "peel", "roll", "press", "cut", "shake", "stir", "flip")  # what comes first in a recipe
HELD_OUT_PAIRS = frozenset(
    {
        ("wash", "onion"), ("peel", "carrot"), ("cut", "fish"), ("cut", "pumpkin"), ("roll", "bread"),
        ("press", "tomato"), ("shake", "corn"), ("stir", "mushroom"), ("stir", "cabbage"), ("flip", "egg"),
    }
)  # fmt: skip

MAIN = (
    "now let me show you how to {verb} the {thing}.",
    "now we are going to {verb} the {thing}.",
    "go ahead and {verb} the {thing}.",
    "next, {verb} the {thing}{how}.",
    "now {verb} the {thing}{how}.",
    "the next step is to {verb} the {thing}.",
    "first of all, you want to {verb} the {thing}.",
    "then you need to {verb} the {thing}{how}.",
    "I like to {verb} the {thing}{how}.",
    "here you can see me {verb} the {thing}.",
    "it is time to {verb} the {thing}.",
    "take your time and {verb} the {thing}{how}.",
    "we have to {verb} the {thing} before we go on.",
    "all you have to do is {verb} the {thing}.",
    "watch how I {verb} the {thing}{how}.",
    "what I do here is {verb} the {thing}.",
)
HOW = {
    "cut": (" into slices", " into small pieces"),
    "peel": (" from one side to the other", " until the skin is gone"),
    "stir": (" until it is soft", " round and round"),
    "press": (" until it is flat", " down with some force"),
    "roll": (" back and forth", " under your hand"),
    "shake": (" really fast", " for a few seconds"),
    "flip": (" over in the air", " to the other side"),
    "wash": (" under cold water", " until it is clean"),
}
FOLLOW_UPS = (
    "that is a beautiful {thing}.",
    "look at this {thing}.",
    "I love a good {thing}.",
    "the {thing} smells so fresh.",
    "this {thing} is from the market.",
    "be gentle with the {thing}.",
    "the {thing} is almost ready.",
    "you can use any {thing} you like.",
)
WELCOMES = ("welcome back to my kitchen.", "hello everybody.", "thank you for joining me today.")
CHATTER = (
    "my grandmother used to love this.",
    "it is so easy.",
    "this is my favorite part.",
    "my kids ask for this every week.",
    "do not worry about the mess.",
    "it has been raining all day.",
    "I made this for my birthday last year.",
    "music always helps me in the kitchen.",
    "leave me a comment if you like it.",
    "that looks really good.",
    "you will not believe how simple this is.",
    "my neighbor taught me this trick.",
    "this reminds me of my summer holidays.",
    "I am already getting hungry.",
    "my dog is watching me again.",
    "there we go.",
    "we are in no hurry today.",
    "I learned that from my father.",
    "dinner is at seven tonight.",
    "perfect.",
)


@dataclass(frozen=True)
class Step:
    """One step of a recipe; times in seconds from the start of the video, on whole frames."""

    verb: str
    object: str
    start: float
    end: float
    close_up_end: float


@dataclass(frozen=True)
class Sentence:
    """One spoken sentence and when it is heard."""

    text: str
    start: float
    end: float


def _thing_for(rng, verb: str, before: str | None, split: str) -> str:
    held_out = [thing for thing in THINGS if (verb, thing) in HELD_OUT_PAIRS]
    if split == "test" and rng.random() < 0.2:
        return held_out[rng.integers(len(held_out))]
    if before is not None and rng.random() < 0.2 and (split == "test" or before not in held_out):
        return before
    allowed = [thing for thing in THINGS if split == "test" or thing not in held_out]
    return allowed[rng.integers(len(allowed))]


def plan_steps(rng: np.random.Generator, split: str, fps: int) -> list[Step]:
    """Four to six steps, each a close-up of 2 to 3 s and then at least 3 s of work; 20 to 30 s in all.

    Args:
        rng (`np.random.Generator`):
            Draws steps and lengths.
        split (`str`):
            `"train"` never contains one of `HELD_OUT_PAIRS`; in `"test"` about a quarter of the steps are.
        fps (`int`):
            Frames a second, on which steps begin and end.

    Returns:
        `list[Step]`: The steps in order.
    """
    count = int(rng.choice([4, 5, 6], p=[0.5, 0.4, 0.1]))
    verbs = sorted(rng.choice(VERBS, count, replace=False).tolist(), key=ORDER.index)
    steps, frame, thing = [], 0, None
    for verb in verbs:
        thing = _thing_for(rng, verb, thing, split)
        length = rng.uniform(5.0, min(6.5, 30 / count))
        close_up = min(max(2.0, rng.uniform(0.4, 0.48) * length), length - 3.0)
        after = frame + round(length * fps)
        steps.append(Step(verb, thing, frame / fps, after / fps, (frame + round(close_up * fps)) / fps))
        frame = after
    return steps


def _deck(rng, sentences):
    """The sentences in a shuffled order, over and over: none comes twice soon."""
    return itertools.cycle(rng.permutation(sentences).tolist())


def narrate(rng: np.random.Generator, steps: list[Step], speak, rate: int, chatter: float, shift: float):
    """Puts sentences on the time line: no two overlap, and a short pause follows each.

    Args:
        rng (`np.random.Generator`):
            Draws what is said, and when.
        steps (`list[Step]`):
            What is done in the video.
        speak (`Callable`):
            Text to mono samples.
        rate (`int`):
            Samples per second of `speak`.
        chatter (`float`):
            Probability that a gap is filled with something off the topic.
        shift (`float`):
            Each step's words come up to this many seconds before or after its pictures.

    Returns:
        `tuple`: The `Sentence`s in order, and the sound track (float32, as long as the video).
    """
    end = steps[-1].end
    track = np.zeros(round(end * rate), np.float32)
    sentences: list[Sentence] = []
    shifts = rng.uniform(-shift, shift, len(steps))
    begins = [max(0.1, step.start + moved) for step, moved in zip(steps, shifts, strict=True)]
    free_from = 0.1
    mains, follow_ups, off_topic, welcomes = (_deck(rng, deck) for deck in (MAIN, FOLLOW_UPS, CHATTER, WELCOMES))

    def place(text: str, at: float, limit: float) -> bool:
        nonlocal free_from
        sound = speak(text)
        first = round(max(at, free_from) * rate)
        if first + len(sound) > limit * rate:
            return False
        track[first : first + len(sound)] = sound
        sentences.append(Sentence(text, round(first / rate, 3), round((first + len(sound)) / rate, 3)))
        free_from = (first + len(sound)) / rate + rng.uniform(0.35, 0.6)
        return True

    for at, step in enumerate(steps):
        limit = min(begins[at + 1] - 0.35, steps[at + 1].start) if at + 1 < len(steps) else end - 0.1
        if at == 0 and rng.random() < chatter:
            place(next(welcomes), 0.1, step.close_up_end)
        how = HOW[step.verb][rng.integers(2)] if rng.random() < 0.6 else ""
        for template in itertools.islice(mains, len(MAIN)):
            if place(template.format(verb=step.verb, thing=step.object, how=how), begins[at], limit):
                break
        for _ in range(2):
            if rng.random() < chatter:
                place(next(off_topic), free_from, limit)
            elif rng.random() < 0.7:
                place(next(follow_ups).format(thing=step.object), free_from, limit)
    return sentences, track


def truth_line(video_id: str, seed: int, steps: list[Step], sentences: list[Sentence]) -> dict:
    """What really happens in a video, for evaluation only."""
    return {
        "video_id": video_id,
        "duration": steps[-1].end,
        "seed": seed,
        "steps": [asdict(step) for step in steps],
        "sentences": [asdict(sentence) for sentence in sentences],
    }
