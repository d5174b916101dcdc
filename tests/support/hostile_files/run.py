"""A build of hostile files as of any others, and what became of each of them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from support.spelled_speech import SpelledSpeech
from support.tiny_processor import text_tokenizer

from processing import VideoBertProcessor, find_subtitles
from processing.codebook.fitting import fit_codebook
from processing.cores_videobert import one_core_each
from processing.corpus import build_corpus, find_features, find_videos
from processing.corpus.features import build_feature_corpus
from processing.corpus.stills import INDEX, encode_stills, find_stills
from processing.corpus.videos import walk
from processing.description_videobert import UNFORESEEN
from processing.video_processing_videobert import VideoBertVideoProcessor

from . import arrays, make_videos
from .world import SECRET, World

DEADLINE, MEMORY = 30.0, 2.0
ENDED = {
    "held": re.compile("the process that described it held"),
    "hung": re.compile("the process that described it made no progress"),
    "crashed": re.compile("the process that described it (crashed|ended|was killed)"),
    "unforeseen": re.compile(UNFORESEEN),
}


class Eyes:
    """Stands for a video network: the mean colours of a clip and of its middle, in no time."""

    feature_size = 6

    def __str__(self):
        return "eyes"

    def features(self, clips):
        features = [torch.zeros(0, 6)]
        for clip in clips:
            whole = clip.float().mean((0, 2, 3)) / 255
            features.append(torch.cat([whole, clip[len(clip) // 2].float().mean((1, 2)) / 255])[None])
        return torch.cat(features)


class Ears(SpelledSpeech):
    """Stands for Whisper, in any process."""

    def __reduce__(self):
        return Ears, ()


def make_processor() -> VideoBertProcessor:
    """Reads files as the real one does; only its networks are made up."""
    video_processor = VideoBertVideoProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return VideoBertProcessor(video_processor, text_tokenizer(), Ears(), Eyes())


@dataclass
class Outcome:
    """What became of one file: a `row`, a row with an `error`, or `refused`, by name in the log."""

    kind: str
    name: str
    end: str
    told: str | None = None


def run_videos(world: World, folder: Path, kinds=None, **limits) -> list[Outcome]:
    """Builds a corpus of hostile videos.

    Args:
        world ([`World`]):
            Made before.
        folder (`Path`):
            Gets the files.
        kinds (`Iterable[str]`, *optional*):
            Of them all.
    """
    paths = [*make_videos(world, folder, kinds)]
    world.opened  # by their makers  # noqa: B018
    found = find_videos(folder)
    limits = {"num_workers": 1, "deadline": DEADLINE, "memory": MEMORY, "shard_size": 8} | limits
    said = find_subtitles(found)
    said |= {name: path.with_suffix(".json") for name, path in found.items() if path.parent.name == "captions"}
    output = folder.with_name("corpus")
    with one_core_each():  # there, too: clips this small gain nothing from more
        rows = build_corpus(found, make_processor(), output, levels=1, branches=3, subtitles=said, **limits)
    rows = {found[name]: row for name, row in zip(found, rows, strict=True)}
    list(walk(folder, skipped := {}))
    refused = {path for paths in skipped.values() for path in paths}
    return [outcome_of(path, folder, rows, refused) for path in paths]


def outcome_of(path: Path, folder: Path, rows: dict, refused: set) -> Outcome:
    """What became of the file at a path below a folder."""
    name, row = str(path.relative_to(folder)), rows.get(path)
    kind = name.partition("/")[0]
    if row is None:
        return Outcome(kind, name, "refused" if path in refused else "lost")
    return Outcome(kind, name, end_of(row), row["error"])


def end_of(row: dict) -> str:
    """How the description of a video ended."""
    if SECRET in str(row):
        return "secret"
    if row["error"] is None:
        return "row"
    return next((end for end, said in ENDED.items() if said.search(row["error"])), "error")


def run_features(world: World, folder: Path) -> list[Outcome]:
    """Builds a corpus of hostile features, with good ones among them."""
    folder.mkdir()
    paths = [write(folder / name, content) for name, content in arrays.features(world, folder)]
    np.save(folder / "good.npy", np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32))
    world.opened  # by their makers  # noqa: B018
    found = find_features(folder)
    rows = build_feature_corpus(found, make_processor(), folder.with_name("feature_corpus"), levels=1, branches=3)
    rows = {found[name].path: row for name, row in zip(found, rows, strict=True)}
    return [outcome_of(path, folder.parent, rows, set()) for path in paths]


def run_stills(world: World, folder: Path) -> list[Outcome]:
    """Gives hostile stills visual ids."""
    folder.mkdir()
    videos = [{"video_id": name, "steps": steps} for name, steps in arrays.stills(world, folder)]
    (folder / INDEX).write_text("\n".join(map(json.dumps, videos)))
    processor = make_processor()
    processor.add_codebook(fit_codebook(torch.eye(6), levels=1, branches=3, progress=False))
    world.opened  # by their makers  # noqa: B018
    rows = encode_stills(find_stills(folder), processor, folder.with_name("still_corpus"))
    rows = {folder / row["video_id"]: row for row in rows}
    return [outcome_of(folder / video["video_id"], folder.parent, rows, set()) for video in videos]


def write(path: Path, content: bytes | None) -> Path:
    """Writes a file, unless its maker has made it."""
    if content is not None:
        path.write_bytes(content)
    return path
