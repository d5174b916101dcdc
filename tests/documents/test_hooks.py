"""Protects what fills the pages: it takes what was asked for, and says so where that is not there."""

import argparse

import pytest
from option_tables import options_table, parser_of

pytest.importorskip("mkdocs")
import pages

from processing.training_data.examples import DEFAULT_MIXTURE, REGIMES

README = """# Title

Words.

## First

One, [a page](CONTRIBUTING.md) and [a folder](examples/kitchen).

### Within

```
# no heading
```

## Second

Two.
"""


@pytest.fixture
def readme(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "speed.json").write_text('{"small": {"ratio": 0.8765}}')
    monkeypatch.setattr(pages, "ROOT", tmp_path)


def test_a_section_ends_at_the_next_of_its_rank(readme):
    """What lies within it stays, one rank higher; a comment in code is no heading; links lead to pages or nowhere."""
    shown = pages.answer("section", '"First" of README.md')
    assert shown.split() == ("One, [a page](contributing.md) and a folder. ## Within ``` # no heading ```".split())


def test_paragraphs_between_words(readme):
    assert pages.answer("README.md from", '"Words." to "## First"').strip() == "Words."


def test_a_figure_is_read_where_it_was_measured(readme):
    assert pages.figure("speed", "small.ratio", ".1%") == "87.6 %"


@pytest.mark.parametrize(
    "kind, rest", [("section", '"Third" of README.md'), ("README.md from", '"Words." to "Three"')]
)
def test_what_is_not_there_ends_the_build(readme, kind, rest):
    with pytest.raises(pages.PluginError, match=r"README.md has no .*Th"):
        pages.answer(kind, rest)
    with pytest.raises(pages.PluginError, match="no 'small.speed'"):
        pages.figure("speed", "small.speed", ".1f")


def test_options_come_from_the_parser():
    """With their defaults, in their groups; a switch has one line."""
    script = pages.Path(__file__).resolve().parents[2] / "examples" / "pretrain.py"
    table = options_table(script)
    weights = " ".join(str(DEFAULT_MIXTURE[regime]) for regime in REGIMES)
    assert f"| `--mixture` | `{weights}` |" in table and "| `--twins` | `True` |" in table
    assert "--no_twins" not in table and "**segments**" in table
    assert isinstance(parser_of(script), argparse.ArgumentParser)


def test_docstrings_of_transformers_become_those_of_griffe():
    pytest.importorskip("griffe")
    from transformers_docstrings import rewrite

    text = "See [`Model`] and [`~other.Thing`].\n\n    Args:\n        size (`int`, *optional*, defaults to 3):\n"
    text += "            Of [`Model.run`]."
    assert rewrite(text, {"Model": "house.Model", "Model.run": "house.Model.run"}) == (
        "See [`Model`][house.Model] and `Thing`.\n\n    Args:\n        size (int, optional):\n"
        "            Of [`Model.run`][house.Model.run]."
    )
