"""The script that teaches captions and writes subtitles, from rows and from video files."""

import json
import sys

import caption
import pytest
import torch
from support.tiny_rows import cooking_rows, cooking_truth, save_rows, save_truth, tiny_processor
from support.tiny_run import tiny_model
from training.captioner import load_metrics

from modeling_videobert import VideoBertForCaptioning, VideoBertForPreTraining
from processing import VideoBertProcessor, read_subtitles
from processing.codebook.fitting import fit_codebook
from processing.evaluation import score_captions

SILENT_STEPS = [
    {"video_id": name, "start": 0.0, "references": [text]}
    for name, text in (("a", "Cut the lemon into slices!"), ("b", "stir the soup."))
]


class Exact:
    """In the place of a metric: how many captions are a reference."""

    def compute(self, predictions, references):
        return {"cider_d": sum(one in told for one, told in zip(predictions, references, strict=True))}


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["caption.py", *map(str, arguments)])
    caption.main()


def test_metrics_are_there():
    """The script's metrics open without a hub, take what they are given, and are best where nothing is wrong."""
    names = set()
    for metric in load_metrics():
        scores = metric.compute(
            predictions=["cut the lemon into slices.", "stir the soup."],
            references=[["Cut the lemon into slices!"], ["wash it.", "stir the soup."]],
        )
        names |= scores.keys()
        assert all(value > 0.5 for value in scores.values())
        # Of nothing that a captioner wrote, nothing is earned.
        silence = score_captions([" ", ""], SILENT_STEPS, [metric])
        assert all(value == 0 for mode in silence.values() for value in mode.values())
    assert {"cider_d", "bleu_4", "rouge_l", "meteor_approx"} <= names


@pytest.fixture
def taught(tmp_path, fresh_accelerator, monkeypatch):
    """Options of a VideoBERT with its processor, and of rows with their truth."""
    processor, rows = tiny_processor(), cooking_rows(6)
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in rows]
    processor.save_pretrained(tmp_path / "model")
    tiny_model().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(caption, "load_metrics", lambda: [Exact()])
    sources = {"--corpus": save_rows(rows, tmp_path), "--truth": save_truth(cooking_truth(rows), tmp_path)}
    return ["--model", tmp_path / "model", "--test_corpus", sources["--corpus"], "--decoder_layers", 1] + [
        word for option in sources.items() for word in option
    ]


@pytest.mark.parametrize("way", [[], ["--paper_features", "--raw_features"], ["--train_encoder"]])
def test_learns_from_rows(taught, tmp_path, monkeypatch, capsys, way):
    """All ways end in a captioner that opens, a table with all baselines, and the figures in a file."""
    call(monkeypatch, *taught, *way, "--max_steps", 3, "--batch_size", 4, "--output", tmp_path / "captioner")
    printed = capsys.readouterr().out
    assert "24 steps; 0 that nobody names were left out" in printed
    assert all(f"| {mode} | cider d |" in printed for mode in ("micro", "macro", "paragraph"))
    told = json.loads((tmp_path / "captioner" / "captions.json").read_text())
    assert {"caption_cider", "caption_cider_nn", "caption_cider_no_video"} <= told["figures"].keys()
    # Nobody needs a network to find the sentence of the very same clips.
    assert told["figures"]["caption_cider_nn"] == 24 and len(told["captions"]["_no_video"]) == 24
    assert len(set(told["captions"]["_no_video"])) == 1
    model = VideoBertForCaptioning.from_pretrained(tmp_path / "captioner")
    assert model.config.feature_size == (2 * 16 + 24 if "--raw_features" in way else None)
    before = VideoBertForPreTraining.from_pretrained(tmp_path / "model").videobert.encoder.state_dict()
    same = all(torch.equal(weight, before[name]) for name, weight in model.encoder.encoder.state_dict().items())
    assert same is (way != ["--train_encoder"])


@pytest.fixture(scope="module")
def captioner(tiny_backbone, tiny_text_model, tmp_path_factory):
    """A captioner that can read video files, and has learned nothing."""
    features = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, 2, 3, progress=False)
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)
    model = VideoBertForPreTraining(tiny_model().config.__class__(**SIZES, text_vocab_size=17, codebook_size=9))
    folder = tmp_path_factory.mktemp("captioner")
    VideoBertForCaptioning.from_videobert(model, processor.tokenizer, 1).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def test_a_folder_of_videos(captioner, silent_video, tmp_path, monkeypatch, capsys):
    """A silent video gets subtitles; a broken one becomes a line with its error, and the command tells."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "good.mp4").write_bytes(silent_video.read_bytes())
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--model", captioner, "--video", tmp_path / "videos", "--output", tmp_path / "subtitles")
    assert ended.value.code == 1
    lines = {line.split(":")[0]: line for line in capsys.readouterr().out.splitlines() if ": " in line}
    assert "broken.mp4" in lines["broken"] and "error" in lines["broken"]
    assert "captions in" in lines["good"]
    written = sorted(path.name for path in (tmp_path / "subtitles").iterdir())
    assert written == ["good.srt", "good.vtt"]


def test_one_video(captioner, silent_video, tmp_path, monkeypatch):
    """One file of the kind that is asked for; times are those of the clips."""
    call(monkeypatch, "--model", captioner, "--video", silent_video, "--output", tmp_path / "film.vtt")
    assert [path.name for path in tmp_path.iterdir()] == ["film.vtt"]
    sentences = read_subtitles(tmp_path / "film.vtt")
    assert all(0 <= one["start"] < one["end"] <= 4.5 for one in sentences)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give either --corpus, to learn from, or --video, to be captioned"),
        (["--corpus", "rows", "--truth", "t"], "--test_corpus and --truth belong together"),
        (["--corpus", "rows", "--text_start", "bert"], "--text_start is compared on --test_corpus, which is missing"),
    ],
)
def test_what_does_not_go_together(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--model", "m", "--output", "o", *arguments)
    assert message in capsys.readouterr().err


def test_a_videobert_is_no_captioner(taught, silent_video, tmp_path, monkeypatch):
    """It would open with a decoder of random weights."""
    with pytest.raises(ValueError, match="is no captioner"):
        call(monkeypatch, "--model", tmp_path / "model", "--video", silent_video, "--output", tmp_path / "a.vtt")
