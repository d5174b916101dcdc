"""What a trained model is worth. The model is an argument, never an import."""

from .actions import best_words, evaluate_actions, results_table
from .alignment import alignment, alignment_table, evaluate_alignment, likelihood_gain
from .retrieval import rank_of, summarise_ranks
from .truth import read_truth, step_segments

__all__ = [
    "alignment",
    "alignment_table",
    "best_words",
    "evaluate_actions",
    "evaluate_alignment",
    "likelihood_gain",
    "rank_of",
    "read_truth",
    "results_table",
    "step_segments",
    "summarise_ranks",
]
