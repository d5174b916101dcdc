"""
Checkpoints of a training run: whole or absent, and without pickle, so that a stranger's cannot run code.

    step_500/
        model.safetensors        weights, tied ones once
        optimizer.safetensors    its moments, by the number of the parameter
        random_0.safetensors     the states of process 0's generators
        progress.json            where training stands, and what it measured on the way
        checkpoint.json          settings of the run, and a checksum of each file; written last
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

INDEX = "checkpoint.json"
UNFINISHED = "unfinished"
# May differ in a resumed run: to train for longer is a wish that people have.
MAY_DIFFER = {"max_steps"}


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not as it was written."""


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first; copies and other folders are none."""
    found = [(re.fullmatch(r"step_(\d+)", path.name), path) for path in folder.glob("step_*") if path.is_dir()]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_settings(folder: Path) -> dict:
    """The settings of the run that wrote a checkpoint, after every file was compared with its checksum.

    Args:
        folder (`Path`):
            The checkpoint.

    Returns:
        `dict`: By name of the option.

    Raises:
        DamagedCheckpoint: A file is missing, cut, or has other bytes; the message names it.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = dict(index["files"])
        settings = dict(index["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{folder} is no whole checkpoint: {INDEX} cannot be read.") from error
    for name, expected in files.items():
        if Path(name).name != name or not (folder / name).is_file():
            raise DamagedCheckpoint(f"{folder} is no whole checkpoint: {name} is missing.")
        if checksum(folder / name) != expected:
            raise DamagedCheckpoint(f"{folder} is damaged: {name} is not as it was written.")
    return settings


def choose_checkpoint(folder: Path, wanted: str) -> tuple[Path, dict]:
    """The whole checkpoint to go on from.

    Args:
        folder (`Path`):
            Where the checkpoints of the run are.
        wanted (`str`):
            `"latest"`, which passes over damaged ones with a warning, or the path of one.

    Returns:
        `tuple[Path, dict]`: The checkpoint, and the settings of the run that wrote it.

    Raises:
        ValueError: There is none, or the one that was asked for is damaged.
    """
    if wanted != "latest":
        return Path(wanted), read_settings(Path(wanted))
    found = find_checkpoints(folder)
    for path in reversed(found):
        try:
            return path, read_settings(path)
        except DamagedCheckpoint as error:
            warnings.warn(f"{error} The one before it is taken.", stacklevel=2)
    raise ValueError(f"There is no {'whole ' if found else ''}checkpoint in {folder} to resume from.")


def refuse_other_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with settings that give other numbers than the run began with.

    Args:
        then (`Mapping[str, Any]`):
            Of the checkpoint.
        now (`Mapping[str, Any]`):
            Of this run.

    Raises:
        ValueError: Names the option, its value then and its value now.
    """
    now = json.loads(json.dumps(now))
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) == now.get(name):
            continue
        if name not in MAY_DIFFER:
            raise ValueError(
                f"The checkpoint was made with {name} {then.get(name)}, now it is {now.get(name)}; a resumed run must "
                "have the same. Start a new run to change it."
            )
        warnings.warn(
            f"The checkpoint was made with {name} {then.get(name)}, now it is {now.get(name)}: the learning rate "
            "follows the new length from here on.",
            stacklevel=2,
        )


def put_aside(paths: list[Path]) -> None:
    """Move checkpoints that would pass for this run's own into a folder beside theirs; they are not lost."""
    if paths:
        parent = paths[0].parent
        aside = mkdtemp(prefix=f"{parent.name}_before_{time.strftime('%Y%m%d_%H%M%S')}_", dir=parent.parent)
        for path in paths:
            path.rename(Path(aside) / path.name)


class Checkpoints:
    """Writes and reads the checkpoints of one run.

    Args:
        folder (`Path`):
            Where they go.
        accelerator (`Accelerator`):
            Of this run; all processes call each method together.
        model, optimizer:
            As it prepared them.
        settings (`Mapping[str, Any]`):
            What a resumed run must have alike.
        kept (`int`):
            How many of the newest stay.
    """

    def __init__(
        self, folder: Path, accelerator: Accelerator, model, optimizer, settings: Mapping[str, Any], kept: int
    ):
        self.folder, self.accelerator, self.settings, self.kept = folder, accelerator, dict(settings), kept
        self.model, self.optimizer = accelerator.unwrap_model(model), optimizer

    def start_anew(self) -> None:
        """Put the checkpoints of an earlier run aside."""
        if self.accelerator.is_main_process:
            put_aside(find_checkpoints(self.folder))
        self.accelerator.wait_for_everyone()

    def resume(self, wanted: str) -> dict:
        """Load a checkpoint; those in this run's folder that do not lead to it are put aside.

        Args:
            wanted (`str`):
                The path of one, or `"latest"`.

        Returns:
            `dict`: The progress that was saved with it.
        """
        chosen, settings = choose_checkpoint(self.folder, wanted)
        refuse_other_settings(settings, self.settings)
        progress = self.load(chosen)
        self.accelerator.wait_for_everyone()
        own = find_checkpoints(self.folder)
        places = [path.resolve() for path in own]
        if self.accelerator.is_main_process:
            put_aside(own[places.index(chosen.resolve()) + 1 if chosen.resolve() in places else 0 :])
        self.accelerator.wait_for_everyone()
        return progress

    def save(self, step: int, progress: Mapping[str, Any], best_step: int | None = None) -> None:
        """Write `step_<n>`, then remove all but the newest and the best.

        Args:
            step (`int`):
                Its number.
            progress (`Mapping[str, Any]`):
                What goes into `progress.json`.
            best_step (`int`, *optional*):
                The checkpoint that stays, however old.
        """
        main, unfinished = self.accelerator.is_main_process, self.folder / UNFINISHED
        if main:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        # All processes gather what is sharded; one writes it.
        weights, (moments, groups) = self._weights(), self._optimizer_state()
        save_file(self._random_states(), unfinished / f"random_{self.accelerator.process_index}.safetensors")
        if main:
            save_file(weights, unfinished / "model.safetensors")
            save_file(moments, unfinished / "optimizer.safetensors")
            scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else None
            state = {"progress": dict(progress), "optimizer_groups": groups, "scaler": scaler}
            (unfinished / "progress.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        self.accelerator.wait_for_everyone()
        if main:
            files = {path.name: checksum(path) for path in sorted(unfinished.iterdir())}
            index = {"settings": self.settings, "files": files}
            (unfinished / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(self.folder / f"step_{step}", ignore_errors=True)
            unfinished.rename(self.folder / f"step_{step}")
            for old in find_checkpoints(self.folder)[: -self.kept]:
                if old.name != f"step_{best_step}":
                    shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def load(self, folder: Path) -> dict:
        """Put weights, optimizer and generators into the state of this checkpoint; returns its progress."""
        state = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        self.load_weights(folder)
        self._load_optimizer(load_file(folder / "optimizer.safetensors"), state["optimizer_groups"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        random_states = load_file(folder / f"random_{self.accelerator.process_index}.safetensors")
        torch.set_rng_state(random_states["cpu"])
        if "cuda" in random_states and torch.cuda.is_available():
            torch.cuda.set_rng_state(random_states["cuda"])
        return state["progress"]

    @torch.no_grad()
    def load_weights(self, folder: Path) -> None:
        """Put the weights of this checkpoint into the model."""
        saved, own = load_file(folder / "model.safetensors"), dict(self._named_tensors())
        if saved.keys() != own.keys():
            names = sorted(saved.keys() ^ own.keys())
            raise ValueError(f"{folder} is of another model: {names[0]} is in one of the two only.")
        for name, tensor in own.items():
            tensor.copy_(_spread_like(saved[name], tensor))

    def _named_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every parameter and saved buffer once, under its first name."""
        yield from ((name, parameter.detach()) for name, parameter in self.model.named_parameters())
        parameters = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        yield from ((name, value) for name, value in self.model.state_dict().items() if name not in parameters)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: _gather(tensor) for name, tensor in self._named_tensors()}

    def _optimizer_state(self) -> tuple[dict[str, torch.Tensor], list[dict]]:
        state = self.optimizer.state_dict()
        moments = {
            f"{number}.{name}": _gather(value)
            for number, values in state["state"].items()
            for name, value in values.items()
        }
        return moments, state["param_groups"]

    def _load_optimizer(self, moments: Mapping[str, torch.Tensor], groups: list[dict]) -> None:
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if sum(len(group["params"]) for group in groups) != len(parameters):
            raise ValueError("The checkpoint's optimizer moves other parameters than this model's.")
        state: dict[int, dict] = {}
        for key, value in moments.items():
            number, name = key.split(".")
            like = parameters[int(number)]
            state.setdefault(int(number), {})[name] = _spread_like(value, like) if value.shape == like.shape else value
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _random_states(self) -> dict[str, torch.Tensor]:
        """Of torch's generators, the only ones that training draws from: data take their seeds from their numbers."""
        states = {"cpu": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state()
        return states


def _gather(tensor: torch.Tensor) -> torch.Tensor:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    # A copy: shared memory between tensors cannot be saved.
    return whole.detach().to("cpu", copy=True).contiguous()


def _spread_like(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A tensor that every process holds whole, on the device of `like` and sharded as it is."""
    if isinstance(like, DTensor):
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
    return whole.to(like.device)
