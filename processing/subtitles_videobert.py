"""Subtitles in the place of sound: `.srt`, `.vtt`, captions as HowTo100M has them (JSON, CSV), or plain sentences.

They become the same sentences as speech does. Rolling captions, which show a line again while the next one appears,
are told apart from what is said twice by their times.
"""

import csv
import html
import io
import json
import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, chain, groupby, pairwise
from pathlib import Path

import numpy as np
from transformers.utils import logging

from .opening_videobert import leads_out_of, open_regular
from .sentences_videobert import (
    Word,
    count_words,
    drop_noises,
    ends_sentence,
    make_sentences,
    place_sentences,
    split_words,
    spread_units,
    spread_words,
)
from .speech_videobert import language_code
from .text_encodings_videobert import decode_text

logger = logging.get_logger(__name__)

SUBTITLE_ENDINGS = (".srt", ".vtt", ".json", ".csv")
# Codes of three letters, as discs and some tools write them.
THREE_LETTERS = {"eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it"}
THREE_LETTERS |= {"por": "pt", "rus": "ru", "jpn": "ja", "kor": "ko", "zho": "zh", "chi": "zh"}
THREE_LETTERS |= {"hin": "hi", "ara": "ar"}
# Bounds of what is read at all: no video has so many bytes of subtitles, no cue so many characters, no time so late.
MOST_BYTES = 20_000_000
MOST_CHARACTERS = 100_000
LATEST_SECONDS = 1_000_000
# Cues touch that lie no further apart, or over each other, than this.
ROLLING_SECONDS = 0.05
# So many words are not repeated by chance.
ROLLING_WORDS = 3
TIME = r"(-?)(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)"
ARROW = r"(?:[-–—]{1,3}>|→)"
TIMES = re.compile(rf"\s*{TIME}\s*{ARROW}\s*{TIME}(?:\s.*)?$")
# A line that is meant to be one of times, readable or not: other arrows stand in what is said.
TIMES_MEANT = re.compile(rf"\s*-?\d+:\d.*{ARROW}|\s*\S+\s*-->\s*-?\d+:\d")
# Tags of the two formats, with classes and attributes, and times within a cue; any other "<" is said.
TAGS = "b|i|u|s|c|v|p|a|br|em|rt|ruby|lang|font|span|div|strong|big|small|strike|sub|sup|center"
TAG = re.compile(rf"</?(?:{TAGS})(?:[.\s/][^<>]*)?/?>|<\d[\d:.,]*>", re.IGNORECASE)


def read_subtitles(
    source: str | os.PathLike | list,
    video_id: str | None = None,
    duration: float | None = None,
    offset: float = 0.0,
    problems: list | None = None,
    word_times: bool = False,
    language: str | None = None,
    notes: list | None = None,
) -> list:
    """The sentences of subtitles.

    Args:
        source (`str`, `Path` or `list[dict]`):
            A `.srt`, `.vtt`, `.json` or `.csv` file, or a list of `{"text", "start", "end"}`, each of which stays a
            sentence. A JSON file holds such a list, or columns `{"text": […], "start": […], "end": […]}`, of one video
            or by video id; a CSV file has these columns.
        video_id (`str`, *optional*):
            Which video, where a JSON file holds several.
        duration (`float`, *optional*):
            Seconds of the video, beyond which no sentence goes.
        offset (`float`, *optional*, defaults to 0.0):
            Seconds by which the first displayed frame comes after the start of the file, which is the zero of
            subtitles. A list of sentences has the video's own clock already.
        problems (`list[str]`, *optional*):
            Gets a sentence on cues that cannot be read and were left out.
        word_times (`bool`, *optional*, defaults to `False`):
            Whether sentences list their words; each has the share of its cue's time that it has of its characters.
        language (`str`, *optional*):
            What the subtitles are likely written in, such as `"ru"`: in it files are read that are older than UTF-8,
            where their name (`a.ru.srt`) says nothing.
        notes (`list[str]`, *optional*):
            Gets a sentence on an encoding that was guessed.

    Returns:
        `list[dict]`: `{"text", "start", "end"}`, in order, not overlapping, 0 <= start < end <= duration.

    Raises:
        ValueError: One sentence on what is wrong: no such file, another kind of file, nothing readable in it.
    """
    is_file = isinstance(source, (str, os.PathLike))
    name = os.fspath(source) if is_file else "the list of sentences"
    problems, notes = [] if problems is None else problems, [] if notes is None else notes
    try:
        cues = _read_cues(Path(source), video_id, language_code(language), notes) if is_file else list(source)
    except OSError as error:
        raise ValueError(f"{name}: the subtitles cannot be read ({error.strerror})") from error
    good = sorted((cue for cue in cues if _is_cue(cue)), key=lambda cue: cue["start"])
    if cues and not good:
        raise ValueError(
            f"{name}: none of its {len(cues)} cues has a text of at most {MOST_CHARACTERS} characters and a start "
            f"before its end, in seconds up to {LATEST_SECONDS}"
        )
    if cues and not any(cue["text"].strip() for cue in good):
        raise ValueError(f"{name}: none of its {len(cues)} cues has any text")
    if len(good) < len(cues):
        problems.append(f"{name}: {len(cues) - len(good)} of {len(cues)} cues cannot be read and were left out")
    if not is_file:
        groups = [drop_noises(spread_words(cue["text"], cue["start"], cue["end"])) for cue in _in_turn(good)]
        return place_sentences([group for group in groups if group], duration, word_times)
    words = [Word(word.text, word.start - offset, word.end - offset, word.glued) for word in _said_once(good)]
    return make_sentences(words, duration, word_times)


