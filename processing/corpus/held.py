"""Videos that lie in a data set: each is a file of its own only while somebody works on it.

    data set on disk ──► TableVideo ───┐
    Parquet files ─────► ParquetVideo ─┤
    archives ──► TarVideo, ZipVideo ───┼──fetch()──► a private file ──drop()──► gone
    files on the Hub ──► HubVideo ─────┘
    files here, with captions beside ──► FileVideo: the file, which stays

What one takes is a request, or the reading on of a file: nothing is downloaded whole, and a killed run leaves a folder
that the next one removes.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from huggingface_hub.errors import EntryNotFoundError, HTTPError

from ..codebook.whole_files import unfinished_folder

CHUNK = 2**20
PIECE = 2**23  # bytes of a Parquet file that are asked for at a time
LONGEST_NAME = 80
ZIP_HEAD = struct.Struct("<4s5H3L2H")  # of a member
MOST_PACKED = 100  # bytes in one of a packed member


class NoVideoError(ValueError):
    """There is no video where a data set should hold one: an error of its row."""


class LostConnectionError(ValueError):
    """A data set cannot be read on; nothing is wrong with any of its videos."""


class HeldVideo:
    """A video in a data set.

    Args:
        name (`str`):
            What it is called in messages: its place in the data set.
        stamp (`str`):
            Changes with what it holds.
        folder (`Path`):
            Gets the file.

    Attributes:
        digest (`str` or `None`):
            The SHA-256 of its bytes, where it is known without reading them.
        captions (`list[dict]` or `None`):
            What is said in it, where the data set tells it.
    """

    digest = captions = None

    def __init__(self, name: str, stamp: str, folder: Path):
        self.name, self.stamp, self.folder = name, stamp, folder
        self._path, self._stack, self._missing = None, None, None

    def fetch(self) -> Path:
        """Its file, which is written unless it is there.

        Raises:
            NoVideoError: The data set holds none.
            LostConnectionError: The data set cannot be read on.
        """
        if self._missing is not None:
            raise self._missing
        if self._path is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                place = stack.enter_context(unfinished_folder(self.folder))
                path = place / re.sub(r"[^\w.-]", "_", self.name, flags=re.ASCII)[-LONGEST_NAME:]
                try:
                    with reading(self.name):
                        self._write(path)
                except NoVideoError as error:
                    self._missing = error  # it is asked for again, to note it
                    raise
                self._path, self._stack = path, stack.pop_all()
        return self._path

    def drop(self) -> None:
        """Removes its file."""
        if self._stack is not None:
            self._stack.close()
            self._path, self._stack = None, None

    def _write(self, path: Path) -> None:
        raise NotImplementedError

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_path": None, "_stack": None}  # another process has files of its own


class FileVideo(HeldVideo):
    """A file on this machine, which stays where it lies, and of which a data set tells what is said.

    Args:
        path (`Path`):
            Of the file.
    """

    def __init__(self, path: Path):
        super().__init__(str(path), "", path.parent)
        self.path = path

    def fetch(self) -> Path:
        return self.path


class TableVideo(HeldVideo):
    """A row of a data set on this machine that holds the bytes of its video, or none.

    Args:
        data ([`datasets.Dataset`]):
            Of one column, which is not decoded.
        number (`int`):
            Of the row.
    """

    def __init__(self, name: str, stamp: str, folder: Path, data: Dataset, number: int):
        super().__init__(name, stamp, folder)
        self.data, self.number = data, number

    def _write(self, path: Path) -> None:
        (video,) = self.data[self.number].values()
        write_bytes(path, video and video["bytes"], self.name)


class MissingVideo(HeldVideo):
    """A row that holds no video, and names none of its data set.

    Args:
        path (`str`, *optional*):
            What it names.
    """

    def __init__(self, name: str, stamp: str, folder: Path, path: str | None):
        super().__init__(name, stamp, folder)
        self.path = path

    def _write(self, path: Path) -> None:
        if self.path is None:
            raise NoVideoError(f"{self.name}: the data set holds no video there")
        raise NoVideoError(f"{self.name}: {self.path!r} is no file of the data set")


class HubVideo(HeldVideo):
    """A file of its own on the Hub, which tells the SHA-256 of large ones.

    Args:
        url (`str`):
            Of one commit: `hf://datasets/owner/name@commit/path`.
        digest (`str`, *optional*):
            The SHA-256.
    """

    def __init__(self, name: str, stamp: str, folder: Path, url: str, digest: str | None):
        super().__init__(name, stamp, folder)
        self.url, self.digest = url, digest

    def _write(self, path: Path) -> None:
        system, place = fsspec.core.url_to_fs(self.url)
        with system.open(place, "rb", block_size=0) as source:  # one request, from the first byte to the last
            digest = copy(source, path)
        if self.digest not in (None, digest):
            raise LostConnectionError(
                f"{self.name} came with other bytes than the Hub tells of: {digest[:12]}…, not {self.digest[:12]}…."
            )


class TarVideo(HeldVideo):
    """A member of a tar archive, which is read from its place on, and no more of it.

    Args:
        url (`str`):
            Of the archive.
        start, size (`int`):
            Where the member lies in it, and how many bytes it has.
    """

    def __init__(self, name: str, stamp: str, folder: Path, url: str, start: int, size: int):
        super().__init__(name, stamp, folder)
        self.url, self.start, self.size = url, start, size

    def _write(self, path: Path) -> None:
        system, place = fsspec.core.url_to_fs(self.url)
        with system.open(place, "rb", cache_type="none") as source:
            source.seek(self.start)
            copy(source, path, self.size)
        if path.stat().st_size < self.size:
            raise NoVideoError(f"{self.name}: the archive ends in the midst of it")


class ZipVideo(HeldVideo):
    """A member of a zip archive, which is read from its head on, and no more of it.

    Args:
        url (`str`):
            Of the archive.
        info (`zipfile.ZipInfo`):
            What the archive tells of it.
    """

    def __init__(self, name: str, stamp: str, folder: Path, url: str, info: zipfile.ZipInfo):
        super().__init__(name, stamp, folder)
        self.url, self.info = url, info

    def _write(self, path: Path) -> None:
        self._check()
        system, place = fsspec.core.url_to_fs(self.url)
        with system.open(place, "rb", cache_type="none") as source, open(path, "wb") as target:
            # Its name, and what else is told of it, stand between its head and what it holds.
            source.seek(self.info.header_offset)
            head = source.read(ZIP_HEAD.size)
            if len(head) < ZIP_HEAD.size or head[:4] != b"PK\3\4":
                raise NoVideoError(f"{self.name}: the archive has no such member in its place")
            source.seek(sum(ZIP_HEAD.unpack(head)[-2:]), os.SEEK_CUR)
            try:
                written = sum(map(target.write, self._unpacked(source)))
            except zlib.error as error:
                raise NoVideoError(f"{self.name}: the archive is damaged there ({error})") from error
        if written != self.info.file_size:
            raise NoVideoError(f"{self.name}: the archive holds {written} bytes of its {self.info.file_size}")

    def _check(self) -> None:
        if self.info.flag_bits & 1:
            raise NoVideoError(f"{self.name}: it is encrypted")
        if self.info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = self.info.compress_type
            raise NoVideoError(f"{self.name}: it is packed by method {method}; allowed are 0 and 8")

    def _unpacked(self, source) -> Iterator[bytes]:
        """Its bytes, never more than the archive tells of, nor than a video could be packed into what was read."""
        unpack = zlib.decompressobj(-zlib.MAX_WBITS) if self.info.compress_type == zipfile.ZIP_DEFLATED else None
        left, room = self.info.compress_size, self.info.file_size
        while room and not (unpack and unpack.eof) and (chunk := source.read(min(CHUNK, left))):
            left -= len(chunk)
            while chunk and room:
                piece = unpack.decompress(chunk, min(CHUNK, room)) if unpack else chunk[:room]
                chunk = unpack.unconsumed_tail if unpack else b""
                room -= len(piece)
                read = self.info.compress_size - left - len(chunk)
                if self.info.file_size - room > MOST_PACKED * read:
                    raise NoVideoError(
                        f"{self.name}: it is packed more tightly than a video can be; allowed are {MOST_PACKED} bytes "
                        "in one"
                    )
                yield piece


class ParquetVideo(HeldVideo):
    """A row of a Parquet file that holds the bytes of its video.

    Args:
        source ([`ParquetColumn`]):
            Reads it.
        url (`str`):
            Of the file.
        group, place (`int`):
            Number of the row group, and of the row in it.
    """

    def __init__(self, name: str, stamp: str, folder: Path, source: ParquetColumn, url: str, group: int, place: int):
        super().__init__(name, stamp, folder)
        self.source, self.url, self.group, self.place = source, url, group, place

    def _write(self, path: Path) -> None:
        try:
            content = self.source.read(self.url, self.group, self.place)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, HTTPError) or getattr(error, "errno", None) is not None:
                raise
            raise NoVideoError(f"{self.name}: the Parquet file is damaged ({error})") from error
        write_bytes(path, content, self.name)


class ParquetColumn:
    """The videos in a column of Parquet files, wherever these lie: read one after another, and not before they are
    wanted. Of a row group what lies before a video is read with it; other row groups are not touched.

    Args:
        column (`str`):
            Its name. It holds bytes, or bytes and a path.
    """

    def __init__(self, column: str):
        self.column = column
        self._footers = {}  # by URL
        self._lock, self._at, self._videos = threading.Lock(), None, None

    def list_videos(self, url: str, captions: str | None = None) -> Iterator[tuple[int, int, str | None, object]]:
        """Of each video its row group, its place there, its path if there is one, and what the column of captions
        holds, if that is named. No bytes of videos are read.

        Raises:
            ValueError: The file has no such columns, or the one of videos holds something else.
        """
        with self._open(url) as file:
            kind = self._check_columns(url, file.schema_arrow, captions)
            told = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
            columns = ([f"{self.column}.path"] if told else []) + ([captions] if captions else [])
            for group in range(file.num_row_groups):
                paths = said = [None] * file.metadata.row_group(group).num_rows
                table = file.read_row_group(group, columns=columns) if columns else None
                if told:
                    paths = [video and video["path"] for video in table[self.column].to_pylist()]
                if captions:
                    said = table[captions].to_pylist()
                yield from ((group, *row) for row in zip(range(len(paths)), paths, said, strict=True))

    def _check_columns(self, url: str, schema: pa.Schema, captions: str | None) -> pa.DataType:
        """The type of the column."""
        for name in filter(None, (self.column, captions)):
            if name not in schema.names:
                raise ValueError(f"{url} has no column {name!r}; its columns are {', '.join(schema.names)}.")
        kind = schema.field(self.column).type
        inside = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        if not (pa.types.is_binary(inside) or pa.types.is_large_binary(inside)):
            raise ValueError(
                f"Column {self.column!r} of {url} holds {kind}; allowed are bytes, or 'bytes' and 'path' together."
            )
        return kind

    def read(self, url: str, group: int, place: int) -> bytes | None:
        """The bytes of a video."""
        with self._lock:
            if self._at is None or self._at[:2] != (url, group) or self._at[2] > place:
                self._videos, self._at = self._read_group(url, group), (url, group, 0)
            before, self._at = self._at[2], None  # should it end here
            for _ in range(place - before):
                next(self._videos)
            video = next(self._videos)
            self._at = (url, group, place + 1)
        return video["bytes"] if isinstance(video, dict) else video

    def _read_group(self, url: str, group: int) -> Iterator:
        with self._open(url) as file:
            for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=[self.column]):
                yield from batch.column(0).to_pylist()

    @contextmanager
    def _open(self, url: str) -> Iterator[pq.ParquetFile]:
        """A file, of which only what is asked for is read, in pieces."""
        system, place = fsspec.core.url_to_fs(url)
        given = {"metadata": self._footers.get(url), "buffer_size": PIECE, "pre_buffer": False}
        with system.open(place, "rb", cache_type="none") as source, pq.ParquetFile(source, **given) as file:
            self._footers[url] = file.metadata
            yield file

    def __reduce__(self):
        return ParquetColumn, (self.column,)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Makes one sentence of what a line or a Hub refuses. What the system refuses goes through."""
    try:
        yield
    except (EntryNotFoundError, FileNotFoundError) as error:
        raise NoVideoError(f"{name}: the data set has no such file") from error
    except HTTPError as error:
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise LostConnectionError(
            f"{name} cannot be fetched ({reason}). What was described is kept: run the same command again to go on."
        ) from error


