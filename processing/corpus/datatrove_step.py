"""Tasks that share a corpus, as steps of datatrove (extra `scale`), which starts them: here, on Slurm or on Ray.

The engine gives each task its number, and no more. What is done is known from the shards, not from the engine's notes
of completed tasks: build executors with `skip_completed=False`, and run again they do only what is missing. Of its
known holes this keeps clear: where it has several workers in one pool, a killed one makes it wait for ever, so give a
local executor one worker, and start several; an error that is raised ends a whole executor, so a step raises none; its
writers leave half a file behind, and are not used.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from ..processing_videobert import VideoBertProcessor
from .build import build_corpus
from .share import Share
from .tasks import describe_share, note_contents


class CorpusStep(PipelineStep):
    """A step of an executor that shares out one stage of a corpus.

    Whatever stops it is told in the task's log, and counted there as `stopped`; the stages after it make up for it.

    Args:
        stage (`str`):
            `"contents"` or `"features"`, of any number of tasks, or `"finish"`, of one.
        videos (`Mapping[str, Path]`):
            All of them: path by video id.
        processor ([`VideoBertProcessor`]):
            With its networks by name, so that it can be sent to another process.
        output_dir (`str` or `os.PathLike`):
            Folder of the corpus, which all machines see.
        subtitles (`Mapping[str, Path]`, *optional*):
            By video id what is said; the other videos are heard.
        fitting (`Mapping`, *optional*):
            `held_out_share`, `levels`, `branches`, `residual_codes`, `levels_as_tokens` and `seed` of
            [`build_corpus`].
        num_workers (`int`, *optional*, defaults to 1):
            Processes of each task that describe videos: nothing is decoded in the engine's own.
        options:
            `shard_size`, `deadline`, `memory` and `retry_errors` of [`build_corpus`].

    Raises:
        `ValueError`: There is no such stage, or videos would be described in the engine's process.
    """

    type = "VideoBERT"

    def __init__(
        self,
        stage: str,
        videos: Mapping[str, Path],
        processor: VideoBertProcessor,
        output_dir: str | PathLike,
        subtitles: Mapping[str, Path] | None = None,
        fitting: Mapping | None = None,
        num_workers: int = 1,
        **options,
    ):
        if stage not in ("contents", "features", "finish"):
            raise ValueError(f"The stage is {stage!r}; allowed are contents, features and finish.")
        self.name = stage
        super().__init__()
        self.videos, self.processor, self.output_dir, self.subtitles = videos, processor, str(output_dir), subtitles
        self.fitting, self.options = fitting or {}, {**options, "num_workers": num_workers}
        try:
            pickle.dumps(processor)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ValueError(
                f"The processor cannot be sent to another process ({error}): name its networks."
            ) from error
        if num_workers < 1:
            raise ValueError(
                f"num_workers is {num_workers}; at least 1 process is needed, for this one is the engine's."
            )

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> object:
        """Does a task's share; what the engine pipes from step to step goes through untouched."""
        try:
            self._work(Share(rank, world_size))
        except Exception as error:  # which would end the engine's other tasks with this one
            self.stat_update("stopped")
            logger.opt(exception=not isinstance(error, ValueError)).error(
                f"Task {rank} of {self.name} stopped: {error}"
            )
        return data

    def _work(self, share: Share) -> None:
        if self.name == "contents":
            note_contents(self.videos, self.output_dir, share, self.subtitles)
        elif self.name == "features":
            describe_share(self.videos, self.processor, self.output_dir, share, self.subtitles, **self.options)
        elif share.holds(0):
            given = {"subtitles": self.subtitles, **self.fitting, **self.options, "again": False}
            build_corpus(self.videos, self.processor, self.output_dir, **given)
            self.processor.save_pretrained(Path(self.output_dir) / "processor")
