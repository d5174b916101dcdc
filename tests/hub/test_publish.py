"""Protects `publish.py`: all of a model or a corpus in one commit, with a card whose code runs as it is written in a
process that has nothing of ours."""

import ast
import json
import re

import pytest
import torch
from datasets import Dataset
from huggingface_hub import DatasetCard, HfApi, ModelCard
from publish import main
from support.hub_scripts import WITHOUT, run_script
from support.tiny_processor import make_video, text_tokenizer
from support.tiny_rows import cooking_rows, row, tiny_processor

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook.fitting import fit_codebook
from processing.codebook.saving import save_codebook
from processing.corpus import held_out_ids
from processing.corpus.rows import ROW_FEATURES
from processing.evaluation.actions import CONDITIONS

PUSH_ROWS = """
import sys
from datasets import load_from_disk

load_from_disk(sys.argv[1]).push_to_hub(sys.argv[2])
"""
PULL_ROWS = """
from datasets import load_dataset

found = {}
for repo in sys.argv[1:]:
    found[repo] = {
        way: {split: [*rows] for split, rows in load_dataset(repo, streaming=way == "stream").items()}
        for way in ("whole", "stream")
    }
print(json.dumps(found))
"""
RUN_CODE = WITHOUT + "exec(open(sys.argv[1]).read())"


def figures():
    """What `all_results.json` holds of a run with and without alignment."""
    found = {"num_segments": 40, "seconds": 3.5, "alignment_auc_other_video": 0.75, "alignment_pairs_other_video": 9}
    for name in ("verb_top1", "verb_top5", "object_top1", "object_top5", "action_top1"):
        for place, condition in enumerate(CONDITIONS):
            found |= {name + condition: 0.9 - place / 10, f"{name}{condition}_se": 0.01}
    return found


@pytest.fixture
def run_folder(tmp_path, tiny_text_model, tiny_backbone):
    """A run's folder: model, processor whose video network is on the Hub, codebook with a frame, figures."""
    codebook = fit_codebook(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), 2, 3, progress=False)
    codebook.set_frames({3: torch.full((3, 16, 16), 80, dtype=torch.uint8)})
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)
    processor.backbone = "me/eyes"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    model = VideoBertForPreTraining(
        VideoBertConfig(text_vocab_size=len(text_tokenizer()), codebook_size=9, max_position_embeddings=64, **sizes)
    )
    folder = tmp_path / "run"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "all_results.json").write_text(json.dumps(figures()))
    counts = {"videos": 10, "hours": 1.5, "clips": 3600, "sentences": 700, "words": 5000}
    training = {"options": {"max_steps": 40}, "train": counts, "held_out": counts, "split": "by their names"}
    (folder / "training.json").write_text(json.dumps(training | {"weights": model.weights_fingerprint()}))
    return folder


def code_of(card, path):
    """The Python of a card, in a file."""
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    path.write_text("\n".join(blocks))
    assert blocks and all(len(block.splitlines()) <= 10 for block in blocks)
    return path


def test_a_model_goes_in_one_commit(hub, run_folder):
    """Model, processor, tokenizer, codebook with its frames, code and card; the card tells the figures beside what
    they must be compared with. The same again is no commit; what is gone is deleted in the commit that replaces it."""
    told = ["--license=apache-2.0", "--language", "en", "de", "--datasets", "me/rows", "--base_models", "google/bert"]
    main([f"--model={run_folder}", "--repo_id=me/kitchen", "--private", *told])
    kitchen = hub.repository("me/kitchen")
    assert len(kitchen.commits) == 2 and kitchen.private
    files = set(kitchen.find("main").files)
    assert {"config.json", "model.safetensors", "tokenizer.json", "processor_config.json", "README.md"} <= files
    assert {"codebook/model.safetensors", "codebook/frames.safetensors", "modeling_videobert.py"} <= files
    assert not {"all_results.json", "training.json"} & files
    card = ModelCard(hub.read("me/kitchen", "README.md").decode())
    assert (card.data.license, card.data.language) == ("apache-2.0", ["en", "de"])
    assert {one.metric_name: one.metric_value for one in card.data.eval_results}["verb_top1"] == 0.9
    assert "| another video (shuffled) | 80.0 ± 1.0 |" in card.text and "| `[CLS]`, AUC | 0.750 |" in card.text
    assert "| max_steps | 40 |" in card.text and "Trained on 10 videos" in card.text

    main([f"--model={run_folder}", "--repo_id=me/kitchen", *told])
    assert len(kitchen.commits) == 2
    (run_folder / "codebook" / "frames.safetensors").unlink()
    main([f"--model={run_folder}", "--repo_id=me/kitchen", *told])
    assert len(kitchen.commits) == 3 and set(kitchen.find("main").files) == files - {"codebook/frames.safetensors"}


def test_figures_of_other_weights_are_not_published(hub, run_folder, capsys):
    """A run that was stopped between saving and measuring leaves the figures of the one before."""
    model = VideoBertForPreTraining.from_pretrained(run_folder)
    with torch.no_grad():
        model.videobert.encoder.layer[0].attention.self.query.bias[0] += 1e-3
    model.save_pretrained(run_folder)
    main([f"--model={run_folder}", "--repo_id=me/kitchen"])
    card = ModelCard(hub.read("me/kitchen", "README.md").decode())
    assert card.data.eval_results is None and "Nothing was measured." in card.text and card.data.license is None
    assert "of other weights" in capsys.readouterr().err


