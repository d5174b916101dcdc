"""Zero-shot action classification (paper, section 4.4): which deed, and on what? Nothing is trained for it.

    python examples/classify_actions.py --model runs/kitchen --corpus runs/kitchen/rows/held_out.parquet \
        --truth runs/kitchen/rows/truth.jsonl

The model reads "now let me show you how to [MASK] the [MASK]." with a step's visual tokens: the first mask is the
verb, the second the object. A line of the truth file is one video, with times in seconds:
`{"video_id": …, "steps": [{"verb", "object", "start", "end"}]}`. With `--train_corpus` and `--train_truth`, a
supervised classifier on the same visual tokens says how much they hold at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from endings import end_in_a_sentence

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import check_rows, read_rows
from processing.evaluation import evaluate_actions, read_truth, results_table, step_segments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
    parser.add_argument("--corpus", type=Path, required=True, help="rows of the videos to classify")
    parser.add_argument("--truth", type=Path, required=True, help="their steps, one JSON object a line")
    parser.add_argument("--train_corpus", type=Path, help="rows of the training videos, for the token probe")
    parser.add_argument("--train_truth", type=Path, help="their steps")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()
    if (args.train_corpus is None) != (args.train_truth is None):
        parser.error("--train_corpus and --train_truth belong together")

    model = VideoBertForPreTraining.from_pretrained(args.model)
    processor = VideoBertProcessor.from_pretrained(args.model)

    def read_segments(corpus: Path, truth: Path) -> list[dict]:
        rows = read_rows(corpus)
        check_rows(rows, processor)
        return step_segments(rows, read_truth(truth))

    segments = read_segments(args.corpus, args.truth)
    train_segments = read_segments(args.train_corpus, args.train_truth) if args.train_corpus else None
    results = evaluate_actions(model, processor, segments, args.batch_size, train_segments)
    print(f"{results['num_segments']} steps, ranked among all {model.config.text_vocab_size} words, in per cent\n")
    print(results_table(results))
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
