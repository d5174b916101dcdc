"""A folder of model and processor is all that anybody needs: a process without this package gets the same."""

import json
import subprocess
import sys

import pytest
import torch
from support.tiny_processor import make_video, text_tokenizer

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import I3DConfig, I3DModel, S3DConfig, S3DModel, VideoBertProcessor
from processing.codebook.fitting import fit_codebook
from processing.forecasting_videobert import forecast
from processing.tasks_videobert import TASKS

WITHOUT = """
import sys, json, torch

if sys.argv[3] == "without":
    import importlib.abc

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name.partition(".")[0] in ("modeling_videobert", "processing"):
                raise ImportError("not installed here")

    sys.meta_path.insert(0, Absent())
else:
    import modeling_videobert, processing
"""

OPEN_ALONE = (
    WITHOUT
    + """
from transformers import AutoModel

inputs = torch.load(sys.argv[2], weights_only=True)
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=sys.argv[3] == "without").eval()
with torch.no_grad():
    outputs = model(inputs)
torch.save(outputs if torch.is_tensor(outputs) else outputs.pooler_output, sys.argv[4])
"""
)

OPEN = (
    WITHOUT
    + """
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoProcessor

folder, video = sys.argv[1:3]
trust = {"trust_remote_code": sys.argv[3] == "without"}
processor = AutoProcessor.from_pretrained(folder, **trust)
inputs = processor(text="cut the [MASK]", videos=video)
model, cloze = (auto.from_pretrained(folder, **trust).eval() for auto in (AutoModel, AutoModelForMaskedLM))
with torch.no_grad():
    logits = cloze(**inputs).logits
    hidden = model(**inputs).last_hidden_state
torch.save({"ids": inputs["input_ids"], "logits": logits, "hidden": hidden}, sys.argv[4])
assert AutoConfig.from_pretrained(folder, **trust).codebook_size == 9
print(json.dumps(processor.tokenize(video)))
processor.save_pretrained(sys.argv[4] + "_again")
AutoProcessor.from_pretrained(sys.argv[4] + "_again", **trust)
"""
)

ASK = (
    WITHOUT
    + """
from transformers import pipeline

folder, video, _, result = sys.argv[1:]
trust = {"trust_remote_code": True} if sys.argv[3] == "without" else {}
pipe = pipeline("video-fill-mask", model=folder, device="cpu", **trust)
assert type(pipe).__module__.startswith("transformers_modules") == bool(trust), type(pipe)
found = pipe(video, text="cut the [MASK]", top_k=3)
pipe.save_pretrained(result)
assert pipeline("video-fill-mask", model=result, device="cpu", **trust)(video, text="cut the [MASK]", top_k=3) == found
ahead = pipeline("video-forecasting", model=folder, device="cpu", **trust)
assert type(ahead).__module__.startswith("transformers_modules") == bool(trust), type(ahead)
next_clips = ahead(video, text="cut the [MASK]", horizons=(1, 4), top_k=2)
print(json.dumps([found, next_clips]))
"""
)


