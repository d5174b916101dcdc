"""Several tasks that share a corpus: processes, on one machine or on many that see the same files.

    note_contents (N tasks) ──► describe_share (N tasks) ──► build_corpus(…, again=False)

The first is done in a moment and may be left out: without it every task reads all files, to know which hold the same.
(Of a data set, from which that would fetch everything, a task then finds the copies among its own videos alone.)
The lots that are shared out are those of a single loop, and each becomes a shard that is named after what is in it. So
tasks need not talk to one another, and neither their number nor their order, nor what was killed and done again, by as
many tasks as there are then, changes a byte of what [`build_corpus`] makes in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from accelerate.utils import tqdm

from ..codebook.feature_shards import DamagedShardError
from ..codebook.whole_files import only_one
from ..processing_videobert import VideoBertProcessor
from .build import set_aside
from .contents import Contents
from .describing import as_utf8, extract_features
from .held import drop_all
from .share import WHOLE, Share
from .summary import Stage


def count_tasks(videos: Mapping[str, Path], shard_size: int = 16, lots: int = 64) -> int:
    """How many tasks a corpus is worth: one for so many lots, which take long beside the loading of networks."""
    return max(1, -(-len(videos) // (lots * shard_size)))


def note_contents(
    videos: Mapping[str, Path], output_dir: str | PathLike, share: Share, subtitles: Mapping[str, Path] | None = None
) -> None:
    """Reads a task's share of the files, and notes what they hold where the others find it.

    Args:
        videos (`Mapping[str, Path]`):
            All of them: path by video id.
        output_dir (`str` or `os.PathLike`):
            Folder of the corpus.
        share ([`Share`]):
            The task's.
        subtitles (`Mapping[str, Path]`, *optional*):
            By video id what is said.

    Raises:
        `ValueError`: A build that does not share is at work there, or a shard is damaged.
    """
    videos, subtitles, shards = spelled(videos), spelled(subtitles or {}), Path(output_dir) / "features"
    shards.mkdir(parents=True, exist_ok=True)
    with only_one(Path(output_dir), shared=share != WHOLE):
        contents = whole_contents(shards)
        own = [name for number, name in enumerate(videos) if share.holds(number)]
        try:
            for name in tqdm(own, desc="Contents", unit="video"):
                contents.look_at(name, videos[name], subtitles.get(name))
                drop_all([videos[name]])
        finally:  # what was fetched for it is not fetched again after a line was cut
            contents.save(others=videos)


def describe_share(
    videos: Mapping[str, Path],
    processor: VideoBertProcessor,
    output_dir: str | PathLike,
    share: Share,
    subtitles: Mapping[str, Path] | None = None,
    **options,
) -> dict[str, Stage]:
    """Describes a task's share of the videos into shards of its own; what failed before, where it may help, again.

    Args:
        videos (`Mapping[str, Path]`):
            All of them, the same for every task: path by video id.
        processor ([`VideoBertProcessor`]):
            With `asr_model` and `backbone`.
        output_dir (`str` or `os.PathLike`):
            Folder of the corpus.
        share ([`Share`]):
            The task's.
        subtitles (`Mapping[str, Path]`, *optional*):
            By video id what is said; the other videos are heard.
        options:
            `shard_size`, `num_workers`, `deadline`, `memory` and `retry_errors` of [`build_corpus`]; the same
            `shard_size` for every task and for it.

    Returns:
        `dict[str, Stage]`: What this task did.

    Raises:
        `ValueError`: The folder was begun with other settings, a build that does not share is at work there, or the
            videos are taken away.
    """
    shards = Path(output_dir) / "features"
    shards.mkdir(parents=True, exist_ok=True)
    subtitles = None if subtitles is None else spelled(subtitles)
    with only_one(Path(output_dir), shared=share != WHOLE):
        whole_contents(shards)
        return extract_features(spelled(videos), processor, shards, subtitles=subtitles, share=share, **options)


def whole_contents(shards: Path) -> Contents:
    """What the shards of a folder hold, when those that are damaged are out of the way."""
    while True:
        try:
            return Contents(shards)
        except DamagedShardError as error:
            with only_one(shards, wait=True):  # of several tasks that find it, one is enough
                if error.path.exists():
                    set_aside(error, shards)


def spelled(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Paths by ids as rows hold them."""
    return {as_utf8(video_id): path for video_id, path in paths.items()}
