"""Where the videos of a protocol are, as rows, videos, features, frames or a Hub data set, and what is missing.

However the data are held, they become segments: the steps of an annotation file with their visual ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import pyarrow.parquet as pq

from ...codes_videobert import clips_of, join_clips
from ...corpus import build_corpus, build_feature_corpus, check_rows, find_features, find_videos, read_rows
from ...corpus.stills import INDEX, encode_stills, find_stills
from ...corpus.videos import VIDEO_ENDINGS
from ...training_data.segments import ids_between
from .steps import video_ids_of

YOUTUBE_ID = 11  # characters


@dataclass
class Source:
    """What is there of the videos of a protocol.

    Args:
        rows (`list[dict]`):
            One a video. Where only frames are left, there are none.
        segments (`list[dict]`):
            The steps of the videos that are there, with `visual_ids`.
        missing (`dict[str, str]`):
            By video id why it is not there.
    """

    rows: list[dict]
    segments: list[dict]
    missing: dict[str, str] = field(default_factory=dict)


def gather_source(data: str, processor, steps: Sequence[Mapping], work: Path, split: str | None = None) -> Source:
    """The steps of a protocol with the visual ids of their clips.

    Args:
        data (`str`):
            A folder of frames with an index ([`find_stills`]), rows ([`read_rows`]), a folder of videos
            ([`find_videos`]) or of features ([`find_features`]), or the id of a Hub data set of rows. Videos are known
            by their id in the file's name.
        processor ([`VideoBertProcessor`]):
            With a codebook; for videos and frames with the backbone, too. Nothing is heard.
        steps (`Sequence[Mapping]`):
            As of [`make_step`].
        work (`Path`):
            Where features and ids are kept; run again, only what is missing is done.
        split (`str`, *optional*):
            Of a Hub data set; by default all of them.

    Returns:
        [`Source`]

    Raises:
        `ValueError`: There is nothing of all that, or it was made with another codebook or other clips.
    """
    folder, wanted = Path(data), video_ids_of(steps)
    work.mkdir(parents=True, exist_ok=True)
    if (folder / INDEX).is_file():
        stills = {video_id: some for video_id, some in find_stills(folder).items() if video_id in set(wanted)}
        rows = encode_stills(stills, processor, work / "frames").to_list()
        return Source([], steps_of_stills(rows, stills, steps), missing_videos(wanted, rows))
    rows = [*read_folder(folder, processor, wanted, work)] if folder.exists() else hub_rows(data, split)
    rows = with_ids_of(rows, wanted)
    if rows:
        check_rows(rows, processor)
    return Source(rows, steps_of_rows(rows, steps), missing_videos(wanted, rows))


def read_folder(folder: Path, processor, wanted: Sequence[str], work: Path) -> Iterable[dict]:
    """Rows of whatever a folder, or a file of rows, holds."""
    if holds_rows(folder):
        return read_rows(folder)
    if any(path.suffix.lower() in VIDEO_ENDINGS for path in folder.rglob("*")):
        videos = match_ids(find_videos(folder), wanted)
        silence = work / "silence.json"
        silence.write_text("[]")
        silent = dict.fromkeys(videos, silence)
        return build_corpus(videos, processor, work / "corpus", subtitles=silent) if videos else []
    sources = match_ids(find_features(folder), wanted)
    return build_feature_corpus(sources, processor, work / "corpus") if sources else []


def holds_rows(path: Path) -> bool:
    """Whether there are rows, and not only features."""
    if (path / "dataset_info.json").is_file():
        return True
    files = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    return bool(files) and "visual_ids" in pq.read_schema(files[0]).names


def hub_rows(name: str, split: str | None) -> list[dict]:
    """Rows of a Hub data set.

    Raises:
        `ValueError`: There is no such data set, or it holds no rows.
    """
    try:
        found = datasets.load_dataset(name, split=split)
    except Exception as error:
        raise ValueError(f"{name} is neither a folder nor a data set that can be loaded ({error})") from error
    parts = list(found.values()) if isinstance(found, Mapping) else [found]
    if lacking := [part.column_names for part in parts if "visual_ids" not in part.column_names]:
        raise ValueError(
            f"{name} holds {', '.join(lacking[0])} and no visual_ids; give rows that build_corpus wrote, or a folder "
            "of its videos."
        )
    return [row for part in parts for row in part]


def match_ids(found: Mapping[str, object], wanted: Iterable[str]) -> dict[str, object]:
    """Of what was found what is wanted, by the ids of the annotations: `205/v_FHvZgt3ExDI` is `FHvZgt3ExDI`."""
    wanted, matched = set(wanted), {}
    for name, one in found.items():
        own = Path(name).name
        for video_id in (name, own, own[-YOUTUBE_ID:]):
            if video_id in wanted:
                matched.setdefault(video_id, one)
                break
    return matched


def with_ids_of(rows: Iterable[Mapping], wanted: Iterable[str]) -> list[dict]:
    """The rows that are wanted, under the ids of the annotations."""
    matched = match_ids({row["video_id"]: row for row in rows}, wanted)
    return [{**row, "video_id": video_id} for video_id, row in matched.items()]


def missing_videos(wanted: Iterable[str], rows: Iterable[Mapping]) -> dict[str, str]:
    """By video id why nothing of it can be asked."""
    rows = {row["video_id"]: row for row in rows}
    return {
        video_id: rows[video_id]["error"] or "it has no clips" if video_id in rows else "it is not there"
        for video_id in wanted
        if video_id not in rows or not len(rows[video_id]["visual_ids"])
    }


def steps_of_rows(rows: Iterable[Mapping], steps: Iterable[Mapping]) -> list[dict]:
    """The steps of the videos that have clips, each with those whose middle lies in it, which may be none."""
    rows, segments = {row["video_id"]: row for row in rows if len(row["visual_ids"])}, []
    for step in steps:
        if (row := rows.get(step["video_id"])) is not None:
            segments.append({**step, "visual_ids": ids_between(row, step["start"], step["end"])})
    return segments


def steps_of_stills(rows: Iterable[Mapping], stills: Mapping, steps: Iterable[Mapping]) -> list[dict]:
    """The steps that stills stand for: a still is shown for the steps that hold the middle of its stretch."""
    rows, segments = {row["video_id"]: row for row in rows}, []
    for step in steps:
        row = rows.get(step["video_id"])
        if row is None or not len(row["visual_ids"]):
            continue
        middles = [(still.start + still.end) / 2 for still in stills[step["video_id"]]]
        inside = [step["start"] <= middle < step["end"] for middle in middles]
        if any(inside):
            clips = clips_of(row)
            ids = join_clips(one for one, shown in zip(clips, inside, strict=True) if shown)
            segments.append({**step, "visual_ids": ids})
    return segments


def write_missing(missing: Mapping[str, str], path: Path) -> None:
    """A line a video that was not there, with the reason."""
    lines = [json.dumps({"video_id": video_id, "reason": reason}) for video_id, reason in missing.items()]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
