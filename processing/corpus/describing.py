"""Videos to shards of sentences and features: the expensive half of a corpus, which goes on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import tqdm
from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from ..codebook.whole_files import only_one, remove_unfinished, write_whole
from ..description_videobert import PICTURES, SPEECH, UNFORESEEN
from ..names_videobert import SettingsError
from ..processing_videobert import VideoBertProcessor
from .contents import Contents, gone
from .held import HeldVideo, drop_all, fetch_all
from .isolation import DEADLINE, Child, EndedError, Here, RaisedError, closing_all, make_describers, share_out
from .rows import DESCRIPTION, NOTED
from .settings import SETTINGS_NAME, check_settings
from .share import WHOLE, Share
from .summary import Stage

logger = logging.get_logger(__name__)


def extract_features(
    videos: Mapping[str, Path | HeldVideo],
    processor: VideoBertProcessor,
    folder: str | PathLike,
    shard_size: int = 16,
    subtitles: Mapping[str, Path] | None = None,
    num_workers: int = 1,
    deadline: float = DEADLINE,
    memory: float | None = None,
    retry_errors: bool = False,
    share: Share = WHOLE,
    again: bool = True,
) -> dict[str, Stage]:
    """Describes the videos of whose content no shard of the folder holds a row yet, `shard_size` to a new shard.

    A shard is named after what is in it, so several processes may fill one folder with different videos.

    Args:
        videos (`Mapping[str, Path]`):
            Path by video id, or what a data set holds: see [`streamed_videos`].
        processor ([`VideoBertProcessor`]):
            With `asr_model` and `backbone`.
        folder (`str` or `os.PathLike`):
            Gets the shards and `settings.json`, how they were made.
        shard_size (`int`, *optional*, defaults to 16):
            Videos described, and lost by a crash, at a time.
        subtitles (`Mapping[str, Path]`, *optional*):
            By video id what is said; the other videos are heard.
        num_workers (`int`, *optional*, defaults to 1):
            Processes that describe videos, each with networks of its own; see [`build_corpus`].
        deadline (`float`, *optional*, defaults to 600):
            Seconds without any progress after which such a process is ended.
        memory (`float`, *optional*):
            GiB after which it is ended.
        retry_errors (`bool`, *optional*, defaults to `False`):
            Whether all rows with an error are made again, and not only those whose error may be another one.
        share ([`Share`], *optional*):
            Of the lots, where several tasks fill the folder; by default all of them.
        again (`bool`, *optional*, defaults to `True`):
            Whether anything that has an error is tried again.

    Returns:
        `dict[str, Stage]`: What was done of `"pictures"` and `"speech"`.

    Raises:
        `ValueError`: The folder was begun with other settings, a shard is damaged, or the videos are taken away.
    """
    folder, subtitled = Path(folder), subtitles or {}
    folder.mkdir(parents=True, exist_ok=True)
    if share == WHOLE:  # other machines may be writing there, and not every file system tells of it
        remove_unfinished(folder)
    describers = make_describers(processor, num_workers, deadline, memory)
    with only_one(folder, wait=True):
        check_settings(folder, processor, subtitles)
    contents, clip_seconds, seconds = Contents(folder), processor.video_processor.clip_seconds, 0.0

    def work(describer, names):
        return names, describe_fetched(describer, {name: videos[name] for name in names}, subtitled, clip_seconds)

    with ExitStack() as end:
        # After all who may be fetching one.
        end.callback(drop_all, videos.values())
        bar = end.enter_context(tqdm(total=len(videos), desc="Videos", unit="video"))
        pool = end.enter_context(closing_all(describers))
        for describer in describers:
            describer.on_beat = bar.set_postfix_str
        queue = Queue(videos, subtitled, contents, shard_size, retry_errors, bar.update, share, again)
        try:
            for lots in (queue.new(), queue.others()):
                for names, (described, failures) in share_out(lots, describers, work, pool):
                    # What befalls every one of several videos that were never seen is no fault of theirs.
                    if len(failures) == len(names) > 1 and not queue.again & set(names):
                        raise failures[0]
                    queue.check_still_there(names)
                    seconds += sum(row["duration"] or 0.0 for row in described)
                    for row in described:
                        name = row["video_id"]
                        contents.note_on(row, videos[name], subtitled.get(name))
                        row["again"] = row.get("again", UNFORESEEN in (row["error"] or ""))
                    described = [row for row in described if not contents.holds(row)]
                    if described:
                        content = repr([(row["video_id"], row["error"], row["content"]) for row in described])
                        write_shard(described, folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.parquet")
                    for row in described:
                        contents.add(row)
                    drop_all(videos[name] for name in names)
                    bar.update(len(names))
        except SettingsError:
            # They may be corrected as long as nothing was described, by nobody.
            if share == WHOLE and not any(folder.glob("*.parquet")):
                (folder / SETTINGS_NAME).unlink(missing_ok=True)
            raise
    contents.save()

    def add_up(kind: str, stage: str) -> float:
        return sum(getattr(describer, kind).get(stage, 0.0) for describer in describers)

    return {stage: Stage(add_up("seconds", stage), seconds, add_up("waited", stage)) for stage in (PICTURES, SPEECH)}


class Queue:
    """The videos that are still to be described, in lots: the same ones, whenever a run was killed.

    Args:
        videos (`Mapping[str, Path]`):
            Path by video id.
        subtitles (`Mapping[str, Path]`):
            By video id what is said.
        contents ([`Contents`]):
            What was described.
        shard_size (`int`):
            Videos of a lot.
        retry_errors (`bool`):
            Whether whatever has an error is tried again.
        passed (`Callable[[int], object]`):
            Gets the number of videos that need no work.
        share ([`Share`], *optional*):
            Which of the lots are wanted: these hang on the videos, and not on who asks.
        try_again (`bool`, *optional*, defaults to `True`):
            Whether what failed is.

    Attributes:
        again (`set[str]`):
            Videos that were tried before.
    """

    def __init__(
        self,
        videos,
        subtitles,
        contents: Contents,
        shard_size: int,
        retry_errors: bool,
        passed,
        share: Share = WHOLE,
        try_again: bool = True,
    ):
        self.videos, self.subtitles, self.contents = videos, subtitles, contents
        self.shard_size, self.retry_errors, self.passed = shard_size, retry_errors, passed
        self.share, self.try_again = share, try_again
        self.again, self._twins, self._there = set(), [], set()
        self._numbers = {name: number // shard_size for number, name in enumerate(videos)}
        # Tasks that do not know which videos are copies fill no lot up with the next one's, or they would not agree.
        self._agree = share == WHOLE or all(contents.is_known(name, video) for name, video in videos.items())

    def new(self) -> Iterator[list[str]]:
        """Lots of videos that were never tried."""
        for lot in self._all_new():
            # By its place among all videos, which stays, whatever others have described meanwhile.
            if self.share.holds(self._numbers[lot[0]]):
                for name in lot:
                    if self.contents.content(name) is None:  # not fetched yet, as that of another task
                        self._look_at(name)
                yield lot
            else:
                self._pass(*lot)

    def _all_new(self) -> Iterator[list[str]]:
        lot, begun = [], set()
        for name in self.videos:
            # What a data set holds of other tasks' is not fetched only to see whether it is a copy.
            self._look_at(name, fetch=self.share.holds(self._numbers[name]))
            content = self.contents.content(name)
            if content is not None:
                self._there.add(name)
            if self.contents.is_described(name, self.retry_errors):
                self._pass(name)
            elif self.contents.was_tried(name):
                self.again.add(name)
                drop_all([self.videos[name]])
            elif content in begun:
                self._twins.append(name)
                drop_all([self.videos[name]])
            else:
                if lot and not self._agree and self._numbers[lot[0]] != self._numbers[name]:
                    yield lot
                    lot = []
                lot.append(name)
                if len(lot) == self.shard_size:
                    yield lot
                    lot = []
            begun |= {content} - {None}
        if lot:
            yield lot

    def _look_at(self, name: str, fetch: bool = True) -> None:
        self.contents.look_at(name, self.videos[name], self.subtitles.get(name), fetch)

    def _pass(self, *names: str) -> None:
        """These need no work here."""
        drop_all(self.videos[name] for name in names)
        self.passed(len(names))

    def others(self) -> Iterator[list[str]]:
        """Lots of those that failed, which must not hold up the rest, and of copies of videos that did."""
        # Whether a copy is needed is known when all lots are described.
        twins = [name for name in self._twins if self.share == WHOLE and not self.contents.is_described(name)]
        self.passed(len(self._twins) - len(twins))
        # Of several processes only the first tries again what failed: the others come when it has.
        again = self.again if self.try_again and PartialState().is_main_process else ()
        names = [name for name in self.videos if name in again and self.share.holds(self._numbers[name])] + twins
        for start in range(0, len(names), self.shard_size):
            yield names[start : start + self.shard_size]

    def check_still_there(self, names: list[str]) -> None:
        """Makes sure that the files of a lot were not all taken away while it was described."""
        if len(names) > 1 and self._there.issuperset(names) and gone(self.videos[name] for name in names):
            raise ValueError(
                f"None of {len(names)} videos is there any longer, such as {self.videos[names[0]]}. Bring back their "
                "disk or folder; what was described is kept."
            )


def describe_fetched(
    describer: Here | Child,
    videos: Mapping[str, Path | HeldVideo],
    subtitles: Mapping[str, Path],
    clip_seconds: float,
) -> tuple[list[dict], list[Exception]]:
    """Describes a lot, as [`describe_lot`] does, of which some may lie in a data set. What that does not hold is an
    `error` of its row; in that of others the video's id stands for the file that it was for a while."""
    paths, missing = fetch_all(videos)
    rows, failures = describe_lot(describer, paths, subtitles, clip_seconds) if paths else ([], [])
    for row in rows:
        name = row["video_id"]
        if isinstance(videos[name], HeldVideo):
            for told in ("error", "notes"):
                row[told] = row[told] and row[told].replace(str(paths[name]), name)
    for name, reason in missing.items():
        reason = reason.removeprefix(f"{videos[name].name}: ")
        logger.error(f"{name} cannot be described: {reason}.")
        # What a Hub does not send now it may send again; what is not there stays so.
        rows.append(failed_row(name, reason, clip_seconds) | {"again": videos[name].digest is not None})
    place = {name: number for number, name in enumerate(videos)}
    return sorted(rows, key=lambda row: place[row["video_id"]]), failures


