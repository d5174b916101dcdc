"""From rows to batches: segments, the examples drawn from them, and the collator that masks them."""

from .caption_data import CaptionData, caption_pairs
from .collator import VideoBertDataCollator
from .examples import REGIMES, SegmentDataset
from .futures import FutureDataset
from .pairs import AlignmentPairs
from .segments import row_segments

__all__ = [
    "AlignmentPairs",
    "CaptionData",
    "FutureDataset",
    "REGIMES",
    "SegmentDataset",
    "VideoBertDataCollator",
    "caption_pairs",
    "row_segments",
]
