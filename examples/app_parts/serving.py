"""Everything that the page needs, from a model folder to a server that tells nobody of anything."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware
from transformers import AutoModelForSeq2SeqLM

from app_parts.asking import Answers
from app_parts.desk import Desk, Sample
from app_parts.limits import RateLimit
from app_parts.page import build_page, page_style
from app_parts.watching import Watcher
from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.corpus import find_videos

MAX_SAMPLES = 6
# The browser itself refuses whatever would come from, or go to, another machine. Gradio's own code needs the rest.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; frame-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}


@dataclass
class PageOptions:
    """What is served, and how much of it.

    Args:
        model (`Path`):
            Folder of a trained VideoBERT with its processor.
        samples, captioner, forecaster (`Path`, *optional*):
            Folders of videos, of a captioner and of a model that was trained to forecast.
        host (`str`), port (`int`, *optional*):
            Where the page is; by default the first free port from 7860 on.
        max_minutes, max_megabytes (`float`):
            Of a video.
        videos_an_hour, questions_a_minute (`int`):
            Of one visitor.
        max_waiting (`int`):
            Visitors that wait for their turn.
        workers (`int`):
            Videos that are watched at a time.
        trailing_seconds (`float`):
            A moment also has the clips up to so long after its sentence.
    """

    model: Path
    samples: Path | None = None
    captioner: Path | None = None
    forecaster: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    max_minutes: float = 5.0
    max_megabytes: float = 200.0
    videos_an_hour: int = 30
    questions_a_minute: int = 60
    max_waiting: int = 20
    workers: int = 1
    trailing_seconds: float = 0.0

    def beside(self, name: str) -> Path | None:
        """The folder of a part: the given one, or the one of its name in the model's folder, if it is there."""
        given, usual = getattr(self, name), self.model / name
        return given or (usual if usual.is_dir() else None)


class OwnHeaders:
    """Adds [`HEADERS`] to every answer.

    Args:
        app:
            The ASGI application.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with(message):
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        await self.app(scope, receive, send_with)


@contextmanager
def serve_page(options: PageOptions) -> Iterator[str]:
    """Serves the page inside the `with` block, to whose end nothing of the visitors remains.

    Args:
        options ([`PageOptions`]):
            What is served.

    Yields:
        `str`: The page's address.

    Raises:
        ValueError: A part of it is missing, or of another codebook.
    """
    if not options.model.is_dir():
        raise ValueError(f"{options.model} is no folder; give the folder of a trained VideoBERT.")
    if options.workers < 1:
        raise ValueError(f"workers is {options.workers}; allowed is 1 or more.")
    processor = VideoBertProcessor.from_pretrained(options.model)
    if processor.codebook is None:
        raise ValueError(f"{options.model} holds no codebook, without which no video can be read.")
    answers = load_answers(options, processor)
    watcher = Watcher(processor, options.max_minutes, options.workers)
    with tempfile.TemporaryDirectory(prefix="videobert_page_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = f"{folder}/uploads"
        try:
            samples = watch_samples(options.beside("samples"), watcher, Path(folder) / "samples")
            desk = Desk(
                watcher,
                answers,
                samples,
                RateLimit(options.videos_an_hour, 3600, "videos"),
                RateLimit(options.questions_a_minute, 60, "questions"),
            )
            yield from launch(desk, options)
        finally:
            watcher.close()


def launch(desk: Desk, options: PageOptions) -> Iterator[str]:
    """Opens the page, yields its address, and closes it."""
    limits = {
        "minutes": options.max_minutes,
        "megabytes": options.max_megabytes,
        "videos": options.videos_an_hour,
    }
    page = build_page(desk, limits, options.workers)
    page.queue(max_size=options.max_waiting)
    _, address, _ = page.launch(
        server_name=options.host,
        server_port=options.port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=int(options.max_megabytes * 1_000_000),
        state_session_capacity=1000,
        app_kwargs={"middleware": [Middleware(OwnHeaders)]},
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        **page_style(),
    )
    try:
        yield address
    finally:
        page.close(verbose=False)


def load_answers(options: PageOptions, processor: VideoBertProcessor) -> Answers:
    """The model, and what lies beside it."""
    parts = {}
    for name, kind in {"captioner": AutoModelForSeq2SeqLM, "forecaster": VideoBertForPreTraining}.items():
        if (folder := options.beside(name)) is not None:
            theirs = VideoBertProcessor.from_pretrained(folder).codebook
            if theirs is None or theirs.fingerprint != processor.codebook.fingerprint:
                raise ValueError(f"The {name} {folder} has another codebook than {options.model}; give one with it.")
            parts[name] = kind.from_pretrained(folder)
    model = VideoBertForPreTraining.from_pretrained(options.model)
    return Answers(model, processor, **parts, trailing_seconds=options.trailing_seconds)


def watch_samples(folder: Path | None, watcher: Watcher, copies: Path) -> dict[str, Sample]:
    """The first videos of a folder, watched, copied to where the page may show them, each with a picture beside it.

    A bad one becomes a line, and the others are taken.
    """
    samples = {}
    copies.mkdir(parents=True)
    gr.set_static_paths([copies])  # shown from where they lie: what the page copies is deleted after an hour
    for name, path in list((find_videos(folder) if folder else {}).items())[:MAX_SAMPLES]:
        print(f"Watching the sample {name} …", flush=True)
        copy = copies / str(len(samples)) / path.name  # in a folder of its own: others may have its name
        copy.parent.mkdir(exist_ok=True)
        try:
            shutil.copyfile(path, copy)
            seen = watcher.look(str(copy), "", lambda *_: None)
        except ValueError as error:
            print(f"{name}: {error}", flush=True)
            continue
        if seen.pictures:
            copy.with_suffix(".jpg").write_bytes(base64.b64decode(seen.pictures[len(seen.pictures) // 2]))
        samples[f"sample {len(samples) + 1}"] = Sample(copy, seen)
    return samples
