"""Protects what publishing is for: a process that has nothing of ours pulls a model, a processor and a codebook from a
Hub and gets the same to the last bit; from a revision, from the cache, over a bad line, and after it was pushed on."""

import hashlib
from pathlib import Path

import pytest
import torch
from support.hub_scripts import PULL, PULL_AND_PUSH, WITHOUT, run_script
from support.hub_server import HubServer
from support.tiny_processor import make_video, text_tokenizer

from modeling_videobert import VideoBertConfig, VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook.fitting import fit_codebook

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).resolve().parents[2])

PUSH = """
import sys
from huggingface_hub import HfApi
from transformers import AutoImageProcessor, AutoModel, AutoModelForPreTraining, AutoProcessor
import modeling_videobert, processing

folder, eyes, repo, tag = sys.argv[1:]
if eyes != "-":
    AutoModel.from_pretrained(eyes).push_to_hub("me/eyes")
    AutoImageProcessor.from_pretrained(eyes).push_to_hub("me/eyes")
model, processor = AutoModelForPreTraining.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
model.push_to_hub(repo)
processor.push_to_hub(repo)
processor.codebook.push_to_hub("me/codebook")
if tag != "-":
    HfApi().create_tag(repo, tag=tag)
"""
PUSH_IN_VAIN = """
import sys
from processing import VideoBertProcessor

codebook = VideoBertProcessor.from_pretrained(sys.argv[1]).codebook
for token in sys.argv[2:]:
    try:
        codebook.push_to_hub("me/chef", token=token)
    except Exception as error:
        print(" ".join(str(error).split()))
"""
PULL_CODEBOOK = """
from transformers import AutoModel
codebook = AutoModel.from_pretrained("me/codebook", trust_remote_code=True)
torch.save({"ids": codebook(torch.load(sys.argv[1])), "frame": codebook.frame(3)}, sys.argv[2])
"""


def make_model(seed):
    """12 MB, so that a download takes more than one block of the client's."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    return VideoBertForPreTraining(VideoBertConfig(text_vocab_size=len(text_tokenizer()), codebook_size=9, **sizes))


def save_all(folder, text_model, eyes, seed):
    """Model and processor in a folder; what they say of a video; the video network is to be found on the Hub."""
    features = torch.randn(60, 16, generator=torch.Generator().manual_seed(seed))
    codebook = fit_codebook(features, 2, 3, progress=False)
    codebook.set_frames({3: torch.full((3, 16, 16), 40 * seed, dtype=torch.uint8)})
    processor = VideoBertProcessor.from_models(text_model, backbone=eyes, codebook=codebook)
    model, video = make_model(seed).eval(), folder.parent / "video.mp4"
    if not video.exists():
        make_video(video, "testsrc=s=64x48:r=25:d=4.6")
    inputs = processor(text="cut the [MASK]", videos=video)
    with torch.no_grad():
        expected = {"logits": model(**inputs).logits, "hidden": model.videobert(**inputs).last_hidden_state}
    expected |= {"ids": inputs["input_ids"], "frame": codebook.frame(3), "row": processor.tokenize(video)}
    processor.backbone = "me/eyes"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return expected | {"features": features, "codes": codebook.encode(features), "fingerprint": codebook.fingerprint}


@pytest.fixture(scope="module")
def published(tmp_path_factory, tiny_text_model, tiny_backbone):
    """A Hub with a model that was pushed, tagged v1, and pushed again with other weights and another codebook."""
    folder = tmp_path_factory.mktemp("published")
    with HubServer(folder / "hub") as hub:
        expected = {}
        for seed, (name, revision) in enumerate({"first": "v1", "second": "-"}.items(), start=1):
            expected[name] = save_all(folder / name, tiny_text_model, tiny_backbone, seed)
            env = hub.environment(folder / "home", "hf_writer", PYTHONPATH=ROOT)
            eyes = tiny_backbone if name == "first" else "-"
            run_script(PUSH, folder / name, eyes, "me/chef", revision, env=env)
        yield hub, folder, expected


def pull(published, name, *, home, script=PULL, revision="main", repo="me/chef", more=(), **environment):
    """Pulls in a process without the package and compares everything with what was pushed."""
    hub, folder, expected = published
    result = folder / f"{home}.pt"
    env = hub.environment(folder / home, "hf_writer", **environment)
    printed = run_script(script, repo, revision, result, folder / "video.mp4", *more, env=env)
    found = torch.load(result, weights_only=True)
    for key in ("ids", "logits", "hidden", "frame"):
        assert torch.equal(found[key], expected[name][key]), key
    for key in ("row", "fingerprint"):
        assert found[key] == expected[name][key], key
    assert found["size"] == 9 and len(found["filled"]) == 2
    return found, printed


def test_pulled_without_the_package_it_is_the_same_and_can_be_pushed_on(published):
    """Config, encoder, cloze head, processor with its codebook's frames, a pipeline; the video network is pulled, too.
    Pushed to another repository from there, code and codebook included, it is still the same."""
    first, _ = pull(published, "second", home="one", script=PULL_AND_PUSH, more=["me/again"])
    second, _ = pull(published, "second", home="two", repo="me/again")
    for pipeline in ("filled", "filled about a video"):
        assert first[pipeline] == second[pipeline]


def test_a_revision_is_pinned_and_then_needs_no_hub(published):
    """All of it is of that commit: weights, code, processor, codebook. Offline, the cache has everything."""
    hub = published[0]
    before = len(hub.seen)
    first, _ = pull(published, "first", home="pinned", revision="v1")
    tagged = hub.repository("me/chef").tags["v1"]
    named = {seen.path.split("/")[4] for seen in hub.seen[before:] if seen.path.startswith("/me/chef/resolve/")}
    assert named <= {"v1", tagged}
    before = len(hub.seen)
    again, _ = pull(published, "first", home="pinned", revision="v1", HF_HUB_OFFLINE="1")
    assert first["filled"] == again["filled"] and len(hub.seen) == before


def test_a_bad_line_is_no_matter(published):
    """The connection is cut in the middle of the weights: the download goes on from there, and the result is whole."""
    hub = published[0]
    sha256 = hashlib.sha256(hub.read("me/chef", "model.safetensors")).hexdigest()
    before, hub.cut_downloads[sha256] = len(hub.seen), 11_000_000
    pull(published, "second", home="cut")
    ranges = [seen.range for seen in hub.seen[before:] if sha256 in seen.path and seen.method == "GET"]
    assert ranges == [None, "bytes=10485760-"]


def test_a_codebook_travels_alone(published):
    """With its code and its frames; what it says of features is the same."""
    hub, folder, expected = published
    torch.save(expected["second"]["features"], folder / "features.pt")
    env = hub.environment(folder / "codebook_home")
    run_script(WITHOUT + PULL_CODEBOOK, folder / "features.pt", folder / "codes.pt", env=env)
    found = torch.load(folder / "codes.pt", weights_only=True)
    assert torch.equal(found["ids"], expected["second"]["codes"])
    assert torch.equal(found["frame"], expected["second"]["frame"])


def test_a_wrong_token_is_said(published):
    """Nothing is written, and the message says that it is the token."""
    hub, folder, _ = published
    commits = len(hub.repository("me/chef").commits)
    env = hub.environment(folder / "home", PYTHONPATH=ROOT)
    printed, _ = run_script(PUSH_IN_VAIN, folder / "first", "hf_nobody", "hf_reader", env=env)
    nobody, reader = printed.splitlines()[-2:]
    assert "401" in nobody and "Invalid credentials" in nobody and "403 Forbidden" in reader
    assert len(hub.repository("me/chef").commits) == commits
