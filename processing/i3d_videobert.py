"""Inflated 3D ConvNet (I3D): 1.5 s of video in, one 1024-d feature out.

Source of the architecture: Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017. It is the closest
relative of the S3D of the VideoBERT paper (section 4.2) whose Kinetics weights come in a package.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

# Inception blocks: output channels of the 1x1 branch, (reduce, 3x3x3), (reduce, 3x3x3) and the pooled branch.
INCEPTION = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}


class I3DConfig(PreTrainedConfig):
    """Configuration of [`I3DModel`].

    Args:
        hidden_size (`int`):
            Width of the feature.
        image_size (`int`):
            Side of the square frames, in pixels, for which features are meant.
        num_frames (`int`):
            Frames in a clip.
        num_channels (`int`):
            Channels of a frame.
    """

    model_type = "videobert_i3d"
    hidden_size: int = 1024
    image_size: int = 160
    num_frames: int = 30
    num_channels: int = 3


def padded_by(shape, kernel, stride):
    """Zeros that TensorFlow's SAME adds to each of (T, H, W) in all; the odd one goes behind."""
    return [max((-(-size // s) - 1) * s + k - size, 0) for size, k, s in zip(shape, kernel, stride, strict=True)]


def same_padding(x, kernel, stride):
    """Pads (N, C, T, H, W) with zeros as TensorFlow's SAME does."""
    pads = []
    for total in reversed(padded_by(x.shape[2:], kernel, stride)):
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


class ConvUnit(nn.Module):
    """Convolution and ReLU; the batch norm of the original is folded into weight and bias, once, at conversion."""

    def __init__(self, channels_in, channels_out, kernel=1, stride=1):
        super().__init__()
        # A stride of one pads evenly, which the convolution does itself without a copy.
        self.conv = nn.Conv3d(channels_in, channels_out, kernel, stride, padding=kernel // 2 if stride == 1 else 0)

    def forward(self, x):
        if self.conv.kernel_size == (1, 1, 1):
            # A product over the channels, which lie side by side. As a convolution in a process of one thread it would
            # give up that order of memory, and the whole network takes 1.7 times as long.
            product = F.linear(x.movedim(1, -1), self.conv.weight.flatten(1), self.conv.bias)
            return F.relu(product, inplace=True).movedim(-1, 1)
        if self.conv.stride[0] > 1:
            x = same_padding(x, self.conv.kernel_size, self.conv.stride)
        return F.relu(self.conv(x), inplace=True)


class MaxPool(nn.Module):
    """Max pool with SAME padding that makes no padded copy: rounding up takes the odd place behind."""

    def __init__(self, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        padding = [total // 2 for total in padded_by(x.shape[2:], self.kernel, self.stride)]
        return F.max_pool3d(x, self.kernel, self.stride, padding, ceil_mode=True)


class InceptionBlock(nn.Module):
    def __init__(self, channels_in, plain, middle, small, pooled):
        super().__init__()
        self.branch_0 = ConvUnit(channels_in, plain)
        self.branch_1 = nn.Sequential(ConvUnit(channels_in, middle[0]), ConvUnit(*middle, kernel=3))
        self.branch_2 = nn.Sequential(ConvUnit(channels_in, small[0]), ConvUnit(*small, kernel=3))
        self.branch_3 = nn.Sequential(MaxPool((3, 3, 3), (1, 1, 1)), ConvUnit(channels_in, pooled))
        self.channels_out = plain + middle[1] + small[1] + pooled

    def forward(self, x):
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1)


class I3DModel(PreTrainedModel):
    """I3D without its classifier.

    Args:
        config ([`I3DConfig`]):
            The configuration.
    """

    config_class = I3DConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        layers = [
            ("conv_1a", ConvUnit(config.num_channels, 64, kernel=7, stride=2)),
            ("pool_2a", MaxPool((1, 3, 3), (1, 2, 2))),
            ("conv_2b", ConvUnit(64, 64)),
            ("conv_2c", ConvUnit(64, 192, kernel=3)),
            ("pool_3a", MaxPool((1, 3, 3), (1, 2, 2))),
        ]
        channels = 192
        for name, widths in INCEPTION.items():
            if name == "4b":
                layers.append(("pool_4a", MaxPool((3, 3, 3), (2, 2, 2))))
            elif name == "5b":
                layers.append(("pool_5a", MaxPool((2, 2, 2), (2, 2, 2))))
            block = InceptionBlock(channels, *widths)
            layers.append((f"mixed_{name}", block))
            channels = block.channels_out
        self.trunk = nn.Sequential()
        for name, layer in layers:
            self.trunk.add_module(name, layer)
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, nn.Conv3d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)

    def forward(self, pixel_values, **kwargs):
        """Features of clips.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(clips, frames, 3, height, width)`):
                Frames in [-1, 1].

        Returns:
            [`BaseModelOutputWithPooling`]: `last_hidden_state` is the last feature map `(clips, 1024, T', H', W')`,
            `pooler_output` its mean over time and space `(clips, 1024)`.
        """
        x = pixel_values.transpose(1, 2).to(self.dtype).contiguous(memory_format=torch.channels_last_3d)
        feature_map = self.trunk(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=feature_map, pooler_output=feature_map.float().mean((2, 3, 4))
        )
