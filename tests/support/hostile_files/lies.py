"""Headers that claim what is not there: pixels, lengths, rates, channels, counts."""

import struct
from pathlib import Path

from .made import make_jpeg, make_png, patched
from .world import World

MOST = 0xFFFF_FFFF


def boxes(world: World, folder: Path):
    """Fields of an MP4, by the box that holds them and how far behind its name."""
    good, number = world.good(".mp4"), struct.pack
    yield "pixels.mp4", patched(good, b"avc1", 28, number(">HH", 65535, 65535))
    yield "no_pixels.mp4", patched(good, b"avc1", 28, bytes(4))
    yield "shown_pixels.mp4", patched(good, b"tkhd", 80, number(">II", MOST, MOST))
    yield "duration.mp4", patched(good, b"mvhd", 20, number(">I", MOST - 1))
    yield "track_duration.mp4", patched(good, b"mdhd", 20, number(">I", MOST - 1))
    yield "clock_of_zero.mp4", patched(good, b"mdhd", 16, bytes(4))
    yield "clock_of_one.mp4", patched(good, b"mdhd", 16, number(">I", 1))
    yield "fast_clock.mp4", patched(good, b"mdhd", 16, number(">I", MOST))
    for box, name in ((b"stsz", "sizes"), (b"stts", "times"), (b"stsc", "chunks"), (b"stco", "places")):
        place = 12 if box == b"stsz" else 8
        yield f"count_of_{name}.mp4", patched(good, box, place, number(">I", MOST))
        yield f"count_of_{name}_half.mp4", patched(good, box, place, number(">I", 0x7FFF_FFFF))
    yield "one_size_of_all.mp4", patched(good, b"stsz", 8, number(">II", 0x7FFF_FFFF, MOST))
    yield "a_billion_times.mp4", patched(good, b"stts", 12, number(">II", 10**9, 1))
    yield "steps_of_zero.mp4", patched(good, b"stts", 16, bytes(4))
    yield "steps_back.mp4", patched(good, b"stts", 16, number(">i", -1000))
    yield "far_steps.mp4", patched(good, b"stts", 16, number(">I", 0x7FFF_FFFF))
    yield "delays.mp4", patched(good, b"ctts", 16, number(">I", 0x7FFF_FFFF))
    yield "edit.mp4", patched(good, b"elst", 12, number(">Ii", MOST, 0x7FFF_FFFF))
    yield "samples.mp4", patched(good, b"mp4a", 20, number(">HHHHI", 65535, 65535, 0, 0, MOST))
    yield "turned.mp4", patched(good, b"tkhd", 44, number(">9i", *[-(2**31)] * 9))
    yield "box_beyond_the_end.mp4", patched(good, b"moov", -4, number(">I", MOST))
    yield "box_of_nothing.mp4", patched(good, b"trak", -4, number(">I", 4))


def elements(world: World, folder: Path):
    """Fields of a Matroska file."""
    good = world.good(".mkv")
    for name, value in {"nan": float("nan"), "inf": float("inf"), "much": 1e300, "before": -1e9}.items():
        yield f"duration_{name}.mkv", patched(good, b"\x44\x89\x88", 3, struct.pack(">d", value))
    yield "clock_of_zero.mkv", patched(good, b"\x2a\xd7\xb1\x83", 4, bytes(3))
    yield "clock_of_much.mkv", patched(good, b"\x2a\xd7\xb1\x83", 4, b"\xff" * 3)
    yield "no_pixels.mkv", patched(good, b"\xb0\x81\x40", 2, b"\0")
    yield "size_unknown.mkv", patched(good, b"\x18\x53\x80\x67", 4, b"\x01" + b"\xff" * 7)
    yield "size_of_much.mkv", patched(good, b"\x18\x53\x80\x67", 4, b"\x01\x7f" + b"\xff" * 6)
    yield "cluster_of_much.mkv", patched(good, b"\x1f\x43\xb6\x75", 4, b"\x01\x7f" + b"\xff" * 6)


