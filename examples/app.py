"""A page on which people try a trained VideoBERT: drop a video, and see what the model sees.

    pip install -e ".[app]"
    python examples/app.py runs/kitchen --samples runs/kitchen/work/seed_1/videos/test

For others in the house, with what was trained besides, on a model whose moments end three seconds after their words:

    python examples/app.py runs/kitchen --host 0.0.0.0 --port 7860 --captioner runs/captioner \
        --forecaster runs/kitchen_forecast --trailing_seconds 3 --max_minutes 2 --videos_an_hour 10

`samples`, `captioner` and `forecaster` are found by themselves where folders of these names lie in the model's folder.
Samples can be made: `python examples/kitchen/generate.py --output runs/samples --num_videos 3 --split test`.

As a Space: its files are this repository and the model folder, its README begins with `sdk: gradio` and
`app_file: examples/app.py`, and its variables are `VIDEOBERT_MODEL`, the model folder, and
`GRADIO_SERVER_NAME=0.0.0.0`. Behind a proxy, `FORWARDED_ALLOW_IPS` names it, so that limits count visitors.

Nothing leaves the machine: the page asks its own server only, videos are kept in a temporary folder, watched in a
process of its own, and deleted when their visitor leaves or, at the latest, an hour later.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

from app_parts.serving import PageOptions, serve_page
from endings import end_in_a_sentence


def parse_arguments() -> PageOptions:
    """What is served."""
    usual = PageOptions(Path())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = os.environ.get("VIDEOBERT_MODEL")
    parser.add_argument("model", type=Path, nargs="?" if model else None, default=model and Path(model))
    for name, what in {
        "samples": "folder of videos that visitors may take, six of them",
        "captioner": "folder of a captioner, of examples/caption.py",
        "forecaster": "folder of a model that was asked for what comes next, of examples/forecast.py",
    }.items():
        parser.add_argument(f"--{name}", type=Path, help=f"{what}; default: MODEL/{name}, if it is there")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", usual.host), help="whom it listens to")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    for name, what in {
        "max_minutes": "the longest video",
        "max_megabytes": "the largest video",
        "videos_an_hour": "of one visitor",
        "questions_a_minute": "of one visitor",
        "max_waiting": "visitors that wait for their turn; more are sent away",
        "workers": "videos that are watched at a time, each in a process of its own",
        "trailing_seconds": "clips after a sentence that its moment has too, as in training",
    }.items():
        value = getattr(usual, name)
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"{what}; default: {value:g}")
    return PageOptions(**vars(parser.parse_args()))


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended so, too, it leaves no video behind
    with serve_page(parse_arguments()) as address:
        print(f"The page is at {address}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    with end_in_a_sentence("Run the same command to open the page again."):
        main()