def describe_lot(
    describer: Here | Child, videos: Mapping[str, Path], subtitles: Mapping[str, Path], clip_seconds: float
) -> tuple[list[dict], list[Exception]]:
    """Describes some videos together or, where that fails, one by one.

    Args:
        describer ([`Here`] or [`Child`]):
            Describes them.
        videos (`Mapping[str, Path]`):
            Path by video id.
        subtitles (`Mapping[str, Path]`):
            By video id what is said, of those that are not heard.
        clip_seconds (`float`):
            For the rows of those that cannot be described.

    Returns:
        `tuple`: Their rows, and what was raised by those that could not be described: an `error` of their row, and
        with its traceback in the log. That a process had to be ended is an `error` only.
    """
    names, paths, said = [*videos], [*videos.values()], [subtitles.get(name) for name in videos]
    try:
        return describer.describe(paths, names, said), []
    except SettingsError:  # which videos without sound, say, would not meet
        raise
    except EndedError as error:
        if len(names) == 1:
            logger.error(f"{names[0]} cannot be described: the process that described it {error}.")
            return [failed_row(names[0], f"the process that described it {error}", clip_seconds)], []
        logger.warning(
            f"The process that described {len(names)} videos {error}; they are described one by one, to find which of "
            "them it was."
        )
    except Exception as error:
        if len(names) == 1:
            trace = getattr(error, "traceback", None)  # of another process
            logger.error(f"{names[0]} cannot be described.{trace and f' {trace}' or ''}", exc_info=trace is None)
            reason = str(error) if isinstance(error, RaisedError) else f"{type(error).__name__}: {error}"
            return [failed_row(names[0], reason, clip_seconds)], [error]
        logger.warning(f"{len(names)} videos cannot be described together ({error}); they are described one by one.")
    rows, failures = [], []
    for name, path in videos.items():
        described, failed = describe_lot(describer, {name: path}, subtitles, clip_seconds)
        rows += described
        failures += failed
    return rows, failures


