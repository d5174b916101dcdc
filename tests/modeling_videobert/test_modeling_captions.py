"""Captions need no decoder of ours: transformers' encoder-decoder takes our encoder as it is."""

import pytest
import torch
from support.tiny_videobert import SIZES, joint_example, padded, tiny_model
from transformers import BertConfig, BertLMHeadModel, EncoderDecoderModel

from modeling_videobert import VideoBertModel

BEGIN, END = 101, 102
CAPTIONS = [[110, 111, 112], [113, 111, 114], [115, 116]]


@pytest.fixture(scope="module")
def videos():
    generator = torch.Generator().manual_seed(0)
    return padded([joint_example(0, clips, generator) for clips in (5, 7, 6)])


@pytest.fixture(scope="module")
def captioner(videos):
    """Trained for a moment to tell three videos apart."""
    encoder = tiny_model(VideoBertModel, initializer_range=0.05)
    decoder = BertLMHeadModel(BertConfig(**SIZES, vocab_size=120, is_decoder=True, add_cross_attention=True))
    model = EncoderDecoderModel(encoder=encoder, decoder=decoder).train()
    model.config.decoder_start_token_id, model.config.pad_token_id = BEGIN, 0
    model.generation_config.update(decoder_start_token_id=BEGIN, eos_token_id=END, pad_token_id=0, max_length=8)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    labels = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([*caption, END]) for caption in CAPTIONS], batch_first=True, padding_value=-100
    )
    for _ in range(120):
        optimizer.zero_grad()
        model(**videos, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("cache", [True, False])
def test_captions_follow_the_video(captioner, videos, beams, cache):
    """Greedy or with beams, with the cache or without: each video gets its own caption."""
    captions = captioner.generate(**videos, num_beams=beams, use_cache=cache)
    assert [caption[1 : caption.index(END)] for caption in captions.tolist()] == CAPTIONS


def test_generation_sees_token_types(captioner, videos):
    """`generate` must hand the modality on to the encoder: the same ids called language give another encoding."""
    start = torch.full((3, 1), BEGIN)
    vision = captioner(**videos, decoder_input_ids=start).logits
    language = captioner(
        **(videos | {"token_type_ids": torch.zeros_like(videos["token_type_ids"])}), decoder_input_ids=start
    ).logits
    assert not torch.allclose(vision, language, atol=1e-3)
    generated = captioner.generate(**videos, return_dict_in_generate=True, output_logits=True, max_new_tokens=1)
    torch.testing.assert_close(generated.logits[0], vision[:, 0], atol=1e-5, rtol=0)


def test_captioner_can_be_saved(captioner, videos, tmp_path):
    """Saved and opened again, it says the same."""
    captioner.save_pretrained(tmp_path)
    again = EncoderDecoderModel.from_pretrained(tmp_path)
    assert type(again.encoder) is VideoBertModel
    assert torch.equal(again.generate(**videos, num_beams=3), captioner.generate(**videos, num_beams=3))