def test_what_the_hub_refuses_is_a_sentence_and_leaves_nothing(hub, run_folder, monkeypatch):
    """No token, a wrong one, one without the right to write, and a folder that holds none, or
    something else."""
    for token, told in {
        "hf_nobody": "does not know the token",
        "hf_reader": "may not write to me/kitchen",
        "": "does not know the token",
    }.items():
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ValueError, match=told):
            main([f"--model={run_folder}", "--repo_id=me/kitchen"])
    assert not hub.store.repositories
    for thing, folder, told in (
        ("model", run_folder / "codebook" / "nothing", "holds no config.json"),
        ("model", run_folder / "codebook", "holds a VisualCodebook; allowed is the folder of a trained model"),
        ("codebook", run_folder, r"holds a VideoBertFor\w+; allowed is the folder of a codebook"),
    ):
        with pytest.raises(ValueError, match=told):
            main([f"--{thing}={folder}", "--repo_id=me/kitchen"])


@pytest.mark.slow
def test_the_code_of_a_model_card_runs_as_it_is_written(hub, run_folder, tiny_backbone, tmp_path):
    """In a process without the package, with a video beside it: five words for each gap, and the pipeline's answer."""
    HfApi().create_repo("me/eyes")
    HfApi().upload_folder(repo_id="me/eyes", folder_path=tiny_backbone)
    main([f"--model={run_folder}", "--repo_id=me/kitchen"])
    make_video(tmp_path / "video.mp4", "testsrc=s=64x48:r=25:d=4.6")
    code = code_of(hub.read("me/kitchen", "README.md").decode(), tmp_path / "card.py")
    printed, _ = run_script(RUN_CODE, code, env=hub.environment(tmp_path), folder=tmp_path)
    verbs, things, filled = map(ast.literal_eval, printed.splitlines()[-3:])
    assert len(verbs) == len(things) == 5 and filled


@pytest.fixture
def corpus_folder(tmp_path):
    """As `build_corpus` leaves it, a damaged video included."""
    folder, codebook = tmp_path / "corpus", tiny_processor().codebook
    rows = [*cooking_rows(12), row("broken", [], 0, error="/home/some one/broken.mp4: the file is empty")]
    rows = [one | {"codebook": codebook.fingerprint} for one in rows]
    Dataset.from_list(rows, features=ROW_FEATURES).save_to_disk(folder / "rows")
    save_codebook(codebook, folder / "codebook", {"held_out_share": 0.2})
    (folder / "features").mkdir()
    settings = {
        "asr_model": "openai/whisper-small",
        "language": "german",
        "task": "translate",
        "contents": {"asr_model": None},
    }
    (folder / "features" / "settings.json").write_text(
        json.dumps(settings | {"backbone": "torchvision/s3d", "fps": 20})
    )
    return folder, rows


def test_a_corpus_goes_in_one_commit(hub, corpus_folder):
    """Rows in the splits that the codebook's fit made, the codebook, and a card that says how they were made,
    and in which language the sentences are."""
    folder, rows = corpus_folder
    main([f"--corpus={folder}", "--repo_id=me/rows", "--license=cc-by-4.0"])
    published = hub.repository("me/rows", "dataset")
    assert len(published.commits) == 2
    assert {"data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "README.md"} <= set(
        published.find("main").files
    )
    assert "codebook/model.safetensors" in published.find("main").files
    card = DatasetCard(hub.read("me/rows", "README.md", "dataset").decode())
    assert (card.data.license, card.data.language) == ("cc-by-4.0", "en")
    for part in ("- asr_model: openai/whisper-small", "- codebook: 2 levels of 8", "| the file is empty | 1 |"):
        assert part in card.text
    assert "contents" not in card.text


@pytest.mark.slow
def test_a_corpus_comes_back_whole_and_in_a_stream(hub, corpus_folder, tmp_path):
    """By `load_dataset` in a process without the package: the same rows; the code of its card runs as it is written.
    So do rows that `Dataset.push_to_hub` pushed by itself."""
    folder, rows = corpus_folder
    main([f"--corpus={folder}", "--repo_id=me/rows"])
    env = hub.environment(tmp_path, "hf_writer")
    run_script(PUSH_ROWS, folder / "rows", "me/plain", env=env)
    pulled, _ = run_script(WITHOUT + PULL_ROWS, "me/rows", "me/plain", env=env)
    found = json.loads(pulled.splitlines()[-1])
    good = [one["video_id"] for one in rows if not one["error"]]
    held_out = held_out_ids(good, 0.2)
    ours = {"train": [one for one in rows if one["video_id"] not in held_out]}
    ours["train"][-1] = ours["train"][-1] | {"error": "broken.mp4: the file is empty"}
    ours["test"] = [one for one in rows if one["video_id"] in held_out]
    for way in ("whole", "stream"):
        assert found["me/rows"][way] == ours
        assert "some one" not in json.dumps(found["me/rows"][way])
        assert found["me/plain"][way] == {"train": rows}
    code = code_of(hub.read("me/rows", "README.md", "dataset").decode(), tmp_path / "card.py")
    printed, _ = run_script(RUN_CODE, code, env=env)
    assert printed.splitlines()[-1] == f"torch.Size([{len(rows[0]['visual_ids'])}, 24])"
