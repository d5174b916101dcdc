"""The visual vocabulary (paper, section 4.2): trees of centroids that turn a clip's feature into its visual ids."""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .card_videobert import codebook_card, fill_empty_card
from .cores_videobert import cores_here, on_cores, one_core_each
from .leaf_frames_videobert import LeafFramesMixin
from .nearest_videobert import nearest_child, settle

CACHED_ROWS = 1024  # a slice of features that stays in the processor's cache from one operation to the next
TREE = ("levels", "branches", "feature_size")
FEW_ROWS = 256  # so few are compared one by one: that costs less than to prepare the whole tree for products


def without_autocast(method):
    """A method that computes in float32, whatever is around it: ids must not hang on that."""

    @functools.wraps(method)
    def plain(self, *args, **kwargs):
        with torch.autocast(self.mean.device.type, enabled=False):
            return method(self, *args, **kwargs)

    return plain


class VisualCodebookConfig(PreTrainedConfig):
    """Configuration of [`VisualCodebook`].

    Args:
        levels (`int`):
            Depth of the tree; 4 in the paper.
        branches (`int`):
            Children of a node; 12 in the paper, hence 12**4 = 20,736 visual ids.
        feature_size (`int`):
            Width of a feature; 1024 for S3D and I3D.
        normalize (`bool`):
            Whether features are centred by the training mean and scaled to unit length first.
        whiten (`bool`):
            Whether features are centred and decorrelated first, to like variance in every direction.
        residual_codes (`int`):
            Visual ids of a clip. With more than the paper's 1, each further one is the leaf, in a tree of its own, of
            what the ones before leave of the feature, which is centred and scaled as features are.
        levels_as_tokens (`bool`):
            Whether a clip has a visual id for each level of its path down the tree, instead of the leaf alone.
        backbone (`str`, *optional*):
            Which network's features the centroids belong to, for the reader of the file.
        robustness (`dict`, *optional*):
            How many visual ids survive an altered video, as [`surviving_ids`] found, for the reader too.

    Raises:
        ValueError: Fewer than 1 level, 2 branches or 1 code, or both kinds of several codes at once.
    """

    model_type = "videobert_codebook"
    levels: int = 4
    branches: int = 12
    feature_size: int = 1024
    normalize: bool = True
    whiten: bool = False
    residual_codes: int = 1
    levels_as_tokens: bool = False
    backbone: str | None = None
    robustness: dict | None = None

    def __post_init__(self, **kwargs):
        if self.levels < 1 or self.branches < 2:
            raise ValueError(
                f"levels={self.levels}, branches={self.branches}: a codebook has at least 1 level and 2 branches."
            )
        if self.residual_codes < 1:
            raise ValueError(f"residual_codes is {self.residual_codes}; a clip has at least 1 visual id.")
        if self.residual_codes > 1 and self.levels_as_tokens:
            raise ValueError(
                f"residual_codes is {self.residual_codes} and levels_as_tokens is True; a clip has several codes in "
                "one of the two ways."
            )
        super().__post_init__(**kwargs)

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many ids the first, the second, … code of a clip has; those of each lie behind those of the former."""
        if self.levels_as_tokens:
            return tuple(self.branches ** (level + 1) for level in range(self.levels))
        return (self.branches**self.levels,) * self.residual_codes

    @property
    def codebook_size(self) -> int:
        return sum(self.code_sizes)

    @property
    def shape_in_words(self) -> str:
        """For cards: how many levels and branches, and how many codes a clip has."""
        tree = f"{self.levels} levels of {self.branches}"
        if self.levels_as_tokens:
            return f"{self.levels} codes a clip, one a level: {tree}"
        return tree if self.residual_codes == 1 else f"{self.residual_codes} residual codes a clip, each of {tree}"


class VisualCodebook(LeafFramesMixin, PreTrainedModel):
    """Hierarchical k-means codebook: feature to visual id, and back to a centroid.

    Level l holds `branches ** (l + 1)` centroids; one level down, the children of node n are the nodes
    `n * branches ... (n + 1) * branches - 1`, so a visual id spells its path in base `branches`. A child that got no
    training point has count 0, carries its parent's centroid and is never chosen.

    By option a clip has several visual ids, its codes, each with ids of its own: the path down the tree
    (`levels_as_tokens`), or the leaves of several trees (`residual_codes`), each of which quantises what the former
    ones left. `further` holds the trees behind the first one. Where what is left is scaled to unit length, `gains` say
    how long it is on average, once for each of them.

    Args:
        config ([`VisualCodebookConfig`]):
            The configuration.
    """

    config_class = VisualCodebookConfig
    main_input_name = "features"

    def __init__(self, config):
        super().__init__(config)
        sizes = [config.branches ** (level + 1) for level in range(config.levels)]
        # Parameters, though nothing trains them: transformers cannot save a model that only has buffers.
        self.tree = nn.ParameterList(
            nn.Parameter(torch.zeros(size, config.feature_size), requires_grad=False) for size in sizes
        )
        self.mean = nn.Parameter(torch.zeros(config.feature_size), requires_grad=False)
        if config.whiten:
            self.whitening = nn.Parameter(torch.eye(config.feature_size), requires_grad=False)
        for level, size in enumerate(sizes):
            self.register_buffer(f"counts_{level}", torch.zeros(size, dtype=torch.int64))
        if config.residual_codes > 1:
            one = VisualCodebookConfig(**{name: getattr(config, name) for name in (*TREE, "normalize")})
            self.further = nn.ModuleList(VisualCodebook(one) for _ in range(config.residual_codes - 1))
            self.gains = nn.Parameter(torch.ones(config.residual_codes - 1), requires_grad=False)
        self.post_init()

    def _init_weights(self, module):
        if module is self:
            for parameter in (*self.tree, self.mean):
                init.zeros_(parameter)
            if self.config.residual_codes > 1:
                init.ones_(self.gains)
            if self.config.whiten:
                init.eye_(self.whitening)
            for level in range(self.config.levels):
                init.zeros_(self.counts(level))

    # --- what whoever uses a codebook may rely on: these, `encode`, `centroids`, and saving --------------------------

    @property
    def codebook_size(self) -> int:
        """How many visual ids there are."""
        return self.config.codebook_size

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many of them are of a clip's first, second, … code; a single number where a clip has one visual id."""
        return self.config.code_sizes

    @property
    def fingerprint(self) -> str:
        """Tells this codebook from every other one, by its shape and all of its numbers: 64 hexadecimal digits."""
        shape = (self.config.levels, self.config.branches, self.config.normalize)
        if len(self.code_sizes) > 1:
            shape += (self.config.residual_codes, self.config.levels_as_tokens)
        parts = hashlib.sha256(repr(shape).encode())
        for _, tensor in sorted(self.state_dict().items()):
            parts.update(tensor.detach().cpu().numpy().tobytes())
        return parts.hexdigest()

    def summary(self) -> str:
        """What it is, in a few words for a model card."""
        return f"{self.codebook_size} visual tokens ({self.config.shape_in_words})"

    # --- the trees ---------------------------------------------------------------------------------------------------

    @property
    def trees(self) -> list["VisualCodebook"]:
        """Its trees, the first of which it is itself."""
        return [self, *getattr(self, "further", ())]

    def one_code(self) -> "VisualCodebook":
        """Its first tree as a codebook with one visual id a clip, the leaf."""
        if len(self.code_sizes) == 1:
            return self
        names = (*TREE, "normalize", "whiten", "backbone")
        alone = VisualCodebook(VisualCodebookConfig(**{name: getattr(self.config, name) for name in names}))
        alone.load_state_dict({name: self.state_dict()[name] for name in alone.state_dict()})
        return alone.to(self.device)

    def counts(self, level: int) -> torch.Tensor:
        """Training points under every node of a level: `(branches ** (level + 1),)` int64."""
        return getattr(self, f"counts_{level}")

    def siblings(self, level: int) -> torch.Tensor:
        """A level's centroids by parent: `(branches ** level, branches, feature_size)`."""
        return self.tree[level].detach().view(-1, self.config.branches, self.config.feature_size)

    def penalties(self, level: int) -> torch.Tensor:
        """Half the squared lengths of a level's centroids by parent, infinite for dead ones."""
        squares = self.siblings(level).norm(dim=2).square_().div_(2)
        return squares.masked_fill_((self.counts(level) == 0).view_as(squares), torch.inf)

    @torch.no_grad()
    @without_autocast
    def prepare(self, features: torch.Tensor | np.ndarray, first_clip: int = 0) -> torch.Tensor:
        """Checks features and brings them into the space of the centroids.

        Args:
            features (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`):
                One float vector a clip.
            first_clip (`int`):
                Number of the first one, for messages.

        Returns:
            `torch.FloatTensor` of shape `(clips, feature_size)`, on the codebook's device.

        Raises:
            ValueError: Wrong width, NaN or infinite values, or a codebook that is not in float32.
        """
        if self.mean.dtype != torch.float32:
            raise ValueError(f"This codebook is in {self.mean.dtype}; its ids need float32, as it was saved.")
        features = torch.as_tensor(features)
        if features.ndim != 2 or features.shape[1] != self.config.feature_size:
            raise ValueError(
                f"Features have shape {tuple(features.shape)}; "
                f"this codebook takes (clips, {self.config.feature_size})."
            )
        points = torch.empty(features.shape, dtype=torch.float32, device=self.mean.device)
        for start in range(0, len(points), CACHED_ROWS):
            rows = points[start : start + CACHED_ROWS].copy_(features[start : start + CACHED_ROWS])
            check_finite(rows, first_clip + start)
            if self.config.normalize or self.config.whiten:
                rows.sub_(self.mean)
            if self.config.whiten:
                # In float64: rounded back, it does not depend on how many rows are multiplied at once.
                rows.copy_(rows.double() @ self.whitening.double())
            if self.config.normalize:
                rows.div_(rows.norm(dim=1, keepdim=True).clamp_min_(1e-12))
        return points

    @torch.no_grad()
    @without_autocast
    def encode(self, features: torch.Tensor | np.ndarray, batch_size: int = 8192) -> torch.Tensor:
        """Visual ids of features, down the tree: `levels * branches` distances each instead of `codebook_size`.

        Ids are the same to the bit whatever the batch, the way it is computed, and the number of threads.

        Args:
            features (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`):
                One float vector a clip.
            batch_size (`int`):
                Clips compared at once on each core, which bounds the memory.

        Returns:
            `torch.LongTensor` of shape `(clips * len(code_sizes),)`: Visual ids, 0 ... codebook_size - 1: one a clip,
            or all codes of the first clip, all of the second, ...

        Raises:
            ValueError: Wrong width, NaN or infinite values, or a codebook that was never fitted or is not in float32.
        """
        if not all(tree.counts(0).any() for tree in self.trees):
            raise ValueError("This codebook has not been fitted: no centroid has a training point.")
        few = len(features) <= FEW_ROWS
        penalties = [None if few else tree.all_penalties() for tree in self.trees]
        parts = [self.part(number) for number in range(len(self.trees))]
        cores = cores_here() if self.mean.device.type == "cpu" else 1
        at_once = max(FEW_ROWS, min(batch_size, -(-len(features) // cores)))

        def encode_batch(start):
            points = self.prepare(features[start : start + at_once], start)
            return self.name_codes(points, penalties, parts)

        starts = range(0, max(1, len(features)), at_once)
        if cores == 1 or len(starts) == 1:
            return torch.cat([encode_batch(start) for start in starts])
        with one_core_each() as cores:
            return torch.cat(list(on_cores(cores, encode_batch, starts)))

    def all_penalties(self) -> list[torch.Tensor]:
        """The penalties of every level."""
        return [self.penalties(level) for level in range(self.config.levels)]

    def name_codes(self, points: torch.Tensor, penalties: list, parts: list[torch.Tensor]) -> torch.Tensor:
        """Visual ids of prepared features `(N, feature_size)`, as of `encode`; of each tree penalties and part."""
        left, nodes = points, []
        for number, (tree, theirs) in enumerate(zip(self.trees, penalties, strict=True)):
            if number:
                left = left - parts[number - 1][nodes[-1]]
            path = tree.walk(tree.prepare(left) if number else points, theirs)
            nodes += path if self.config.levels_as_tokens else path[-1:]
        return (torch.stack(nodes, dim=1) + self.first_ids).flatten()

    def walk(self, points: torch.Tensor, penalties: list[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """The nodes `(N,)` of prepared features on every level of this tree, the leaves last."""
        path, node = [], torch.zeros(len(points), dtype=torch.long, device=points.device)
        for level in range(self.config.levels):
            node = self.descend(level, points, node, None if penalties is None else penalties[level])
            path.append(node)
        return path

    def descend(
        self, level: int, points: torch.Tensor, node: torch.Tensor, penalties: torch.Tensor | None = None
    ) -> torch.Tensor:
        """One step down the tree.

        Args:
            level (`int`):
                Where to.
            points (`torch.FloatTensor` of shape `(N, feature_size)`):
                Prepared features.
            node (`torch.LongTensor` of shape `(N,)`):
                Their nodes one level up, 0 at the root.
            penalties (`torch.FloatTensor`, *optional*):
                What [`~VisualCodebook.penalties`] gives, for many points.

        Returns:
            `torch.LongTensor` of shape `(N,)`: Their nodes on this level.
        """
        children = self.siblings(level)
        if penalties is None:
            alive = self.counts(level).view(-1, self.config.branches)[node] > 0
            child = settle(points, node, children, torch.arange(len(points), device=points.device), alive)
        else:
            longest = 1.0 if self.config.normalize else points.norm(dim=1).amax()
            child = nearest_child(points, node, children, penalties, longest)
        return node * self.config.branches + child

    # --- from visual ids back to features ----------------------------------------------------------------------------

    @property
    def leaves(self) -> torch.Tensor:
        """The leaf centroids of this tree: `(branches ** levels, feature_size)`."""
        return self.tree[-1].detach()

    def part(self, number: int) -> torch.Tensor:
        """What the leaves of a tree say of a feature, in the space of the first tree's centroids."""
        tree = self.trees[number]
        if number == 0 or not self.config.normalize:
            return tree.leaves
        return tree.mean + self.gains[number - 1] * tree.leaves

    @property
    def first_ids(self) -> torch.Tensor:
        """The first visual id of each code of a clip."""
        sizes = torch.tensor((0, *self.code_sizes[:-1]), device=self.mean.device)
        return sizes.cumsum(0)

    def centroids(self, visual_ids: Sequence[int] | torch.Tensor | None = None) -> torch.Tensor:
        """Centroids `(N, feature_size)` of the given visual ids `(N,)`, or of all, in the normalised space.

        Of further residual codes they are differences; [`~VisualCodebook.decode`] puts clips together.
        """
        if self.config.levels_as_tokens:
            parts = [level.detach() for level in self.tree]
        else:
            parts = [self.part(number) for number in range(len(self.trees))]
        all_of_them = parts[0] if len(parts) == 1 else torch.cat(parts)
        return all_of_them if visual_ids is None else all_of_them[torch.as_tensor(visual_ids)]

    def training_counts(self) -> torch.Tensor:
        """Training points of every visual id: `(codebook_size,)` int64."""
        last = self.config.levels - 1
        if self.config.levels_as_tokens:
            return torch.cat([self.counts(level) for level in range(self.config.levels)])
        return torch.cat([tree.counts(last) for tree in self.trees])

    def decode(self, visual_ids: Sequence[int] | torch.Tensor, codes: int | None = None) -> torch.Tensor:
        """What the visual ids of whole clips say of their features, in the normalised space.

        Args:
            visual_ids (`Sequence[int]` or `torch.LongTensor` of shape `(clips * len(code_sizes),)`):
                As of [`~VisualCodebook.encode`].
            codes (`int`, *optional*):
                Only the first so many codes of each clip; by default all.

        Returns:
            `torch.FloatTensor` of shape `(clips, feature_size)`: The centroid of one visual id, of the last level, or
            the sum over residual codes.
        """
        by_clip = torch.as_tensor(visual_ids).view(-1, len(self.code_sizes))[:, :codes]
        if self.config.levels_as_tokens:
            by_clip = by_clip[:, -1:]
        first, *others = by_clip.unbind(1)
        return sum((self.centroids(one) for one in others), self.centroids(first))

    def _upload_modified_files(self, working_dir, repo_id, *args, **kwargs):
        """A push brings a card; the library would leave an empty form."""
        fill_empty_card(working_dir, codebook_card(self, repo_id))
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).requires_grad_(False)
        return loaded

    def forward(self, features, **kwargs):
        """The same as [`~VisualCodebook.encode`]."""
        return self.encode(features)


def check_finite(rows: torch.Tensor, first_clip: int = 0) -> None:
    """Raises a ValueError that names the first row with a value that is not finite."""
    # A sum is not finite if a value is not; or it overflowed by itself, so that the values decide.
    if not torch.isfinite(rows.sum()) and len(bad := (~torch.isfinite(rows).all(1)).nonzero()):
        raise ValueError(
            f"The feature of clip {first_clip + bad[0].item()} holds NaN or infinity; "
            "only finite features have a visual id."
        )


# Here, so that one that came by remote code, too, copies its code when it is saved.
VisualCodebookConfig.register_for_auto_class()
VisualCodebook.register_for_auto_class("AutoModel")
