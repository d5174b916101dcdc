"""What networks are called: the grammar of a backbone's id; a model's name here, in a saved file, before others."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class SettingsError(ValueError):
    """What is to be heard or seen with cannot be had: no fault of any video."""


@contextmanager
def blaming_settings() -> Iterator[None]:
    """Makes a [`SettingsError`] of whatever goes wrong where networks are built."""
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(str(error)) from error


def split_backbone(backbone: str | os.PathLike) -> list[tuple[str, dict]]:
    """The networks that a backbone's id names.

    Args:
        backbone (`str`):
            Hub ids or folders joined by `+`. An image network may have options behind a colon: `frames=N`, how many
            frames of a clip it looks at, and `change`, that its feature also tells how they change:
            `torchvision/s3d+facebook/dinov2-base:frames=9,change`.

    Returns:
        `list[tuple[str, dict]]`: Id or folder, and options, of each network.

    Raises:
        ValueError: A part without a name, or an option that does not exist.
    """
    networks = []
    for name, settings in _parts(backbone):
        options = {}
        for setting in filter(None, settings.split(",")):
            key, _, value = setting.partition("=")
            if key == "frames" and value.isdecimal() and int(value) > 0:
                options["frames"] = int(value)
            elif setting == "change":
                options["change"] = True
            else:
                raise ValueError(f"{setting!r} in the backbone {str(backbone)!r} is neither frames=NUMBER nor change.")
        if not name:
            raise ValueError(
                f"The backbone {str(backbone)!r} has a part without a name; write NETWORK or NETWORK+NETWORK."
            )
        networks.append((name, options))
    return networks


def _parts(networks: str | os.PathLike) -> list[tuple[str, str]]:
    """Name and written options of each network in an id."""
    networks = os.fspath(networks)
    if Path(networks).is_dir():
        return [(networks, "")]
    parts = []
    for part in map(str.strip, networks.split("+")):
        name, colon, settings = part.rpartition(":")
        if not colon or "/" in settings or "\\" in settings:  # the colon of a drive
            name, settings = part, ""
        parts.append((name, settings))
    return parts


def _rename(networks: str, new_name: Callable[[str], str]) -> str:
    """The same id with every network in it under another name."""
    parts = [(new_name(name), settings) for name, settings in _parts(networks)]
    return "+".join(f"{name}:{settings}" if settings else name for name, settings in parts)


def is_folder(name: str) -> bool:
    """Whether a model is given as a folder of this machine, there or no longer there, and not as a Hub id."""
    path = Path(name)
    return path.is_dir() or path.is_absolute() or name.startswith(("~", "."))


def is_on_this_machine(model) -> bool:
    """Whether a model, or one of several joined by `+`, is a folder that others do not have."""
    name = model_name(model)
    return name is not None and any(is_folder(part) for part, _ in _parts(name))


def model_name(model) -> str | None:
    """The id or folder by which a model can be loaded again on this machine.

    Args:
        model:
            An id, a folder, or a ready-made network or pipeline.

    Returns:
        `str`: The name; `None` if the model does not know where it is from.
    """
    model = getattr(model, "model", model)
    name = getattr(model, "name_or_path", model)
    return os.fspath(name) if isinstance(name, (str, os.PathLike)) else None


def public_name(model) -> str | None:
    """What to call a model before others, who lack this machine's folders: its Hub id, or its folder's own name.

    Of networks that are joined by `+`, each one's; of a model that does not know where it is from, `None`.
    """
    name = model_name(model)
    return None if name is None else _rename(name, lambda one: Path(one).name if is_folder(one) else one)


def saved_name(model) -> str | None:
    """How a saved file refers to a model: never by a folder of somebody's home.

    A Hub id stays. A folder in [`weights_cache`] is called by its name, under which any machine that has it finds it
    again; another folder below the user's home begins with `~`. [`local_name`] is the way back.
    """
    name = model_name(model)
    return None if name is None else _rename(name, _saved)


def local_name(name: str | None) -> str | None:
    """The name on this machine of a model that a saved file refers to."""
    return None if name is None else _rename(name, _local)


def weights_cache() -> Path:
    """Where weights that no Hub has lie by name: `$VIDEOBERT_CACHE/weights`, by default in `~/.cache/videobert`."""
    return Path(os.environ.get("VIDEOBERT_CACHE", Path.home() / ".cache" / "videobert")) / "weights"


def _saved(name: str) -> str:
    if not is_folder(name):
        return name
    folder = Path(os.path.abspath(Path(name).expanduser()))
    if folder.parent == Path(os.path.abspath(weights_cache())):
        return folder.name
    # The home itself may be reached through a link, and a folder by the way behind it.
    for home in (Path.home(), Path.home().resolve()):
        if folder.is_relative_to(home):
            return f"~/{folder.relative_to(home).as_posix()}"
    return str(folder)


def _local(name: str) -> str:
    if name.startswith("~"):
        return str(Path(name).expanduser())
    cached = weights_cache() / name
    return str(cached) if cached.parent == weights_cache() and cached.is_dir() else name
