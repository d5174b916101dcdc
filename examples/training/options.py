"""What can be chosen: the options of `pretrain.py`, from the command line and from files, in groups."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import HfArgumentParser

from processing.codebook_videobert import VisualCodebookConfig
from processing.speech_videobert import SPEECH_ENGINES, SPEECH_TASKS, language_code
from processing.training_data.examples import DEFAULT_MIXTURE, REGIMES

# Several examples in a row, all of them in one row, one a row, or one a row beside others of its length.
LAYOUTS = ("packed", "flat", "padded", "grouped")
PRECISIONS = ("no", "fp16", "bf16", "auto")
# The embedded default is small: it learns faster and with other masks than the paper's recipe.
KITCHEN = Path(__file__).resolve().parents[1] / "configs" / "kitchen.yaml"


def option(default: Any, text: str, **more) -> Any:
    """A field with what `--help` says of it."""
    metadata = {"help": text, **more}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class DataOptions:
    """What to learn from; the embedded kitchen if neither videos nor rows are given."""

    _argument_group_name = "data"

    videos: Path | None = option(None, "folder of videos")
    corpus: Path | None = option(None, "rows: a saved datasets.Dataset, or Parquet; needs --processor")
    features: Path | None = option(
        None, "folder of features that exist already: .npy, .npz, .h5 or Parquet, (clips, feature_size) a video"
    )
    clip_seconds: float | None = option(None, "seconds of video to a feature of --features: 1 at one a second")
    processor: str | None = option(None, "folder or Hub id of the processor that made the rows")
    codebook: Path | None = option(None, "folder of another codebook, which fit_codebook.py wrote, for the visual ids")
    truth: Path | None = option(None, "true steps, one JSON object a line, to evaluate with")
    test_share: float = option(0.1, "share of the videos that is held out")
    from_scratch: bool = option(False, "make the kitchen's videos and rows anew")


@dataclass
class ModelOptions:
    """Models that it is made of, by Hub id or folder; for the kitchen they come from packages."""

    _argument_group_name = "models"

    text_model: str | None = option(None, "text BERT to start from: google-bert/bert-base-uncased")
    asr_model: str | None = option(None, "speech recogniser: openai/whisper-small")
    language: str | None = option(None, "what is spoken, for a multilingual recogniser; default: it finds out")
    asr_task: str | None = option(None, "translate: write in English what is said", choices=SPEECH_TASKS)
    asr_engine: str | None = option(None, "faster-whisper reads CTranslate2 checkpoints", choices=SPEECH_ENGINES)
    subtitles: str | None = option(
        None,
        "what is said, instead of hearing it: beside the videos where there are name.srt or name.vtt (default), "
        "a folder of them, captions by video id (.json), or none",
    )
    backbone: str | None = option(
        None,
        "video network: MCG-NJU/videomae-base-finetuned-kinetics (default), torchvision/s3d; image network: "
        "facebook/dinov2-base; two joined: torchvision/s3d+facebook/dinov2-base:change",
    )
    backbone_dtype: Literal["float32", "bfloat16", "float16"] = option("float32", "precision of the video network")
    backbone_batch_size: int = option(4, "clips looked at in a forward pass")
    compile_backbone: bool = option(False, "takes minutes; measure if it pays")
    freeze_input_embeddings: bool = option(True, "leave the table of token embeddings as it comes")
    license: str | None = option(None, "of what was made, for its card: apache-2.0")

    def written_language(self) -> str | None:
        """Code of the language that sentences are in, where the options tell."""
        return "en" if self.asr_task == "translate" else self.language


@dataclass
class TreeOptions:
    """The codebook that is fitted where none is given: by default the paper's, one visual id a clip."""

    _argument_group_name = "codebook"

    levels: int = option(4, "depth of the codebook that is fitted")
    branches: int = option(12, "children of each of its nodes")
    residual_codes: int = option(1, "visual ids of a clip; each behind the first names what those before leave")
    levels_as_tokens: bool = option(False, "visual ids of a clip: one for each level of its path, not the leaf alone")

    def __post_init__(self):
        VisualCodebookConfig(**asdict(self))  # refuses what it cannot be, before hours of describing videos

    def check_fitted(self, instead: str | None) -> None:
        """Raise `ValueError` if something is asked for where nothing is fitted, but there is a codebook `instead`."""
        for one in fields(self) if instead else ():
            if getattr(self, one.name) != one.default:
                raise ValueError(f"--{one.name} is about a codebook that is fitted; it has no effect on {instead}")


