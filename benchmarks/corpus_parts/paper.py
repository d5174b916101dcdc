"""The paper's corpus as a calculation: what was measured on this machine, times what is assumed of another one."""

import torch
from kitchen.weights import weights_folder
from torch.utils.flop_counter import FlopCounterMode

from processing import I3DModel

PAPER_HOURS = 23_186
GPU_TFLOPS = 40.0
CLIP_SECONDS, FRAMES = 1.5, 30


def count_gigaflop() -> float:
    """Multiplications and additions of I3D for one clip."""
    model = I3DModel.from_pretrained(weights_folder("i3d-kinetics400"))
    edge = model.config.image_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, FRAMES, 3, edge, edge))
    return counter.get_total_flops() / 1e9


def calculate(figures: dict, cores: int) -> dict:
    """Hours of video that a GPU takes a day, the cores that feed it, and how long it has for the paper's corpus.

    Args:
        figures (`dict`):
            Hours of video an hour here, `hours_per_hour_…` of `network_of_pictures`, `network_of_speech` (neither of
            which waits) and `decode_720p`; and `clips_an_hour`, of the network of pictures.
        cores (`int`):
            On which they were measured.
    """
    here = count_gigaflop() * figures["clips_an_hour"] / 3600 / 1000
    factor = GPU_TFLOPS / here
    hours = (figures[f"hours_per_hour_network_of_{name}"] for name in ("pictures", "speech"))
    a_day = 24 * factor / sum(1 / rate for rate in hours)
    return {
        "paper_hours_per_gpu_day": a_day,
        "paper_gpu_days": PAPER_HOURS / a_day,
        "paper_cores_per_gpu": cores * a_day / 24 / figures["hours_per_hour_decode_720p"],
        "paper_assumptions": [
            "a calculation, not a measurement: nothing of it was run on a GPU",
            f"a GPU sustains {GPU_TFLOPS:g} TFLOP/s in the network of pictures, an eighth of an A100's peak in "
            f"bfloat16; here it does {here:.2f}",
            f"it is as many times faster ({factor:.0f} x) in the network of speech, which has many small steps",
            "pictures and speech are taken one after the other on it, and wait for nothing",
            f"videos are 720p of 30 frames a second, decoded on cores like the {cores} here",
            f"the paper's corpus is {PAPER_HOURS:,} hours, all of it with sound",
        ],
    }
