"""A saved folder is all that anybody needs: it opens without this package, with the same numbers to the last bit."""

import json
import subprocess
import sys

import pytest
import torch
from support.tiny_videobert import tiny_model
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForVideoClassification,
)

from modeling_videobert import (
    VideoBertConfig,
    VideoBertForMaskedLM,
    VideoBertForPreTraining,
    VideoBertForVideoClassification,
    VideoBertModel,
    configuration_videobert,
)

IDS = torch.tensor([[101, 110, 1, 130, 131, 102], [101, 111, 112, 113, 114, 102]])
ELSEWHERE = """
import importlib.abc, sys, torch, transformers

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "modeling_videobert":
            raise ImportError("not installed here")

sys.meta_path.insert(0, Absent())
folder, again = sys.argv[1:]
ids = torch.tensor({ids})
config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
assert config.vocab_size == 160 and config.join_token_id == 1, config
outputs = {{}}
for path in (folder, again):
    for name in ("AutoModel", "AutoModelForPreTraining", "AutoModelForMaskedLM", "AutoModelForVideoClassification"):
        model = getattr(transformers, name).from_pretrained(path, trust_remote_code=True).eval()
        output = model(input_ids=ids)
        first = output["last_hidden_state" if name == "AutoModel" else "logits"]
        assert name not in outputs or torch.equal(outputs[name], first) or "Video" in name
        outputs[name] = first.detach()
        if path == folder and name == "AutoModelForPreTraining":
            keep = model
    keep.save_pretrained(again)  # what was loaded from a folder makes a whole folder again
torch.save(outputs, again + "/outputs.pt")
"""


@pytest.mark.parametrize(
    "auto_class, model_class",
    [
        (AutoModel, VideoBertModel),
        (AutoModelForPreTraining, VideoBertForPreTraining),
        (AutoModelForMaskedLM, VideoBertForMaskedLM),
        (AutoModelForVideoClassification, VideoBertForVideoClassification),
    ],
)
def test_auto_classes_know_the_package(tmp_path, auto_class, model_class):
    """Importing the package registers everything: no trust is needed, and the local code wins."""
    tiny_model(model_class).save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is VideoBertConfig
    assert type(auto_class.from_pretrained(tmp_path)) is model_class


@pytest.mark.parametrize("model_class", [VideoBertModel, VideoBertForPreTraining, VideoBertForMaskedLM])
def test_auto_map_is_complete(tmp_path, model_class):
    """Saving one head must not hide the others: AutoModel of a saved head failed without the complete map."""
    tiny_model(model_class).save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map["AutoConfig"] == "configuration_videobert.VideoBertConfig"
    for name, reference in auto_map.items():
        module, class_name = reference.split(".")
        assert f"class {class_name}(" in (tmp_path / f"{module}.py").read_text(), name
    assert {"AutoModel", "AutoModelForMaskedLM", "AutoModelForPreTraining"} <= auto_map.keys()


def test_a_saved_configuration_tells_of_pipelines(tmp_path, monkeypatch):
    """A file names the pipelines that ask what is saved in it, for those who must trust its code. A configuration that
    is loaded names only those that this process does not know: `pipeline` would ask trust for its own."""
    known, classes = {"impl": "a.A", "pt": ["AutoModelForMaskedLM"]}, {"impl": "b.B", "pt": (AutoModelForMaskedLM,)}
    registered = {"known": known, "of other models": {"impl": "c.C", "pt": ["AutoModelForSeq2SeqLM"]}}
    monkeypatch.setattr(configuration_videobert, "CUSTOM_PIPELINES", registered)
    # As `pipeline` leaves it: with the class itself in the place of its name.
    saved = VideoBertConfig(custom_pipelines={"foreign": classes}, architectures=["VideoBertForMaskedLM"])
    saved.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]
    assert told == {"foreign": {"impl": "b.B", "pt": ["AutoModelForMaskedLM"]}, "known": known}
    loaded = VideoBertConfig.from_pretrained(tmp_path)
    assert set(loaded.custom_pipelines) == {"foreign"} and loaded.to_dict()["custom_pipelines"] == told
    monkeypatch.setattr(configuration_videobert, "CUSTOM_PIPELINES", {})
    assert set(VideoBertConfig.from_pretrained(tmp_path).custom_pipelines) == {"foreign", "known"}
    assert "custom_pipelines" not in VideoBertConfig().to_dict()


@pytest.mark.slow
def test_a_saved_folder_opens_without_the_package(tmp_path):
    """In a process that cannot import us: every Auto class, the same numbers, and saving again from there."""
    model = tiny_model(VideoBertForPreTraining)
    model.save_pretrained(tmp_path / "saved")
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE.format(ids=IDS.tolist()), tmp_path / "saved", tmp_path / "again"],
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outputs = torch.load(tmp_path / "again" / "outputs.pt", weights_only=True)
    ours = model(input_ids=IDS)
    assert torch.equal(outputs["AutoModelForPreTraining"], ours.logits)
    assert torch.equal(outputs["AutoModelForMaskedLM"], ours.logits)
    assert torch.equal(outputs["AutoModel"], model.videobert(IDS).last_hidden_state)


@pytest.mark.parametrize(
    ("model_class", "told"),
    [
        (VideoBertForPreTraining, True),
        (VideoBertForMaskedLM, True),
        (VideoBertForVideoClassification, False),
        (VideoBertModel, False),
    ],
)
def test_only_what_has_a_trained_cloze_head_names_pipelines_that_ask_it(tmp_path, monkeypatch, model_class, told):
    """A folder of an encoder or a classifier would answer out of a head that is new and knows nothing; also where it
    was made from a model that has one, here and in a process that knows the pipelines from its file only."""
    known = {"fill": {"impl": "a.A", "pt": ["AutoModelForMaskedLM"]}}
    monkeypatch.setattr(configuration_videobert, "CUSTOM_PIPELINES", known)
    tiny_model(VideoBertForPreTraining).save_pretrained(tmp_path / "whole")
    model_class.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "here")
    monkeypatch.setattr(configuration_videobert, "CUSTOM_PIPELINES", {})
    model_class.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "elsewhere")
    for folder in ("here", "elsewhere"):
        saved = json.loads((tmp_path / folder / "config.json").read_text())
        assert ("custom_pipelines" in saved) is told and saved["architectures"] == [model_class.__name__]
