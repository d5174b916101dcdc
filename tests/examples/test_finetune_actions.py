"""Fine-tuning on labelled steps: from rows and truth to a folder that names classes."""

import json

import pytest
import torch
from finetune_actions import main
from support.tiny_rows import cooking_rows, cooking_truth, save_rows, save_truth, tiny_processor, tiny_reader
from transformers import AutoModelForVideoClassification

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor


def run(tmp_path, monkeypatch, *options, truth=None):
    processor = tiny_processor()
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in cooking_rows()]
    tiny_reader(VideoBertForPreTraining).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    for name, some in (("train", rows[:6]), ("test", rows[6:])):
        (tmp_path / name).mkdir(exist_ok=True)
        save_rows(some, tmp_path / name)
    truth = save_truth(truth or cooking_truth(rows), tmp_path)
    given = ["--model", tmp_path / "model", "--corpus", tmp_path / "train" / "rows", "--truth", truth]
    given += ["--output_dir", tmp_path / "out", "--learning_rate", "1e-2", *options]
    monkeypatch.setattr("sys.argv", ["finetune_actions.py", *map(str, given)])
    main()


@pytest.mark.parametrize("label", ["verb", "pair"])
def test_what_is_learned_is_saved_and_measured(tmp_path, monkeypatch, capsys, label):
    """The tokens of these rows name verb and object: the model learns verbs from six videos, and is found again on
    disk with the names of its classes; a pair that training never shows is missed and stays in the count."""
    run(tmp_path, monkeypatch, "--label", label, "--test_corpus", tmp_path / "test" / "rows", "--epochs", 30)
    figures = json.loads((tmp_path / "out" / "actions.json").read_text())
    assert figures["num_segments"] == 8 and figures["label"] == label
    assert "| fine-tuned |" in capsys.readouterr().out
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out").eval()
    processor, rows = VideoBertProcessor.from_pretrained(tmp_path / "out"), cooking_rows()
    steps = [step for video in list(cooking_truth(rows).values())[:6] for step in video]
    if label == "pair":
        assert set(model.config.id2label.values()) == {f"{step['verb']} {step['object']}" for step in steps}
        return
    with torch.no_grad():
        best = model(**processor(videos=rows[0]["visual_ids"][:8])).logits.argmax().item()
    assert model.config.id2label[best] == steps[0]["verb"]
    assert figures["top1"] > 0.8 and figures["top1"] > figures["top1_prior"] and figures["top1_chance"] == 0.25


def test_truth_of_other_videos_is_refused(tmp_path, monkeypatch):
    """No step to learn from: the files are named."""
    other = {"another": cooking_truth(cooking_rows())["video0"]}
    with pytest.raises(ValueError, match="No video id of .*truth.jsonl is among the rows of"):
        run(tmp_path, monkeypatch, truth=other)
