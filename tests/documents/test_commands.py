"""Protects the documents: the commands that they show exist, with these options, and the cheap ones run."""

import argparse
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stderr
from functools import cache
from io import StringIO

import pytest
from option_tables import parser_of
from support.document_blocks import PAGES, ROOT, script_commands, shell_blocks, simple_commands

COMMANDS = script_commands()
# Those of README.md that are done in a moment with a tiny model, in the order in which they stand there.
CHEAP = {"classify_actions.py", "search.py", "storyboard.py", "score_alignment.py"}
CHEAP_JOBS = {("forecast.py", "show"), ("caption.py", "--model=runs/captioner")}


@cache
def parser(script):
    return parser_of(ROOT / script)


def needs(script, package):
    return f"from {package}" in (ROOT / script).read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted({one.script for one in COMMANDS}))
def test_options_of_commands_are_known(script):
    """Each is parsed by the script's own parser: names, values, choices, and what is needed."""
    if needs(script, "datatrove"):
        pytest.importorskip("datatrove", reason="datatrove is not installed (pip install -e '.[scale]')")
    for where, _, words in [one for one in COMMANDS if one.script == script and one.words]:
        told = StringIO()
        try:
            with redirect_stderr(told):
                parser(script).parse_args(list(words))
        except SystemExit as end:
            assert not end.code, f"{where}: {script} {' '.join(words)}\n{told.getvalue()}"


def options_of(parser):
    """Every option of a script, those of its jobs too."""
    found = {name for action in parser._actions for name in action.option_strings}
    jobs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found.union(*(options_of(job) for one in jobs for job in one.choices.values()))


def test_options_in_sentences_are_known():
    """What a page calls `--so` is an option of one of our scripts."""
    scripts = {one.script for one in COMMANDS if one.words and not needs(one.script, "datatrove")}
    known = set().union(*(options_of(parser(script)) for script in scripts))
    for page in PAGES:
        named = set(re.findall(r"`(--\w+)[^`\n]*`", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name}: {sorted(named - known)}"


def test_files_of_commands_are_there():
    """What is named of `examples/` and `benchmarks/` exists, but for what a command writes."""
    missing = {
        (where, word)
        for where, block in shell_blocks()
        for words in simple_commands(block)
        for word in words
        if word.startswith(("examples/", "tests/")) and not (ROOT / word).exists()
    }
    assert not missing


def test_shell_understands_the_blocks():
    """Quotes, continued lines and loops; what the reader has to put in stands in angle brackets."""
    for where, block in shell_blocks():
        done = subprocess.run(
            ["bash", "-n"], input=block.replace("<", "").replace(">", ""), capture_output=True, text=True
        )
        assert not done.returncode, f"{where}: {done.stderr}"


def test_targets_and_extras_are_there():
    """`make …` and `pip install -e ".[…]"`."""
    makefile, setup = ((ROOT / name).read_text() for name in ("Makefile", "setup.py"))
    for where, block in shell_blocks():
        for words in simple_commands(block):
            if words[0] == "make":
                assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in words[1:]), (where, words)
            for extra in re.findall(r"\.\[([\w,-]+)\]", " ".join(words)):
                assert all(f'"{one}": [' in setup for one in extra.split(",")), (where, words)


def is_cheap(command):
    name, words = command.script.rpartition("/")[2], command.words
    given = {*words[:1], "=".join(words[:2])}
    return command.where == "README.md" and (name in CHEAP or any((name, one) in CHEAP_JOBS for one in given))


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if is_cheap(one)], ids=lambda one: " ".join(one[1:2] + one[2][:2])
)
def test_cheap_commands_run(command, playground, monkeypatch, capsys):
    monkeypatch.chdir(playground)
    monkeypatch.setattr(sys, "argv", [command.script, *command.words])
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    runpy.run_path(command.script, run_name="__main__")
    assert "Stopped" not in capsys.readouterr().err
