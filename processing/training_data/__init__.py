"""From rows to batches: segments, the examples drawn from them, and the collator that masks them."""

from .collator import VideoBertDataCollator
from .examples import REGIMES, SegmentDataset
from .futures import FutureDataset
from .pairs import AlignmentPairs
from .segments import row_segments

__all__ = ["REGIMES", "AlignmentPairs", "FutureDataset", "SegmentDataset", "VideoBertDataCollator", "row_segments"]
