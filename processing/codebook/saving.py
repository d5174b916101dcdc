"""A fitted codebook in a folder, with a record of its fit: all of it or none, and no other one than was asked for."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError

from ..codebook_videobert import VisualCodebook, VisualCodebookConfig
from .whole_files import read_json, remove_unfinished, unfinished_folder, write_json

CONFIG_NAME = "config.json"
RECORD_NAME = "fit.json"


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a codebook."""
    return (folder / CONFIG_NAME).exists()


def save_codebook(codebook: VisualCodebook, folder: Path, record: dict | None = None) -> None:
    """Saves a codebook so that a folder with a `config.json`, which comes last, holds all of it, killed or not.

    Args:
        codebook ([`VisualCodebook`]):
            The codebook.
        folder (`Path`):
            Its folder; a codebook that it holds is replaced.
        record (`dict`, *optional*):
            How it was fitted; kept as it is by default. [`check_record`] compares it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    if record is None:
        record = read_record(folder)
    with unfinished_folder(folder) as unfinished:
        codebook.save_pretrained(unfinished)
        write_json(unfinished / RECORD_NAME, {**record, "fingerprint": codebook.fingerprint})
        new = sorted(unfinished.iterdir(), key=lambda path: path.name == CONFIG_NAME)
        if read_record(folder).get("fingerprint") != codebook.fingerprint:
            (folder / CONFIG_NAME).unlink(missing_ok=True)  # or weights of one would lie beside the shape of another
        for path in {*folder.glob("*.safetensors")} - {folder / path.name for path in new}:
            path.unlink()
        for path in new:
            os.replace(path, folder / path.name)


def load_codebook(folder: Path) -> VisualCodebook:
    """The codebook of a folder.

    Raises:
        `ValueError`: It is damaged; the message names the folder.
    """
    try:
        codebook = VisualCodebook.from_pretrained(folder)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"The codebook in {folder} is damaged: {error}") from None
    if read_record(folder).get("fingerprint", codebook.fingerprint) != codebook.fingerprint:
        raise ValueError(f"The codebook in {folder} is damaged: its weights are not those that were saved.")
    return codebook


def read_record(folder: Path) -> dict:
    """How the codebook of a folder was fitted; empty where nothing tells."""
    path = folder / RECORD_NAME
    return read_json(path) if path.exists() else {}


def check_record(folder: Path, asked: dict) -> None:
    """A codebook that is there must be the one that is asked for.

    Args:
        folder (`Path`):
            Folder of the codebook.
        asked (`dict`):
            How it is to be fitted, by the names of its record and its configuration.

    Raises:
        `ValueError`: It was fitted in another way; the message tells then and now.
    """
    # What an older one does not tell was not to be chosen yet.
    before = VisualCodebookConfig().to_dict() | read_json(folder / CONFIG_NAME) | read_record(folder)
    changes = [
        f"{name} {before[name]!r}, not with {value!r}"
        for name, value in asked.items()
        if before.get(name, value) != value
    ]
    if changes:
        raise ValueError(
            f"The codebook in {folder} was fitted with {', '.join(changes)}; ask for the same, or use another folder."
        )