def sounds(world: World, folder: Path):
    """Rates, channels and widths that no sound has, in a WAV file that is called a video."""
    for rate, channels, bits in (
        (0, 1, 16), (1, 1, 8), (MOST, 1, 16), (16000, 0, 16), (16000, 65535, 16), (16000, 1, 0), (16000, 2, 65535),
    ):  # fmt: skip
        yield f"wav_{rate}_{channels}_{bits}.mp4", _wav(rate, channels, bits, bytes(50_000))
    yield "wav_nan.mp4", _wav(16000, 1, 32, struct.pack("<f", float("nan")) * 16000, kind=3)
    yield "wav_inf.mp4", _wav(16000, 1, 32, struct.pack("<f", float("inf")) * 16000, kind=3)
    yield "wav_length.mp4", _wav(16000, 1, 16, bytes(50_000), length=0x7FFF_0000)
    yield "au.mp4", b".snd" + struct.pack(">5I", 24, MOST, 3, MOST, MOST) + bytes(1000)


def _wav(rate: int, channels: int, bits: int, data: bytes, kind: int = 1, length: int | None = None) -> bytes:
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", kind, channels, rate, min(rate * block, MOST), min(block, 65535), bits)
    length = len(data) if length is None else length
    return (
        b"RIFF"
        + struct.pack("<I", 36 + length)
        + b"WAVEfmt \x10\0\0\0"
        + head
        + b"data"
        + struct.pack("<I", length)
        + data
    )


def counts(world: World, folder: Path):
    """Frames, streams and scales of an AVI file."""
    good = world.good(".avi")
    yield "frames.avi", patched(good, b"avih", 24, struct.pack("<I", MOST))
    yield "streams.avi", patched(good, b"avih", 32, struct.pack("<I", MOST))
    yield "pixels.avi", patched(good, b"avih", 40, struct.pack("<II", MOST, MOST))
    yield "scale_of_zero.avi", patched(good, b"strh", 28, bytes(4))
    yield "rate_of_zero.avi", patched(good, b"strh", 32, bytes(4))
    yield "rate_of_much.avi", patched(good, b"strh", 32, struct.pack("<I", MOST))
    yield "length.avi", patched(good, b"strh", 40, struct.pack("<I", MOST))
    yield "chunk.avi", patched(good, b"movi", -4, struct.pack("<I", MOST))


def pictures(world: World, folder: Path):
    """Still pictures that unpack to gigabytes, called videos."""
    yield "png.mp4", make_png(60_000, 60_000)
    yield "png_wide.mp4", make_png(0x7FFF_FFFF, 1)
    yield (
        "gif.mp4",
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,\0\0\0\0" + b"\xff" * 4 + b"\0\x02\x02L\x01\0;",
    )
    yield "jpeg.mp4", make_jpeg(65500, 65500)
    yield "bmp.mp4", b"BM" + struct.pack("<IIIIiiHHI", 100, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0) + bytes(100)
    yield "webp.mp4", b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + bytes(20)
    yield "y4m.mp4", b"YUV4MPEG2 W100000 H100000 F25:1 C420\nFRAME\n" + bytes(1000)
    yield "y4m_rate.mp4", b"YUV4MPEG2 W16 H16 F0:0 C420\nFRAME\n" + bytes(384)
    yield "y4m_fast.mp4", b"YUV4MPEG2 W16 H16 F2000000000:1 C420\n" + (b"FRAME\n" + bytes(384)) * 20
    yield "pnm.mp4", b"P6\n60000 60000\n255\n" + bytes(100)
    yield "psd.mp4", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30000, 300000, 8, 3) + bytes(100)
    yield (
        "tiff.mp4",
        b"II*\0\x08\0\0\0\x02\0"
        + struct.pack("<HHII", 256, 4, 1, 10**9)
        + struct.pack("<HHII", 257, 4, 1, 10**9)
        + bytes(50),
    )
