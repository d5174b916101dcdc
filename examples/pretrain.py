"""Pretrain VideoBERT: from videos (or rows, or nothing at all) to a model folder that `from_pretrained` loads.

The embedded kitchen, about 8 minutes of training on two cores:

    accelerate launch examples/pretrain.py

One's own videos:

    accelerate launch examples/pretrain.py --videos my_videos/ --output_dir runs/mine \
        --asr_model openai/whisper-small --backbone MCG-NJU/videomae-base-finetuned-kinetics \
        --text_model google-bert/bert-base-uncased --max_length 512 --max_steps 100000 --learning_rate 1e-5 \
        --freeze_input_embeddings --trailing_seconds 0

Rows that an earlier run made, with its processor, on several GPUs, going on where it stopped:

    accelerate launch --num_processes 8 --mixed_precision bf16 examples/pretrain.py --corpus runs/mine/corpus/rows \
        --processor runs/mine --output_dir runs/mine --max_length 512 --resume_from_checkpoint latest

Held-out figures and losses go to TensorBoard (`tensorboard --logdir runs`), all numbers to `all_results.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, InitProcessGroupKwargs, set_seed
from plots import plot_losses, plot_timeline
from training import train

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor, find_subtitles
from processing.corpus import build_corpus, find_videos, held_out_ids, read_rows
from processing.evaluation import best_words, evaluate_actions, read_truth, results_table, step_segments
from processing.model_card import write_model_card
from processing.names_videobert import public_name
from processing.speech_videobert import SPEECH_ENGINES, SPEECH_TASKS
from processing.training_data import (
    REGIMES,
    AlignmentPairs,
    SegmentDataset,
    VideoBertDataCollator,
    row_segments,
)

# Several examples in a row, all of them in one row, one a row, or one a row beside others of its length.
LAYOUTS = ("packed", "flat", "padded", "grouped")
# What the model card tells of the training; of the codebook and the networks it tells by itself.
CARD_OPTIONS = (
    *("max_steps", "batch_size", "gradient_accumulation_steps", "learning_rate", "warmup_steps", "weight_decay"),
    *("max_grad_norm", "seed", "mixture", "language_probability", "vision_probability", "misaligned_probability"),
    *("joint_cloze", "predict_within_modality", "text_cloze_weight", "visual_cloze_weight", "alignment_weight"),
    *("freeze_input_embeddings", "max_length", "max_joined", "max_step", "trailing_seconds"),
)


@dataclass
class Material:
    """What is learned from: rows to train on, rows held out, the processor that made them, true steps, the videos."""

    train_rows: datasets.Dataset
    test_rows: datasets.Dataset
    processor: VideoBertProcessor
    truth: Mapping[str, list[dict]] = field(default_factory=dict)
    videos: Mapping[str, Path] = field(default_factory=dict)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    switch = argparse.BooleanOptionalAction
    # What to learn from; the embedded kitchen if neither videos nor rows are given
    parser.add_argument("--videos", type=Path, help="folder of videos")
    parser.add_argument("--corpus", type=Path, help="rows: a saved datasets.Dataset, or Parquet; needs --processor")
    parser.add_argument("--processor", help="folder or Hub id of the processor that made the rows")
    parser.add_argument("--truth", type=Path, help="true steps, one JSON object a line, to evaluate with")
    parser.add_argument("--test_share", type=float, default=0.1, help="share of the videos that is held out")
    parser.add_argument("--from_scratch", action="store_true", help="make the kitchen's videos and rows anew")
    parser.add_argument("--output_dir", type=Path, help="default: runs/kitchen, or runs/ and the name of the source")
    # Models that it is made of, by Hub id or folder; for the kitchen they come from packages
    parser.add_argument("--text_model", help="text BERT to start from: google-bert/bert-base-uncased")
    parser.add_argument("--asr_model", help="speech recogniser: openai/whisper-small")
    parser.add_argument("--language", help="what is spoken, for a multilingual recogniser; default: it finds out")
    parser.add_argument("--asr_task", choices=SPEECH_TASKS, help="translate: write in English what is said")
    parser.add_argument("--asr_engine", choices=SPEECH_ENGINES, help="faster-whisper reads CTranslate2 checkpoints")
    parser.add_argument(
        "--subtitles",
        help="what is said, instead of hearing it: beside the videos where there are name.srt or name.vtt (default), "
        "a folder of them, captions by video id (.json), or none",
    )
    parser.add_argument(
        "--backbone",
        help="video network: MCG-NJU/videomae-base-finetuned-kinetics (default), torchvision/s3d; image network: "
        "facebook/dinov2-base; two joined: torchvision/s3d+facebook/dinov2-base:change",
    )
    parser.add_argument("--backbone_dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--backbone_batch_size", type=int, default=4, help="clips looked at in a forward pass")
    parser.add_argument("--compile_backbone", action=switch, default=False, help="takes minutes; measure if it pays")
    parser.add_argument("--levels", type=int, default=4, help="depth of the codebook, for --videos")
    parser.add_argument("--branches", type=int, default=12, help="children of a node of the codebook, for --videos")
    parser.add_argument("--freeze_input_embeddings", action=switch, default=False, help="the paper's choice")
    parser.add_argument("--license", help="of the trained weights, for the model card: apache-2.0")
    # Objectives
    parser.add_argument("--mixture", type=float, nargs=3, default=(0.1, 0.1, 0.8), metavar=REGIMES)
    parser.add_argument("--language_probability", type=float, default=0.35, help="share of the words to predict")
    parser.add_argument("--vision_probability", type=float, default=0.25, help="share of the visual tokens to predict")
    parser.add_argument("--alignment_share", type=float, default=0.5, help="of the video-text examples, for alignment")
    parser.add_argument("--twins", action=switch, default=True, help="each text with its true and with a false video")
    parser.add_argument("--masked_pairs", action=switch, default=False, help="mask pairs like cloze examples")
    parser.add_argument("--same_video_share", type=float, default=0.5, help="of the false videos")
    parser.add_argument("--false_candidates", type=int, default=1, help="above 1 the false videos are hard")
    parser.add_argument("--joint_cloze", action=switch, default=True, help="cloze on video-text pairs too")
    parser.add_argument(
        "--predict_within_modality", action=switch, default=False, help="a word competes with words only, and so on"
    )
    parser.add_argument("--text_cloze_weight", type=float, default=1.0)
    parser.add_argument("--visual_cloze_weight", type=float, default=1.0)
    parser.add_argument("--alignment_weight", type=float, default=3.0)
    # Segments
    parser.add_argument("--max_length", type=int, default=96, help="tokens in a sequence")
    parser.add_argument("--max_joined", type=int, default=3, help="most sentences in an example")
    parser.add_argument("--max_step", type=int, default=5, help="largest step when visual tokens are subsampled")
    parser.add_argument("--trailing_seconds", type=float, default=3.0, help="clips after a sentence that it gets too")
    # Optimisation
    parser.add_argument("--max_steps", type=int, default=750)
    parser.add_argument("--batch_size", type=int, default=32, help="examples a process and micro-batch")
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--warmup_steps", type=int, default=50)
    parser.add_argument("--weight_decay", type=float, default=0.01)
    parser.add_argument("--max_grad_norm", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    # Running
    parser.add_argument("--attn_implementation", help="eager, sdpa (default), flash_attention_2, …")
    parser.add_argument("--layout", choices=LAYOUTS, help="of a batch; default: packed, for flash attention flat")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--logging_steps", type=int, default=10)
    parser.add_argument("--eval_steps", type=int, default=100)
    parser.add_argument("--checkpointing_steps", type=int, default=250)
    parser.add_argument("--checkpoints_kept", type=int, default=2)
    parser.add_argument("--resume_from_checkpoint", help='a checkpoint, or "latest"')
    args = parser.parse_args(arguments)
    if args.corpus and not args.processor:
        parser.error("--corpus needs --processor, which knows the words and the codebook of these rows")
    if args.checkpoints_kept < 1:
        parser.error(f"--checkpoints_kept is {args.checkpoints_kept}; it must be at least 1")
    if args.videos and args.corpus:
        parser.error("--videos and --corpus exclude each other")
    # Rows have been heard already, and the kitchen's narrator speaks English.
    hearing = ("language", "asr_task", "asr_engine", "subtitles", *(["asr_model"] if args.corpus else []))
    for name in hearing if not args.videos else []:
        if getattr(args, name) is not None:
            source = "the rows of --corpus" if args.corpus else "the kitchen"
            parser.error(f"--{name} is about how --videos are heard; it has no effect on {source}")
    if args.layout is None:
        args.layout = "flat" if "flash" in (args.attn_implementation or "") else "packed"
    source = args.videos or args.corpus
    args.output_dir = args.output_dir or Path("runs") / (source.resolve().name if source else "kitchen")
    return args


def gather_material(args: argparse.Namespace) -> Material:
    """Rows and processor, from the source that the options name; sets the models that they leave open."""
    if args.videos or args.corpus:
        args.text_model = args.text_model or "google-bert/bert-base-uncased"
        args.asr_model = args.asr_model or "openai/whisper-small"
        args.backbone = args.backbone or "MCG-NJU/videomae-base-finetuned-kinetics"
        return own_material(args)
    from kitchen.prepare import prepare_kitchen
    from kitchen.weights import weights_folder

    args.text_model = args.text_model or str(weights_folder("bert-minilm-l6"))
    kitchen = prepare_kitchen(
        args.output_dir / "work",
        args.from_scratch,
        args.asr_model,
        args.backbone,
        args.text_model,
        dtype=args.backbone_dtype,
    )
    return Material(kitchen.train_rows, kitchen.test_rows, kitchen.processor, kitchen.truth, kitchen.videos)


def own_material(args: argparse.Namespace) -> Material:
    videos = find_videos(args.videos) if args.videos else {}
    if args.corpus:
        processor, rows = VideoBertProcessor.from_pretrained(args.processor), read_rows(args.corpus)
    else:
        hearing = {"language": args.language, "task": args.asr_task, "engine": args.asr_engine}
        hearing = {name: value for name, value in hearing.items() if value is not None}
        processor = VideoBertProcessor.from_models(
            args.text_model,
            args.asr_model,
            args.backbone,
            asr_options=hearing or None,
            backbone_options={
                "dtype": args.backbone_dtype,
                "batch_size": args.backbone_batch_size,
                "compile": args.compile_backbone,
            },
        )
        source = None if args.subtitles in (None, "beside") else args.subtitles
        written = "en" if args.asr_task == "translate" else args.language or "en"
        subtitles = None if args.subtitles == "none" else find_subtitles(videos, source, written)
        rows = build_corpus(
            videos,
            processor,
            args.output_dir / "corpus",
            held_out_share=args.test_share,
            levels=args.levels,
            branches=args.branches,
            seed=args.seed,
            subtitles=subtitles,
        )
        processor.save_pretrained(args.output_dir)  # the rows are of no use without it, should training be stopped
    for row in rows.filter(lambda row: bool(row["error"])):
        print(f"damaged: {row['error']}", file=sys.stderr)
    good = rows.filter(lambda row: bool(row["sentences"] or row["visual_ids"]))
    held_out = held_out_ids(good["video_id"], args.test_share)
    train_rows = good.filter(lambda row: row["video_id"] not in held_out)
    if len(train_rows) < 2:
        raise ValueError(
            f"{len(good)} of {len(rows)} videos hold anything; 4 are the least, since a false pair takes another "
            "video, in training and held out."
        )
    test_rows = good.filter(lambda row: row["video_id"] in held_out)
    truth = read_truth(args.truth) if args.truth else {}
    return Material(train_rows, test_rows, processor, truth, videos)


def make_model(args: argparse.Namespace, material: Material) -> VideoBertForPreTraining:
    model = VideoBertForPreTraining.from_text_checkpoint(
        args.text_model,
        centroids=material.processor.codebook.centroids(),
        freeze_input_embeddings=args.freeze_input_embeddings,
        joint_cloze=args.joint_cloze,
        predict_within_modality=args.predict_within_modality,
        text_cloze_weight=args.text_cloze_weight,
        visual_cloze_weight=args.visual_cloze_weight,
        alignment_weight=args.alignment_weight,
    )
    offsets = material.processor.visual_token_offset, model.config.visual_token_offset
    if offsets[0] != offsets[1]:
        raise ValueError(
            f"Visual tokens begin at {offsets[0]} in the processor and at {offsets[1]} in {args.text_model}; the "
            "processor of the rows and --text_model must share one vocabulary."
        )
    if args.attn_implementation:
        model.set_attn_implementation(args.attn_implementation)
    return model


def make_data(args: argparse.Namespace, material: Material, config):
    """Training examples, held-out examples, and a collator for each."""
    tokenizer = material.processor.tokenizer
    options = {
        "mixture": dict(zip(REGIMES, args.mixture, strict=True)),
        "max_length": args.max_length,
        "max_joined": args.max_joined,
        "max_step": args.max_step,
        "pairs": AlignmentPairs(
            args.alignment_share, args.twins, args.masked_pairs, args.same_video_share, args.false_candidates
        ),
        "trailing_seconds": args.trailing_seconds,
    }
    data = [
        SegmentDataset(rows, tokenizer, config.visual_token_offset, seed=args.seed + number, **options)
        for number, rows in enumerate((material.train_rows, material.test_rows))
    ]
    collators = [
        VideoBertDataCollator(
            tokenizer,
            config.visual_token_offset,
            config.codebook_size,
            args.language_probability,
            args.vision_probability,
            config.joint_cloze,
            layout=layout,
        )
        # Held-out figures are counted example by example.
        for layout in ("padded" if args.layout == "grouped" else args.layout, "padded")
    ]
    return *data, collators


def evaluate_saved(model, args: argparse.Namespace, material: Material) -> tuple[dict, str]:
    """Zero-shot action classification where true steps are known, and what it takes to do it again."""
    segments = step_segments(material.test_rows, material.truth)
    if not segments:
        return {}, ""
    train_segments = step_segments(material.train_rows, material.truth)
    results = evaluate_actions(model, material.processor, segments, args.batch_size, train_segments)
    (args.output_dir / "rows").mkdir(exist_ok=True)
    for name, rows in (("held_out", material.test_rows), ("train", material.train_rows)):
        rows.to_parquet(args.output_dir / "rows" / f"{name}.parquet")
    lines = [json.dumps({"video_id": video_id, "steps": steps}) for video_id, steps in material.truth.items()]
    (args.output_dir / "rows" / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return results, results_table(results)


def draw_timeline(model, material: Material, path: Path) -> None:
    """A held-out video with speech, one whose frames are at hand if there is one; with its true steps where known."""

    def fitness(row):
        return not row["error"], bool(row["sentences"]), row["video_id"] in material.videos

    row = max(material.test_rows, key=fitness)
    video = None if row["error"] else material.videos.get(row["video_id"])
    parts = step_segments([row], material.truth)
    parts = parts or [segment._asdict() for segment in row_segments(row)]
    filled = []
    for part, (verb, thing) in zip(parts, best_words(model, material.processor, parts), strict=True):
        right = (verb, thing) == (part["verb"], part["object"]) if "verb" in part else None
        filled.append({"start": part["start"], "end": part["end"], "text": f"{verb} the {thing}", "right": right})
    plot_timeline(row, filled, path, video)


def peak_memory_gb() -> float:
    """The most memory that this process, or any single process it started, ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    usages = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(usages) * unit / 1e9


