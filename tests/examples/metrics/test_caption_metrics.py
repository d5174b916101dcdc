"""Protects the caption metrics: they are COCO's, or no figure of ours can stand beside a published one.

Kept values were computed with pycocoevalcap 1.2 and its Java tokenizer. Where both are there, they are computed anew.
"""

import hashlib
import json
import shutil
from pathlib import Path

import evaluate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.coco_captions import tokenize_caption
from metrics.meteor_approx.english_stems import stem

ROOT = Path(__file__).resolve().parents[3]
YOUCOOK = ROOT.parent / "shared" / "text" / "youcookii_annotations_trainval.json"
# Their highest values. Without Java and WordNet there is no METEOR to compare the last with.
METRICS = {"cider_d": 10, "bleu_coco": 1, "rouge_l_coco": 1, "meteor_approx": 1}
# Predictions, references, and what the reference gives.
KEPT = {
    "plain": (
        ["cut the lemon into slices", "peel the onion", "mix"],
        [
            ["cut the lemon in slices", "slice the lemon"],
            ["peel the onion"],
            ["stir a soup with a spoon", "mix well"],
        ],
        {
            "cider_d": 3.743729428407159,
            "rouge_l": 0.8096219931271479,
            "bleu_1": 0.7954127258804594,
            "bleu_2": 0.6888476270867713,
            "bleu_3": 0.5965595443716788,
            "bleu_4": 9.872317502241576e-05,
        },
    ),
    "with signs": (
        ["Don't cut it: let's peel a (large) onion!", "Add 1 1/2 cups of half-and-half, 2% milk & salt/pepper.", "."],
        [
            ["do n't cut; peel the onion's skin", "Peel it..."],
            ["add 1 1/2 cups milk", "add half-and-half and milk - that's it"],
            ["Stir."],
        ],
        {
            "cider_d": 0.935963011883345,
            "rouge_l": 0.37933227436490674,
            "bleu_1": 0.5652173912797732,
            "bleu_2": 0.3668454297737926,
            "bleu_3": 0.27697758643483555,
            "bleu_4": 0.18802744276919722,
        },
    ),
    "one video": (
        ["cut the lemon"],
        [["cut the lemon"]],
        {
            "cider_d": 0.0,
            "rouge_l": 1.0,
            "bleu_1": 0.9999999993333338,
            "bleu_2": 0.9999999992500005,
            "bleu_3": 0.9999999990555564,
            "bleu_4": 0.03162277657664911,
        },
    ),
}
KEPT_YOUCOOK = {
    "cider_d": 2.5418240261195497,
    "rouge_l": 0.5567602400377428,
    "bleu_1": 0.5950625200382831,
    "bleu_2": 0.5280334178577942,
    "bleu_3": 0.495690396252001,
    "bleu_4": 0.47602116762934127,
}
captions = st.lists(
    st.sampled_from("cut the a lemon onion don't (raw) 1/2 cups, mix.".split()), min_size=1, max_size=7
)
captions = captions.map(" ".join)
corpora = st.lists(st.tuples(captions, st.lists(captions, min_size=1, max_size=3)), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def metrics():
    return {name: evaluate.load(str(ROOT / "examples" / "metrics" / name)) for name in METRICS}


@pytest.fixture(scope="module")
def compute(metrics):
    def compute(predictions, references):
        results = [metric.compute(predictions=predictions, references=references) for metric in metrics.values()]
        return {name: value for result in results for name, value in result.items()}

    return compute


@pytest.fixture(scope="module")
def sentences():
    """All of YouCook II's annotations."""
    if not YOUCOOK.is_file():
        pytest.skip("YouCook II's annotations are not beside this checkout")
    videos = json.loads(YOUCOOK.read_text())["database"]
    return [step["sentence"] for name in sorted(videos) for step in videos[name]["annotations"]]


def youcook_pairs(sentences):
    """400 captions, each a neighbour of its one to three references or a mixture of both."""
    references = [sentences[place + 2 : place + 3 + place % 3] for place in range(400)]
    mixed = [
        " ".join(own[-1].split()[:-1] + one.split()[-1:]) for own, one in zip(references, sentences, strict=False)
    ]
    return [mixed[place] if place % 2 else sentences[place] for place in range(400)], references


@pytest.mark.parametrize("case", KEPT)
def test_equals_the_reference(case, compute):
    predictions, references, expected = KEPT[case]
    results = compute(predictions, references)
    assert {name: results[name] for name in expected} == pytest.approx(expected, abs=1e-8)


def test_equals_the_reference_on_real_sentences(sentences, compute):
    results = compute(*youcook_pairs(sentences))
    assert {name: results[name] for name in KEPT_YOUCOOK} == pytest.approx(KEPT_YOUCOOK, abs=1e-8)


def test_real_sentences_are_cut_as_the_reference_cuts_them(sentences):
    """The sum is of what the Java tokenizer made of them."""
    cut = "\n".join(map(tokenize_caption, sentences))
    assert hashlib.sha256(cut.encode()).hexdigest() == (
        "f2a43ac3a6d0e26ae4d8923fa0f7e9a5d4d05cf564f908f6101726defd38b5f9"
    )


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Let's cut it, and don't STIR!", "let 's cut it and do n't stir"),
        ("I cannot; they’ll wanna…", "i can not they 'll wan na"),
        ("the chefs' knives 'n' the chef's", "the chefs knives 'n' the chef 's"),
        ("[a] (b) {c} <unk>", "-lsb- a -rsb- -lrb- b -rrb- -lcb- c -rcb- <unk>"),
        ("350°F, 2% or $5 — 1,000.50 / 9:30am", "350 ° f 2 % or $ 5 1,000.50 / 9:30 am"),
        ("1 1/2 cups, 1½ cups, a 3/4-inch stir-fry", "1\u00a01/2 cups 1 1/2 cups a 3/4-inch stir-fry"),
        ("oz. of Mr. A. at 5 p.m. etc. no. 5 or no. yes", "oz of mr. a. at 5 p.m. etc. no. 5 or no yes"),
        ("what?! -- so...yes, end.next y'all o'clock", "what ?! so yes end.next y' all o'clock"),
        ("crème brûlée, jalapeño 你好", "crème brûlée jalapeño 你好"),
        (". ... -", ""),
    ],
)
def test_cuts_captions_as_the_reference_does(caption, words):
    """Kept from CoreNLP 3.4.1."""
    assert tokenize_caption(caption) == words


