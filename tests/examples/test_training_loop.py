"""The loop: the same run however it is interrupted, and one that stops where it should."""

import json
import math
import shutil

import pytest
import torch
from pretrain import main
from safetensors.torch import load_file
from support.tiny_run import forget_accelerator
from training import steps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerator")]
# 40 examples are 2 steps of 2 batches of 8 an epoch, so that step 5 is in the middle of one.
SMALL = ["--max_steps=8", "--gradient_accumulation_steps=2", "--warmup_steps=1", "--logging_steps=3", "--eval_steps=4"]


def run(source, folder, *options):
    """Weights and progress at the end."""
    forget_accelerator()
    main([*source, f"--output_dir={folder}", "--checkpointing_steps=1", "--checkpoints_kept=99", *SMALL, *options])
    last = folder / "checkpoints" / "step_8"
    return load_file(last / "model.safetensors"), json.loads((last / "progress.json").read_text())["progress"]


def resume_at(step, source, whole, folder, *options):
    """The same run, killed after this step and resumed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole / "checkpoints" / f"step_{step}", folder / "checkpoints" / f"step_{step}")
    torch.manual_seed(99)
    return run(source, folder, *options, "--resume_from_checkpoint=latest")


def assert_same(found, expected):
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    assert all(torch.equal(found[0][name], expected[0][name]) for name in expected[0])


@pytest.mark.parametrize("options", [["--layout=packed"], ["--layout=grouped"], ["--num_workers=2"]])
def test_resuming_is_exact(source, tmp_path, options):
    """Eight steps at once, or some, a checkpoint and the rest, end in the same bits and the same losses: in the middle
    of an epoch, at its end, and between two lines of the history."""
    expected = run(source, tmp_path / "whole", *options)
    for step in (1, 4) if options == ["--layout=packed"] else (5,):
        assert_same(resume_at(step, source, tmp_path / "whole", tmp_path / "resumed", *options), expected)


def test_workers_and_looks_change_nothing(source, tmp_path):
    """Who prepares the batches, and how often held-out videos are looked at, move no weight; another seed does."""
    expected, _ = run(source, tmp_path / "one")
    found, _ = run(source, tmp_path / "two", "--num_workers=2", "--eval_steps=1")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    other, _ = run(source, tmp_path / "three", "--seed=1")
    assert not all(torch.equal(other[name], expected[name]) for name in expected)


@pytest.mark.parametrize("option", ["--batch_size=4", "--seed=1", "--learning_rate=1e-4", "--max_joined=1"])
def test_other_options_are_refused(source, tmp_path, option):
    """They would train on without a word, with other numbers."""
    small = [*source, f"--output_dir={tmp_path / 'run'}", "--max_steps=1", "--checkpointing_steps=1"]
    main(small)
    forget_accelerator()
    name = option.removeprefix("--").split("=")[0]
    with pytest.raises(ValueError, match=f"The checkpoint was made with {name} "):
        main([*small, option, "--resume_from_checkpoint=latest"])


def test_alignment_begins_at_its_step(source, tmp_path):
    """Before it no example is asked about alignment, from it on they are, whatever workers had prepared ahead; and a
    run that was killed on either side goes on exactly."""
    options = ["--alignment_start=5", "--logging_steps=1", "--alignment_share=1", "--mixture", "0", "0", "1"]
    expected = run(source, tmp_path / "whole", "--num_workers=2", *options)
    asked = ["alignment_loss" in line for line in expected[1]["history"]]
    assert asked == [False] * 5 + [True] * 3
    assert_same(run(source, tmp_path / "no_workers", *options), expected)
    for step in (4, 5, 6):
        assert_same(resume_at(step, source, tmp_path / "whole", tmp_path / "resumed", *options), expected)


def test_a_new_run_puts_old_checkpoints_aside(source, tmp_path):
    """They would pass for its own when it is resumed."""
    old = tmp_path / "run" / "checkpoints" / "step_9000"
    old.mkdir(parents=True)
    main([*source, f"--output_dir={tmp_path / 'run'}", "--max_steps=1", "--checkpointing_steps=1"])
    assert [path.name for path in old.parent.iterdir()] == ["step_1"]
    assert list((tmp_path / "run").glob("checkpoints_before_*/step_9000"))


def test_the_best_is_kept_and_saved(source, tmp_path):
    """A rate so high that the model gets worse: what is saved is the model of the best look, which rotation spared,
    and the run stops when looks get no better."""
    options = [*source, "--learning_rate=3", "--max_steps=30", "--eval_steps=1", "--checkpointing_steps=1"]
    options += ["--metric_for_best_model=text_cloze_loss", "--early_stopping=3", "--checkpoints_kept=1"]
    results = main([*options, f"--output_dir={tmp_path}"])
    assert results["step"] < 20
    best = tmp_path / "checkpoints" / f"step_{results['step']}"
    saved, expected = load_file(tmp_path / "model.safetensors"), load_file(best / "model.safetensors")
    assert all(torch.equal(saved[name], expected[name]) for name in expected if name in saved)
    looks = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert len(looks) == 2 and f"step_{results['step'] + 3}" in looks


def test_a_figure_that_is_not_there_is_named(source, tmp_path):
    with pytest.raises(ValueError, match="--metric_for_best_model is bleu; allowed are alignment_accuracy"):
        main([*source, f"--output_dir={tmp_path}", "--max_steps=1", "--metric_for_best_model=bleu"])


def test_bad_steps_are_skipped_and_at_last_stop_the_run(source, tmp_path, monkeypatch):
    """One is skipped and told; after the limit the run stops, and what it stopped at lies in a file."""
    forward = steps.training_step

    def break_loss(accelerator, model, optimizer, window, max_grad_norm):
        result = forward(accelerator, model, optimizer, window, max_grad_norm)
        result.finite, result.loss = False, math.nan
        return result

    monkeypatch.setattr("training.loop.training_step", break_loss)
    options = [*source, f"--output_dir={tmp_path / 'run'}", "--max_steps=9", "--max_bad_steps=2"]
    with (
        pytest.raises(RuntimeError, match="Step 3 has the loss nan"),
        pytest.warns(UserWarning, match="1 of at most 2"),
    ):
        main(options)
    (path,) = (tmp_path / "run").glob("bad_step_3_*.safetensors")
    assert load_file(path)["0.input_ids"].ndim == 2
