"""Starting from a text BERT: language must not be lost, and the visual tokens must start where their clusters lie."""

import pytest
import torch
from support.tiny_videobert import SIZES
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel, DistilBertConfig, DistilBertModel

from modeling_videobert import (
    VideoBertForMaskedLM,
    VideoBertForPreTraining,
    VideoBertForVideoClassification,
    VideoBertModel,
)
from modeling_videobert.text_start_videobert import visual_rows

CLASSES = (VideoBertModel, VideoBertForPreTraining, VideoBertForMaskedLM, VideoBertForVideoClassification)


def save_bert(folder, model_class, **options):
    torch.manual_seed(0)
    model = model_class(BertConfig(**(SIZES | {"vocab_size": 120, "initializer_range": 0.3} | options))).eval()
    if hasattr(model, "cls"):
        torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(folder)
    return model


@pytest.fixture
def text_ids():
    return torch.randint(0, 120, (3, 11), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("source_class", [BertModel, BertForMaskedLM, BertForPreTraining])
@pytest.mark.parametrize("model_class", CLASSES)
def test_text_alone_gives_the_checkpoints_hidden_states(tmp_path, text_ids, source_class, model_class):
    """Any BERT, with heads or without, starts any of our models, and on text nothing has changed."""
    source = save_bert(tmp_path, source_class)
    model = model_class.from_text_checkpoint(tmp_path, codebook_size=40)
    assert not model.training
    expected = source.base_model(text_ids).last_hidden_state
    torch.testing.assert_close(model.base_model(text_ids).last_hidden_state, expected, atol=1e-5, rtol=0)


def test_masked_word_head_is_taken_over(tmp_path, text_ids):
    """Where the checkpoint names masked words, ours gives the same scores to all words."""
    source = save_bert(tmp_path, BertForMaskedLM)
    model = VideoBertForPreTraining.from_text_checkpoint(tmp_path, codebook_size=40)
    logits = model(text_ids).logits
    assert logits.shape == (3, 11, 160)
    torch.testing.assert_close(logits[..., :120], source(text_ids).logits, atol=1e-4, rtol=1e-5)


def test_pooler_is_taken_over(tmp_path, text_ids):
    """The [CLS] output that alignment starts from is the checkpoint's."""
    source = save_bert(tmp_path, BertModel)
    model = VideoBertModel.from_text_checkpoint(tmp_path, codebook_size=40)
    torch.testing.assert_close(model(text_ids).pooler_output, source(text_ids).pooler_output, atol=1e-5, rtol=0)


def test_join_token_is_the_unused_slot(tmp_path):
    """[>] takes BERT's [unused0]: no row moves, and its embedding is that slot's."""
    source = save_bert(tmp_path, BertModel)
    model = VideoBertModel.from_text_checkpoint(tmp_path, codebook_size=40)
    assert (model.config.join_token_id, model.config.visual_token_offset, model.config.vocab_size) == (1, 120, 160)
    assert torch.equal(model.get_input_embeddings().weight[:120], source.get_input_embeddings().weight)


def test_visual_rows_by_hand():
    """Centred, then scaled to the words' mean norm; nothing else where the sizes agree."""
    centroids = torch.tensor(
        [[11.0, 20.0], [9.0, 20.0], [10.0, 22.0], [10.0, 18.0]]
    )  # centre (10, 20), norms 1, 1, 2, 2
    words = torch.tensor([[3.0, 4.0], [0.0, 1.0]])  # mean norm 3
    expected = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 4.0], [0.0, -4.0]])
    torch.testing.assert_close(visual_rows(centroids, words), expected)


