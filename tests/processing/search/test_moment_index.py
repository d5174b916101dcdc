"""Protects the search: vectors are what the model says, and an index grows, keeps to its model and finds the best."""

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rows import CODEBOOK_SIZE, OFFSET, cooking_rows, row, tiny_processor

import processing.search.index as index_module
from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing.evaluation import alignment, rank_of
from processing.search import MomentIndex, read_index, retrieval_figures, row_moments
from processing.search.embedding import TEMPLATE, moment_embeddings, random_directions, text_embeddings
from processing.search.index import best_places
from processing.search.scoring import FIRST_PASS_WEIGHT, score_pairs

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
ALL = 1000


def make_model(seed=0):
    torch.manual_seed(seed)
    vocabulary = {"text_vocab_size": OFFSET, "codebook_size": CODEBOOK_SIZE}
    config = VideoBertConfig(**SIZES, **vocabulary, max_position_embeddings=64, initializer_range=0.5)
    return VideoBertForPreTraining(config).eval()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


@pytest.fixture(scope="module")
def moments():
    return [moment for one in cooking_rows() for moment in row_moments(one)]


@pytest.fixture
def index(model, processor, moments):
    index = MomentIndex(model, processor)
    index.add(moments)
    return index


def test_moments_by_hand():
    """A sentence with its clips and those after it, inside the video; windows of silence; no empty moment."""
    one = row("a", [("cut it.", 0, 3), ("here is nothing to see.", 17.9, 18.1)], 12)
    found = [(each["start"], each["end"], each["text"], each["visual_ids"]) for each in row_moments(one, 1.5, 4)]
    silent = [(4.5, 10.5, "", [3, 4, 5, 6]), (10.5, 16.5, "", [7, 8, 9, 10]), (16.5, 18, "", [11])]
    assert found == [(0, 4.5, "cut it.", [0, 1, 2]), *silent]
    (last,) = row_moments(row("b", [("it is good.", 0, 99)], 2))
    assert last["end"] == 3.0


def test_a_moment_is_what_the_model_says(model, processor):
    """The vector is that of the model's own probabilities, worked out anew; batches and padding change nothing."""
    shown = [[3, 1, 4], [1, 5], [9, 2, 6, 5, 3, 5]]
    vectors = moment_embeddings(model, processor, shown, batch_size=2)
    for ids, vector in zip(shown, vectors, strict=True):
        inputs = processor([TEMPLATE], [ids])
        logits = model(**inputs).logits[0, inputs["input_ids"][0] == processor.tokenizer.mask_token_id, :OFFSET]
        assert len(logits) == 2
        said = sum(mask.softmax(0).detach().numpy() ** 0.5 for mask in logits)
        assert vector == pytest.approx(said @ random_directions(OFFSET), abs=1e-5)


def test_a_text_is_its_words(model, processor):
    """Their order and number say nothing, and a vector has the length 1 but for the chance meeting of words."""
    one, again, other = text_embeddings(
        model, processor, ["cut the lemon", "the Lemon, the lemon: cut!", "wash an onion"]
    )
    more = random_directions(OFFSET)[processor.tokenizer.convert_tokens_to_ids(["cut", "the", "lemon"])]
    assert one == pytest.approx(more.sum(0) / 3**0.5)
    assert one @ again > 0.7 and abs(one @ other) < 0.3


@pytest.mark.parametrize("text", ["", "?!", "  ", "[MASK]", "日本", "<v_00001>"])
def test_no_words_are_refused(index, text):
    """Such a question would find the same moments whatever it is."""
    with pytest.raises(ValueError, match="no word that the model knows"):
        index.search(text)


def test_two_passes_are_the_best_of_all_where_all_are_read(model, processor, moments, index):
    """With every moment in the second pass the order is that of `[CLS]` and the first pass together."""
    text = "show me how to cut the lemon."
    vectors = moment_embeddings(model, processor, [one["visual_ids"] for one in moments])
    inputs = [processor([text], [one["visual_ids"]]) for one in moments]
    examples = [{name: one[name][0].tolist() for name in ("input_ids", "token_type_ids")} for one in inputs]
    (query,) = text_embeddings(model, processor, [text])
    expected = alignment(model, processor, examples) + FIRST_PASS_WEIGHT * (vectors @ query)
    found = index.search(text, top=7, candidates=ALL)
    assert [one["score"] for one in found] == pytest.approx(np.sort(expected)[::-1][:7], abs=1e-3)
    best = moments[int(expected.argmax())]
    assert {name: found[0][name] for name in best} == best


def test_a_search_asks_the_model_about_few(model, processor, index, monkeypatch):
    """Of the candidates alone, however large the index is."""
    asked = []
    monkeypatch.setattr(index_module, "score_pairs", lambda *given: asked.append(len(given[2])) or score_pairs(*given))
    assert len(index.search("cut the lemon", top=2, candidates=5)) == 2 and asked == [5]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 40))
def test_best_places_are_those_of_a_stable_sort(scores, count):
    """Also where many moments show the same: the same ones are found each time, whatever else is asked."""
    expected = sorted(range(len(scores)), key=lambda place: -scores[place])[:count]
    assert best_places(np.array(scores, dtype=np.float32), count).tolist() == expected


def test_sentences_for_a_video(index, moments):
    """Each sentence once, best first."""
    found = index.sentences(moments[0]["visual_ids"], top=ALL)
    assert len(found) == len({one["text"] for one in found}) == len({one["text"] for one in moments})
    assert found == sorted(found, key=lambda one: -one["score"])


