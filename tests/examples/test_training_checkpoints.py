"""Checkpoints: whole or absent, without pickle, and refused where going on would silently be another run."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from accelerate import Accelerator
from support.tiny_rows import OFFSET
from support.tiny_run import tiny_model
from torch.distributed.fsdp import fully_shard
from training.checkpoints import Checkpoints, DamagedCheckpoint, choose_checkpoint, find_checkpoints
from training.steps import make_optimizer

pytestmark = pytest.mark.usefixtures("fresh_accelerator")
SETTINGS = {"batch_size": 8, "seed": 0, "learning_rate": 1e-3, "processes": 1, "max_steps": 9, "mixture": [1, 2, 3]}


def make_run(folder, settings=None, kept=9, steps=1):
    """Checkpoints of a model that took some steps."""
    accelerator, model = Accelerator(cpu=True), tiny_model()
    model, optimizer = accelerator.prepare(model, make_optimizer(model, 1e-2, 0.1))
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape)
        optimizer.step()
    return Checkpoints(Path(folder), accelerator, model, optimizer, settings or SETTINGS, kept)


def everything(run):
    """Weights and moments, by name."""
    state = run.optimizer.state_dict()["state"]
    moments = {f"{number}.{name}": value for number, one in state.items() for name, value in one.items()}
    return {name: value.clone() for name, value in {**run.model.state_dict(), **moments}.items()}


def test_a_checkpoint_brings_everything_back(tmp_path):
    """Weights, moments, generator and progress, in the same bits."""
    run = make_run(tmp_path, steps=3)
    run.save(3, {"step": 3, "history": [{"loss": 0.1}]})
    expected, drawn = everything(run), torch.rand(4)
    other = make_run(tmp_path, steps=1)
    assert other.resume("latest") == {"step": 3, "history": [{"loss": 0.1}]}
    assert torch.equal(torch.rand(4), drawn)
    found = everything(other)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    groups = [[group["betas"], group["weight_decay"]] for group in other.optimizer.param_groups]
    assert groups == [[[0.9, 0.98], 0.1], [[0.9, 0.98], 0.0]]


def test_nothing_in_it_is_pickled(tmp_path, monkeypatch):
    """A stranger's checkpoint runs no code: its files are safetensors and JSON, and loading it unpickles nothing."""
    run = make_run(tmp_path)
    run.save(1, {"step": 1})
    names = {path.name for path in (tmp_path / "step_1").iterdir()}
    assert names == {
        "model.safetensors",
        "optimizer.safetensors",
        "random_0.safetensors",
        "progress.json",
        "checkpoint.json",
    }

    def unpickle(*args, **options):
        raise AssertionError("something was unpickled")

    for name in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(name, unpickle)
    (tmp_path / "step_1" / "custom_checkpoint_0.pkl").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    assert make_run(tmp_path).resume("latest") == {"step": 1}


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_byte(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model", "optimizer", "random_0", "progress", "checkpoint"])
@pytest.mark.parametrize("damage", [damage_cut, damage_byte, Path.unlink])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, name, damage):
    """With a warning that names what is wrong; asked for by its path, it is refused."""
    run = make_run(tmp_path)
    for step in (1, 2):
        run.save(step, {"step": step})
    (path,) = (tmp_path / "step_2").glob(f"{name}.*")
    if name == "checkpoint" and damage is damage_byte:
        path.write_text("{")
    else:
        damage(path)
    with pytest.warns(UserWarning, match=re.escape(path.name)):
        assert make_run(tmp_path).resume("latest") == {"step": 1}
    # The damaged one is out of the way of the run that goes on.
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_1"]
    (aside,) = tmp_path.parent.glob(f"{tmp_path.name}_before_*")
    with pytest.raises(DamagedCheckpoint, match=re.escape(path.name)):
        make_run(tmp_path).resume(str(aside / "step_2"))


def test_a_name_in_the_index_cannot_lead_out_of_the_folder(tmp_path):
    """A stranger's checkpoint names its own files only."""
    run = make_run(tmp_path)
    run.save(1, {"step": 1})
    index = tmp_path / "step_1" / "checkpoint.json"
    content = json.loads(index.read_text())
    content["files"]["../secret"] = "0"
    index.write_text(json.dumps(content))
    with pytest.raises(DamagedCheckpoint, match="secret"):
        choose_checkpoint(tmp_path, str(tmp_path / "step_1"))


def test_copies_and_strangers_among_the_checkpoints(tmp_path):
    """`step_12 (copy)` is no checkpoint, and ends nothing."""
    run = make_run(tmp_path, kept=1)
    run.save(12, {"step": 12})
    shutil.copytree(tmp_path / "step_12", tmp_path / "step_12 (copy)")
    (tmp_path / "step_x").mkdir()
    (tmp_path / "step_99").touch()
    run.save(13, {"step": 13})
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_13"]
    assert (tmp_path / "step_12 (copy)").is_dir() and make_run(tmp_path).resume("latest") == {"step": 13}


