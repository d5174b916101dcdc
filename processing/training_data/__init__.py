"""From rows to batches: segments, the examples drawn from them, and the collator that masks them."""

from .collator import VideoBertDataCollator
from .segments import SegmentDataset, row_segments

__all__ = ["SegmentDataset", "VideoBertDataCollator", "row_segments"]
