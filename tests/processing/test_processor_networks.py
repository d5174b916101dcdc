"""Protects what a processor is made of: networks by name or ready-made, how they run, any codebook; and what is
written of them when it is saved."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import transformers
from packaging import version
from safetensors.torch import load_file, save_file
from support.tiny_processor import WORDS
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from modeling_videobert import VideoBertForMaskedLM
from processing import Backbone, VideoBertProcessor
from processing.codebook.fitting import fit_codebook
from processing.model_card import write_model_card


@pytest.fixture
def processor(tiny_backbone, tiny_text_model):
    codebook = fit_codebook(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), 2, 3, progress=False)
    return VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)


def test_how_speech_is_heard_is_saved(tiny_text_model, tiny_backbone, tmp_path):
    """Language and task travel with the processor; a ready-made pipeline is saved by the name of its model."""
    ready = SimpleNamespace(model=SimpleNamespace(name_or_path="openai/whisper-small"), type="seq2seq_whisper")
    options = {"language": "de", "task": "translate"}
    processor = VideoBertProcessor.from_models(tiny_text_model, ready, tiny_backbone, asr_options=options)
    assert processor._speech().asr_model is ready
    processor.save_pretrained(tmp_path)
    again = VideoBertProcessor.from_pretrained(tmp_path)
    assert (again.asr_model, again.asr_options) == ("openai/whisper-small", options)
    again.asr_model = ready
    recognizer = again._speech()
    assert (recognizer.language, recognizer.task) == ("de", "translate")


def test_what_belongs_to_the_machine_is_not_saved(tiny_text_model, tmp_path, caplog, monkeypatch):
    """A ready recogniser without a name is left out with a warning (faster_whisper's holds one of CTranslate2), and so
    are device and precision, which may be no JSON at all."""
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    nameless = SimpleNamespace(model=SimpleNamespace(is_multilingual=True))
    options = {"language": "de", "device": torch.device("cpu"), "dtype": torch.float16, "batch_size": 4}
    processor = VideoBertProcessor.from_models(
        tiny_text_model, nameless, asr_options=options, backbone_options={"dtype": torch.float16}
    )
    processor.save_pretrained(tmp_path)
    assert "The asr_model is ready-made and has no name" in caplog.text
    again = VideoBertProcessor.from_pretrained(tmp_path)
    assert again.asr_model is None and again.asr_options == {"language": "de"}
    assert again.backbone_options is None and "float16" not in (tmp_path / "processor_config.json").read_text()
    assert processor.asr_options == options


def test_a_ready_made_recogniser_is_given_again_on_loading(tiny_text_model, tmp_path):
    """As it is: the library's copy of what it is given would fail for what is no Python, such as CTranslate2's."""

    class Whole(SimpleNamespace):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle")

    VideoBertProcessor.from_models(tiny_text_model, "a/recogniser", asr_options={"task": "translate"}).save_pretrained(
        tmp_path
    )
    ready = Whole()
    # Before transformers 5.21 AutoProcessor copies what it is given before it asks our class.
    copies = version.parse(transformers.__version__) < version.parse("5.21")
    for loader in (VideoBertProcessor,) if copies else (VideoBertProcessor, AutoProcessor):
        again = loader.from_pretrained(tmp_path, asr_model=ready)
        assert again.asr_model is ready and again.asr_options == {"task": "translate"}
        changed = loader.from_pretrained(tmp_path, asr_options={"language": "de"})
        assert changed.asr_model == "a/recogniser" and changed.asr_options == {"language": "de"}


def test_how_networks_run_takes_effect_whenever_it_is_set(tiny_text_model, tiny_backbone, saved, silent_video):
    """Set after the first use, in place or anew, as much as before it: an option without effect would go unnoticed."""
    processor = VideoBertProcessor.from_models(
        tiny_text_model, "some/whisper", tiny_backbone, backbone_options={"batch_size": 2}
    )
    first = processor._network()
    assert first.batch_size == 2 and processor._network() is first
    processor.backbone_options["dtype"] = "bfloat16"
    assert processor._network().networks[0].model.dtype == torch.bfloat16
    processor.backbone_options = {"batch_size": 3}
    assert processor._network().batch_size == 3
    processor.backbone = saved("vit")
    assert processor.features(silent_video).shape == (3, 24)
    processor.backbone = "no/such"
    for _ in range(2):  # the network from before is not taken for it
        with pytest.raises(ValueError, match="no/such is no model"):
            processor._network()

    processor.asr_model = SimpleNamespace(type="seq2seq_whisper")
    assert processor._speech().language is None and processor._speech() is processor._speech()
    processor.asr_options = {"language": "de", "batch_size": 2}
    assert (processor._speech().language, processor._speech().batch_size) == ("de", 2)


def test_options_without_effect_are_refused(tiny_text_model, tiny_backbone):
    """What is ready-made runs as it was made; unknown options are named."""
    processor = VideoBertProcessor.from_models(
        tiny_text_model, SimpleNamespace(), Backbone(tiny_backbone, "cpu"), asr_options={"device": "cpu"}
    )
    assert processor._network() is processor.backbone
    processor.backbone_options = {"dtype": "bfloat16"}
    with pytest.raises(ValueError, match="The backbone is ready-made; dtype must be chosen where it is made"):
        processor._network()
    with pytest.raises(ValueError, match="The asr_model is ready-made; device must be chosen"):
        processor._speech()
    processor.backbone_options = {"precision": "bfloat16"}
    with pytest.raises(ValueError, match="backbone_options hold precision; allowed are device, dtype, batch_size"):
        processor._network()
    processor.asr_model, processor.asr_options = SimpleNamespace(), {"batch_size": 0}
    with pytest.raises(ValueError, match="batch_size of speech is 0; it must be at least 1"):
        processor._speech()
    processor.asr_options = {"langage": "de"}
    with pytest.raises(ValueError, match="asr_options hold langage; allowed are language, task, engine, device"):
        processor._speech()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float99"}, "backbone's dtype is float99; allowed are float32, bfloat16, float16"),
        ({"dtype": "int8"}, "backbone's dtype is int8; allowed are"),
        ({"batch_size": 0}, "backbone's batch_size is 0; it must be at least 1"),
    ],
)
def test_how_a_network_cannot_run_is_said(processor, options, message):
    """It was an AttributeError of torch, or an IndexError out of an empty queue."""
    processor.backbone_options = options
    with pytest.raises(ValueError, match=message):
        processor._network()


@pytest.mark.parametrize("name", ["asr_model", "backbone"])
def test_a_network_that_is_gone_is_asked_for_by_its_argument(processor, tmp_path, name):
    """A folder of another machine, or no longer there: not the library's "Repo id must be in the form …"."""
    setattr(processor, name, str(tmp_path / "gone" / "away"))
    processor.save_pretrained(tmp_path / "saved")
    again = VideoBertProcessor.from_pretrained(tmp_path / "saved")
    assert again(text="cut")["input_ids"].shape == (1, 3)
    use = again._speech if name == "asr_model" else again._network
    with pytest.raises(ValueError, match=rf"there is no such folder\); pass .* to from_pretrained, as {name}=…"):
        use()


def test_no_home_is_published_and_folders_are_found_again(processor, tiny_backbone, tmp_path, monkeypatch, caplog):
    """Folders below the home, and those of the cache of weights, which are known by their name on any machine."""
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    homes = [tmp_path / "jane", tmp_path / "joe"]
    for home in homes:
        for folder in ("eyes", ".cache/videobert/weights/i3d"):
            shutil.copytree(tiny_backbone, home / folder)
    monkeypatch.delenv("VIDEOBERT_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(homes[0]))
    for folder, written in (("eyes", "~/eyes"), (".cache/videobert/weights/i3d", "i3d")):
        processor.backbone = str(homes[0] / folder)
        processor.save_pretrained(tmp_path / written)
        told = (tmp_path / written / "processor_config.json").read_text()
        assert str(homes[0]) not in told and json.loads(told)["backbone"] == written
        assert f"on this machine only (backbone '{written}'); others must pass backbone=… to" in caplog.text
    monkeypatch.setenv("HOME", str(homes[1]))
    for folder, written in (("eyes", "~/eyes"), (".cache/videobert/weights/i3d", "i3d")):
        again = AutoProcessor.from_pretrained(tmp_path / written)
        assert again.backbone == str(homes[1] / folder) and again._network().feature_size == 16


class FlatCodebook:
    """Nearest of a few centroids: no tree, no configuration, nothing but what a codebook is used for."""

    def __init__(self, leaves):
        self.leaves, self.codebook_size, self.fingerprint = leaves, len(leaves), "f1a7"

    def encode(self, features):
        return torch.cdist(torch.as_tensor(features), self.leaves).argmin(1)

    def centroids(self, visual_ids=None):
        return self.leaves if visual_ids is None else self.leaves[visual_ids]

    def summary(self):
        return f"{self.codebook_size} visual tokens (flat)"

    def save_pretrained(self, folder):
        save_file({"leaves": self.leaves}, folder.parent / "leaves.safetensors")

    @classmethod
    def from_pretrained(cls, folder):
        return cls(load_file(folder / "leaves.safetensors")["leaves"])


def test_any_codebook_will_do(tiny_backbone, tiny_text_model, silent_video, tmp_path):
    """Processor, row, model and card use no more of a codebook than its contract."""
    leaves = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=FlatCodebook(leaves))
    row = processor.tokenize(silent_video)
    assert len(row["visual_ids"]) == 3 and row["codebook"] == "f1a7"
    inputs = processor(text="cut", videos=row["visual_ids"])
    text = BertConfig(vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    BertModel(text).save_pretrained(tmp_path / "bert")
    model = VideoBertForMaskedLM.from_text_checkpoint(str(tmp_path / "bert"), centroids=processor.codebook.centroids())
    assert model(**inputs).logits.shape[-1] == len(WORDS) + 5
    processor.save_pretrained(tmp_path)
    again = VideoBertProcessor.from_pretrained(tmp_path, codebook=FlatCodebook.from_pretrained(tmp_path))
    assert again.tokenize(silent_video) == row
    write_model_card(tmp_path, model, processor, {}, {})
    assert "5 visual tokens (flat)" in (tmp_path / "README.md").read_text()


class LineCodebookConfig(PreTrainedConfig):
    model_type = "line_codebook"
    codebook_size: int = 4


class LineCodebook(PreTrainedModel):
    """Another codebook that is saved as models are."""

    config_class, fingerprint = LineCodebookConfig, "11ne"

    def __init__(self, config):
        super().__init__(config)
        self.codebook_size = config.codebook_size
        self.line = torch.nn.Parameter(torch.ones(16), requires_grad=False)
        self.post_init()

    def encode(self, features):
        return (features @ self.line).argsort() % self.codebook_size


def test_a_codebook_that_the_auto_classes_know_comes_back(tiny_backbone, tiny_text_model, silent_video, tmp_path):
    """It was loaded as a tree of random weights."""
    AutoConfig.register("line_codebook", LineCodebookConfig, exist_ok=True)
    AutoModel.register(LineCodebookConfig, LineCodebook, exist_ok=True)
    processor = VideoBertProcessor.from_models(
        tiny_text_model, backbone=tiny_backbone, codebook=LineCodebook(LineCodebookConfig())
    )
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again.codebook) is LineCodebook
    assert again.tokenize(silent_video) == processor.tokenize(silent_video)
