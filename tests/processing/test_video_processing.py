"""Clips prepared for the video network: the right frames, fixed normalisation, and a standard video processor."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoVideoProcessor

from processing.media_videobert import MediaError, open_media
from processing.video_processing_videobert import VideoBertVideoProcessor


def small(**kwargs):
    return VideoBertVideoProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}, **kwargs)


def numbered(num_frames, height=8, width=8):
    """Frames (T, 3, H, W) uint8 whose grey level is their number."""
    return torch.arange(num_frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, height, width)


def shown_numbers(clips):
    """The frame numbers in normalised clips: -1 … 1 back to 0 … 255."""
    return [int(round(level)) for clip in clips for level in ((clip.mean((1, 2, 3)) + 1) * 127.5).tolist()]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    source = "testsrc=s=96x64:r=20:d=3"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, str(path)], check=True)
    return path


def test_defaults_are_those_of_the_paper():
    """30 frames at 20 fps make a clip of 1.5 s; pixels go to [-1, 1]."""
    processor = VideoBertVideoProcessor()
    assert (processor.clip_seconds, processor.fps, processor.frames_per_clip) == (1.5, 20, 30)
    assert processor.num_clips(10) == 7
    black_and_white = np.stack([np.zeros((3, 224, 224)), np.full((3, 224, 224), 255)]).astype(np.uint8)
    pixels = processor(black_and_white, return_tensors="pt")["pixel_values_videos"]
    assert pixels.shape == (1, 2, 3, 224, 224) and pixels.dtype == torch.float32
    assert pixels[0, 0].unique().tolist() == [-1] and pixels[0, 1].unique().tolist() == [1]


def test_pixels_do_not_depend_on_their_company():
    """The fault of earlier implementations: pixels normalised by each batch's own minimum and maximum. A clip looks
    the same alone and beside a much brighter one."""
    processor = small()
    dark, bright = np.random.default_rng(0).integers(0, 60, (2, 4, 3, 8, 8), dtype=np.uint8)
    bright = bright + 190
    alone = processor([dark], return_tensors="pt")["pixel_values_videos"][0]
    beside = processor([dark, bright], return_tensors="pt")["pixel_values_videos"][0]
    assert torch.equal(alone, beside)
    torch.testing.assert_close(alone, torch.from_numpy(dark) / 127.5 - 1)


def test_resize_keeps_the_aspect_and_crops_the_centre():
    frames = np.zeros((1, 3, 16, 48), dtype=np.uint8)
    frames[..., 16:32] = 255  # the middle third
    pixels = small()(frames, return_tensors="pt")["pixel_values_videos"]
    assert pixels.shape == (1, 1, 3, 8, 8) and pixels[..., 2:6].min() > 0.9


def test_file_gives_prepared_clips(video):
    """A path, bytes, an open file and an open medium give the same clips, prepared by the decoder or not."""
    processor = small()
    clips = list(processor.iter_clips(video))
    assert [clip.shape for clip in clips] == [(30, 3, 8, 8)] * 2 and clips[0].dtype == torch.float32
    with open(video, "rb") as file, open_media(video) as media:
        for other in (str(video), video.read_bytes(), file, media):
            assert torch.equal(torch.stack(list(processor.iter_clips(other))), torch.stack(clips))
        raw = next(media.iter_clips())
    by_hand = processor([raw], return_tensors="pt")["pixel_values_videos"][0]
    assert torch.equal(by_hand, clips[0])


def test_called_on_a_path_it_samples_the_whole_video(video):
    """The standard way in opens files as safely as the stream does, and sees the same frames."""
    processor = small()
    pixels = processor(str(video), return_tensors="pt")["pixel_values_videos"]
    assert torch.equal(pixels[0], torch.cat(list(processor.iter_clips(video))))
    with pytest.raises(MediaError, match="no such file"):
        processor("missing.mp4")


@pytest.mark.parametrize("order", ["channels first", "channels last"])
@pytest.mark.parametrize("make", [torch.clone, torch.Tensor.numpy])
def test_array_is_cut_by_time(order, make):
    """40 frames at 10 fps are 4 s: three clips, in which each frame stands twice; after the last one it stays."""
    frames = numbered(40) if order == "channels first" else numbered(40).permute(0, 2, 3, 1)
    clips = list(small().iter_clips(make(frames.contiguous()), video_fps=10))
    assert len(clips) == 3 and all(clip.shape == (30, 3, 8, 8) for clip in clips)
    assert shown_numbers(clips) == [min(k // 2, 39) for k in range(90)]


def test_array_without_a_rate_has_that_of_the_processor():
    assert shown_numbers(small().iter_clips(numbered(60))) == list(range(60))


def test_other_lengths_of_a_clip():
    """Three seconds at 4 fps are twelve frames a clip."""
    clips = list(small(clip_seconds=3.0, fps=4).iter_clips(numbered(48), video_fps=8))
    assert shown_numbers(clips) == list(range(0, 48, 2)) and len(clips) == 2


@pytest.mark.parametrize(
    "frames, message",
    [
        (torch.zeros(4, 8, 8), "4, 8, 8"),
        (torch.zeros(0, 3, 8, 8), "0, 3, 8, 8"),
        (torch.zeros(2, 5, 8, 8), "channels"),
    ],
)
def test_array_that_is_no_video(frames, message):
    with pytest.raises(ValueError, match=message):
        list(small().iter_clips(frames))


def test_settings_that_give_no_frames():
    for settings in (
        *({"clip_seconds": 0.0}, {"fps": -1}, {"clip_seconds": 0.01, "fps": 20}),
        *({"fps": None}, {"clip_seconds": None}, {"fps": float("nan")}, {"fps": float("inf")}),
    ):
        with pytest.raises(ValueError, match="give no frames; both must be positive numbers"):
            VideoBertVideoProcessor(**settings)


def test_saved_and_loaded(tmp_path):
    """All settings survive, and the file is a plain video preprocessor configuration."""
    small(clip_seconds=3.0, fps=10, image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    loaded = VideoBertVideoProcessor.from_pretrained(tmp_path)
    assert (loaded.clip_seconds, loaded.fps, loaded.frames_per_clip) == (3.0, 10, 30)
    assert list(loaded.image_mean) == [0.1, 0.2, 0.3] and loaded.size["shortest_edge"] == 8
    saved = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert saved["video_processor_type"] == "VideoBertVideoProcessor"


@pytest.mark.slow
def test_travels_with_its_code(tmp_path, video):
    """Where this package is not installed, the saved folder is enough: AutoVideoProcessor loads the code beside it."""
    folder = tmp_path / "saved"
    processor = small()
    VideoBertVideoProcessor.register_for_auto_class()
    processor.save_pretrained(folder)
    shutil.copy(video, tmp_path / "video.mp4")
    script = (
        "from transformers import AutoVideoProcessor as A\n"
        "p = A.from_pretrained('saved', trust_remote_code=True)\n"
        "c = list(p.iter_clips('video.mp4')); print(len(c), *c[0].shape, round(c[0].mean().item(), 4))\n"
    )
    (tmp_path / "run.py").write_text(script)
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = next(processor.iter_clips(video)).mean().item()
    assert done.stdout.split()[-6:] == ["2", "30", "3", "8", "8", str(round(expected, 4))]


def test_known_to_the_auto_class(tmp_path):
    """Importing the package registers the class: no trust in remote code is needed."""
    import processing  # noqa: F401

    folder = tmp_path / "saved"
    small().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "videobert"}))
    settings = json.loads((folder / "video_preprocessor_config.json").read_text())
    settings.pop("auto_map", None)
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    assert type(AutoVideoProcessor.from_pretrained(folder)) is VideoBertVideoProcessor