def test_resuming_from_an_older_one_can_save_again(tmp_path):
    """The later ones are put aside, for they belong to a run that went on otherwise; none is in the way."""
    run = make_run(tmp_path)
    for step in (1, 2, 3):
        run.save(step, {"step": step})
    run = make_run(tmp_path)
    assert run.resume(str(tmp_path / "step_1")) == {"step": 1}
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_1"]
    run.save(2, {"step": 2, "again": True})
    assert make_run(tmp_path).resume("latest")["again"]
    (aside,) = tmp_path.parent.glob(f"{tmp_path.name}_before_*")
    assert len(find_checkpoints(aside)) == 2


def test_resuming_from_another_folder_leaves_no_strangers_in_this_one(tmp_path):
    """The newest of an earlier run here would be taken for this one's, when it is resumed again."""
    make_run(tmp_path / "one").save(1, {"step": 1})
    make_run(tmp_path / "two").save(8, {"step": 8})
    run = make_run(tmp_path / "two")
    assert run.resume(str(tmp_path / "one" / "step_1")) == {"step": 1}
    assert not find_checkpoints(tmp_path / "two") and len(find_checkpoints(tmp_path / "one")) == 1
    run.save(2, {"step": 2})
    assert make_run(tmp_path / "two").resume("latest") == {"step": 2}


def test_a_save_that_was_killed_leaves_no_checkpoint(tmp_path, monkeypatch):
    """Whole or absent: half of one is never taken for one, and the next save clears it away."""
    run = make_run(tmp_path)
    run.save(1, {"step": 1})
    monkeypatch.setattr("training.checkpoints.checksum", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.save(2, {"step": 2})
    monkeypatch.undo()
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_1"]
    run.save(3, {"step": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_1", "step_3"]


def test_rotation_keeps_the_best(tmp_path):
    """The newest two, and the best however old."""
    run = make_run(tmp_path, kept=2)
    for step in (1, 2, 3, 4, 5):
        run.save(step, {"step": step}, best_step=None if step == 1 else 2)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_2", "step_4", "step_5"]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "max_steps"])
def test_other_settings_are_refused(tmp_path, name):
    """Named with the value then and now: they would train on silently with other numbers."""
    make_run(tmp_path).save(1, {"step": 1})
    with pytest.raises(ValueError, match=f"made with {name} {re.escape(str(SETTINGS[name]))}, now it is 77"):
        make_run(tmp_path, SETTINGS | {name: 77}).resume("latest")


def test_a_longer_run_is_allowed_and_said(tmp_path):
    """The learning rate follows the new length."""
    make_run(tmp_path).save(1, {"step": 1})
    with pytest.warns(UserWarning, match="max_steps 9, now it is 20"):
        make_run(tmp_path, SETTINGS | {"max_steps": 20}).resume("latest")


def test_no_checkpoint_is_said(tmp_path):
    with pytest.raises(ValueError, match="There is no checkpoint in"):
        make_run(tmp_path).resume("latest")


def sharded_run(folder, rank):
    """Checkpoints of a model that is sharded over two processes."""
    accelerator = SimpleNamespace(is_main_process=rank == 0, process_index=rank, scaler=None)
    accelerator.device, accelerator.wait_for_everyone = torch.device("cpu"), dist.barrier
    accelerator.unwrap_model = lambda model: model
    model = tiny_model()
    for layer in model.videobert.encoder.layer:
        fully_shard(layer)
    fully_shard(model)
    return Checkpoints(Path(folder), accelerator, model, make_optimizer(model, 1e-2, 0.1), SETTINGS, 9)


def take_sharded_step(run):
    ids = torch.randint(5, OFFSET, (2, 9), generator=torch.Generator().manual_seed(5))
    loss = run.model(input_ids=ids, labels=ids).loss
    loss.backward()
    run.optimizer.step()
    run.optimizer.zero_grad()
    return loss.item()


def resume_sharded(rank, folder, paths):
    sys.path[:0] = paths
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    run = sharded_run(f"{folder}/checkpoints", rank)
    take_sharded_step(run)
    run.save(1, {"step": 1})
    expected = [take_sharded_step(run) for _ in range(3)]
    run = sharded_run(f"{folder}/checkpoints", rank)
    run.resume("latest")
    found = [take_sharded_step(run) for _ in range(3)]
    Path(folder, f"same_{rank}").write_text(str(found == expected))
    dist.destroy_process_group()


def test_a_sharded_model_goes_on_exactly(tmp_path):
    """FSDP: one process writes whole weights and moments, and each takes its own part of them again."""
    mp.spawn(resume_sharded, (str(tmp_path), [path for path in sys.path if path]), nprocs=2)
    assert [(tmp_path / f"same_{rank}").read_text() for rank in (0, 1)] == ["True", "True"]
    names = {path.name for path in (tmp_path / "checkpoints" / "step_1").iterdir()}
    assert {"random_0.safetensors", "random_1.safetensors", "model.safetensors"} <= names
