"""Protects what a reader sees of a codebook: the right frame of the right clip, for every leaf, in files that last."""

import importlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from processing.codebook_videobert import VisualCodebook

pictures, script = importlib.import_module("pictures.codebook"), importlib.import_module("fit_codebook")
LEVELS = {"a": (20, 100, 180), "b": (40, 120, 200)}  # grey of the clips of each video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos of three clips, one of them broken; clips of one number have one feature, so a fourth leaf is dead.

    In the middle of each clip the picture has its grey; before and after, it is black.
    """
    folder = tmp_path_factory.mktemp("shown")
    (folder / "videos").mkdir()
    for name, (first, second, _) in LEVELS.items():
        grey = f"if(between(mod(T,1.5),0.5,1.1),{first}+{second - first}*floor(T/1.5),0)"
        source = f"nullsrc=s=64x48:r=10:d=4.5,format=gray,geq=lum='{grey}'"
        path = folder / "videos" / f"{name}.mkv"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "ffv1", path], check=True)
    (folder / "videos" / "c.mp4").write_bytes(b"no video at all")
    write_features(folder / "features", np.eye(3, 5))
    return folder


def write_features(folder, features):
    folder.mkdir()
    clips = pa.array([features.astype(np.float16).tolist()] * 3, pa.list_(pa.list_(pa.float16())))
    pq.write_table(
        pa.table({"video_id": ["a", "b", "c"], "clip_seconds": [1.5] * 3, "features": clips}), folder / "0.parquet"
    )


@pytest.fixture
def run(folder, monkeypatch):
    """Runs the script on the features of the folder, as a user does."""

    def run(output, *options, features="features"):
        shape = ["--levels", "1", "--branches", "4", "--test_share", "0"]
        arguments = ["--features", folder / features, "--output", output, *shape, *options]
        monkeypatch.setattr(sys, "argv", ["fit_codebook.py", *map(str, arguments)])
        script.main()

    return run


def test_frames_are_those_in_the_middle_of_their_clips(folder, capsys):
    """Clips that are not there, videos that are not or cannot be read are left out; the last are named."""
    videos = {name: path for name, path in script.find_videos(folder / "videos").items()}
    wanted = [("a", 0), ("a", 2), ("b", 1), ("b", 7), ("c", 0), ("d", 0)]
    frames = pictures.middle_frames(wanted, videos, size=16, clip_seconds=1.5)
    assert {clip: (frame.shape, frame.float().mean().round().item()) for clip, frame in frames.items()} == {
        ("a", 0): ((3, 16, 16), 20),
        ("a", 2): ((3, 16, 16), 180),
        ("b", 1): ((3, 16, 16), 120),
    }
    assert "no frame of c: " in capsys.readouterr().out
    # Clips of three seconds, whose second look falls where the picture is black again.
    long = pictures.middle_frames([("a", 0)], videos, size=16, clip_seconds=3.0)
    assert long["a", 0].float().mean() == 0


def test_every_leaf_shows_a_clip_of_its_own(folder, run, tmp_path):
    """The codebook, loaded again from another place, shows what each token stands for, and nothing for a dead one."""
    run(tmp_path / "codebook", "--videos", folder / "videos", "--frames")
    shutil.move(tmp_path / "codebook", tmp_path / "moved")
    codebook = VisualCodebook.from_pretrained(tmp_path / "moved")
    ids = codebook.encode(np.eye(3, 5)).tolist()
    for number, token in enumerate(ids):
        # Clips of `c` are as near, but it cannot be read.
        level = codebook.frame(token).float().mean().item()
        assert codebook.frame(token).shape == (3, 48, 48) and min(abs(level - LEVELS[v][number]) for v in LEVELS) < 2
    (dead,) = {0, 1, 2, 3} - set(ids)
    assert codebook.frame(dead) is None and codebook.counts(0)[dead] == 0
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=f"no visual id {wrong}; those of this codebook are 0 to 3"):
            codebook.frame(wrong)
        with pytest.raises(ValueError, match=f"no visual id {wrong};"):
            codebook.set_frames({wrong: torch.zeros(3, 8, 8, dtype=torch.uint8)})


def test_the_gallery_shows_chosen_tokens(folder, run, tmp_path):
    """Frames of every clip that can be read are in the picture, and a dead token has a line of its own."""
    options = ["--report", tmp_path / "report", "--videos", folder / "videos"]
    run(tmp_path / "codebook", *options, "--tokens", 0, 1, 2, 3)
    gallery = np.asarray(Image.open(tmp_path / "report" / "gallery.png").convert("RGB"))
    for level in (level for levels in LEVELS.values() for level in levels):
        assert (np.abs(gallery.astype(int) - level).max(-1) <= 1).sum() > 96 * 96
    tall = gallery.shape[0]
    run(tmp_path / "codebook", *options)  # by default what is common: three lines, the dead one is not
    assert Image.open(tmp_path / "report" / "gallery.png").size[1] < tall


def test_what_cannot_be_shown_is_said(folder, run, tmp_path):
    options = ["--report", tmp_path / "report", "--videos", folder / "videos"]
    run(tmp_path / "codebook", "--report", tmp_path / "report")
    codebook = VisualCodebook.from_pretrained(tmp_path / "codebook")
    dead = int((codebook.counts(0) == 0).nonzero())
    with pytest.raises(ValueError, match=rf"None of the tokens \[{dead}\] has a training clip"):
        run(tmp_path / "codebook", *options, "--tokens", dead)
    with pytest.raises(ValueError, match=r"--tokens \[4\]: the visual ids are 0 to 3"):
        run(tmp_path / "codebook", *options, "--tokens", 1, 4)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.mp4").touch()
    with pytest.raises(ValueError, match="others holds none of the videos .* such as [abc]"):
        run(tmp_path / "codebook", *options[:-1], tmp_path / "others")
    for few in (["--frames"], ["--tokens", 1], ["--videos", folder]):
        with pytest.raises(SystemExit):
            run(tmp_path / "codebook", *few)


def test_a_codebook_of_other_features_is_not_taken_for_the_one_asked_for(folder, run, tmp_path):
    """What a report or ids would be of: one sentence, before anything is written."""
    run(tmp_path / "codebook")
    before = json.loads((tmp_path / "codebook" / "fit.json").read_text())["features"]
    write_features(folder / "others", 2 * np.eye(3, 5))
    with pytest.raises(ValueError, match=f"was fitted with features .{before}.*; ask for the same, or use another"):
        run(tmp_path / "codebook", "--ids", tmp_path / "ids", features="others")
    assert not (tmp_path / "ids").exists()
    shutil.move(folder / "features", folder / "moved")
    run(tmp_path / "codebook", "--ids", tmp_path / "ids", features="moved")
    shutil.move(folder / "moved", folder / "features")
    assert (tmp_path / "ids" / "0.parquet").exists()
