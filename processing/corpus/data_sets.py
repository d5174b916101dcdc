"""Which videos there are in a data set: on disk, or on the Hub, of which no more than the list is read here."""

from __future__ import annotations

import hashlib
import os
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, DatasetBuilder, Features, Video, load_dataset_builder
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub.errors import HTTPError

from ..opening_videobert import leads_out_of
from .contents import stamp_of
from .held import (
    FileVideo,
    HeldVideo,
    HubVideo,
    LostConnectionError,
    MissingVideo,
    ParquetColumn,
    ParquetVideo,
    TableVideo,
    TarVideo,
    ZipVideo,
)
from .videos import VIDEO_ENDINGS, named_videos

ROWS = 100  # of a data set on disk, looked at together
LONGEST = 500  # characters of what a library says
ALLOWED = "allowed are videos, or the paths of their files"
HEADS = 2**16  # bytes of a request for a head in an archive


def dataset_videos(
    data: Dataset, folder: str | PathLike, column: str | None = None, captions: str | None = None
) -> dict[str, Path | HeldVideo]:
    """The videos of a data set on disk with a column of the type `datasets.Video`.

    Args:
        data ([`datasets.Dataset`]):
            Of one video a row.
        folder (`str` or `os.PathLike`):
            Gets the file of a video whose bytes are in the data set, as long as somebody works on it; other files stay
            where they lie.
        column (`str`, *optional*):
            The column; by default the first of that type.
        captions (`str`, *optional*):
            A column of what is said: lists of `{"text", "start", "end"}`.

    Returns:
        `dict`: Video by video id: of a file, its path below the folder that holds them all; of others, the row's
        number and the name that it tells. A row of nothing is among them, and becomes a row with an error.

    Raises:
        `ValueError`: There is no such column, it holds something else, or there is no row.
    """
    column, folder, rows = video_column(data.features, column), Path(folder), data._fingerprint
    videos: list[tuple[Path | None, Path | HeldVideo]] = []  # each with its path, if it has one
    said = [video_column(data.features, captions)] if captions else []
    try:
        data = data.select_columns([column, *said]).cast_column(column, Video(decode=False))
    except pa.ArrowException as error:
        raise ValueError(f"Column {column!r} holds {data.features[column]}; {ALLOWED}.") from error
    bare = data.select_columns(column)
    stamps = [stamp_of(file["filename"]) for file in data.cache_files] or uuid.uuid4().hex  # in memory, of today
    # The same files may hold other rows, a part of them or in another order, and other columns of videos.
    stamp = hashlib.sha256(repr([rows, column, stamps]).encode()).hexdigest()[:16]
    for number, (path, is_held, sentences) in enumerate(table_rows(data, column, captions)):
        if path and not is_held:
            file = Path(path).absolute()
            videos.append((file, file_video(file, sentences)))
        else:
            held = TableVideo(numbered(number, path), f"{stamp}-{number}", folder, bare, number)
            videos.append((None, with_captions(held, sentences)))
    if not videos:
        raise ValueError("The data set has no rows; at least one is needed.")
    top = Path(os.path.commonpath([path.parent for path, _ in videos if path] or ["."]))
    placed: dict[Path, Path | HeldVideo] = {}
    for path, video in videos:
        place = path or top / video.name
        placed[place] = with_rows_before(video, placed.get(place))
    return {name: placed[path] for name, path in named_videos(top, [*placed]).items()}


def table_rows(data: Dataset, column: str, captions: str | None) -> Iterator[tuple[str | None, bool, object]]:
    """Of each row the path, whether the video's bytes are there, which are not read, and what is said."""
    for table in data.with_format("arrow").iter(ROWS):
        videos = table[column]
        held = pc.is_valid(pc.struct_field(videos, "bytes")).to_pylist()
        said = table[captions].to_pylist() if captions else [None] * len(held)
        yield from zip(pc.struct_field(videos, "path").to_pylist(), held, said, strict=True)


