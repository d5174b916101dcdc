"""The kitchen that makes the default data set: it must be repeatable, honest about its truth, and learnable."""

import json
import subprocess
from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
from kitchen.generate import FPS, draw_frames, generate, plan_video  # noqa: E402
from kitchen.motions import TOOL_OF, close_up, prepare, work  # noqa: E402
from kitchen.objects import draw_object  # noqa: E402
from kitchen.recipes import CHATTER, HELD_OUT_PAIRS, HOW, MAIN, ORDER, THINGS, VERBS, plan_steps  # noqa: E402
from kitchen.scene import REACH, Sprite, draw_kitchen  # noqa: E402
from kitchen.voice import PiperNarrator  # noqa: E402

# All of these stand as whole words in the vocabulary of bert-base-uncased.
WHOLE_WORDS = set(
    "cut peel stir press roll shake flip wash tomato lemon carrot banana corn mushroom fish cheese "
    "bread egg pumpkin strawberry onion shrimp chicken cabbage".split()
)


class Hum:
    """Stands in for a voice: a tone that lasts as long as such a sentence would."""

    rate = 16000

    def __call__(self, text, pace, pitch):
        seconds = 0.06 * len(text) * pace
        return 0.3 * np.sin(2 * np.pi * 220 * pitch * np.arange(round(seconds * self.rate)) / self.rate).astype("f4")


def _plans(split, count=60, chatter=0.3, shift=0.7):
    return [plan_video(3, split, index, Hum(), chatter, shift) for index in range(count)]


def _step(index=0, split="train"):
    return plan_steps(np.random.default_rng(index), split, FPS)


def test_words_are_single_wordpieces():
    """A masked word must be one token, or the question `[MASK] the [MASK]` cannot be answered."""
    assert len(VERBS) >= 8 and len(THINGS) >= 16
    assert set(VERBS) | set(THINGS) == WHOLE_WORDS
    assert set(ORDER) == set(HOW) == set(TOOL_OF) == set(VERBS)


def test_phrasings_are_many_and_name_both():
    """Words are learned from many phrasings, one of them the prompt of the evaluation; chatter names neither."""
    assert len(MAIN) >= 12
    assert all("{verb} the {thing}" in template and template.endswith(".") for template in MAIN)
    assert "now let me show you how to {verb} the {thing}." in MAIN
    for sentence in CHATTER:
        assert not WHOLE_WORDS & set(sentence.rstrip(".").split())


def test_some_verbs_share_a_tool():
    """Motion must matter: at least two tools serve more than one verb."""
    assert sum(uses > 1 for uses in Counter(TOOL_OF.values()).values()) >= 2


def test_same_seed_same_frames():
    """Frames depend on (seed, split, index) alone: equal in two runs, different for another index."""
    steps = _step()[:1]
    one, two, other = (np.stack(list(draw_frames(steps, 5, "train", index))) for index in (1, 1, 2))
    assert one.shape == (round(steps[0].end * FPS), 224, 224, 3) and one.dtype == np.uint8
    assert np.array_equal(one, two)
    assert not np.array_equal(one[0], other[0])


def test_same_seed_same_sound_and_truth():
    """The plan is repeatable, whatever was planned before."""
    steps, sentences, track = plan_video(1, "train", 4, Hum(), 0.3, 0.7)
    plan_video(1, "train", 5, Hum(), 0.3, 0.7)
    again = plan_video(1, "train", 4, Hum(), 0.3, 0.7)
    assert (steps, sentences) == again[:2]
    assert np.array_equal(track, again[2])


def test_steps_have_a_close_up_and_a_deed():
    """Every step shows its thing large for 2 to 3 s and then works for 3 s, gapless, in a plausible order."""
    for split, index in product(("train", "test"), range(100)):
        steps = _step(index, split)
        assert 4 <= len(steps) <= 6
        assert steps[0].start == 0 and 19.9 <= steps[-1].end <= 30.1
        assert all(before.end == after.start for before, after in pairwise(steps))
        assert [step.verb for step in steps] == sorted({step.verb for step in steps}, key=ORDER.index)
        for step in steps:
            assert 1.95 <= step.close_up_end - step.start <= 3.15
            assert step.end - step.close_up_end >= 2.95


def test_held_out_pairs_are_absent_in_training_only():
    """Compositional generalisation is measured on pairs that training never shows but whose parts it does."""
    train, test = (
        Counter((step.verb, step.object) for index in range(400) for step in _step(index, split))
        for split in ("train", "test")
    )
    assert not HELD_OUT_PAIRS & set(train)
    assert HELD_OUT_PAIRS <= set(test)
    share = sum(test[pair] for pair in HELD_OUT_PAIRS) / sum(test.values())
    assert 0.15 < share < 0.4
    assert set(product(VERBS, THINGS)) - set(train) == HELD_OUT_PAIRS


def test_verbs_and_objects_are_balanced():
    """Neither the most frequent word nor the object may be a good guess at the verb."""
    pairs = [(step.verb, step.object) for index in range(600) for step in _step(index)]
    for at, words in enumerate((VERBS, THINGS)):
        shares = Counter(pair[at] for pair in pairs)
        assert max(shares.values()) < 1.4 * len(pairs) / len(words)
        assert min(shares.values()) > 0.6 * len(pairs) / len(words)


