"""How the page is laid out, and what leads to what."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gradio as gr
from gradio_client.utils import is_http_url_like

from app_parts.desk import EMPTY, NO_CAPTIONER, Desk
from processing.evaluation.actions import TEMPLATE

TITLE = "What VideoBERT sees"
WELCOME = """# What VideoBERT sees
A video becomes clips of {clip:g} s, each clip a *visual token*, and one BERT reads visual tokens and words together.
Drop a video, or take a sample. Then let the model fill in words, say what comes next, or find a moment.
"""
LIMITS = (
    "Up to {minutes:g} minutes and {megabytes:g} MB, {videos} videos an hour. Your video stays on this machine and is "
    "deleted when you leave."
)
HIDDEN = {"api_visibility": "private"}
# One question at a time: they share a model. Nobody waits for the videos of others with them.
QUESTION = {"concurrency_id": "questions", "concurrency_limit": 1}


def refuse_addresses(component: gr.Video) -> None:
    """Lets a component take uploaded files alone: this machine fetches nothing for visitors.

    (A class of its own would do, too, but Gradio writes a stub beside the source of each.)
    """
    keep = component.async_move_resource_to_block_cache

    async def keep_file(path):
        if is_http_url_like(str(path)):
            raise gr.Error("A video must be a file; addresses are not opened.", print_exception=False)
        return await keep(path)

    component.async_move_resource_to_block_cache = keep_file


def build_page(desk: Desk, limits: dict, workers: int) -> gr.Blocks:
    """The page.

    Args:
        desk ([`Desk`]):
            Does what visitors ask for.
        limits (`dict`):
            `minutes`, `megabytes` and `videos`, to be told.
        workers (`int`):
            How many videos are watched at a time.
    """
    clip = desk.answers.processor.video_processor.clip_seconds
    # Looked for every ten minutes, no file is there for more than an hour; and none when the page ends.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3000)) as page:
        seen = gr.State(None, time_to_live=3600)
        gr.Markdown(WELCOME.format(clip=clip))
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                video = gr.Video(label="Your video", sources=["upload"], height=280, elem_id="player", buttons=[])
                refuse_addresses(video)
            with gr.Column(scale=3, min_width=300):
                taken = sample_buttons(desk)
                gr.Markdown(LIMITS.format(**limits), elem_id="limits")
                with gr.Row():
                    again = gr.Button("Look at it again", size="sm", min_width=120)
                    stop = gr.Button("Stop", variant="stop", size="sm", min_width=120)
        timeline = gr.HTML(EMPTY, elem_id="timeline", min_height=80)
        with gr.Tabs():
            with gr.Tab("Fill in"):
                part, others = ask_to_fill(desk, seen)
            with gr.Tab("What next"):
                seconds = ask_for_future(desk, seen)
            with gr.Tab("Caption"):
                ask_for_caption(desk, seen)
            with gr.Tab("Find"):
                ask_to_find(desk, seen)
        shown = [timeline, seen, part, others, seconds]
        watching = {"concurrency_id": "videos", "concurrency_limit": workers, "show_progress_on": timeline}
        first = video.upload(desk.forget, None, shown, queue=False, **HIDDEN)
        looks = [
            again.click(desk.look, video, shown, api_name="look", **watching),
            first.then(desk.look, video, shown, **watching, **HIDDEN),
        ]
        for name, button in taken.items():
            button.click(partial(desk.take, name), None, [video, *shown], show_progress_on=timeline, **HIDDEN)
        video.clear(desk.forget, None, shown, queue=False, **HIDDEN)
        stop.click(desk.stop, None, shown, queue=False, cancels=looks, **HIDDEN)
        page.unload(desk.leave)
    return page


def sample_buttons(desk: Desk) -> dict[str, gr.Button]:
    """A button with a picture for each sample."""
    if not desk.samples:
        return {}
    gr.Markdown("**Or take a sample**")
    with gr.Row(elem_id="samples"):
        return {
            name: gr.Button(f"{name}, {sample.seen.row['duration']:.0f} s", icon=str(sample.path.with_suffix(".jpg")))
            for name, sample in desk.samples.items()
        }


def ask_to_fill(desk: Desk, seen: gr.State) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Which part of the video, and which other one."""
    text = gr.Textbox(TEMPLATE, label="A sentence with [MASK] for each word to be filled in", max_length=300)
    with gr.Row():
        part = gr.Dropdown([], label="Shown with it: a part of the video", min_width=260)
        others = gr.Dropdown(list(desk.samples), label="To compare: another video", min_width=260)
    button = gr.Button("Fill in", variant="primary")
    answer = gr.HTML(elem_id="filled")
    gr.on([button.click, text.submit], desk.fill, [seen, text, part, others], answer, api_name="fill", **QUESTION)
    return part, others


def ask_for_future(desk: Desk, seen: gr.State) -> gr.Slider:
    """How much of the video is shown."""
    seconds = gr.Slider(0, 1, value=0, step=1.5, label="Seconds that the model has seen")
    text = gr.Textbox(TEMPLATE, label="Told in words, by the masks of this sentence", max_length=300)
    button = gr.Button("What comes next?", variant="primary")
    answer = gr.HTML(elem_id="future")
    button.click(desk.forecast, [seen, seconds, text], answer, api_name="forecast", **QUESTION)
    return seconds


def ask_for_caption(desk: Desk, seen: gr.State) -> None:
    """One button, or a sentence where there is no captioner."""
    if not desk.answers.has_captioner:
        gr.Markdown(NO_CAPTIONER)
        return
    button = gr.Button("Say what the video shows", variant="primary")
    answer = gr.HTML(elem_id="captions")
    button.click(desk.caption, seen, answer, api_name="caption", **QUESTION)


def ask_to_find(desk: Desk, seen: gr.State) -> None:
    """What to look for; the player goes to the best place."""
    text = gr.Textbox(label="What happens in the moment you look for", placeholder="cut the lemon", max_length=300)
    button = gr.Button("Find", variant="primary")
    answer = gr.HTML(elem_id="found")
    found = gr.on([button.click, text.submit], desk.find, [seen, text], answer, api_name="find", **QUESTION)
    found.success(None, None, None, js="() => window.goToFirstMoment()")


def page_style() -> dict:
    """What is given to `launch`: fonts that every machine has, the page's own CSS and JavaScript."""
    here, fonts = Path(__file__).parent, ("system-ui", "sans-serif")
    theme = gr.themes.Soft(primary_hue="teal", font=fonts, font_mono=("ui-monospace", "monospace"))
    theme.set(  # dark enough to be read by all
        color_accent="*primary_700",
        body_text_color_subdued="*neutral_600",
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )
    return {
        "theme": theme,
        "css": (here / "page.css").read_text(encoding="utf-8"),
        "head": (here / "page.js").read_text(encoding="utf-8"),
    }
