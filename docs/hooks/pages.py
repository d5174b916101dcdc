"""What pages ask for and others own: sections of documents, options of scripts, figures of benchmarks, a notebook.

A page asks in a comment of its own line, which a reader of the file does not see:

    <!-- document CONTRIBUTING.md -->                       the whole file, without its title
    <!-- section "Use a trained model" of README.md -->     what stands below that heading
    <!-- README.md from "Every video is" to "Files come" -->    the paragraphs between these words
    <!-- options of examples/pretrain.py -->                a table of its options
    <!-- benchmarks -->                                     each script, its commands and what it measured
    <!-- notebook examples/notebooks/step_by_step.ipynb -->

and for one figure in a sentence, `{{ quality_kitchen.verb_top1 .1% }}`: a file of `benchmarks/results`, a key, a
format. What is asked for and not there ends the build.
"""

import json
import re
from pathlib import Path

from benchmark_tables import all_benchmarks
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from notebook_pages import notebook_page
from option_tables import options_table

ROOT = Path(__file__).resolve().parents[2]
ASKED = re.compile(r"^<!-- (document|section|options of|benchmarks|notebook|[\w/]+\.md from)(.*?) -->$", re.MULTILINE)
FIGURE = re.compile(r"\{\{ (\w+)\.([\w.]+) (\S+) \}\}")
HEADING = re.compile(r"^(#+) (.*)$")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
# Pages that hold what these files do.
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "docs/security.md": "security.md"}
PICTURES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("benchmarks/results/*.png"))]
NOTEBOOKS = ("examples/notebooks/step_by_step.ipynb",)


def on_files(files, config, **kwargs):
    """Adds the pictures that lie elsewhere."""
    for name in PICTURES:
        content = (ROOT / name).read_bytes()
        files.append(File.generated(config, f"results/{Path(name).name}", content=content))
    for name in NOTEBOOKS:
        for picture, content in notebook_page(ROOT / name)[1].items():
            files.append(File.generated(config, f"{Path(name).stem}_pictures/{picture}", content=content))
    return files


def on_page_markdown(markdown, page, **kwargs):
    """Puts in what a page asks for."""
    asked = ASKED.sub(lambda found: answer(found[1], found[2].strip()), markdown)
    return FIGURE.sub(lambda found: figure(*found.groups()), asked)


def answer(kind: str, rest: str) -> str:
    """What stands in the place of a comment."""
    if kind == "options of":
        return options_table(ROOT / rest)
    if kind == "benchmarks":
        return all_benchmarks(ROOT / "benchmarks")
    if kind == "notebook":
        return notebook_page(ROOT / rest)[0]
    if kind == "document":
        return at_home((ROOT / rest).read_text(encoding="utf-8").partition("\n")[2], rest)
    if kind == "section":
        title, name = re.fullmatch(r'"(.+)" of (\S+)', rest).groups()
        return at_home(section(title, name), name)
    first, last = (words.replace("\\n", "\n") for words in re.fullmatch(r'"(.+)" to "(.+)"', rest).groups())
    name = kind.removesuffix(" from")
    return at_home(between(first, last, name), name)


def section(title: str, name: str) -> str:
    """What stands below a heading of a file, up to the next one of its rank; headings within it rise to the second."""
    found, depth, fenced = [], 0, False
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else HEADING.match(line)
        if heading and depth and len(heading[1]) <= depth:
            break
        if depth:
            found.append(f"{'#' * (len(heading[1]) - depth + 1)} {heading[2]}" if heading else line)
        elif heading and heading[2] == title:
            depth = len(heading[1])
    if not found:
        raise PluginError(f"{name} has no section {title!r}, which a page wants to show.")
    return "\n".join(found)


def between(first: str, last: str, name: str) -> str:
    """The paragraphs of a file from the one that begins with some words up to the one that begins with others."""
    text = (ROOT / name).read_text(encoding="utf-8")
    start = text.find(f"\n{first}")
    end = text.find(f"\n{last}", start + 1)
    if -1 in (start, end):
        raise PluginError(f"{name} has no paragraphs from {first!r} to {last!r}, which a page wants to show.")
    return text[start:end]


def at_home(text: str, name: str) -> str:
    """Links of a file as a page of the site has them; what is no page is only named."""

    def link(found: re.Match) -> str:
        picture, shown, target = found.groups()
        if ":" in target or target.startswith("#"):
            return found[0]
        target = (Path(name).parent / target).as_posix()
        if target in PAGES:
            return f"[{shown}]({PAGES[target]})"
        if target in PICTURES:
            return f"![{shown}](results/{Path(target).name})"
        return f"![{shown}]({target.removeprefix('docs/')})" if picture else shown

    return LINK.sub(link, text)


def figure(name: str, keys: str, form: str) -> str:
    """A figure of a benchmark."""
    value = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    try:
        for key in keys.split("."):
            value = value[key]
    except (KeyError, TypeError) as error:
        raise PluginError(f"{name}.json has no {keys!r}, which a page wants to show.") from error
    return f"{value:{form}}".replace("%", " %")
