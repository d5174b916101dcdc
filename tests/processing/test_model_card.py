"""Protects the model card: it tells what the model is made of, and its metadata is what the Hub can read."""

from types import SimpleNamespace

from huggingface_hub import ModelCard

from processing.model_card import write_model_card


def test_card_tells_parts_and_figures(tmp_path):
    model = SimpleNamespace(config=SimpleNamespace(num_hidden_layers=6, hidden_size=384, num_attention_heads=12))
    codebook = SimpleNamespace(summary=lambda: "256 visual tokens (2 levels of 16)")
    processor = SimpleNamespace(
        visual_token_offset=30522,
        codebook=codebook,
        asr_model=SimpleNamespace(model=SimpleNamespace(name_or_path="openai/whisper-small")),  # a ready pipeline
        backbone=str(tmp_path / "i3d-kinetics400"),
        video_processor=SimpleNamespace(clip_seconds=1.5, fps=20),
    )
    folder = tmp_path / "kitchen"
    folder.mkdir()
    (tmp_path / "i3d-kinetics400").mkdir()
    results = {"verb_top1": 0.81234, "object_top5": 0.9, "seconds": 600}
    write_model_card(folder, model, processor, results, {"max_steps": 500}, "| a | table |")
    card = ModelCard.load(folder / "README.md")
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found == {"verb_top1": 0.8123, "object_top5": 0.9}
    assert card.data.library_name == "transformers" and "videobert" in card.data.tags
    vocabulary = "30522 words, 256 visual tokens (2 levels of 16)"
    for part in (vocabulary, "`openai/whisper-small`", "`i3d-kinetics400`", "max_steps: 500", "| a | table |"):
        assert part in card.text
    assert str(tmp_path) not in card.text