def test_equals_the_reference_where_it_is(compute, sentences):
    """Anew: words of the predictions, and all scores."""
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer", reason="pip install pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("the reference needs Java")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    def cut(captions):
        return tokenizer.PTBTokenizer().tokenize({i: [{"caption": one} for one in own] for i, own in captions.items()})

    for predictions, references in (youcook_pairs(sentences), *(case[:2] for case in KEPT.values())):
        ours = cut({i: [one] for i, one in enumerate(predictions)})
        theirs = cut(dict(enumerate(references)))
        assert [own[0] for own in ours.values()] == [tokenize_caption(one) for one in predictions]
        expected = {
            "cider_d": Cider().compute_score(theirs, ours)[0],
            "rouge_l": Rouge().compute_score(theirs, ours)[0],
        }
        bleu = Bleu(4).compute_score(theirs, ours, verbose=0)[0]
        expected |= {f"bleu_{length}": value for length, value in enumerate(bleu, 1)}
        results = compute(predictions, references)
        assert {name: results[name] for name in expected} == pytest.approx(expected, abs=1e-8)


@settings(max_examples=50)
@given(corpora)
def test_no_score_leaves_its_bounds_and_order_does_not_count(metrics, corpus):
    for (name, highest), metric in zip(METRICS.items(), metrics.values(), strict=True):
        results = metric._compute(*map(list, zip(*corpus, strict=True)))
        turned = metric._compute(*map(list, zip(*reversed(corpus), strict=True)))
        assert results == pytest.approx(turned), name
        assert all(0 <= value <= highest + 1e-6 for value in results.values()), name


