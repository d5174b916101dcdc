"""Protects the table of threats: what it says holds is held by a test that is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_threat_names_a_test_that_is_there():
    lines = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]
    assert len(lines) >= 20 and all(NAMED.search(line) for line in lines)
    for path, name in NAMED.findall(TABLE):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
