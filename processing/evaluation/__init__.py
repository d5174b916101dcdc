"""What a trained model is worth. The model is an argument, never an import."""

from .actions import best_words, evaluate_actions, evaluate_templates, results_table, templates_table
from .alignment import alignment, alignment_table, evaluate_alignment, likelihood_gain
from .forecasting import evaluate_forecasting, forecast_figures, forecast_table
from .storyboard import evaluate_storyboard, imagine_clips, storyboard_figures, storyboard_table, told_steps
from .truth import read_truth, read_words, step_segments

__all__ = [
    "alignment",
    "alignment_table",
    "best_words",
    "evaluate_actions",
    "evaluate_alignment",
    "evaluate_forecasting",
    "evaluate_storyboard",
    "forecast_figures",
    "forecast_table",
    "imagine_clips",
    "evaluate_templates",
    "likelihood_gain",
    "read_truth",
    "read_words",
    "results_table",
    "step_segments",
    "storyboard_figures",
    "storyboard_table",
    "told_steps",
    "templates_table",
]
