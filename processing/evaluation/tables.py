"""The figures of a run as tables for people."""

from __future__ import annotations

from collections.abc import Mapping

from .actions import results_table
from .alignment import alignment_table


def results_tables(results: Mapping[str, float]) -> str:
    """All that was measured, as markdown, each figure beside what it must be compared with.

    Args:
        results (`Mapping[str, float]`):
            What `all_results.json` of a run holds, or some of it.
    """
    tables = []
    if "verb_top1" in results:
        title = f"Zero-shot action classification, per cent of {results['num_segments']} steps of held-out videos:"
        tables += [title, results_table(results)]
    if any(name.startswith("alignment_auc_") for name in results):
        tables += ["Whether a text and a video belong together, in held-out pairs:", alignment_table(results)]
    return "\n\n".join(tables)
