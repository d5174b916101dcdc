"""Fitting a codebook to the features of many clips, and looking at what was fitted."""

from .fitting import fit_codebook
from .report import codebook_report
from .robustness import surviving_ids
from .saving import check_record, load_codebook

__all__ = ["check_record", "codebook_report", "fit_codebook", "load_codebook", "surviving_ids"]
