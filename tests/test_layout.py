"""Protects the map of CONTRIBUTING.md: data flows one way, what travels to the Hub is whole, and files stay small."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_relative_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("modeling_videobert", "processing")
# What each room may import, besides its own files. "travelling" are the files that go to the Hub with a processor,
# "processing" is that package's `__init__`, which registers them.
ROOMS = {
    "modeling_videobert": set(),
    "travelling": set(),
    "processing": {"modeling_videobert", "travelling"},
    "codebook": {"travelling"},
    "corpus": {"travelling", "codebook"},
    "training_data": {"travelling", "corpus"},
    "evaluation": {"travelling", "corpus", "training_data"},
    "search": {"travelling", "codebook", "training_data", "evaluation"},
    "model_card": {"travelling"},
}
MAX_LINES = 500
# These are asking to be two. The list only shrinks.
TOO_LONG = {
    "tests/processing/test_media.py",
}
NAMED_FILE = re.compile(r"\b(?:modeling_videobert|processing|examples|benchmarks|tests|docs)/[\w/-]+\.(?:py|md|png)\b")
MACHINE_PATH = re.compile(r"(?<!\w)/(?:home|root|Users|work|mnt|srv)/\w")


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TRAVELLING = [path for path in FILES.values() if path.stem.endswith("_videobert")]


def imports(path):
    """Every import of a file, those inside functions too: (dots before it, module, name or `None`)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.level, node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name, None) for alias in node.names)


def own_imports(path):
    """The project's modules that a file imports."""
    folder = path.relative_to(ROOT).parent.parts
    for dots, module, name in imports(path):
        above = folder[: len(folder) + 1 - dots] if dots else ()
        module = ".".join([*above, module] if module else above)
        if module.partition(".")[0] in PACKAGES:
            yield f"{module}.{name}" if f"{module}.{name}" in FILES else module


def room_of(module):
    package, _, rest = module.partition(".")
    if package == "modeling_videobert" or not rest:
        return package
    return "travelling" if rest.endswith("_videobert") else rest.partition(".")[0]


@pytest.mark.parametrize("module", FILES)
def test_a_room_knows_only_the_rooms_that_the_map_allows(module):
    room = room_of(module)
    assert room in ROOMS, f"{module} lies in a room that the map does not know"
    others = {room_of(other) for other in own_imports(FILES[module])} - {room}
    assert others <= ROOMS[room], f"{module} may not import from {', '.join(sorted(others - ROOMS[room]))}"


def test_no_circle():
    TopologicalSorter({module: set(own_imports(path)) for module, path in FILES.items()}).prepare()


def test_the_library_needs_nothing_that_a_wheel_does_not_hold():
    at_home = {"benchmarks", "tests"} | {path.stem for path in (ROOT / "examples").glob("*.py")}
    at_home |= {path.parent.name for path in (ROOT / "examples").glob("*/__init__.py")}
    wrong = {
        f"{module} imports {name}"
        for module, path in FILES.items()
        for dots, name, _ in imports(path)
        if not dots and name.partition(".")[0] in at_home
    }
    assert not wrong


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.stem)
def test_what_travels_imports_only_what_travels_with_it(path):
    """transformers copies what it finds by a pattern over the text: only `from .x import y`, and in docstrings too."""
    relative = {(dots, module) for dots, module, _ in imports(path) if dots}
    wrong = {module for dots, module in relative if dots > 1 or not module.endswith("_videobert") or "." in module}
    assert not wrong, f"{path.name} may only import from .x_videobert of its own folder"
    assert set(get_relative_imports(path)) == {module for _, module in relative}


def test_no_two_files_that_travel_share_a_name():
    """Saved models have one folder for them all: the second would replace the first."""
    assert len({path.name for path in TRAVELLING}) == len(TRAVELLING)


def test_files_stay_small():
    long = {
        path.relative_to(ROOT).as_posix()
        for folder in (*PACKAGES, "examples", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES
    }
    assert not long - TOO_LONG, f"more than {MAX_LINES} lines: make them two"
    assert not TOO_LONG - long, "no longer too long: take them off the list"


def texts():
    """(path, text) of documents, settings and code, but for the tests."""
    at_home = (*PACKAGES, "examples", "benchmarks", "docs")
    for places in (ROOT.glob("*.*"), *((ROOT / folder).rglob("*") for folder in at_home)):
        for path in filter(Path.is_file, places):
            if path.suffix in {".cff", ".json", ".jsonl", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_no_path_of_somebodys_machine():
    assert not {path for path, text in texts() if MACHINE_PATH.search(text)}


def test_files_that_are_named_are_there():
    named = {(path, name) for path, text in texts() for name in NAMED_FILE.findall(text)}
    assert not {(path, name) for path, name in named if not (ROOT / name).exists()}