@pytest.mark.parametrize("size", [8, 32, 100])
def test_visual_rows_keep_the_geometry_of_the_clusters(size):
    """Near clusters start as near tokens, whatever the size of the features; and every run projects alike."""
    generator = torch.Generator().manual_seed(0)
    kitchens = torch.randn(10, size, generator=generator)
    centroids = kitchens.repeat_interleave(5, 0) + 0.05 * torch.randn(50, size, generator=generator)
    words = torch.randn(120, 32, generator=generator)
    rows = visual_rows(centroids, words)
    assert rows.norm(dim=1).mean().item() == pytest.approx(words.norm(dim=1).mean().item(), rel=1e-5)
    distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
    assert (distances.argmin(1) // 5 == torch.arange(50) // 5).all()
    if size <= 32:  # nothing is lost on the way up: all distances keep their proportions
        ratio = torch.pdist(rows) / torch.pdist(centroids)
        assert (ratio.max() / ratio.min()).item() == pytest.approx(1, abs=1e-3)
    torch.manual_seed(99)
    assert torch.equal(rows, visual_rows(centroids, words))


def test_centroids_become_the_rows_of_their_visual_ids(tmp_path):
    """Visual id i is token offset + i, in the table and in the tied vocabulary head."""
    save_bert(tmp_path, BertModel)
    centroids = torch.randn(40, 7)
    model = VideoBertForPreTraining.from_text_checkpoint(tmp_path, centroids=centroids)
    table = model.get_input_embeddings().weight
    torch.testing.assert_close(table[120:], visual_rows(centroids, table[:120]))
    assert model.get_output_embeddings().weight is table


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_frozen_input_embeddings(tmp_path, frozen, tied):
    """The paper freezes the input embeddings. A tied vocabulary head keeps its matrix with them, an untied one learns;
    both learn transform and bias. Saving and loading must not thaw the table."""
    save_bert(tmp_path / "bert", BertModel)
    model = VideoBertForPreTraining.from_text_checkpoint(
        tmp_path / "bert", codebook_size=40, freeze_input_embeddings=frozen, tie_word_embeddings=tied
    )
    model.save_pretrained(tmp_path / "ours")
    for candidate in (model, VideoBertForPreTraining.from_pretrained(tmp_path / "ours")):
        learns = {name: parameter.requires_grad for name, parameter in candidate.named_parameters()}
        assert learns.pop("videobert.embeddings.word_embeddings.weight") is not frozen
        assert all(learns.values()) and learns["cloze_head.decoder.bias"]
        assert ("cloze_head.decoder.weight" in learns) is not tied
        before = candidate.get_input_embeddings().weight.clone()
        assert torch.equal(candidate.get_output_embeddings().weight, before)
        optimizer = torch.optim.AdamW([p for p in candidate.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
        ids = torch.tensor([[101, 5, 1, 130, 102]])
        candidate.train()(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        assert torch.equal(candidate.get_input_embeddings().weight, before) is frozen
        assert torch.equal(candidate.get_output_embeddings().weight, before) is (frozen and tied)


def test_bad_starts_are_named(tmp_path):
    """One sentence that says which numbers disagree."""
    save_bert(tmp_path / "bert", BertModel)
    start = VideoBertForPreTraining.from_text_checkpoint
    with pytest.raises(ValueError, match="codebook_size is 40, but there are 12 centroids"):
        start(tmp_path / "bert", codebook_size=40, centroids=torch.randn(12, 8))
    with pytest.raises(ValueError, match="codebook_size and centroids are both None"):
        start(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"centroids have the shape \(12, 8\) and 1 numbers that are not finite"):
        broken = torch.randn(12, 8)
        broken[3, 3] = torch.nan
        start(tmp_path / "bert", centroids=broken)
    DistilBertModel(DistilBertConfig(dim=8, n_heads=2, n_layers=1, hidden_dim=8, vocab_size=9)).save_pretrained(
        tmp_path / "distil"
    )
    with pytest.raises(ValueError, match="is a 'distilbert' checkpoint; allowed is 'bert'"):
        start(tmp_path / "distil", codebook_size=40)


def test_a_real_checkpoint(bert_minilm):
    """MiniLM, 6 × 384, trained and without a masked-word head: words as before, 20,736 visual tokens behind them."""
    model = VideoBertForPreTraining.from_text_checkpoint(bert_minilm, codebook_size=20736)
    source = BertModel.from_pretrained(bert_minilm).eval()
    ids = torch.tensor([[101, 3013, 1996, 14380, 2046, 25609, 102]])
    torch.testing.assert_close(
        model.videobert(ids).last_hidden_state, source(ids).last_hidden_state, atol=1e-5, rtol=0
    )
    assert model.config.vocab_size == 30522 + 20736
    joint = torch.tensor([[101, 3013, 1, 30522 + 20735, 102]])
    assert model(joint, token_type_ids=torch.tensor([[0, 0, 0, 1, 0]])).logits.isfinite().all()