def write_bytes(path: Path, content: bytes | None, name: str) -> None:
    """Writes a video that is in memory."""
    if content is None:
        raise NoVideoError(f"{name}: the data set holds no video there")
    path.write_bytes(content)


def copy(source, path: Path, most: int | None = None) -> str:
    """Writes what a file holds, or so many bytes of it, to another one, and tells its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as target:
        while chunk := source.read(CHUNK if most is None else min(CHUNK, most)):
            target.write(chunk)
            digest.update(chunk)
            most = None if most is None else most - len(chunk)
    return digest.hexdigest()


def own_file(video: str | PathLike | HeldVideo) -> str | PathLike | HeldVideo:
    """A video's file, where it has one that stays."""
    return video.path if isinstance(video, FileVideo) else video


def fetch_all(videos: Mapping[str, str | PathLike | HeldVideo]) -> tuple[dict[str, str | PathLike], dict[str, str]]:
    """The files of videos by their ids, fetched where they lie in a data set; and why there are none of the others."""
    paths, missing = {}, {}
    for name, video in videos.items():
        try:
            paths[name] = video.fetch() if isinstance(video, HeldVideo) else video
        except NoVideoError as error:
            missing[name] = str(error)
    return paths, missing


def drop_all(videos: Iterable) -> None:
    """Removes the files of videos that lie in a data set; all others stay."""
    for video in videos:
        if isinstance(video, HeldVideo):
            video.drop()
