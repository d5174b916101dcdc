"""The space that a codebook's centroids lie in: found in passes over the features, and read back by clip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..codebook_videobert import CACHED_ROWS, VisualCodebook, check_finite
from ..cores_videobert import on_cores
from .feature_shards import FeatureArray, FeatureShards
from .processes import Processes

SHRINKAGE = 0.01  # of the mean variance, added to every direction's before whitening, or noise would be blown up


class Clips:
    """The clips of a fit by their numbers, as points of the codebook's space.

    Args:
        codebook ([`VisualCodebook`]):
            Gets its mean and, where it whitens, its transform.
        source ([`FeatureArray`], [`FeatureShards`] or [`Residuals`]):
            The features, every one of which is checked.
        processes ([`Processes`]):
            Those that read them in shares.
        cores (`int`):
            Blocks worked on at a time; see `on_cores`.

    Raises:
        `ValueError`: A feature is NaN or infinite, or too large to be compared.
    """

    def __init__(
        self,
        codebook: VisualCodebook,
        source: FeatureArray | FeatureShards | Residuals,
        processes: Processes,
        cores: int,
    ):
        self.codebook, self.source, self.processes, self.cores = codebook, source, processes, cores
        sizes, largest, sums = self._count()
        self.sizes = sizes.tolist()
        self.firsts = np.concatenate([[0], np.cumsum(self.sizes)])
        codebook.mean.copy_(rounded(sums / len(self)))
        if codebook.config.whiten:
            codebook.whitening.copy_(self._whitening(2 * largest))
            largest = largest if codebook.config.normalize else self._largest_prepared()
        # Bounds the lengths of all points.
        self.longest = 1.0 if codebook.config.normalize else power_above(largest) * source.feature_size**0.5
        if self.longest**2 > torch.finfo(torch.float32).max:
            raise ValueError(f"Features of length {self.longest:.0e} are too large to be compared; scale them down.")

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def scan(self) -> Iterator[tuple[int, torch.Tensor]]:
        """This process's share of the features: the number of a block's first clip, and the block."""
        for piece in self.processes.share(self.source.num_pieces):
            first = int(self.firsts[piece])
            for block in self.source.read(piece):
                yield first, block
                first += len(block)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """The points of some clips, `rows` `(N,)` ascending."""
        points, first = torch.empty(len(rows), self.source.feature_size), 0
        for block in on_cores(self.cores, self.codebook.prepare, self.source.take(rows.numpy(), self.sizes)):
            points[first : first + len(block)] = block
            first += len(block)
        return points

    def take_together(self, rows: torch.Tensor) -> torch.Tensor:
        """The same in every process, where each reads its own pieces and gets the rest from the others."""
        piece = np.searchsorted(self.firsts, rows.numpy(), side="right") - 1
        own = torch.from_numpy(piece % self.processes.count == self.processes.index)
        points = torch.zeros(len(rows), self.source.feature_size)
        points[own] = self.take(rows[own])
        return self.processes.total(points)

    @torch.no_grad()
    def gain(self) -> torch.Tensor:
        """How often the leaf of a clip fits best into it, in the mean of all clips; for a codebook that is fitted."""
        sums, penalties = torch.zeros(2, dtype=torch.float64), self.codebook.all_penalties()
        for _, rows in self._rows():
            leaf = self.codebook.leaves[self.codebook.walk(self.codebook.prepare(rows), penalties)[-1]].double().cpu()
            centred = rows.double() - self.codebook.mean.double().cpu()
            sums += torch.stack([(centred * leaf).sum(), leaf.square().sum()])
        product, square = self.processes.total(sums)
        return rounded(product / square.clamp_min(1e-30))

    # --- the passes that find the space ------------------------------------------------------------------------------

    def _rows(self) -> Iterator[tuple[int, torch.Tensor]]:
        """This process's share in slices that stay in the cache: the number of the piece, and features."""
        for piece in self.processes.share(self.source.num_pieces):
            for block in self.source.read(piece):
                for rows in block.split(CACHED_ROWS):
                    yield piece, rows.float()

    def _count(self) -> tuple[torch.Tensor, float, torch.Tensor]:
        """Checks all features: the clips of every piece, the largest value, and the sum of the features."""
        sizes, largest = torch.zeros(self.source.num_pieces, dtype=torch.int64), torch.zeros(self.processes.count)
        sums = torch.zeros(self.source.feature_size, dtype=torch.float64)
        config = self.codebook.config
        for piece, rows in self._rows():
            try:
                check_finite(rows, int(sizes[piece]))
            except ValueError as error:
                raise ValueError(f"{self.source.name(piece)}: {error}") from None
            sizes[piece] += len(rows)
            sums += rows.sum(0, dtype=torch.float64)
            if config.whiten or not config.normalize:
                largest[self.processes.index] = torch.maximum(largest[self.processes.index], rows.abs().max())
        total = self.processes.total
        return total(sizes), total(largest).max().item(), total(sums)

    def _largest_prepared(self) -> float:
        """The largest value after whitening."""
        largest = torch.zeros(self.processes.count)
        for _, rows in self._rows():
            prepared = self.codebook.prepare(rows).abs().max().cpu()
            largest[self.processes.index] = torch.maximum(largest[self.processes.index], prepared)
        return self.processes.total(largest).max().item()

    def _whitening(self, largest: float) -> torch.Tensor:
        """The symmetric transform that makes the features' covariance, a little shrunk, the identity."""
        # Out of features on a coarse grid, whose products have an exact sum in float64, in whatever order.
        size, scale = self.source.feature_size, power_above(largest)
        covariance = torch.zeros(size, size, dtype=torch.float64)
        for _, rows in self._rows():
            rows = (rows - self.codebook.mean).double().mul_(2**12 / scale).round_()
            covariance += rows.T @ rows
        covariance = self.processes.total(covariance) * (scale / 2**12) ** 2 / len(self)
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(0) + SHRINKAGE * values.mean().clamp_min(1e-12)
        whitening = (vectors / values.sqrt()) @ vectors.T
        grid = 2**18 / whitening.abs().max()
        return (whitening * grid).round() / grid