def file_video(path: Path, said: object) -> Path | HeldVideo:
    """A file on this machine, and with it what is said, where the data set tells it."""
    return path if said is None else with_captions(FileVideo(path), said)


def with_captions(video: HeldVideo, said: object) -> HeldVideo:
    """A video of which it is known what is said, as rows tell it: a list of sentences, or columns of them. A text is
    no such list, and never the name of a file."""
    if isinstance(said, dict):
        said = [dict(zip(said, values, strict=False)) for values in zip(*said.values(), strict=False)]
    if said is not None:
        video.captions = said if isinstance(said, list) else [said]
    return video


def with_rows_before(video: Path | HeldVideo, before: Path | HeldVideo | None) -> Path | HeldVideo:
    """A file that several rows name is one video, in which what each of them tells is said."""
    if not isinstance(before, HeldVideo) or before.captions is None:
        return video
    if isinstance(video, HeldVideo):
        before.captions += [one for one in video.captions or [] if one not in before.captions]
    return before


def video_column(features: dict | None, column: str | None) -> str:
    """The column that is named, or the first of videos.

    Raises:
        `ValueError`: There is none; the message tells which columns there are.
    """
    features = features or {}
    found = column or next((name for name, kind in features.items() if isinstance(kind, Video)), None)
    if found not in features:
        wanted = f"column {column!r}" if column else "column of videos"
        raise ValueError(f"The data set has no {wanted}; its columns are {', '.join(features)}.")
    return found


def streamed_videos(
    name: str,
    folder: str | PathLike,
    split: str = "train",
    column: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    captions: str | None = None,
) -> dict[str, Path | HeldVideo]:
    """The videos of a data set on the Hub, none of which is downloaded before somebody works on it.

    Args:
        name (`str`):
            `owner/name`, or a folder in the form of such a data set: of files, Parquet, or tar or zip archives.
        folder (`str` or `os.PathLike`):
            Gets the file of a video as long as somebody works on it.
        split (`str`, *optional*, defaults to `"train"`):
            Which of its splits.
        column (`str`, *optional*):
            The column of videos, or of their bytes; by default the first of the type `datasets.Video`.
        config (`str`, *optional*):
            Which of its configurations, if there are several.
        revision (`str`, *optional*):
            Branch, tag or commit.
        captions (`str`, *optional*):
            A column of what is said: lists of `{"text", "start", "end"}`.

    Returns:
        `dict`: Video by video id, in order: of a file, or a member of a zip archive, its path in the data set without
        its ending, as of a folder; of others the row's number and the name that it tells.

    Raises:
        `ValueError`: There is no such data set, split or column, it holds no video, or it is of a form of which single
            videos cannot be read.
        `LostConnectionError`: The Hub cannot be reached.
    """
    try:
        builder = open_builder(name, config, revision)
        splits = builder.config.data_files or {}
        if split not in splits:
            raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(map(str, splits))}.")
        videos = Listing(builder, split, Path(folder), column, captions).list_videos()
    except (DatasetsError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, pa.ArrowInvalid) as error:
        raise ValueError(f"{name} cannot be opened as a data set: {in_one_line(error)}") from error
    except (HTTPError, ConnectionError) as error:
        raise LostConnectionError(f"{name} cannot be reached: {in_one_line(error)}") from error
    if not videos:
        raise ValueError(f"Split {split!r} of {name} holds no video.")
    names = named_videos(Path(), [Path(one) for one in videos])
    return dict(zip(names, videos.values(), strict=True))


def open_builder(name: str, config: str | None, revision: str | None) -> DatasetBuilder:
    """What knows the files of a data set.

    Raises:
        `ValueError`: There is none that can be opened so.
    """
    try:
        return load_dataset_builder(name, config, revision=revision)
    except (ValueError, FileNotFoundError) as error:  # no such configuration, or several; no such folder
        raise ValueError(f"{name} cannot be opened as a data set: {in_one_line(error)}") from error


