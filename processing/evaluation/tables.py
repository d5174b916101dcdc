"""The figures of a run as tables for people."""

from __future__ import annotations

from collections.abc import Mapping

from .actions import TOPS, results_table
from .alignment import alignment_table
from .captions import captions_table

# Ways to name actions that models were taught by examples, and what they must be compared with.
TAUGHT = {"": "fine-tuned", "_prior": "the commonest class", "_token_probe": "supervised on the same tokens"}


def results_tables(results: Mapping) -> str:
    """All that was measured, as markdown, each figure beside what it must be compared with.

    Args:
        results (`Mapping`):
            What `all_results.json` of a run holds, or some of it; what `actions.json` of `finetune_actions.py` or
            `captions.json` of `caption.py` hold.
    """
    tables = []
    if "verb_top1" in results:
        title = f"Zero-shot action classification, per cent of {results['num_segments']} steps of held-out videos:"
        tables += [title, results_table(results)]
    if any(name.startswith("alignment_auc_") for name in results):
        tables += ["Whether a text and a video belong together, in held-out pairs:", alignment_table(results)]
    if "top1" in results:
        title = f"The {results['label']} of {results['num_segments']} steps of other videos, per cent:"
        tables += [title, classes_table(results)]
    if "captions" in results:
        title = f"Captions of {results['figures']['caption_steps']} steps of other videos:"
        tables += [title, captions_table(results["results"])]
    return "\n\n".join(tables)


def classes_table(figures: Mapping[str, float]) -> str:
    """How often classes that a model was taught by examples are named right, as markdown."""
    lines = ["| | " + " | ".join(f"top-{top}" for top in TOPS) + " |", "|---" * (len(TOPS) + 1) + "|"]
    for name, told in TAUGHT.items():
        cells = (f"{100 * figures[f'top{top}{name}']:.1f} ± {100 * figures[f'top{top}{name}_se']:.1f}" for top in TOPS)
        lines.append(f"| {told} | " + " | ".join(cells) + " |")
    chance = (f"{100 * figures[f'top{top}_chance']:.1f}" for top in TOPS)
    return "\n".join([*lines, "| chance | " + " | ".join(chance) + " |"])
