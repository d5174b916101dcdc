"""One pretrained network, of whatever kind, that looks at raw clips and gives one vector a clip."""

import inspect
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModel, AutoVideoProcessor, PreTrainedConfig, PreTrainedModel

from .i3d_videobert import I3DModel
from .names_videobert import is_folder
from .s3d_videobert import S3D_PIXELS, S3DModel
from .video_processing_videobert import VideoBertVideoProcessor

TORCHVISION_S3D = "torchvision/s3d"
OURS = {model.config_class.model_type: model for model in (I3DModel, S3DModel)}
# What a checkpoint may lack, because features do not come through it.
UNUSED_WEIGHTS = ("pooler", "predictor", "mask_token")
IMAGE_FRAMES = 6


def model_type(name: str, argument: str = "backbone") -> str | None:
    """The kind of model that a Hub id or folder holds, in transformers' words.

    Args:
        name (`str`):
            The Hub id or folder.
        argument (`str`, *optional*, defaults to `"backbone"`):
            Which argument of the processor named it, for messages.

    Returns:
        `str`: The kind; `None` where it does not say.

    Raises:
        ValueError: There is no such model.
    """
    try:
        settings, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        # The library takes a folder that is not there for a strange Hub id.
        gone = is_folder(name) and not Path(name).is_dir()
        reason = "there is no such folder" if gone else first_line(error)
        raise ValueError(
            f"{name} is no model that can be loaded ({reason}); pass a Hub id or folder that is one to "
            f"from_pretrained, as {argument}=…"
        ) from error
    return settings.get("model_type")


def load_pixels(name: str):
    """A network's own processor, which prepares raw frames the way it was trained."""
    if name == TORCHVISION_S3D:
        return VideoBertVideoProcessor(**S3D_PIXELS)
    if model_type(name) in OURS:
        return VideoBertVideoProcessor.from_pretrained(name)
    for auto in (AutoVideoProcessor, AutoImageProcessor):  # image networks and older video networks have the second
        try:
            return auto.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = first_line(error)
    raise ValueError(f"{name} says nothing on how to prepare its pixels: {reason}")


def shortest_edge(processor, name: str) -> int:
    """Pixels to which a network's processor brings the shorter side of a frame, before it crops."""
    if hasattr(processor, "data_config"):  # timm
        return round(max(processor.data_config["input_size"][1:]) / processor.data_config["crop_pct"])
    size = dict(processor.size or {})
    edge = size.get("shortest_edge") or max(size.get("height") or 0, size.get("width") or 0)
    if not edge:
        raise ValueError(f"{name} does not say how large its frames are; its size is {size}.")
    return round(edge / (getattr(processor, "crop_pct", None) or 1))


