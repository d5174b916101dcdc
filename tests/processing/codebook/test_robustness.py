"""Protects what is said of how robust visual ids are: what is done to the videos is done, ids are compared clip by
clip, and the figures reach report and cards."""

import importlib
import json
import subprocess
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchcodec.decoders import VideoDecoder

from processing import VideoBertProcessor
from processing.card_videobert import codebook_card, parts_table, told_survival
from processing.codebook import load_codebook, surviving_ids
from processing.codebook.robustness import ALTERATIONS, Alteration, agreement_by_level, alter_video, chance_by_level
from processing.codebook_videobert import VisualCodebook, VisualCodebookConfig
from processing.media_videobert import open_media


def test_shares_by_hand():
    """A tree of 3 x 3: ids 0 to 2 lie under the first node, 3 to 5 under the second, 6 to 8 under the third."""
    ids, others = torch.tensor([0, 1, 3, 8]), torch.tensor([0, 2, 4, 1])
    assert agreement_by_level(ids, others, 3, 2) == [0.75, 0.25]
    assert agreement_by_level(ids, ids, 3, 2) == [1.0, 1.0]
    # Two of four clips are under the first node: 1/4 + 1/16 + 1/16; all four ids are different.
    assert chance_by_level(ids, 3, 2) == [0.375, 0.25]


def make_video(path, lum, source="s=64x48:r=25:d=1.2"):
    """A video without loss, whose grey is a formula."""
    source = f"nullsrc={source},format=gray,geq=lum='{lum}'"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "ffv1", path], check=True)
    return path


def greys(path):
    """The grey in the middle of every frame of a file, by another reader than ours."""
    return VideoDecoder(str(path))[:].float()[:, :, 16:32, 16:48].mean((1, 2, 3))


def test_only_what_is_asked_for_changes(tmp_path):
    """Of 30 frames, each 8 lighter than the one before: the same frames at the same times, with 6/5 of the rate those
    on the screen in the middle of each new one, and the sides that a share of them leaves, in even numbers."""
    video = make_video(tmp_path / "steps.mkv", "8*N")
    before, size = greys(video), {}
    for name, alteration in ALTERATIONS.items():
        alter_video(video, tmp_path / f"{name.replace('/', ' ')}.mp4", alteration)
        after, shown = greys(tmp_path / f"{name.replace('/', ' ')}.mp4"), range(30)
        if alteration.rate != 1:
            shown = [int((number + 0.5) / 1.2) for number in range(36)]
        assert len(after) == len(shown) and (after - before[list(shown)]).abs().max() < 4, name
        with open_media(tmp_path / f"{name.replace('/', ' ')}.mp4") as media:
            assert media.duration == pytest.approx(1.2)
            size[name.split()[0]] = media.width, media.height
    assert size == {"CRF": (64, 48), "frame": (64, 48), "crop": (60, 44), "half": (32, 24)}
    odd = make_video(tmp_path / "odd.mkv", "8*N", "s=67x51:r=25:d=0.2")
    alter_video(odd, tmp_path / "odd.mp4", Alteration())
    with open_media(tmp_path / "odd.mp4") as media:
        assert (media.width, media.height) == (66, 50)


def look(path):
    """The mean grey of each clip: a network whose features nobody doubts."""
    with open_media(path) as media:
        return torch.stack([clip.float().mean().reshape(1) for clip in media.iter_clips(1.5, 4)])


def grey_codebook():
    """Leaves at 30, 90, 150 and 210, two under each of the nodes at 60 and 180."""
    codebook = VisualCodebook(VisualCodebookConfig(levels=2, branches=2, feature_size=1, normalize=False))
    codebook.tree[0].data = torch.tensor([[60.0], [180.0]])
    codebook.tree[1].data = torch.tensor([[30.0], [90.0], [150.0], [210.0]])
    codebook.counts_0.fill_(2)
    codebook.counts_1.fill_(1)
    return codebook


