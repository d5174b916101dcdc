"""What a trained model is worth. The model is an argument, never an import."""

from .actions import best_words, evaluate_actions, results_table
from .alignment import alignment, alignment_table, evaluate_alignment, likelihood_gain
from .captions import caption_steps, captions_table, evaluate_captions, make_captions, score_captions
from .truth import read_truth, step_segments

__all__ = [
    "alignment",
    "alignment_table",
    "best_words",
    "caption_steps",
    "captions_table",
    "evaluate_actions",
    "evaluate_alignment",
    "evaluate_captions",
    "likelihood_gain",
    "make_captions",
    "read_truth",
    "results_table",
    "score_captions",
    "step_segments",
]
