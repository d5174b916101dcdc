"""Many videos to one Hugging Face Dataset of rows: shards, resume, and an error column instead of lost videos.

    videos ──(speech, clips, backbone)──► OUTPUT/features/*.parquet ──(codebook)──► OUTPUT/rows, a saved Dataset

The expensive first half is written shard by shard, so a killed run goes on where it stopped and the codebook can be
fitted, or fitted again, at any time. The second half takes seconds.
"""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from accelerate import PartialState
from accelerate.utils import tqdm
from datasets import Dataset, Features, List, Value, load_dataset

from .codebook_fitting import fit_codebook, save_whole
from .codebook_videobert import VisualCodebook
from .feature_shards import FeatureShards
from .processing_videobert import named_model

VIDEO_ENDINGS = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"}
SENTENCES = List({"text": Value("string"), "start": Value("float64"), "end": Value("float64")})
DESCRIPTION = {
    "video_id": Value("string"),
    "duration": Value("float64"),
    "has_speech": Value("bool"),
    "sentences": SENTENCES,
    "error": Value("string"),
}
CLIPS_IN_MEMORY = 2**18  # a codebook of more is fitted from the shards: this many 1024-wide features take half a GB
ROW_FEATURES = Features({**DESCRIPTION, "visual_ids": List(Value("int32"))})


