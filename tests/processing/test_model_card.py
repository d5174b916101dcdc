"""Protects the model card: it tells what the model is made of, and its metadata is what the Hub can read."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from support.tiny_videobert import tiny_model
from transformers.utils import hub

from modeling_videobert import VideoBertForMaskedLM, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.card_videobert import example_video
from processing.codebook.fitting import fit_codebook
from processing.model_card import write_model_card


def test_card_tells_parts_and_figures(tmp_path):
    config = SimpleNamespace(num_hidden_layers=6, hidden_size=384, num_attention_heads=12)
    model = SimpleNamespace(config=config, weights_fingerprint=lambda: "0123456789abcdef")
    codebook = SimpleNamespace(summary=lambda: "256 visual tokens (2 levels of 16)")
    processor = SimpleNamespace(
        visual_token_offset=30522,
        codebook=codebook,
        asr_options={"language": "de", "device": "cpu"},
        asr_model=SimpleNamespace(model=SimpleNamespace(name_or_path="openai/whisper-small")),  # a ready pipeline
        backbone=str(tmp_path / "i3d-kinetics400"),
        video_processor=SimpleNamespace(clip_seconds=1.5, fps=20),
    )
    folder = tmp_path / "kitchen"
    folder.mkdir()
    (tmp_path / "i3d-kinetics400").mkdir()
    results = {"verb_top1": 0.81234, "object_top5": 0.9, "alignment_auc_same_video": 0.75, "seconds": 600}
    told = {"repo_id": "me/chef", "license": "mit", "language": ["de"]}
    told |= {"datasets": ["me/rows"], "base_models": ["google-bert/bert-base-uncased"]}
    counts = {"videos": 1200, "hours": 3.5, "clips": 8400, "sentences": 900, "words": 7000}
    training = {
        "options": {"max_steps": 500},
        "train": counts,
        "held_out": counts | {"videos": 60},
        "split": "by name",
    }
    write_model_card(folder, model, processor, results, training, "| a | table |", **told)
    card = ModelCard.load(folder / "README.md")
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found == {"verb_top1": 0.8123, "object_top5": 0.9, "alignment_auc_same_video": 0.75}
    assert card.data.metrics == ["accuracy", "roc_auc"] and card.data.pipeline_tag == "fill-mask"
    assert (card.data.datasets, card.data.base_model) == (["me/rows"], ["google-bert/bert-base-uncased"])
    assert card.data.library_name == "transformers" and "videobert" in card.data.tags
    assert (card.data.license, card.data.language) == ("mit", ["de"])
    assert 'AutoProcessor.from_pretrained("me/chef", trust_remote_code=True)' in card.text
    assert "The weights of `i3d-kinetics400` are neither" in card.text and ', backbone="…")' in card.text
    vocabulary = "30522 words, 256 visual tokens (2 levels of 16)"
    for part in (
        vocabulary,
        "`openai/whisper-small` (language de)",
        "`i3d-kinetics400`",
        "| max_steps | 500 |",
        "Trained on 1,200 videos, 3.5 hours, 8,400 clips, 900 sentences and 7,000 words.",
        "Held out are 60 videos, 3.5 hours, 8,400 clips, 900 sentences and 7,000 words: by name.",
        "| a | table |",
        "the fingerprint `0123456789abcdef`",
        "@inproceedings{sun2019videobert,",
    ):
        assert part in card.text
    assert str(tmp_path) not in card.text
    write_model_card(folder, model, processor, {}, {})
    card = ModelCard.load(folder / "README.md")  # what nobody said is not said
    assert card.data.license is None and card.data.language is None and card.data.eval_results is None
    assert "not kept" in card.text and "Nothing was measured." in card.text


@pytest.fixture
def pushed(monkeypatch):
    """What is pushed, text of the card included; `"on the Hub"` says which card is there before."""
    pushed = {"on the Hub": ""}

    def create_commit(operations, **_):
        pushed.update({one.path_in_repo: str(one.path_or_fileobj) for one in operations})
        pushed["README.md"] = Path(pushed["README.md"]).read_text(encoding="utf-8")

    def repository_card(*_, **__):
        form = ModelCard.from_template(ModelCardData(library_name="transformers"))
        return ModelCard(pushed["on the Hub"]) if pushed["on the Hub"] else form

    api = SimpleNamespace(
        create_repo=lambda repo_id, **_: SimpleNamespace(repo_id=repo_id), create_commit=create_commit
    )
    monkeypatch.setattr(hub, "hf_api", lambda: api)
    monkeypatch.setattr(hub, "create_and_tag_model_card", repository_card)
    return pushed


@pytest.mark.parametrize("before", ["", "Somebody's own words, written on the Hub."])
def test_a_push_keeps_the_card(tmp_path, pushed, before):
    """The folder's card goes along with its model, under the repository's name; the library put an empty form there.
    What somebody wrote on the Hub stays."""
    pushed["on the Hub"] = before
    tiny_model(VideoBertForMaskedLM).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text(
        '# kitchen\n\nmodel = Auto.from_pretrained("kitchen", trust_remote_code=True)\n'
        'pipeline("video-fill-mask", model="kitchen")\n'
    )
    VideoBertForMaskedLM.from_pretrained(tmp_path).push_to_hub("me/chef")
    ours = '# kitchen\n\nmodel = Auto.from_pretrained("me/chef", trust_remote_code=True)\n'
    ours += 'pipeline("video-fill-mask", model="me/chef")\n'
    assert pushed["README.md"].endswith(before or ours) and "model.safetensors" in pushed


def test_a_model_of_no_folder_takes_no_card_along(tmp_path, pushed, monkeypatch):
    """One that was made and pushed at once took the README of the folder where the program ran."""
    (tmp_path / "README.md").write_text("My diary.")
    monkeypatch.chdir(tmp_path)
    tiny_model(VideoBertForMaskedLM).push_to_hub("me/chef")
    assert "diary" not in pushed["README.md"]


CARD_WITH_FIGURES = """---
license: mit
model-index:
- name: chef
  results:
  - task: {{type: zero-shot-classification}}
    dataset: {{type: videobert, name: held-out videos}}
    metrics: [{{type: accuracy, value: 0.93}}]
