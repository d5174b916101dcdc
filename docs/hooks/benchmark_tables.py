"""What the benchmarks measure, with which commands, and what the last run wrote: from their docstrings and results."""

import ast
import json
import re
from pathlib import Path

MOST_LINES = 40  # of a table of figures; where there are more, only those of the first rank are shown


def all_benchmarks(folder: Path) -> str:
    """A section for each script."""
    return "\n\n".join(benchmark(script) for script in sorted(folder.glob("*.py")))


def benchmark(script: Path) -> str:
    """Title, commands and words of a script's docstring, and its figures."""
    told = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    title, _, rest = told.partition("\n")
    # Commands are indented.
    rest = re.sub(r"(?m)^((?:    .+\n?)+)", lambda block: f"```bash\n{_outdented(block[1])}\n```\n", rest)
    return f"## `{script.stem}`\n\n**{title.strip()}**\n{rest}\n\n{results(script)}"


def _outdented(block: str) -> str:
    return "\n".join(line[4:] for line in block.rstrip().splitlines())


def results(script: Path) -> str:
    """The tables that the script wrote or, where it wrote none, its figures one by one."""
    written = script.parent / "results" / f"{script.stem}.md"
    if written.exists():
        pages = re.sub(r"(?m)^#+ ", "#### ", written.read_text(encoding="utf-8"))
        return re.sub(r"!\[([^\]]*)\]\((\S+)\)", lambda found: f"![{found[1]}](results/{Path(found[2]).name})", pages)
    file = script.parent / "results" / f"{script.stem}.json"
    if not file.exists():
        return "No results are kept of it."
    figures = json.loads(file.read_text())
    lines = dict(flat(figures))
    if len(lines) > MOST_LINES:
        lines = {name: value for name, value in figures.items() if isinstance(value, (int, float, str))}
    table = [f"| `{name}` | {written_out(value)} |" for name, value in lines.items()]
    return "\n".join(["| figure | |", "|---|---|", *table])


def flat(figures, name: str = ""):
    """Name and value of each figure, however deep it lies."""
    if isinstance(figures, dict):
        for key, value in figures.items():
            yield from flat(value, f"{name}.{key}" if name else key)
    elif isinstance(figures, (int, float, str)):
        yield name, figures


def written_out(value) -> str:
    """Four digits are enough to read."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