class Listing:
    """What a data set that can be streamed holds: the places of its videos.

    Args:
        builder ([`datasets.DatasetBuilder`]):
            Of the data set.
        split (`str`):
            Which of its splits.
        folder (`Path`):
            Gets the files of videos.
        column, captions (`str`, *optional*):
            The columns of videos, and of what is said in them.
    """

    def __init__(
        self, builder: DatasetBuilder, split: str, folder: Path, column: str | None, captions: str | None = None
    ):
        self.builder, self.split, self.folder, self.column, self.captions = builder, split, folder, column, captions
        self.urls, self.root = builder.config.data_files[split], str(builder.base_path).rstrip("/")
        if "://" not in self.root:
            self.root = str(Path(self.root).resolve())
        self._members: dict[str, dict[str, zipfile.ZipInfo]] = {}  # by archive, by name

    def list_videos(self) -> dict[str, Path | HeldVideo]:
        """By name, from which the video id is made."""
        kinds = {Parquet: self._list_parquet, WebDataset: self._list_tar}
        return next((listed for kind, listed in kinds.items() if isinstance(self.builder, kind)), self._list_files)()

    def _list_parquet(self) -> dict[str, Path | HeldVideo]:
        """Rows of Parquet files. One that names a file of the data set is that file."""
        features = self.builder.info.features or features_of_parquet(self.urls[0])
        source, found, number = ParquetColumn(video_column(features, self.column)), {}, 0
        captions = video_column(features, self.captions) if self.captions else None
        for url in self.urls:
            stamp = f"{stamp_of_url(url)[0]}-{source.column}"
            for group, place, path, said in source.list_videos(url, captions):
                if path and self._is_inside(path):
                    inside = self._place_of(path)
                    found[inside] = with_rows_before(self._file(path, said), found.get(inside))
                else:
                    where = f"{self._place_of(url)}, row group {group}, row {place}"
                    video = ParquetVideo(where, f"{stamp}-{group}-{place}", self.folder, source, url, group, place)
                    found[numbered(number, path)] = with_captions(video, said)
                number += 1
        return found

    def _list_tar(self) -> dict[str, Path | HeldVideo]:
        """Members of tar archives that are called videos, or have the ending that is asked for: from their heads."""
        if self.captions:
            raise ValueError(f"Archives have no columns; the captions {self.captions!r} cannot be read.")
        endings, found = VIDEO_ENDINGS if self.column is None else {f".{self.column.lower()}"}, {}
        for url in self.urls:
            stamp, _ = stamp_of_url(url)
            system, path = fsspec.core.url_to_fs(url)
            with system.open(path, "rb", block_size=HEADS) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.isfile() and Path(member.name).suffix.lower() in endings:
                        where, begin = f"{self._place_of(url)}, {member.name}", member.offset_data
                        video = TarVideo(where, f"{stamp}-{begin}", self.folder, url, begin, member.size)
                        found[numbered(len(found), member.name)] = video
        return found

    def _list_files(self) -> dict[str, Path | HeldVideo]:
        """Files that rows of any other form name, such as those of a folder with a table beside them."""
        data, found = self.builder.as_streaming_dataset(split=self.split), {}
        column = self.column
        if data.features is not None:
            column = video_column(data.features, column)
            video_column(data.features, self.captions or column)
            data = data.decode(False)
        elif column is None:
            raise ValueError("The data set does not tell the types of its columns; name the one of its videos.")
        for number, row in enumerate(data):
            said = row[video_column(row, self.captions)] if self.captions else None
            video = row[video_column(row, column)]
            if not isinstance(video, str | dict | None):
                raise ValueError(f"Row {number} has {video!r:.80} in column {column!r}; {ALLOWED}.")
            video = {"path": video} if isinstance(video, str) else video or {}
            path, content = video.get("path"), video.get("bytes")
            if content is not None:
                form = type(self.builder).__module__.rpartition(".")[2]
                raise ValueError(
                    f"The data set holds videos in a form ({form}) of which single ones cannot be read; allowed are "
                    "files, Parquet, and archives."
                )
            place, held = self._look_for(path, said) if path else (None, None)
            if held is None:
                found[numbered(number, path)] = MissingVideo(f"row {number}", str(path), self.folder, path)
            else:
                found[place] = with_rows_before(held, found.get(place))
        return found

    def _look_for(self, path: str, said: object) -> tuple[str, Path | HeldVideo | None]:
        """Place and file of what a row names, from the folder of the data set on, if that is the name of a file of it,
        or of a member of one of its zip archives."""
        try:
            if path.startswith("zip://"):
                member, _, archive = path.removeprefix("zip://").partition("::")
                return f"{self._place_of(archive)}/{member}", self._member(archive, member, said)
            if "://" not in path and "://" in self.root:
                path = f"{self.root}/{os.path.normpath(path)}"
            elif "://" not in path:
                path = os.path.normpath(os.path.join(self.root, path))
            if path != self.root and self._is_inside(path):
                return self._place_of(path), self._file(path, said)
        except (FileNotFoundError, ValueError, RuntimeError):  # of names that no file can have, or links to themselves
            pass
        except OSError:
            if "://" in self.root:  # the Hub cannot be reached
                raise
        return path, None

    def _member(self, archive: str, member: str, said: object) -> HeldVideo | None:
        """Of a zip archive, whose list of members is read once."""
        if archive not in self._members and self._is_inside(archive):
            self._members[archive] = zip_members(archive)
        info = self._members.get(archive, {}).get(member)
        if info is None:
            return None
        where, (stamp, _) = f"{self._place_of(archive)}, {member}", stamp_of_url(archive)
        return with_captions(ZipVideo(where, f"{stamp}-{info.header_offset}", self.folder, archive, info), said)

    def _is_inside(self, url: str) -> bool:
        """Whether a path that a row tells is that of a file of the data set: a row may not choose another one."""
        if "://" in self.root:
            return url.startswith(f"{self.root}/") and ".." not in url.split("/") and "::" not in url
        return Path(url).is_absolute() and Path(url).is_relative_to(self.root) and not leads_out_of(url, self.root)

    def _place_of(self, url: str) -> str:
        return url.removeprefix(f"{self.root}/")

    def _file(self, url: str, said: object) -> Path | HeldVideo:
        if "://" not in url:
            return file_video(Path(url), said)
        stamp, digest = stamp_of_url(url)
        return with_captions(HubVideo(self._place_of(url), stamp, self.folder, url, digest), said)


