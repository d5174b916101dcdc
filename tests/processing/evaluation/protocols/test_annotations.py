"""Protects the readers of public annotation files: small ones in their form, and the real ones where they are."""

import json
from collections import Counter
from pathlib import Path

import pytest

from processing.evaluation.protocols import (
    label_captions,
    read_coin,
    read_crosstask,
    read_object_classes,
    read_reviewed,
    read_youcook2,
)
from processing.evaluation.protocols.youcook2 import common_nouns, common_verbs, label_words, seconds_of, words_of

REAL = Path(__file__).resolve().parents[5] / "shared" / "text"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real annotation files are not beside this checkout")


def youcook2(folder, *captions, subset="training", segment=(1, 5)):
    parts = [{"segment": list(segment), "id": number, "sentence": text} for number, text in enumerate(captions)]
    videos = {"abc": {"subset": subset, "duration": 9.0, "annotations": parts}}
    (folder / "yc.json").write_text(json.dumps({"database": videos}))
    return folder / "yc.json"


def test_youcook2(tmp_path):
    (step,) = read_youcook2(youcook2(tmp_path, " cut the lemon ", subset="validation"))
    assert step == {"video_id": "abc", "subset": "validation", "start": 1.0, "end": 5.0, "sentence": "cut the lemon"}


@pytest.mark.parametrize("segment", [(5, 5), (6, 5), (-1, 5), (0, None), ("x", 5)])
def test_a_step_without_a_time_is_named(tmp_path, segment):
    with pytest.raises(ValueError, match="the step 'cut it' of abc lasts from"):
        read_youcook2(youcook2(tmp_path, "cut it", segment=segment))


