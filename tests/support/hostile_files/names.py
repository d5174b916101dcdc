"""Names that mean something to a shell, a terminal or FFmpeg, and things that are no regular files."""

import os
import socket
from pathlib import Path

from .world import World


def called(world: World, folder: Path):
    """A good video under strange names."""
    good = world.good(".mp4")
    for name in (
        "a\nb.mp4", "-i.mp4", "$(touch owned).mp4", ";touch owned;.mp4", "`touch owned`.mp4", "a\x1b[31mred.mp4",
        "concat:a|b.mp4", "file:a.mp4", "http:a.mp4", "subfile,,start,0,end,0,,:a.mp4", "pipe:0.mp4", "%05d.mp4",
        "*.mp4", "?.mp4", "..mp4.mp4", "a..b.mp4", "{x}.mp4", "%s%n.mp4", "\u202egnp.mp4",
        "\N{COMBINING ACUTE ACCENT}.mp4",
        " .mp4", "'\".mp4", "\\..\\..\\a.mp4", "CON.mp4", "<script>.mp4", "n" * 251 + ".mp4", ".mp4.mp4",
    ):  # fmt: skip
        yield name, good if not name.startswith(".mp4") else good[:-1]
    yield os.fsdecode(b"\xff\xfe\x80.mp4"), good
    yield os.fsdecode(b"caf\xe9.mp4"), good


def deep(world: World, folder: Path):
    """A path of thousands of characters."""
    inside = folder
    for _ in range(15):
        inside = inside / ("d" * 100)
    inside.mkdir(parents=True)
    yield str((inside / "video.mp4").relative_to(folder)), world.good(".mp4")


def things(world: World, folder: Path):
    """Pipes, sockets, devices and folders that are called videos."""
    os.mkfifo(folder / "pipe.mp4")
    yield "pipe.mp4", None
    bound = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder)  # a socket's name is short
    try:
        bound.bind("socket.mp4")
    finally:
        os.chdir(here)
        bound.close()
    yield "socket.mp4", None
    for name, number in {"zero": 5, "null": 3, "random": 9}.items():
        try:
            os.mknod(folder / f"{name}.mp4", 0o600 | 0o020000, os.makedev(1, number))
            yield f"{name}.mp4", None
        except PermissionError:  # only the administrator may
            pass
    (folder / "folder.mp4").mkdir()
    (folder / "folder.mp4" / "inside.mp4").write_bytes(world.good(".mp4"))
    yield "folder.mp4/inside.mp4", None


def links(world: World, folder: Path):
    """Links out of the folder, to nowhere, and round and round."""
    for name, target in {
        "file.mp4": world.elsewhere / "secret.mp4",
        "near.mp4": f"../../world/elsewhere/{'secret.mp4'}",
        "folder": world.elsewhere,
        "zero.mp4": "/dev/zero",
        "memory.mp4": "/proc/self/mem",
        "passwords.mp4": "/etc/passwd",
        "nowhere.mp4": "nowhere",
        "itself.mp4": "itself.mp4",
        "loop": ".",
        "long.mp4": "n" * 300,
    }.items():
        (folder / name).symlink_to(target)
        yield name, None
    yield "good.mp4", world.good(".mp4")
    (folder / "inside.mp4").symlink_to("good.mp4")
    yield "inside.mp4", None
