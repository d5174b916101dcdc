"""I3D as it is packaged here beside the plain module: the same weights, the same clips of 30 frames at 160 px.

    python benchmarks/i3d_speed.py                        # eager and compiled, float32 and bfloat16; about 5 minutes
    python benchmarks/i3d_speed.py --json benchmarks/results/i3d_speed.json
    python benchmarks/i3d_speed.py --smoke                # small frames, seconds: shows that it runs

Plain: convolution, batch norm and ReLU one after the other, tensors in the default layout, as a port from the original
would have it. Ours: batch norms folded into the convolutions, channels last. Runs alternate; figures are medians of
pairs, the first run of each is not counted.

`i3d_vs_plain`: the plain module's time over ours, eager, float32, `--batch-size` clips (the default of `Backbone`).
`i3d_matmul_share`: the multiplications and additions that `FlopCounterMode` counts in ours, a second, over those of
the fastest of six large float32 products in turn with it: three shapes, each by BLAS (`A @ B`) and by oneDNN (a 1 x 1
convolution), which do not use the same instructions on every processor. It can exceed one: zeros beyond the edges are
counted, but need not be multiplied. `feature_difference`: the largest between the two modules' features,
`compiled_difference` between our eager and compiled ones. `overlap`: seconds for the clips of a made 720p video that
are decoded first and then looked at, over those of decoding while the network works.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from kitchen.weights import weights_folder  # noqa: E402

from processing import Backbone, I3DConfig, I3DModel, VideoBertVideoProcessor  # noqa: E402
from processing.backbone_videobert import load_preprocessing  # noqa: E402
from processing.i3d_videobert import ConvUnit, MaxPool, same_padding  # noqa: E402

DTYPES = ("float32", "bfloat16")


class PlainUnit(nn.Module):
    """Convolution, batch norm, ReLU: what a [`ConvUnit`] was before its batch norm was folded."""

    def __init__(self, unit):
        super().__init__()
        folded = unit.conv
        self.kernel, self.stride = folded.kernel_size, folded.stride
        shape = (folded.in_channels, folded.out_channels, self.kernel, self.stride)
        self.conv = nn.Conv3d(*shape, bias=False)
        self.norm = nn.BatchNorm3d(folded.out_channels, eps=1e-3)
        # Any statistics will do for the speed; these are taken apart so that the two give the same numbers.
        generator = torch.Generator().manual_seed(folded.out_channels)
        mean, variance = torch.rand(2, folded.out_channels, generator=generator) + 0.5
        deviation = (variance + self.norm.eps).sqrt()
        with torch.no_grad():
            self.conv.weight.copy_(folded.weight * deviation.view(-1, 1, 1, 1, 1))
            self.norm.running_mean.copy_(mean)
            self.norm.running_var.copy_(variance)
            self.norm.bias.copy_(folded.bias + mean / deviation)

    def forward(self, x):
        return F.relu(self.norm(self.conv(same_padding(x, self.kernel, self.stride))))


class PlainPool(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.kernel, self.stride = pool.kernel, pool.stride

    def forward(self, x):
        return F.max_pool3d(same_padding(x, self.kernel, self.stride), self.kernel, self.stride)


class PlainI3D(nn.Module):
    """The plain module, made of ours so that both have the same weights."""

    def __init__(self, model):
        super().__init__()
        self.trunk = plain(model.trunk)

    def forward(self, pixel_values):
        return self.trunk(pixel_values.transpose(1, 2).contiguous()).mean((2, 3, 4))


def plain(module):
    """The same tree of modules with plain units and pools in the place of ours."""
    if isinstance(module, ConvUnit):
        return PlainUnit(module)
    if isinstance(module, MaxPool):
        return PlainPool(module)
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*(plain(child) for child in module))
    return PlainInception([plain(child) for child in module.children()])


class PlainInception(nn.Module):
    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def alternate(runs, repeats):
    """Seconds of each of the named runs, in turn, after one round that warms up."""
    taken = {name: [] for name in runs}
    for repeat in range(-1, repeats):
        for name, run in runs.items():
            took = seconds(run)
            if repeat >= 0:
                taken[name].append(took)
    return taken


def products(size, dtype):
    """Large products from square to tall, by BLAS and as 1 x 1 convolutions; multiplications and additions of each."""
    runs = {}
    for narrower in (1, 2, 4):
        rows, width = size * narrower**2, size // narrower
        left, right = torch.randn(rows, width, dtype=dtype), torch.randn(width, width, dtype=dtype)
        image = left.T.reshape(1, width, rows, 1).contiguous(memory_format=torch.channels_last)
        kernel = right.T.reshape(width, width, 1, 1)
        shape = f"{rows} x {width} x {width}"
        runs[f"A @ B, {shape}"] = partial(torch.matmul, left, right)
        runs[f"1 x 1 convolution, {shape}"] = partial(F.conv2d, image, kernel)
    return runs, 2 * size**3


def median_ratio(slow, fast):
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def compare(model, plain_model, options):
    """Ours, eager, against the plain module and against large products, all in turn."""
    clips = make_clips(options.batch_size, options)
    with FlopCounterMode(display=False) as counter:
        ours = model(clips).pooler_output
    difference = (ours - plain_model(clips)).abs().max().item()
    large, operations = products(options.matmul_size, torch.float32)
    taken = alternate({"ours": lambda: model(clips), "plain": lambda: plain_model(clips), **large}, options.repeats)
    useful = counter.get_total_flops()
    fastest = min(large, key=lambda name: statistics.median(taken[name]))
    return {
        "i3d_matmul_share": useful / operations * median_ratio(taken[fastest], taken["ours"]),
        "fastest_product": fastest,
        "i3d_vs_plain": median_ratio(taken["plain"], taken["ours"]),
        "feature_difference": difference,
        "feature_size": ours.abs().max().item(),
        "gigaflop_a_clip": useful / options.batch_size / 1e9,
        "gigaflop_a_second": {
            name: (operations if name in large else useful) / statistics.median(times) / 1e9
            for name, times in taken.items()
        },
    }


def make_clips(count, options, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shape = (count, 30, 3, options.image_size, options.image_size)
    return (torch.rand(shape, generator=generator) * 2 - 1).to(dtype)


def table_of(model, plain_model, options):
    """Seconds a clip by batch size: plain, eager and compiled; the latter in the sizes that were asked for."""
    table, difference = {}, 0.0
    for dtype in DTYPES:
        kind = getattr(torch, dtype)
        eager = model.to(kind)
        for count in options.batches:
            clips = make_clips(count, options, kind)
            networks = {"eager": eager}
            if dtype == "float32":
                networks["plain"] = plain_model
            if count in options.compiled_batches:
                networks["compiled"] = torch.compile(eager, dynamic=False)
                if dtype == "float32":
                    gap = networks["compiled"](clips).pooler_output - eager(clips).pooler_output
                    difference = max(difference, gap.abs().max().item())
            runs = {name: (lambda network=network, clips=clips: network(clips)) for name, network in networks.items()}
            for name, taken in alternate(runs, options.repeats).items():
                table.setdefault(f"{name}, {dtype}", {})[count] = statistics.median(taken) / count
    model.float()
    return table, difference


def overlap(folder, options):
    """Decoding all clips first, then looking at them, over doing both at once."""
    backbone, cutter = Backbone(folder, "cpu"), VideoBertVideoProcessor(**load_preprocessing(folder))
    with tempfile.TemporaryDirectory() as work:
        video = Path(work) / "video.mp4"
        source = f"testsrc2=s=1280x720:r=30:d={options.video_seconds}"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(video)]
        subprocess.run(command, check=True)
        runs = {
            "first": lambda: backbone.features(list(cutter.iter_clips(video))),
            "while": lambda: backbone.features(cutter.iter_clips(video)),
        }
        taken = alternate(runs, options.repeats)
    return {
        "ratio": median_ratio(taken["first"], taken["while"]),
        "decoded_first": statistics.median(taken["first"]),
        "decoded_while_looking": statistics.median(taken["while"]),
    }


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--smoke", action="store_true", help="small frames and random weights")
    parser.add_argument("--batch-size", type=int, default=4, help="clips a forward pass, for the figures")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--compiled-batches", type=int, nargs="*", default=[4], help="clips to compile for, more than a minute each"
    )
    options = parser.parse_args(arguments)
    if options.smoke:
        options.image_size, options.matmul_size, options.video_seconds = 32, 256, 3
        options.compiled_batches, options.repeats, options.batches = [], 1, (1, 2)
    else:
        options.image_size, options.matmul_size, options.video_seconds = 160, 3072, 18
        options.batches = (1, 2, 4, 8)
    return options


@torch.inference_mode()
def run(options):
    torch.manual_seed(0)
    if options.smoke:
        torch.set_num_threads(1)  # on a busy machine threads wait for each other longer than toys take
    folder = weights_folder("i3d-kinetics400")
    model = I3DModel(I3DConfig()).eval() if options.smoke else I3DModel.from_pretrained(folder).eval()
    plain_model = PlainI3D(model).eval()
    figures = compare(model, plain_model, options) | {"overlap": overlap(folder, options)}
    figures["seconds_a_clip"], figures["compiled_difference"] = table_of(model, plain_model, options)
    return figures | {"threads": torch.get_num_threads(), "batch_size": options.batch_size}


def measure(smoke=False):
    """The figures, `i3d_matmul_share` and `i3d_vs_plain` among them, for a benchmark that reports several things."""
    threads = torch.get_num_threads()
    try:
        return run(parse_args(["--smoke"] if smoke else []))
    finally:
        torch.set_num_threads(threads)


def show(figures):
    for name, rate in figures["gigaflop_a_second"].items():
        print(f"{name:38}{rate:8.0f} GFLOP/s")
    table = figures["seconds_a_clip"]
    batches = list(table["eager, float32"])
    print(f"\n{'seconds a clip':22}" + "".join(f"{f'batch {count}':>10}" for count in batches))
    for name, line in table.items():
        print(f"{name:22}" + "".join(f"{line[count]:10.3f}" if count in line else f"{'–':>10}" for count in batches))
    print(
        f"\nours, eager, float32, batch of {figures['batch_size']}: {figures['i3d_vs_plain']:.2f} x as fast as plain, "
        f"{figures['i3d_matmul_share']:.0%} of the rate of the fastest product ({figures['fastest_product']})"
    )
    print(
        f"largest difference of features up to {figures['feature_size']:.2f}: "
        f"plain {figures['feature_difference']:.1e}, compiled {figures['compiled_difference']:.1e}"
    )
    print(f"decoded while the network works: {figures['overlap']['ratio']:.2f} x as fast as one after the other")


def main():
    options = parse_args()
    figures = run(options)
    show(figures)
    if options.json:
        options.json.parent.mkdir(exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
