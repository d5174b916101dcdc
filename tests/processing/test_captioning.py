"""Captions of videos: the paper's features, windows where nobody speaks, and the pipeline that travels."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_processor import make_video, text_tokenizer
from support.tiny_rows import tiny_processor
from support.tiny_run import tiny_model

from modeling_videobert import VideoBertConfig, VideoBertForCaptioning, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.captioning_videobert import (
    TEMPLATE,
    VideoCaptioningPipeline,
    cut_windows,
    merge_captions,
    paper_features,
    write_captions,
)
from processing.codebook.fitting import fit_codebook
from processing.subtitle_writing_videobert import write_subtitles
from processing.subtitles_videobert import read_subtitles

VIDEOS = [[1, 2, 3, 4, 5], [6], [7, 8, 9], [10, 11], [12, 13, 14]]


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


@pytest.fixture(scope="module")
def videobert():
    return tiny_model(initializer_range=0.4)


@pytest.fixture(scope="module")
def captioner(videobert, processor):
    """Knows nothing, but says of each video something else."""
    torch.manual_seed(0)
    model = VideoBertForCaptioning.from_videobert(videobert, processor.tokenizer, decoder_layers=1)
    model.generation_config.max_length = 8
    return model


# --- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clips, seconds, windows",
    [
        (18, 6.0, [(0, 4), (4, 9), (9, 13), (13, 18)]),  # 27 s are four windows of about 6.75 s
        (4, 6.0, [(0, 4)]),
        (1, 6.0, [(0, 1)]),
        (3, 0.1, [(0, 1), (1, 2), (2, 3)]),  # no window is shorter than a clip
        (0, 6.0, []),
    ],
)
def test_windows(clips, seconds, windows):
    """Worked out by hand for clips of 1.5 s."""
    assert cut_windows(clips, 1.5, seconds) == windows


@given(st.integers(1, 500), st.floats(0.1, 5), st.floats(0.1, 60))
def test_windows_lie_side_by_side(clips, clip_seconds, window_seconds):
    """Every clip is in one window, none is empty, and they differ by a clip at most."""
    windows = cut_windows(clips, clip_seconds, window_seconds)
    assert [clip for first, last in windows for clip in range(first, last)] == list(range(clips))
    lengths = [last - first for first, last in windows]
    assert min(lengths) >= 1 and max(lengths) - min(lengths) <= 1


def test_windows_need_a_length():
    with pytest.raises(ValueError, match="window_seconds is 0; allowed is more than 0"):
        cut_windows(4, 1.5, 0)


def test_same_captions_side_by_side_become_one():
    """What is said again later stays; what says nothing goes."""
    texts = ["cut.", "cut.", "", "stir.", "cut."]
    captions = [{"text": text, "start": 6.0 * i, "end": 6.0 * i + 6} for i, text in enumerate(texts)]
    merged = [(one["text"], one["start"], one["end"]) for one in merge_captions(captions)]
    assert merged == [("cut.", 0, 12), ("stir.", 18, 24), ("cut.", 24, 30)]


# --- features and captions -------------------------------------------------------------------------------------------


def test_paper_features_by_hand(videobert, processor):
    """Mean of the video outputs and mean of the outputs at the five masks, whatever else is in the batch."""
    found = paper_features(videobert, processor, [*VIDEOS, []], raw=True, batch_size=4)
    assert found.shape == (6, 2 * 16 + 24)
    inputs = processor(TEMPLATE, [VIDEOS[2]])
    with torch.no_grad():
        hidden = videobert.base_model(**inputs).last_hidden_state[0]
    join = inputs["input_ids"][0].tolist().index(1)
    masks = [place for place, token in enumerate(inputs["input_ids"][0].tolist()) if token == 6]
    assert len(masks) == 5
    torch.testing.assert_close(found[2, :16], hidden[join + 1 : join + 4].mean(dim=0))
    torch.testing.assert_close(found[2, 16:32], hidden[masks].mean(dim=0))
    torch.testing.assert_close(found[2, 32:], processor.codebook.centroids(VIDEOS[2]).mean(dim=0))
    assert not found[5, :16].any() and not found[5, 32:].any() and found[5, 16:32].any()
    torch.testing.assert_close(found[:, :32], paper_features(videobert, processor, [*VIDEOS, []]))


@pytest.mark.parametrize("beams", [1, 3])
def test_batches_do_not_matter(captioner, processor, beams):
    """Videos of unlike lengths get the captions that each gets alone, in their order."""
    together = write_captions(captioner, processor, VIDEOS, batch_size=3, num_beams=beams)
    alone = [write_captions(captioner, processor, [ids], num_beams=beams)[0] for ids in VIDEOS]
    assert together == alone and len(set(together)) > 1


def test_captions_from_features(videobert, processor):
    """A captioner that reads the paper's features is asked in the same way, and with raw ones too."""
    for size in (2 * 16, 2 * 16 + 24):
        torch.manual_seed(0)
        model = VideoBertForCaptioning.from_videobert(
            videobert, processor.tokenizer, decoder_layers=1, feature_size=size
        )
        together = write_captions(model, processor, VIDEOS, max_length=8)
        assert together == [write_captions(model, processor, [ids], max_length=8)[0] for ids in VIDEOS]


