"""Protects the commands for published protocols: from annotation files to a table, whatever is held of the data."""

import json
import shutil
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
from reproduce import main
from support.tiny_processor import make_video
from support.tiny_rows import SPECIALS, WORDS, cooking_rows, tiny_processor
from support.tiny_run import SIZES, save_text_model, tiny_model
from transformers import BertTokenizer

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook import fit_codebook

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture
def model(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def seeing_model(tmp_path, tiny_backbone):
    """One that can write any word, letter by letter, with a video network and a codebook of its features."""
    letters = [mark + letter for mark in ("", "##") for letter in ascii_lowercase]
    vocabulary = {token: number for number, token in enumerate([*SPECIALS, *WORDS, *letters])}
    save_text_model(tmp_path / "bert", len(vocabulary))
    BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(tmp_path / "bert")
    processor = VideoBertProcessor.from_models(str(tmp_path / "bert"), backbone=tiny_backbone)
    draw = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    processor.add_codebook(fit_codebook(draw, levels=2, branches=8, progress=False))
    processor.save_pretrained(tmp_path / "seeing")
    config = VideoBertConfig(**SIZES, text_vocab_size=len(vocabulary), codebook_size=64)
    VideoBertForPreTraining(config).save_pretrained(tmp_path / "seeing")
    return str(tmp_path / "seeing")


@pytest.fixture
def features(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for number in range(8):
        made = np.random.default_rng(number).normal(size=(32, 24)).astype(np.float16)
        np.save(folder / f"video{number}.npy", made)
    return str(folder)


def annotate(tmp_path):
    """YouCook II's and COIN's form of the annotations of the tiny cooking videos; the last three of ten are tested."""
    youcook2, coin = {}, {}
    for number, row in enumerate(cooking_rows(10)):
        tested = number >= 7
        parts = [([one["start"], one["end"]], one["text"].rstrip(".").split("to ")[1]) for one in row["sentences"]]
        youcook2[row["video_id"]] = {
            "subset": "validation" if tested else "training",
            "annotations": [{"segment": segment, "sentence": text} for segment, text in parts],
        }
        coin[row["video_id"]] = {
            "subset": "testing" if tested else "training",
            "class": "Cook",
            "annotation": [{"segment": segment, "label": text} for segment, text in parts],
        }
    (tmp_path / "yc.json").write_text(json.dumps({"database": youcook2}))
    (tmp_path / "COIN.json").write_text(json.dumps({"database": coin}))


def test_youcook2_from_features(tmp_path, model, features, capsys):
    """All conditions, the paper's rows beside them, and every video that is not there."""
    annotate(tmp_path)
    output = tmp_path / "out"
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", features, "--model", model, "--output", str(output)]
    results = main(["youcook2", *words])
    assert results["num_videos"] == 1 and results["num_videos_annotated"] == 3
    assert results["missing"] == {"video8": "it is not there", "video9": "it is not there"}
    assert results["figures"]["num_segments"] == 4 and results["figures"]["num_unlabelled"] == 0
    assert results["figures"]["verb_top1_token_probe"] is not None
    printed = capsys.readouterr().out
    assert "4 steps of 1 videos, of 12 steps of 3 videos in the annotations; 2 videos are missing" in printed
    assert "VideoBERT, cross-modal [1] | 3.2 | 43.3 | 13.1 | 33.7 |" in printed and "arXiv:1904.01766" in printed
    assert json.loads((output / "results.json").read_text()) == json.loads(json.dumps(results))
    assert len((output / "missing.jsonl").read_text().splitlines()) == 2 and (output / "table.md").exists()


def test_youcook2_captions_from_features(tmp_path, model, features, fresh_accelerator, capsys):
    """The three ways to put captions together stand apart, each with our controls and with its own published rows."""
    annotate(tmp_path)
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", features, "--model", model, "--max_steps", "2"]
    results = main(["youcook2", "--mode", "captions", *words, "--output", str(tmp_path / "out")])
    figures = results["figures"]
    assert figures["num_segments"] == 4 and figures["num_training_segments"] == 28
    for mode in ("micro", "macro", "paragraph"):
        assert {"cider", "bleu3_nn", "bleu4_no_video", "meteor"} <= figures[mode].keys()
    table = (tmp_path / "out" / "table.md").read_text()
    micro, macro, paragraph = (table.index(f"{mode}:\n") for mode in ("micro", "macro", "paragraph"))
    assert micro < table.index("| UniVL, video only [4] | 16.46 | 11.17 | 17.57 | 127 |") < macro
    assert macro < table.index("| masked transformer [1] | 5.08 | 1.42 | 11.2 | 45.1 |") < paragraph
    assert table.index("| COOT + MART [1] | – | 11.3 | 19.85 | 57.24 |") > paragraph
    assert "captioner without video" in capsys.readouterr().out


def test_steps_outside_their_video_are_told(tmp_path, model, features, capsys):
    """By count, and the first by name: the annotations may be of another cut of the video."""
    annotate(tmp_path)
    told = json.loads((tmp_path / "yc.json").read_text())
    told["database"]["video7"]["annotations"][1]["segment"] = [900, 910]
    (tmp_path / "yc.json").write_text(json.dumps(told))
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", features, "--model", model]
    results = main(["youcook2", "--mode", "retrieval", *words, "--output", str(tmp_path / "out")])
    assert results["num_steps_without_clips"] == 1 and results["figures"]["num_segments"] == 3
    assert "1 steps have no clip, such as " in (complaint := capsys.readouterr().err)
    assert "of video7, 900 to 910 s: too short, or outside the video." in complaint


def test_captions_need_something_to_learn_from(tmp_path, model, features):
    annotate(tmp_path)
    for number in range(7):
        (Path(features) / f"video{number}.npy").unlink()
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", features, "--model", model]
    with pytest.raises(ValueError, match="No step of the training videos that are there has clips and a sentence"):
        main(["youcook2", "--mode", "captions", *words, "--output", str(tmp_path / "out")])


def test_youcook2_retrieval_from_features(tmp_path, model, features):
    """N of sentences and clips, chance, the other passes, and ranks that are no per cent."""
    annotate(tmp_path)
    for number in (8, 9):
        np.save(Path(features) / f"video{number}.npy", np.random.default_rng(number).normal(size=(32, 24)))
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", features, "--model", model]
    figures = main(["youcook2", "--mode", "retrieval", *words, "--output", str(tmp_path / "out")])["figures"]
    assert figures["num_segments"] == figures["num_queries"] == 12
    assert figures["r5_chance"] == 5 / 12 and figures["median_rank_chance"] == 6.5
    assert 1 <= figures["median_rank"] <= 12 and figures["r10_low"] <= figures["r10"] <= figures["r10_high"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| chance | 8.3 | 41.7 | 83.3 | 6.5 |" in table and "first pass alone" in table
    assert "| HowTo100M, zero-shot [1] | 6.1 | 17.3 | 24.8 | 46 |" in table


def test_coin_from_features(tmp_path, model, features):
    annotate(tmp_path)
    for number in range(7):  # nothing to train the probe on, which takes long
        (Path(features) / f"video{number}.npy").unlink()
    words = ["--annotations", str(tmp_path / "COIN.json"), "--data", features, "--model", model]
    figures = main(["coin", *words, "--output", str(tmp_path / "out")])["figures"]
    assert figures["num_segments"] == 4 and {"step_top1", "step_top5_chance", "own_task_top1_prior"} <= figures.keys()


def test_crosstask_from_features(tmp_path, model, features):
    folder = tmp_path / "release"
    (folder / "annotations").mkdir(parents=True)
    (folder / "tasks_primary.txt").write_text("1\nLemons\nhttp://x\n2\ncut the lemon,wash the onion\n")
    for number in range(3):
        (folder / "annotations" / f"1_video{number}.csv").write_text("1,0,24\n2,24,48\n")
    words = ["--annotations", str(folder), "--data", features, "--model", model, "--output", str(tmp_path / "out")]
    figures = main(["crosstask", *words])["figures"]
    assert figures["num_segments"] == 6 and figures["num_videos"] == 3
    assert figures["average_recall_prior"] == 1.0 and 0 <= figures["average_recall"] <= 1


def test_youcook2_from_videos(tmp_path, seeing_model):
    """A small made video goes all the way; one that cannot be read is missing, with its error."""
    videos = tmp_path / "videos"
    videos.mkdir()
    make_video(videos / "video7.mp4", "testsrc=s=64x48:r=25:d=4.6", "sine=d=4.6")
    (videos / "video8.mp4").write_bytes(b"no video")
    annotate(tmp_path)
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", str(videos), "--model", seeing_model]
    results = main(["youcook2", *words, "--output", str(tmp_path / "out")])
    assert results["num_videos"] == 1 and "video8" in results["missing"]["video8"]
    assert results["missing"]["video9"] == "it is not there"


def test_nothing_that_was_asked_for(tmp_path, model, features):
    """One sentence with the reason for the first video, instead of figures of nothing."""
    annotate(tmp_path)
    (Path(features) / "video7.npy").write_bytes(b"")
    words = ["--annotations", str(tmp_path / "yc.json"), "--data", features, "--model", model]
    with pytest.raises(ValueError, match="None of 3 videos to test on is there. The first, video7: .*cannot be read"):
        main(["youcook2", *words, "--output", str(tmp_path / "out")])


@pytest.mark.skipif(not (SHARED / "real_cooking").is_dir(), reason="no real cooking beside this checkout")
def test_youcook2_from_real_frames(tmp_path, seeing_model):
    """Real annotation files and real pixels; the networks are tiny, so the figures say nothing."""
    lines = (SHARED / "real_cooking" / "index.jsonl").read_text().splitlines()
    few = [line for line in lines if json.loads(line)["split"] == "validation"][:3]
    folder = tmp_path / "stills"
    folder.mkdir()
    (folder / "index.jsonl").write_text("\n".join(few))
    (folder / "frames").mkdir()
    for step in (step for line in few for step in json.loads(line)["steps"]):
        shutil.copy(SHARED / "real_cooking" / "frames" / step["frame"], folder / "frames")
    words = ["--annotations", str(SHARED / "text" / "youcookii_annotations_trainval.json"), "--data", str(folder)]
    words += ["--objects", str(SHARED / "text" / "yc2bb_class_file.csv"), "--model", seeing_model]
    results = main(["youcook2", *words, "--output", str(tmp_path / "out")])
    assert results["num_videos"] == 3 and results["num_videos_annotated"] == 457 and len(results["missing"]) == 454
    assert results["figures"]["num_segments"] + results["figures"]["num_unlabelled"] == 9
    found = main(["youcook2", "--mode", "retrieval", *words, "--output", str(tmp_path / "out")])
    assert found["figures"]["num_segments"] == 9 and 1 <= found["figures"]["median_rank"] <= 9
