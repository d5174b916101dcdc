"""Protects `build_corpus.py`: the stages one by one are the whole, from a folder, a list or a data set."""

import json
import shutil
import subprocess
import sys

import pytest
from build_corpus import main
from datasets import Dataset, Video, load_from_disk

from processing import VideoBertProcessor
from processing.corpus import check_rows


@pytest.fixture
def run(tiny_text_model, tiny_backbone, monkeypatch, capsys):
    def run(*words):
        models = ["--text_model", tiny_text_model, "--backbone", tiny_backbone, "--levels", "1", "--branches", "2"]
        options = [] if "--stage" in words and "features" not in words else ["--num_workers", "0"]
        monkeypatch.setattr(sys, "argv", ["build_corpus.py", *map(str, words), *models, *options])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(silent_video, tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copy(silent_video, tmp_path / "videos" / "a.mp4")
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "mandelbrot=s=64x48:r=25", "-t", "3.2"]
    subprocess.run([*command, str(tmp_path / "videos" / "b.mp4")], check=True)
    (tmp_path / "videos" / "broken.mp4").write_text("no video")
    return tmp_path / "videos"


def test_options_of_a_data_set_need_one(run, folder, tmp_path, capsys):
    """Captions that nobody would read must not be asked for in vain."""
    with pytest.raises(SystemExit):
        run("--videos", folder, "--output", tmp_path / "rows", "--captions_column", "said", "--revision", "main")
    assert "--revision and --captions_column: only of use with --dataset" in capsys.readouterr().err


def test_codes_that_cannot_be_are_refused_before_any_work(run, folder, tmp_path):
    """Videos take hours to describe; what is wrong with the codebook is known before."""
    given = ("--videos", folder, "--output", tmp_path / "rows")
    with pytest.raises(ValueError, match="residual_codes is 2 and levels_as_tokens is True"):
        run(*given, "--residual_codes", "2", "--levels_as_tokens")
    with pytest.raises(ValueError, match="--levels is about a codebook that is fitted; it has no effect on that of"):
        run(*given, "--codebook", tmp_path)
    assert not (tmp_path / "rows").exists()


def test_stage_by_stage_is_the_whole(run, folder, tmp_path):
    """With rows that belong to the processor that was saved, and a summary of what there is."""
    said = run("--videos", folder, "--output", tmp_path / "whole", "--test_share", "0")
    assert said.startswith("3 videos, 0.00 hours: 5 visual tokens, 0 words") and "pictures: " in said
    assert "1 with an error" in said and json.loads((tmp_path / "whole" / "summary.json").read_text())["videos"] == 3
    rows = load_from_disk(tmp_path / "whole" / "rows")
    check_rows(rows, VideoBertProcessor.from_pretrained(tmp_path / "whole" / "processor"))
    parts = tmp_path / "parts"
    run("--videos", folder, "--output", parts, "--stage", "features")
    assert "2 visual ids" in run("--output", parts, "--stage", "codebook", "--test_share", "0")
    run("--output", parts, "--stage", "rows")
    assert sorted(load_from_disk(parts / "rows").to_list(), key=str) == sorted(rows.to_list(), key=str)
    several = ("--output", parts, "--stage", "codebook", "--test_share", "0", "--residual_codes", "2")
    with pytest.raises(ValueError, match="was fitted with residual_codes 1, not with 2"):
        run(*several)
    shutil.rmtree(parts / "codebook")
    assert "4 visual ids" in run(*several)
    run("--output", parts, "--stage", "rows")
    assert set(load_from_disk(parts / "rows")["tokens_per_clip"]) == {2}


def test_tasks_that_share_it_make_the_whole(run, folder, tmp_path):
    """The same rows, of videos and networks that are real, from two tasks and one that finishes."""
    given = ("--videos", folder, "--test_share", "0", "--shard_size", "1")
    run(*given, "--output", tmp_path / "whole")
    for stage in ("contents", "features"):
        for task in (1, 0):
            run(*given, "--output", tmp_path / "parts", "--stage", stage, "--tasks", "2", "--task", task)
    assert not (tmp_path / "parts" / "rows").exists()
    assert run(*given, "--output", tmp_path / "parts", "--stage", "finish").startswith("3 videos, ")
    whole, parts = (
        [
            path.read_bytes()
            for kind in ("features/*.parquet", "ids/*", "codebook/*.safetensors", "rows/*.arrow")
            for path in sorted((tmp_path / name).glob(kind))
        ]
        for name in ("whole", "parts")
    )
    assert parts == whole and len(whole) == 8
    with pytest.raises(ValueError, match="There is no task 2 of 2"):
        run(*given, "--output", tmp_path / "parts", "--stage", "features", "--tasks", "2", "--task", "2")


def test_a_list_and_a_data_set(run, folder, tmp_path):
    """Of a data set that holds the bytes of its videos, as a saved one does: they were described as files already."""
    (folder / "list.txt").write_text("a.mp4\nb.mp4\n\na.mp4\n")
    run("--videos", folder / "list.txt", "--output", tmp_path / "list", "--test_share", "0")
    assert load_from_disk(tmp_path / "list" / "rows")["video_id"][:] == ["a", "b"]
    said = [{"text": "cut it.", "start": 0.5, "end": 1.0}]
    data = Dataset.from_dict({"clip": [str(folder / "b.mp4"), str(folder / "a.mp4")], "said": [said, None]})
    data.cast_column("clip", Video()).save_to_disk(tmp_path / "data")
    shards = {*(tmp_path / "list" / "features").glob("*.parquet")}
    run("--dataset", tmp_path / "data", "--output", tmp_path / "list", "--test_share", "0")
    rows = load_from_disk(tmp_path / "list" / "rows")
    assert rows["video_id"][:] == ["000000_b", "000001_a"] and [len(ids) for ids in rows["visual_ids"]] == [2, 3]
    assert {*(tmp_path / "list" / "features").glob("*.parquet")} == shards
    run(
        "--dataset", tmp_path / "data", "--captions_column", "said", "--output", tmp_path / "list", "--test_share", "0"
    )
    assert load_from_disk(tmp_path / "list" / "rows")["sentences"][:] == [said, []]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--videos", "nowhere.txt"], "nowhere.txt: the list of videos cannot be read"),
        (["--stage", "codebook"], ".*features is not there: describe videos first"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(run, tmp_path, words, sentence):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(ValueError, match=sentence):
        run(*words, "--output", tmp_path / "corpus")