@dataclass
class ObjectiveOptions:
    """What is asked, how often, and how much it weighs. The paper leaves mixture and weights open."""

    _argument_group_name = "objectives"

    mixture: list[float] = option(
        [DEFAULT_MIXTURE[regime] for regime in REGIMES], "weights of the regimes " + ", ".join(REGIMES)
    )
    language_probability: float = option(0.15, "share of the words to predict")
    vision_probability: float = option(0.15, "share of the visual tokens to predict")
    future_probability: float = option(0.0, "of the video-only examples those that hide what comes last, to forecast")
    alignment_share: float = option(0.5, "of the video-text examples those that ask alignment, the others the cloze")
    twins: bool = option(True, "each text with its true and with a false video in one batch")
    masked_pairs: bool = option(False, "mask the pairs of alignment like cloze examples")
    same_video_share: float = option(0.5, "of the false videos those that are another place of the same video")
    false_candidates: int = option(1, "false videos drawn, of which the likest is taken: above 1 they are hard")
    alignment_start: float = option(
        0.0, "when alignment begins: a step, or below 1 a share of the steps; before it there is the cloze alone"
    )
    joint_cloze: bool = option(True, "cloze on video-text pairs too")
    predict_within_modality: bool = option(False, "a word competes with words only, and so on")
    text_cloze_weight: float = option(1.0, "weight of a predicted word")
    visual_cloze_weight: float = option(1.0, "weight of a predicted visual token")
    alignment_weight: float = option(1.0, "weight of alignment beside the cloze")


@dataclass
class SegmentOptions:
    """How a video is cut into examples."""

    _argument_group_name = "segments"

    max_length: int = option(512, "tokens in a sequence")
    max_joined: int = option(3, "most sentences in an example")
    max_step: int = option(5, "largest step when visual tokens are subsampled")
    trailing_seconds: float = option(0.0, "clips after a sentence that it gets too")


@dataclass
class OptimisationOptions:
    """The paper's recipe: 0.5 M steps of 128 examples, Adam, 1e-5, linear decay."""

    _argument_group_name = "optimisation"

    max_steps: int = option(500_000, "steps of the whole run")
    batch_size: int = option(128, "examples a process and micro-batch")
    gradient_accumulation_steps: int = option(1, "micro-batches in a step")
    learning_rate: float = option(1e-5, "the highest, after the warmup; it falls to 0 at the last step")
    warmup_steps: int = option(0, "steps in which the learning rate rises")
    decay_share: float = option(1.0, "of the steps after the warmup, those in which the learning rate falls")
    weight_decay: float = option(0.01, "of matrices; biases and norms do not decay")
    max_grad_norm: float = option(1.0, "longer gradients are shortened to this")
    seed: int = option(0, "of the order, the examples, the masks and dropout")


@dataclass
class RunningOptions:
    """How it runs, what it shows and what it keeps."""

    _argument_group_name = "running"

    config: Path | None = option(None, "YAML or JSON file of options; the command line stands above it")
    output_dir: Path | None = option(None, "default: runs/kitchen, or runs/ and the name of the source")
    attn_implementation: str | None = option(None, "eager, sdpa (default), flash_attention_2, …")
    mixed_precision: str | None = option(
        None,
        "what layers compute in; default: as accelerate launch was told; auto: bf16 on a processor made for it",
        choices=PRECISIONS,
    )
    layout: str | None = option(None, "of a batch; default: packed, for flash attention flat", choices=LAYOUTS)
    num_workers: int = option(0, "processes that prepare batches")
    logging_steps: int = option(100, "steps between two lines of the losses")
    eval_steps: int = option(5000, "steps between two looks at the held-out videos")
    checkpointing_steps: int = option(5000, "steps between two checkpoints")
    checkpoints_kept: int = option(2, "the newest so many, and the best")
    resume_from_checkpoint: str | None = option(None, 'a checkpoint, or "latest"')
    report_to: Literal["tensorboard", "trackio", "none"] = option("tensorboard", "where curves go")
    max_bad_steps: int = option(10, "steps without a finite loss and gradient that are skipped before the run stops")
    metric_for_best_model: str | None = option(
        None,
        "a held-out figure, such as text_cloze_loss: the checkpoint where it is best is kept, and saved at the end",
    )
    early_stopping: int | None = option(None, "stop after so many looks in a row without a better figure")