def test_clips_that_look_the_same_keep_their_ids(tmp_path):
    """Clips of one grey survive all that is done to them. Of light frames with a dark middle, half of which is cut
    off, none does; a broken video is left out and told of."""
    plain = make_video(tmp_path / "plain.mkv", "30+60*floor(T/1.5)", "s=64x48:r=10:d=6")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    videos = {"broken": tmp_path / "broken.mp4", "plain": plain}
    found = surviving_ids(grey_codebook(), videos, look)
    assert found["videos"] == 1 and found["clips"] == 4 and found["chance"] == [0.5, 0.25]
    assert found["survive"] == {name: [1.0, 1.0] for name in ALTERATIONS}
    assert list(found["errors"]) == ["broken"] and "broken.mp4" in found["errors"]["broken"]

    framed = "if(between(X,16,47)*between(Y,12,35),20,250)"
    framed = make_video(tmp_path / "framed.mkv", framed, "s=64x48:r=10:d=3")
    way = {"nothing": Alteration(crf=0), "half": Alteration(kept=0.5)}
    found = surviving_ids(grey_codebook(), {"framed": framed}, look, way)
    assert found["survive"] == {"nothing": [1.0, 1.0], "half": [0.0, 0.0]}
    with pytest.raises(ValueError, match="None of the 1 videos to alter can be read: .*broken.mp4"):
        surviving_ids(grey_codebook(), {"broken": videos["broken"]}, look)


def test_cards_tell_it():
    """In full and at the top level, beside chance; nothing where nobody has measured."""
    found = {"clips": 120, "chance": [0.125, 0.0101], "survive": {"CRF 32": [0.951, 0.5, 0.876]}}
    codebook = grey_codebook()
    assert told_survival(codebook) == told_survival(SimpleNamespace()) == told_survival(None) == ""
    codebook.config.robustness = found
    told = "CRF 32 88 % (95 %), by chance 1 % (12 %); 120 clips"
    assert told_survival(codebook) == told and f"altered: {told}.\n" in codebook_card(codebook, "me/codes")
    cutter = SimpleNamespace(clip_seconds=1.5, fps=20)
    processor = SimpleNamespace(codebook=codebook, video_processor=cutter, asr_model=None, backbone=None)
    processor.visual_token_offset, processor.asr_options = 17, None
    assert f"stay the same where videos are altered | {told} |" in parts_table(processor)


@pytest.fixture
def corpus(silent_video, tiny_text_model, tiny_backbone, tmp_path):
    """Videos, their features as a tiny network sees them, and the processor that looked."""
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(silent_video.read_bytes())
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone)
    processor.save_pretrained(tmp_path / "processor")
    clips = [processor.features(silent_video).half().tolist()] * 2
    shapes = {"video_id": ["a", "b"], "clip_seconds": [1.5] * 2}
    (tmp_path / "features").mkdir()
    features = pa.array(clips, pa.list_(pa.list_(pa.float16())))
    pq.write_table(pa.table({**shapes, "features": features}), tmp_path / "features" / "0.parquet")
    return tmp_path


@pytest.mark.slow
def test_the_example_asks_a_network_again(corpus, tiny_backbone, monkeypatch, capsys):
    """The report has the figures, the saved codebook keeps them for its card; a processor that looks with another
    network than the features' is refused before anything is fitted."""
    script = importlib.import_module("fit_codebook")
    words = ["--features", "features", "--output", "codebook", "--levels", "1", "--branches", "2", "--test_share", "0"]
    words += ["--report", "report", "--videos", "videos", "--robustness_videos", "1", "--processor", "processor"]
    monkeypatch.chdir(corpus)
    monkeypatch.setattr(sys, "argv", ["fit_codebook.py", *words])
    settings = corpus / "features" / "settings.json"
    settings.write_text(json.dumps({"backbone": "another"}))
    with pytest.raises(ValueError, match="The processor processor looks with .*; the features are of another"):
        script.main()
    assert not (corpus / "codebook").exists()
    settings.unlink()
    script.main()
    found = json.loads((corpus / "report" / "report.json").read_text())["robustness"]
    assert found["videos"] == 1 and found["clips"] == 3 and list(found["survive"]) == list(ALTERATIONS)
    codebook = load_codebook(corpus / "codebook")
    assert codebook.config.robustness == {name: value for name, value in found.items() if name != "errors"}
    assert told_survival(codebook) in capsys.readouterr().out
    assert (corpus / "report" / "report.png").stat().st_size > 10_000
    monkeypatch.setattr(sys, "argv", ["fit_codebook.py", *words[:-2]])
    with pytest.raises(SystemExit):
        script.main()
    assert "--robustness_videos needs --report, --videos and --processor" in capsys.readouterr().err