def find_subtitles(videos: dict, source: str | os.PathLike | None = None, language: str = "en") -> dict:
    """Which videos have subtitles in the language that is wanted.

    Args:
        videos (`dict[str, Path]`):
            Path by video id.
        source (`str` or `Path`, *optional*):
            Where to look: beside each video (`name.srt` or `name.vtt` next to `name.mp4`, or `name.en.vtt`, as
            downloaders name them), in another folder, or in a JSON file of captions by video id.
        language (`str`, *optional*, defaults to `"en"`):
            A name that says this language goes before one that says none; one that says another is not used.

    Returns:
        `dict[str, Path]`: By video id the file; videos without subtitles are not in it.

    Raises:
        ValueError: The source does not exist or is no JSON file by video id, or holds nothing for any of the
            videos; there is no such language.
    """
    language = language_code(language)
    if source is not None and Path(source).is_file():
        source, content = Path(source), _load_json(Path(source), os.stat(source).st_mtime_ns)
        if not isinstance(content, dict) or _is_columns(content):
            raise ValueError(f"{source}: captions of many videos are expected, by video id")
        found = {video_id: source for video_id in videos if _composed(video_id) in content}
        return _not_nothing(found, videos, source)
    if source is not None and not Path(source).is_dir():
        raise ValueError(f"{source}: there is no such folder or file of subtitles")
    folders, found = {}, {}
    top = source or os.path.commonpath([Path(video).absolute().parent for video in videos.values()] or ["."])
    for video_id, video in videos.items():
        folder = Path(video).parent if source is None else Path(source) / Path(video_id).parent
        if folder not in folders:
            folders[folder] = _subtitles_by_stem(folder, top)
        told = folders[folder].get(_composed(Path(video).stem), [])
        fitting = [(told == "", len(path.name), path.name, path) for told, path in told if told in (language, "")]
        if fitting:
            *_, found[video_id] = min(fitting)
    return found if source is None else _not_nothing(found, videos, source)


def _not_nothing(found: dict, videos: dict, source: str | os.PathLike) -> dict:
    """What was found, if anything: whoever names a source of subtitles does not want all videos to be heard."""
    if videos and not found:
        raise ValueError(f"{source}: there are subtitles of 0 of the {len(videos)} videos in the wanted language")
    return found


