"""Does a trained VideoBERT know which text and video belong together (paper, section 3.3)? On rows it has not seen.

    python examples/score_alignment.py --model runs/kitchen --corpus runs/kitchen/rows/held_out.parquet \
        --train_corpus runs/kitchen/rows/train.parquet --max_length 96 --trailing_seconds 3

Each text stands with its own and with a false video, whole and unmasked: of another video, and at another place of the
same one. The table has what `[CLS]` says, how much likelier the video makes the words to the cloze, and, with
`--train_corpus`, a regression over which words meet which visual ids. Segments are cut as in training: give the
`--max_length` and `--trailing_seconds` of the run, which are in its model card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from endings import end_in_a_sentence

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import check_rows, read_rows
from processing.evaluation import alignment_table, evaluate_alignment


def main() -> None:
    """Measure, print the table, and write the figures if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
    parser.add_argument("--corpus", type=Path, required=True, help="rows of the videos to ask about")
    parser.add_argument("--train_corpus", type=Path, help="rows of the training videos, for the regression")
    parser.add_argument("--max_length", type=int, default=512, help="tokens in a sequence")
    parser.add_argument("--max_joined", type=int, default=3, help="most sentences in a text")
    parser.add_argument("--trailing_seconds", type=float, default=0.0, help="clips after a sentence that it gets too")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()

    model = VideoBertForPreTraining.from_pretrained(args.model)
    processor = VideoBertProcessor.from_pretrained(args.model)
    rows = read_rows(args.corpus)
    train_rows = read_rows(args.train_corpus) if args.train_corpus else None
    for some in (rows, train_rows):
        if some is not None:
            check_rows(some, processor)
    figures = evaluate_alignment(
        model,
        processor,
        rows,
        train_rows,
        batch_size=args.batch_size,
        max_length=args.max_length,
        max_joined=args.max_joined,
        trailing_seconds=args.trailing_seconds,
    )
    print(alignment_table(figures))
    if args.output:
        args.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
