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
from collections import defaultdict
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import numpy as np

from .sentences_videobert import Word, drop_noises, make_sentences, normalize_text, place_sentences, spread_words
from .speech_videobert import language_code

SUBTITLE_ENDINGS = (".srt", ".vtt", ".json", ".csv")
# Codes of three letters, as discs and some tools write them.
THREE_LETTERS = {"eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it"}
THREE_LETTERS |= {"por": "pt", "rus": "ru", "jpn": "ja", "kor": "ko", "zho": "zh", "chi": "zh"}
THREE_LETTERS |= {"hin": "hi", "ara": "ar"}
# How far apart two cues may lie that show the same words on and on.
ROLLING_SECONDS = 0.05
# So many words are not repeated by chance.
ROLLING_WORDS = 3
TIME = r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)"
TIMES = re.compile(rf"\s*{TIME}\s*-->\s*{TIME}(?:\s.*)?$")


def read_subtitles(source, video_id=None, duration=None, offset=0.0, problems=None, word_times=False) -> list:
    """The sentences of subtitles.

    Args:
        source (`str`, `Path` or `list[dict]`):
            A `.srt`, `.vtt`, `.json` or `.csv` file, or a list of `{"text", "start", "end"}`, each of which stays a
            sentence. A JSON file holds such a list, or columns `{"text": […], "start": […], "end": […]}`, of one video
            or by video id; a CSV file has these columns.
        video_id (`str`, *optional*): Which video, where a JSON file holds several.
        duration (`float`, *optional*): Seconds of the video, beyond which no sentence goes.
        offset (`float`, *optional*, defaults to 0.0):
            Seconds by which the first displayed frame comes after the start of the file, which is the zero of
            subtitles. A list of sentences has the video's own clock already.
        problems (`list[str]`, *optional*): Gets a sentence on cues that cannot be read and were left out.
        word_times (`bool`, *optional*, defaults to `False`): Whether sentences list their words; each has the share of
            its cue's time that it has of its characters.

    Returns:
        `list[dict]`: `{"text", "start", "end"}`, in order, not overlapping, 0 <= start < end <= duration.

    Raises:
        ValueError: One sentence on what is wrong: no such file, another kind of file, nothing readable in it.
    """
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the list of sentences"
    try:
        cues = _read_cues(source, name, video_id)
    except OSError as error:
        raise ValueError(f"{name}: the subtitles cannot be read ({error.strerror})") from error
    good = [cue for cue in cues if _is_cue(cue)]
    if cues and not good:
        raise ValueError(f"{name}: none of its {len(cues)} cues has a text and a start before its end, in seconds")
    if len(good) < len(cues) and problems is not None:
        problems.append(f"{name}: {len(cues) - len(good)} of {len(cues)} cues cannot be read and were left out")
    good = sorted(good, key=lambda cue: cue["start"])
    if not isinstance(source, (str, os.PathLike)):
        groups = [drop_noises(spread_words(cue["text"], cue["start"], cue["end"])) for cue in _in_turn(good)]
        return place_sentences([group for group in groups if group], duration, word_times)
    words = [Word(word.text, word.start - offset, word.end - offset) for word in _said_once(good)]
    return make_sentences(words, duration, word_times)


def find_subtitles(videos, source=None, language="en") -> dict:
    """Which videos have subtitles in the language that is wanted.

    Args:
        videos (`dict[str, Path]`): Path by video id.
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
        return _not_nothing({video_id: source for video_id in videos if video_id in content}, videos, source)
    if source is not None and not Path(source).is_dir():
        raise ValueError(f"{source}: there is no such folder or file of subtitles")
    folders, found = {}, {}
    for video_id, video in videos.items():
        folder = Path(video).parent if source is None else Path(source) / Path(video_id).parent
        if folder not in folders:
            folders[folder] = _subtitles_by_stem(folder)
        told = folders[folder].get(Path(video).stem, [])
        fitting = [(told == "", len(path.name), path.name, path) for told, path in told if told in (language, "")]
        if fitting:
            *_, found[video_id] = min(fitting)
    return found if source is None else _not_nothing(found, videos, source)


def _not_nothing(found: dict, videos: dict, source) -> dict:
    """What was found, if anything: whoever names a source of subtitles does not want all videos to be heard."""
    if videos and not found:
        raise ValueError(f"{source}: there are subtitles of 0 of the {len(videos)} videos in the wanted language")
    return found


def _subtitles_by_stem(folder: Path) -> dict:
    """By the name of a video (language, file): `a.en-US.srt` are English subtitles of `a.mp4`, or those of
    `a.en-US.mp4` in a language that is not told ("")."""
    found = defaultdict(list)
    try:
        for path in folder.iterdir() if folder.is_dir() else []:
            if path.name.lower().endswith((".srt", ".vtt")):
                found[path.stem].append(("", path))
                stem, _, tag = path.stem.rpartition(".")
                if match := re.fullmatch(r"([a-z]{2,3})(-[a-z0-9]+)*", tag.lower()):
                    found[stem].append((THREE_LETTERS.get(match[1], match[1]), path))
    except OSError as error:
        raise ValueError(f"{folder}: the folder cannot be searched for subtitles ({error.strerror})") from error
    return found


# --- files to cues {"text", "start", "end"} -----------------------------------------------------------------------


def _read_cues(source, name: str, video_id: str | None) -> list:
    if not isinstance(source, (str, os.PathLike)):
        return list(source)
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{name}: there is no such file of subtitles")
    ending = path.suffix.lower()
    if ending not in SUBTITLE_ENDINGS:
        raise ValueError(f"{name}: subtitles end in one of {', '.join(SUBTITLE_ENDINGS)}")
    if ending == ".json":
        return _json_cues(_load_json(path, path.stat().st_mtime_ns), name, video_id)
    text = _decode(path.read_bytes())
    if ending == ".csv":
        return _csv_cues(text, name)
    cues = _timed_cues(text)
    if not cues and not text.startswith("WEBVTT"):
        raise ValueError(f"{name}: no cue was found, such as 00:01:02,500 --> 00:01:04,000 and a line of text")
    return cues


def _decode(data: bytes) -> str:
    """Text as most players read it: UTF-8, UTF-16 with its mark, or else Western European."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _timed_cues(text: str) -> list:
    """Cues of `.srt` and `.vtt`: a line of times, then lines of text up to an empty one."""
    cues, lines = [], None
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if "-->" in line:
            if lines:  # the empty line between two cues is missing: the number of this one is no text
                lines[:] = lines[:-1] if lines[-1].strip().isdigit() else lines
            match, lines = TIMES.match(line), []
            start, end = (_seconds(match, 1), _seconds(match, 4)) if match else (None, None)
            cues.append({"text": lines, "start": start, "end": end})
        elif not line.strip():
            # Captions of YouTube hold a line with nothing but a space.
            lines = lines if line and lines is not None else None
        elif lines is not None:
            lines.append(line)
    return [{**cue, "text": _plain("\n".join(cue["text"]))} for cue in cues]


