"""Protects the notebook: it runs from top to bottom, and is kept with what it really printed and drew."""

import json
import re
import subprocess
import sys

import pytest
from support.document_blocks import ROOT
from support.tiny_processor import make_video

NOTEBOOK = ROOT / "examples" / "notebooks" / "step_by_step.ipynb"
DEMO = ROOT / "runs" / "kitchen"
SAID = """1
00:00:00,000 --> 00:00:06,000
now let me show you how to cut the lemon.

2
00:00:07,000 --> 00:00:11,000
the lemon is good.
"""


@pytest.fixture
def source(tiny_kitchen, tmp_path, monkeypatch):
    """The demo's model where there is one, else the tiny one and a film of a test picture with subtitles."""
    if not (DEMO / "model.safetensors").exists():
        make_video(tmp_path / "film.mp4", "testsrc=s=64x48:r=10:d=15", "sine=d=15")
        (tmp_path / "film.srt").write_text(SAID)
        monkeypatch.setenv("VIDEOBERT_MODEL", str(tiny_kitchen))
        monkeypatch.setenv("VIDEOBERT_VIDEO", str(tmp_path / "film.mp4"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def pictures(notebook):
    return [
        output for cell in code_cells(notebook) for output in cell["outputs"] if "image/png" in output.get("data", {})
    ]


def test_it_runs_from_top_to_bottom(source):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, 4)
    kept = len(pictures(notebook))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert len(pictures(notebook)) == kept >= 10


def test_it_is_kept_with_its_outputs():
    """Executed in one go, without warnings, and with no path of the machine on which that was done."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = code_cells(json.loads(text))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.get("name", output["output_type"]) for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stdout", "display_data", "execute_result"}
    assert not re.search(r"/(?:home|root|tmp|Users)/", text) and len(text) < 2_000_000


def test_its_pictures_of_the_tree_are_true(tiny_kitchen):
    """The children taken on the way, read as digits, are the visual id that the codebook gives."""
    torch = pytest.importorskip("torch")
    from pictures.step_by_step import paths_down_the_tree

    from processing import VisualCodebook

    codebook = VisualCodebook.from_pretrained(tiny_kitchen / "codebook")
    features = torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    for way, visual_id in zip(
        paths_down_the_tree(codebook, features), codebook.encode(features).tolist(), strict=True
    ):
        assert way[0]["child"] * 8 + way[1]["child"] == visual_id
        assert all(step["distances"][step["child"]] == min(step["distances"]) for step in way)


def test_page_of_the_notebook_has_its_words_and_pictures(tmp_path):
    """What the site shows is what the notebook holds: text, code, what was printed, pictures as files."""
    sys.modules.pop("notebook_pages", None)
    from notebook_pages import notebook_page

    page, files = notebook_page(NOTEBOOK)
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert len(files) == len(pictures(kept)) and all(f"/{name})" in page for name in files)
    assert all("".join(cell["source"]) in page for cell in kept["cells"])


def test_the_kernel_needs_nothing_of_the_caller():
    """The first cell finds the repository from wherever below it the notebook is opened."""
    first = "".join(code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))[0]["source"])
    told = f"{first.partition('# Another')[0]}\nprint(ROOT)"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=NOTEBOOK.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(ROOT)
