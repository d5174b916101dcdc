"""Features that exist already, in the files in which they are passed around, to rows: no video is needed for them.

    FOLDER/*.npy, .npz, .h5, .parquet ──► OUTPUT/features/*.parquet ──► as of a corpus of videos

Files come from strangers: nothing is unpickled, links inside HDF5 files are not followed, and a file that cannot be
read becomes a row with an `error`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from accelerate import PartialState
from accelerate.utils import tqdm
from datasets import Dataset

from ..codebook.feature_shards import read_shard
from ..codebook.whole_files import read_json, remove_unfinished, write_json, write_whole
from ..processing_videobert import VideoBertProcessor
from ..subtitles_videobert import find_subtitles, read_subtitles
from .build import own_codebook
from .describing import write_shard
from .feature_files import FeatureSource, read_features
from .ids import encode_rows
from .settings import SETTINGS_NAME


def build_feature_corpus(
    sources: Mapping[str, FeatureSource],
    processor: VideoBertProcessor,
    output_dir: str | PathLike,
    subtitles: Mapping[str, Path] | None = None,
    language: str | None = None,
    held_out_share: float | None = None,
    levels: int = 4,
    branches: int = 12,
    residual_codes: int = 1,
    levels_as_tokens: bool = False,
    seed: int = 0,
) -> Dataset:
    """Takes features through the rest of the way, to rows of sentences and visual ids.

    Run again with the same folder it does only what is missing, as [`build_corpus`].

    Args:
        sources (`Mapping[str, FeatureSource]`):
            Where the features are by video id, as of [`find_features`].
        processor ([`VideoBertProcessor`]):
            Says how long a clip is. Without a codebook, one is fitted and put into it.
        output_dir (`str` or `os.PathLike`):
            Gets `features/`, `ids/`, `rows/`, and `codebook/` where one is fitted.
        subtitles (`Mapping[str, Path]`, *optional*):
            By video id what is said; nothing is said in the other videos.
        language (`str`, *optional*):
            What the subtitles are likely written in, where their encoding is older than UTF-8.
        held_out_share, levels, branches, residual_codes, levels_as_tokens, seed:
            Of a codebook that is fitted, as of [`build_corpus`].

    Returns:
        [`datasets.Dataset`]: One row a video, in the order of `sources`; the `error` of a bad one says what is wrong.

    Raises:
        `ValueError`: The folder was begun with other features or clips, or there are no clips to fit.
    """
    output_dir = Path(output_dir)
    shards = output_dir / "features"
    import_features(sources, processor, shards, subtitles, language)
    if processor.codebook is None:
        fitting = {
            "levels": levels,
            "branches": branches,
            "residual_codes": residual_codes,
            "levels_as_tokens": levels_as_tokens,
            "held_out_share": held_out_share,
        }
        processor.add_codebook(own_codebook(output_dir / "codebook", shards, sources, fitting, seed, None))
    dataset = encode_rows(processor.codebook, shards, output_dir / "ids", sources)
    if PartialState().is_main_process:
        remove_unfinished(output_dir)
        write_whole(output_dir / "rows", dataset.save_to_disk)
    return dataset


def import_features(
    sources: Mapping[str, FeatureSource],
    processor: VideoBertProcessor,
    folder: str | PathLike,
    subtitles: Mapping[str, Path] | None = None,
    language: str | None = None,
) -> None:
    """Writes the shards of features of [`build_feature_corpus`]."""
    folder, clip_seconds, subtitles = Path(folder), processor.video_processor.clip_seconds, subtitles or {}
    width = check_feature_settings(folder, sources, processor, bool(subtitles))

    def describe(video_id: str) -> dict:
        features = read_features(sources[video_id], width)
        return describe_features(video_id, features, clip_seconds, subtitles.get(video_id), language)

    describe_into_shards(sources, describe, folder, clip_seconds)


def describe_features(
    video_id: str, features: np.ndarray, clip_seconds: float, subtitles: Path | None, language: str | None
) -> dict:
    """The row of a video of which there are features and, maybe, subtitles; what is wrong with either is its error."""
    problems, notes, sentences, duration = [], [], [], len(features) * clip_seconds
    if (bad := np.flatnonzero(~np.isfinite(features).all(1))).size:
        features = features[: bad[0]]
        problems.append(f"{video_id}: the feature of clip {bad[0]} holds NaN or infinity")
    if subtitles is not None:
        told = {"problems": problems, "notes": notes, "language": language}
        try:
            sentences = read_subtitles(subtitles, video_id, duration, **told)
        except ValueError as error:
            problems.append(str(error))
    told = {"error": "; ".join(problems) or None, "notes": "; ".join(notes) or None}
    return described_row(video_id, features, clip_seconds, duration, sentences, **told)


def described_row(
    video_id: str,
    features: np.ndarray,
    clip_seconds: float,
    duration: float | None,
    sentences: Sequence[Mapping] = (),
    error: str | None = None,
    notes: str | None = None,
) -> dict:
    """A row before its features are visual ids."""
    return {
        "video_id": video_id,
        "duration": duration,
        "clip_seconds": clip_seconds,
        "has_speech": bool(sentences),
        "sentences": list(sentences),
        "features": features,
        "error": error,
        "notes": notes,
    }


def describe_into_shards(
    names: Iterable[str], describe: Callable[[str], dict], folder: Path, clip_seconds: float, shard_size: int = 16
) -> None:
    """Describes what no shard of a folder holds without an error yet, `shard_size` to a new shard.

    Args:
        names (`Iterable[str]`):
            Of the rows.
        describe (`Callable`):
            Gives the row of a name, with `features`; what it raises becomes the row's `error`.
        folder (`Path`):
            Gets the shards.
        clip_seconds (`float`):
            Length of a clip.
        shard_size (`int`, *optional*, defaults to 16):
            Rows described, and lost by a crash, at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    tables = [read_shard(path, ["video_id", "error"]) for path in folder.glob("*.parquet")]
    tried = {row["video_id"]: row["error"] for table in tables for row in table.to_pylist()}
    good = {row["video_id"] for table in tables for row in table.to_pylist() if row["error"] is None}
    # Of several processes only the first tries again what failed: the others come when it has.
    again = PartialState().is_main_process
    todo = [name for name in names if name not in tried or (again and name not in good)]
    for start in tqdm(range(0, len(todo), shard_size), desc="Features", unit="shard", disable=not todo):
        described = []
        for name in todo[start : start + shard_size]:
            try:
                described.append(describe(name))
            except Exception as error:  # files come from strangers
                described.append(described_row(name, np.zeros((0, 1)), clip_seconds, None, error=f"{name}: {error}"))
        # What failed as it did before is known already.
        described = [row for row in described if row["error"] is None or row["error"] != tried.get(row["video_id"])]
        if described:
            content = repr([(row["video_id"], row["error"]) for row in described])
            write_shard(described, folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.parquet")


def check_feature_settings(
    folder: Path, sources: Mapping[str, FeatureSource], processor: VideoBertProcessor, subtitled: bool
) -> int:
    """Notes how wide features are and how long their clips, or makes sure that it is as before; returns the width.

    That is the codebook's, or the one that the folder was begun with, or the one that most of the videos have.
    """
    widths = Counter(source.shape[1] for source in sources.values() if source.error is None)
    if not widths:
        first = next(iter(sources.values())).error
        raise ValueError(f"None of {len(sources)} features can be read. The first: {first}")
    path = folder / SETTINGS_NAME
    before = read_json(path) if path.exists() else {}
    width = before.get("feature_size") or widths.most_common(1)[0][0]
    if processor.codebook is not None:
        width = processor.codebook.centroids([0]).shape[1]
    settings = {
        "backbone": None,
        "feature_size": width,
        "clip_seconds": processor.video_processor.clip_seconds,
        "subtitles": subtitled,
    }
    changes = [
        f"{name} {before.get(name)!r}, not with {value!r}"
        for name, value in settings.items()
        if before.get(name) != value
    ]
    if before and changes:
        raise ValueError(
            f"{folder} was begun with {', '.join(changes)}; ask for the same, or use another output folder."
        )
    if width not in widths:
        raise ValueError(
            f"The features are {', '.join(map(str, sorted(widths)))} wide, and those of the codebook {width}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)
    return width


def feature_subtitles(
    sources: Mapping[str, FeatureSource], source: str | PathLike | None = None, language: str = "en"
) -> dict[str, Path]:
    """What is said where there are features, as [`find_subtitles`] finds it for videos.

    Args:
        sources (`Mapping[str, FeatureSource]`):
            By video id.
        source (`str` or `os.PathLike`, *optional*):
            Where to look: beside the files of features, in a folder, or captions by video id (`.json`).
        language (`str`, *optional*, defaults to `"en"`):
            Which one is wanted.
    """
    videos = {name: one.path.parent / f"{Path(name).name}.mp4" for name, one in sources.items()}
    return find_subtitles(videos, source, language)