def zip_members(url: str) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip archive by name, without those that would lie outside of it, or in one another."""
    system, path = fsspec.core.url_to_fs(url)
    try:
        with system.open(path, "rb", block_size=HEADS) as file, zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            ends = [member.header_offset for member in members[1:]] + [archive.start_dir]
    except (zipfile.BadZipFile, NotImplementedError):
        return {}
    return {
        member.filename: member
        for member, end in zip(members, ends, strict=True)
        if 0 <= member.header_offset <= end - member.compress_size
    }


def features_of_parquet(url: str) -> Features:
    """The columns of a Parquet file."""
    system, path = fsspec.core.url_to_fs(url)
    with system.open(path, "rb", cache_type="none") as file:
        return Features.from_arrow_schema(pq.read_schema(file))


def numbered(number: int, path: str | None) -> str:
    """What a video is called that has no file of its own."""
    return f"{number:06d}_{Path(path or 'video.mp4').name or 'video.mp4'}"


def stamp_of_url(url: str) -> tuple[str, str | None]:
    """What changes with a file, and the SHA-256 of its bytes where the Hub tells it."""
    system, path = fsspec.core.url_to_fs(url)
    told = system.info(path)
    if "blob_id" not in told:
        return str(stamp_of(path)), None
    return told["blob_id"], told["lfs"] and told["lfs"]["sha256"]


def in_one_line(error: Exception) -> str:
    """What a library says, without the advice at its end."""
    return " ".join(str(error).partition("Example of usage")[0].split())[:LONGEST] or type(error).__name__