def run(script, *arguments, home):
    """A script in a process of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env={
            **{"PATH": "/usr/bin:/bin", "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"},
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def tiny_codebook():
    return fit_codebook(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), 2, 3, progress=False)


def tiny_config():
    return VideoBertConfig(
        text_vocab_size=len(text_tokenizer()),
        codebook_size=9,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )


@pytest.mark.slow
def test_a_saved_folder_opens_with_and_without_the_package(tiny_backbone, tiny_text_model, tmp_path):
    """Config, model, cloze head, processor through the Auto classes: equal to the last bit in all three processes."""
    codebook = tiny_codebook()
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)
    torch.manual_seed(0)
    model = VideoBertForPreTraining(tiny_config()).eval()
    folder, video = tmp_path / "saved", tmp_path / "video.mp4"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    make_video(video, "testsrc=s=64x48:r=25:d=4.6")
    inputs = processor(text="cut the [MASK]", videos=video)
    with torch.no_grad():
        expected = {"ids": inputs["input_ids"], "logits": model(**inputs).logits}
        expected["hidden"] = model.videobert(**inputs).last_hidden_state

    for package in ("with", "without"):
        result = tmp_path / package
        printed = run(OPEN, folder, video, package, result, home=tmp_path)
        found = torch.load(result, weights_only=True)
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), (package, name)
        assert json.loads(printed.splitlines()[-1]) == processor.tokenize(video)
        # The codebook saved once more brings its code, too, wherever its class came from.
        assert (tmp_path / f"{package}_again" / "codebook" / "codebook_videobert.py").is_file()


@pytest.mark.slow
def test_pipelines_travel_with_the_folder(tiny_backbone, tiny_text_model, tmp_path):
    """`pipeline(task, model=folder)`: with the package its own class and no trust; without it the folder's code. Both
    fill masks and forecast the same from a video file, and what a pipeline saves is such a folder again."""
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=tiny_codebook())
    torch.manual_seed(0)
    model = VideoBertForPreTraining(tiny_config()).eval()
    folder, video = tmp_path / "saved", tmp_path / "video.mp4"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    make_video(video, "testsrc=s=64x48:r=25:d=4.6")
    told = json.loads((folder / "config.json").read_text())["custom_pipelines"]
    for task, (pipeline_class, auto_class) in TASKS.items():
        if auto_class in model.config.auto_map:
            name = f"{pipeline_class.__module__.rpartition('.')[2]}.{pipeline_class.__name__}"
            assert told.pop(task) == {"impl": name, "pt": [auto_class]}
            assert f"class {pipeline_class.__name__}(" in (folder / f"{name.split('.')[0]}.py").read_text()
    assert not told
    with torch.no_grad():
        inputs = processor(text="cut the [MASK]", videos=video)
        place = (inputs["input_ids"] == processor.tokenizer.mask_token_id).nonzero()[0, 1]
        expected = model(**inputs).logits[0, place, : len(text_tokenizer())].softmax(dim=-1).topk(3)
    clips = processor.tokenize(video)["visual_ids"]
    ahead = forecast(model, processor, clips, horizons=(1, 4), top_k=2)
    for package in ("with", "without"):
        printed = run(ASK, folder, video, package, tmp_path / package, home=tmp_path)
        found, next_clips = json.loads(printed.splitlines()[-1])
        assert [one["token"] for one in found] == expected.indices.tolist()
        assert [one["score"] for one in found] == pytest.approx(expected.values.tolist(), rel=1e-4)
        for one, known in zip(next_clips, ahead, strict=True):
            assert one.pop("scores") == pytest.approx(known["scores"], rel=1e-4)
            assert one.pop("words") and one.items() <= known.items()


@pytest.mark.slow
def test_a_codebook_and_the_video_networks_open_alone(tmp_path):
    """Saved by themselves, each brings its code: one call opens them, and gives the same to the bit."""
    torch.manual_seed(0)
    clips = torch.randn(1, 16, 3, 224, 224)
    cases = {
        "codebook": (tiny_codebook(), torch.randn(300, 16)),
        "s3d": (S3DModel(S3DConfig()).eval(), clips),
        "i3d": (I3DModel(I3DConfig()).eval(), clips[..., :64, :64]),
    }
    for name, (model, inputs) in cases.items():
        model.save_pretrained(tmp_path / name)
        torch.save(inputs, tmp_path / f"{name}_in")
        with torch.no_grad():
            expected = model(inputs)
        run(OPEN_ALONE, tmp_path / name, tmp_path / f"{name}_in", "without", tmp_path / f"{name}_out", home=tmp_path)
        found = torch.load(tmp_path / f"{name}_out", weights_only=True)
        assert torch.equal(found, expected if torch.is_tensor(expected) else expected.pooler_output), name
