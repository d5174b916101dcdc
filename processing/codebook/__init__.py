"""Fitting a codebook to the features of many clips, and looking at what was fitted."""

from .fitting import fit_codebook
from .report import codebook_report

__all__ = ["codebook_report", "fit_codebook"]
