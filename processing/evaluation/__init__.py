"""What a trained model is worth. The model is an argument, never an import."""

from .actions import best_words, evaluate_actions, evaluate_templates, results_table, templates_table
from .alignment import alignment, alignment_table, evaluate_alignment, likelihood_gain
from .captions import caption_steps, captions_table, evaluate_captions, make_captions, score_captions
from .forecasting import evaluate_forecasting, forecast_figures, forecast_table
from .retrieval import rank_of, summarise_ranks
from .storyboard import evaluate_storyboard, imagine_clips, storyboard_figures, storyboard_table, told_steps
from .truth import read_truth, read_words, step_segments

__all__ = [
    "alignment",
    "alignment_table",
    "best_words",
    "caption_steps",
    "captions_table",
    "evaluate_actions",
    "evaluate_alignment",
    "evaluate_captions",
    "evaluate_forecasting",
    "evaluate_storyboard",
    "evaluate_templates",
    "forecast_figures",
    "forecast_table",
    "imagine_clips",
    "likelihood_gain",
    "make_captions",
    "rank_of",
    "read_truth",
    "read_words",
    "results_table",
    "score_captions",
    "step_segments",
    "storyboard_figures",
    "storyboard_table",
    "summarise_ranks",
    "templates_table",
    "told_steps",
]
