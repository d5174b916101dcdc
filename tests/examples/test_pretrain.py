"""Pretraining from end to end: rows or videos in, a folder that loads out."""

import json
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from pretrain import choose_precision, main, native_bf16
from support.tiny_processor import make_video
from support.tiny_rows import CODEBOOK_SIZE, OFFSET
from support.tiny_run import forget_accelerator, save_text_model
from training.material import own_material
from training.options import parse_options
from transformers import AutoModelForPreTraining

from processing import VideoBertProcessor
from processing.codebook import fit_codebook
from processing.corpus import held_out_ids

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


def test_whole_way_from_rows_to_a_folder_that_loads(source, tmp_path):
    """Training on rows leaves a model that loads by itself, its processor, a card, figures and pictures."""
    folder = tmp_path / "run"
    options = ["--max_steps=40", "--learning_rate=1e-2", "--warmup_steps=2", "--eval_steps=20", "--batch_size=32"]
    options += ["--language_probability=0.35", "--trailing_seconds=3", "--report_to=tensorboard"]
    results = main([*source, f"--output_dir={folder}", *options, "--checkpointing_steps=20", "--checkpoints_kept=1"])
    assert json.loads((folder / "all_results.json").read_text()) == results
    training = json.loads((folder / "training.json").read_text())
    assert training["train"]["videos"] + training["held_out"]["videos"] == 12
    assert training["options"]["max_steps"] == 40 and training["split"].startswith("10 % of the videos")
    for name in ("verb_top1", "verb_top1_token_probe", "text_cloze_accuracy", "alignment_loss", "seconds"):
        assert isinstance(results[name], float)
    assert 0 <= results["alignment_auc"] <= 1
    assert results["tokens_per_second"] > 0 and 0 < results["loader_wait_share"] < 1
    assert (results["bad_steps"], results["silent_steps"]) == (0, 0)
    for name in ("README.md", "losses.png", "timeline.png", "model.safetensors", "codebook/model.safetensors"):
        assert (folder / name).stat().st_size > 0
    assert str(tmp_path) not in (folder / "README.md").read_text()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_40"]
    assert list((folder / "logs").rglob("events*"))

    model, processor = AutoModelForPreTraining.from_pretrained(folder), VideoBertProcessor.from_pretrained(folder)
    assert model.config.vocab_size == len(processor.tokenizer)
    output = model(**processor(text="now let me show you how to [MASK] the lemon", videos=[3, 5, 5]))
    assert output.logits.shape[-1] == OFFSET + CODEBOOK_SIZE
    # The template's words are in every sentence: a model that learns at all knows them.
    assert results["text_cloze_accuracy"] > 0.5


def test_adding_a_video_moves_no_other_between_training_and_held_out():
    """Else a resumed run would be judged on what it was trained on."""
    names = [f"video{number}" for number in range(200)]
    before, after = held_out_ids(names, 0.1), held_out_ids([*names, "another"], 0.1)
    assert before - {"another"} == after - {"another"} and 8 <= len(before) <= 35
    assert len(held_out_ids(names[:5], 0.01)) == 2


def test_a_processor_of_another_vocabulary_is_refused(source, tmp_path):
    """The ids of visual tokens would silently mean other tokens to the model."""
    save_text_model(tmp_path / "other", vocab_size=OFFSET + 7)
    with pytest.raises(ValueError, match=f"begin at {OFFSET} in the processor and at {OFFSET + 7}"):
        main([*source, f"--text_model={tmp_path / 'other'}", f"--output_dir={tmp_path / 'run'}", "--max_steps=1"])


def test_another_codebook_needs_rows_of_it(source, tmp_path):
    """A refitted codebook goes into a run with rows of its ids; with rows of the old ids, which would silently mean
    other clips, it is refused, and so are its rows without it."""
    features = torch.randn(CODEBOOK_SIZE, 24, generator=torch.Generator().manual_seed(1))
    refitted = fit_codebook(features, levels=2, branches=4, progress=False)
    refitted.save_pretrained(tmp_path / "refitted")
    rows = datasets.load_from_disk(tmp_path / "rows")
    rows = rows.map(
        lambda row: {"visual_ids": [one % 16 for one in row["visual_ids"]], "codebook": refitted.fingerprint}
    )
    rows.save_to_disk(tmp_path / "new_rows")
    small, new = [*source, f"--output_dir={tmp_path / 'run'}", "--max_steps=1"], f"--corpus={tmp_path / 'new_rows'}"
    for wrong in ([f"--codebook={tmp_path / 'refitted'}"], [new]):
        with pytest.raises(ValueError, match="The rows have codebook"):
            main([*small, *wrong])
        forget_accelerator()
    main([*small, new, f"--codebook={tmp_path / 'refitted'}"])
    model, processor = AutoModelForPreTraining.from_pretrained(tmp_path / "run"), tmp_path / "run"
    assert model.config.codebook_size == 16
    assert VideoBertProcessor.from_pretrained(processor).codebook.fingerprint == refitted.fingerprint


