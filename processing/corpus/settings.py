"""How the videos of a folder were described: what was described otherwise must not be mixed with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..codebook.whole_files import read_json, write_json
from ..names_videobert import model_name, public_name, split_backbone
from ..processing_videobert import VideoBertProcessor

SETTINGS_NAME = "settings.json"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
CHUNK = 2**24


def check_settings(folder: Path, processor: VideoBertProcessor, subtitles: dict | None) -> None:
    """Notes how the videos of a folder are described, or makes sure that it is as before.

    Networks that lie in folders are the same if their weights are, wherever the folders are now.

    Args:
        folder (`Path`):
            That of the shards of features.
        processor ([`VideoBertProcessor`]):
            Describes the videos.
        subtitles (`dict`, *optional*):
            Where what is said is read; `None` where it is heard.

    Raises:
        `ValueError`: Features of two networks, or sentences of two languages, would lie in one folder; or what was
            noted is damaged.
    """
    heard, seen = processor.asr_options or {}, processor.video_processor
    settings = {
        "asr_model": str(public_name(processor.asr_model)),
        "language": heard.get("language"),
        "task": heard.get("task"),
        "subtitles": subtitles is not None,
        "backbone": str(public_name(processor.backbone)),
        "dtype": str((processor.backbone_options or {}).get("dtype", "float32")).removeprefix("torch."),
        "fps": seen.fps,
        "clip_seconds": seen.clip_seconds,
    }
    contents = {name: content_of(getattr(processor, name)) for name in ("asr_model", "backbone")}
    path = folder / SETTINGS_NAME
    # An older folder tells neither languages that were left open nor settings of clips.
    before = {"language": None, "task": None, **read_json(path)} if path.exists() else {}
    changes = []
    for name, value in settings.items():
        known, content = before.get("contents", {}).get(name), contents.get(name)
        if known and content:
            if known != content:
                changes.append(f"other weights of {name} {before[name]!r}")
        elif before.get(name, value) != value:
            changes.append(f"{name} {before[name]!r}, not with {value!r}")
    if changes:
        raise ValueError(
            f"{folder} was begun with {', '.join(changes)}; ask for the same, or use another output folder."
        )
    write_json(path, {**settings, "contents": contents})


def read_settings(folder: Path) -> dict:
    """How the videos of a folder were described; empty where nothing tells."""
    path = folder / SETTINGS_NAME
    return read_json(path) if path.exists() else {}


def content_of(model: object) -> str | None:
    """Tells the weights of networks that lie in folders, wherever these are; `None` where there is no such folder."""
    if (name := model_name(model)) is None:
        return None
    networks = split_backbone(name)
    if not any(Path(network).is_dir() for network, _ in networks):
        return None
    digests = [digest_of(Path(network)) if Path(network).is_dir() else network for network, _ in networks]
    options = [f"{digest}:{sorted(options.items())}" for digest, (_, options) in zip(digests, networks, strict=True)]
    return "+".join(options) if all(digests) else None


def digest_of(folder: Path) -> str | None:
    """A hash of the weights and the settings of a network; `None` where a folder holds no weights."""
    weights = sorted(path for ending in WEIGHTS for path in folder.glob(ending))
    if not weights:
        return None
    digest = hashlib.sha256()
    for path in [*weights, *sorted(folder.glob("*config.json"))]:
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
