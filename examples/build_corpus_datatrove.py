"""Build a corpus with datatrove (`pip install -e .[scale]`), which starts the tasks that share it.

As a Slurm array, with the options of `build_corpus.py`: three jobs, each after the other, of as many tasks as the
corpus is worth, and one task that finishes:

    python examples/build_corpus_datatrove.py --engine slurm --partition gpu --gpus_per_task 1 --cpus_per_task 8 \
        --videos my_videos/ --output runs/corpus --asr_model openai/whisper-small

Here, one task after another; or in several such processes, each with its part of the tasks, then `build_corpus.py
--stage finish`. datatrove's own pool of workers is not used: it waits for ever where one of them is killed.

    python examples/build_corpus_datatrove.py --engine local --videos my_videos/ --output runs/corpus
    python examples/build_corpus_datatrove.py --engine local --part 0 --parts 4 --tasks 16 --videos my_videos/ \
        --output runs/corpus

Run again it does what is missing. OUTPUT/datatrove holds the engine's logs, one a task.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from transformers import HfArgumentParser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from build_corpus import CorpusOptions, videos_of
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from endings import end_in_a_sentence
from training.material import make_processor, subtitles_of
from training.options import HelpFormatter, ModelOptions, TreeOptions, complete_models, option

from processing.corpus import Share, count_tasks
from processing.corpus.datatrove_step import CorpusStep


@dataclass
class EngineOptions:
    """What starts the tasks; all but the first three are Slurm's."""

    _argument_group_name = "engine"

    engine: Literal["local", "slurm"] = option("local", "in this process, or as jobs of Slurm")
    part: int = option(0, "number of this process, from 0 on, of --parts that run --engine local")
    parts: int = option(1, "how many do")
    partition: str | None = option(None, "where the jobs run")
    time: str = option("24:00:00", "that a task may take")
    gpus_per_task: int = option(0, "for --stage features")
    cpus_per_task: int = option(4, "of a task")
    mem_per_cpu_gb: int = option(4, "of a task")
    at_once: int = option(-1, "tasks that run at the same time; -1: all")
    env_command: str | None = option(None, "activates the Python environment of a job: source .venv/bin/activate")


def make_steps(corpus: CorpusOptions, models: ModelOptions, tree: TreeOptions) -> dict[str, CorpusStep]:
    """A step a stage."""
    videos, processor = videos_of(corpus), make_processor(models, corpus.codebook)
    fitting = {**asdict(tree), "seed": corpus.seed, "held_out_share": corpus.test_share or None}
    names = ("shard_size", "num_workers", "deadline", "memory", "retry_errors")
    given = (videos, processor, corpus.output.absolute(), subtitles_of(videos, models), fitting)
    options = {name: getattr(corpus, name) for name in names}
    return {stage: CorpusStep(stage, *given, **options) for stage in ("contents", "features", "finish")}


def run_here(steps: dict[str, CorpusStep], tasks: int, engine: EngineOptions, logs: Path) -> None:
    """This process's part of the tasks, one after another; the only one finishes too."""
    Share(engine.part, engine.parts)  # is there such a part?
    begin, end = (tasks * part // engine.parts for part in (engine.part, engine.part + 1))
    stages = {stage: (tasks, begin, end) for stage in ("contents", "features") if begin < end}
    if engine.parts == 1:
        stages["finish"] = (1, 0, 1)
    for stage, (count, first, last) in stages.items():
        done = LocalPipelineExecutor(
            [steps[stage]],
            tasks=count,
            workers=1,
            local_tasks=last - first,
            local_rank_offset=first,
            logging_dir=str(logs / stage),
            skip_completed=False,
        ).run()
    if engine.parts == 1 and any(step["stopped"].total for step in done.stats):
        sys.exit("Stopped: the corpus is not finished; what stopped it is above.")


def run_on_slurm(steps: dict[str, CorpusStep], tasks: int, engine: EngineOptions, logs: Path) -> None:
    """A job a stage, each after the one before it, however that ended: what is missing it makes up for."""
    job = None
    for stage, step in steps.items():
        job = SlurmPipelineExecutor(
            [step],
            tasks=1 if stage == "finish" else tasks,
            time=engine.time,
            partition=engine.partition,
            cpus_per_task=engine.cpus_per_task,
            mem_per_cpu_gb=engine.mem_per_cpu_gb,
            gpus_per_task=0 if stage == "contents" else engine.gpus_per_task,
            workers=engine.at_once,
            env_command=engine.env_command,
            job_name=f"videobert-{stage}",
            logging_dir=str(logs / stage),
            skip_completed=False,
            depends=job,
            run_on_dependency_fail=True,
        )
    job.run()


def main() -> None:
    kinds = (EngineOptions, CorpusOptions, ModelOptions, TreeOptions)
    parser = HfArgumentParser(kinds, description=__doc__, formatter_class=HelpFormatter)
    engine, corpus, models, tree = parser.parse_args_into_dataclasses()
    tree.check_fitted("that of --codebook" if corpus.codebook else None)
    if (corpus.videos is None) == (corpus.dataset is None):
        parser.error("one of --videos and --dataset is needed: a folder or list of videos, or a data set")
    if engine.engine == "slurm" and engine.partition is None:
        parser.error("--engine slurm needs --partition")
    complete_models(models)
    steps = make_steps(corpus, models, tree)
    tasks = corpus.tasks if corpus.tasks > 1 else count_tasks(steps["contents"].videos, corpus.shard_size)
    {"local": run_here, "slurm": run_on_slurm}[engine.engine](steps, tasks, engine, corpus.output / "datatrove")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
