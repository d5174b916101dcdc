"""What a fit has done so far, in files: the same fit goes on where a killed one stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .processes import Processes
from .whole_files import read_json, remove_unfinished, write_json, write_whole


class FitState:
    """A folder of what is done; without one, nothing is kept.

    Args:
        folder (`Path`, *optional*):
            The folder. On several machines, one that all of them see.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    def begin(self, settings: dict, processes: Processes) -> None:
        """Begins the folder, or makes sure that it belongs to this fit.

        Args:
            settings (`dict`):
                What the result hangs on; the first process notes it.
            processes ([`Processes`]):
                All of those that use the folder.

        Raises:
            `ValueError`: The folder was begun by a fit of other features or settings.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "settings.json"
        if processes.is_first:
            remove_unfinished(self.folder)
            if not path.exists():
                write_json(path, settings)
        processes.wait()
        before = read_json(path)
        if before != settings:
            unequal = {
                name: (before.get(name), value) for name, value in settings.items() if before.get(name) != value
            }
            raise ValueError(f"{self.folder} was begun with other features or settings (then, now): {unequal}.")

    def save(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keeps tensors under a name, with their checksum."""
        if self.folder is not None:
            tensors = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
            noted = {"sha256": checksum(tensors)}
            write_whole(self.folder / f"{name}.safetensors", lambda path: save_file(tensors, path, noted))

    def load(self, name: str) -> dict[str, torch.Tensor] | None:
        """What was kept under a name, or `None`.

        Raises:
            `ValueError`: The file is damaged; the message names it.
        """
        path = None if self.folder is None else self.folder / f"{name}.safetensors"
        if path is None or not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}
                noted = (file.metadata() or {}).get("sha256")
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged: {error}. Delete it, and it is computed again.") from None
        if noted != checksum(tensors):
            raise ValueError(f"{path} is damaged: its bytes have changed. Delete it, and it is computed again.")
        return tensors


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of names, kinds, shapes and all bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()
