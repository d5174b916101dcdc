"""Protects the folder of frames: each still stands for a clip, bad ones cost only their video."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from support.hostile_files.made import make_png
from support.tiny_rows import tiny_text_tokenizer

from processing import VideoBertProcessor, VideoBertVideoProcessor
from processing.codebook.fitting import fit_codebook
from processing.corpus.stills import encode_stills, find_stills, read_still
from processing.media_videobert import MediaError


class Eyes:
    """A network whose feature is the mean colour; it counts the frames of the clips."""

    name_or_path, feature_size = "tests/eyes", 3

    def __init__(self):
        self.frames = []

    def features(self, clips):
        clips = list(clips)
        self.frames += [len(clip) for clip in clips]
        return torch.stack([clip.float().mean((0, 2, 3)) for clip in clips])


@pytest.fixture
def processor():
    cutter = VideoBertVideoProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, do_normalize=False, do_rescale=False
    )
    processor = VideoBertProcessor(cutter, tiny_text_tokenizer(), backbone=Eyes())
    colours = torch.tensor([[250.0, 0, 0], [0, 250, 0], [0, 0, 250]]).repeat_interleave(2, 0)
    processor.add_codebook(fit_codebook(colours, levels=1, branches=3, progress=False))
    return processor


def write_stills(folder, videos):
    """`videos` are lists of colours by id; each still stands for ten seconds."""
    (folder / "frames").mkdir(parents=True)
    lines = []
    for video_id, colours in videos.items():
        steps = []
        for number, colour in enumerate(colours):
            name = f"{video_id}_{number}.jpg"
            Image.new("RGB", (32, 24), colour).save(folder / "frames" / name, quality=95)
            steps.append({"frame": name, "start": 10 * number, "end": 10 * number + 10, "sentence": "cut the lemon"})
        lines.append(json.dumps({"video_id": video_id, "steps": steps}))
    (folder / "index.jsonl").write_text("\n".join(lines))
    return folder


RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def test_a_still_is_a_clip(processor, tmp_path):
    folder = write_stills(tmp_path / "in", {"a": [RED, BLUE, RED], "b": [GREEN]})
    stills = find_stills(folder)
    assert [(still.start, still.end) for still in stills["a"]] == [(0, 10), (10, 20), (20, 30)]
    rows = encode_stills(stills, processor, tmp_path / "out")
    red, green, blue = processor.codebook.encode(np.array([RED, GREEN, BLUE], np.float32)).tolist()
    assert rows["visual_ids"] == [[red, blue, red], [green]]
    assert processor.backbone.frames == [30] * 4, "a still is shown for as long as a clip"
    encode_stills(stills, processor, tmp_path / "out")
    assert len(processor.backbone.frames) == 4, "what was looked at is not looked at again"


def test_a_bad_still_costs_its_video_alone(processor, tmp_path):
    folder = write_stills(tmp_path / "in", {"a": [RED, BLUE], "b": [GREEN]})
    (folder / "frames" / "a_1.jpg").write_bytes(b"no picture")
    rows = encode_stills(find_stills(folder), processor, tmp_path / "out")
    assert rows[0]["error"].startswith("a: ") and rows[0]["visual_ids"] == []
    assert rows[1]["error"] is None and len(rows[1]["visual_ids"]) == 1


def test_the_index_names_no_file_elsewhere(tmp_path):
    (tmp_path / "index.jsonl").write_text('{"video_id": "a", "steps": [{"frame": "../x.jpg", "start": 0, "end": 1}]}')
    with pytest.raises(ValueError, match="line 1, names .*x.jpg, which is not in"):
        find_stills(tmp_path)
    (tmp_path / "x.jpg").symlink_to("../x.jpg")
    (tmp_path / "index.jsonl").write_text('{"video_id": "a", "steps": [{"frame": "x.jpg", "start": 0, "end": 1}]}')
    with pytest.raises(ValueError, match="line 1, names .*x.jpg, which is not in"):
        find_stills(tmp_path)
    (tmp_path / "index.jsonl").write_text('{"video_id": "a"}')
    with pytest.raises(ValueError, match="line 1, is no video with steps"):
        find_stills(tmp_path)


def test_a_picture_of_gigabytes_is_refused_by_its_header(tmp_path):
    """A PNG file of a kilobyte may claim any size; what is no regular file is not waited for."""
    (tmp_path / "a.png").write_bytes(make_png(9000, 4000))
    with pytest.raises(MediaError, match="a picture of 9000 x 4000 exceeds the 35389440 pixels allowed"):
        read_still(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(make_png(60_000, 60_000))
    with pytest.raises(MediaError, match="it is no picture .*exceeds limit"):
        read_still(tmp_path / "b.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FileNotFoundError):
        read_still(tmp_path / "pipe.png")
