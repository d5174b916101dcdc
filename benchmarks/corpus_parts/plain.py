"""The loop that somebody writes in an afternoon, over public parts: one video after another, nothing at once."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from codebook import grow, scikit_learn
from i3d_speed import PlainI3D
from torchcodec.decoders import VideoDecoder
from torchvision.transforms.v2.functional import resize
from transformers import pipeline

from processing import I3DModel
from processing.frames_videobert import count_clips, frame_times

CLIP_SECONDS, FPS = 1.5, 20


class PlainLoop:
    """Decord's frames, or torchcodec's where it is missing, I3D as a plain module clip by clip, the ASR pipeline of
    transformers with one beam, and scikit-learn's k-means, twice.

    Args:
        ears (`str`):
            Folder of a Whisper checkpoint.
        eyes (`str`):
            Folder of an I3D.
    """

    def __init__(self, ears: str, eyes: str):
        model = I3DModel.from_pretrained(eyes)
        self.edge, self.network = model.config.image_size, PlainI3D(model).eval()
        self.asr = pipeline("automatic-speech-recognition", ears)

    def run(self, videos: Mapping[str, Path], levels: int, branches: int) -> dict[str, int]:
        """How many clips of each video got an id."""
        features = {name: self.look_at(path) for name, path in videos.items()}
        self.sentences = {name: self.hear(path) for name, path in videos.items()}
        points = np.concatenate([*features.values()])
        grow(points, branches, levels, scikit_learn("KMeans"))
        return {name: len(vectors) for name, vectors in features.items()}

    @torch.no_grad()
    def look_at(self, path: Path) -> np.ndarray:
        """Features of one video, a clip at a time."""
        vectors = []
        for clip in read_clips(str(path), self.edge):
            pixels = torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 127.5 - 1
            vectors.append(self.network(pixels[None]).numpy())
        return np.concatenate(vectors)

    def hear(self, path: Path) -> list[dict]:
        """What is said in one video, with the times of segments."""
        try:
            return self.asr(str(path), return_timestamps=True, generate_kwargs={"num_beams": 1})["chunks"]
        except ValueError:  # there is no sound
            return []


def read_clips(path: str, edge: int):
    """The clips of a square video: arrays `(30, edge, edge, 3)` uint8."""
    try:
        return clips_of_decord(path, edge)
    except ImportError:
        return clips_of_torchcodec(path, edge)


def clips_of_decord(path: str, edge: int):
    import decord

    reader = decord.VideoReader(path, width=edge, height=edge)
    rate, frames = reader.get_avg_fps(), len(reader)
    return (reader.get_batch(places).asnumpy() for places in places_of_clips(frames, rate))


def clips_of_torchcodec(path: str, edge: int):
    reader = VideoDecoder(path)
    for places in places_of_clips(reader.metadata.num_frames, reader.metadata.average_fps):
        yield resize(reader.get_frames_at(places).data, [edge, edge]).permute(0, 2, 3, 1).numpy()


def places_of_clips(frames: int, rate: float):
    """The numbers of the frames of each clip, by the rate that the header tells."""
    for clip in range(count_clips(frames / rate, CLIP_SECONDS)):
        moments = frame_times(clip, CLIP_SECONDS, FPS)
        yield np.minimum(moments * rate + 1e-6, frames - 1).astype(int).tolist()
