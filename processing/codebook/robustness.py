"""Whether visual ids survive what happens to videos on their way: another encoding, frame rate, crop or resolution."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import tqdm
from torchcodec.encoders import Encoder

from ..backbone_videobert import FeatureError
from ..codebook_videobert import VisualCodebook
from ..frames_videobert import resized_shape
from ..media_videobert import MediaError, open_media

CODEC = "libx264"
# What a header says of frames a second is kept within these; where it says nothing, it is the usual.
LEAST_FPS, USUAL_FPS, MOST_FPS = 1.0, 25.0, 60.0


@dataclass(frozen=True)
class Alteration:
    """What happens to a video, beside being encoded anew (H.264).

    Args:
        crf (`int`, *optional*, defaults to 23):
            Constant rate factor, the encoder's own default; 6 more take about half the bits.
        rate (`float`, *optional*, defaults to 1):
            Frames a second, in those of the video: shown is what is on the screen in the middle of each.
        kept (`float`, *optional*, defaults to 1):
            Share of the width and of the height that stays, in the middle.
        scale (`float`, *optional*, defaults to 1):
            Width and height, in those of the video.
    """

    crf: int = 23
    rate: float = 1.0
    kept: float = 1.0
    scale: float = 1.0


# Each changes one thing, and is encoded as `CRF 23` is: what it costs more than that is its own. In the order in which
# saved files have them.
ALTERATIONS = {
    "CRF 23": Alteration(),
    "CRF 32": Alteration(crf=32),
    "crop of 5 %": Alteration(kept=0.95),
    "frame rate times 6/5 (25 to 30 fps)": Alteration(rate=1.2),
    "half resolution": Alteration(scale=0.5),
}


def alter_video(video: str | os.PathLike, path: str | os.PathLike, alteration: Alteration) -> None:
    """Writes an altered copy of a video, without its sound.

    Args:
        video (`str` or `os.PathLike`):
            The video.
        path (`str` or `os.PathLike`):
            Where the copy goes: MP4, as long as the video to half a frame.
        alteration ([`Alteration`]):
            What is done to it.

    Raises:
        MediaError: The video cannot be read.
        ValueError: FFmpeg here has no encoder for H.264.
    """
    with open_media(video) as media:
        fps = media.pictures.stream.average_fps_from_header or USUAL_FPS
        fps = alteration.rate * min(max(fps, LEAST_FPS), MOST_FPS)
        moments = [(number + 0.5) / fps for number in range(max(1, round(media.shown_seconds * fps)))]
        edge = max(2, round(alteration.scale * min(media.height, media.width)))
        shape = resized_shape(media.height, media.width, edge)
        # The encoder takes even sides.
        height, width = (max(2, int(alteration.kept * side) // 2 * 2) for side in shape)
        encoder = Encoder()
        try:
            track = encoder.add_video(
                height=height,
                width=width,
                frame_rate=fps,
                device="cpu",
                codec=CODEC,
                crf=alteration.crf,
                pixel_format="yuv420p",
            )
            file = encoder.open_file(path)
        except RuntimeError as error:
            raise ValueError(f"FFmpeg cannot encode H.264 here, which altered videos need: {error}") from None
        with file, closing(media.pictures.show_at(moments, fps, edge, (height, width))) as pictures:
            for picture in pictures:
                track.add_frames(torch.tensor(picture).permute(2, 0, 1)[None])


def surviving_ids(
    codebook: VisualCodebook,
    videos: Mapping[str, str | os.PathLike],
    look: Callable[[str | os.PathLike], torch.Tensor],
    alterations: Mapping[str, Alteration] = ALTERATIONS,
) -> dict:
    """How many clips keep their visual id, the first one where they have several, when their video is altered.

    Args:
        codebook ([`VisualCodebook`]):
            The codebook.
        videos (`Mapping[str, str]`):
            By video id the file.
        look (`Callable`):
            Gives the features `(clips, feature_size)` of a file, as [`~VideoBertProcessor.features`] does.
        alterations (`Mapping[str, Alteration]`, *optional*):
            By name what is done to the videos; re-encoding, frame rate, crop and resolution by default.

    Returns:
        `dict`: `videos` and `clips` looked at; `survive`, by alteration the share of the clips whose id stays, a list
        with one number a level: the first is that of the top level, the last that of the whole id; `chance`, in the
        same form, the share for clips drawn at random (the sum of the squared shares of the ids); and `errors`, by
        video id what is wrong with videos that were left out.

    Raises:
        ValueError: None of the videos can be read, or a feature is not the codebook's.
    """
    codebook = codebook.one_code()
    before, after, errors = [], {name: [] for name in alterations}, {}
    for video_id, video in tqdm(videos.items(), desc="Altered videos"):
        try:
            ids = codebook.encode(look(video))
            others = {name: encode_altered(codebook, video, look, one) for name, one in alterations.items()}
        except (MediaError, FeatureError) as error:
            errors[video_id] = str(error)
            continue
        # Half a frame less may cost the last clip.
        count = min(map(len, [ids, *others.values()]))
        if not count:
            errors[video_id] = "The video is shorter than a clip."
            continue
        before.append(ids[:count])
        for name, found in others.items():
            after[name].append(found[:count])
    if not before:
        raise ValueError(f"None of the {len(videos)} videos to alter can be read: {next(iter(errors.values()), '')}")
    ids, width, levels = torch.cat(before), codebook.config.branches, codebook.config.levels
    return {
        "videos": len(before),
        "clips": len(ids),
        "chance": chance_by_level(ids, width, levels),
        "survive": {name: agreement_by_level(ids, torch.cat(found), width, levels) for name, found in after.items()},
        "errors": errors,
    }


def encode_altered(codebook: VisualCodebook, video, look: Callable, alteration: Alteration) -> torch.Tensor:
    """The visual ids of a video that was altered."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "altered.mp4"
        alter_video(video, path, alteration)
        return codebook.encode(look(path))


def nodes_by_level(ids: torch.Tensor, branches: int, levels: int) -> list[torch.Tensor]:
    """The nodes that visual ids `(N,)` lie under, from the top level down to themselves."""
    return [ids // branches ** (levels - 1 - level) for level in range(levels)]


def agreement_by_level(ids: torch.Tensor, others: torch.Tensor, branches: int, levels: int) -> list[float]:
    """The share of equal nodes of two lists of visual ids `(N,)` on each level."""
    pairs = zip(nodes_by_level(ids, branches, levels), nodes_by_level(others, branches, levels), strict=True)
    return [(one == other).double().mean().item() for one, other in pairs]


def chance_by_level(ids: torch.Tensor, branches: int, levels: int) -> list[float]:
    """The same of two clips that are drawn at random: the sum of the squared shares of the nodes."""
    counts = (nodes.unique(return_counts=True)[1].double() for nodes in nodes_by_level(ids, branches, levels))
    return [(count / len(ids)).square().sum().item() for count in counts]
