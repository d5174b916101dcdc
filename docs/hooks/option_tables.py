"""Tables of what a script can be told, from the parser that it really has."""

import argparse
import runpy
import sys
from pathlib import Path
from unittest.mock import patch


class ParserFound(BaseException):
    """Carries a parser out of the script that made it."""


def parser_of(script: Path) -> argparse.ArgumentParser:
    """The parser of a script, which is run up to where it would read its words."""

    def stop(parser, *args, **kwargs):
        raise ParserFound(parser)

    path = [str(script.parent), str(script.parents[1]), *sys.path]
    with patch.object(argparse.ArgumentParser, "parse_known_args", stop), patch.object(sys, "path", path):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except ParserFound as found:
            return found.args[0]
    raise ValueError(f"{script.name} reads no options.")


def options_table(script: Path) -> str:
    """The options of a script, a table for each of its groups and of its jobs."""
    parser = parser_of(script)
    jobs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parts = list(_groups(parser))
    for name, job in jobs[0].choices.items() if jobs else ():
        parts += [f"**`{name}`**", *_groups(job)]
    return "\n\n".join(parts)


def _groups(parser):
    """Title and table of each group that has options."""
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS and shown(action)]
        if actions:
            yield "" if group.title in ("options", "positional arguments") else f"**{group.title}**"
            yield "\n".join(["| option | default | |", "|---|---|---|", *map(_line, actions)])


def shown(action: argparse.Action) -> bool:
    """Whether it is an option: not `--help`, not the jobs, and not the `--no_…` that turns a switch off."""
    negation = any(name.startswith("--no_") for name in action.option_strings)
    return not (negation or isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)))


def _line(action: argparse.Action) -> str:
    names = [name for name in action.option_strings if "-" not in name.lstrip("-")] or action.option_strings
    name = ", ".join(f"`{name}`" for name in names) or f"`{action.metavar or action.dest}`"
    if action.choices:
        name += ": " + ", ".join(f"`{choice}`" for choice in action.choices)
    needed = "needed" if action.required else ""
    default = needed if action.default in (None, argparse.SUPPRESS) else f"`{_written(action.default)}`"
    told = (action.help or "").replace("(default: %(default)s)", "").replace("%%", "%").replace("|", "\\|")
    return f"| {name} | {default} | {told} |"


def _written(value) -> str:
    """As it is written on the command line."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
