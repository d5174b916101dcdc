"""The pipeline "video-fill-mask": answers are the model's own, for any number of masks, words and videos."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_processor import make_video, text_tokenizer
from support.tiny_rows import OBJECTS, OFFSET, VERBS, tiny_processor, tiny_reader
from transformers import pipeline

from modeling_videobert import VideoBertConfig, VideoBertForMaskedLM
from processing import MediaError, VideoBertProcessor
from processing.codebook.fitting import fit_codebook
from processing.fill_mask_videobert import VideoFillMaskPipeline, plan_questions, word_pieces

TEXT = "now let me show you how to [MASK] the [MASK]."


@pytest.fixture(scope="module")
def pipe():
    model, processor = tiny_reader(VideoBertForMaskedLM), tiny_processor()
    return pipeline("video-fill-mask", model=model, processor=processor, device="cpu")


def probabilities(pipe, text, videos):
    """Of all words at each mask, from the whole model."""
    inputs = pipe.processor(text, videos)
    with torch.no_grad():
        logits = pipe.model(**inputs).logits[0]
    return logits[inputs["input_ids"][0] == pipe.tokenizer.mask_token_id, :OFFSET].softmax(dim=-1)


def test_answers_are_those_of_the_whole_model(pipe):
    """The best words among words alone, though the joint vocabulary is larger; one list a mask."""
    assert type(pipe) is VideoFillMaskPipeline
    found, expected = pipe({"video": [3, 4, 5], "text": TEXT}, top_k=3), probabilities(pipe, TEXT, [[3, 4, 5]])
    assert len(found) == 2
    for answers, of_mask in zip(found, expected, strict=True):
        values, ids = of_mask.topk(3)
        assert [one["token"] for one in answers] == ids.tolist()
        assert [one["score"] for one in answers] == pytest.approx(values.tolist(), rel=1e-4)
        assert [one["token_str"] for one in answers] == pipe.tokenizer.convert_ids_to_tokens(ids.tolist())
    assert found[0][0]["sequence"] == TEXT.replace("[MASK]", found[0][0]["token_str"], 1)
    assert found[1][0]["sequence"] == TEXT.replace("the [MASK]", "the " + found[1][0]["token_str"])
    (one,) = pipe([3, 4, 5], text="now cut the [MASK].", top_k=1)
    assert one["token"] == probabilities(pipe, "now cut the [MASK].", [[3, 4, 5]])[0].argmax()


def test_words_of_several_pieces(pipe):
    """Their score is the geometric mean of their pieces' probabilities at as many masks in their place."""
    (found,) = [pipe([3, 4], text="we [MASK] the onion.", targets=["good lemon", "cut", "stir the now"])]
    several = probabilities(pipe, "we [MASK] [MASK] the onion.", [[3, 4]])
    longer = probabilities(pipe, "we [MASK] [MASK] [MASK] the onion.", [[3, 4]])
    ids = pipe.tokenizer.get_vocab()
    expected = {
        "good lemon": (several[0, ids["good"]] * several[1, ids["lemon"]]) ** 0.5,
        "cut": probabilities(pipe, "we [MASK] the onion.", [[3, 4]])[0, ids["cut"]],
        "stir the now": (longer[0, ids["stir"]] * longer[1, ids["the"]] * longer[2, ids["now"]]) ** (1 / 3),
    }
    assert {one["token_str"]: one["score"] for one in found} == {
        word: pytest.approx(score.item(), rel=1e-4) for word, score in expected.items()
    }
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    tokens = {one["token_str"]: one["token"] for one in found}
    assert tokens["cut"] == ids["cut"] and tokens["good lemon"] == [ids["good"], ids["lemon"]]


@pytest.mark.parametrize("batch_size", [2, 5])
def test_lists_and_batches_change_nothing(pipe, batch_size):
    """Videos and texts of any length, with and without the other, batched or one by one: the same answers in order."""
    inputs = [
        {"video": [3, 4, 5], "text": TEXT},
        {"video": None, "text": "we [MASK]."},
        {"video": list(range(60)), "text": "[MASK] the [MASK] and [MASK]"},
        {"video": np.array([7]), "text": TEXT},
    ]
    targets = ["cut good", "lemon"]
    single = [pipe(one, targets=targets) for one in inputs]
    batched = pipe(inputs, targets=targets, batch_size=batch_size)
    from_generator = list(pipe((one for one in inputs), targets=targets))
    assert [len(one) for one in single] == [2, 2, 3, 2] and isinstance(single[1][0], dict)
    for others in (batched, from_generator):
        assert str(flattened(others, "token")) == str(flattened(single, "token"))
        assert flattened(others, "score") == pytest.approx(flattened(single, "score"), rel=1e-4)