def test_another_file_says_so(tmp_path):
    path = tmp_path / "other.json"
    for text in ("{}", "[1]", "hello", '{"database": {"a": {}}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="no annotation file of YouCook II"):
            read_youcook2(path)
        with pytest.raises(ValueError, match="no annotation file of COIN"):
            read_coin(path)
        with pytest.raises(ValueError, match="holds the line"):
            read_object_classes(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_youcook2(tmp_path / "none.json")


def test_verbs_and_nouns_out_of_captions():
    captions = [words_of(text) for text in ("cut the lemon and onion", "cut the lemon", "now stir the lemon in oil")]
    assert common_verbs(captions) == ["cut"]
    # "lemon" ends a phrase three times; "onion" and "oil" once.
    assert common_nouns(captions, ["cut"])[0] == "lemon" and set(common_nouns(captions, ["cut"])) >= {"oil", "onion"}


def test_a_caption_is_labelled_with_its_first_verb_and_the_object_behind_it():
    verbs, objects = ["cut", "top", "stir"], {"lemon": "lemon", "lemons": "lemon", "top": "top", "oil": "oil"}
    labels = [label_words(words_of(text), verbs, objects) for text in ("top lemons with oil", "oil: stir it", "wash")]
    assert labels[0] == {"verb": "top", "object": "lemon"}
    assert labels[1] == {"verb": "stir", "object": "oil"} and labels[2] == {"verb": None, "object": None}


def test_words_are_counted_in_training_captions_only(tmp_path):
    steps = [
        {"subset": "training", "sentence": "cut the lemon"},
        {"subset": "validation", "sentence": "wash the onion"},
    ]
    assert [step["verb"] for step in label_captions(steps)] == ["cut", None]


def test_classes_of_objects_are_called_as_people_say(tmp_path):
    (tmp_path / "classes.csv").write_text("0,tomato,tomatoes,\n1,bowl,,bowls\n2,it,,\n")
    classes = read_object_classes(tmp_path / "classes.csv")
    assert classes == {"tomato": "tomato", "tomatoes": "tomato", "bowl": "bowl", "bowls": "bowl"}
    steps = [{"subset": "training", "sentence": text} for text in ("cut the tomatoes", "cut tomatoes", "cut a tomato")]
    assert [step["object"] for step in label_captions(steps, classes)] == ["tomatoes"] * 3


def test_reviewed_sentences(tmp_path):
    """Of two verbs the first; one word each; a sentence lasts until the next one of its video."""
    head = "No,VideoUrl,TimeStamp,Sentence,Verb,Object(directly related with Verb)\n"
    lines = [
        "1,https://x/watch?v=abc,00:58.5,so we put it on,put on; stir,extra virgin olive oil;soup",
        "2,https://x/watch?v=abc,01:05.9,hello,,",
        "3,https://x/watch?v=abc,01:10.0,cut the middle,cut,center of dough",
        "4,https://x/watch?v=other,00:01.0,cut it,cut,lemon",
    ]
    (tmp_path / "cpe.csv").write_text(head + "\n".join(lines))
    first, last = read_reviewed(tmp_path / "cpe.csv", {"abc": "training"})
    assert (first["start"], first["end"], first["verb"], first["object"]) == (58.5, 65.9, "put", "oil")
    assert (last["start"], last["end"], last["verb"], last["object"]) == (70.0, 75.0, "cut", "center")
    assert seconds_of("01:02:03.5") == 3723.5
    (tmp_path / "cpe.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no columns"):
        read_reviewed(tmp_path / "cpe.csv", {})


def crosstask(folder, videos=2):
    folder.mkdir()
    (folder / "annotations").mkdir()
    tasks = "23521\nMake Jello\nhttp://x\n2\npour water,stir jello\n\n105\nTea\nhttp://x\n1\nboil water\n"
    (folder / "tasks_primary.txt").write_text(tasks)
    for number in range(videos):
        (folder / "annotations" / f"23521_v_{number}.csv").write_text("2,10.5,20.0\n1,0.0,9.99\n")
    (folder / "annotations" / "105_left.csv").write_text("1,3,4\n")
    (folder / "annotations" / "999_related.csv").write_text("7,3,4\n")
    (folder / "videos_val.csv").write_text("105,left,http://x\n")
    return folder


def test_crosstask(tmp_path):
    """Numbers begin at 1; ids have underscores; the videos of the official validation list are left out."""
    steps, phrases = read_crosstask(crosstask(tmp_path / "release"))
    assert phrases == {"23521": ["pour water", "stir jello"], "105": ["boil water"]}
    assert [step["video_id"] for step in steps] == ["v_0", "v_0", "v_1", "v_1"]
    assert steps[0] == {
        "video_id": "v_0",
        "subset": "validation",
        "start": 10.5,
        "end": 20.0,
        "sentence": "stir jello",
        "task": "23521",
    }


def test_crosstask_trains_on_thirty_videos_of_a_task(tmp_path):
    steps, _ = read_crosstask(crosstask(tmp_path / "release", videos=50))
    assert Counter(step["subset"] for step in steps) == {"training": 60, "validation": 40}
    assert steps == read_crosstask(tmp_path / "release")[0], "the same ones each time"


@pytest.mark.parametrize("line", ["3,1,2", "0,1,2", "1,1", "a,b,c"])
def test_a_bad_line_of_crosstask_is_named(tmp_path, line):
    folder = crosstask(tmp_path / "release")
    (folder / "annotations" / "23521_v_0.csv").write_text(line)
    with pytest.raises(ValueError, match=f"23521_v_0.csv: '{line}' is no step; allowed are its number, 1 to 2"):
        read_crosstask(folder)


def test_bad_folders_of_crosstask(tmp_path):
    with pytest.raises(ValueError, match="tasks_primary.txt: these annotations cannot be read"):
        read_crosstask(tmp_path)
    (tmp_path / "tasks_primary.txt").write_text("1\nTea\nhttp://x\n2\nboil water\n")
    with pytest.raises(ValueError, match="the task '1' has 5 lines and 1 steps"):
        read_crosstask(tmp_path)
    (tmp_path / "tasks_primary.txt").write_text("1\nTea\nhttp://x\n1\nboil water\n")
    with pytest.raises(ValueError, match="holds no TASK_VIDEO.csv of the 1 primary tasks"):
        read_crosstask(tmp_path)


def test_coin(tmp_path):
    """What the file calls testing is tested on; the phrases of a task are those that occur, in their order."""
    part = {"id": "212", "segment": [60.0, 69.0], "label": "take out the drive"}
    videos = {
        "LtRSn-ntcLY": {"subset": "training", "class": "Replace", "recipe_type": 131, "annotation": [part]},
        "b": {"subset": "testing", "class": "Replace", "annotation": [{**part, "label": "close the lid"}, part]},
    }
    (tmp_path / "COIN.json").write_text(json.dumps({"database": videos}))
    steps, phrases = read_coin(tmp_path / "COIN.json")
    assert [step["subset"] for step in steps] == ["training", "validation", "validation"]
    assert phrases == {"Replace": ["take out the drive", "close the lid"]} and steps[0]["task"] == "Replace"


@needs_real
def test_the_real_youcook2():
    """1,790 videos, 13,829 steps, 3,492 of them for validation; the 63 objects that the paper speaks of."""
    steps = read_youcook2(REAL / "youcookii_annotations_trainval.json")
    assert len(steps) == 13829 and len({step["video_id"] for step in steps}) == 1790
    tested = [step for step in steps if step["subset"] == "validation"]
    assert len(tested) == 3492 and len({step["video_id"] for step in tested}) == 457
    classes = read_object_classes(REAL / "yc2bb_class_file.csv")
    assert len(set(classes.values())) == 63
    labelled = [step for step in label_captions(steps, classes) if step["subset"] == "validation"]
    verbs = Counter(step["verb"] for step in labelled)
    assert len(set(verbs) - {None}) <= 45 and verbs["add"] > 1000
    assert sum(None not in (step["verb"], step["object"]) for step in labelled) > 2800
    nouns = [step for step in label_captions(steps) if step["subset"] == "validation"]
    assert sum(None not in (step["verb"], step["object"]) for step in nouns) > 2900


@needs_real
def test_the_real_reviewed_sentences():
    steps = read_youcook2(REAL / "youcookii_annotations_trainval.json")
    subsets = {step["video_id"]: step["subset"] for step in steps}
    reviewed = read_reviewed(REAL / "cpe_reviewed_0812.csv", subsets)
    assert len(reviewed) > 3000 and Counter(step["verb"] for step in reviewed).most_common(1)[0][0] == "add"
    assert all(" " not in step["verb"] + step["object"] for step in reviewed)
