"""Pretrain VideoBERT: from videos (or rows, or nothing at all) to a model folder that `from_pretrained` loads.

The embedded kitchen, about 8 minutes of training on two cores:

    accelerate launch examples/pretrain.py

One's own videos:

    accelerate launch examples/pretrain.py --videos my_videos/ --output_dir runs/mine \
        --asr_model openai/whisper-small --backbone MCG-NJU/videomae-base-finetuned-kinetics \
        --config examples/configs/one_gpu.yaml

Features that exist already (S3D of HowTo100M at one a second, say), with subtitles or captions where there are any:

    accelerate launch examples/pretrain.py --features s3d/ --clip_seconds 1 --subtitles captions.json \
        --output_dir runs/s3d --config examples/configs/one_gpu.yaml

`--residual_codes 4 --levels 1 --branches 32` gives a clip four visual ids instead of one, which say more where few ids
must stand for much.

Rows that an earlier run made, with its processor, on several GPUs, going on where it stopped:

    accelerate launch --num_processes 8 --mixed_precision bf16 examples/pretrain.py --corpus runs/mine/corpus/rows \
        --processor runs/mine --output_dir runs/mine --config examples/configs/one_gpu.yaml \
        --resume_from_checkpoint latest

With `--push_to_hub --hub_model_id user/name` the model goes to the Hub at the end, as `publish.py` would put it there;
that it may is found out before the work begins.

Defaults are the paper's recipe where it gives them; the kitchen has its own, `examples/configs/kitchen.yaml`. Sizes
for several GPUs are in `examples/accelerate/`. Held-out figures and losses go to TensorBoard (`tensorboard --logdir
runs`), all numbers to `all_results.json`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed
from endings import end_in_a_sentence
from pictures.training import plot_losses, plot_timeline
from publishing.hub import claim_repository, publish_what_was_made
from training.loop import Loop
from training.material import Material, gather_material, make_collator, make_examples
from training.options import Options, parse_options

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus.counts import count_rows
from processing.evaluation import best_words, evaluate_actions, evaluate_alignment, results_table, step_segments
from processing.evaluation.tables import results_tables
from processing.model_card import write_model_card
from processing.names_videobert import public_name
from processing.sequence_videobert import IGNORED
from processing.training_data import row_segments

# Texts whose pairs are judged at each look: few enough that looking is no matter.
LOOK_TEXTS = 100


def make_model(options: Options, material: Material) -> VideoBertForPreTraining:
    """A model that starts from the text checkpoint, with a row for each visual token."""
    models, objectives = options.models, options.objectives
    model = VideoBertForPreTraining.from_text_checkpoint(
        models.text_model,
        centroids=material.processor.codebook.centroids(),
        freeze_input_embeddings=models.freeze_input_embeddings,
        joint_cloze=objectives.joint_cloze,
        predict_within_modality=objectives.predict_within_modality,
        text_cloze_weight=objectives.text_cloze_weight,
        visual_cloze_weight=objectives.visual_cloze_weight,
        alignment_weight=objectives.alignment_weight,
    )
    offsets = material.processor.visual_token_offset, model.config.visual_token_offset
    if offsets[0] != offsets[1]:
        raise ValueError(
            f"Visual tokens begin at {offsets[0]} in the processor and at {offsets[1]} in {models.text_model}; the "
            "processor of the rows and --text_model must share one vocabulary."
        )
    if options.running.attn_implementation:
        model.set_attn_implementation(options.running.attn_implementation)
    return model


def measure_alignment(model, options: Options, material: Material, max_texts: int | None = None) -> dict[str, float]:
    """How well true and false pairs of held-out videos are told apart, by `[CLS]` alone."""
    names = ("max_length", "max_joined", "trailing_seconds")
    segments = {name: getattr(options.segments, name) for name in names}
    size = options.optimisation.batch_size
    return evaluate_alignment(
        model, material.processor, material.test_rows, gain=False, max_texts=max_texts, batch_size=size, **segments
    )


def evaluate_saved(model, options: Options, material: Material) -> tuple[dict, str]:
    """Zero-shot action classification where true steps are known, and what it takes to do it again."""
    segments = step_segments(material.test_rows, material.truth)
    if not segments:
        return {}, ""
    train_segments = step_segments(material.train_rows, material.truth)
    results = evaluate_actions(model, material.processor, segments, options.optimisation.batch_size, train_segments)
    folder = options.running.output_dir / "rows"
    folder.mkdir(exist_ok=True)
    for name, rows in (("held_out", material.test_rows), ("train", material.train_rows)):
        rows.to_parquet(folder / f"{name}.parquet")
    lines = [json.dumps({"video_id": video_id, "steps": steps}) for video_id, steps in material.truth.items()]
    (folder / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
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


def choose_precision(wanted: str | None) -> str | None:
    """Of `auto`, bf16 where the processor multiplies in it (half the time of a step), float32 where it would only
    imitate it; other wishes as they are."""
    if wanted != "auto":
        return wanted
    able = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else native_bf16(torch.cpu.get_capabilities())
    return "bf16" if able else "no"


def native_bf16(capabilities: Mapping[str, object]) -> bool:
    """Whether a CPU has instructions that multiply bf16."""
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def start_accelerator(options: Options) -> Accelerator:
    """An accelerator with the tracker that was asked for, and all cores where it would take one."""
    report_to, folder = options.running.report_to, options.running.output_dir
    accelerator = Accelerator(
        mixed_precision=choose_precision(options.running.mixed_precision),
        log_with=None if report_to == "none" else report_to,
        project_dir=folder,
        # The others wait while the main process tokenises the videos.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))],
    )
    if accelerator.device.type == "cpu" and accelerator.num_processes == 1:
        # `accelerate launch` leaves a process on the CPU one thread.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(cores)
    accelerator.init_trackers("logs", config=options.as_dict())
    return accelerator


def describe_training(options: Options, material: Material) -> dict:
    """What a card tells of how a model was trained, and on what."""
    kitchen = not (options.data.videos or options.data.corpus)
    rule = f"{100 * options.data.test_share:g} % of the videos, drawn by their names"
    return {
        "options": options.recipe() | {"text_model": public_name(options.models.text_model)},
        "train": count_rows(material.train_rows),
        "held_out": count_rows(material.test_rows),
        "split": "the kitchen's test videos, which were drawn apart" if kitchen else rule,
    }


def state_rights(options: Options) -> dict:
    """What a card says of licence and language."""
    models, kitchen = options.models, not (options.data.videos or options.data.corpus or options.data.features)
    if kitchen:
        return {"license": "apache-2.0", "language": "en"}
    return {"license": models.license, "language": models.written_language()}


def report(options: Options, material: Material, figures: dict, progress, started: float) -> dict:
    """What the saved model is worth, in a card, a file, pictures and on the screen."""
    folder = options.running.output_dir
    device = "cuda" if torch.cuda.is_available() else "cpu"
    saved = VideoBertForPreTraining.from_pretrained(folder).to(device)
    actions, table = evaluate_saved(saved, options, material)
    if "alignment_auc" in figures:  # so far of a few texts
        figures = figures | measure_alignment(saved, options, material)
    results = {**figures, **actions}
    within = options.objectives.predict_within_modality
    results["named_among"] = "their own modality" if within else "the joint vocabulary"
    results |= {"seconds": time.time() - started, "peak_memory_gb": peak_memory_gb()}
    training = describe_training(options, material) | {"weights": saved.weights_fingerprint()}
    tables = results_tables(results)
    write_model_card(folder, saved, material.processor, results, training, tables, **state_rights(options))
    for name, told in {"all_results.json": results, "training.json": training}.items():
        (folder / name).write_text(json.dumps(told, indent=2) + "\n")
    plot_losses(progress.history, progress.held_out, folder / "losses.png")
    draw_timeline(saved, material, folder / "timeline.png")
    print(f"held-out tokens are named among those of {results['named_among']}")
    for name, value in figures.items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    print(f"\n{table}\n\n" if table else "", f"saved in {folder}", sep="")
    return results


def main(arguments: list[str] | None = None) -> dict:
    """Gather, train, save, report; returns what `all_results.json` holds, in the main process."""
    started, options = time.time(), parse_options(arguments, __doc__)
    accelerator = start_accelerator(options)
    folder = options.running.output_dir
    repo_id = claim_repository(options.hub, folder, "model") if accelerator.is_main_process else None
    with accelerator.main_process_first():
        material = gather_material(options)
    set_seed(options.optimisation.seed)
    model = make_model(options, material)
    train_data, held_out_data = make_examples(options, material, model.config)
    accelerator.print(
        f"{len(train_data)} segments of {len(material.train_rows)} videos to train on, "
        f"{len(held_out_data)} of {len(material.test_rows)} held out"
    )
    collator = make_collator(options, material, model.config)
    origin = {"codebook": material.processor.codebook.fingerprint}
    items = held_out_data.draw_epoch(0)
    figures = {}
    # Where nothing held out is asked about alignment, as in videos without speech, there are no pairs to measure.
    if any(example["alignment_label"] != IGNORED for item in items for example in item):
        figures["alignment"] = lambda model: measure_alignment(model, options, material, LOOK_TEXTS)
    loop = Loop(accelerator, model, train_data, items, collator, options, origin, figures)
    training_started = time.time()
    progress = loop.run()
    measured = {**loop.final_figures(), "training_seconds": time.time() - training_started}
    save(accelerator, loop.model, material.processor, folder)
    results = report(options, material, measured, progress, started) if accelerator.is_main_process else {}
    accelerator.end_training()
    publish_what_was_made("model", folder, repo_id, **state_rights(options))
    return results


if __name__ == "__main__":
    with end_in_a_sentence("Run the same command with --resume_from_checkpoint latest to go on where it stopped."):
        main()
