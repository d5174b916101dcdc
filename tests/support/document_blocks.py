"""The code that stands in the documents: blocks of Python, and commands."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
SCRIPTS = sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("examples/kitchen/*.py"), *ROOT.glob("benchmarks/*.py")])
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"((?:^    .+\n)+)", re.MULTILINE)
PROGRAMS = ("accelerate", "make", "pip", "python")
ASSIGNED = re.compile(r'^(\w+)="([^"]*)"$')

# What is not run, by its page and its first line, and why.
NOT_RUN = {
    ("README.md", "import ray"): "Ray is none of our dependencies; the page says that the recipe is not tested",
    ("CONTRIBUTING.md", "processor(text, videos)"): "a list of signatures",
}


class Command(NamedTuple):
    """A script that a document starts: where it stands, the script, and the words that it is given."""

    where: str
    script: str
    words: tuple[str, ...]


def blocks(path: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in some languages."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [textwrap.dedent(body) for _, language, body in found if language in languages]


def first_words(block: str) -> str:
    """What a block is known by: its first line, without what is said of it."""
    return block.splitlines()[0].partition("  #")[0].strip()


def python_blocks(path: Path) -> list[str]:
    """Those that are to be run."""
    return [one for one in blocks(path, "python") if (path.name, first_words(one)) not in NOT_RUN]


def shell_blocks() -> list[tuple[str, str]]:
    """Every block of commands, with the name of where it stands: of pages, and of the docstrings of scripts."""
    found = [(path.name, block) for path in PAGES for block in blocks(path, "", "bash") if "─►" not in block]
    for path in SCRIPTS:
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        shown = [textwrap.dedent(block) for block in INDENTED.findall(told + "\n")]
        found += [(path.name, block) for block in shown if block.split()[0] in PROGRAMS]
    return found


def simple_commands(block: str) -> list[list[str]]:
    """The words of each command of a block: lines are joined, comments dropped, its own variables put in."""
    values, found = {}, []
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if assigned := ASSIGNED.match(line):
            values[assigned[1]] = assigned[2]
            continue
        line = re.sub(r"\$(\w+)", lambda name: values.get(name[1], "0"), line)
        parts = re.split(r"&&|;|\||&", line)
        found += [words for part in parts if (words := shlex.split(part)) and words[0] not in ("for", "do", "done")]
    return found


def script_commands() -> list[Command]:
    """The scripts of this repository that documents start."""
    found = []
    for where, block in shell_blocks():
        for words in simple_commands(block):
            scripts = [place for place, word in enumerate(words) if word.endswith(".py")]
            if scripts and {"python", "accelerate"} & set(words[: scripts[0]]):
                found.append(Command(where, words[scripts[0]], tuple(words[scripts[0] + 1 :])))
    return found
