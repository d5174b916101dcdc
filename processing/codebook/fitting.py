"""Hierarchical k-means (paper, section 4.2): from the features of any number of clips to a `VisualCodebook`.

Level by level. A node with more clips than fit the memory is split in passes over all features; one that fits is read
once, and its whole subtree is grown in memory. What comes out depends on the features, their order and the seed alone:
not on blocks, processes or interruptions, nor on whether the features lay in memory or in files.
"""

import functools
import hashlib
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env, reduce, tqdm
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from ..codebook_videobert import CACHED_ROWS, VisualCodebook, VisualCodebookConfig, check_finite
from ..cores_videobert import on_cores, one_core_each
from ..nearest_videobert import choose
from .feature_shards import FeatureArray, FeatureShards, write_whole
from .kmeans import Passes, kmeans, one_hot, split_by, start_rows

logger = logging.get_logger(__name__)

TRIALS = 16  # candidates for each further centre of a start; with 4, many a node misses a cluster that it has
# A node of more clips a branch is clustered by a sample of so many: on average as well as by all of them, to 1 / 256.
SAMPLE_SHARE = 256
BATCH_ROWS = 2048  # clips of small nodes that are clustered together on a core
SHRINKAGE = 0.01  # of the mean variance, added to every direction's before whitening, or noise would be blown up


