"""Zero-shot action classification (paper, section 4.4): which deed, and on what? Nothing is trained for it.

How often the demo's model is right on the videos that it never saw:

    python examples/classify_actions.py --model runs/kitchen --corpus runs/kitchen/rows/held_out.parquet \
        --truth runs/kitchen/rows/truth.jsonl --train_corpus runs/kitchen/rows/train.parquet

One's own model and rows, with classes of one's own (a word or a few on each line):

    python examples/classify_actions.py --model runs/mine --corpus my_rows/ --truth my_steps.jsonl \
        --verbs verbs.txt --objects objects.txt

What happens in a video of one's own, asked with any sentence:

    python examples/classify_actions.py --model runs/mine --video film.mp4 --text "here i [MASK] the [MASK]."

A line of the truth file is one video, with times in seconds:
`{"video_id": …, "steps": [{"verb", "object", "start", "end"}]}`. With `--train_corpus`, a supervised classifier on the
same visual tokens says how much they hold at all, and pairs of verb and object that training never showed are counted
by themselves.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from endings import end_in_a_sentence
from transformers import pipeline

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import check_rows, read_rows
from processing.evaluation import (
    evaluate_actions,
    evaluate_templates,
    read_truth,
    read_words,
    results_table,
    step_segments,
    templates_table,
)
from processing.evaluation.actions import TEMPLATE, TEMPLATES


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
    parser.add_argument("--corpus", type=Path, help="rows of the videos to classify")
    parser.add_argument("--truth", type=Path, help="their steps, one JSON object a line")
    parser.add_argument("--train_corpus", type=Path, help="rows of the training videos")
    parser.add_argument("--train_truth", type=Path, help="their steps, if they are not in --truth")
    parser.add_argument("--templates", type=Path, help="sentences to compare, one a line, instead of ours")
    parser.add_argument("--video", type=Path, help="a video to name words of, instead of rows")
    parser.add_argument("--text", default=TEMPLATE, help="what is asked about it")
    parser.add_argument("--top_k", type=int, default=5, help="answers to each mask of it")
    parser.add_argument("--backbone", help="the video network, where it is not where the model says")
    parser.add_argument("--verbs", type=Path, help="the words to choose from at the first mask, one a line")
    parser.add_argument("--objects", type=Path, help="the words to choose from at the second mask, one a line")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--output", type=Path, help="write the figures or the answers to this JSON file")
    args = parser.parse_args()
    if (args.video is None) == (args.corpus is None):
        parser.error("give either --video or --corpus")
    if args.corpus and not args.truth:
        parser.error("--corpus needs --truth")
    return args


def name_words(args: argparse.Namespace) -> list:
    """The best words at each mask of a sentence about one video."""
    given = {"backbone": args.backbone} if args.backbone else {}
    processor = VideoBertProcessor.from_pretrained(args.model, **given)
    pipe = pipeline("video-fill-mask", model=args.model, processor=processor)
    lists = [file and read_words(file) for file in ([args.verbs, args.objects] if args.objects else [args.verbs])]
    lists += [None] * (args.text.count(processor.tokenizer.mask_token) - len(lists))
    answers = pipe(str(args.video), text=args.text, top_k=args.top_k, targets=lists if any(lists) else None)
    for number, words in enumerate(answers if isinstance(answers[0], list) else [answers], start=1):
        print(f"mask {number}: " + ", ".join(f"{one['token_str']} {one['score']:.3f}" for one in words))
    return answers


def measure(args: argparse.Namespace) -> dict:
    """How often the model is right about rows whose steps are known, and what that owes to the template."""
    model = VideoBertForPreTraining.from_pretrained(args.model)
    processor = VideoBertProcessor.from_pretrained(args.model)

    def read_segments(corpus: Path, truth: Path) -> list[dict]:
        rows = read_rows(corpus)
        check_rows(rows, processor)
        return step_segments(rows, read_truth(truth))

    segments = read_segments(args.corpus, args.truth)
    train_segments = read_segments(args.train_corpus, args.train_truth or args.truth) if args.train_corpus else None
    files = {"verb": args.verbs, "object": args.objects}
    lists = {asked: read_words(file) for asked, file in files.items() if file}
    results = evaluate_actions(model, processor, segments, args.batch_size, train_segments, lists)
    print(f"{results['num_segments']} steps, ranked among all {model.config.text_vocab_size} words, in per cent\n")
    print(results_table(results))
    print(f"\nthe whole deed as one answer, among those that occur: {100 * results['phrase_top1']:.1f}\n")
    templates = read_words(args.templates) if args.templates else TEMPLATES
    results |= evaluate_templates(model, processor, segments, templates, args.batch_size)
    print(templates_table(results))
    return results


def main() -> None:
    args = parse_arguments()
    results = name_words(args) if args.video else measure(args)
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