def failed_row(video_id: str, reason: str, clip_seconds: float) -> dict:
    """The row of a video of which nothing could be described."""
    return {
        "video_id": video_id,
        "duration": None,
        "clip_seconds": clip_seconds,
        "has_speech": False,
        "sentences": [],
        "features": np.zeros((0, 1)),
        "error": f"{video_id}: {reason}",
        "notes": None,
        "again": True,
    }


def write_shard(described: list[dict], path: Path) -> None:
    """Writes rows with their features, whole or not at all."""
    features = Features({**DESCRIPTION, **NOTED, "features": List(List(Value("float16")))})
    columns = {name: [] for name in features}
    for row in map(halved, described):
        for name, column in columns.items():
            column.append(row[name] if name == "features" else as_utf8(row.get(name)))
    table = Dataset.from_dict(columns, features=features)
    write_whole(path, lambda unfinished: table.to_parquet(unfinished, write_page_checksum=True))


def halved(row: dict) -> dict:
    """A row with its features in float16, up to the first that is too large for it, which is an error of the row."""
    with np.errstate(over="ignore"):
        half = np.asarray(row["features"], dtype=np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(-1))
    if not len(bad):
        return {**row, "features": list(half)}
    problem = (
        f"{row['video_id']}: the feature of clip {bad[0]} has values that float16 cannot hold (65504 at the most)"
    )
    error = problem if row["error"] is None else f"{row['error']}; {problem}"
    return {**row, "features": list(half[: bad[0]]), "error": error}


def as_utf8(value: Any) -> Any:
    """A value whose text UTF-8 can hold: file names that are not in it come with surrogates, which are spelled out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [as_utf8(one) for one in value]
    if isinstance(value, dict):
        return {name: as_utf8(one) for name, one in value.items()}
    return value
