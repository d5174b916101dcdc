"""Protects the site: it is built without a warning, shows what others own, and asks nothing of other hosts."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from support.document_blocks import ROOT

ASKING = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "form": "action",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert not done.returncode, done.stdout + done.stderr
    return folder


class Asked(HTMLParser):
    """Collects what a page makes a browser ask for."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(ASKING.get(tag))
        if address:
            self.found.add(address)


def test_no_other_host_is_asked(site):
    """Neither by pages nor by style sheets; scripts of the theme would for diagrams and formulas, which pages lack."""
    foreign = re.compile(r"^(?:https?:)?//")
    for page in site.rglob("*.html"):
        asked, text = Asked(), page.read_text(encoding="utf-8")
        asked.feed(text)
        assert not {one for one in asked.found if foreign.match(one)}, page
        assert 'class="mermaid"' not in text and "mathjax" not in text.lower(), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def text_of(site, page):
    return re.sub(r"<[^>]+>", "", (site / page / "index.html").read_text(encoding="utf-8"))


def test_pages_show_what_others_own(site):
    """Nothing that a page asks for is left as a comment, and each kind of it has arrived."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<!-- (?:document|section|options|benchmarks|notebook|README)", text), page
        assert "{{" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL), page
    assert "steps of the whole run" in text_of(site, "options") and "500000" in text_of(site, "options")
    assert "One owner for each fact" in text_of(site, "contributing")
    assert "recursive faiss.Kmeans" in text_of(site, "benchmarks")
    verb = json.loads((ROOT / "benchmarks/results/quality_kitchen.json").read_text())["verb_top1"]
    assert f"{100 * verb:.1f} % of the verbs" in " ".join(text_of(site, "limits").split())


def test_every_public_name_is_in_the_reference(site):
    import modeling_videobert
    import processing
    from processing import codebook, corpus, evaluation, search, training_data

    for package in (modeling_videobert, processing, codebook, corpus, evaluation, search, training_data):
        page = (site / "api" / package.__name__.rpartition(".")[2] / "index.html").read_text(encoding="utf-8")
        # A function that is called as its module lies under that.
        shown = {name for name in package.__all__ if re.search(rf'id="{package.__name__}\.(?:\w+\.)?{name}"', page)}
        assert shown == set(package.__all__), package.__name__
