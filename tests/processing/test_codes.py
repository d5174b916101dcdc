"""Protects how everybody reads clips of several visual ids, from the processor to forecasts and storyboards."""

import itertools

import pytest
import torch
from support.tiny_processor import text_tokenizer
from support.tiny_rows import OFFSET, tiny_text_tokenizer

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor, VideoBertVideoProcessor
from processing.captioning_videobert import paper_features
from processing.codebook import fit_codebook
from processing.codes_videobert import checked_ids, join_clips, split_clips
from processing.corpus.rows import check_rows
from processing.evaluation import imagine_clips
from processing.forecasting_videobert import CONTEXT_CLIPS, forecast, forecast_sequence
from processing.sequence_videobert import sequence_ids, visual_code_sizes

SIZES = (4, 4)


@pytest.fixture(scope="module")
def processor():
    features = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    processor = VideoBertProcessor(VideoBertVideoProcessor(), tiny_text_tokenizer())
    processor.add_codebook(fit_codebook(features, 1, 4, progress=False, residual_codes=2))
    return processor


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vocabulary = {"text_vocab_size": OFFSET, "codebook_size": sum(SIZES)}
    config = VideoBertConfig(**small, **vocabulary, max_position_embeddings=40, initializer_range=0.5)
    return VideoBertForPreTraining(config).eval()


def test_flat_ids_and_clips():
    assert split_clips([3, 9, 4, 8], 2) == [(3, 9), (4, 8)] and split_clips([3, 9], 1) == [3, 9]
    assert join_clips([(3, 9), (4, 8)]) == [3, 9, 4, 8] and join_clips([3, 9]) == [3, 9]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 5, 2], "There are 3 visual ids; a clip has 2"),
        ([1, 5, 6, 2], "Visual id 6 stands for code 1 of clip 1, whose ids are 0 to 3"),
        ([1, 2], "Visual id 2 stands for code 2 of clip 0, whose ids are 4 to 7"),
        ([1, 8], "Visual id 8 is outside the codebook, whose ids are 0 to 7"),
    ],
)
def test_ids_that_are_no_clips_are_refused(ids, message, processor, model):
    """At the door, and by a forecast: the wrong id, in a sentence that says where."""
    for asked in (
        lambda: checked_ids(ids, SIZES),
        lambda: processor(videos=[ids]),
        lambda: forecast(model, processor, ids),
    ):
        with pytest.raises(ValueError, match=message):
            asked()


def test_the_vocabulary_knows_the_codes_after_saving(processor, tmp_path):
    """Collators and forecasts have the tokenizer alone; and a codebook of one id a clip leaves no trace in it."""
    processor.save_pretrained(tmp_path)
    again = VideoBertProcessor.from_pretrained(tmp_path)
    assert visual_code_sizes(again.tokenizer) == again.codebook.code_sizes == SIZES
    assert sequence_ids(again.tokenizer)["tokens_per_clip"] == 2
    again.add_codebook(fit_codebook(torch.eye(6), 1, 3, progress=False))
    assert visual_code_sizes(again.tokenizer) == (3,) and "code_sizes" not in again.tokenizer.init_kwargs
    assert "tokens_per_clip" not in sequence_ids(again.tokenizer)
    assert visual_code_sizes(processor.tokenizer) == SIZES and text_tokenizer().init_kwargs.get("code_sizes") is None


def test_rows_of_other_numbers_of_codes_are_refused(processor):
    """A row says how many ids a clip has; one that has lost it, or rows mixed, are not read as something else."""
    one = {"video_id": "a", "clip_seconds": 1.5, "codebook": processor.codebook.fingerprint, "tokens_per_clip": 2}
    assert check_rows([one, one], processor) == 1.5
    with pytest.raises(ValueError, match="The rows have tokens_per_clip 1 and the processor has 2"):
        check_rows([{name: value for name, value in one.items() if name != "tokens_per_clip"}], processor)
    with pytest.raises(ValueError, match="different tokens_per_clip"):
        check_rows([one, {**one, "tokens_per_clip": 3}])


def test_a_forecast_shows_whole_clips_and_hides_whole_clips(processor):
    ids, types = forecast_sequence([0, 4] * 100, 3, processor.tokenizer)
    assert len(ids) == 2 + 2 * (CONTEXT_CLIPS + 3) and sum(types) == len(ids) - 2
    ids, _ = forecast_sequence([0, 4] * 100, 3, processor.tokenizer, max_length=13)
    assert ids[1:-7] == [OFFSET, OFFSET + 4] * 2 and ids[-7:-1] == [processor.tokenizer.mask_token_id] * 6
    with pytest.raises(ValueError, match="A forecast of 3 clips needs sequences of 10 tokens; the model takes 9"):
        forecast_sequence([0, 4], 3, processor.tokenizer, max_length=9)


@torch.no_grad()
def test_a_forecast_is_the_best_of_all_clips(processor, model):
    """p(first code) · p(second code | first), each worked out by itself for all 16 clips, at both horizons."""
    past = [0, 5, 3, 6, 1, 4]
    answers = forecast(model, processor, past, horizons=(1, 2), top_k=4, text="now [MASK] it")
    question, types = forecast_sequence(past, 2, processor.tokenizer)

    def chances(ids, place, first):
        inputs = {"input_ids": torch.tensor([ids]), "token_type_ids": torch.tensor([types])}
        logits = model.cloze_head(model.base_model(**inputs).last_hidden_state[0, place])
        return logits[OFFSET + first : OFFSET + first + 4].softmax(dim=-1)

    for answer, place in zip(answers, (7, 9), strict=True):
        joint = {}
        begun = chances(question, place, 0)
        for one, other in itertools.product(range(4), range(4)):
            ids = list(question)
            ids[place] = OFFSET + one
            joint[one, 4 + other] = float(begun[one] * chances(ids, place + 1, 4)[other])
        best = sorted(joint, key=joint.get, reverse=True)[:4]
        assert [tuple(ids) for ids in answer["visual_ids"]] == best
        assert answer["scores"] == pytest.approx([joint[clip] for clip in best], rel=1e-4)
        assert answer["tokens"][0] == "".join(f"<v_{one:05}>" for one in best[0])
        assert len(answer["words"]) == 1 and len(answer["words"][0]) == 4
    assert [(one["start"], one["end"]) for one in answers] == [(4.5, 6.0), (6.0, 7.5)]


def test_imagined_clips_have_all_their_codes(processor, model):
    """Every place of a strip is named, and by a token of its own code."""
    for strip in imagine_clips(model, processor, ["cut the lemon.", "now"], num_clips=3):
        assert checked_ids(strip, SIZES) == strip and len(strip) == 6


def test_features_for_captions_are_of_whole_clips(processor, model):
    """The mean feature of two clips is that of what both codes of each say, not of four centroids."""
    ids = [0, 5, 3, 6]
    raw = paper_features(model, processor, [ids], raw=True)[0, -6:]
    torch.testing.assert_close(raw, processor.codebook.decode(ids).mean(0))
