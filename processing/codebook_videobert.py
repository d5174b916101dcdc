"""The visual vocabulary: a tree of centroids that turns a clip's feature into one visual id (paper, section 4.2)."""

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init


class VisualCodebookConfig(PreTrainedConfig):
    """Configuration of [`VisualCodebook`].

    Args:
        levels (`int`): Depth of the tree; 4 in the paper.
        branches (`int`): Children of a node; 12 in the paper, hence 12**4 = 20,736 visual ids.
        feature_size (`int`): Width of a feature; 1024 for S3D and I3D.
        normalize (`bool`): Whether features are centred by the training mean and scaled to unit length first.
        backbone (`str`, *optional*): Which network's features the centroids belong to, for the reader of the file.
    """

    model_type = "videobert_codebook"
    levels: int = 4
    branches: int = 12
    feature_size: int = 1024
    normalize: bool = True
    backbone: str | None = None

    @property
    def codebook_size(self):
        return self.branches**self.levels


class VisualCodebook(PreTrainedModel):
    """Hierarchical k-means codebook: feature to visual id, and back to a centroid.

    Level l holds `branches ** (l + 1)` centroids; one level down, the children of node n are the nodes
    `n * branches ... (n + 1) * branches - 1`, so a visual id spells its path in base `branches`. A child that got no
    training point has count 0, carries its parent's centroid and is never chosen.

    Args:
        config ([`VisualCodebookConfig`]): The configuration.
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
        for level, size in enumerate(sizes):
            self.register_buffer(f"counts_{level}", torch.zeros(size, dtype=torch.int64))
        self.post_init()

    def _init_weights(self, module):
        if module is self:
            for parameter in (*self.tree, self.mean):
                init.zeros_(parameter)
            for level in range(self.config.levels):
                init.zeros_(self.counts(level))

    def counts(self, level):
        """Training points under every node of a level: `(branches ** (level + 1),)` int64."""
        return getattr(self, f"counts_{level}")

    def prepare(self, features):
        """Checks features `(N, feature_size)` and brings them into the space of the centroids (float32)."""
        features = torch.as_tensor(features)
        if features.ndim != 2 or features.shape[1] != self.config.feature_size:
            raise ValueError(
                f"Features have shape {tuple(features.shape)}; "
                f"this codebook takes (clips, {self.config.feature_size})."
            )
        features = features.to(self.mean.device, torch.float32)
        bad = (~torch.isfinite(features).all(1)).nonzero()
        if len(bad):
            raise ValueError(
                f"The feature of clip {bad[0].item()} holds NaN or infinity; only finite features have a visual id."
            )
        if self.config.normalize:
            features = nn.functional.normalize(features - self.mean, dim=1)
        return features

    @torch.inference_mode()
    def encode(self, features, batch_size=4096):
        """Visual ids of features, down the tree: `levels * branches` distances each instead of `codebook_size`.

        Args:
            features (`torch.Tensor` or `numpy.ndarray` of shape `(clips, feature_size)`): One float vector a clip.
            batch_size (`int`): Clips compared at once, which bounds the memory.

        Returns:
            `torch.LongTensor` of shape `(clips,)`: Visual ids, 0 ... codebook_size - 1.

        Raises:
            ValueError: Wrong width, NaN or infinite values, or a codebook that was never fitted.
        """
        if not self.counts(0).any():
            raise ValueError("This codebook has not been fitted: no centroid has a training point.")
        features = self.prepare(features)
        return torch.cat([self._walk(batch) for batch in features.split(batch_size)] or [features.new_zeros(0).long()])

    def _walk(self, features):
        children = torch.arange(self.config.branches, device=features.device)
        node = torch.zeros(len(features), dtype=torch.long, device=features.device)
        for level, centroids in enumerate(self.tree):
            candidates = node[:, None] * self.config.branches + children
            # Differences, not dot products: every row is summed by itself, so ids do not depend on the batch.
            distance = (features[:, None] - centroids[candidates]).square().sum(-1)
            distance = distance.masked_fill(self.counts(level)[candidates] == 0, torch.inf)
            node = candidates.gather(1, distance.argmin(1, keepdim=True)).squeeze(1)
        return node

    def centroids(self, visual_ids=None):
        """Leaf centroids `(N, feature_size)` of the given visual ids `(N,)`, or of all, in the normalised space."""
        leaves = self.tree[-1].detach()
        return leaves if visual_ids is None else leaves[torch.as_tensor(visual_ids)]

    def forward(self, features, **kwargs):
        """The same as [`~VisualCodebook.encode`]."""
        return self.encode(features)
