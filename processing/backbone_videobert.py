"""The video network that turns a clip into a feature, chosen by its id (paper, section 4.2)."""

import inspect

import torch
from transformers import AutoImageProcessor, AutoModel, AutoVideoProcessor, PreTrainedConfig

from .i3d_videobert import I3DModel


def load_preprocessing(backbone):
    """How a network wants its pixels, from its own processor: options of a `VideoBertVideoProcessor`.

    Args:
        backbone (`str`): Hub id or folder of a transformers video model.

    Returns:
        `dict`: `size` (shortest edge), `crop_size`, `rescale_factor`, `image_mean` and `image_std`.

    Raises:
        ValueError: Its pixels are prepared in a way that clips cannot be.
    """
    try:
        theirs = AutoVideoProcessor.from_pretrained(backbone)
    except (OSError, ValueError):  # the older video models come with an image processor
        theirs = AutoImageProcessor.from_pretrained(backbone)
    if getattr(theirs, "offset", False) or not theirs.do_normalize:
        raise ValueError(f"{backbone} wants its pixels shifted or not normalised; clips are rescaled and normalised.")
    size, crop = dict(theirs.size), (theirs.crop_size if theirs.do_center_crop else None)
    edge = size.get("shortest_edge") or min(size["height"], size["width"])
    return {
        "size": {"shortest_edge": edge},
        "crop_size": {"height": crop["height"], "width": crop["width"]} if crop else {"height": edge, "width": edge},
        "rescale_factor": theirs.rescale_factor,
        "image_mean": list(theirs.image_mean),
        "image_std": list(theirs.image_std),
    }


class Backbone:
    """A video network behind one door: clips in, features out.

    Args:
        name_or_path (`str`): Hub id or folder of a transformers video model (VideoMAE, TimeSformer, V-JEPA 2, ...)
            or of our I3D.
        device (`str`, *optional*): Where it runs.
        dtype (`str`): Precision it runs in; features are float32 in any case.
        batch_size (`int`): Clips a forward pass.
    """

    def __init__(self, name_or_path, device=None, dtype="float32", batch_size=4):
        self.name_or_path, self.batch_size = str(name_or_path), batch_size
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        settings, _ = PreTrainedConfig.get_config_dict(name_or_path)
        network = I3DModel if settings.get("model_type") == I3DModel.config_class.model_type else AutoModel
        self.model = network.from_pretrained(name_or_path, dtype=dtype).to(self.device).eval()
        if self.model.main_input_name not in inspect.signature(self.model.forward).parameters:
            raise ValueError(f"{name_or_path} takes no pixels; a backbone must be a transformers video model.")
        config = self.model.config
        self.num_frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
        self.feature_size = config.hidden_size

    @torch.inference_mode()
    def features(self, clips):
        """Features of a stream of clips.

        Args:
            clips (iterable of `torch.FloatTensor` of shape `(frames, 3, height, width)`): Normalised clips; a stream
                is never held whole.

        Returns:
            `torch.FloatTensor` of shape `(clips, feature_size)`.
        """
        features, batch = [], []
        for clip in clips:
            batch.append(self._pick_frames(clip))
            if len(batch) == self.batch_size:
                features.append(self._forward(batch))
                batch = []
        if batch:
            features.append(self._forward(batch))
        return torch.cat(features) if features else torch.zeros(0, self.feature_size)

    def _pick_frames(self, clip):
        """As many frames as the network was made for, evenly spread over the clip."""
        if not self.num_frames or self.num_frames == len(clip):
            return clip
        middles = (torch.arange(self.num_frames) + 0.5) * len(clip) / self.num_frames
        return clip[middles.long()]

    def _forward(self, batch):
        pixels = torch.stack(batch).to(self.device, self.model.dtype)
        output = self.model(**{self.model.main_input_name: pixels})
        pooled = output.get("pooler_output")
        if pooled is None:
            pooled = output.last_hidden_state.mean(1)
        return pooled.float().cpu()
