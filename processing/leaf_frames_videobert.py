"""Small pictures of what visual ids stand for, kept beside the weights of a codebook."""

from pathlib import Path

import torch
from safetensors.torch import load, save
from transformers.utils import cached_file

FRAMES_NAME = "frames.safetensors"
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


class LeafFramesMixin:
    """Models of `codebook_size` visual ids, some of which have a picture; `_frames` holds them, or `None`."""

    # JPEGs, one after the other, and where each one ends.
    _frames: dict[str, torch.Tensor] | None = None

    def set_frames(self, frames: dict[int, torch.Tensor]) -> None:
        """Keeps a small picture with some leaves, so that a reader can see what a visual id stands for.

        Args:
            frames (`dict[int, torch.Tensor]`):
                By visual id a frame `(3, height, width)` uint8. They are saved beside the weights as JPEG: 48 px ones
                take a kilobyte or two each.
        """
        from torchcodec.encoders import JpegEncoder  # only whoever looks at pictures needs it

        for visual_id in frames:
            self._check_id(visual_id)
        pictures = [
            JpegEncoder(frames[i].cpu()).to_tensor() if i in frames else None for i in range(self.codebook_size)
        ]
        sizes = torch.tensor([0 if picture is None else len(picture) for picture in pictures])
        jpeg = torch.cat(
            [picture for picture in pictures if picture is not None] or [torch.zeros(0, dtype=torch.uint8)]
        )
        self._frames = {"jpeg": jpeg, "ends": sizes.cumsum(0)}

    def frame(self, visual_id: int) -> torch.Tensor | None:
        """The picture kept with a leaf: `(3, height, width)` uint8, or `None` if there is none.

        Raises:
            ValueError: There is no such visual id.
        """
        from torchcodec.decoders import decode_jpeg

        self._check_id(visual_id)
        if self._frames is None:
            return None
        ends = self._frames["ends"]
        start, end = (int(ends[visual_id - 1]) if visual_id else 0), int(ends[visual_id])
        return decode_jpeg(self._frames["jpeg"][start:end]) if end > start else None

    def _check_id(self, visual_id):
        if not 0 <= visual_id < self.codebook_size:
            raise ValueError(
                f"There is no visual id {visual_id}; those of this codebook are 0 to {self.codebook_size - 1}."
            )

    def save_pretrained(self, save_directory, *args, **kwargs):
        path = Path(save_directory) / FRAMES_NAME
        if self._frames is None:
            path.unlink(missing_ok=True)  # those of a codebook that lay here before
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(save(self._frames))
        return super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        where = {key: kwargs[key] for key in HUB_OPTIONS if kwargs.get(key) is not None}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        codebook = loaded[0] if isinstance(loaded, tuple) else loaded
        missing = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        path = cached_file(pretrained_model_name_or_path, FRAMES_NAME, **where, **missing)
        # As bytes, for the file may change or go while the codebook is there.
        codebook._frames = None if path is None else load(Path(path).read_bytes())
        return loaded