def test_own_videos_with_bad_ones_among_them(tiny_backbone, tmp_path, capsys):
    """Silent videos, a text file named .mp4 and a truncated one: the run ends with a model and says what is wrong."""
    save_text_model(tmp_path / "bert")
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):
        make_video(videos / f"video{number}.mp4", f"testsrc=s=64x48:r=10:d={4 + number}")
    (videos / "text.mp4").write_text("this is no video")
    (videos / "truncated.mp4").write_bytes((videos / "video5.mp4").read_bytes()[:2000])
    options = [
        "--levels=1",
        "--batch_size=8",
        "--report_to=none",
        "--branches=4",
        "--max_steps=2",
        "--warmup_steps=1",
        "--max_length=32",
        "--test_share=0.3",
    ]
    names = [
        f"--videos={videos}",
        f"--text_model={tmp_path / 'bert'}",
        f"--backbone={tiny_backbone}",
        "--backbone_dtype=bfloat16",
        "--backbone_batch_size=2",
        "--asr_model=none",
    ]
    main([*names, f"--output_dir={tmp_path / 'run'}", *options])
    rows = datasets.load_from_disk(tmp_path / "run" / "corpus" / "rows")
    assert sorted(rows["video_id"]) == ["text", "truncated", *(f"video{number}" for number in range(6))]
    complaints = capsys.readouterr().err
    assert "text.mp4" in complaints and "truncated.mp4" in complaints
    for name in ("README.md", "all_results.json", "losses.png", "timeline.png", "codebook/model.safetensors"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_folder_without_videos_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no video"):
        main([f"--videos={tmp_path}", f"--output_dir={tmp_path / 'run'}", "--text_model=none"])


@pytest.mark.parametrize(
    "options, wanted", [("", "en"), ("--language de", "de"), ("--language de --asr_task translate", "en")]
)
def test_subtitles_are_in_the_language_that_is_heard(tmp_path, monkeypatch, options, wanted):
    """They stand for what the recogniser would write: what is spoken, or English where it translates."""

    class Asked(Exception):
        pass

    def asked(videos, source, language):
        raise Asked(language)

    monkeypatch.setattr("training.material.find_subtitles", asked)
    monkeypatch.setattr(
        "training.material.VideoBertProcessor.from_models", lambda *models, **options: SimpleNamespace()
    )
    (tmp_path / "a.mp4").touch()
    arguments = ["--videos", str(tmp_path), "--output_dir", str(tmp_path / "out"), *options.split()]
    with pytest.raises(Asked, match=wanted):
        own_material(parse_options(arguments))


def test_automatic_precision_is_what_the_processor_multiplies_in():
    """A processor without such instructions imitates bf16, which takes several times as long; a wish is a wish."""
    assert native_bf16({"avx512_bf16": True, "amx_bf16": False}) and native_bf16({"bf16": True})
    assert not native_bf16({"avx2": True, "avx512_f": True, "avx512_bf16": False})
    assert choose_precision(None) is None and choose_precision("bf16") == "bf16"
    assert choose_precision("auto") in ("bf16", "no")


def test_whole_way_from_features(tmp_path):
    """Features and captions become a model whose processor has no eyes; nothing is heard or looked at. As asked for,
    a clip has two codes, and the model a row for each of both."""
    save_text_model(tmp_path / "bert")
    folder, captions = tmp_path / "s3d", {}
    folder.mkdir()
    for number in range(6):
        features = torch.randn(40, 12, generator=torch.Generator().manual_seed(number)).half().numpy()
        np.save(folder / f"video{number}.mp4.npy", features)
        captions[f"video{number}"] = {"start": [0, 20], "end": [20, 40], "text": ["cut the lemon.", "stir the onion."]}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    small = ["--max_steps=2", "--batch_size=4", "--max_length=64", "--report_to=none"]
    small += ["--levels=2", "--branches=4", "--residual_codes=2"]
    named = [f"--features={folder}", f"--text_model={tmp_path / 'bert'}", f"--output_dir={tmp_path / 'run'}"]
    results = main([*named, "--clip_seconds=1", f"--subtitles={tmp_path / 'captions.json'}", *small])
    assert results["alignment_auc"] is not None and "not told" in (tmp_path / "run" / "README.md").read_text()
    processor = VideoBertProcessor.from_pretrained(tmp_path / "run")
    assert processor.codebook.code_sizes == (16, 16)
    assert AutoModelForPreTraining.from_pretrained(tmp_path / "run").config.codebook_size == 32
    assert processor.backbone is None and processor.video_processor.clip_seconds == 1.0
    with pytest.raises(ValueError, match="no eyes for raw video"):
        processor.features("video.mp4")
