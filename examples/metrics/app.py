"""The page of a metric's Space: arguments as JSON go in, the result comes out.

Each metric's folder has this file and `requirements.txt` as links, as `coco_captions.py` says. evaluate's own
`launch_gradio_widget` needs gradio 3, which the packages that evaluate needs no longer go with.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import evaluate
import gradio
from evaluate.utils.gradio import parse_readme

FOLDER = Path(__file__).parent
# A Space is called as its script is: that is how `evaluate.load` finds it.
NAME = os.environ.get("SPACE_ID", FOLDER.name).rpartition("/")[2]
metric = evaluate.load(str(FOLDER / f"{NAME}.py"))


def compute(arguments: str) -> dict:
    try:
        return metric.compute(**json.loads(arguments))
    except (TypeError, ValueError) as error:
        raise gradio.Error(str(error)) from error


page = gradio.Interface(
    compute,
    gradio.Textbox(label="Arguments of compute, as JSON", lines=8),
    gradio.JSON(label="Result"),
    title=NAME,
    article=parse_readme(FOLDER / "README.md"),
    flagging_mode="never",
)
if __name__ == "__main__":
    page.launch()