@settings(max_examples=50)
@given(st.lists(captions, min_size=1, max_size=5), st.data())
def test_nothing_beats_what_people_say(metrics, said, data):
    """The reference itself scores highest, and words, precision and recall then are whole."""
    others = data.draw(st.lists(captions, min_size=len(said), max_size=len(said)))
    references = [[one] for one in said]
    for name, metric in metrics.items():
        best, other = metric._compute(said, references), metric._compute(others, references)
        assert all(best[key] >= other[key] - 1e-9 for key in best), name
    assert metrics["rouge_l_coco"]._compute(said, references)["rouge_l"] == pytest.approx(1)
    if all(map(tokenize_caption, said)):
        assert metrics["meteor_approx"]._compute(said, references)["meteor_approx"] == pytest.approx(1)


def test_cider_d_is_full_for_the_very_captions(metrics):
    """Four words or more, all of them rare."""
    said = ["cut one lemon into slices", "peel an onion with care"]
    results = metrics["cider_d"].compute(predictions=said, references=[[one] for one in said])
    assert results["cider_d"] == pytest.approx(10)


def test_meteor_approx_by_hand(metrics):
    """Two words of three in two pieces, one of the same stem, and their sums."""

    def compute(predictions, references):
        return metrics["meteor_approx"].compute(predictions=predictions, references=references)["meteor_approx"]

    assert compute(["cut the lemon"], [["cut a lemon"]]) == pytest.approx(2 / 3 * (1 - 0.6))
    assert compute(["chops"], [["stir", "chopping"]]) == pytest.approx(0.6)
    assert compute(["cut the lemon", "stir"], [["cut a lemon"], ["stir"]]) == pytest.approx(
        3 / 4 * (1 - 0.6 * (2 / 3) ** 0.2)
    ), "the very words have no piece"
    assert compute(["a the"], [["the a the b"]]) == pytest.approx(
        (1 * 0.5 / (0.85 * 1 + 0.15 * 0.5)) * (1 - 0.6 * 0.5**0.2)
    ), "of two pairings the one in one piece"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("chops chopped chopping", "chop"),
        ("slices sliced slicing", "slice"),
        ("berries berry", "berri"),
        ("adjustment adjusted", "adjust"),
        ("carefully careful", "care"),
        ("general generously", "general generous"),
        ("agreed agreement", "agre agreement"),
        ("skies sky news", "sky sky news"),
        ("boiling boils gas kiwis", "boil boil gas kiwi"),
        ("rational relational hopping hoping", "ration relat hop hope"),
    ],
)
def test_stems_are_porter2(words, expected):
    """Kept from snowballstemmer 2.2."""
    words, expected = words.split(), expected.split()
    assert [stem(word) for word in words] == (expected if len(expected) == len(words) else expected * len(words))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("predictions", "references", "sentence"),
    [
        (["cut", "peel it"], [["cut"], []], r"Prediction 1 \('peel it'\) has no reference"),
        (["cut", "peel it"], [["cut"], None], r"Prediction 1 \('peel it'\) has no reference"),
        (["cut", " "], [["cut"], ["peel"]], "Prediction 1 is an empty caption"),
        (["cut", None], [["cut"], ["peel"]], "Prediction 1 is an empty caption"),
        (["cut", "peel"], [["cut"], ["peel", ""]], "Reference 1 of prediction 1 is an empty caption"),
        (["cut", "peel"], [["cut"]], r"number of predictions \(2\) and references \(1\)"),
        ([], [], "There are no captions"),
    ],
)
def test_bad_input_is_named(name, predictions, references, sentence, metrics):
    """And the metric can be used again."""
    with pytest.raises(ValueError, match=sentence):
        evaluate.load(str(ROOT / "examples" / "metrics" / name)).compute(
            predictions=predictions, references=references
        )
    assert metrics[name].compute(predictions=["cut"], references=[["cut"]])
