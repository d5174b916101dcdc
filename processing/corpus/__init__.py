"""Many videos to rows: building a corpus, the rows it is made of, and which of them are held out."""

from .build import build_corpus
from .data_sets import dataset_videos, streamed_videos
from .feature_files import find_features
from .features import build_feature_corpus
from .ids import encode_rows
from .rows import check_rows, read_rows
from .share import Share
from .split import held_out_ids
from .tasks import count_tasks, describe_share, note_contents
from .videos import find_videos, listed_videos

__all__ = [
    "Share",
    "build_corpus",
    "build_feature_corpus",
    "check_rows",
    "count_tasks",
    "dataset_videos",
    "describe_share",
    "encode_rows",
    "find_features",
    "find_videos",
    "held_out_ids",
    "listed_videos",
    "note_contents",
    "read_rows",
    "streamed_videos",
]
