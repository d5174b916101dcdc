"""The eyes: one network or several that turn clips into features, chosen by their ids (paper, section 4.2)."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch.nn.functional import normalize

from .names_videobert import split_backbone
from .network_videobert import Network, load_pixels, shortest_edge
from .waiting_videobert import WAITING

DTYPES = ("float32", "bfloat16", "float16")


class FeatureError(ValueError):
    """A clip whose feature is no number; the message names the clip and the network."""


def load_preprocessing(backbone: str) -> dict:
    """How clips are cut so that every network of a backbone finds what it needs in them.

    Frames stay raw (uint8): each network prepares them with its own processor. They are decoded once, the largest of
    the wanted shorter sides long, and cut to the square in the middle.

    Args:
        backbone (`str`):
            Id of the backbone, as of [`Backbone`].

    Returns:
        `dict`: Options of a `VideoBertVideoProcessor`.

    Raises:
        ValueError: A network does not say how it wants its pixels.
    """
    edge = max(shortest_edge(load_pixels(name), name) for name, _ in split_backbone(backbone))
    return {
        "size": {"shortest_edge": edge},
        "crop_size": {"height": edge, "width": edge},
        "do_rescale": False,
        "do_normalize": False,
    }


class Backbone:
    """Clips in, features out.

    Several networks, such as one that tells motion and one that tells things, are joined: the vector of each is
    brought to unit length, so that none of them outweighs the others, and they are put side by side. Nothing is
    centred here, which would take statistics of a data set: the codebook subtracts the mean that it was fitted with.

    Args:
        name_or_path (`str`):
            Hub id or folder of a transformers video model (VideoMAE, V-JEPA 2, TimeSformer, ViViT), of a transformers
            or timm image model (ViT, DINOv2, ConvNeXt, EfficientNet), of our I3D, or `torchvision/s3d`. Joined by `+`
            where there are several; options of an image model stand behind a colon,
            `facebook/dinov2-base:frames=9,change`, see [`split_backbone`].
        device (`str`, *optional*):
            Where it runs; by default on a GPU if there is one.
        dtype (`str`, *optional*, defaults to `"float32"`):
            Precision it runs in, `"float32"`, `"bfloat16"` or `"float16"`; features are always float32.
        batch_size (`int`, *optional*, defaults to 4):
            Clips a forward pass.
        compile (`bool`, *optional*, defaults to `False`):
            Whether the networks are compiled first, which takes minutes. Measure it: on a CPU I3D was
            slower for it (`benchmarks/i3d_speed.py`).

    Raises:
        ValueError: A part that is no vision model or has no processor of its own, or options that do not exist or
            cannot be.
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "float32",
        batch_size: int = 4,
        compile: bool = False,
    ):
        if batch_size < 1:
            raise ValueError(f"The backbone's batch_size is {batch_size}; it must be at least 1.")
        if str(dtype).removeprefix("torch.") not in DTYPES:
            raise ValueError(f"The backbone's dtype is {dtype}; allowed are {', '.join(DTYPES)}.")
        self.name_or_path, self.batch_size, self.compile = str(name_or_path), batch_size, compile
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        running = {"device": self.device, "dtype": dtype, "compile": compile}
        self.networks = [Network(name, **options, **running) for name, options in split_backbone(name_or_path)]
        self.feature_size = sum(network.feature_size for network in self.networks)

    def __str__(self):
        return self.name_or_path

    @torch.no_grad()
    def features(self, clips: Iterable[torch.Tensor]) -> torch.Tensor:
        """Features of a stream of clips, which goes on being decoded and prepared while the networks work.

        Args:
            clips (iterable of `torch.Tensor` of shape `(frames, 3, height, width)`):
                Raw clips (uint8), or prepared ones (of a floating dtype) for one network. A stream is never held
                whole.

        Returns:
            `torch.FloatTensor` of shape `(clips, feature_size)`.

        Raises:
            FeatureError: A feature holds NaN or infinity.
            ValueError: A clip has too few frames, or was prepared for one network where there are several.
        """
        features, batch = [torch.zeros(0, self.feature_size)], []
        with read_ahead(map(self._prepare, clips), self.batch_size) as prepared:
            for clip in WAITING.for_items(prepared):
                batch.append(clip)
                if len(batch) == self.batch_size:
                    features.append(self._forward(batch))
                    batch = []
        if batch:
            features.append(self._forward(batch))
        features = torch.cat(features)
        bad = (~features.isfinite().all(1)).nonzero()
        if len(bad):
            raise FeatureError(
                f"The feature that {self.name_or_path} gives of clip {bad[0].item()} holds NaN or infinity; a wider "
                "precision (dtype bfloat16 or float32) may help."
            )
        return features

    def _prepare(self, clip):
        if clip.is_floating_point() and len(self.networks) > 1:
            raise ValueError(f"{self.name_or_path} takes raw clips (uint8), which each network prepares for itself.")
        return [network.prepare(clip) for network in self.networks]

    def _forward(self, batch):
        clips, vectors = len(batch), []
        if self.compile:  # a last batch that is smaller would be compiled anew
            batch = batch + batch[-1:] * (self.batch_size - clips)
        for network, pixels in zip(self.networks, zip(*batch, strict=True), strict=True):
            vectors.append(network(torch.stack(pixels))[:clips])
        return vectors[0] if len(vectors) == 1 else torch.cat([normalize(vector, dim=1) for vector in vectors], 1)


@contextmanager
def read_ahead(stream: Iterable, count: int) -> Iterator[Iterator]:
    """Takes a stream's items in a background thread, at most `count` of them ahead of their use.

    What the stream raises, it raises in the loop over the items; leaving the context ends the thread.

    Args:
        stream (iterable):
            Only used in that thread.
        count (`int`):
            Items that may wait.
    """
    stream, end, pool = iter(stream), object(), ThreadPoolExecutor(1, thread_name_prefix="read_ahead")

    def items():
        waiting = deque(pool.submit(next, stream, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, stream, end))
            yield item

    try:
        yield items()
    finally:
        pool.shutdown(cancel_futures=True)
