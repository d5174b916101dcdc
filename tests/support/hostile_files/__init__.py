"""Files as an attacker makes them, each by a few lines here: nothing is kept, and nothing is taken from elsewhere.

A kind is a function that gives names and contents; what has no content (links, pipes) it makes itself. Each lies in a
folder of its kind's name. Whatever of them leads somewhere leads to a [`World`] that notices.
"""

from collections.abc import Iterator
from pathlib import Path

from . import lies, names, playlists, said, streams, wounds
from .world import World

KINDS = {
    kind.__name__: kind
    for module in (wounds, lies, playlists, names, streams, said)
    for kind in vars(module).values()
    if getattr(kind, "__module__", None) == module.__name__ and not kind.__name__.startswith("_") and callable(kind)
}


def make_videos(world: World, folder: Path, kinds=None) -> Iterator[Path]:
    """Makes the files of some kinds, or of all, and gives their paths."""
    for name in KINDS if kinds is None else kinds:
        inside = folder / name
        inside.mkdir(parents=True)
        for file_name, content in KINDS[name](world, inside):
            path = inside / file_name
            if content is not None:
                path.write_bytes(content)
            yield path
