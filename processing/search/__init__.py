"""Finding moments of videos by what happens in them, and sentences for a video. The model is an argument."""

from .figures import retrieval_figures, step_retrieval_figures
from .index import MomentIndex, read_index
from .moments import row_moments

__all__ = ["MomentIndex", "read_index", "retrieval_figures", "row_moments", "step_retrieval_figures"]
