"""What a trained VideoBERT is good for, each task beside what it must beat, on the kitchen's held-out videos.

    make demo                                                       # trains runs/kitchen
    python benchmarks/downstream_kitchen.py --json FILE.json        # some 20 minutes on two cores
    python benchmarks/downstream_kitchen.py --tasks actions retrieval
    python benchmarks/downstream_kitchen.py --smoke                 # few videos and steps: shows that it runs

`actions`: zero-shot, deeds (verb and object both right) whose pair no training video shows, beside the answer without
video; the whole deed asked as one answer of several WordPieces; the spread over twelve templates. `captions`: CIDEr-D
of a captioner that starts from the model, beside the caption of the nearest training segment and a captioner that sees
no video. `forecast`: after some minutes of being asked for what comes next, the right visual token among 256, beside
Markov chains. `retrieval`: the moment that a sentence with a verb and an object was said over. `storyboard`: clips
imagined for a sentence that show the right verb and object.

Captioner and forecaster are trained on the training rows only; nothing is chosen on the held-out ones.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import datasets
import evaluate
from training.captioner import CaptionOptions, caption_figures
from training.forecasting import STEPS, train_to_forecast

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import read_rows
from processing.evaluation import evaluate_actions, read_truth, step_segments
from processing.evaluation.actions import evaluate_templates
from processing.evaluation.forecasting import forecast_figures
from processing.evaluation.storyboard import storyboard_figures, told_steps
from processing.search.figures import retrieval_figures

ROOT = Path(__file__).resolve().parents[1]
METRICS = ROOT / "examples" / "metrics"
TRAILING_SECONDS = 3.0  # as the kitchen is trained


class Kitchen:
    """The model under test, its rows and the truth about them."""

    def __init__(self, folder: Path, smoke: bool):
        self.folder, self.smoke = folder, smoke
        self.model = self.new_model()
        self.processor = VideoBertProcessor.from_pretrained(folder)
        self.train_rows, self.rows = (read_rows(folder / "rows" / f"{name}.parquet") for name in ("train", "held_out"))
        self.truth = read_truth(folder / "rows" / "truth.jsonl")
        if smoke:
            self.train_rows, self.rows = self.train_rows.select(range(24)), self.rows.select(range(8))

    def new_model(self):
        """Again as it was saved: some tasks train it."""
        return VideoBertForPreTraining.from_pretrained(self.folder)

    def steps(self, of):
        return [step_segments(rows, self.truth) for rows in (self.train_rows, self.rows)][of]


def measure_actions(kitchen):
    train, held_out = kitchen.steps(0), kitchen.steps(1)
    results = evaluate_actions(kitchen.model, kitchen.processor, held_out, train_segments=train)
    figures = {
        "action_top1": results["action_top1"],
        "action_top1_unseen_pairs": results["action_top1_unseen_pairs"],
        "action_prior_unseen_pairs": results["action_top1_prior_unseen_pairs"],
        "unseen_pairs": results["num_unseen_pairs"],
        # The kitchen's verbs and things are one WordPiece each; a whole deed has several.
        "multi_piece_top1": results["phrase_top1"],
        "token_probe": results["action_top1_token_probe"],
    }
    templates = evaluate_templates(kitchen.model, kitchen.processor, held_out)
    return figures | {name: value for name, value in templates.items() if name.startswith("template_")}


def measure_captions(kitchen):
    metric = evaluate.load(str(METRICS / "cider_d"))
    options = CaptionOptions(max_steps=4) if kitchen.smoke else CaptionOptions()
    rows = kitchen.train_rows, kitchen.rows, kitchen.truth
    figures, more = caption_figures(kitchen.new_model(), kitchen.processor, *rows, [metric], options)
    for step, captions in list(zip(more["steps"], zip(*more["captions"].values(), strict=True), strict=False))[:3]:
        print("  ", step.get("references", step), "|", captions)
    return figures


def measure_forecasts(kitchen):
    model = kitchen.new_model()
    train_to_forecast(model, kitchen.processor, kitchen.train_rows, 2 if kitchen.smoke else STEPS)
    return forecast_figures(model, kitchen.processor, kitchen.train_rows, kitchen.rows)


def measure_retrieval(kitchen):
    steps = kitchen.steps(1)
    words = [{step[asked] for step in steps} for asked in ("verb", "object")]
    found = retrieval_figures(kitchen.model, kitchen.processor, kitchen.rows, words, TRAILING_SECONDS)
    return {name if name.startswith("retrieval_") else f"retrieval_{name}": value for name, value in found.items()}


def measure_storyboards(kitchen):
    told = [told_steps(rows, kitchen.truth) for rows in (kitchen.train_rows, kitchen.rows)]
    return storyboard_figures(kitchen.model, kitchen.processor, *told)


TASKS = {
    "actions": measure_actions,
    "storyboard": measure_storyboards,
    "retrieval": measure_retrieval,
    "forecast": measure_forecasts,
    "captions": measure_captions,
}


def table(figures):
    """What can be read: one line a figure, with what it must beat."""
    beside = {
        "action_top1_unseen_pairs": ["action_prior_unseen_pairs"],
        "caption_cider": ["caption_cider_nn", "caption_cider_no_video"],
        "forecast_top1": ["forecast_markov2"],
        "retrieval_r5": ["retrieval_chance"],
        "storyboard_recall": ["storyboard_nn", "storyboard_random"],
    }
    lines = ["| figure | value | beside |", "|---|---|---|"]
    for name, value in figures.items():
        if isinstance(value, (int, float)) and name not in sum(beside.values(), []):
            others = ", ".join(f"{other} {figures[other]:.3f}" for other in beside.get(name, ()) if other in figures)
            lines.append(f"| {name} | {value:.3f} | {others} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "runs" / "kitchen", help="folder that make demo wrote")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--smoke", action="store_true", help="few videos and steps")
    args = parser.parse_args()
    if not (args.model / "rows" / "truth.jsonl").is_file():
        parser.error(f"--model {args.model} holds no rows/truth.jsonl: run make demo first")
    datasets.disable_progress_bars()
    kitchen, figures = Kitchen(args.model, args.smoke), {}
    for name in args.tasks:
        started = time.time()
        print(f"{name} …", flush=True)
        figures |= TASKS[name](kitchen)
        print(f"{name}: {time.time() - started:.0f} s", flush=True)
        if args.json:
            args.json.write_text(json.dumps(figures, indent=2) + "\n")
    print("\n" + table(figures))


if __name__ == "__main__":
    main()
