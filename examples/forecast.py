"""What comes next in a video: the visual tokens of the clips to come, as pictures and as words (paper, section 4.2).

The cloze of pretraining hardly ever asks for what comes last. So a trained model is asked for it, some minutes on two
cores, which gives a model folder of its own:

    python examples/forecast.py train --model runs/kitchen --corpus runs/kitchen/rows/train.parquet \
        --output_dir runs/kitchen_forecast

How often it is right, beside Markov chains that count the same rows:

    python examples/forecast.py evaluate --model runs/kitchen_forecast --corpus runs/kitchen/rows/held_out.parquet \
        --train_corpus runs/kitchen/rows/train.parquet

What it expects of one video, or of its first seconds, as a PNG. Where the codebook keeps no frames (`fit_codebook.py
--frames`), those of the video itself and of training videos stand for its tokens:

    python examples/forecast.py show --model runs/kitchen_forecast --video my_video.mp4 --seconds 12 \
        --output forecast.png --train_corpus runs/kitchen/rows/train.parquet --train_videos my_videos/
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import chain
from pathlib import Path

from endings import end_in_a_sentence
from pictures.tokens import named_clips, plot_forecast, token_frames
from training.forecasting import BATCH_SIZE, LEARNING_RATE, STEPS, train_to_forecast

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codes_videobert import clips_of, join_clips
from processing.corpus import check_rows, find_videos, read_rows
from processing.evaluation import evaluate_forecasting, forecast_table
from processing.evaluation.actions import TEMPLATE
from processing.evaluation.forecasting import FIGURES
from processing.forecasting_videobert import HORIZONS, forecast


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    model = VideoBertForPreTraining.from_pretrained(args.model)
    processor = VideoBertProcessor.from_pretrained(args.model)
    {"train": train, "evaluate": evaluate, "show": show}[args.job](args, model, processor)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("train", help="ask a trained model for what comes next, and save it")
    add_inputs(job, "rows of the training videos")
    job.add_argument("--output_dir", type=Path, required=True)
    job.add_argument("--max_steps", type=int, default=STEPS)
    job.add_argument("--batch_size", type=int, default=BATCH_SIZE)
    job.add_argument("--learning_rate", type=float, default=LEARNING_RATE)
    job.add_argument("--seed", type=int, default=0)
    job = jobs.add_parser("evaluate", help="score it beside what needs no network")
    add_inputs(job, "rows of the videos to forecast")
    job.add_argument("--train_corpus", type=Path, required=True, help="rows of the training videos, to count")
    job.add_argument("--batch_size", type=int, default=32)
    job.add_argument("--output", type=Path, help="write the figures to this JSON file")
    job = jobs.add_parser("show", help="draw what one video will show")
    job.add_argument("--model", required=True, help="folder or Hub id of a VideoBERT that was asked to forecast")
    job.add_argument("--video", type=Path, required=True)
    job.add_argument("--seconds", type=float, help="what is seen of it; default: all")
    job.add_argument("--top", type=int, default=3, help="visual tokens at each horizon")
    job.add_argument("--train_corpus", type=Path, help="rows of the training videos, whose frames are shown")
    job.add_argument("--train_videos", type=Path, help="folder of these videos")
    job.add_argument("--output", type=Path, default=Path("forecast.png"))
    args = parser.parse_args(arguments)
    if args.job == "show" and (args.train_corpus is None) != (args.train_videos is None):
        parser.error("--train_corpus and --train_videos belong together")
    return args


def add_inputs(job: argparse.ArgumentParser, rows: str) -> None:
    job.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
    job.add_argument("--corpus", type=Path, required=True, help=rows)


def checked_rows(path: Path, processor: VideoBertProcessor):
    rows = read_rows(path)
    check_rows(rows, processor)
    return rows


def train(args, model, processor) -> None:
    rows = checked_rows(args.corpus, processor)
    train_to_forecast(model, processor, rows, args.max_steps, args.batch_size, args.learning_rate, args.seed)
    model.save_pretrained(args.output_dir)
    processor.save_pretrained(args.output_dir)
    print(f"saved in {args.output_dir}")


def evaluate(args, model, processor) -> None:
    rows, train_rows = (checked_rows(path, processor) for path in (args.corpus, args.train_corpus))
    results = evaluate_forecasting(model, processor, train_rows, rows, batch_size=args.batch_size)
    print("shares in per cent, likelihoods in nats a clip, of so many places:\n")
    print("\n\n".join(forecast_table(results, figure) for figure in FIGURES))
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


def show(args, model, processor) -> None:
    row = processor.tokenize(args.video, subtitles=[])
    if row["error"]:
        if not row["visual_ids"]:
            raise ValueError(row["error"])
        print(f"{row['video_id']}: {row['error']}", file=sys.stderr)  # what could be read of it is enough
    clips = clips_of(row)
    if args.seconds is not None:
        clips = clips[: max(0, int(args.seconds / row["clip_seconds"]))]
    visual_ids, told = join_clips(clips), []
    answers = forecast(model, processor, visual_ids, HORIZONS, args.top, TEMPLATE)
    for one in answers:
        named = ", ".join(f"{t} {100 * s:.0f} %" for t, s in zip(one["tokens"], one["scores"], strict=True))
        told.append(" the ".join(f"{mask[0]['token_str']} {100 * mask[0]['score']:.0f} %" for mask in one["words"]))
        print(f"{one['start']:.1f}–{one['end']:.1f} s: {named}; {told[-1]}")
    # What was seen of this video comes before other videos with the same tokens.
    train_rows = checked_rows(args.train_corpus, processor) if args.train_corpus else ()
    rows = chain([{**row, "visual_ids": visual_ids}], train_rows)
    videos = (find_videos(args.train_videos) if args.train_videos else {}) | {row["video_id"]: args.video}
    seen = [*clips, *(clip for one in answers for clip in named_clips(one))]
    frames = token_frames(seen, processor.codebook, rows, videos)
    words = [line.replace(" the ", "\nthe ") for line in told]
    plot_forecast(clips, answers, frames, args.output, row["clip_seconds"], words)


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
