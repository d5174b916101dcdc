"""A captioner of our own: what it starts from, its loss, what stays frozen, and that a saved one is whole."""

import json

import pytest
import torch
from support.tiny_rows import tiny_processor, tiny_tokenizer
from support.tiny_run import tiny_model
from transformers import AutoConfig, AutoModelForSeq2SeqLM, EncoderDecoderModel

from modeling_videobert import VideoBertForCaptioning, VideoBertForPreTraining

LABELS = torch.tensor([[7, 8, 9, 5], [10, 5, -100, -100], [11, 12, 5, -100]])


@pytest.fixture(scope="module")
def videobert():
    return tiny_model(initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def videos():
    return dict(tiny_processor()(videos=[[1, 2, 3], [4], []]))


def make(videobert, **options):
    torch.manual_seed(0)
    return VideoBertForCaptioning.from_videobert(videobert, tiny_tokenizer(), decoder_layers=1, **options)


def test_both_halves_start_from_the_videobert(videobert, videos):
    """The encoder sees the video as the VideoBERT does; the decoder looks at it as the VideoBERT's layer at itself."""
    captioner = make(videobert)
    with torch.no_grad():
        seen = captioner.encoder(**videos).last_hidden_state
        torch.testing.assert_close(seen, videobert.base_model(**videos).last_hidden_state)
    layer, source = captioner.decoder.bert.encoder.layer[0], videobert.base_model.encoder.layer[0]
    for name, weight in source.attention.state_dict().items():
        assert torch.equal(layer.attention.state_dict()[name], weight)
        assert torch.equal(layer.crossattention.state_dict()[name], weight)
    words = captioner.config.decoder.vocab_size
    assert words == videobert.config.text_vocab_size  # no visual token can be written
    assert torch.equal(captioner.get_output_embeddings().weight, videobert.get_input_embeddings().weight[:words])


def test_loss_is_that_of_the_library(videobert, videos):
    """Computed at asked words only, in training, it equals the loss over all scores of transformers' own class."""
    captioner = make(videobert)
    reference = EncoderDecoderModel(encoder=captioner.encoder, decoder=captioner.decoder)
    reference.config.pad_token_id, reference.config.decoder_start_token_id = 0, 4
    with torch.no_grad(), pytest.warns(FutureWarning):
        expected = reference(**videos, labels=LABELS).loss
    torch.testing.assert_close(captioner.eval()(**videos, labels=LABELS).loss, expected)
    torch.testing.assert_close(captioner.train()(**videos, labels=LABELS).loss, expected)


def test_micro_batches_add_up(videobert, videos):
    """Unequal captions weigh by their words, whatever batch they come in."""
    captioner = make(videobert).train()
    whole = captioner(**videos, labels=LABELS).loss
    count = (LABELS != -100).sum()
    parts = [
        captioner(
            **{name: values[rows] for name, values in videos.items()}, labels=LABELS[rows], num_items_in_batch=count
        ).loss
        for rows in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("freeze", [True, False])
def test_what_is_frozen_stays_frozen(videobert, videos, tmp_path, freeze):
    """Also when opened again, and without dropout that would blur a frozen encoder."""
    captioner = make(videobert, freeze_encoder=freeze)
    captioner.save_pretrained(tmp_path)
    for one in (captioner, VideoBertForCaptioning.from_pretrained(tmp_path)):
        one.train()
        assert one.encoder.training is not freeze
        one(**videos, labels=LABELS).loss.backward()
        moving = {name for name, weight in one.named_parameters() if weight.grad is not None}
        assert any(name.startswith("encoder.") for name in moving) is not freeze
        assert any("crossattention" in name for name in moving)
        assert not any("word_embeddings" in name for name in moving)


def test_features_take_the_place_of_the_encoder(videobert, tmp_path):
    """With `feature_size` the decoder reads one vector a video: captions follow it, saved and opened again too."""
    captioner = make(videobert, feature_size=6).train()
    features = torch.eye(6)[:3] * 3
    optimizer = torch.optim.Adam([weight for weight in captioner.parameters() if weight.requires_grad], 2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        captioner(features=features, labels=LABELS).loss.backward()
        optimizer.step()
    captioner.eval().save_pretrained(tmp_path)
    for one in (captioner, VideoBertForCaptioning.from_pretrained(tmp_path)):
        encoded = one.encode_features(features)
        written = one.generate(encoder_outputs=encoded, attention_mask=torch.ones(3, 1, dtype=torch.long))
        for said, label in zip(written.tolist(), LABELS.tolist(), strict=True):
            wanted = [word for word in label if word != -100]
            assert said[1 : 1 + len(wanted)] == wanted


def test_a_saved_captioner_is_whole(videobert, videos, tmp_path):
    """The Auto classes open it, it writes the same, and its file tells nobody where the VideoBERT lay."""
    videobert.save_pretrained(tmp_path / "secret_place")
    captioner = make(VideoBertForPreTraining.from_pretrained(tmp_path / "secret_place"))
    captioner.save_pretrained(tmp_path / "captioner")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "captioner")
    assert type(again) is VideoBertForCaptioning
    assert torch.equal(again.generate(**videos), captioner.generate(**videos))
    assert "secret_place" not in (tmp_path / "captioner" / "config.json").read_text()
    told = json.loads((tmp_path / "captioner" / "config.json").read_text())
    assert told["custom_pipelines"].keys() == {"video-captioning"}
    for reference in told["auto_map"].values():
        assert (tmp_path / "captioner" / f"{reference.split('.')[0]}.py").is_file()
    assert AutoConfig.from_pretrained(tmp_path / "captioner").encoder.codebook_size == videobert.config.codebook_size


@pytest.mark.parametrize("layers", [0, 2])
def test_too_many_layers(videobert, layers):
    """One sentence that tells what is allowed."""
    with pytest.raises(ValueError, match=f"decoder_layers is {layers}; allowed are 1 … 1"):
        VideoBertForCaptioning.from_videobert(videobert, tiny_tokenizer(), decoder_layers=layers)
