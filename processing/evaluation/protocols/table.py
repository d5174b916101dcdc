"""Our figures beside published ones, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..actions import CONDITIONS
from .published import Published


def protocol_table(figures: Mapping, columns: Sequence[str], published: Sequence[Published]) -> str:
    """A markdown table: our conditions in per cent with their intervals, then published rows with their sources.

    Args:
        figures (`Mapping`):
            By column and condition a share, and `…_low` and `…_high` where there is an interval.
        columns (`Sequence[str]`):
            Names of figures, such as `verb_top1`.
        published (`Sequence[Published]`):
            What others got.

    Returns:
        `str`: A figure that there is not is a dash.
    """
    lines = ["| | " + " | ".join(column.replace("_top", " top-").replace("_", " ") for column in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for condition, name in CONDITIONS.items():
        cells = [cell_of(figures, f"{column}{condition}") for column in columns]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    sources = list(dict.fromkeys(row.source for row in published))
    for row in published:
        cells = [f"{row.figures[column]:g}" if column in row.figures else "–" for column in columns]
        lines.append(f"| {row.model} [{sources.index(row.source) + 1}] | " + " | ".join(cells) + " |")
    notes = [f"[{number}] {source}" for number, source in enumerate(sources, 1)]
    return "\n".join([*lines, "", *notes])


def cell_of(figures: Mapping, name: str) -> str:
    share, low, high = (figures.get(name + end) for end in ("", "_low", "_high"))
    if share is None:
        return "–"
    return f"{100 * share:.1f}" + (f" ({100 * low:.1f}–{100 * high:.1f})" if low is not None else "")
