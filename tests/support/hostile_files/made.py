"""Files that claim any size."""

import struct
import zlib


def make_png(width: int, height: int) -> bytes:
    """Claims a size, and packs a little of it well."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(1_000_000), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def make_jpeg(width: int, height: int) -> bytes:
    """A progressive picture of a size, without much in it."""
    table = b"\xff\xdb\0C\0" + b"\x01" * 64
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\0"
    codes = b"\xff\xc4\0\x14\0\x01" + bytes(15) + b"\0"
    return b"\xff\xd8" + table + frame + codes + b"\xff\xda\0\x08\x01\x01\0\0\0\0" + bytes(50) + b"\xff\xd9"


def patched(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """The same with other bytes so far behind every place of a name."""
    changed, place = bytearray(data), data.find(name)
    assert place >= 0
    while place >= 0:
        changed[place + offset : place + offset + len(value)] = value
        place = data.find(name, place + 1)
    return bytes(changed)
