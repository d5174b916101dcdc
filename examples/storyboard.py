"""From text to video: the sentences of a recipe become a strip of frames (paper, section 4.2).

    python examples/storyboard.py draw --model runs/kitchen --output storyboard.png \
        --text "First wash the carrot." "Then cut the carrot into slices." "Now stir the soup."

`--file recipe.txt` takes a sentence from each line. Where the codebook keeps no frames (`fit_codebook.py --frames`),
those of training videos stand for its visual tokens:

    python examples/storyboard.py draw --model runs/mine --file recipe.txt \
        --train_corpus runs/mine/corpus/rows --train_videos my_videos/

How often strips for what is said in held-out steps show the right verb and object, beside random clips and the clips
of the training step with the most similar text:

    python examples/storyboard.py evaluate --model runs/kitchen --truth runs/kitchen/rows/truth.jsonl \
        --corpus runs/kitchen/rows/held_out.parquet --train_corpus runs/kitchen/rows/train.parquet
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from endings import end_in_a_sentence
from pictures.tokens import plot_storyboard, token_frames

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codes_videobert import split_clips
from processing.corpus import check_rows, find_videos, read_rows
from processing.evaluation import evaluate_storyboard, imagine_clips, read_truth, storyboard_table, told_steps
from processing.evaluation.storyboard import NUM_CLIPS, ROUNDS
from processing.evaluation.truth import read_lines
from processing.sequence_videobert import visual_code_sizes


def main(arguments: list[str] | None = None) -> None:
    """Draw or evaluate."""
    args = parse_arguments(arguments)
    model = VideoBertForPreTraining.from_pretrained(args.model)
    processor = VideoBertProcessor.from_pretrained(args.model)
    {"draw": draw_recipe, "evaluate": evaluate}[args.job](args, model, processor)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """What to do, of what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    draw = jobs.add_parser("draw", help="a PNG of the strips for a recipe")
    recipe = draw.add_mutually_exclusive_group(required=True)
    recipe.add_argument("--text", nargs="+", help="sentences")
    recipe.add_argument("--file", type=Path, help="a sentence a line")
    draw.add_argument("--rounds", type=int, default=ROUNDS, help="in which clips are named; 1: all at once")
    draw.add_argument("--train_corpus", type=Path, help="rows of the training videos, whose frames are shown")
    draw.add_argument("--train_videos", type=Path, help="folder of these videos")
    draw.add_argument("--output", type=Path, default=Path("storyboard.png"))
    score = jobs.add_parser("evaluate", help="how often the right verb and object are shown")
    score.add_argument("--corpus", type=Path, required=True, help="rows of videos that training has not seen")
    score.add_argument("--train_corpus", type=Path, required=True, help="rows of the training videos")
    score.add_argument("--truth", type=Path, required=True, help="steps of both, one JSON object a line")
    score.add_argument("--output", type=Path, help="write the figures to this JSON file")
    for job in (draw, score):
        job.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
        job.add_argument("--clips", type=int, default=NUM_CLIPS, help="clips in a strip")
    args = parser.parse_args(arguments)
    if args.job == "draw" and (args.train_corpus is None) != (args.train_videos is None):
        parser.error("--train_corpus and --train_videos belong together")
    return args


def checked_rows(path: Path, processor: VideoBertProcessor):
    """Rows, if they are of the processor's codebook."""
    rows = read_rows(path)
    check_rows(rows, processor)
    return rows


def draw_recipe(args, model, processor) -> None:
    """A strip for each sentence."""
    sentences = [line.strip() for line in args.text or read_lines(args.file) if line.strip()]
    if not sentences:
        raise ValueError(f"{args.file or '--text'} holds no sentence; a storyboard needs at least one.")
    strips = list(zip(sentences, imagine_clips(model, processor, sentences, args.clips, args.rounds), strict=True))
    for sentence, strip in strips:
        print(f"{sentence}  {' '.join(map(str, strip))}")
    rows = checked_rows(args.train_corpus, processor) if args.train_corpus else ()
    videos = find_videos(args.train_videos) if args.train_videos else {}
    each = len(visual_code_sizes(processor.tokenizer))
    strips = [(sentence, split_clips(strip, each)) for sentence, strip in strips]
    wanted = [clip for _, strip in strips for clip in strip]
    plot_storyboard(strips, token_frames(wanted, processor.codebook, rows, videos), args.output)


def evaluate(args, model, processor) -> None:
    """The table, and a file of the figures."""
    truth = read_truth(args.truth)
    steps, train_steps = (
        told_steps(checked_rows(path, processor), truth) for path in (args.corpus, args.train_corpus)
    )
    results = evaluate_storyboard(model, processor, train_steps, steps, args.clips)
    print(f"{len(steps)} steps, in per cent\n\n{storyboard_table(results)}")
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