def test_each_step_is_named_in_its_time_and_nothing_overlaps():
    """The truth holds: sentences in order with pauses, one main sentence a step, near its pictures."""
    spoken = []
    for steps, sentences, track in _plans("train"):
        assert len(track) == round(steps[-1].end * Hum.rate)
        assert all(after.start - before.end >= 0.3 for before, after in pairwise(sentences))
        assert sentences[0].start >= 0 and sentences[-1].end <= steps[-1].end
        for step in steps:
            named = [s for s in sentences if f"{step.verb} the {step.object}" in s.text]
            assert len(named) == 1
            assert step.start - 0.75 <= named[0].start and named[0].end <= step.end + 1e-3
        spoken.append(sum(s.end - s.start for s in sentences) / steps[-1].end)
    assert 0.5 < np.mean(spoken) < 0.9


def test_sound_is_where_the_truth_says():
    """Speech is loud inside sentences and almost silent between them."""
    _, sentences, track = plan_video(0, "train", 0, Hum(), 0.3, 0.7)
    inside = np.zeros(len(track), bool)
    for sentence in sentences:
        start, end = (round(edge * Hum.rate) for edge in (sentence.start - 0.001, sentence.end + 0.001))
        inside[start:end] = True
    assert track[inside].std() > 0.15 and np.abs(track[~inside]).max() < 0.02


def test_chatter_and_shift_do_what_they_say():
    """No chatter and no shift: nothing off the topic, and every main sentence begins with its step or after it."""
    off_topic = set(CHATTER)
    for steps, sentences, _ in _plans("train", 20, chatter=0.0, shift=0.0):
        assert not off_topic & {sentence.text for sentence in sentences}
        for step in steps:
            (main,) = (s for s in sentences if f"{step.verb} the {step.object}" in s.text)
            assert step.start - 1e-3 <= main.start <= step.start + 0.11
    talk = [s.text for _, sentences, _ in _plans("train", 20, chatter=1.0) for s in sentences]
    assert len(off_topic & set(talk)) > 10


@pytest.mark.parametrize("thing", THINGS)
def test_close_up_fills_the_frame(thing):
    """Things are small beside motion for a video network, so each is shown large first: 65 % of a side at least."""
    deed = prepare("stir", thing, np.random.default_rng(0), np.random.default_rng(1))
    plain = close_up(deed, 0.5)
    deed.thing = Sprite(deed.thing.levels[0].point(lambda value: 0))  # the same picture without the thing
    changed = np.asarray(plain.image) != np.asarray(close_up(deed, 0.5).image)
    rows, columns = changed.any(2).any(1), changed.any(2).any(0)
    assert max(rows.sum(), columns.sum()) > 0.65 * 224


def test_things_look_different_without_colour():
    """Outline and texture differ, not only the colour: grey pictures of two things are less alike than of one."""
    grey = {}
    for name, seed in product(THINGS, (0, 1)):
        picture = np.asarray(draw_object(name, np.random.default_rng(seed)).reduce(8), float)
        flat = picture[..., :3].mean(2) * picture[..., 3] / 255
        grey[name, seed] = (flat - flat.mean()) / flat.std()
    for one, other in product(THINGS, THINGS):
        likeness = (grey[one, 0] * grey[other, 1]).mean()
        assert likeness > 0.8 if one == other else likeness < 0.9, (one, other, likeness)


@pytest.mark.parametrize("verb", VERBS)
def test_every_deed_moves(verb):
    """The verb is told by motion, so each deed changes the picture from one quarter second to the next."""
    rng = np.random.default_rng
    deed, kitchen = prepare(verb, "lemon", rng(0), rng(1)), Sprite(draw_kitchen(rng(2)))
    frames = [np.asarray(work(deed, kitchen, REACH, 1 + at / 4).image, float) for at in range(5)]
    assert all(np.abs(after - before).mean() > 2 for before, after in pairwise(frames))


def test_videos_are_real(tmp_path):
    """Two worker processes write playable H.264 and AAC as long as the truth tells; again gives the same bytes."""
    lines = generate(tmp_path / "one", 2, seed=9, narrator=Hum(), workers=2)
    assert lines == [json.loads(line) for line in (tmp_path / "one" / "truth.jsonl").read_text().splitlines()]
    assert len({line["video_id"] for line in lines}) == 2
    for line in lines:
        path = tmp_path / "one" / f"{line['video_id']}.mp4"
        show = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(path)]
        video, sound = json.loads(subprocess.run(show, capture_output=True, check=True).stdout)["streams"]
        assert (video["codec_name"], video["pix_fmt"], video["width"], video["height"]) == (
            "h264",
            "yuv420p",
            224,
            224,
        )
        assert video["r_frame_rate"] == "20/1" and int(video["nb_frames"]) == round(line["duration"] * FPS)
        assert sound["codec_name"] == "aac"
        assert abs(float(sound["duration"]) - line["duration"]) < 0.1
    generate(tmp_path / "two", 1, seed=9, narrator=Hum())
    name = f"{lines[0]['video_id']}.mp4"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    "wrong", [{"split": "dev"}, {"chatter": 1.5}, {"shift": -1.0}, {"num_videos": 0}, {"workers": 0}]
)
def test_bad_options_are_refused(tmp_path, wrong):
    """A wrong option is named with its value, before anything is made."""
    options = {"num_videos": 1, "narrator": Hum(), **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        generate(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_a_folder_without_a_voice_is_refused(tmp_path):
    """The sentence says which folder and what is missing."""
    with pytest.raises(ValueError, match="holds no Piper voice"):
        PiperNarrator(tmp_path)