class Residuals:
    """What the first trees leave of features, with the interface of [`FeatureShards`]: computed wherever it is read.

    Args:
        source ([`FeatureArray`] or [`FeatureShards`]):
            The features.
        codebook ([`VisualCodebook`]):
            Brings features into its space.
        count (`int`):
            How many of its trees, which are fitted.
    """

    def __init__(self, source: FeatureArray | FeatureShards, codebook: VisualCodebook, count: int):
        self.source, self.codebook, self.feature_size = source, codebook, source.feature_size
        self.num_pieces, self.name = source.num_pieces, source.name
        self.trees = codebook.trees[:count]
        self.penalties = [tree.all_penalties() for tree in self.trees]
        self.parts = [codebook.part(number) for number in range(count)]

    def read(self, piece: int) -> Iterator[torch.Tensor]:
        yield from map(self.left_of, self.source.read(piece))

    def take(self, rows: np.ndarray, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        yield from map(self.left_of, self.source.take(rows, sizes))

    @torch.no_grad()
    def left_of(self, features: torch.Tensor) -> torch.Tensor:
        """What is left of some features: they, in the space of the centroids, without what their codes say."""
        left = self.codebook.prepare(features)
        for number, (tree, penalties, part) in enumerate(zip(self.trees, self.penalties, self.parts, strict=True)):
            points = tree.prepare(left) if number else left
            left = left - part[tree.walk(points, penalties)[-1]]
        return left.cpu()


def power_above(largest: float) -> float:
    """The power of two that bounds values up to `largest`."""
    return 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0


def rounded(tensor: torch.Tensor, bits: int = 16) -> torch.Tensor:
    """float32 with a mantissa of so few bits that sums taken in another order round to the same."""
    mantissa, exponent = torch.frexp(tensor)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent).float()