def find_videos(folder):
    """The videos below a folder.

    Args:
        folder (`str` or `os.PathLike`): Searched with its subfolders.

    Returns:
        `dict[str, pathlib.Path]`: Path by video id, which is the path inside the folder without its ending (with it
        where two files differ in nothing else), in order.

    Raises:
        ValueError: There is no such folder, or no video in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give a folder of videos.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS and path.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no video; looked for files ending in {', '.join(sorted(VIDEO_ENDINGS))}.")
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    times = Counter(names)
    return {
        name if times[name] == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(names, paths, strict=True)
    }


def build_corpus(
    videos, processor, output_dir, fit_on=None, levels=4, branches=12, seed=0, shard_size=16, subtitles=None
):
    """Takes videos through the whole way, from files to rows of sentences and visual ids.

    Run again with the same folder it does only what is missing: new videos, those that a killed run had not reached,
    and those whose row has an error, which may have been repaired. The codebook stays the one that was fitted first.

    Args:
        videos (`dict[str, pathlib.Path]`): Path by video id, as of [`find_videos`].
        processor ([`VideoBertProcessor`]): With `asr_model` and `backbone`. Without a codebook, one is fitted and put
            into the processor, whose tokenizer gets the visual tokens.
        output_dir (`str` or `os.PathLike`): Gets `features/`, `rows/`, and `codebook/` where one is fitted.
        fit_on (callable, *optional*): From the set of ids of the videos that could be read to the set of those that a
            codebook is fitted on, so that held-out ones can stay out of it; by default all.
        levels, branches (`int`): Shape of the codebook where one is fitted; 4 and 12 in the paper.
        seed (`int`): Of the codebook.
        shard_size (`int`): Videos described, and lost by a crash, at a time.
        subtitles (`dict[str, pathlib.Path]`, *optional*): By video id what is said, as of [`find_subtitles`]; the
            other videos are heard.

    Returns:
        [`datasets.Dataset`]: One row a video, in the order of `videos`; the `error` of a bad one says what is wrong.

    Raises:
        ValueError: The folder was begun with another speech model, backbone or shape of the codebook, or there are no
            clips to fit.
    """
    output_dir = Path(output_dir)
    described = extract_features(videos, processor, output_dir / "features", shard_size, subtitles)
    # A video that was tried again stands in several shards: the row without an error wins, then one that was opened.
    names, errors, durations = (described[name][:] for name in ("video_id", "error", "duration"))
    worth = [(error is None, duration is not None) for error, duration in zip(errors, durations, strict=True)]
    place = {names[number]: number for number in sorted(range(len(names)), key=worth.__getitem__)}
    rows = [place[video_id] for video_id in videos]
    described = described.select(rows)
    if processor.codebook is None and (output_dir / "codebook" / "config.json").exists():
        codebook = VisualCodebook.from_pretrained(output_dir / "codebook")
        if (fitted := (codebook.config.levels, codebook.config.branches)) != (levels, branches):
            raise ValueError(
                f"{output_dir / 'codebook'} was fitted with (levels, branches) {fitted}, not {(levels, branches)}; "
                "ask for the same, or use another output folder."
            )
        processor.add_codebook(codebook)
    elif processor.codebook is None:
        clips = clips_to_fit(described, fit_on, output_dir / "features", rows)
        # Of several processes the first builds a corpus before the others, which wait for it.
        codebook = fit_codebook(clips, levels, branches, seed=seed, backbone=named(processor.backbone), alone=True)
        save_whole(codebook, output_dir / "codebook")
        processor.add_codebook(codebook)
    dataset = described.map(
        tokenize_features,
        fn_kwargs={"codebook": processor.codebook},
        remove_columns="features",
        features=ROW_FEATURES,
        desc="Visual ids",
    )
    if PartialState().is_main_process:
        dataset.save_to_disk(output_dir / "rows")
    return dataset


def clips_to_fit(described, fit_on, folder, rows):
    """The features that a codebook is fitted on: an array in the order of videos, or shards where there are many.

    `rows` are the numbers that the described videos have in the shards of `folder`.
    """
    tables = described.select_columns("features").with_format("arrow").iter(64)
    clips = [count for table in tables for count in pc.list_value_length(table["features"]).to_pylist()]
    named = zip(described["video_id"], clips, described["sentences"], strict=True)
    readable = {video_id for video_id, count, sentences in named if count or sentences}
    chosen = readable if fit_on is None else fit_on(readable)
    names = described["video_id"][:]
    numbers = [number for number, count in enumerate(clips) if count and names[number] in chosen]
    if not numbers:
        raise ValueError(f"None of {len(described)} videos gave a feature to fit a codebook on.")
    if sum(clips[number] for number in numbers) > CLIPS_IN_MEMORY:
        return FeatureShards(folder, rows=[rows[number] for number in numbers])
    return np.concatenate(list(described.select(numbers).with_format("numpy")["features"]))


def extract_features(videos, processor, folder, shard_size=16, subtitles=None):
    """Describes the videos that no shard of the folder holds without an error yet, `shard_size` to a new shard.

    A shard is named after what is in it, so several processes may fill one folder with different videos.

    Returns:
        [`datasets.Dataset`]: The rows of all shards, with `features` in the place of `visual_ids`.
    """
    folder, subtitles = Path(folder), subtitles or {}
    folder.mkdir(parents=True, exist_ok=True)
    check_settings(folder / "settings.json", processor)
    rows = load_features(folder).select_columns(["video_id", "error"]) if any(folder.glob("*.parquet")) else []
    tried = {row["video_id"] for row in rows}
    # Of several processes only the first tries again what failed: the others come when it has.
    again = {row["video_id"] for row in rows if row["error"] is not None} if PartialState().is_main_process else set()
    again -= {row["video_id"] for row in rows if row["error"] is None}
    todo = [video_id for video_id in videos if video_id not in tried]
    todo += [video_id for video_id in videos if video_id in again]  # what keeps failing must not hold up the rest
    with tqdm(total=len(todo), desc="Videos", unit="video") as bar:
        for start in range(0, len(todo), shard_size):
            names = todo[start : start + shard_size]
            described = processor.describe(
                [videos[name] for name in names], names, [subtitles.get(name) for name in names]
            )
            content = repr([(row["video_id"], row["error"]) for row in described])
            write_shard(described, folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.parquet")
            bar.update(len(names))
    return load_features(folder)


def write_shard(described, path):
    """Writes under another name and renames, so that a shard is whole or absent."""
    features, described = Features({**DESCRIPTION, "features": List(List(Value("float16")))}), map(halved, described)
    columns = {name: [] for name in features}
    for row in described:
        for name, column in columns.items():
            column.append(row[name])
    unfinished = path.with_suffix(".unfinished")
    Dataset.from_dict(columns, features=features).to_parquet(unfinished)
    os.replace(unfinished, path)


def halved(row):
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


def load_features(folder):
    """The shards of a folder as one Dataset, read where they lie."""
    shards = [str(shard) for shard in sorted(Path(folder).glob("*.parquet"))]
    return load_dataset("parquet", data_files=shards, split="train", cache_dir=str(Path(folder) / ".cache"))


def tokenize_features(row, codebook):
    """The visual ids of a described video."""
    features = np.asarray(row["features"], dtype=np.float32).reshape(-1, codebook.config.feature_size)
    return {"visual_ids": codebook.encode(features).tolist()}


def check_settings(path, processor):
    """Features of two networks, or sentences of two languages, must not be mixed in one folder."""
    settings = {name: str(named_model(getattr(processor, name))) for name in ("asr_model", "backbone")}
    settings |= {name: value for name, value in (processor.asr_options or {}).items() if name in ("language", "task")}
    if not path.exists():
        path.write_text(json.dumps(settings))
    elif (before := json.loads(path.read_text())) != settings:
        raise ValueError(f"{path.parent} was begun with {before}, not with {settings}; use another output folder.")


def named(model):
    """A model's Hub id, or the name of its folder: what to tell others, who do not have this machine's folders.

    Of networks that are joined by `+`, each one's; of a ready-made one that does not know where it is from, `None`.
    """
    model = named_model(model)
    if model is None:
        return None
    if Path(model).is_dir():
        return Path(model).name
    networks = []
    for network in str(model).split("+"):
        name, _, _ = network.rpartition(":")  # options of an image network
        networks.append(Path(network).name if Path(network).is_dir() or (name and Path(name).is_dir()) else network)
    return "+".join(networks)
