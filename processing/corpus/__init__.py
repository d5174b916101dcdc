"""Many videos to rows: building a corpus, the rows it is made of, and which of them are held out."""

from .build import build_corpus
from .rows import read_rows
from .split import held_out_ids
from .videos import find_videos

__all__ = ["build_corpus", "find_videos", "held_out_ids", "read_rows"]