def fit_codebook(
    features,
    levels=4,
    branches=12,
    normalize=True,
    seed=0,
    backbone=None,
    progress=True,
    whiten=False,
    memory=None,
    state_dir=None,
    alone=False,
):
    """Fits a codebook top down: k-means over all features, then inside each cluster, `levels` times.

    On several processes (`accelerate launch`, `torchrun`) every one calls this with the same arguments, reads its
    share, and gets the same codebook.

    Args:
        features (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`, or [`FeatureShards`]): Features
            of the training clips, in memory or in Parquet files that need not fit there.
        levels (`int`): Depth of the tree; 4 in the paper.
        branches (`int`): Clusters of a node; 12 in the paper.
        normalize (`bool`): Whether features are centred and scaled to unit length first.
        seed (`int`): Every node draws its start from (seed, level, node), so a fit is repeatable.
        backbone (`str`, *optional*): Id of the network that made the features; kept in the configuration.
        progress (`bool`): Whether to show a progress bar.
        whiten (`bool`): Whether features are centred and decorrelated first (and then scaled, if `normalize`).
        memory (`int`, *optional*): Bytes of features that are read at once, beside those the caller holds; by default
            128 MB of features in memory and 512 MB out of files, which then are read fewer times. A node with more of
            them is split in passes over all features. Never less than 256 features a branch.
        state_dir (`str` or `os.PathLike`, *optional*): Gets what is done after every split of large nodes and every
            subtree, so that the same call goes on where a killed one stopped. On several machines, a folder that all
            of them see.
        alone (`bool`): Whether, of several processes, only this one calls: it reads everything and waits for nobody.

    Returns:
        [`VisualCodebook`]: A node with fewer distinct points than branches gets one child a point; the children left
        over are dead (count 0), never duplicates, and the log says how many leaves that are.

    Raises:
        ValueError: No features, NaN or infinite ones, no level, fewer than two branches, or a `state_dir` that was
            begun with other features or settings.
    """
    if levels < 1 or branches < 2:
        raise ValueError(f"levels={levels}, branches={branches}: a codebook has at least 1 level and 2 branches.")
    source = features if isinstance(features, FeatureShards) else FeatureArray(features)
    config = VisualCodebookConfig(
        levels=levels,
        branches=branches,
        feature_size=source.feature_size,
        normalize=normalize,
        whiten=whiten,
        backbone=backbone,
    )
    memory = memory or (2**29 if isinstance(source, FeatureShards) else 2**27)
    # A node that is clustered by all of its clips always is, or the memory would change the result.
    room = max(SAMPLE_SHARE * branches, memory // (4 * source.feature_size))
    fit = Fit(VisualCodebook(config), source, seed, room, state_dir, alone)
    with one_core_each() as fit.cores, torch.autocast("cpu", enabled=False):
        fit.run(progress)
    return fit.codebook


class Fit:
    """One fit of a codebook; see [`fit_codebook`].

    Args:
        codebook ([`VisualCodebook`]): Is filled.
        source ([`FeatureArray`] or [`FeatureShards`]): The features.
        seed (`int`): Of the starts.
        room (`int`): Clips that may be held at once.
        state_dir (`str` or `os.PathLike`, *optional*): Where what is done is kept.
        alone (`bool`): Whether this process does without the others.
    """

    def __init__(self, codebook, source, seed, room, state_dir=None, alone=False):
        self.codebook, self.source, self.seed, self.room = codebook, source, seed, room
        self.levels, self.branches = codebook.config.levels, codebook.config.branches
        self.state_dir = None if state_dir is None else Path(state_dir)
        # It does not look by itself whether processes without GPUs are meant, and would take each for the only one.
        state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
        self.process, self.processes = (0, 1) if alone else (state.process_index, state.num_processes)

    def run(self, progress):
        self.describe()
        self.node = torch.zeros(sum(self.sizes), dtype=torch.int32)  # of every clip, on the level reached; -1: done
        with tqdm(total=self.levels * len(self.node), desc="Codebook", unit="clip", disable=not progress) as self.bar:
            for level in range(self.levels):
                counts = torch.bincount(self.node[self.node >= 0], minlength=self.branches**level)
                self.grow_small(level, ((counts > 0) & (counts <= self.room)).nonzero()[:, 0], counts)
                if not (counts > self.room).any():
                    break
                self.split_large(level, (counts > self.room).nonzero()[:, 0], counts)
        for level in range(self.levels):
            self.codebook.tree[level].copy_(self.total(self.codebook.tree[level]))
            self.codebook.counts(level).copy_(self.total(self.codebook.counts(level)))
        self.fill_dead()

    # --- the features ------------------------------------------------------------------------------------------------

    def total(self, tensor):
        """The sum over processes."""
        if self.processes == 1:
            return tensor
        # On the device whose memory the processes can exchange: GPUs exchange nothing that lies in the host's.
        return reduce(tensor.detach().to(PartialState().device, copy=True), "sum").to(tensor.device)

    def gather(self, items):
        """The joined lists of all processes."""
        return gather_object(items) if self.processes > 1 else items

    def pieces(self):
        """The pieces that this process reads."""
        return range(self.process, self.source.num_pieces, self.processes)

    def describe(self):
        """Counts the features, checks them, and finds the transform into the space of the centroids."""
        config, size = self.codebook.config, self.source.feature_size
        sizes = torch.zeros(self.source.num_pieces, dtype=torch.int64)
        largest, sums = torch.zeros(len(sizes), dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        for piece in self.pieces():
            for block in self.source.read(piece):
                for rows in block.split(CACHED_ROWS):
                    rows = rows.float()
                    try:
                        check_finite(rows, int(sizes[piece]))
                    except ValueError as error:
                        raise ValueError(f"{self.source.name(piece)}: {error}") from None
                    sizes[piece] += len(rows)
                    sums += rows.sum(0, dtype=torch.float64)
                    if config.whiten or not config.normalize:
                        largest[piece] = torch.maximum(largest[piece], rows.abs().max())
        self.sizes = self.total(sizes).tolist()
        self.firsts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.codebook.mean.copy_(rounded(self.total(sums) / self.firsts[-1]))
        if config.whiten:
            self.codebook.whitening.copy_(self.whitening(2 * self.total(largest).max().item()))
        if config.whiten and not config.normalize:
            largest.zero_()
            for first, block in self.scan():
                piece = np.searchsorted(self.firsts, first, side="right") - 1
                largest[piece] = torch.maximum(largest[piece], self.codebook.prepare(block).abs().max())
        self.longest = 1.0 if config.normalize else power_above(self.total(largest).max().item()) * size**0.5
        if self.longest**2 > torch.finfo(torch.float32).max:
            raise ValueError(f"Features of length {self.longest:.0e} are too large to be compared; scale them down.")
        self.open_state()

    def whitening(self, largest):
        """The symmetric transform that makes the features' covariance, a little shrunk, the identity."""
        # Out of features on a coarse grid, whose products have an exact sum in float64, in whatever order.
        size, scale = self.source.feature_size, power_above(largest)
        covariance = torch.zeros(size, size, dtype=torch.float64)
        for piece in self.pieces():
            for block in self.source.read(piece):
                for rows in block.split(CACHED_ROWS):
                    rows = (rows.float() - self.codebook.mean).double().mul_(2**12 / scale).round_()
                    covariance += rows.T @ rows
        covariance = self.total(covariance) * (scale / 2**12) ** 2 / self.firsts[-1]
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(0) + SHRINKAGE * values.mean().clamp_min(1e-12)
        whitening = (vectors / values.sqrt()) @ vectors.T
        grid = 2**18 / whitening.abs().max()
        return (whitening * grid).round() / grid

    def scan(self):
        """This process's share of the features: the number of a block's first clip, and the block."""
        for piece in self.pieces():
            first = int(self.firsts[piece])
            for block in self.source.read(piece):
                yield first, block
                first += len(block)

    def take(self, rows):
        """Prepared features of some clips, `rows` `(N,)` ascending."""
        points, first = torch.empty(len(rows), self.source.feature_size), 0
        for block in on_cores(self.cores, self.codebook.prepare, self.source.take(rows.numpy(), self.sizes)):
            points[first : first + len(block)] = block
            first += len(block)
        return points

    def take_together(self, rows):
        """The same in every process, where each reads its own pieces and gets the rest from the others."""
        piece = np.searchsorted(self.firsts, rows.numpy(), side="right") - 1
        own = torch.from_numpy(piece % self.processes == self.process)
        points = torch.zeros(len(rows), self.source.feature_size)
        points[own] = self.take(rows[own])
        return self.total(points)

    def draw(self, level, node, count=0):
        """What a node of `count` clips starts from.

        Returns:
            `tuple`: Uniform numbers `(branches, trials)`, and which of its clips it is clustered by, in random order.
        """
        generator = np.random.Generator(np.random.Philox(key=[self.seed, (level << 56) + node]))
        uniforms = torch.from_numpy(generator.random((self.branches, TRIALS)))
        most = min(count, SAMPLE_SHARE * self.branches)
        return uniforms, torch.from_numpy(generator.choice(count, most, replace=False))

    # --- nodes that do not fit the memory: passes over all features --------------------------------------------------

    def split_large(self, level, nodes, counts):
        """Splits several nodes of a level at once, and moves their clips one level down."""
        place = torch.full((len(counts) + 1,), -1, dtype=torch.int32)  # the last entry is for clips that are done
        place[nodes] = torch.arange(len(nodes), dtype=torch.int32)
        here = place[self.node]

        def scan():
            for first, block in self.scan():
                yield first, block, here[first : first + len(block)].long()

        done = self.load(f"level_{level}")
        children, alive = (done["children"], done["alive"]) if done else self.begin(level, nodes, here)
        ways = self.codebook.prepare, self.take, self.longest, self.cores, self.total, self.gather
        passes = Passes(children, alive, scan, *ways)
        if not done:
            passes.fill(torch.ones(len(nodes), dtype=torch.bool))
            self.save(f"level_{level}", {"children": passes.children, "alive": passes.alive})
        labels, sizes = passes.assign(len(self.node))
        self.node = torch.where(here >= 0, self.node * self.branches + self.total(labels), -1).int()
        if self.process == 0:
            self.put(level, nodes, passes.children, sizes)
        self.bar.update(int(sizes.sum()))

    def begin(self, level, nodes, here):
        """The children of large nodes by samples of their clips, of as many nodes at a time as there is room for."""
        children = torch.zeros(len(nodes), self.branches, self.source.feature_size)
        alive = torch.zeros(len(nodes), self.branches, dtype=torch.int32)
        for group in torch.arange(len(nodes)).split(self.room // (SAMPLE_SHARE * self.branches)):
            samples, draws = [], []
            for place in group.tolist():
                rows = (here == place).nonzero()[:, 0]
                uniforms, sample = self.draw(level, int(nodes[place]), len(rows))
                samples.append(rows[sample])
                draws.append(uniforms)
            wanted = torch.cat(samples).sort()[0]
            points = self.take_together(wanted)
            own = range(self.process, len(group), self.processes)
            work = ((points[torch.searchsorted(wanted, samples[i])], draws[i]) for i in own)
            for i, split in zip(own, on_cores(self.cores, lambda one: split_by(*one), work), strict=True):
                children[group[i]], alive[group[i]] = split
            del points, work  # before the next ones are read
        return self.total(children), self.total(alive).bool()

    # --- nodes that fit: their whole subtrees at once ----------------------------------------------------------------

    def grow_small(self, level, nodes, counts):
        """Reads the clips of some nodes, as many nodes at a time as there is room for, and grows their subtrees."""
        groups = [[]]
        for node in nodes.tolist():
            if sum(int(counts[one]) for one in groups[-1]) + int(counts[node]) > self.room:
                groups.append([])
            groups[-1].append(node)
        for group in groups[self.process :: self.processes]:
            todo = [node for node in group if not self.load_subtree(level, node)]
            members = {node: (self.node == node).nonzero()[:, 0] for node in todo}
            if todo:
                self.bar.set_postfix_str(f"level {level + 1}, {len(todo)} subtrees")
                wanted = torch.cat(list(members.values())).sort()[0]
                points = self.take(wanted)
                self.grow(level, {n: torch.searchsorted(wanted, rows) for n, rows in members.items()}, points)
                del points  # before the next ones are read
            for node in todo:
                self.save_subtree(level, node)
            self.bar.update((self.levels - level) * sum(int(counts[node]) for node in group))
        done = torch.cat([torch.zeros(len(counts), dtype=torch.bool), torch.ones(1, dtype=torch.bool)])
        done[nodes] = True
        self.node[done[self.node]] = -1

    def grow(self, top, members, points):
        """The subtrees of nodes of level `top`, given the numbers of each one's `points` `(N, feature_size)`."""
        for level in range(top, self.levels):
            batches = [{node: members[node] for node in nodes} for nodes in alike(members, self.branches)]
            split = list(on_cores(self.cores, functools.partial(self.split, level, points=points), batches))
            if level + 1 == self.levels:
                return
            below = {}
            for node, label in (item for labels in split for item in labels.items()):
                sizes = torch.bincount(label, minlength=self.branches)
                parts = members[node][label.argsort(stable=True)].split(sizes.tolist())
                below |= {node * self.branches + i: part for i, part in enumerate(parts) if len(part)}
            members = below

    def split(self, level, members, points):
        """Splits one node by its points, or several small ones at once; by node, the children of its points."""
        (node, rows), *others = members.items()
        if not others and padded_size(len(rows)) > start_rows(self.branches):
            return {node: self.split_medium(level, node, rows, points)}
        return self.split_small(level, members, points)

    def split_small(self, level, members, points):
        """Splits nodes of like size in their Gram matrices; by node, the children of its points."""
        sizes = torch.tensor([len(rows) for rows in members.values()])
        index = torch.zeros(len(sizes), padded_size(int(sizes[0])), dtype=torch.long)
        for line, rows in zip(index, members.values(), strict=True):
            line[: len(rows)] = rows
        block = points.index_select(0, index.flatten()).view(*index.shape, -1)
        uniforms = torch.stack([self.draw(level, node)[0] for node in members])
        chosen = one_hot(kmeans(block, sizes, uniforms), self.branches)
        counts = chosen.sum(1)
        children = chosen.mT @ block / counts.clamp_min(1)[..., None]
        penalties = (children.norm(dim=2).square() / 2).masked_fill(counts == 0, torch.inf)
        place = torch.arange(len(sizes)).repeat_interleave(index.shape[1])
        products = (children @ block.mT).mT.flatten(0, 1)
        child = choose(products, block.flatten(0, 1), place, children, penalties, self.longest).view(index.shape)
        labels = {node: line[:size] for node, line, size in zip(members, child, sizes.tolist(), strict=True)}
        counts = torch.stack([torch.bincount(label, minlength=self.branches) for label in labels.values()])
        self.put(level, torch.tensor(list(members)), children, counts)
        return labels

    def split_medium(self, level, node, rows, points):
        """Splits one node by a sample of its points, or by all of them; the children of its points."""
        uniforms, sample = self.draw(level, node, len(rows))
        children, alive = split_by(points.index_select(0, rows[sample]), uniforms)

        def scan():
            for places in torch.arange(len(rows)).split(CACHED_ROWS):
                yield int(places[0]), rows[places], torch.zeros(len(places), dtype=torch.long)

        ways = functools.partial(points.index_select, 0), lambda places: points[rows[places]], self.longest
        passes = Passes(children[None], alive[None], scan, *ways)
        passes.fill(torch.tensor([len(sample) < len(rows)]))
        labels, counts = passes.assign(len(rows))
        self.put(level, torch.tensor([node]), passes.children, counts)
        return labels.long()

    # --- the tree ----------------------------------------------------------------------------------------------------

    def put(self, level, nodes, children, counts):
        """Writes the children `(nodes, branches, feature_size)` of some nodes, and how many clips each of them has."""
        places = (nodes[:, None] * self.branches + torch.arange(self.branches)).flatten()
        # A -0.0 would become 0.0 in the sum over several processes.
        self.codebook.tree[level][places] = children.flatten(0, 1).add(0.0).to(self.codebook.device)
        self.codebook.counts(level)[places] = counts.long().flatten().to(self.codebook.device)

    def fill_dead(self):
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

    # --- what is done, in files --------------------------------------------------------------------------------------

    def open_state(self):
        """Begins the folder of what is done, or makes sure that it belongs to this fit."""
        if self.state_dir is None:
            return
        self.state_dir.mkdir(parents=True, exist_ok=True)
        config = self.codebook.config
        mean = hashlib.sha256(self.codebook.mean.cpu().numpy().tobytes()).hexdigest()
        shape = {name: getattr(config, name) for name in ("levels", "branches", "feature_size", "normalize", "whiten")}
        settings = {
            **shape,
            "seed": self.seed,
            "sample": SAMPLE_SHARE,
            "room": self.room,
            "clips": sum(self.sizes),
            "mean": mean,
        }
        path = self.state_dir / "settings.json"
        if self.process == 0 and not path.exists():
            write_whole(path, lambda unfinished: unfinished.write_text(json.dumps(settings)))
        if self.processes > 1:
            PartialState().wait_for_everyone()
        if (before := json.loads(path.read_text())) != settings:
            unequal = {
                name: (before.get(name), value) for name, value in settings.items() if before.get(name) != value
            }
            raise ValueError(f"{self.state_dir} was begun with other features or settings (then, now): {unequal}.")

    def save(self, name, tensors):
        if self.state_dir is not None and self.process == 0:
            tensors = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
            write_whole(self.state_dir / f"{name}.safetensors", lambda unfinished: save_file(tensors, unfinished))

    def load(self, name):
        path = None if self.state_dir is None else self.state_dir / f"{name}.safetensors"
        return load_file(path) if path is not None and path.exists() else None

    def subtree(self, level, node):
        """The part of the tree below a node, as tensors to read and write."""
        for below in range(level, self.levels):
            width = self.branches ** (below + 1 - level)
            part = slice(node * width, (node + 1) * width)
            yield f"tree_{below}", self.codebook.tree[below][part]
            yield f"counts_{below}", self.codebook.counts(below)[part]

    def save_subtree(self, level, node):
        if self.state_dir is not None:
            tensors = {name: part.cpu().clone() for name, part in self.subtree(level, node)}
            path = self.state_dir / f"subtree_{level}_{node}.safetensors"
            write_whole(path, lambda unfinished: save_file(tensors, unfinished))

    def load_subtree(self, level, node):
        """Whether there is something to load."""
        saved = self.load(f"subtree_{level}_{node}")
        for name, part in self.subtree(level, node) if saved else ():
            part.copy_(saved[name])
        return saved is not None


def power_above(largest):
    """The power of two that bounds values up to `largest`."""
    return 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0


def rounded(tensor, bits=16):
    """float32 with a mantissa of so few bits that sums taken in another order round to the same."""
    mantissa, exponent = torch.frexp(tensor)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent).float()


def padded_size(size):
    """Rows a node takes in a batch. They hang on its size alone: then so do the bits of all products of it."""
    return 2 ** max(2, (size - 1).bit_length()) if size <= 64 else -(-size // 64) * 64


def alike(members, branches):
    """Nodes by batch: such as are padded to one size together, those too large for their Gram matrix alone."""
    by_size = {}
    for node, rows in members.items():
        by_size.setdefault(padded_size(len(rows)), []).append(node)
    for size, nodes in sorted(by_size.items(), reverse=True):  # the longest work first
        at_once = max(1, BATCH_ROWS // size) if size <= start_rows(branches) else 1
        for start in range(0, len(nodes), at_once):
            yield nodes[start : start + at_once]


def save_whole(codebook, folder):
    """Saves a codebook so that a folder with a `config.json`, which comes last, holds all of it, killed or not."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unfinished_codebook_", dir=folder) as unfinished:
        codebook.save_pretrained(unfinished)
        for path in sorted(Path(unfinished).iterdir(), key=lambda path: path.name == "config.json"):
            os.replace(path, Path(folder) / path.name)
