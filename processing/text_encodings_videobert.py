"""Bytes of a text file to text: UTF-8, UTF-16, and the encodings from before them, which do not say which they are."""

import re

from charset_normalizer import from_bytes

# Encodings of old files by the language that they are written in, the commonest first.
WESTERN = ("cp1252",)
LATIN = (*WESTERN, "cp1250", "cp1254", "cp1257")
OLD_ENCODINGS = {
    **dict.fromkeys(("da", "de", "es", "fi", "fr", "gl", "is", "it", "nl", "nn", "no", "pt", "sv"), WESTERN),
    **dict.fromkeys(("bs", "cs", "hr", "hu", "pl", "ro", "sk", "sl", "sq"), ("cp1250", "iso8859_2")),
    **dict.fromkeys(("be", "bg", "mk", "ru", "sr", "uk"), ("cp1251", "koi8_r", "cp866")),
    **dict.fromkeys(("et", "lt", "lv"), ("cp1257",)),
    **{"zh": ("gb18030", "big5"), "ja": ("cp932", "euc_jp"), "ko": ("cp949",), "th": ("cp874",), "vi": ("cp1258",)},
    **{"el": ("cp1253",), "tr": ("cp1254",), "az": ("cp1254",), "he": ("cp1255",), "yi": ("cp1255",)},
    **dict.fromkeys(("ar", "fa", "ur"), ("cp1256",)),
}
NOT_LATIN: tuple[str, ...] = ("cp1251", "gb18030", "cp932", "cp949", "big5", "euc_jp", "koi8_r", "cp866")
NOT_LATIN += ("cp1253", "cp1255", "cp1256", "cp874")
# Languages in Latin letters have fewer letters beyond ASCII than this.
LATIN_SHARE = 0.4


def decode_text(data: bytes, language: str | None = None) -> tuple:
    """The text of a file, whatever its encoding.

    Text is UTF-8, where a damaged byte or two do not change the others, or UTF-16 with its mark. Else it is of an old
    encoding: of the language, if that is known and has any beyond ASCII, or one that a detector finds.

    Args:
        data (`bytes`):
            The content of the file.
        language (`str`, *optional*):
            Code of the language that it is likely in, such as `"ru"`.

    Returns:
        `tuple`: The text, and the name of the encoding if that was guessed from the bytes alone, else `None`.

    Raises:
        ValueError: No encoding is found in which this is text.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), None
    data = data.removeprefix(b"\xef\xbb\xbf")
    text = data.decode("utf-8", errors="surrogateescape")
    damaged = len(re.findall("[\udc80-\udcff]", text))
    if damaged <= sum(char > "\x7f" for char in text) / 2:  # most of what is beyond ASCII is UTF-8
        return _repair(text, OLD_ENCODINGS.get(language or "", WESTERN)[0]), None
    if language in OLD_ENCODINGS:
        return _decode_best(data, OLD_ENCODINGS[language])[0], None
    if _share_beyond_ascii(data) < LATIN_SHARE:
        return _decode_latin(data), None
    return _decode_best(data, NOT_LATIN)


def _repair(text: str, encoding: str) -> str:
    """Text whose single bytes that are no UTF-8 are read in an old encoding."""

    def read(damage: re.Match) -> str:
        return damage[0].encode("utf-8", "surrogateescape").decode(encoding, errors="replace")

    return re.sub("[\udc80-\udcff]+", read, text)


def _decode_best(data: bytes, encodings: tuple) -> tuple:
    """(text, encoding) of the most likely one; between those that are as likely, the earlier one."""
    matches = from_bytes(data, cp_isolation=list(encodings))
    if not matches:
        raise ValueError("its encoding is not known; save it as UTF-8, or let its name say its language (a.ru.srt)")
    best = min(matches, key=lambda m: (round(m.chaos, 2), -m.coherence, encodings.index(m.encoding)))
    return data.decode(best.encoding), best.encoding


def _decode_latin(data: bytes) -> str:
    """Text in Latin letters: Western European as most players read it, unless another encoding fits better."""
    western = data.decode(WESTERN[0], errors="replace")
    matches = from_bytes(data, cp_isolation=list(LATIN))
    best = matches.best()
    if best is None or (best.chaos, -best.coherence) in [
        (m.chaos, -m.coherence) for m in matches if data.decode(m.encoding) == western
    ]:
        return western
    return data.decode(best.encoding)


def _share_beyond_ascii(data: bytes) -> float:
    """Which share of the letters are none of ASCII."""
    beyond = len(re.findall(rb"[\x80-\xff]", data))
    return beyond / max(1, beyond + len(re.findall(rb"[A-Za-z]", data)))
