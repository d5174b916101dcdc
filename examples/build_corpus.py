"""Build a corpus: from videos to a Dataset of rows, with a summary at the end.

A folder of videos, described, a codebook fitted on them, and rows with visual ids:

    python examples/build_corpus.py --videos my_videos/ --output runs/corpus --asr_model openai/whisper-small \
        --backbone MCG-NJU/videomae-base-finetuned-kinetics

Run again it does what is missing: after a kill, a full disk, with new videos, or with files that have changed. Files
that were moved or renamed are not described again. A list of paths; a saved data set with a column of videos, whose
bytes it may hold itself; or one on the Hub, which is streamed: a video is on this disk only while it is described.

    python examples/build_corpus.py --videos list.txt --output runs/corpus
    python examples/build_corpus.py --dataset saved_data_set/ --output runs/corpus
    python examples/build_corpus.py --dataset owner/name --split train --revision main --output runs/corpus
    python examples/build_corpus.py --dataset owner/name --captions_column sentences --output runs/corpus

One stage alone: describing, on another machine say; the fit of the codebook; the rows, here with a codebook of
`fit_codebook.py`. Remove OUTPUT/codebook to fit another one there:

    python examples/build_corpus.py --videos my_videos/ --output runs/corpus --stage features --num_workers 4
    python examples/build_corpus.py --output runs/corpus --stage codebook --levels 2 --branches 16
    python examples/build_corpus.py --output runs/corpus --stage rows --codebook runs/small

A clip has one visual id, the leaf of its path down a tree. It can have several codes instead, which say more where few
ids must stand for much: each of what the ones before leave, or one a level of the path:

    python examples/build_corpus.py --videos my_videos/ --output runs/four --residual_codes 4 --levels 1 --branches 32
    python examples/build_corpus.py --videos my_videos/ --output runs/paths --levels_as_tokens

To the Hub at the end, as a data set with a card that says how it was made; that it may is found out first:

    python examples/build_corpus.py --videos my_videos/ --output runs/corpus --push_to_hub --hub_model_id user/rows

Several tasks share a corpus: processes, on one machine or on many, that see the same files. The stages `contents` and
`features` are shared out; `finish`, once, makes of it what one process would have made. What was killed is run again:

    python examples/build_corpus.py --videos my_videos/ --output runs/corpus --stage contents --task 0 --tasks 8
    python examples/build_corpus.py --videos my_videos/ --output runs/corpus --stage features --task 0 --tasks 8
    python examples/build_corpus.py --videos my_videos/ --output runs/corpus --stage finish

OUTPUT gets `features/` (Parquet shards), `codebook/`, `ids/` (Parquet), `rows/` (a saved `datasets.Dataset`),
`processor/`, and `summary.json`. To train on it: `pretrain.py --corpus OUTPUT/rows --processor OUTPUT/processor`.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import datasets
from transformers import HfArgumentParser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endings import end_in_a_sentence
from publishing.hub import claim_repository, publish_what_was_made
from training.material import make_processor, subtitles_of
from training.options import HelpFormatter, HubOptions, ModelOptions, TreeOptions, complete_models, option

from processing import VisualCodebook
from processing.codebook.feature_shards import rows_by_video
from processing.codebook.saving import load_codebook
from processing.codebook.whole_files import only_one, read_json, write_whole
from processing.corpus import (
    Share,
    build_corpus,
    dataset_videos,
    describe_share,
    encode_rows,
    find_videos,
    listed_videos,
    note_contents,
    streamed_videos,
)
from processing.corpus.build import own_codebook
from processing.corpus.isolation import DEADLINE
from processing.corpus.settings import read_settings
from processing.corpus.summary import summarise, summary_lines

WITH_VIDEOS = ("all", "contents", "features", "finish")
WITH_ROWS = ("all", "finish", "rows")
OF_DATASET = ("dataset_config", "revision", "video_column", "captions_column")


@dataclass
class CorpusOptions:
    """What it is made of and where it goes."""

    _argument_group_name = "corpus"

    output: Path = option(None, "folder of the corpus", required=True)
    videos: Path | None = option(None, "folder of videos, or a text file with a path in each line")
    dataset: str | None = option(None, "saved data set, or one on the Hub (owner/name), which is streamed")
    split: str = option("train", "of --dataset on the Hub, as the two below")
    dataset_config: str | None = option(None, "which configuration, where there are several")
    revision: str | None = option(None, "branch, tag or commit")
    video_column: str | None = option(None, "of --dataset; default: the first of videos")
    captions_column: str | None = option(None, "of --dataset; what is said, as lists of text, start and end")
    stage: Literal["all", "contents", "features", "finish", "codebook", "rows"] = option(
        "all", "what is done; the last two need no videos"
    )
    task: int = option(0, "number of this task, from 0 on, of --tasks that share --stage contents or features")
    tasks: int = option(1, "how many share it")
    codebook: Path | None = option(None, "folder of a codebook, instead of fitting one")
    test_share: float = option(0.1, "share of the videos that the codebook does not see, for training to hold out")
    seed: int = option(0, "of the codebook")
    shard_size: int = option(16, "videos described, and lost by a kill, at a time")
    num_workers: int = option(1, "processes that describe videos; 0: none of their own, without protection")
    deadline: float = option(DEADLINE, "seconds without progress after which a video is given up")
    memory: float | None = option(None, "GiB that such a process may hold; default: its part of 3/4 of the machine's")
    retry_errors: bool = option(False, "describe all videos with an error again, not only where it may help")


def videos_of(options: CorpusOptions) -> dict[str, Path]:
    """Path by video id, from whichever source was given."""
    if options.dataset is None:
        return find_videos(options.videos) if options.videos.is_dir() else listed_videos(options.videos)
    folder, column = (options.output / "features").absolute(), options.video_column
    if (Path(options.dataset) / "dataset_info.json").is_file():
        return dataset_videos(datasets.load_from_disk(options.dataset), folder, column, options.captions_column)
    given = (options.split, column, options.dataset_config, options.revision, options.captions_column)
    return streamed_videos(options.dataset, folder, *given)


def build(options: CorpusOptions, models: ModelOptions, tree: TreeOptions) -> None:
    """All stages, or the one on videos alone."""
    videos, processor = videos_of(options), make_processor(models, options.codebook)
    subtitles = subtitles_of(videos, models)
    limits = {name: getattr(options, name) for name in ("num_workers", "deadline", "memory", "retry_errors")}
    shared = {"shard_size": options.shard_size, "subtitles": subtitles, **limits}
    if options.stage in ("contents", "features"):
        share = Share(options.task, options.tasks)
        if options.stage == "contents":
            note_contents(videos, options.output, share, subtitles)
        else:
            stages = describe_share(videos, processor, options.output, share, **shared)
            print("\n".join(summary_lines(summarise([], stages))[1:]))
        return
    shared["again"] = options.stage != "finish"
    fitting = {**asdict(tree), "seed": options.seed, "held_out_share": options.test_share or None}
    build_corpus(videos, processor, options.output, **fitting, **shared)
    processor.save_pretrained(options.output / "processor")
    print("\n".join(summary_lines(read_json(options.output / "summary.json"))))


def fit(options: CorpusOptions, tree: TreeOptions) -> VisualCodebook:
    """The codebook of features that are there."""
    shards = options.output / "features"
    fitting = {**asdict(tree), "held_out_share": options.test_share or None}
    backbone = read_settings(shards).get("backbone")
    return own_codebook(options.output / "codebook", shards, rows_by_video(shards), fitting, options.seed, backbone)


def write_rows(options: CorpusOptions) -> None:
    """The rows of features that are there, with the ids of a codebook."""
    codebook = load_codebook(options.codebook or options.output / "codebook")
    rows = encode_rows(codebook, options.output / "features", options.output / "ids")
    write_whole(options.output / "rows", rows.save_to_disk)
    print("\n".join(summary_lines(summarise(rows, {}))))


def make_of_features(options: CorpusOptions, tree: TreeOptions) -> None:
    """The stages for which no video is opened."""
    if not (options.output / "features").is_dir():
        raise ValueError(f"{options.output / 'features'} is not there: describe videos first (--stage features).")
    with only_one(options.output):
        if options.stage == "codebook":
            print(f"{options.output / 'codebook'}: {fit(options, tree).codebook_size} visual ids")
        else:
            write_rows(options)


def stop(*_) -> None:
    """Ends the program as Ctrl-C does: processes that describe videos end with it, and what is half written goes."""
    raise KeyboardInterrupt(signal.SIGTERM)


def main() -> None:
    groups = (CorpusOptions, ModelOptions, TreeOptions, HubOptions)
    parser = HfArgumentParser(groups, description=__doc__, formatter_class=HelpFormatter)
    options, models, tree, hub = parser.parse_args_into_dataclasses()
    tree.check_fitted("that of --codebook" if options.codebook else None)
    if options.stage in WITH_VIDEOS and (options.videos is None) == (options.dataset is None):
        parser.error("one of --videos and --dataset is needed: a folder or list of videos, or a data set")
    if options.dataset is None and (alone := [f"--{name}" for name in OF_DATASET if getattr(options, name)]):
        parser.error(f"{' and '.join(alone)}: only of use with --dataset, which is missing")
    if hub.push_to_hub and options.stage not in WITH_ROWS:
        parser.error(f"--push_to_hub publishes rows, which --stage {options.stage} does not make")
    complete_models(models)
    repo_id = claim_repository(hub, options.output, "corpus")
    signal.signal(signal.SIGTERM, stop)
    if options.stage in WITH_VIDEOS:
        build(options, models, tree)
    else:
        make_of_features(options, tree)
    told = {"license": models.license, "language": models.written_language()}
    publish_what_was_made("corpus", options.output, repo_id, **told)


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