def _subtitles_by_stem(folder: Path, top: str | os.PathLike) -> dict:
    """By the name of a video (language, file): `a.en-US.srt` are English subtitles of `a.mp4`, or those of
    `a.en-US.mp4` in a language that is not told (""). Links that lead out of `top` are left."""
    found = defaultdict(list)
    try:
        for path in folder.iterdir() if folder.is_dir() else []:
            if path.name.lower().endswith((".srt", ".vtt")):
                if path.is_symlink() and leads_out_of(path, top):
                    logger.warning(f"{path} is not read: it is a link that leads out of {top}.")
                    continue
                whole, (stem, language) = _composed(path.stem), _told_language(path)
                found[whole].append(("", path))
                if language:
                    found[stem].append((language, path))
    except OSError as error:
        raise ValueError(f"{folder}: the folder cannot be searched for subtitles ({error.strerror})") from error
    return found


def _told_language(path: Path) -> tuple:
    """The name before the language and the language that a file's name tells, or `None`: `("a", "en")` of
    `a.en-US.srt`."""
    stem, _, tag = _composed(path.stem).rpartition(".")
    match = re.fullmatch(r"([a-z]{2,3})([-_][a-z0-9]+)*", tag.lower())
    return (stem, THREE_LETTERS.get(match[1], match[1])) if match and stem else (stem, None)


def _composed(name: str) -> str:
    """A name in the form in which two of the same letters are the same: some systems take "é" apart."""
    return unicodedata.normalize("NFC", name)


# --- files to cues {"text", "shown", "start", "end"}, where "shown" still has its tags -----------------------------


def _read_cues(path: Path, video_id: str | None, language: str | None, notes: list) -> list:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of subtitles")
    ending = path.suffix.lower()
    if ending not in SUBTITLE_ENDINGS:
        raise ValueError(f"{path}: subtitles end in one of {', '.join(SUBTITLE_ENDINGS)}")
    if ending == ".json":
        return _json_cues(_load_json(path, path.stat().st_mtime_ns), str(path), video_id)
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{path}: subtitles of {size} bytes are not read; at most {MOST_BYTES} are")
    text = _read_text(path, language, notes)
    if ending == ".csv":
        return _csv_cues(text, str(path))
    cues = _timed_cues(text)
    if not cues and not text.startswith("WEBVTT"):
        raise ValueError(f"{path}: no cue was found, such as 00:01:02,500 --> 00:01:04,000 and a line of text")
    return cues


def _read_text(path: Path, language: str | None, notes: list) -> str:
    try:
        with open_regular(path) as file:
            text, guessed = decode_text(file.read(MOST_BYTES), _told_language(path)[1] or language)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if guessed:
        notes.append(f"{path}: the subtitles were read as {guessed}, judging by their bytes alone")
    return text


def _timed_cues(text: str) -> list:
    """Cues of `.srt` and `.vtt`: a line of times, then lines of text up to the number or name of the next cue."""
    # Line ends of any kind, also those that a tool wrote twice.
    lines = [part for line in text.split("\n") for part in line.rstrip("\r").split("\r")]
    named = text.startswith("WEBVTT")
    lines = _without_notes(lines) if named else lines
    starts = [i for i, line in enumerate(lines) if TIMES_MEANT.match(line)]
    cues = []
    for number, (i, following) in enumerate(pairwise([*starts, len(lines)]), 2):
        body = lines[i + 1 : following]
        if following < len(lines):
            body = _without_head(body, str(number), named)
        cues.append(_make_cue("\n".join(body), *_read_times(lines[i])))
    return cues


def _without_notes(lines: list) -> list:
    """Lines without the blocks of a `.vtt` file that nobody says."""
    kept, said = [], True
    for before, line in pairwise(["", *lines]):
        if before == "":
            said = re.match(r"(NOTE|STYLE|REGION)(\s|$)", line) is None
        kept += [line] if said else [""]
    return kept


def _read_times(line: str) -> tuple:
    """Start and end in seconds, or `None`."""
    match = TIMES.match(line)
    return (_seconds(match, 1), _seconds(match, 5)) if match else (None, None)


def _seconds(match: re.Match, group: int) -> float:
    sign, hours, minutes, seconds = match.group(*range(group, group + 4))
    value = 3600 * float(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))
    return -value if sign else value


