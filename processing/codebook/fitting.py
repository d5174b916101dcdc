"""Hierarchical k-means (paper, section 4.2): from the features of any number of clips to a `VisualCodebook`.

Level by level. A node with more clips than fit the memory is split in passes over all features; one that fits is read
once, and its whole subtree is grown in memory. What comes out depends on the features, their order and the seed alone:
not on blocks, processes or interruptions, nor on whether the features lay in memory or in files.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import tqdm
from transformers.utils import logging

from ..codebook_videobert import CACHED_ROWS, VisualCodebook, VisualCodebookConfig
from ..cores_videobert import on_cores, one_core_each
from ..nearest_videobert import choose
from .feature_shards import FeatureArray, FeatureShards
from .kmeans import Passes, kmeans, one_hot, split_by, start_rows
from .processes import Processes
from .space import Clips, Residuals
from .state import FitState

logger = logging.get_logger(__name__)

TRIALS = 16  # candidates for each further centre of a start; with 4, many a node misses a cluster that it has
# A node of more clips a branch is clustered by a sample of so many: on average as well as by all of them, to 1 / 256.
SAMPLE_SHARE = 256
BATCH_ROWS = 2048  # clips of small nodes that are clustered together on a core


def fit_codebook(
    features: torch.Tensor | np.ndarray | FeatureShards,
    levels: int = 4,
    branches: int = 12,
    normalize: bool = True,
    seed: int = 0,
    backbone: str | None = None,
    progress: bool = True,
    whiten: bool = False,
    memory: int | None = None,
    state_dir: str | PathLike | None = None,
    alone: bool = False,
    residual_codes: int = 1,
    levels_as_tokens: bool = False,
) -> VisualCodebook:
    """Fits a codebook top down: k-means over all features, then inside each cluster, `levels` times.

    With several residual codes, a tree after the other: each is fitted in this way to what the former ones leave.

    On several processes (`accelerate launch`, `torchrun`) every one calls this with the same arguments, reads its
    share, and gets the same codebook.

    Args:
        features (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`, or [`FeatureShards`]):
            Features of the training clips, in memory or in Parquet files that need not fit there.
        levels (`int`, *optional*, defaults to 4):
            Depth of the tree; 4 in the paper.
        branches (`int`, *optional*, defaults to 12):
            Clusters of a node; 12 in the paper.
        normalize (`bool`, *optional*, defaults to `True`):
            Whether features are centred and scaled to unit length first.
        seed (`int`, *optional*, defaults to 0):
            Every node draws its start from (seed, level, node), so a fit is repeatable.
        backbone (`str`, *optional*):
            Id of the network that made the features; kept in the configuration.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show a progress bar.
        whiten (`bool`, *optional*, defaults to `False`):
            Whether features are centred and decorrelated first (and then scaled, if `normalize`).
        memory (`int`, *optional*):
            Bytes of features that are read at once, beside those the caller holds; by default 128 MB of features in
            memory and 512 MB out of files, which then are read fewer times. A node with more of them is split in
            passes over all features. Never less than 256 features a branch.
        state_dir (`str` or `os.PathLike`, *optional*):
            Gets what is done after every split of large nodes and every subtree, so that the same call goes on where a
            killed one stopped. On several machines, a folder that all of them see.
        alone (`bool`, *optional*, defaults to `False`):
            Whether, of several processes, only this one calls: it reads everything and waits for nobody.
        residual_codes (`int`, *optional*, defaults to 1):
            Visual ids of a clip; more than the paper's 1 take as many trees of this shape, and times as long.
        levels_as_tokens (`bool`, *optional*, defaults to `False`):
            Whether a clip has a visual id for each level of its path, instead of the leaf alone.

    Returns:
        [`VisualCodebook`]: A node with fewer distinct points than branches gets one child a point; the children left
        over are dead (count 0), never duplicates, and the log says how many leaves that is.

    Raises:
        `ValueError`: No features, NaN or infinite ones, no level, fewer than two branches, no code or both kinds of
            several codes, or a `state_dir` that was begun with other features or settings or is damaged.
    """
    source = features if isinstance(features, FeatureShards) else FeatureArray(features)
    config = VisualCodebookConfig(
        levels=levels,
        branches=branches,
        feature_size=source.feature_size,
        normalize=normalize,
        whiten=whiten,
        residual_codes=residual_codes,
        levels_as_tokens=levels_as_tokens,
        backbone=backbone,
    )
    memory = memory or (2**29 if isinstance(source, FeatureShards) else 2**27)
    # A node that is clustered by all of its clips always is, or the memory would change the result.
    room = max(SAMPLE_SHARE * branches, memory // (4 * source.feature_size))
    codebook, folder = VisualCodebook(config), None if state_dir is None else Path(state_dir)
    with one_core_each() as cores, torch.autocast("cpu", enabled=False):
        for number, tree in enumerate(codebook.trees, start=1):
            left = source if number == 1 else Residuals(source, codebook, number - 1)
            state = FitState(folder if folder is None or number == 1 else folder / f"code_{number}")
            clips = Clips(tree, left, Processes(alone), cores)
            state.begin(fit_settings(clips, seed, room), clips.processes)
            told = "Codebook" if residual_codes == 1 else f"Codebook, code {number} of {residual_codes}"
            with tqdm(total=levels * len(clips), desc=told, unit="clip", disable=not progress) as bar:
                Fit(clips, seed, room, state, bar).run()
            if number > 1 and normalize:
                codebook.gains[number - 2] = clips.gain()
    return codebook


def fit_settings(clips: Clips, seed: int, room: int) -> dict:
    """All that the result of a fit hangs on, and `room`, which the files of its state hang on."""
    config = clips.codebook.config
    shape = {name: getattr(config, name) for name in ("levels", "branches", "feature_size", "normalize", "whiten")}
    mean = hashlib.sha256(clips.codebook.mean.cpu().numpy().tobytes()).hexdigest()
    return {**shape, "seed": seed, "sample": SAMPLE_SHARE, "room": room, "clips": len(clips), "mean": mean}


class Fit:
    """One fit of a codebook; see [`fit_codebook`].

    Args:
        clips ([`Clips`]):
            Those of the fit; their codebook is filled.
        seed (`int`):
            Of the starts.
        room (`int`):
            Clips that may be held at once.
        state ([`FitState`]):
            Where what is done is kept.
        bar (`tqdm`):
            Shows how far it is.
    """

    def __init__(self, clips: Clips, seed: int, room: int, state: FitState, bar: tqdm):
        self.clips, self.seed, self.room, self.state, self.bar = clips, seed, room, state, bar
        self.codebook, self.processes, self.cores = clips.codebook, clips.processes, clips.cores
        self.levels, self.branches = self.codebook.config.levels, self.codebook.config.branches
        self.node = torch.zeros(len(clips), dtype=torch.int32)  # of every clip, on the level reached; -1: done

    def run(self) -> None:
        for level in range(self.levels):
            counts = torch.bincount(self.node[self.node >= 0], minlength=self.branches**level)
            self.grow_small(level, ((counts > 0) & (counts <= self.room)).nonzero()[:, 0], counts)
            if not (counts > self.room).any():
                break
            self.split_large(level, (counts > self.room).nonzero()[:, 0], counts)
        for level in range(self.levels):
            self.codebook.tree[level].copy_(self.processes.total(self.codebook.tree[level]))
            self.codebook.counts(level).copy_(self.processes.total(self.codebook.counts(level)))
        self.fill_dead()

    def draw_start(self, level: int, node: int, count: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """What a node of `count` clips starts from.

        Returns:
            `tuple`: Uniform numbers `(branches, trials)`, and which of its clips it is clustered by, in random order.
        """
        generator = np.random.Generator(np.random.Philox(key=[self.seed, (level << 56) + node]))
        uniforms = torch.from_numpy(generator.random((self.branches, TRIALS)))
        most = min(count, SAMPLE_SHARE * self.branches)
        return uniforms, torch.from_numpy(generator.choice(count, most, replace=False))

    # --- nodes that do not fit the memory: passes over all features --------------------------------------------------

    def split_large(self, level: int, nodes: torch.Tensor, counts: torch.Tensor) -> None:
        """Splits several nodes of a level at once, and moves their clips one level down."""
        place = torch.full((len(counts) + 1,), -1, dtype=torch.int32)  # the last entry is for clips that are done
        place[nodes] = torch.arange(len(nodes), dtype=torch.int32)
        here = place[self.node]
        done = self.state.load(f"level_{level}")
        children, alive = (done["children"], done["alive"]) if done else self.begin_large(level, nodes, here)
        passes = Passes(children, alive, ScannedPoints(self.clips, here))
        if not done:
            passes.fill(torch.ones(len(nodes), dtype=torch.bool))
            if self.processes.is_first:
                self.state.save(f"level_{level}", {"children": passes.children, "alive": passes.alive})
        labels, sizes = passes.assign(len(self.node))
        labels, sizes = self.processes.total(labels), self.processes.total(sizes)
        self.node = torch.where(here >= 0, self.node * self.branches + labels, -1).int()
        if self.processes.is_first:
            self.put(level, nodes, passes.children, sizes)
        self.bar.update(int(sizes.sum()))

    def begin_large(self, level: int, nodes: torch.Tensor, here: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The children of large nodes by samples of their clips, of as many nodes at a time as there is room for."""
        children = torch.zeros(len(nodes), self.branches, self.clips.source.feature_size)
        alive = torch.zeros(len(nodes), self.branches, dtype=torch.int32)
        for group in torch.arange(len(nodes)).split(self.room // (SAMPLE_SHARE * self.branches)):
            samples, draws = [], []
            for place in group.tolist():
                rows = (here == place).nonzero()[:, 0]
                uniforms, sample = self.draw_start(level, int(nodes[place]), len(rows))
                samples.append(rows[sample])
                draws.append(uniforms)
            wanted = torch.cat(samples).sort()[0]
            points = self.clips.take_together(wanted)
            own = self.processes.share(len(group))
            work = ((points[torch.searchsorted(wanted, samples[i])], draws[i]) for i in own)
            for i, split in zip(own, on_cores(self.cores, lambda one: split_by(*one), work), strict=True):
                children[group[i]], alive[group[i]] = split
            del points, work  # before the next ones are read
        return self.processes.total(children), self.processes.total(alive).bool()

    # --- nodes that fit: their whole subtrees at once ----------------------------------------------------------------

    def grow_small(self, level: int, nodes: torch.Tensor, counts: torch.Tensor) -> None:
        """Reads the clips of some nodes, as many nodes at a time as there is room for, and grows their subtrees."""
        groups: list[list[int]] = [[]]
        for node in nodes.tolist():
            if sum(int(counts[one]) for one in groups[-1]) + int(counts[node]) > self.room:
                groups.append([])
            groups[-1].append(node)
        for group in groups[self.processes.index :: self.processes.count]:
            todo = [node for node in group if not self.load_subtree(level, node)]
            members = {node: (self.node == node).nonzero()[:, 0] for node in todo}
            if todo:
                self.bar.set_postfix_str(f"level {level + 1}, {len(todo)} subtrees")
                wanted = torch.cat(list(members.values())).sort()[0]
                points = self.clips.take(wanted)
                self.grow(level, {n: torch.searchsorted(wanted, rows) for n, rows in members.items()}, points)
                del points  # before the next ones are read
            for node in todo:
                self.save_subtree(level, node)
            self.bar.update((self.levels - level) * sum(int(counts[node]) for node in group))
        done = torch.cat([torch.zeros(len(counts), dtype=torch.bool), torch.ones(1, dtype=torch.bool)])
        done[nodes] = True
        self.node[done[self.node]] = -1

    def grow(self, top: int, members: dict[int, torch.Tensor], points: torch.Tensor) -> None:
        """The subtrees of nodes of level `top`, given the numbers of each one's `points` `(N, feature_size)`."""
        for level in range(top, self.levels):
            batches = [{node: members[node] for node in nodes} for nodes in alike(members, self.branches)]
            split = list(on_cores(self.cores, functools.partial(self.split, level, points=points), batches))
            if level + 1 == self.levels:
                return
            below: dict[int, torch.Tensor] = {}
            for node, label in (item for labels in split for item in labels.items()):
                sizes = torch.bincount(label, minlength=self.branches)
                parts = members[node][label.argsort(stable=True)].split(sizes.tolist())
                below |= {node * self.branches + i: part for i, part in enumerate(parts) if len(part)}
            members = below

    def split(self, level: int, members: dict[int, torch.Tensor], points: torch.Tensor) -> dict[int, torch.Tensor]:
        """Splits one node by its points, or several small ones at once; by node, the children of its points."""
        (node, rows), *others = members.items()
        if not others and padded_size(len(rows)) > start_rows(self.branches):
            return {node: self.split_medium(level, node, rows, points)}
        return self.split_small(level, members, points)

    def split_small(
        self, level: int, members: dict[int, torch.Tensor], points: torch.Tensor
    ) -> dict[int, torch.Tensor]:
        """Splits nodes of like size in their Gram matrices; by node, the children of its points."""
        sizes = torch.tensor([len(rows) for rows in members.values()])
        index = torch.zeros(len(sizes), padded_size(int(sizes[0])), dtype=torch.long)
        for line, rows in zip(index, members.values(), strict=True):
            line[: len(rows)] = rows
        block = points.index_select(0, index.flatten()).view(*index.shape, -1)
        uniforms = torch.stack([self.draw_start(level, node)[0] for node in members])
        chosen = one_hot(kmeans(block, sizes, uniforms), self.branches)
        counts = chosen.sum(1)
        children = chosen.mT @ block / counts.clamp_min(1)[..., None]
        penalties = (children.norm(dim=2).square() / 2).masked_fill(counts == 0, torch.inf)
        place = torch.arange(len(sizes)).repeat_interleave(index.shape[1])
        products = (children @ block.mT).mT.flatten(0, 1)
        child = choose(products, block.flatten(0, 1), place, children, penalties, self.clips.longest).view(index.shape)
        labels = {node: line[:size] for node, line, size in zip(members, child, sizes.tolist(), strict=True)}
        counts = torch.stack([torch.bincount(label, minlength=self.branches) for label in labels.values()])
        self.put(level, torch.tensor(list(members)), children, counts)
        return labels

    def split_medium(self, level: int, node: int, rows: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Splits one node by a sample of its points, or by all of them; the children of its points."""
        uniforms, sample = self.draw_start(level, node, len(rows))
        children, alive = split_by(points.index_select(0, rows[sample]), uniforms)
        passes = Passes(children[None], alive[None], HeldPoints(points, rows, self.clips.longest))
        passes.fill(torch.tensor([len(sample) < len(rows)]))
        labels, counts = passes.assign(len(rows))
        self.put(level, torch.tensor([node]), passes.children, counts)
        return labels.long()

    # --- the tree ----------------------------------------------------------------------------------------------------

    def put(self, level: int, nodes: torch.Tensor, children: torch.Tensor, counts: torch.Tensor) -> None:
        """Writes the children `(nodes, branches, feature_size)` of some nodes, and how many clips each of them has."""
        places = (nodes[:, None] * self.branches + torch.arange(self.branches)).flatten()
        # A -0.0 would become 0.0 in the sum over several processes.
        self.codebook.tree[level][places] = children.flatten(0, 1).add(0.0).to(self.codebook.device)
        self.codebook.counts(level)[places] = counts.long().flatten().to(self.codebook.device)

    def fill_dead(self) -> None:
        """Dead children get their parent's centroid; those of the root, the mean."""
        shares = self.codebook.counts(0).double()[:, None] / len(self.node)
        parents = (self.codebook.tree[0].double() * shares).sum(0, keepdim=True).float()
        for level in range(self.levels):
            dead = (self.codebook.counts(level) == 0).nonzero()[:, 0]
            self.codebook.tree[level][dead] = parents[dead // self.branches]
            parents = self.codebook.tree[level]
        if len(dead):
            logger.warning(
                f"{len(dead)} of {len(parents)} leaves are dead: their nodes had fewer distinct features than "
                f"{self.branches} branches. {len(self.node)} clips were fitted; more of them, or fewer levels or "
                "branches, leave fewer dead."
            )

    def subtree(self, level: int, node: int) -> Iterator[tuple[str, torch.Tensor]]:
        """The part of the tree below a node, as tensors to read and write."""
        for below in range(level, self.levels):
            width = self.branches ** (below + 1 - level)
            part = slice(node * width, (node + 1) * width)
            yield f"tree_{below}", self.codebook.tree[below][part]
            yield f"counts_{below}", self.codebook.counts(below)[part]

    def save_subtree(self, level: int, node: int) -> None:
        self.state.save(f"subtree_{level}_{node}", {name: part.clone() for name, part in self.subtree(level, node)})

    def load_subtree(self, level: int, node: int) -> bool:
        """Whether there is something to load."""
        saved = self.state.load(f"subtree_{level}_{node}")
        if saved is None:
            return False
        for name, part in self.subtree(level, node):
            part.copy_(saved[name])
        return True


class ScannedPoints:
    """The clips of large nodes for [`Passes`]: read anew in every pass, by each process its share.

    Args:
        clips ([`Clips`]):
            All clips.
        here (`torch.IntTensor` of shape `(clips,)`):
            The node of each, -1 for clips of no node.
    """

    def __init__(self, clips: Clips, here: torch.Tensor):
        self.clips, self.here, self.longest, self.cores = clips, here, clips.longest, clips.cores
        self.prepare, self.take, self.gather = clips.codebook.prepare, clips.take, clips.processes.gather

    def scan(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for first, block in self.clips.scan():
            yield first, block, self.here[first : first + len(block)].long()


class HeldPoints:
    """The clips of one node for [`Passes`], whose points are in memory.

    Args:
        points (`torch.FloatTensor` of shape `(N, feature_size)`):
            Points of this and of other nodes.
        rows (`torch.LongTensor`):
            Which of them are the node's.
        longest (`float`):
            Bounds their lengths.
    """

    cores = 1

    def __init__(self, points: torch.Tensor, rows: torch.Tensor, longest: float):
        self.points, self.rows, self.longest = points, rows, longest

    def scan(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for places in torch.arange(len(self.rows)).split(CACHED_ROWS):
            yield int(places[0]), self.rows[places], torch.zeros(len(places), dtype=torch.long)

    def prepare(self, rows: torch.Tensor) -> torch.Tensor:
        return self.points.index_select(0, rows)

    def take(self, places: torch.Tensor) -> torch.Tensor:
        return self.points[self.rows[places]]

    def gather(self, items: list) -> list:
        return items


def padded_size(size: int) -> int:
    """Rows a node takes in a batch. They hang on its size alone: then so do the bits of all products of it."""
    return 2 ** max(2, (size - 1).bit_length()) if size <= 64 else -(-size // 64) * 64


def alike(members: dict[int, torch.Tensor], branches: int) -> Iterator[list[int]]:
    """Nodes by batch: such as are padded to one size together, those too large for their Gram matrix alone."""
    by_size: dict[int, list] = {}
    for node, rows in members.items():
        by_size.setdefault(padded_size(len(rows)), []).append(node)
    for size, nodes in sorted(by_size.items(), reverse=True):  # the longest work first
        at_once = max(1, BATCH_ROWS // size) if size <= start_rows(branches) else 1
        for start in range(0, len(nodes), at_once):
            yield nodes[start : start + at_once]
