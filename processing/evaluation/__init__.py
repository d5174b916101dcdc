"""What a trained model is worth. The model is an argument, never an import."""

from .actions import best_words, evaluate_actions, results_table
from .truth import read_truth, step_segments

__all__ = ["best_words", "evaluate_actions", "read_truth", "results_table", "step_segments"]