def _without_head(body: list, number: str, named: bool) -> list:
    """The lines between two lines of times, without the number that heads the next cue, or its name in a `.vtt`."""
    filled = [i for i, line in enumerate(body) if line.strip()]
    if not filled:
        return body
    last, head = filled[-1], body[filled[-1]].strip()
    touches, apart = last == len(body) - 1, last > 0 and not body[last - 1].strip()
    is_number = head.isdecimal() and (touches or (apart and head == number))
    return body[:last] if is_number or (named and touches and apart) else body


def _make_cue(shown: str, start: float | None, end: float | None) -> dict:
    text = _plain(shown) if isinstance(shown, str) and len(shown) <= MOST_CHARACTERS else shown
    return {"text": text, "shown": shown, "start": start, "end": end}


def _plain(text: str) -> str:
    """Lines without tags (`<i>`, `<00:00:01.500>`), positions (`{\\an8}`), escapes (`&amp;`) and marks of a new
    speaker; the minus of "-18 degrees" is none."""
    # No character has an escape of so many digits, and thousands of them are no number for Python.
    text = html.unescape(re.sub(r"\{\\[^{}]*\}|&#\d{8,};?", "", TAG.sub("", text)))
    lines = [re.sub(r"^(>>+|-(?!\d))\s*", "", line.strip()).replace(">>", "") for line in text.split("\n")]
    return "\n".join(line for line in lines if line)


@lru_cache(maxsize=2)
def _load_json(path: Path, _changed: int) -> list | dict:
    """A file of many videos is read once for all of them, and again if it has changed."""
    try:
        with open_regular(path) as file:
            content = json.loads(decode_text(file.read())[0])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    except OSError as error:
        raise ValueError(f"{path}: the subtitles cannot be read ({error.strerror})") from error
    return {_composed(key): value for key, value in content.items()} if isinstance(content, dict) else content


def own_captions(path: str | os.PathLike, video_id: str) -> object:
    """What a JSON file of captions holds for one video: all of it, where it is not of many.

    Raises:
        ValueError: It cannot be read.
        OSError: It is not there.
    """
    content = _load_json(Path(path), os.stat(path).st_mtime_ns)
    return content.get(_composed(video_id)) if isinstance(content, dict) and not _is_columns(content) else content


def _json_cues(content: list | dict, name: str, video_id: str | None) -> list:
    if isinstance(content, dict) and not _is_columns(content):
        wanted = _composed(video_id or "")
        if wanted not in content:
            raise ValueError(f"{name}: there are captions of {len(content)} videos, but none of {video_id!r}")
        content = content[wanted]
    if isinstance(content, dict) and _is_columns(content):
        columns = [content[key] for key in ("text", "start", "end")]
        if not all(isinstance(column, list) for column in columns) or len({len(column) for column in columns}) > 1:
            raise ValueError(f"{name}: text, start and end must be lists of one length")
        content = [dict(zip(("text", "start", "end"), cue, strict=True)) for cue in zip(*columns, strict=True)]
    if not isinstance(content, list):
        raise ValueError(f"{name}: a list of text, start and end is expected, or columns of that name")
    return [_make_cue(cue["text"], cue["start"], cue["end"]) if _is_cue(cue) else cue for cue in content]


def _is_columns(content: dict) -> bool:
    return {"text", "start", "end"} <= content.keys()


def _csv_cues(text: str, name: str) -> list:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns, rows = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise ValueError(f"{name}: not readable as CSV ({error})") from error
    if not _is_columns(dict.fromkeys(columns)):
        raise ValueError(f"{name}: its first line must name the columns start, end and text, not {columns}")
    cues = []
    for row in rows:
        try:
            cues.append(_make_cue(row["text"], float(row["start"]), float(row["end"])))
        except (TypeError, ValueError):  # too few columns, or no number
            cues.append(row)
    return cues


def _is_cue(cue: dict) -> bool:
    """Whether there is something to read, within bounds; whoever made the cue may have put anything there."""
    try:
        text, start, end = cue["text"], cue["start"], cue["end"]
        is_text = isinstance(text, str) and len(text) <= MOST_CHARACTERS
        return is_text and -LATEST_SECONDS <= start < end <= LATEST_SECONDS
    except (KeyError, TypeError, ValueError):
        return False


# --- cues to words ------------------------------------------------------------------------------------------------


