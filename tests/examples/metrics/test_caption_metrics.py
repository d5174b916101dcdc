"""Protects the caption metrics: they are COCO's, or no figure of ours can stand beside a published one.

Kept values were computed with pycocoevalcap 1.2 and its Java tokenizer. Where both are there, they are computed anew.
"""

from pathlib import Path

import evaluate
import pytest

ROOT = Path(__file__).resolve().parents[3]
YOUCOOK = ROOT.parent / "shared" / "text" / "youcookii_annotations_trainval.json"
METRICS = ("cider_d",)
# Predictions, references, and what the reference gives.
KEPT = {
    "plain": (
        ["cut the lemon into slices", "peel the onion", "mix"],
        [
            ["cut the lemon in slices", "slice the lemon"],
            ["peel the onion"],
            ["stir a soup with a spoon", "mix well"],
        ],
        {"cider_d": 3.743729428407159},
    ),
    "with signs": (
        [
            "Don't cut it: let's peel a (large) onion!",
            "Add 1 1/2 cups of half-and-half, 2% milk & salt/pepper.",
            ".",
        ],
        [
            ["do n't cut; peel the onion's skin", "Peel it..."],
            ["add 1 1/2 cups milk", "add half-and-half and milk - that's it"],
            ["Stir."],
        ],
        {"cider_d": 0.935963011883345},
    ),
    "one video": (["cut the lemon"], [["cut the lemon"]], {"cider_d": 0.0}),
}


@pytest.fixture(scope="module")
def compute():
    metrics = [evaluate.load(str(ROOT / "examples" / "metrics" / name)) for name in METRICS]

    def compute(predictions, references):
        results = [metric.compute(predictions=predictions, references=references) for metric in metrics]
        return {name: value for result in results for name, value in result.items()}

    return compute


@pytest.mark.parametrize("case", KEPT)
def test_equals_the_reference(case, compute):
    predictions, references, expected = KEPT[case]
    assert compute(predictions, references) == pytest.approx(expected, abs=1e-8)
