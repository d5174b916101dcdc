"""A page of frames with what happens in them, to look at a folder of kitchen videos at a glance.

python examples/kitchen/contact_sheet.py --videos kitchen/train --output contact_sheet.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torchcodec.decoders import VideoDecoder

TILE, CAPTION, GAP = 160, 18, 4


def captioned_frames(videos: Path, count: int) -> list[tuple[Image.Image, str]]:
    """For each step in turn, a frame of its close-up and one of its deed, until there are `count`."""
    found = []
    for line in (videos / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        video = json.loads(line)
        decoder = VideoDecoder(str(videos / f"{video['video_id']}.mp4"))
        for step in video["steps"]:
            moments = ((step["start"] + step["close_up_end"]) / 2, (step["close_up_end"] + step["end"]) / 2)
            words = (step["object"], f"{step['verb']} the {step['object']}")
            for seconds, caption in zip(moments, words, strict=True):
                pixels = decoder.get_frame_played_at(seconds).data.permute(1, 2, 0).numpy()
                found.append((Image.fromarray(pixels), caption))
        if len(found) >= count:
            break
    return found[:count]


def contact_sheet(videos: str | Path, columns: int = 6, rows: int = 4) -> Image.Image:
    """A page of `columns` x `rows` captioned frames from the first videos of a folder that `generate` made."""
    wide, high = TILE + GAP, TILE + CAPTION + GAP
    page = Image.new("RGB", (columns * wide + GAP, rows * high + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for at, (frame, caption) in enumerate(captioned_frames(Path(videos), columns * rows)):
        x, y = GAP + at % columns * wide, GAP + at // columns * high
        page.paste(frame.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y))
        pen.text((x + TILE / 2, y + TILE + CAPTION / 2), caption, "black", font, anchor="mm")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder with truth.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="the picture to write")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--rows", type=int, default=4)
    options = parser.parse_args()
    contact_sheet(options.videos, options.columns, options.rows).save(options.output)


if __name__ == "__main__":
    main()