def _in_turn(cues: list) -> list:
    """Sentences one after the other: one ends where the next begins, and those that begin together share the time."""
    turns = []
    together = [(start, list(group)) for start, group in groupby(cues, key=lambda cue: cue["start"])]
    for (start, group), (following, _) in pairwise([*together, (math.inf, [])]):
        edges = np.linspace(start, min(following, max(cue["end"] for cue in group)), len(group) + 1).tolist()
        turns += [{**cue, "start": a, "end": b} for cue, (a, b) in zip(group, pairwise(edges), strict=True)]
    return turns


def _said_once(cues: list) -> list:
    """The words of cues in order. What a cue shows on from the one before it is not said again, and a cue ends where
    the next one begins: a line stays to be read after it was spoken."""
    words, shown, last_line, shown_until, grew = [], [], 0, -math.inf, False
    for cue, following in pairwise([*_shown_once(cues), {"start": math.inf}]):
        lines = [split_words(line) for line in cue["text"].split("\n")]
        units = list(chain.from_iterable(lines))
        texts = [text for text, _ in units]
        touches, overlaps = cue["start"] <= shown_until + ROLLING_SECONDS, _overlap(shown_until, cue["start"])
        repeated = _repeated(shown, texts, last_line) if touches else 0
        grew = _grows(shown, texts, repeated, grew)
        many = count_words(texts[:repeated]) >= ROLLING_WORDS and texts != shown
        if not (many or overlaps or grew or _rolls(cue, lines, repeated)):
            repeated = 0
        end = min(cue["end"], following["start"]) if following["start"] > cue["start"] else cue["end"]
        words += drop_noises(spread_units(units[repeated:], cue["start"], end))
        shown, shown_until, last_line = texts, cue["end"], len(lines[-1])
    return words


def _overlap(end: float, start: float) -> bool:
    """Whether what begins at `start` begins before that ends which ends at `end`, and not as rounded times may."""
    return end - start > ROLLING_SECONDS


def _shown_once(cues: list) -> list:
    """Cues, of which those are one that show the same words on: over each other, for a moment only, or each with
    another word highlighted. The same words for a time of their own are said twice."""
    kept = []
    for cue in cues:
        before = kept[-1] if kept else {"text": None, "end": -math.inf}
        touches = cue["text"] == before["text"] and cue["start"] <= before["end"] + ROLLING_SECONDS
        flashes = cue["end"] - cue["start"] <= ROLLING_SECONDS
        if touches and (flashes or cue["shown"] != before["shown"] or _overlap(before["end"], cue["start"])):
            kept[-1] = {**cue, "start": before["start"], "end": max(before["end"], cue["end"])}
        else:
            kept.append(cue)
    return kept


def _grows(shown: list, texts: list, repeated: int, grew: bool) -> bool:
    """Whether a cue is the one before it and more, as captions that appear word by word; what was a whole sentence
    from the first may be said again."""
    if not 0 < repeated == len(shown) < len(texts):
        return False
    return grew or not ends_sentence(shown[-1], texts[repeated])


def _rolls(cue: dict, lines: list, repeated: int) -> bool:
    """Whether a cue looks like rolling captions, not like a word that is said again: it only flashes, or shows what is
    repeated in a line above a new one."""
    return cue["end"] - cue["start"] <= ROLLING_SECONDS or repeated in accumulate(map(len, lines[:-1]))


def _repeated(shown: list, texts: list, last_line: int) -> int:
    """How many words at the start of a cue are the last ones of the cue before it, shown on."""
    for count in _common_lengths(shown, texts):
        if count in (len(shown), len(texts), last_line) or count_words(texts[:count]) >= ROLLING_WORDS:
            return count
    return 0


def _common_lengths(shown: list, texts: list) -> Iterator[int]:
    """The lengths, the longest first, of what `shown` ends and `texts` begins with; in linear time, as Knuth, Morris
    and Pratt search."""
    sequence = [*texts, None, *shown]
    lengths, length = [0] * len(sequence), 0
    for i in range(1, len(sequence)):
        while length and sequence[i] != sequence[length]:
            length = lengths[length - 1]
        length += sequence[i] == sequence[length]
        lengths[i] = length
    while length:
        yield length
        length = lengths[length - 1]
