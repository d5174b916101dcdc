"""Protects the model card: it tells what the model is made of, and its metadata is what the Hub can read."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard, ModelCardData
from support.tiny_videobert import tiny_model
from transformers.utils import hub

from modeling_videobert import VideoBertForMaskedLM
from processing.model_card import write_model_card


def test_card_tells_parts_and_figures(tmp_path):
    model = SimpleNamespace(config=SimpleNamespace(num_hidden_layers=6, hidden_size=384, num_attention_heads=12))
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
    results = {"verb_top1": 0.81234, "object_top5": 0.9, "seconds": 600}
    told = {"repo_id": "me/chef", "license": "mit", "language": ["de"]}
    write_model_card(folder, model, processor, results, {"max_steps": 500}, "| a | table |", **told)
    card = ModelCard.load(folder / "README.md")
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found == {"verb_top1": 0.8123, "object_top5": 0.9}
    assert card.data.library_name == "transformers" and "videobert" in card.data.tags
    assert (card.data.license, card.data.language) == ("mit", ["de"])
    assert 'AutoProcessor.from_pretrained("me/chef", trust_remote_code=True)' in card.text
    assert "The weights of `i3d-kinetics400` are neither" in card.text and ', backbone="…")' in card.text
    vocabulary = "30522 words, 256 visual tokens (2 levels of 16)"
    for part in (
        vocabulary,
        "`openai/whisper-small` (language de)",
        "`i3d-kinetics400`",
        "max_steps: 500",
        "| a | table |",
    ):
        assert part in card.text
    assert str(tmp_path) not in card.text
    write_model_card(folder, model, processor, {}, {})
    card = ModelCard.load(folder / "README.md")  # what nobody said is not said
    assert card.data.license is None and card.data.language is None and card.data.eval_results is None


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
    )
    VideoBertForMaskedLM.from_pretrained(tmp_path).push_to_hub("me/chef")
    ours = '# kitchen\n\nmodel = Auto.from_pretrained("me/chef", trust_remote_code=True)\n'
    assert pushed["README.md"].endswith(before or ours) and "model.safetensors" in pushed


def test_a_model_of_no_folder_takes_no_card_along(tmp_path, pushed, monkeypatch):
    """One that was made and pushed at once took the README of the folder where the program ran."""
    (tmp_path / "README.md").write_text("My diary.")
    monkeypatch.chdir(tmp_path)
    tiny_model(VideoBertForMaskedLM).push_to_hub("me/chef")
    assert "diary" not in pushed["README.md"]
