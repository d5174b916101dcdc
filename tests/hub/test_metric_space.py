"""Protects the metrics' way to others: a Space that `evaluate.load` finds, and cards whose examples hold there."""

from pathlib import Path

import pytest
from publish import main
from support.hub_scripts import WITHOUT, run_script

METRICS = Path(__file__).resolve().parents[2] / "examples" / "metrics"
# In the form of ours: a script that takes what it needs from a file beside it.
PARTS = {
    "counting.py": "def count(values):\n    return sum(values)\n",
    "share_right.py": """import datasets
import evaluate

from .counting import count


class ShareRight(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"share_right": count(a == b for a, b in zip(predictions, references)) / len(references)}
""",
    "README.md": """---
title: Share right
sdk: gradio
tags: [evaluate, metric]
---

```python
>>> import evaluate
>>> metric = evaluate.load("examples/metrics/share_right")
>>> metric.compute(predictions=[1, 2], references=[1, 3])
{'share_right': 0.5}
```
""",
}
# A card's examples, with the Space in the place of the folder.
RUN_CARDS = (
    WITHOUT
    + """
import doctest, pathlib

for folder in map(pathlib.Path, sys.argv[1:]):
    card = (folder / "README.md").read_text()
    shown = card.replace(f'"examples/metrics/{folder.name}"', f'"me/{folder.name}"').replace("```", "")
    test = doctest.DocTestParser().get_doctest(shown, {}, folder.name, str(folder), 0)
    assert test.examples and f'evaluate.load("me/{folder.name}")' in shown, folder
    assert not doctest.DocTestRunner().run(test).failed, folder
"""
)


@pytest.fixture
def made_metric(tmp_path):
    folder = tmp_path / "share_right"
    folder.mkdir()
    for name, text in PARTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
def test_metrics_are_loaded_from_their_spaces(hub, made_metric, tmp_path):
    """Each script with the files that it takes from beside it; the examples of its card give what they say."""
    ours = [folder for folder in sorted(METRICS.glob("*/")) if (folder / f"{folder.name}.py").is_file()]
    for folder in [made_metric, *ours]:
        main([f"--metric={folder}", f"--repo_id=me/{folder.name}"])
        assert len(hub.repository(f"me/{folder.name}", "space").commits) == 2
    env = hub.environment(tmp_path, HF_MODULES_CACHE=str(tmp_path / "modules"))
    run_script(RUN_CARDS, made_metric, *ours, env=env, folder=tmp_path)


def test_a_space_is_called_as_its_script(hub, made_metric):
    """`evaluate.load("me/other")` looks for `other.py`: it would not be found."""
    with pytest.raises(ValueError, match="holds no other.py, which the Space me/other needs"):
        main([f"--metric={made_metric}", "--repo_id=me/other"])
    assert not hub.store.repositories
