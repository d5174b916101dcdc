"""Protects the search as a user calls it: on videos, one of them broken, on rows, with pictures and refusals."""

import sys

import numpy as np
import pytest
import search
from PIL import Image
from support.saved_videobert import save_videobert
from support.tiny_processor import make_video
from support.tiny_rows import cooking_rows, save_rows

from processing import VideoBertProcessor


@pytest.fixture(scope="module")
def model(tiny_text_model, tiny_backbone, tmp_path_factory):
    return save_videobert(tmp_path_factory.mktemp("model"), tiny_text_model, tiny_backbone)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two silent ones, of 4.6 and 3 s, and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "bars.mp4", "testsrc=s=64x48:r=25:d=4.6")
    make_video(folder / "grey.mp4", "color=gray:s=64x48:r=25:d=3")
    (folder / "none.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def run(model, tmp_path, monkeypatch, capsys):
    """Calls the script as a user does, with the model and one index; what it printed, or its last sentence."""

    def run(command, *options):
        words = ["search.py", command, "--model", model, "--index", tmp_path / "index", *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        try:
            search.main()
        except (SystemExit, ValueError) as stopped:
            return str(stopped), capsys.readouterr().err
        printed = capsys.readouterr()
        return printed.out, printed.err

    return run


def test_videos_are_indexed_found_and_drawn(run, videos, tmp_path):
    """The broken one is a line with its error; a new one is added later; the picture shows what was found."""
    told, errors = run("index", "--videos", videos)
    assert told == "2 moments in the index, 2 of them new\n"
    assert "none: " in errors and "not a readable video" in errors
    told, _ = run("query", "cut the lemon", "--top", 5, "--output", tmp_path / "found.png")
    assert [line[:2] for line in told.splitlines()] == ["1.", "2."]
    assert "bars  0.0–4.5 s" in told and "grey  0.0–3.0 s" in told
    pixels = np.asarray(Image.open(tmp_path / "found.png").convert("RGB")).astype(int)
    coloured = (np.ptp(pixels, axis=2) > 100).mean()
    assert coloured > 0.05, "no bars are seen"
    make_video(videos / "more.mp4", "testsrc2=s=64x48:r=25:d=2")
    assert run("index", "--videos", videos)[0] == "3 moments in the index, 1 of them new\n"
    (videos / "more.mp4").unlink()


def test_a_video_gets_the_sentences_of_rows(run, model, videos, tmp_path):
    """Rows are enough for an index; of a video that is new to it each window gets sentences."""
    codebook = VideoBertProcessor.from_pretrained(model).codebook
    rows = [
        one | {"codebook": codebook.fingerprint, "visual_ids": [each % 8 for each in one["visual_ids"]]}
        for one in cooking_rows(2)
    ]
    assert run("index", "--corpus", save_rows(rows, tmp_path))[0] == "8 moments in the index, 8 of them new\n"
    told, _ = run("query", "--video", videos / "bars.mp4", "--top", 2)
    assert told.splitlines()[0] == "0.0–4.5 s" and len(told.splitlines()) == 3
    assert "now let me show you how to" in told
    told, _ = run("query", "--video", videos / "none.mp4")
    assert told.endswith("none.mp4 shows no clip of 1.5 s to find sentences for.")
    told, _ = run("query", "cut", "--output", tmp_path / "empty.png")  # there are no files to take pictures from
    assert len(told.splitlines()) == 5 and (tmp_path / "empty.png").exists()


def test_what_cannot_be_asked_ends_in_a_sentence(run, videos, tmp_path):
    told, _ = run("query", "cut the lemon")
    assert told == f"{tmp_path / 'index' / 'moments'} holds no index; make one first."
    run("index", "--videos", videos)
    assert run("query", "?!")[0] == "The text '?!' holds no word that the model knows; ask with words."
    assert "give a text or --video" in run("query")[1]
    assert "give --videos, --corpus or both" in run("index")[1]
