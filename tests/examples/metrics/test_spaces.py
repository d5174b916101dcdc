"""Protects the metrics as Spaces: each folder is whole, its card is true, and shared code has one owner."""

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = sorted(path.parent for path in (ROOT / "examples" / "metrics").glob("*/README.md"))


def test_all_are_there():
    assert {folder.name for folder in FOLDERS} == {
        *("bleu_coco", "cider_d", "codebook_usage", "forecast_at_k"),
        *("meteor_approx", "retrieval_at_k", "rouge_l_coco", "zero_shot_action"),
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_is_true(folder, monkeypatch):
    """What a Space needs in its head, and what the examples print."""
    _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    head = yaml.safe_load(head)
    assert (head["sdk"], head["app_file"], head["tags"][0]) == ("gradio", "app.py", "evaluate")
    assert head["title"] and head["description"] and (folder / head["app_file"]).is_file()
    monkeypatch.chdir(ROOT)
    code = "\n".join(re.findall("```python\n(.*?)```", body, flags=re.DOTALL))
    test = doctest.DocTestParser().get_doctest(code, {}, folder.name, "README.md", 0)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_folders_share_are_links(folder):
    """Two copies would differ one day."""
    shared = {path.name for path in folder.parent.iterdir() if path.is_file()}
    assert all((folder / name).is_symlink() for name in shared if (folder / name).exists())


def test_a_published_folder_is_whole(tmp_path):
    """Uploaded, links are files: loaded alone, without our package, by a process that knows nothing else."""
    for folder in FOLDERS:
        shutil.copytree(folder, tmp_path / folder.name)
    names = [folder.name for folder in FOLDERS]
    code = f"import evaluate\nfor name in {names}: print(name, evaluate.load('./' + name).module_type)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    kinds = dict(line.split() for line in done.stdout.splitlines())
    assert kinds == {name: "measurement" if name == "codebook_usage" else "metric" for name in names}
