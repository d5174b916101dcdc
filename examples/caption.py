"""Captions (paper, section 4.5): teach a VideoBERT to say in words what it sees, and write subtitles of videos.

Learn from the sentences of rows, and score against what must be beaten on held-out rows; the demo's:

    python examples/caption.py --model runs/kitchen --corpus runs/kitchen/rows/train.parquet \
        --test_corpus runs/kitchen/rows/held_out.parquet --truth runs/kitchen/rows/truth.jsonl --output runs/captioner

One's own rows, on several GPUs; then the paper's way, in which a decoder reads one vector a video:

    accelerate launch --num_processes 8 examples/caption.py --model runs/mine --corpus runs/mine/corpus/rows \
        --max_steps 5000 --train_encoder --output runs/captioner
    python examples/caption.py --model runs/mine --corpus runs/mine/corpus/rows --paper_features --raw_features \
        --output runs/paper_captioner

Subtitles of a video, silent or not, or of all videos in a folder (`--output` is then a folder, too, and gets a `.vtt`
and a `.srt` of each):

    python examples/caption.py --model runs/captioner --video film.mp4 --output film.vtt
    python examples/caption.py --model runs/captioner --video my_videos/ --output my_subtitles/

A line of the truth file is one video, as for `examples/classify_actions.py`. Its steps are captioned, and the heard
sentences that name a step's verb and object are the references. With `--push_to_hub --hub_model_id user/name` a
captioner goes to the Hub when it has learned, with its processor and its card.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState
from endings import end_in_a_sentence
from publishing.hub import claim_repository, publish_what_was_made
from training.captioner import CaptionOptions, caption_figures, load_metrics, train_captioner
from training.options import HelpFormatter, HubOptions
from transformers import AutoConfig, HfArgumentParser, pipeline

from modeling_videobert import VideoBertCaptionerConfig, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import check_rows, find_videos, read_rows
from processing.corpus.counts import count_rows
from processing.evaluation import captions_table, read_truth
from processing.subtitle_writing_videobert import SUBTITLES, write_subtitles
from processing.training_data import caption_pairs


def parse() -> tuple[CaptionOptions, HubOptions, object]:
    """How captioners are trained, whether they are published, and what is to be done."""
    parser = HfArgumentParser((CaptionOptions, HubOptions), description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id: a VideoBERT to learn from, or a captioner")
    parser.add_argument("--output", type=Path, required=True, help="the captioner's folder; or subtitles, see above")
    parser.add_argument("--corpus", type=Path, help="rows to learn from")
    parser.add_argument("--test_corpus", type=Path, help="rows to be scored on, with --truth")
    parser.add_argument("--truth", type=Path, help="their steps, one JSON object a line")
    parser.add_argument("--text_start", help="text BERT, for a line of the table: without pretraining on video")
    parser.add_argument("--video", type=Path, help="a video, or a folder of them, to be captioned")
    parser.add_argument("--num_beams", type=int, default=4, help="captions that are followed at a time")
    parser.add_argument("--length_penalty", type=float, default=1.0, help="above 0: how much long captions are liked")
    options, hub, values = parser.parse_args_into_dataclasses()
    if (values.corpus is None) == (values.video is None):
        parser.error("give either --corpus, to learn from, or --video, to be captioned")
    if (values.test_corpus is None) != (values.truth is None):
        parser.error("--test_corpus and --truth belong together")
    if values.text_start and values.test_corpus is None:
        parser.error("--text_start is compared on --test_corpus, which is missing")
    if hub.push_to_hub and values.corpus is None:
        parser.error("--push_to_hub publishes a captioner, which --corpus teaches")
    return options, hub, values


def learn(options: CaptionOptions, hub: HubOptions, values) -> None:
    """Train a captioner, score it if there is something to score it on, save it, and publish it if that is wanted."""
    repo_id = claim_repository(hub, values.output, "model") if PartialState().is_main_process else None
    videobert = VideoBertForPreTraining.from_pretrained(values.model)
    processor = VideoBertProcessor.from_pretrained(values.model)
    train_rows = read_rows(values.corpus)
    check_rows(train_rows, processor)
    told = {"options": asdict(options), "train": count_rows(train_rows)}
    if values.test_corpus is None:
        captioner = train_captioner(videobert, processor, caption_pairs(train_rows, options.trailing_seconds), options)
    else:
        rows = read_rows(values.test_corpus)
        check_rows(rows, processor)
        told |= {"held_out": count_rows(rows), "split": "rows that were given apart"}
        text_start = values.text_start and VideoBertForPreTraining.from_text_checkpoint(
            values.text_start, centroids=processor.codebook.centroids()
        )
        figures, more = caption_figures(
            videobert,
            processor,
            train_rows,
            rows,
            read_truth(values.truth),
            load_metrics(),
            options,
            text_start,
            num_beams=values.num_beams,
            length_penalty=values.length_penalty,
        )
        captioner = more["captioner"]
    if not PartialState().is_main_process:
        return
    captioner.save_pretrained(values.output)
    processor.save_pretrained(values.output)
    (values.output / "training.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    (values.output / "captions.json").unlink(missing_ok=True)  # of a captioner that lay here before
    if values.test_corpus is not None:
        told = {"figures": figures, "results": more["results"], "captions": more["captions"]}
        (values.output / "captions.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        left_out = figures["caption_steps_left_out"]
        print(f"{figures['caption_steps']} steps; {left_out} that nobody names were left out\n")
        print(captions_table(more["results"]))
    publish_what_was_made("model", values.output, repo_id)


def caption(values) -> int:
    """Write the subtitles of each video; a bad one becomes a line with its error. How many were bad."""
    if AutoConfig.from_pretrained(values.model).model_type != VideoBertCaptionerConfig.model_type:
        raise ValueError(f"{values.model} is no captioner; `examples/caption.py --corpus` makes one of it.")
    pipe = pipeline("video-captioning", model=values.model)
    one = not values.video.is_dir()
    bad = 0
    for name, path in ({values.video.stem: values.video} if one else find_videos(values.video)).items():
        files = (
            [values.output]
            if one and values.output.suffix.lower() in SUBTITLES
            else [values.output / f"{name}{ending}" for ending in SUBTITLES]
        )
        try:
            sentences = pipe(str(path), num_beams=values.num_beams, length_penalty=values.length_penalty)
        except (ValueError, RuntimeError, OSError) as error:
            print(f"{name}: error: {error}")
            bad += 1
            continue
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_subtitles(file, sentences)
        print(f"{name}: {len(sentences)} captions in {', '.join(str(file) for file in files)}")
    return bad


def main() -> None:
    options, hub, values = parse()
    if values.corpus is not None:
        learn(options, hub, values)
    elif caption(values):
        sys.exit(1)


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
