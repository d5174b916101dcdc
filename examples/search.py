"""Finds the place in videos where something happens, and sentences for a video.

    python examples/search.py index --model runs/kitchen --corpus runs/kitchen/rows/held_out.parquet \
        --trailing_seconds 3 --index runs/kitchen/index
    python examples/search.py query "cut the lemon" --model runs/kitchen --index runs/kitchen/index --top 5

One's own videos, with a picture of what was found; run `index` again when there are new ones:

    python examples/search.py index --model runs/mine --videos my_videos/ --index runs/index
    python examples/search.py query "cut the lemon" --model runs/mine --index runs/index --output found.png
    python examples/search.py query --video new.mp4 --model runs/mine --index runs/index

What is said only cuts the videos into moments: they are found by what they show. The index is a `datasets.Dataset` in
`INDEX/moments`. The first pass compares vectors, the second lets the model read the best with the text. The other way,
a video is cut into windows, and each gets the sentences of the index that fit it best.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from endings import end_in_a_sentence

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook.whole_files import read_json, write_json
from processing.corpus import build_corpus, check_rows, find_videos, read_rows
from processing.search import MomentIndex, read_index, row_moments

MOMENTS, CORPUS, FILES = "moments", "corpus", "videos.json"


def update_index(args: argparse.Namespace) -> None:
    """Takes in what is new in a folder of videos or among rows; a bad video becomes a line with its error."""
    model, processor = load_model(args.model)
    moments, files = args.index / MOMENTS, args.index / FILES
    index = read_index(moments, model, processor) if moments.exists() else MomentIndex(model, processor)
    videos = find_videos(args.videos) if args.videos else {}
    # Without a corpus one is built inside the index, where what was described already is not described again.
    rows = read_rows(args.corpus) if args.corpus else build_corpus(videos, processor, args.index / CORPUS)
    check_rows(rows, processor)
    for row in rows:
        if row["error"]:
            print(f"{row['video_id']}: {row['error']}", file=sys.stderr)
    found = [moment for row in rows for moment in row_moments(row, args.trailing_seconds)]
    new = index.add(found)
    index.save(moments, args.faiss)
    known = read_json(files) if files.exists() else {}
    write_json(files, known | {video_id: str(path.absolute()) for video_id, path in videos.items()})
    print(f"{len(index)} moments in the index, {new} of them new")


def find_moments(args: argparse.Namespace) -> None:
    """Prints the moments that fit a text and, where asked for, draws them."""
    index = read_index(args.index / MOMENTS, *load_model(args.model))
    found = index.search(args.text, args.top)
    for number, moment in enumerate(found, start=1):
        said = f"  “{moment['text']}”" if moment["text"] else ""
        print(f"{number}. {moment['video_id']}  {moment['start']:.1f}–{moment['end']:.1f} s{said}")
    if args.output:
        from pictures.moments import draw_moments  # matplotlib is not needed to search

        videos = read_json(args.index / FILES) if (args.index / FILES).exists() else {}
        draw_moments(found, videos, args.text, args.output)


def find_sentences(args: argparse.Namespace) -> None:
    """Prints the sentences that fit each window of a video."""
    model, processor = load_model(args.model)
    index = read_index(args.index / MOMENTS, model, processor)
    row = processor.tokenize(args.video, subtitles=[])  # nobody listens: it is asked about for what it shows
    if row["error"]:
        print(f"{row['video_id']}: {row['error']}", file=sys.stderr)
    moments = row_moments(row)
    if not moments:
        raise ValueError(f"{args.video} shows no clip of {row['clip_seconds']} s to find sentences for.")
    for moment in moments:
        print(f"{moment['start']:.1f}–{moment['end']:.1f} s")
        for number, sentence in enumerate(index.sentences(moment["visual_ids"], args.top), start=1):
            print(f"  {number}. {sentence['text']}")


def load_model(name: str):
    """Model and processor."""
    return VideoBertForPreTraining.from_pretrained(name), VideoBertProcessor.from_pretrained(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    indexing = commands.add_parser("index", help="make an index, or add what is new to it")
    asking = commands.add_parser("query", help="ask it")
    for command in (indexing, asking):
        command.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
        command.add_argument("--index", type=Path, required=True, help="folder of the index")
    indexing.add_argument("--videos", type=Path, help="folder of videos; beside --corpus, to take pictures from")
    indexing.add_argument("--corpus", type=Path, help="rows of videos that were described already")
    indexing.add_argument(
        "--trailing_seconds", type=float, default=0.0, help="clips after a sentence that its moment gets too"
    )
    indexing.add_argument(
        "--faiss", help='search in a faiss index of this kind, such as "HNSW32"; say so at each update'
    )
    asking.add_argument("text", nargs="?", help="what to find")
    asking.add_argument("--video", type=Path, help="or a video to find sentences for")
    asking.add_argument("--top", type=int, default=5, help="how many")
    asking.add_argument("--output", type=Path, help="a picture of the moments that were found, a PNG")
    args = parser.parse_args()
    if "text" not in args:
        if not (args.videos or args.corpus):
            indexing.error("give --videos, --corpus or both")
        update_index(args)
    elif (args.text is None) == (args.video is None):
        asking.error("give a text or --video")
    elif args.video:
        find_sentences(args)
    else:
        find_moments(args)


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