def save(accelerator: Accelerator, model, processor: VideoBertProcessor, folder: Path) -> None:
    """Model, code, processor and codebook in one folder."""
    unwrapped = accelerator.unwrap_model(model)
    unwrapped.save_pretrained(
        folder, is_main_process=accelerator.is_main_process, state_dict=accelerator.get_state_dict(model)
    )
    if accelerator.is_main_process:
        processor.save_pretrained(folder)


def main(arguments: list[str] | None = None) -> dict:
    started, args = time.time(), parse_args(arguments)
    accelerator = Accelerator(
        log_with="tensorboard",
        project_dir=args.output_dir,
        # Without it a resumed run would draw its batches in another order.
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
        # The others wait while the main process tokenises the videos.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))],
    )
    if accelerator.device.type == "cpu" and accelerator.num_processes == 1:
        # `accelerate launch` leaves a process on the CPU one thread.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(cores)
    settings = {name: value for name, value in vars(args).items() if isinstance(value, (int, float, str))}
    accelerator.init_trackers("logs", config=settings)
    with accelerator.main_process_first():
        material = gather_material(args)
    set_seed(args.seed)
    model = make_model(args, material)
    train_data, held_out_data, collators = make_data(args, material, model.config)
    accelerator.print(
        f"{len(train_data)} segments of {len(material.train_rows)} videos to train on, "
        f"{len(held_out_data)} of {len(material.test_rows)} held out"
    )
    training_started = time.time()
    model, progress = train(accelerator, model, train_data, held_out_data, collators, args)
    training_seconds = time.time() - training_started
    save(accelerator, model, material.processor, args.output_dir)
    results = {}
    if accelerator.is_main_process:
        saved = VideoBertForPreTraining.from_pretrained(args.output_dir).to(accelerator.device)
        actions, table = evaluate_saved(saved, args, material)
        results = {**progress.held_out[-1], **actions, "training_seconds": training_seconds}
        results["named_among"] = "their own modality" if args.predict_within_modality else "the joint vocabulary"
        results |= {"seconds": time.time() - started, "peak_memory_gb": peak_memory_gb()}
        training = {name: getattr(args, name) for name in CARD_OPTIONS}
        training["text_model"] = public_name(args.text_model)
        kitchen = not (args.videos or args.corpus)
        write_model_card(
            args.output_dir,
            saved,
            material.processor,
            results,
            training,
            table,
            license="apache-2.0" if kitchen else args.license,
            language="en" if kitchen or args.asr_task == "translate" else args.language,
        )
        (args.output_dir / "all_results.json").write_text(json.dumps(results, indent=2) + "\n")
        plot_losses(progress.history, progress.held_out, args.output_dir / "losses.png")
        draw_timeline(saved, material, args.output_dir / "timeline.png")
        print(f"held-out tokens are named among those of {results['named_among']}")
        for name, value in progress.held_out[-1].items():
            print(f"held-out {name}: {value:.3f}" if isinstance(value, float) else f"after {name} {value}")
        print(f"\n{table}\n\n" if table else "", f"saved in {args.output_dir}", sep="")
    accelerator.end_training()
    return results


if __name__ == "__main__":
    main()
