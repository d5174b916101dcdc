"""Many videos to one Hugging Face Dataset of rows: shards, resume, and an error column instead of lost videos.

    videos ──(speech, clips, backbone)──► OUTPUT/features/*.parquet ──(codebook)──► OUTPUT/ids/*.parquet
                                                                          OUTPUT/rows, a saved Dataset ◄──┘

The expensive first half is written shard by shard, so a killed run goes on where it stopped and the codebook can be
fitted, or fitted again, at any time. Features are read in a stream where they lie; what is held is rows with ids.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from accelerate.utils import tqdm
from datasets import Dataset, Features, List, Value

from ..codebook.feature_shards import FeatureShards, find_shards, open_shard, rows_by_video, write_ids, write_whole
from ..codebook.fitting import fit_codebook, save_whole
from ..codebook_videobert import VisualCodebook
from ..names_videobert import model_name, public_name
from .rows import DESCRIPTION, load_rows

CLIPS_IN_MEMORY = 2**18  # a codebook of more is fitted from the shards: this many 1024-wide features take half a GB


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
        output_dir (`str` or `os.PathLike`): Gets `features/`, `ids/`, `rows/`, and `codebook/` where one is fitted.
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
        ValueError: The folder was begun with other settings of speech, clips or backbone or another shape of the
            codebook, or there are no clips to fit.
    """
    output_dir = Path(output_dir)
    shards = output_dir / "features"
    extract_features(videos, processor, shards, shard_size, subtitles)
    rows = rows_by_video(shards)
    if processor.codebook is None and (output_dir / "codebook" / "config.json").exists():
        codebook = VisualCodebook.from_pretrained(output_dir / "codebook")
        if (fitted := (codebook.config.levels, codebook.config.branches)) != (levels, branches):
            raise ValueError(
                f"{output_dir / 'codebook'} was fitted with (levels, branches) {fitted}, not {(levels, branches)}; "
                "ask for the same, or use another output folder."
            )
        processor.add_codebook(codebook)
    elif processor.codebook is None:
        clips = clips_to_fit(shards, {video_id: rows[video_id] for video_id in videos}, fit_on)
        # Of several processes the first builds a corpus before the others, which wait for it.
        codebook = fit_codebook(
            clips, levels, branches, seed=seed, backbone=public_name(processor.backbone), alone=True
        )
        save_whole(codebook, output_dir / "codebook")
        processor.add_codebook(codebook)
    write_ids(processor.codebook, shards, output_dir / "ids", list(rows.values()))
    dataset = load_rows([output_dir / "ids" / path.name for path in find_shards(shards)], videos)
    if PartialState().is_main_process:
        dataset.save_to_disk(output_dir / "rows")
    return dataset


def clips_to_fit(shards, rows, fit_on):
    """The features that a codebook is fitted on: a tensor in the order of videos, or shards where there are many.

    `rows` are the numbers of the rows of the videos, by their ids.
    """
    source = FeatureShards(shards, rows=list(rows.values()))
    counts = (count for piece in range(source.num_pieces) for count in source.counts(piece))
    clips = dict(zip(sorted(rows.values()), counts, strict=True))
    said = [
        count
        for path in find_shards(shards)
        for count in pc.list_value_length(pq.read_table(path, columns=["sentences"])["sentences"]).to_pylist()
    ]
    readable = {video_id for video_id, row in rows.items() if clips[row] or said[row]}
    chosen = readable if fit_on is None else fit_on(readable)
    numbers = [row for video_id, row in rows.items() if clips[row] and video_id in chosen]
    if not numbers:
        raise ValueError(f"None of {len(rows)} videos gave a feature to fit a codebook on.")
    source = FeatureShards(shards, rows=numbers)
    if sum(clips[row] for row in numbers) > CLIPS_IN_MEMORY:
        return source
    features = torch.cat([block for piece in range(source.num_pieces) for block in source.read(piece)])
    parts = dict(zip(sorted(numbers), features.split([clips[row] for row in sorted(numbers)]), strict=True))
    return torch.cat([parts[row] for row in numbers])


def extract_features(videos, processor, folder, shard_size=16, subtitles=None):
    """Describes the videos that no shard of the folder holds without an error yet, `shard_size` to a new shard.

    A shard is named after what is in it, so several processes may fill one folder with different videos.
    """
    folder, subtitled = Path(folder), subtitles or {}
    folder.mkdir(parents=True, exist_ok=True)
    check_settings(folder / "settings.json", processor, subtitles)
    tables = [open_shard(path).read(columns=["video_id", "error"]) for path in folder.glob("*.parquet")]
    tried = {row["video_id"] for table in tables for row in table.to_pylist()}
    good = {row["video_id"] for table in tables for row in table.to_pylist() if row["error"] is None}
    # Of several processes only the first tries again what failed: the others come when it has.
    again = tried - good if PartialState().is_main_process else set()
    todo = [video_id for video_id in videos if video_id not in tried]
    todo += [video_id for video_id in videos if video_id in again]  # what keeps failing must not hold up the rest
    with tqdm(total=len(todo), desc="Videos", unit="video") as bar:
        for start in range(0, len(todo), shard_size):
            names = todo[start : start + shard_size]
            described = processor.describe(
                [videos[name] for name in names], names, [subtitled.get(name) for name in names]
            )
            content = repr([(row["video_id"], row["error"]) for row in described])
            write_shard(described, folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.parquet")
            bar.update(len(names))


def write_shard(described, path):
    """Writes rows with their features, whole or not at all."""
    features, described = Features({**DESCRIPTION, "features": List(List(Value("float16")))}), map(halved, described)
    columns = {name: [] for name in features}
    for row in described:
        for name, column in columns.items():
            column.append(row[name])
    write_whole(path, Dataset.from_dict(columns, features=features).to_parquet)


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


def check_settings(path, processor, subtitles):
    """What was described with other settings, features of two networks or sentences of two languages, must not be
    mixed in one folder."""
    heard, seen = processor.asr_options or {}, processor.video_processor
    settings = {
        "asr_model": str(model_name(processor.asr_model)),
        "language": heard.get("language"),
        "task": heard.get("task"),
        "subtitles": subtitles is not None,
        "backbone": str(model_name(processor.backbone)),
        "dtype": str((processor.backbone_options or {}).get("dtype", "float32")).removeprefix("torch."),
        "fps": seen.fps,
        "clip_seconds": seen.clip_seconds,
    }
    # An older folder tells neither languages that were left open nor settings of clips.
    before = {"language": None, "task": None, **json.loads(path.read_text())} if path.exists() else {}
    unequal = [name for name, value in settings.items() if before.get(name, value) != value]
    if unequal:
        changes = ", ".join(f"{name} {before[name]!r}, not with {settings[name]!r}" for name in unequal)
        raise ValueError(f"{path.parent} was begun with {changes}; ask for the same, or use another output folder.")
    write_whole(path, lambda unfinished: unfinished.write_text(json.dumps(settings)))
