"""Protects the documents: their Python runs as it is written, from the top of a page to its end."""

import pytest
from support.document_blocks import NOT_RUN, PAGES, ROOT, blocks, first_words, python_blocks


@pytest.mark.parametrize("page", [one for one in PAGES if python_blocks(one)], ids=lambda page: page.name)
def test_python_of_a_page_runs(page, playground, monkeypatch):
    """All blocks of a page share their names, as for somebody who types them one after the other."""
    monkeypatch.chdir(playground)
    names = {"__name__": "page"}
    for block in python_blocks(page):
        exec(compile(block, page.name, "exec"), names)


def test_what_is_not_run_is_there():
    """The list of exceptions only shrinks."""
    known = {(page.name, first_words(block)) for page in PAGES for block in blocks(page, "python")}
    assert set(NOT_RUN) <= known and all(NOT_RUN.values())


def test_pages_are_found():
    assert {"README.md", "your_videos.md", "publishing.md"} <= {one.name for one in PAGES if python_blocks(one)}
    assert (ROOT / "docs" / "index.md") in PAGES
