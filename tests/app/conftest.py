"""One page of a tiny model and one browser for all tests of the page.

They are skipped where Gradio, Playwright or Chromium is missing: none is imported before a test asks for it.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.saved_videobert import save_videobert
from support.tiny_processor import make_video

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MILLISECONDS = 90_000  # until something is seen, on a machine that is busy
SECONDS = {"first.mp4": 4.6, "second.mp4": 6.0, "too_long.mp4": 130.0}


@dataclass
class Served:
    """A page that is open.

    Args:
        address (`str`):
            Where.
        uploads (`Path`):
            Where it keeps what visitors give.
        videos (`Path`):
            A folder of videos to give.
    """

    address: str
    uploads: Path
    videos: Path


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory, tiny_text_model, tiny_backbone):
    """A folder of a tiny model, of its captioner and of a sample."""
    from modeling_videobert import VideoBertForCaptioning, VideoBertForPreTraining
    from processing import VideoBertProcessor

    folder = tmp_path_factory.mktemp("page") / "model"
    save_videobert(folder, tiny_text_model, tiny_backbone)
    processor = VideoBertProcessor.from_pretrained(folder)
    videobert = VideoBertForPreTraining.from_pretrained(folder)
    captioner = VideoBertForCaptioning.from_videobert(videobert, processor.tokenizer, decoder_layers=1)
    captioner.save_pretrained(folder / "captioner")
    processor.save_pretrained(folder / "captioner")
    (folder / "samples").mkdir()
    make_video(folder / "samples" / "kitchen_1.mp4", "testsrc2=s=64x48:r=5:d=4.5")
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Silent videos of some lengths, one that is none, and one that is too large."""
    folder = tmp_path_factory.mktemp("given")
    for name, seconds in SECONDS.items():
        make_video(folder / name, f"testsrc=s=64x48:r=5:d={seconds}")
    (folder / "text.mp4").write_text("this is no video")
    (folder / "large.mp4").write_bytes(bytes(2_100_000))
    return folder


@pytest.fixture(scope="session")
def served(page_folder, videos):
    """The page, open."""
    from app_parts.serving import PageOptions, serve_page

    options = PageOptions(page_folder, max_minutes=2, max_megabytes=2)
    with serve_page(options) as address:
        yield Served(address, Path(os.environ["GRADIO_TEMP_DIR"]), videos)


@pytest.fixture(scope="session")
def chromium():
    """The system's Chromium, without a window."""
    from playwright.sync_api import expect, sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed (sh examples/app_parts/install_chromium.sh)")
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=MILLISECONDS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, served):
    """A function that lets a visitor of their own open the page; `asked` of what it returns are all its requests."""
    contexts = []

    def open_page(**options):
        context = chromium.new_context(**options)
        context.set_default_timeout(MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.told = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.told.append(message.text))
        page.goto(served.address)
        page.locator("#samples button").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
