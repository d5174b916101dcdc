"""Runs that are done once: each leaves its figures in a file; a benchmark that was stopped goes on with the next."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


def figures_of(folder: Path, name: str, seed: int, measure: Callable[[Path], dict], left: int = 0) -> dict:
    """The figures of a run, measured now or read from an earlier time.

    Args:
        folder (`Path`):
            Of all runs.
        name (`str`):
            Of the variant.
        seed (`int`):
            Of the run.
        measure (`Callable`):
            Given the run's own folder, trains and measures.
        left (`int`):
            How many runs follow, for the one who waits.

    Returns:
        `dict`
    """
    place = folder / f"{name}_{seed}"
    done = place / "figures.json"
    if not done.is_file():
        place.mkdir(parents=True, exist_ok=True)
        print(f"{name}, seed {seed}; {left} more runs after it", flush=True)
        started = time.time()
        figures = measure(place) | {"seconds": time.time() - started}
        done.write_text(json.dumps(figures, indent=2) + "\n")
    figures = json.loads(done.read_text())
    shown = {key: round(value, 3) for key, value in figures.items() if isinstance(value, float)}
    print(f"{name}, seed {seed}: {shown}", flush=True)
    return figures


def mean_and_error(values: Sequence[float | None]) -> tuple[float, float]:
    """The mean over seeds and its standard error (NaN for a single seed)."""
    values = np.array([value for value in values if value is not None], dtype=float)
    if not len(values):
        return float("nan"), float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)


def show(values: Sequence[float | None], scale: float = 100, digits: int = 1) -> str:
    """Mean ± standard error, or the single value."""
    mean, error = mean_and_error(values)
    if np.isnan(mean):
        return "–"
    more = "" if np.isnan(error) else f" ± {scale * error:.{digits}f}"
    return f"{scale * mean:.{digits}f}{more}"