def load_model(name: str, dtype: str | torch.dtype) -> tuple[PreTrainedModel, set[str]]:
    """A network and the names of the weights that its checkpoint lacks, all of them without use here."""
    if name == TORCHVISION_S3D:
        return S3DModel.from_torchvision().to(getattr(torch, str(dtype).removeprefix("torch."))), set()
    network = OURS.get(model_type(name), AutoModel)
    try:
        model, info = network.from_pretrained(name, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is no vision model that can be loaded: {first_line(error)}") from error
    missing = set(info["missing_keys"])
    random = [key for key in sorted(missing) if not any(word in key for word in UNUSED_WEIGHTS)]
    if random:
        raise ValueError(
            f"{name} lacks {len(random)} weights of a {type(model).__name__}, {random[0]} among them; random ones "
            "would give random features."
        )
    return model, missing


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


class Network:
    """One pretrained network: raw clips in, one vector a clip out.

    A video network sees as many frames as it was made for, evenly spread over the clip. An image network sees
    `frames` of them one by one; the clip's vector is the mean of theirs, and with `change` also the mean absolute
    difference between one and the next: how much of what moves. (Last third less first third keeps a direction, but
    deeds go to and fro within a clip: by itself it named 29 of 100 deeds of the kitchen, this one 54.)

    Args:
        name (`str`):
            Hub id or folder of a transformers or timm vision model or of our I3D or S3D, or `torchvision/s3d`.
        frames (`int`, *optional*):
            Frames of a clip that an image network looks at; 6 by default.
        change (`bool`):
            Whether the vector of an image network tells how the clip changes.
        device (`torch.device`):
            Where it runs.
        dtype (`str`):
            Precision it runs in.
        compile (`bool`):
            Whether it is compiled first, for batches of one size, which takes minutes and needs a C++ compiler on
            CPUs.

    Raises:
        ValueError: No vision model, weights that are not there, no processor of its own, or options of an image
            network for a video network.
    """

    def __init__(
        self,
        name: str,
        frames: int | None = None,
        change: bool = False,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        compile: bool = False,
    ):
        self.name, self.change = name, change
        self.model, missing = load_model(name, dtype)
        self.model = getattr(self.model, "vision_model", self.model)  # CLIP and its like read text, too
        parameters = inspect.signature(self.model.forward).parameters
        if "pixel" not in self.model.main_input_name or self.model.main_input_name not in parameters:
            raise ValueError(f"{name} takes no pixels; a backbone must be a vision model.")
        self.processor = load_pixels(name)
        # A random pooler, which checkpoints of classifiers lead to, would give other features at every start.
        self.has_pooler = not any("pooler" in key for key in missing)
        # V-JEPA 2 computes its training task, too, unless it is told otherwise.
        self.extra = {"skip_predictor": True} if "skip_predictor" in parameters else {}
        self._choose_frames(frames, change)
        self.device = torch.device(device)
        self.model = self.model.to(self.device).eval()
        if self.is_image:
            self.model.to(memory_format=torch.channels_last)
        self.feature_size = self._measured_width() if self.is_image else self.model.config.hidden_size
        if compile:
            self.model.compile(dynamic=False)

    @torch.no_grad()
    def _measured_width(self):
        """By looking at a black clip: configurations of image networks tell it under many names, or not at all."""
        black = torch.zeros(self.num_frames, 3, 64, 64, dtype=torch.uint8)
        return self(self.prepare(black)[None]).shape[1]

    def _choose_frames(self, frames, change):
        config = self.model.config
        # Frames it was trained on, but any number will do where positions are rotary.
        self.tubelet = getattr(config, "tubelet_size", 1) if hasattr(config, "frames_per_clip") else None
        trained_on = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
        self.is_image = not trained_on
        if trained_on and (frames or change):
            raise ValueError(
                f"{self.name} is a video network of {trained_on} frames; frames and change are for image ones."
            )
        self.num_frames = trained_on or frames or IMAGE_FRAMES
        if change and self.num_frames < 2:
            raise ValueError(f"{self.name} cannot tell a change from frames={self.num_frames}; it takes at least 2.")

    def prepare(self, clip: torch.Tensor) -> torch.Tensor:
        """The frames of one clip that the network looks at, prepared by its own processor.

        Args:
            clip (`torch.Tensor` of shape `(frames, 3, height, width)`):
                Raw frames (uint8); those of a floating dtype have been prepared already.

        Returns:
            `torch.FloatTensor` of shape `(num_frames, 3, height, width)`.

        Raises:
            ValueError: The clip has less than half the frames that the network needs; to 30 frames ViViT's 32 can be
                found by showing two of them twice, but motion is lost where all of them are.
        """
        count = self.num_frames
        if self.tubelet is not None:
            count = min(count, len(clip)) // self.tubelet * self.tubelet
        if not count or 2 * len(clip) < count:
            raise ValueError(
                f"A clip of {len(clip)} frames is too short for {self.name}, which needs {self.num_frames}; "
                "take more frames a second (fps) or longer clips (clip_seconds)."
            )
        frames = pick_frames(clip, count)
        if frames.is_floating_point():
            return frames
        if hasattr(self.processor, "sample_frames"):  # a video processor
            pixels = self.processor(videos=[frames], do_sample_frames=False, return_tensors="pt")
        else:
            pixels = self.processor(list(frames), return_tensors="pt")
        pixels = next(value for key, value in pixels.items() if key.startswith("pixel_values"))
        return pixels.reshape(count, *pixels.shape[-3:])

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors `(clips, feature_size)`, float32 and on the CPU, of prepared clips `(clips, frames, 3, h, w)`."""
        pixels = pixels.to(self.device, self.model.dtype)
        clips, frames = pixels.shape[:2]
        if not self.is_image:
            return self._pooled(pixels).float().cpu()
        pixels = pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        vectors = self._pooled(pixels).float().cpu().view(clips, frames, -1)
        mean = vectors.mean(1)
        return torch.cat([mean, vectors.diff(dim=1).abs().mean(1)], 1) if self.change else mean

    def _pooled(self, pixels):
        output = self.model(**{self.model.main_input_name: pixels}, **self.extra)
        pooled = output.get("pooler_output") if self.has_pooler else None
        if pooled is not None:
            return pooled.flatten(1)
        hidden = output.last_hidden_state  # tokens (N, tokens, D), or a map (N, D, height, width)
        return hidden.mean(1) if hidden.ndim == 3 else hidden.flatten(2).mean(2)


def pick_frames(clip: torch.Tensor, count: int) -> torch.Tensor:
    """`count` frames evenly spread over a clip: those in the middle of as many equal parts."""
    if count == len(clip):
        return clip
    middles = (torch.arange(count) + 0.5) * len(clip) / count
    return clip[middles.long()]
