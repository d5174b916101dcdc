"""Rows to batches for captions (paper, section 4.5): what is seen in a segment, and the sentence said there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from ..captioning_videobert import video_inputs
from ..sequence_videobert import IGNORED
from .segments import Segment, row_segments


def caption_pairs(rows: Iterable[Mapping], trailing_seconds: float = 0.0) -> list[Segment]:
    """The segments of rows that have both, words and clips.

    Args:
        rows (`Iterable[Mapping]`):
            Rows, one a video.
        trailing_seconds (`float`, *optional*, defaults to 0.0):
            See [`row_spans`].

    Raises:
        ValueError: There is none.
    """
    pairs = [
        segment
        for row in rows
        for segment in row_segments(row, trailing_seconds)
        if segment.text and segment.visual_ids
    ]
    if not pairs:
        raise ValueError("No row has a sentence with clips: there is nothing to learn captions from.")
    return pairs


class CaptionData(torch.utils.data.Dataset):
    """Pairs as a captioner learns from them, and batches of them.

    Args:
        pairs (`Sequence[Segment]`):
            Of [`caption_pairs`].
        captioner ([`VideoBertForCaptioning`]):
            Says what it reads of a video and how long a caption may be.
        processor ([`VideoBertProcessor`]):
            Its processor.
        with_video (`bool`, *optional*, defaults to `True`):
            Whether the captioner sees the videos; without them it learns what is said in general.
    """

    def __init__(self, pairs: Sequence[Segment], captioner, processor, with_video: bool = True):
        self.captioner, self.processor = captioner, processor
        self.videos = [list(pair.visual_ids) if with_video else [] for pair in pairs]
        room = captioner.generation_config.max_length - 1  # behind the token that a caption begins with
        end = processor.tokenizer.sep_token_id
        words = processor.tokenizer([pair.text for pair in pairs], add_special_tokens=False)["input_ids"]
        # What is cut has no end: the captioner shall not learn to stop there.
        self.labels = [[*ids, end][:room] for ids in words]
        # Features of a frozen encoder stay the same all the time.
        self.features = None
        if captioner.config.feature_size is not None:
            self.features = video_inputs(captioner, processor, self.videos)["features"]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, number: int) -> int:
        return number

    def collate(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch: what the captioner sees, and `labels` (B, T) with −100 on padding."""
        if self.features is None:
            inputs = video_inputs(self.captioner, self.processor, [self.videos[number] for number in numbers])
        else:
            inputs = {"features": self.features[list(numbers)]}
        labels = [torch.tensor(self.labels[number]) for number in numbers]
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        return inputs | {"labels": padded}
