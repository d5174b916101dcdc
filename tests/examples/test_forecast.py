"""The scripts for forecasts and storyboards: from a trained model and rows to figures and pictures."""

import json

import pytest
import torch
from forecast import main as forecast
from pictures.tokens import plot_forecast, plot_storyboard, token_frames
from storyboard import main as storyboard
from support.tiny_processor import make_video
from support.tiny_rows import cooking_rows, cooking_truth, save_rows, save_truth, tiny_processor
from support.tiny_run import tiny_model
from training.forecasting import train_to_forecast

from modeling_videobert import VideoBertForPreTraining

PNG = b"\x89PNG"


@pytest.fixture
def trained(tmp_path):
    """A model folder, rows to train on and rows held out, and their truth."""
    processor = tiny_processor()
    tiny_model().save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in cooking_rows(8)]
    for name, some in (("train", rows[:6]), ("held_out", rows[6:])):
        (tmp_path / name).mkdir()
        save_rows(some, tmp_path / name)
    save_truth(cooking_truth(rows), tmp_path)
    return tmp_path


def test_train_and_evaluate_a_forecast(trained, capsys):
    """The folder that comes out opens, is another model, and is scored beside its controls."""
    inputs = [f"--model={trained / 'model'}", f"--corpus={trained / 'train' / 'rows'}"]
    forecast(["train", *inputs, f"--output_dir={trained / 'new'}", "--max_steps=3", "--batch_size=8"])
    old, new = (VideoBertForPreTraining.from_pretrained(trained / name) for name in ("model", "new"))
    assert not torch.equal(old.cloze_head.dense.weight, new.cloze_head.dense.weight)
    inputs = [f"--model={trained / 'new'}", f"--corpus={trained / 'held_out' / 'rows'}"]
    inputs += [f"--train_corpus={trained / 'train' / 'rows'}", f"--output={trained / 'figures.json'}"]
    forecast(["evaluate", *inputs])
    figures = json.loads((trained / "figures.json").read_text())
    assert figures["1"]["places"] == 2 * 30 and set(figures) == {"1", "2", "4", "8"}
    assert "| Markov chain, 2 clips |" in capsys.readouterr().out


def test_training_is_repeatable_and_learns():
    """The same seed gives the same losses to the bit, and what follows is learned: these rows follow a pattern."""
    rows, processor = cooking_rows(8), tiny_processor()
    losses = [train_to_forecast(tiny_model(), processor, rows, 30, 16, 1e-2, seed) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert sum(losses[0][-5:]) < sum(losses[0][:5]) - 2


def test_storyboard_of_a_recipe(trained, capsys):
    """Sentences become strips and a picture; held-out steps become a table."""
    picture = trained / "strip.png"
    storyboard(["draw", f"--model={trained / 'model'}", "--text", "cut the lemon.", "peel it", f"--output={picture}"])
    assert picture.read_bytes().startswith(PNG) and "cut the lemon.  " in capsys.readouterr().out
    inputs = [f"--model={trained / 'model'}", f"--truth={trained / 'truth.jsonl'}"]
    inputs += [f"--corpus={trained / 'held_out' / 'rows'}", f"--train_corpus={trained / 'train' / 'rows'}"]
    storyboard(["evaluate", *inputs, f"--output={trained / 'board.json'}"])
    assert json.loads((trained / "board.json").read_text())["true"]["pair"] > 0
    assert "8 steps, in per cent" in capsys.readouterr().out
    (trained / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="holds no sentence; a storyboard needs at least one"):
        storyboard(["draw", f"--model={trained / 'model'}", f"--file={trained / 'empty.txt'}"])


def test_frames_of_tokens(tmp_path):
    """The codebook's own frame first, else one of a training video with that id; another id's would mislead."""
    codebook = tiny_processor().codebook
    codebook.set_frames({3: torch.full((3, 16, 16), 200, dtype=torch.uint8)})
    make_video(tmp_path / "a.mp4", "color=c=black:s=64x48:r=25:d=3")
    rows = [{"video_id": "a", "clip_seconds": 1.5, "visual_ids": [5, 6]}, {"video_id": "b", "visual_ids": [3, 9]}]
    frames = token_frames([3, 5, 9, 3], codebook, rows, {"a": tmp_path / "a.mp4"})
    assert set(frames) == {3, 5}
    assert frames[3].float().mean() > 150 and frames[5].float().mean() < 50
    assert set(token_frames([3, 9], codebook)) == {3}


def test_pictures_are_drawn_with_and_without_frames(tmp_path):
    """A token that nothing shows is a patch with its number."""
    frames = {3: torch.zeros(3, 16, 16, dtype=torch.uint8)}
    answers = [{"horizon": h, "start": 1.5 * h, "visual_ids": [3, 4], "scores": [0.6, 0.1]} for h in (1, 8)]
    plot_forecast([3, 9], answers, frames, tmp_path / "forecast.png", 1.5, ["cut the lemon"] * len(answers))
    plot_storyboard([("cut the lemon", [3, 4]), ("peel it", [9])], frames, tmp_path / "board.png")
    for name in ("forecast.png", "board.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