@dataclass
class HubOptions:
    """Whether what was made goes to the Hub, under the names that transformers' own examples have for it."""

    _argument_group_name = "hub"

    push_to_hub: bool = option(False, "publish what was made, with a card, in one commit at the end")
    hub_model_id: str | None = option(
        None, "where to: user/name, made public if it is new; default: the output folder's name, of whose token it is"
    )


GROUPS = (
    DataOptions,
    ModelOptions,
    TreeOptions,
    ObjectiveOptions,
    SegmentOptions,
    OptimisationOptions,
    RunningOptions,
    HubOptions,
)


@dataclass
class Options:
    """All options, a group an attribute."""

    data: DataOptions
    models: ModelOptions
    tree: TreeOptions
    objectives: ObjectiveOptions
    segments: SegmentOptions
    optimisation: OptimisationOptions
    running: RunningOptions
    hub: HubOptions

    def as_dict(self) -> dict[str, Any]:
        """All values by name: numbers, words and switches, for trackers and cards."""
        values = {name: value for group in asdict(self).values() for name, value in group.items()}
        return {name: value for name, value in values.items() if isinstance(value, (int, float, str))}

    def recipe(self) -> dict[str, Any]:
        """How it is trained, for the model card; not where things lie, nor how fast it goes."""
        values = asdict(self.objectives) | asdict(self.segments) | asdict(self.optimisation)
        return values | {"freeze_input_embeddings": self.models.freeze_input_embeddings}

    def determining(self) -> dict[str, Any]:
        """The options that a run's numbers depend on, besides what it learns from: a resumed run needs them equal."""
        running = {"attn_implementation": self.running.attn_implementation, "layout": self.running.layout}
        return self.recipe() | running | {"test_share": self.data.test_share}

    def alignment_step(self) -> int:
        """The step at which alignment begins."""
        start = self.objectives.alignment_start
        return round(start * self.optimisation.max_steps) if start < 1 else int(start)


class HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows defaults, and commands as they are written."""


def config_arguments(path: Path, names: Sequence[str]) -> list[str]:
    """A file of options as words of a command line, so that both are checked alike.

    Args:
        path (`Path`):
            YAML or JSON: one mapping from names to values.
        names (`Sequence[str]`):
            The options that there are.

    Returns:
        `list[str]`: `--name value …`; options without a value (`null`) are left out.

    Raises:
        ValueError: The file cannot be read, is no mapping, or holds an unknown name.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"The options in {path} cannot be read: {error}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} holds a {type(values).__name__}; allowed is a mapping from options to values.")
    if unknown := sorted(set(values) - set(names)):
        raise ValueError(f"{path} holds {unknown[0]!r}, which is no option; pretrain.py --help lists them.")
    arguments = []
    for name, value in values.items():
        if value is not None:
            listed = value if isinstance(value, list) else [value]
            arguments += [f"--{name}", *(str(one) for one in listed)]
    return arguments


