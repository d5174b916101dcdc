"""Separable 3D ConvNet (S3D), the video network of the paper (section 4.2): 1.5 s of video in, one 1024-d feature out.

The network and its Kinetics weights are torchvision's; here it loses its classifier, has its batch norms folded away
and saves as safetensors.
"""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.video import S3D, S3D_Weights
from torchvision.ops.misc import Conv3dNormActivation
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

# How torchvision prepares frames for its S3D, as options of a `VideoBertVideoProcessor`.
S3D_PIXELS = {
    "size": {"height": 256, "width": 256},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.43216, 0.394666, 0.37645],
    "image_std": [0.22803, 0.22145, 0.216989],
}


class S3DConfig(PreTrainedConfig):
    """Configuration of [`S3DModel`].

    Args:
        hidden_size (`int`):
            Width of the feature.
        image_size (`int`):
            Side of the square frames, in pixels, for which features are meant.
        num_frames (`int`):
            Frames in a clip.
    """

    model_type = "videobert_s3d"
    hidden_size: int = 1024
    image_size: int = 224
    num_frames: int = 30


def fold_batch_norms(network):
    """Multiplies the batch norm behind every convolution into its weights: the same numbers in fewer steps."""
    for unit in network.modules():
        if isinstance(unit, Conv3dNormActivation):
            unit[0], unit[1] = fuse_conv_bn_eval(unit[0].eval(), unit[1].eval()), nn.Identity()
    return network


class S3DModel(PreTrainedModel):
    """S3D without its classifier.

    Args:
        config ([`S3DConfig`]):
            The configuration.
    """

    config_class = S3DConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        network = S3D()
        self.trunk, self.pool = fold_batch_norms(network.features), network.avgpool
        self.post_init()

    @classmethod
    def from_torchvision(cls):
        """The Kinetics-400 weights that torchvision fetches (and checks), without unpickling anything but tensors.

        Raises:
            ValueError: They cannot be fetched.
        """
        try:
            weights = S3D_Weights.KINETICS400_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except OSError as error:
            raise ValueError(f"torchvision could not fetch the weights of S3D: {error}") from error
        network = S3D()
        network.load_state_dict(weights)
        model = cls(S3DConfig())
        model.trunk = fold_batch_norms(network.features)
        return model.eval()

    def _init_weights(self, module):
        if isinstance(module, nn.Conv3d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)

    def forward(self, pixel_values, **kwargs):
        """Features of clips.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(clips, frames, 3, height, width)`):
                Normalised frames.

        Returns:
            [`BaseModelOutputWithPooling`]: `last_hidden_state` is the last feature map `(clips, 1024, T', H', W')`,
            `pooler_output` what torchvision's classifier would see of it, averaged, `(clips, 1024)`.
        """
        x = pixel_values.transpose(1, 2).to(self.dtype).contiguous(memory_format=torch.channels_last_3d)
        feature_map = self.trunk(x)
        pooled = self.pool(feature_map.float()).mean((2, 3, 4))
        return BaseModelOutputWithPooling(last_hidden_state=feature_map, pooler_output=pooled)