def _seconds(match, group: int) -> float:
    hours, minutes, seconds = match.group(group, group + 1, group + 2)
    return 3600 * float(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))


def _plain(text: str) -> str:
    """Without tags (`<i>`, `<00:00:01.500>`), positions (`{\\an8}`), escapes (`&amp;`) and marks of a new speaker; the
    minus of "-18 degrees" is none."""
    # No character has an escape of so many digits, and thousands of them are no number for Python.
    text = html.unescape(re.sub(r"<[^<>]*>|\{\\[^{}]*\}|&#\d{8,};?", "", text))
    return re.sub(r"(^|\n)\s*(>>+|-(?!\d))\s*", r"\1", text).replace(">>", "").strip()


@lru_cache(maxsize=2)
def _load_json(path: Path, _changed: int):
    """A file of many videos is read once for all of them, and again if it has changed."""
    try:
        return json.loads(_decode(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    except OSError as error:
        raise ValueError(f"{path}: the subtitles cannot be read ({error.strerror})") from error


def _json_cues(content, name: str, video_id: str | None) -> list:
    if isinstance(content, dict) and not _is_columns(content):
        if video_id not in content:
            raise ValueError(f"{name}: there are captions of {len(content)} videos, but none of {video_id!r}")
        content = content[video_id]
    if isinstance(content, dict) and _is_columns(content):
        columns = [content[key] for key in ("text", "start", "end")]
        if not all(isinstance(column, list) for column in columns) or len({len(column) for column in columns}) > 1:
            raise ValueError(f"{name}: text, start and end must be lists of one length")
        content = [dict(zip(("text", "start", "end"), cue, strict=True)) for cue in zip(*columns, strict=True)]
    if not isinstance(content, list):
        raise ValueError(f"{name}: a list of text, start and end is expected, or columns of that name")
    return [{**cue, "text": _plain(cue["text"])} if _is_cue(cue) else cue for cue in content]


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
            cues.append({"text": _plain(row["text"]), "start": float(row["start"]), "end": float(row["end"])})
        except (TypeError, ValueError):  # too few columns, or no number
            cues.append(row)
    return cues


def _is_cue(cue) -> bool:
    try:
        start, end = cue["start"], cue["end"]
        return isinstance(cue["text"], str) and math.isfinite(start) and math.isfinite(end) and start < end
    except (KeyError, TypeError, OverflowError):  # overflow: a number of hundreds of digits
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
    words, shown, last_line, shown_until = [], [], 0, -math.inf
    for cue, following in pairwise([*cues, {"start": math.inf}]):
        lines = [normalize_text(line).split() for line in cue["text"].split("\n")]
        texts = sum(lines, [])
        repeated = _repeated(shown, texts, last_line) if cue["start"] <= shown_until + ROLLING_SECONDS else 0
        if not (repeated >= ROLLING_WORDS or cue["start"] < shown_until or _rolls(cue, lines, repeated)):
            repeated = 0
        end = min(cue["end"], following["start"]) if following["start"] > cue["start"] else cue["end"]
        words += drop_noises(spread_words(" ".join(texts[repeated:]), cue["start"], end))
        shown, shown_until, last_line = texts, cue["end"], len(lines[-1])
    return words


def _rolls(cue: dict, lines: list, repeated: int) -> bool:
    """Whether a cue looks like rolling captions, not like a word that is said again: it only flashes, or shows what is
    repeated in a line above a new one."""
    return cue["end"] - cue["start"] <= ROLLING_SECONDS or repeated in accumulate(map(len, lines[:-1]))


def _repeated(shown: list, texts: list, last_line: int) -> int:
    """How many words at the start of a cue are the last ones of the cue before it, shown on."""
    for count in range(min(len(shown), len(texts)), 0, -1):
        whole = count in (len(shown), len(texts), last_line)
        if (whole or count >= ROLLING_WORDS) and shown[-count:] == texts[:count]:
            return count
    return 0