def test_only_what_is_new_is_embedded(model, processor, moments, monkeypatch, tmp_path):
    """Also after saving; a video that was repaired takes the place of what it was, and the rest stays."""
    first, second = moments[:4], moments[4:8]
    assert {one["video_id"] for one in first}.isdisjoint(one["video_id"] for one in second)
    index = MomentIndex(model, processor)
    assert index.add(first) == 4
    index.save(tmp_path / "index")
    index, asked = read_index(tmp_path / "index", model, processor), []
    monkeypatch.setattr(
        index_module, "moment_embeddings", lambda *given: asked.extend(given[2]) or moment_embeddings(*given)
    )
    assert index.add(first + second) == 4 and asked == [one["visual_ids"] for one in second]
    changed = [first[0] | {"visual_ids": [1, 2, 3]}, *first[1:3]]
    assert index.add(changed) == 3 and len(index) == 7
    index.save(tmp_path / "index")
    expected = moment_embeddings(model, processor, [one["visual_ids"] for one in second + changed])
    assert read_index(tmp_path / "index", model, processor).vectors == pytest.approx(expected, abs=1e-6)
    assert index.add([]) == 0


def test_an_index_is_a_dataset_that_comes_back(index, tmp_path, model, processor):
    """`datasets` reads it without us, and it answers as before."""
    index.save(tmp_path / "index")
    assert datasets.load_from_disk(tmp_path / "index").num_rows == len(index)
    again = read_index(tmp_path / "index", model, processor)
    assert again.search("cut the lemon") == index.search("cut the lemon")


def test_another_models_index_is_refused(index, tmp_path, processor):
    """Its vectors would mean nothing; so would those of another codebook's ids."""
    index.save(tmp_path / "index")
    with pytest.raises(ValueError, match="was made by the model .*; give the model that it was made by"):
        read_index(tmp_path / "index", make_model(1), processor)
    other = tiny_processor()
    torch.nn.init.normal_(next(other.codebook.parameters()))
    if other.codebook.fingerprint != processor.codebook.fingerprint:
        with pytest.raises(ValueError, match="was made by the model"):
            read_index(tmp_path / "index", make_model(), other)


def test_what_is_no_index_is_named(index, tmp_path, model, processor):
    with pytest.raises(ValueError, match="nowhere holds no index"):
        read_index(tmp_path / "nowhere", model, processor)
    index.moments.save_to_disk(tmp_path / "plain")
    with pytest.raises(ValueError, match="plain is damaged"):
        read_index(tmp_path / "plain", model, processor)


def test_an_empty_index_finds_nothing(model, processor, tmp_path):
    """And says so; it can be saved, and filled later."""
    empty = MomentIndex(model, processor)
    empty.save(tmp_path / "index")
    again = read_index(tmp_path / "index", model, processor)
    for asked in (lambda: again.search("cut"), lambda: again.sentences([1, 2])):
        with pytest.raises(ValueError, match="The index is empty"):
            asked()
    silent = row_moments(row("silent", [], 8))
    assert again.add(silent) == 2
    with pytest.raises(ValueError, match="Nothing is said"):
        again.sentences([1, 2])
    with pytest.raises(ValueError, match="top is 0"):
        again.search("cut", top=0)


def test_faiss_finds_the_same(index, tmp_path, model, processor):
    """Where it looks at every vector; it is gone when moments are added, which it does not know."""
    pytest.importorskip("faiss", reason="faiss is an option")
    index.save(tmp_path / "index", faiss="Flat")
    again = read_index(tmp_path / "index", model, processor)
    found, expected = again.search("cut the lemon", 5, 8), index.search("cut the lemon", 5, 8)
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-4)
    more = row_moments(row("new", [], 4))
    assert again.add(more) == 1 and len(again.search("cut the lemon", ALL)) == len(index) + 1


def test_figures_are_those_of_the_order(model, processor, moments):
    """With the first pass alone, and with a second one over everything, ranks are worked out here from the scores."""
    shown = [one["visual_ids"] for one in moments]
    vectors = moment_embeddings(model, processor, shown)
    asked = [place for place, one in enumerate(moments) if "lemon" in one["text"] and "cut" in one["text"]]
    assert asked
    for candidates in (0, ALL):
        ranks = []
        for place in asked:
            text = moments[place]["text"]
            scores = vectors @ text_embeddings(model, processor, [text])[0]
            if candidates:
                scores = score_pairs(model, processor, [text] * len(shown), shown, scores)
            ranks.append(rank_of(scores, place))
        figures = retrieval_figures(model, processor, cooking_rows(), [{"cut"}, {"lemon"}], candidates=candidates)
        assert figures["retrieval_queries"] == len(asked) and figures["retrieval_candidates"] == len(moments)
        assert figures["retrieval_median_rank"] == np.median(ranks)
        assert figures["retrieval_r5"] == np.mean(np.array(ranks) <= 5)
    with pytest.raises(ValueError, match="None of 32 moments"):
        retrieval_figures(model, processor, cooking_rows(), [{"fly"}])


def test_nobody_is_lucky_with_twins(model, processor):
    """Moments that show the same cannot be told apart: whoever looks for one of four ranks it fourth."""
    twins = [row(f"v{number}", [("cut the lemon.", 0, 6)], 4) for number in range(4)]
    for candidates in (0, 2, ALL):
        figures = retrieval_figures(model, processor, twins, candidates=candidates)
        assert figures["retrieval_median_rank"] == 4 and figures["retrieval_r1"] == 0
