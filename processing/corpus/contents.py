"""Which file a row was made of: known by what it holds, so that a moved one is not described again, a changed one is.

Rows are kept under the SHA-256 of all bytes of a video and of its subtitles, which takes a hundredth of the time of
decoding it. A file is read for it once: later its size, its times and its place on the disk tell that it is the same,
as they do for git.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Mapping
from os import PathLike
from pathlib import Path

from transformers.utils import logging

from ..codebook.feature_shards import CONTENTS_NAME, open_shard, read_shard
from ..codebook.whole_files import only_one, read_json, write_json
from ..opening_videobert import open_regular
from ..subtitles_videobert import own_captions
from .held import HeldVideo, NoVideoError, own_file

logger = logging.get_logger(__name__)

COLUMNS = ("video_id", "error", "content", "stamp", "again")
CHUNK = 2**22


class Contents:
    """What the shards of a folder hold, and what the videos' files do.

    Args:
        folder (`Path`):
            That of the shards of features.

    Raises:
        `ValueError`: A shard is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._known = {}  # by video id and stamp the digest of the video
        self._good, self._final, self._tried, self._told = set(), set(), set(), set()
        self._good_ids, self._tried_ids = set(), set()
        self.files = {}  # by video id stamp and content, as of now
        self._before = self._read_before()
        for video_id, (stamp, content) in self._before.items():
            self._note(video_id, stamp, content)
        for path in folder.glob("*.parquet"):
            names = open_shard(path).schema_arrow.names
            for row in read_shard(path, [name for name in COLUMNS if name in names]).to_pylist():
                self.add(row)

    def _read_before(self) -> dict:
        path = self.folder / CONTENTS_NAME
        try:
            return read_json(path) if path.exists() else {}
        except ValueError as error:
            logger.warning(f"{error} It is made again.")
            return {}

    def _note(self, video_id: str, stamp: str | None, content: str | None) -> None:
        if content is not None:
            self._known[video_id, stamp] = content.partition("+")[0]

    def add(self, row: Mapping) -> None:
        """Takes note of a row that is in a shard."""
        video_id, content = row["video_id"], row.get("content")
        self._tried_ids.add(video_id)
        self._tried.add((video_id, content))
        self._told.add((video_id, content, row["error"]))
        self._note(video_id, row.get("stamp"), content)
        if row["error"] is None:
            self._good.add(content if content is not None else (video_id, None))
            self._good_ids.add(video_id)
        elif content is not None and not row["again"]:
            self._final.add((video_id, content))

    def holds(self, row: Mapping) -> bool:
        """Whether a row that was tried again tells what a row tells already, which is not written once more."""
        return row["error"] is not None and (row["video_id"], row["content"], row["error"]) in self._told

    def look_at(self, video_id: str, video: str | PathLike | HeldVideo, subtitles: object, fetch: bool = True) -> None:
        """Finds out what a video holds now; nothing where it cannot be read, or would be fetched for that and is not
        to be."""
        stamp = stamp_of(video)
        digest = self._known.get((video_id, stamp)) or (stamp and digest_of_video(video, fetch))
        said = "" if subtitles is None else digest_of_subtitles(subtitles, video_id)
        if not digest or said is None:
            self.files[video_id] = (None, None)
        else:
            self._known[video_id, stamp] = digest
            self.files[video_id] = (stamp, f"{digest}+{said}" if said else digest)

    def is_known(self, video_id: str, video: str | PathLike | HeldVideo) -> bool:
        """Whether nothing must be fetched to tell what a video holds."""
        video = own_file(video)
        return not isinstance(video, HeldVideo) or bool(video.digest or self._known.get((video_id, video.stamp)))

    def content(self, video_id: str) -> str | None:
        """What a video that was looked at holds."""
        return self.files[video_id][1]

    def is_described(self, video_id: str, retry_errors: bool = False) -> bool:
        """Whether a video that was looked at needs no work: a row of its content is good or, under its own name, has
        an error that will be the same again. A row whose file is gone, or of a version that did not note what it was
        made of, stays if it is good."""
        content = self.content(video_id)
        if content is None:
            return video_id in self._good_ids
        if content in self._good or (video_id, None) in self._good:
            return True
        return not retry_errors and (video_id, content) in self._final

    def was_tried(self, video_id: str) -> bool:
        """Whether a video that was looked at has a row already, whose error may be another one now."""
        content = self.content(video_id)
        return video_id in self._tried_ids if content is None else (video_id, content) in self._tried

    def note_on(self, row: dict, video: str | PathLike | HeldVideo, subtitles: object) -> None:
        """Tells in the row of a video that was described what it is of. Of a file that has changed meanwhile nobody
        knows which part was seen: that is an error, and the next run describes it again."""
        before = self.files[row["video_id"]]
        self.look_at(row["video_id"], video, subtitles)
        if self.files[row["video_id"]] != before:
            self.files[row["video_id"]] = (None, None)
            befell = "changed" if stamp_of(video) else "was taken away"
            problem = f"{row['video_id']}: the file {befell} while it was described"
            row["error"] = problem if row["error"] is None else f"{row['error']}; {problem}"
        row |= dict(zip(("stamp", "content"), self.files[row["video_id"]], strict=True))

    def save(self, others: Container[str] = ()) -> None:
        """Notes which videos there are and what they hold, for whoever reads the shards: [`rows_by_video`].

        Videos of earlier runs stay, unless their file has another name now; `others` are known to be there too.
        """
        with only_one(self.folder, wait=True):  # others may fill the folder with other videos
            before = self._read_before()
            now = {name: file for name, file in self.files.items() if file[1] is not None or name not in before}
            held = {content for _, content in now.values()} - {None}
            stay = {
                name: file
                for name, file in before.items()
                if name in self.files or name in others or file[1] not in held
            }
            if (new := {**stay, **{name: list(file) for name, file in now.items()}}) != before:
                write_json(self.folder / CONTENTS_NAME, dict(sorted(new.items())))


def stamp_of(path: str | PathLike | HeldVideo) -> str | None:
    """Changes with a file: its size, when it was changed, by the clock and by the system, and where it lies; of a
    video in a data set, what that tells."""
    path = own_file(path)
    if isinstance(path, HeldVideo):
        return path.stamp
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def digest_of_video(video: str | PathLike | HeldVideo, fetch: bool = True) -> str | None:
    """The SHA-256 of a video's bytes; one in a data set is fetched for it, where it is to be, unless that tells it.
    Where that holds nothing, it is that of no bytes, so that it is not looked for again."""
    video = own_file(video)
    if not isinstance(video, HeldVideo):
        return digest_of_file(video)
    if video.digest is not None or not fetch:
        return video.digest
    try:
        return digest_of_file(video.fetch())
    except NoVideoError:
        return hashlib.sha256().hexdigest()


def digest_of_file(path: str | PathLike) -> str | None:
    """The SHA-256 of a file's bytes; `None` where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def digest_of_subtitles(source: object, video_id: str) -> str | None:
    """The same of what a video's subtitles say, of many videos' captions its own; `None` where they cannot be read."""
    if isinstance(source, (str, PathLike)):
        if Path(source).suffix.lower() != ".json":
            return digest_of_file(source)
        try:
            source = own_captions(source, video_id)
        except (OSError, ValueError):
            return None
    return hashlib.sha256(json.dumps(source, default=repr).encode()).hexdigest()


def gone(videos: Iterable[str | PathLike | HeldVideo]) -> bool:
    """Whether none of some files is there; what lies in a data set is."""
    return not any(isinstance(video, HeldVideo) or os.path.lexists(video) for video in map(own_file, videos))
