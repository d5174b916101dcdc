"""Files that are cut, overwritten, or were never videos."""

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

from .world import World

ENDINGS = ".mp4 .mkv .avi .ts .wmv .flv .rm .mxf .vob .wtv .ogv .mov .webm .m2ts .3gp .qt".split()


def truncated(world: World, folder: Path):
    """Cut at many places."""
    whole = {ending: world.good(ending) for ending in (".mp4", ".mkv", ".ts", ".avi", ".flv")}
    whole[".m4v"] = world.good(".mp4", "-movflags", "faststart")
    for number in (1, 7, 16, 40, 100):
        yield f"{number}.mp4", whole[".mp4"][:number]
    for ending, content in whole.items():
        for percent in (10, 50, 99):
            yield f"{percent}_percent{ending}", content[: len(content) * percent // 100]
    yield "one_byte_short.mkv", whole[".mkv"][:-1]
    yield "without_its_start.mkv", whole[".mkv"][64:]


def overwritten(world: World, folder: Path):
    """Bits turned and stretches of noise, from a fixed seed."""
    draw = random.Random(0)
    for ending in (".mp4", ".mkv", ".ts", ".avi", ".flv"):
        for number in range(4):
            data = bytearray(world.good(ending))
            for _ in range(8 << number):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            start = draw.randrange(len(data) // 2)
            data[start : start + 40] = draw.randbytes(40)
            yield f"{number}{ending}", bytes(data)


def noise(world: World, folder: Path):
    """Random bytes under each ending, and nothing, and zeros."""
    draw = random.Random(1)
    for ending in ENDINGS:
        yield f"noise{ending}", draw.randbytes(5000)
    for ending in (".mp4", ".ts", ".mpg"):
        yield f"empty{ending}", b""
        yield f"zeros{ending}", bytes(100_000)
    yield "sync_bytes.ts", b"G" * 100_000
    yield "start_codes.mpg", b"\0\0\1\xba" + b"\0\0\1\xe0" * 20_000
    yield "text.avi", b"this is no video\n" * 100


def archives(world: World, folder: Path):
    """Bombs, and archives that are videos too."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("video.mp4", bytes(20_000_000))
    yield "zip.mp4", bomb.getvalue()
    yield "gzip.mkv", gzip.compress(bytes(20_000_000))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("../../escaped.mp4")
        archive.addfile(entry)
    yield "tar.ts", packed.getvalue()
    yield "video_and_zip.mp4", world.good(".mp4") + bomb.getvalue()
    page = b"<html><script>alert(1)</script>"
    box = (8 + len(page)).to_bytes(4, "big") + b"free" + page
    yield "page_and_video.mp4", box + world.good(".mp4")
    yield "page_before_video.mp4", page + world.good(".mp4")
    yield "two_videos.mp4", world.good(".mp4") + world.good(".mkv")
    yield "elf.mp4", b"\x7fELF" + bytes(60) + world.good(".mp4")
