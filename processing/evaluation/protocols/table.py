"""Our figures beside published ones, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..actions import CONDITIONS
from .published import Published

# Columns that are no shares.
RANKS = {"median_rank"}


def protocol_table(
    figures: Mapping,
    columns: Sequence[str],
    published: Sequence[Published],
    conditions: Mapping[str, str] = CONDITIONS,
) -> str:
    """A markdown table: our conditions with their intervals, then published rows with their sources. All in per cent,
    but for ranks.

    Args:
        figures (`Mapping`):
            By column and condition a share, and `…_low` and `…_high` where there is an interval.
        columns (`Sequence[str]`):
            Names of figures, such as `verb_top1`.
        published (`Sequence[Published]`):
            What others got.
        conditions (`Mapping[str, str]`, *optional*, defaults to those of zero-shot actions):
            By the end of a figure's name what was done.

    Returns:
        `str`: A figure that there is not is a dash.
    """
    lines = ["| | " + " | ".join(column.replace("_top", " top-").replace("_", " ") for column in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for condition, name in conditions.items():
        cells = [cell_of(figures, column, condition) for column in columns]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    sources = list(dict.fromkeys(row.source for row in published))
    for row in published:
        cells = [f"{row.figures[column]:g}" if column in row.figures else "–" for column in columns]
        lines.append(f"| {row.model} [{sources.index(row.source) + 1}] | " + " | ".join(cells) + " |")
    notes = [f"[{number}] {source}" for number, source in enumerate(sources, 1)]
    return "\n".join([*lines, "", *notes])


def cell_of(figures: Mapping, column: str, condition: str) -> str:
    share, low, high = (figures.get(f"{column}{condition}{end}") for end in ("", "_low", "_high"))
    if share is None:
        return "–"
    if column in RANKS:
        return f"{share:g}"
    between = f" ({100 * low:.1f}–{100 * high:.1f})" if low is not None and high is not None else ""
    return f"{100 * share:.1f}{between}"