def parse_options(arguments: list[str] | None = None, description: str | None = None) -> Options:
    """The options of a run: the defaults, above them the kitchen's where it is learned from, then those of `--config`,
    then the command line.

    Args:
        arguments (`list[str]`, *optional*):
            Words of the command line; those of this process if not given.
        description (`str`, *optional*):
            What `--help` begins with.

    Returns:
        [`Options`]
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = HfArgumentParser(GROUPS, description=description, formatter_class=HelpFormatter, allow_abbrev=False)
    names = [one.name for group in GROUPS for one in fields(group)]
    values = parser.parse_args(arguments)
    try:
        if values.config:
            arguments = config_arguments(values.config, [name for name in names if name != "config"]) + arguments
            values = parser.parse_args(arguments)
        if not (values.videos or values.corpus or values.features):
            values = parser.parse_args(config_arguments(KITCHEN, names) + arguments)
        options = Options(
            *(group(**{one.name: getattr(values, one.name) for one in fields(group)}) for group in GROUPS)
        )
        check_options(options)
    except ValueError as error:
        parser.error(str(error))
    complete_options(options)
    return options


def check_options(options: Options) -> None:
    """Refuse what contradicts itself.

    Args:
        options ([`Options`]):
            As they were given.

    Raises:
        ValueError: In one sentence, which option.
    """
    data, running, optimisation = options.data, options.running, options.optimisation
    if data.corpus and not data.processor:
        raise ValueError("--corpus needs --processor, which knows the words and the codebook of these rows")
    sources = [name for name in ("videos", "corpus", "features") if getattr(data, name)]
    if len(sources) > 1:
        raise ValueError(f"--{sources[0]} and --{sources[1]} exclude each other")
    check_features(options)
    if running.report_to != "none" and find_spec(running.report_to) is None:
        raise ValueError(f"--report_to {running.report_to} needs the package {running.report_to}, which is missing")
    if data.codebook and not sources:
        raise ValueError("--codebook is about the ids of --videos, --features or --corpus; the kitchen has its own")
    options.tree.check_fitted(codebook_instead(data))
    at_least_one = {"checkpoints_kept": running.checkpoints_kept, "eval_steps": running.eval_steps}
    at_least_one |= {"logging_steps": running.logging_steps, "checkpointing_steps": running.checkpointing_steps}
    at_least_one |= {"max_steps": optimisation.max_steps, "batch_size": optimisation.batch_size}
    at_least_one["gradient_accumulation_steps"] = optimisation.gradient_accumulation_steps
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"--{name} is {value}; it must be at least 1")
    if not 0 <= optimisation.decay_share <= 1:
        raise ValueError(f"--decay_share is {optimisation.decay_share}; allowed is 0 to 1")
    if len(options.objectives.mixture) != len(REGIMES):
        raise ValueError(
            f"--mixture has {len(options.objectives.mixture)} numbers; it takes one for each of {REGIMES}"
        )
    if running.early_stopping is not None and not running.metric_for_best_model:
        raise ValueError("--early_stopping needs --metric_for_best_model, the figure that must get better")
    # Rows have been heard already, and the kitchen's narrator speaks English.
    hearing = ("language", "asr_task", "asr_engine", "subtitles", *(["asr_model"] if data.corpus else []))
    for name in hearing if not (data.videos or data.features) else []:
        if getattr(options.models, name) is not None:
            source = "the rows of --corpus" if data.corpus else "the kitchen"
            raise ValueError(f"--{name} is about how --videos are heard; it has no effect on {source}")


def codebook_instead(data: DataOptions) -> str | None:
    """Which codebook there is already, where none is fitted."""
    if data.codebook:
        return "that of --codebook"
    if data.corpus:
        return "that of --processor"
    return None if data.videos or data.features else "the kitchen's"


def check_features(options: Options) -> None:
    """Refuse what has no effect on features that exist already, and clips of unknown or impossible length."""
    data, models = options.data, options.models
    if not data.features:
        if data.clip_seconds is not None:
            raise ValueError("--clip_seconds is about --features; clips of --videos are 1.5 s long")
        return
    if data.clip_seconds is None or not data.clip_seconds > 0:
        raise ValueError(
            f"--clip_seconds is {data.clip_seconds}; --features need the seconds of video to a feature, above 0"
        )
    for name in ("asr_model", "asr_task", "asr_engine", "backbone"):
        if getattr(models, name) is not None:
            raise ValueError(f"--{name} has no effect on --features, which are neither heard nor looked at")


def complete_options(options: Options) -> None:
    """Fill in what follows from other options."""
    data, models, running = options.data, options.models, options.running
    source = data.videos or data.corpus or data.features
    if running.layout is None:
        running.layout = "flat" if "flash" in (running.attn_implementation or "") else "packed"
    running.output_dir = running.output_dir or Path("runs") / (source.resolve().name if source else "kitchen")
    if source:
        complete_models(models, networks=not data.features)  # features are neither heard nor looked at


def complete_models(models: ModelOptions, networks: bool = True) -> None:
    """The models of who names none; `networks`: those that look and hear, too. Of a language's name its code."""
    models.language = language_code(models.language)
    models.text_model = models.text_model or "google-bert/bert-base-uncased"
    if networks:
        models.asr_model = models.asr_model or "openai/whisper-small"
        models.backbone = models.backbone or "MCG-NJU/videomae-base-finetuned-kinetics"