---
# chef

Words of somebody.

## Results

93 % of all verbs.

Measured with weights with the fingerprint `{}`.

## Intended use and limits

None.
"""


@pytest.mark.parametrize("place", ["folder", "Hub"])
def test_a_model_that_was_trained_on_leaves_its_old_figures_behind(tmp_path, pushed, place):
    """It was pushed with the card of the model that it came from, whose figures are not its own; all else stays, and
    so do the figures where the weights are those that were measured, whatever head is on them."""
    tiny_model(VideoBertForPreTraining).save_pretrained(tmp_path)
    model = VideoBertForMaskedLM.from_pretrained(tmp_path)
    card = CARD_WITH_FIGURES.format(model.weights_fingerprint())
    if place == "folder":
        (tmp_path / "README.md").write_text(card)
    else:
        pushed["on the Hub"] = card
    model.push_to_hub("me/chef")
    assert "93 % of all verbs" in pushed["README.md"] and "value: 0.93" in pushed["README.md"]
    with torch.no_grad():
        model.videobert.encoder.layer[0].attention.self.query.bias[0] += 1e-3
    model.push_to_hub("me/chef")
    found = ModelCard(pushed["README.md"])
    assert "93 %" not in found.text and found.data.eval_results is None and "model-index" not in pushed["README.md"]
    assert "has none of its own yet" in found.text and found.data.license == "mit"
    assert "Words of somebody." in found.text and found.text.endswith("## Intended use and limits\n\nNone.\n")


def test_a_processor_or_a_codebook_alone_brings_its_card(pushed, tiny_text_model, tmp_path):
    """The library left its empty form. What somebody wrote stays; a model's card takes the place of a processor's."""
    codebook = fit_codebook(torch.randn(60, 16), 2, 3, progress=False)
    processor = VideoBertProcessor.from_models(tiny_text_model, "openai/whisper-tiny", codebook=codebook)
    processor.backbone = "MCG-NJU/videomae-base"
    processor.push_to_hub("me/eyes")
    card = pushed["README.md"]
    assert 'AutoProcessor.from_pretrained("me/eyes", trust_remote_code=True)' in card and 'videos="video.mp4"' in card
    assert "`openai/whisper-tiny`" in card and "9 visual tokens (2 levels of 3)" in card
    assert "videobert" in ModelCard(card).data.tags and "codebook/model.safetensors" in pushed
    codebook.push_to_hub("me/codes")
    assert 'AutoModel.from_pretrained("me/codes", trust_remote_code=True)' in pushed["README.md"]
    pushed["on the Hub"] = "Somebody's own words."
    processor.push_to_hub("me/eyes")
    assert pushed["README.md"].endswith("Somebody's own words.")
    pushed["on the Hub"] = card
    tiny_model(VideoBertForMaskedLM).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("# The model\n")
    VideoBertForMaskedLM.from_pretrained(tmp_path).push_to_hub("me/eyes")
    assert pushed["README.md"] == "# The model\n"


@pytest.mark.parametrize("backbone", ["i3d-kinetics400", "torchvision/s3d+i3d-kinetics400"])
def test_code_of_a_card_asks_for_no_network_that_nobody_has(tiny_text_model, backbone):
    """A name without an owner is one of weights that no Hub has: the code of the card shows visual ids instead."""
    processor = VideoBertProcessor.from_models(tiny_text_model)
    processor.backbone = backbone
    assert example_video(processor).startswith("[[0, 1, 1, 0]]")
    processor.backbone = "torchvision/s3d"
    assert example_video(processor) == '"video.mp4"'
