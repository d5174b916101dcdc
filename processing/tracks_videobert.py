"""What a file says of its tracks that torchcodec does not tell: their languages, and whether its index is whole."""

import os
from collections.abc import Iterator

MAX_BOXES = 100_000  # of a file, so that a hostile one cannot hold us up
MP4_FOLDERS = (b"moov", b"trak", b"mdia")
MP4_START = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
EBML = b"\x1a\x45\xdf\xa3"
SEGMENT, TRACKS, TRACK = 0x18538067, 0x1654AE6B, 0xAE
TRACK_TYPE, LANGUAGE, LANGUAGE_BCP47 = 0x83, 0x22B59C, 0x22B59D
MATROSKA_SOUND = b"\x02"
UNKNOWN = "und"
QUICKTIME_LANGUAGES = tuple("eng fra ger ita dut swe spa dan por nor heb jpn ara fin gre".split())


def sound_languages(view) -> list[str]:
    """The languages of the sound tracks of an MP4 or Matroska file, in its order, as it writes them (`"eng"`).

    Args:
        view (binary file):
            The file.

    Returns:
        `list[str]`: `"und"` for a track that does not say; nothing at all for other kinds of file.
    """
    view.seek(0)
    start = view.read(8)
    if start[4:8] in MP4_START:
        return _mp4_languages(view)
    return _matroska_languages(view) if start[:4] == EBML else []


def index_is_cut(view) -> bool:
    """Whether the file is an MP4 that ends in the midst of its index: tracks may be missing from it."""
    view.seek(0)
    if view.read(8)[4:8] not in MP4_START:
        return False
    end = view.seek(0, os.SEEK_END)
    return any(kind == b"moov" and stop > end for kind, _, stop in _mp4_boxes(view, 0, end))


def _mp4_boxes(view, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content begins, where it ends) of each box between two places; folders also opened."""
    waiting = [(start, end)]
    for _ in range(MAX_BOXES):
        if not waiting:
            return
        start, end = waiting.pop()
        if start + 8 > end:
            continue
        view.seek(start)
        header = view.read(16)
        if len(header) < 8:
            continue
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(header[8:], "big"), start + 16
        stop = start + size if size else end
        if stop < content:
            continue
        yield kind, content, stop
        waiting.append((stop, end))
        if kind in MP4_FOLDERS:
            waiting.append((content, min(stop, end)))


def _unpack_language(packed: int) -> str:
    """Three letters of five bits each; QuickTime numbers the languages instead."""
    if packed < 0x400:
        return QUICKTIME_LANGUAGES[packed] if packed < len(QUICKTIME_LANGUAGES) else UNKNOWN
    letters = [packed >> shift & 31 for shift in (10, 5, 0)]
    return "".join(chr(0x60 + letter) for letter in letters) if all(0 < n <= 26 for n in letters) else UNKNOWN


def _mp4_languages(view) -> list[str]:
    end = view.seek(0, os.SEEK_END)
    languages, language = [], UNKNOWN
    for kind, content, _ in _mp4_boxes(view, 0, end):
        view.seek(content)
        if kind == b"mdhd":
            longer = view.read(1) == b"\x01"  # its second version has times of eight bytes
            view.seek(content + (32 if longer else 20))
            language = _unpack_language(int.from_bytes(view.read(2), "big"))
        elif kind == b"hdlr" and view.read(12)[8:] == b"soun":
            languages.append(language)
    return languages


def _ebml_number(view, with_marker: bool) -> int | None:
    """A number of up to eight bytes, whose first one tells how many there are; `None` for a size that is unknown."""
    first = view.read(1)
    length = 9 - (first[0] if first else 0).bit_length()
    if length > 8:
        return None
    data = first + view.read(length - 1)
    number = int.from_bytes(data, "big")
    if with_marker:
        return number
    number &= (1 << 7 * length) - 1
    return None if number == (1 << 7 * length) - 1 else number


def _ebml_elements(view, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(id, where its content begins, where it ends) of each element between two places."""
    for _ in range(MAX_BOXES):
        if start >= end:
            return
        view.seek(start)
        if (kind := _ebml_number(view, True)) is None:
            return
        size = _ebml_number(view, False)
        content = view.seek(0, os.SEEK_CUR)
        if size is None and kind != SEGMENT:
            return  # a stream that was written live: what follows has no length
        start = end if size is None else content + size
        yield kind, content, min(start, end)


def _matroska_languages(view) -> list[str]:
    end = view.seek(0, os.SEEK_END)
    languages: list[str] = []
    for folder, content, stop in _ebml_elements(view, 0, end):
        if folder != SEGMENT:
            continue
        for part, begin, part_end in _ebml_elements(view, content, stop):
            if part == TRACKS:
                tracks = [place for kind, *place in _ebml_elements(view, begin, part_end) if kind == TRACK]
                return [language for place in tracks if (language := _matroska_language(view, *place))]
    return languages


def _matroska_language(view, start: int, end: int) -> str | None:
    """The language of a track if it is one of sound."""
    is_sound, language, newer = False, "eng", None  # what a track is in that does not say
    for kind, content, stop in _ebml_elements(view, start, end):
        view.seek(content)
        value = view.read(min(stop - content, 100))
        if kind == TRACK_TYPE:
            is_sound = value[-1:] == MATROSKA_SOUND
        elif kind == LANGUAGE:
            language = value.rstrip(b"\0").decode("ascii", "replace")
        elif kind == LANGUAGE_BCP47:
            newer = value.rstrip(b"\0").decode("ascii", "replace")
    return (newer or language or UNKNOWN) if is_sound else None