def flattened(answers, name):
    if isinstance(answers, dict):
        return [answers[name]]
    return [value for one in answers for value in flattened(one, name)]


def test_one_list_for_each_mask(pipe):
    """Verbs at the first mask, objects at the second; a single word may be asked as such."""
    verbs, objects = pipe([3], text=TEXT, targets=[VERBS, OBJECTS], top_k=9)
    assert {one["token_str"] for one in verbs} == set(VERBS) and {one["token_str"] for one in objects} == set(OBJECTS)
    some, every = pipe([3], text=TEXT, targets=[["cut"], None], top_k=9)
    assert len(some) == 1 and len(every) == 9
    (single,) = pipe([3], text=TEXT.replace("the [MASK]", "it"), targets="cut")
    assert single["token_str"] == "cut"


@given(
    st.lists(
        st.lists(st.sampled_from(["cut", "lemon", "lemons", "cut the lemons"]), min_size=1), min_size=1, max_size=4
    )
)
def test_every_word_is_asked_with_as_many_masks_as_it_has_pieces(lists):
    """Whatever the lists: each word once, in its own slot, in a text with that many more masks."""
    tokenizer = text_tokenizer()
    text = " and ".join(["[MASK]"] * len(lists)) + "."
    plan = plan_questions(tokenizer, text, lists)
    assert next(iter(plan)) == text
    asked = [[None] * len(words) for words in lists]
    for variant, questions in plan.items():
        for question in questions:
            assert variant.count("[MASK]") == len(lists) - 1 + question.ids.shape[1]
            for column, ids in zip(question.columns.tolist(), question.ids.tolist(), strict=True):
                assert asked[question.slot][column] is None
                asked[question.slot][column] = ids
    assert asked == [word_pieces(tokenizer, words) for words in lists]
    assert word_pieces(tokenizer, ["lemons"]) == [tokenizer.convert_tokens_to_ids(["lemon", "##s"])]


@pytest.mark.parametrize(
    "inputs, options, named",
    [
        ({"video": [3], "text": "cut the lemon"}, {}, "'cut the lemon' holds no .MASK.; allowed is at least one"),
        ({"video": [3]}, {}, "The text None holds no"),
        ({"video": [3], "text": TEXT}, {"targets": []}, r"list of words is \[\]; allowed is a list of at least one"),
        ({"video": [3], "text": TEXT}, {"targets": [["cut"], []]}, r"list of words is \[\]"),
        ({"video": [3], "text": TEXT}, {"targets": [["cut"]] * 3}, "3 lists of words for the 2 masks"),
        ({"video": [3], "text": TEXT}, {"targets": ["Ω"]}, "The word 'Ω' cannot be written"),
        ({"video": [3], "text": TEXT}, {"targets": [""]}, "The word '' cannot be written"),
        ({"video": [3], "text": TEXT}, {"top_k": 0}, "top_k is 0; allowed is at least 1"),
        ({"video": [3], "text": "now " * 60 + "[MASK]"}, {}, "is too long: its masks must be within 40 tokens"),
        ({"video": [], "text": TEXT}, {}, r"The video \[\] holds no clip; allowed is at least one of 1.5 s"),
        ({"film": [3], "text": TEXT}, {}, "An input names film; allowed are video and text"),
    ],
)
def test_bad_input_is_named(pipe, inputs, options, named):
    """One sentence with the item, its value and what is allowed."""
    with pytest.raises(ValueError, match=named):
        pipe(inputs, **options)


def test_a_video_file_and_its_visual_ids_are_the_same(tiny_backbone, tiny_text_model, tmp_path):
    """The same answers; a video shorter than a clip is one, and what is no video is named."""
    codebook = fit_codebook(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), 2, 3, progress=False)
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = VideoBertForMaskedLM(VideoBertConfig(text_vocab_size=len(text_tokenizer()), codebook_size=9, **sizes))
    pipe = pipeline("video-fill-mask", model=model.eval(), processor=processor, device="cpu")
    make_video(tmp_path / "video.mp4", "testsrc=s=64x48:r=25:d=4.6")
    make_video(tmp_path / "short.mp4", "testsrc=s=64x48:r=25:d=0.4")
    visual_ids = processor.tokenize(tmp_path / "video.mp4")["visual_ids"]
    ask = {"text": "cut the [MASK]", "targets": ["lemon", "lemons"]}
    assert pipe(tmp_path / "video.mp4", **ask) == pipe(visual_ids, **ask)
    assert len(pipe(tmp_path / "short.mp4", **ask)) == 2
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match="text.mp4"):
        pipe(tmp_path / "text.mp4", **ask)
