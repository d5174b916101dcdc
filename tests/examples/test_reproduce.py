"""Protects the commands for published protocols: from annotation files to a table, whatever is held of the data."""

import json
from pathlib import Path

import numpy as np
import pytest
from reproduce import main
from support.tiny_processor import make_video
from support.tiny_rows import cooking_rows, tiny_processor
from support.tiny_run import save_text_model, tiny_model

from processing import VideoBertProcessor
from processing.codebook import fit_codebook

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture
def model(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def seeing_model(tmp_path, model, tiny_backbone):
    """The same with a video network and a codebook of its features."""
    save_text_model(tmp_path / "bert")
    processor = VideoBertProcessor.from_models(str(tmp_path / "bert"), backbone=tiny_backbone)
    draw = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    processor.add_codebook(fit_codebook(draw, levels=2, branches=8, progress=False))
    processor.save_pretrained(model)
    return model


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
    (folder / "frames").symlink_to(SHARED / "real_cooking" / "frames")
    words = ["--annotations", str(SHARED / "text" / "youcookii_annotations_trainval.json"), "--data", str(folder)]
    words += ["--objects", str(SHARED / "text" / "yc2bb_class_file.csv"), "--model", seeing_model]
    results = main(["youcook2", *words, "--output", str(tmp_path / "out")])
    assert results["num_videos"] == 3 and results["num_videos_annotated"] == 457 and len(results["missing"]) == 454
    assert results["figures"]["num_segments"] + results["figures"]["num_unlabelled"] == 9