# --- the pipeline ----------------------------------------------------------------------------------------------------


def test_pipeline(captioner, processor):
    """One video gives a list of captions with times, several give a list of those, in batches or not."""
    pipe = VideoCaptioningPipeline(model=captioner, processor=processor, device="cpu")
    long = list(range(9))
    (first, *others) = pipe(long, num_beams=2)
    assert first["start"] == 0.0 and [*others, first][-1 if not others else -2]["end"] == 13.5
    texts = write_captions(captioner, processor, [long[:4], long[4:]], num_beams=2)
    captions = [{"text": text, "start": 6.0 * i, "end": (6.0, 13.5)[i]} for i, text in enumerate(texts)]
    assert [first, *others] == merge_captions(captions)
    for batch_size in (1, 2, 3):
        answers = pipe([long, [5], [6, 7]], num_beams=2, batch_size=batch_size)
        assert answers[0] == [first, *others] and len(answers) == 3
    whole = pipe(long, window_seconds=100, num_beams=2)
    assert [(one["start"], one["end"]) for one in whole] == [(0.0, 13.5)]


ELSEWHERE = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("modeling_videobert", "processing"):
            raise ImportError("not installed here")

sys.meta_path.insert(0, Absent())
from transformers import pipeline

folder, video, again = sys.argv[1:]
pipe = pipeline("video-captioning", model=folder, trust_remote_code=True, device="cpu")
found = pipe(video)
pipe.save_pretrained(again)
assert pipeline("video-captioning", model=again, trust_remote_code=True, device="cpu")(video) == found
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pipe_for_files(tiny_backbone, tiny_text_model):
    """A pipeline that can read video files, and has learned nothing."""
    features = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, 2, 3, progress=False)
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = VideoBertConfig(text_vocab_size=len(text_tokenizer()), codebook_size=9, initializer_range=0.4, **sizes)
    captioner = VideoBertForCaptioning.from_videobert(VideoBertForPreTraining(config), processor.tokenizer, 1)
    return VideoCaptioningPipeline(model=captioner, processor=processor, device="cpu")


@pytest.mark.slow
def test_a_saved_captioner_travels(pipe_for_files, tmp_path):
    """A process without the package reads a silent video and says the same."""
    pipe_for_files.save_pretrained(tmp_path / "saved")
    make_video(tmp_path / "video.mp4", "testsrc=s=64x48:r=25:d=4.6")
    expected = pipe_for_files(str(tmp_path / "video.mp4"))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "saved", tmp_path / "video.mp4", tmp_path / "again"],
        cwd=tmp_path,
        env={
            **{"PATH": "/usr/bin:/bin", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.parametrize("name", ["mmaction2__demo.mp4", "derived__vfr.mkv", "decord__video_90.mov"])
def test_real_files_become_subtitles(pipe_for_files, shared_media, tmp_path, name):
    """Silent or not, their captions follow one another, and our own reader reads what is written."""
    captions = pipe_for_files(str(shared_media / name))
    assert all(one["start"] < one["end"] for one in captions)
    assert all(before["end"] <= after["start"] for before, after in pairwise(captions))
    for ending in (".vtt", ".srt"):
        write_subtitles(tmp_path / f"a{ending}", captions)
    read = [read_subtitles(tmp_path / f"a{ending}") for ending in (".vtt", ".srt")]
    assert read[0] == read[1]
    # A caption that ends in no full stop is given one by the reader.
    said, found = ([word.rstrip(".") for one in some for word in one["text"].split()] for some in (captions, read[0]))
    assert found == said
