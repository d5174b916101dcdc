"""Streams that grow, multiply, nest or run away in time."""

import struct
from pathlib import Path

from .made import make_png, patched
from .world import PICTURES, World, encoded, ffmpeg


def grown(world: World, folder: Path):
    """Small frames first, then large ones: within the limit, and beyond it."""
    small = encoded(world.folder / "small.ts", sound=None)
    for size in ("2000x1000", "8000x8000"):
        options = ["-c:v", "libx264", "-preset", "ultrafast"]
        large = encoded(world.folder / "large.ts", *options, video=f"color=black:s={size}:r=25:d=0.2", sound=None)
        yield f"{size}.ts", small + large
    pictures = [
        encoded(world.folder / "frame.mjpeg", video=f"color=red:s={n}x{n}:d=0.04", sound=None) for n in (16, 9000)
    ]
    yield "mjpeg.avi", b"".join([pictures[0]] * 5 + [pictures[1]] * 3)
    yield (
        "one_pixel.mkv",
        encoded(
            world.folder / "one.mkv",
            "-c:v",
            "ffv1",
            video="color=red:s=16x16:r=10:d=1,format=gbrp,crop=1:1",
            sound=None,
        ),
    )
    yield (
        "strip.mkv",
        encoded(world.folder / "strip.mkv", "-c:v", "ffv1", video="color=red:s=16000x2:d=0.2", sound=None),
    )


def times(world: World, folder: Path):
    """Frames a month, a billion seconds or no time apart, and before the start."""
    for name, expression in {
        "month": "N*2600000/TB",
        "billion": "N*1000000000/TB",
        "hours": "N*7000/TB",
    }.items():
        options = ["-vf", f"setpts={expression}", "-fps_mode", "passthrough", "-c:v", "mjpeg"]
        yield f"{name}.mkv", encoded(world.folder / "times.mkv", *options, video="testsrc=s=64x48:r=2:d=2", sound=None)
    data = world.good(".ts")
    yield "again.ts", data * 20
    yield "jump.ts", data + world.good(".ts", "-output_ts_offset", "90000") + data
    yield "before.mkv", world.good(".mkv", "-output_ts_offset", "-1")
    cluster = bytearray(world.good(".mkv"))
    place = cluster.index(b"\x1f\x43\xb6\x75")
    time = cluster.index(b"\xe7\x81", place)
    cluster[time + 2] = 255
    yield "cluster.mkv", bytes(cluster)


def many(world: World, folder: Path):
    """Thousands of tracks, chapters, tags."""
    good = world.good(".mp4")
    start = good.index(b"trak") - 4
    (size,) = struct.unpack_from(">I", good, start)
    track, moov = good[start : start + size], good.index(b"moov") - 4
    for count in (100, 3000):
        data = bytearray(good[:start] + track * count + good[start + size :])
        struct.pack_into(">I", data, moov, struct.unpack_from(">I", good, moov)[0] + size * (count - 1))
        yield f"tracks_{count}.mp4", bytes(data)
    chapters = ";FFMETADATA1\n" + "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={n}\nEND={n + 1}\ntitle=c\n" for n in range(20_000)
    )
    (world.folder / "chapters.txt").write_text(chapters)
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        PICTURES,
        "-i",
        world.folder / "chapters.txt",
        "-map_chapters",
        "1",
        folder / "chapters.mkv",
    )
    yield "chapters.mkv", None
    yield "chapters_alone.mp4", chapters.encode()
    yield "title.mkv", world.good(".mkv", "-metadata", "title=" + "\x1b]0;owned\x07" * 5000)
    sounds = [word for _ in range(60) for word in ("-map", "1:a")]
    yield "sounds.mkv", encoded(world.folder / "sounds.mkv", "-map", "0:v", *sounds)
    pictures = [word for _ in range(60) for word in ("-map", "0:v")]
    yield "pictures.mkv", encoded(world.folder / "pictures.mkv", *pictures, "-map", "1:a")


def nested(world: World, folder: Path):
    """Boxes in boxes in boxes."""
    for kind in (b"moov", b"trak", b"udta", b"meta"):
        data, depth = b"", 20_000
        for level in range(depth):
            data += struct.pack(">I", 8 * (depth - level)) + kind
        yield f"{kind.decode()}.mp4", struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + data
    head = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
    yield (
        "segments.mkv",
        head + b"\x18\x53\x80\x67\x01" + (b"\xff" * 7 + b"\x18\x53\x80\x67\x01") * 5_000 + b"\xff" * 7,
    )
    yield (
        "tags.mkv",
        head
        + b"\x18\x53\x80\x67\x01"
        + b"\xff" * 7
        + b"\x12\x54\xc3\x67\x01\0\0\0\0\0\xff\xff"
        + b"\x67\xc8\x41\x00" * 20_000,
    )
    yield "tiny_boxes.mp4", struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 8, b"free") * 200_000
    yield "riff.avi", b"RIFF\xff\xff\xff\xffAVI " + b"LIST\xff\xff\xff\x7fhdrl" * 20_000


def covers(world: World, folder: Path):
    """A picture beside the sound, of a size that nobody can show."""
    picture = make_png(60_000, 60_000)
    frame = b"\0image/png\0\x03\0" + picture
    tag = b"APIC" + struct.pack(">I", len(frame)) + b"\0\0" + frame
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    yield "cover.mp4", b"ID3\x03\0\0" + size + tag + world.good(".mp3", "-vn")
    tags = b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + b"APIC\x7f\xff\xff\xff\0\0" + bytes(100)
    yield "cover_of_much.mp4", tags + world.good(".mp3", "-vn")


def pixels(world: World, folder: Path):
    """A header of many pixels, whatever the frames are."""
    good = world.good(".mkv", "-c:v", "ffv1", "-level", "1")
    yield "large.mkv", patched(good, b"\xb0\x81\x40", 0, b"\xb0\x81\xff")
    yield "aspect.mp4", world.good(".mp4", "-vf", "setsar=1/1000000")
    yield "anamorphic.mkv", world.good(".mkv", "-vf", "setsar=30000/1")
    yield "hurried.mkv", encoded(world.folder / "hurried.mkv", video="testsrc=s=16x16:r=5000:d=1", sound=None)
