"""Protects `--push_to_hub`: a run that may not write finds out before it works, and ends in one commit whose card says
what was made and how it is used."""

import importlib
import json
import re
import shutil
import sys

import pytest
from huggingface_hub import DatasetCard, HfApi, ModelCard, constants
from publishing.hub import claim_repository, publish, publish_what_was_made
from support.hub_scripts import WITHOUT, run_script
from support.made_features import made_features, write_shards
from support.tiny_rows import cooking_rows, cooking_truth, save_rows, save_truth, tiny_processor, tiny_reader
from training.options import HubOptions

from modeling_videobert import VideoBertForPreTraining
from processing.codebook.saving import save_codebook
from processing.evaluation.tables import classes_table

RUN_CODE = WITHOUT + "exec(open(sys.argv[1]).read())"


def call(monkeypatch, script, *words):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, words)])
    importlib.import_module(script).main()


def push(name):
    return HubOptions(push_to_hub=True, hub_model_id=name)


def test_a_right_that_is_missing_is_found_first(hub, tmp_path, monkeypatch):
    """No token, one nobody knows, one that may only read, a new place or one that is there, another's place, a name
    that cannot be, no network: a sentence each, and nothing is made."""
    HfApi().create_repo("me/old", private=True)
    for token, name, told in (
        ("", "me/new", "does not know the token"),
        ("hf_nobody", "me/new", "does not know the token"),
        ("hf_reader", "me/new", "may not write to me/new"),
        ("hf_reader", "me/old", "may not write to me/old"),
        ("hf_writer", "you/new", "may not write to you/new"),
        ("hf_writer", "me/new models", "'me/new models' cannot be a repository's name"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ValueError, match=told):
            claim_repository(push(name), tmp_path, "model")
    with pytest.raises(ValueError, match="--hub_model_id me/new says where --push_to_hub goes, which is missing"):
        claim_repository(HubOptions(hub_model_id="me/new"), tmp_path, "model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        claim_repository(push("me/new"), tmp_path, "model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert [*hub.store.repositories] == [("model", "me/old")]


def test_a_hub_that_is_not_there_is_a_sentence(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="The Hub cannot be reached for me/new: "):
        claim_repository(push("me/new"), tmp_path, "model")


def test_what_was_claimed_is_empty_and_named_in_full(hub, tmp_path):
    """After the folder where no name is given; claimed again, say by the same command after a kill, it is the same."""
    assert claim_repository(HubOptions(), tmp_path, "model") is None
    for _ in range(2):
        assert claim_repository(HubOptions(push_to_hub=True), tmp_path / "chef", "corpus") == "me/chef"
    assert len(hub.repository("me/chef", "dataset").commits) == 1
    assert not hub.repository("me/chef", "dataset").find("main").files.keys() - {".gitattributes"}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("pretrain", ["--corpus=nowhere", "--processor=nowhere", "--output_dir=out", "--report_to=none"]),
        ("finetune_actions", ["--model=nowhere", "--corpus=nowhere", "--truth=nowhere", "--output_dir=out"]),
        ("caption", ["--model=nowhere", "--corpus=nowhere", "--output=out"]),
        ("fit_codebook", ["--features=nowhere", "--output=out"]),
        ("build_corpus", ["--videos=nowhere", "--output=out"]),
    ],
)
def test_scripts_ask_before_they_work(hub, tmp_path, monkeypatch, fresh_accelerator, script, words):
    """Before anything is opened: that the inputs are not there is not even seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="The token may not write to me/chef"):
        call(monkeypatch, script, *words, "--push_to_hub", "--hub_model_id=me/chef")
    assert not hub.store.repositories


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        ("caption", ["--model=m", "--video=v", "--output=o"], "publishes a captioner, which --corpus teaches"),
        ("build_corpus", ["--output=o", "--stage=codebook"], "rows, which --stage codebook does not make"),
    ],
)
def test_where_there_is_nothing_to_publish(monkeypatch, capsys, script, words, told):
    with pytest.raises(SystemExit):
        call(monkeypatch, script, *words, "--push_to_hub")
    assert told in capsys.readouterr().err


def test_what_the_hub_does_not_take_at_the_end_is_not_lost(hub, tmp_path, monkeypatch):
    """The sentence says where it is and how it is published later, by a command that does so."""
    save_codebook(tiny_processor().codebook, tmp_path / "codes", {})
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="may not write to me/codes; .* What was made is in ") as error:
        publish_what_was_made("codebook", tmp_path / "codes", "me/codes")
    later = re.search(r"python examples/publish.py (.*)", str(error.value))[1]
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    importlib.import_module("publish").main(later.split())
    assert len(hub.repository("me/codes").commits) == 2
    card = ModelCard(hub.read("me/codes", "README.md").decode())
    assert 'AutoModel.from_pretrained("me/codes", trust_remote_code=True)' in card.text
    assert "codebook_videobert.py" in hub.repository("me/codes").find("main").files
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    save_rows(cooking_rows(), tmp_path)
    with pytest.raises(ValueError, match="--repo_id me/rows --license mit$"):  # what its card says goes with it
        publish_what_was_made("corpus", tmp_path, "me/rows", license="mit", language=None)


def test_a_codebook_beside_rows_of_another_stays_at_home(hub, tmp_path):
    """As after `build_corpus.py --codebook`: readers would take its centroids for those of the rows."""
    save_codebook(tiny_processor().codebook, tmp_path / "codebook", {"held_out_share": 0.2})
    save_rows([one | {"codebook": "0" * 64} for one in cooking_rows()], tmp_path)
    publish("corpus", tmp_path, "me/rows")
    files = hub.repository("me/rows", "dataset").find("main").files
    assert "data/train-00000-of-00001.parquet" in files and not any("codebook" in name for name in files)
    assert "The codebook is not here" in hub.read("me/rows", "README.md", "dataset").decode()


def test_a_codebook_that_was_fitted(hub, tmp_path, monkeypatch):
    words = ["--features", write_shards(made_features(300), tmp_path / "features"), "--output", tmp_path / "codes"]
    call(monkeypatch, "fit_codebook", *words, "--levels", 1, "--branches", 3, "--push_to_hub")
    assert len(hub.repository("me/codes").commits) == 2
    assert "3 visual tokens" in hub.read("me/codes", "README.md").decode()


@pytest.mark.slow
def test_a_corpus_that_was_built(hub, silent_video, tiny_text_model, tiny_backbone, tmp_path, monkeypatch):
    """Of whole stages, or of the last one alone with what was there before."""
    (tmp_path / "videos").mkdir()
    shutil.copy(silent_video, tmp_path / "videos" / "a.mp4")
    models = ["--text_model", tiny_text_model, "--backbone", tiny_backbone, "--levels", "1", "--branches", "2"]
    words = ["--videos", tmp_path / "videos", "--num_workers", 0, "--test_share", 0, "--license", "mit", *models]
    words += ["--output", tmp_path / "rows", "--push_to_hub", "--hub_model_id"]
    call(monkeypatch, "build_corpus", *words, "me/rows")
    published = hub.repository("me/rows", "dataset")
    files = set(published.find("main").files)
    assert {"data/train-00000-of-00001.parquet", "codebook/model.safetensors", "README.md"} <= files
    card = DatasetCard(hub.read("me/rows", "README.md", "dataset").decode())
    assert card.data.license == "mit" and "- codebook: 1 levels of 2" in card.text
    assert len(published.commits) == 2
    call(monkeypatch, "build_corpus", *words, "me/again", "--stage", "rows")
    assert set(hub.repository("me/again", "dataset").find("main").files) == files


@pytest.mark.slow
def test_a_model_that_was_pretrained(hub, source, tmp_path):
    """Nothing of the run but the model goes there, and the card tells its figures."""
    words = [f"--output_dir={tmp_path / 'run'}", "--max_steps=2", "--license=mit"]
    importlib.import_module("pretrain").main([*source, *words, "--push_to_hub", "--hub_model_id=me/chef"])
    chef = hub.repository("me/chef")
    files = set(chef.find("main").files)
    assert {"config.json", "model.safetensors", "tokenizer.json", "codebook/model.safetensors"} <= files
    assert (
        not [name for name in files if name.startswith(("checkpoints", "rows", "corpus"))] and len(chef.commits) == 2
    )
    card = ModelCard(hub.read("me/chef", "README.md").decode())
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "fill-mask")
    assert 'AutoProcessor.from_pretrained("me/chef"' in card.text and "| max_steps | 2 |" in card.text
    assert "verb_top1" in {one.metric_name for one in card.data.eval_results}


@pytest.fixture
def lesson(tmp_path):
    """Options of a trained VideoBERT, and of rows with their truth."""
    processor = tiny_processor()
    rows = [one | {"codebook": processor.codebook.fingerprint} for one in cooking_rows(6)]
    tiny_reader(VideoBertForPreTraining).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    corpus, truth = save_rows(rows, tmp_path), save_truth(cooking_truth(rows), tmp_path)
    return ["--model", tmp_path / "model", "--corpus", corpus, "--test_corpus", corpus, "--truth", truth]


@pytest.mark.slow
def test_models_that_were_taught(hub, lesson, tmp_path, monkeypatch, fresh_accelerator):
    """One to name actions, one to write captions. Their cards are not that of the model that they came from: they say
    what the models do and how well, and their code runs as it is written where there is nothing of ours."""
    words = ["--output_dir", tmp_path / "verbs", "--epochs", 1, "--push_to_hub", "--hub_model_id", "me/verbs"]
    call(monkeypatch, "finetune_actions", *lesson, *words)
    card = verbs = ModelCard(hub.read("me/verbs", "README.md").decode())
    assert card.data.pipeline_tag == "video-classification" and "one of 4 classes" in card.text
    figures = json.loads((tmp_path / "verbs" / "actions.json").read_text())
    assert classes_table(figures) in card.text and "The verb of 24 steps of other videos, per cent:" in card.text
    assert {one.metric_name: one.metric_value for one in card.data.eval_results}["top1"] == round(figures["top1"], 4)
    assert "| label | verb |" in card.text and "Trained on 6 videos" in card.text and "fingerprint `" in card.text

    monkeypatch.setattr(importlib.import_module("caption"), "load_metrics", lambda: [Exact()])
    words = ["--output", tmp_path / "captioner", "--max_steps", 1, "--decoder_layers", 1]
    call(monkeypatch, "caption", *lesson, *words, "--push_to_hub", "--hub_model_id", "me/captioner")
    card = ModelCard(hub.read("me/captioner", "README.md").decode())
    assert card.data.pipeline_tag == "video-text-to-text" and "says in words what a video shows" in card.text
    assert "Captions of 24 steps of other videos:" in card.text and "| micro | cider d |" in card.text
    assert "| max_steps | 1 |" in card.text

    code = [block for text in (verbs.text, card.text) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    (tmp_path / "cards.py").write_text("\n".join(code))
    printed, _ = run_script(RUN_CODE, tmp_path / "cards.py", env=hub.environment(tmp_path), folder=tmp_path)
    *named, captions = printed.splitlines()[-3:]
    assert {line.split()[0] for line in named} < {"cut", "peel", "stir", "wash"} and captions.startswith("[[")


class Exact:
    """In the place of a metric: how many captions are a reference."""

    def compute(self, predictions, references):
        return {"cider_d": sum(one in told for one, told in zip(predictions, references, strict=True))}
