"""Protects the way from raw clips to a network's vector: every kind of network equals itself, called by hand with its
own processor on the same frames; what cannot be a backbone is refused with one clear sentence."""

from types import SimpleNamespace

import pytest
import torch
import transformers as tr
from support.tiny_networks import IMAGE_NETWORKS, SMALL, SQUARE, VIDEO_NETWORKS
from torchvision.models.video import S3D, S3D_Weights

from processing import S3DConfig, S3DModel, VideoBertVideoProcessor
from processing.names_videobert import is_on_this_machine, local_name, public_name, saved_name, split_backbone
from processing.network_videobert import Network, load_pixels, pick_frames, shortest_edge
from processing.s3d_videobert import S3D_PIXELS

# The middles of 8 and of 6 equal parts of 30 frames.
EIGHT, SIX = [1, 5, 9, 13, 16, 20, 24, 28], [2, 7, 12, 17, 22, 27]


def look(network, clips):
    with torch.inference_mode():
        return network(torch.stack([network.prepare(clip) for clip in clips]))


@pytest.mark.parametrize("name", VIDEO_NETWORKS)
def test_video_network_equals_itself(name, saved, clips):
    """Eight frames through the network's own processor and the network, by hand; the middle ones of equal parts."""
    folder = saved(name)
    model = VIDEO_NETWORKS[name][0].from_pretrained(folder).eval()
    processor = tr.AutoVideoProcessor.from_pretrained(folder)
    pixels = torch.cat([processor(clip[EIGHT], return_tensors="pt")[model.main_input_name] for clip in clips])
    with torch.no_grad():
        output = model(pixels)
    expected = output.pooler_output if name == "vivit" else output.last_hidden_state.mean(1)
    network = Network(folder)
    assert not network.is_image and network.feature_size == 24
    torch.testing.assert_close(look(network, clips), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_image_network_equals_itself(name, saved, clips):
    """Six frames one by one; the vector is the mean of theirs, by option also how far each is from the one before."""
    folder = saved(name)
    model = IMAGE_NETWORKS[name][0].from_pretrained(folder).eval()
    processor = tr.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        vectors = torch.stack(
            [model(**processor(list(clip[SIX]), return_tensors="pt")).pooler_output for clip in clips]
        )
    expected = vectors.mean(1)
    torch.testing.assert_close(look(Network(folder), clips), expected, atol=1e-5, rtol=1e-4)
    change = sum((vectors[:, k + 1] - vectors[:, k]).abs() for k in range(5)) / 5
    network = Network(folder, change=True)
    assert network.is_image and network.feature_size == 48
    torch.testing.assert_close(look(network, clips), torch.cat([expected, change], 1), atol=1e-5, rtol=1e-4)
    assert change.norm() > 1e-3  # or the second half would show nothing
    assert len(Network(folder, frames=2).prepare(clips[0])) == 2


@pytest.fixture(scope="session")
def timm_folder(tmp_path_factory):
    pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    folder = tmp_path_factory.mktemp("timm")
    pixels = {"input_size": (3, 32, 32), "crop_pct": 0.8, "mean": (0.2, 0.3, 0.4), "std": (0.5, 0.6, 0.7)}
    config = tr.TimmWrapperConfig(architecture="test_efficientnet", pretrained_cfg=pixels)
    torch.manual_seed(0)
    tr.TimmWrapperModel(config).save_pretrained(folder)
    return str(folder)


def test_timm_network_equals_itself(timm_folder, clips):
    """timm's own pixels too: normalised as its config says, cut after a larger resize."""
    model = tr.TimmWrapperModel.from_pretrained(timm_folder).eval()
    processor = tr.AutoImageProcessor.from_pretrained(timm_folder)
    with torch.no_grad():
        vectors = torch.stack(
            [model(processor([frame.numpy() for frame in clip[SIX]])["pixel_values"]).pooler_output for clip in clips]
        )
    network = Network(timm_folder)
    assert network.feature_size == vectors.shape[-1]
    assert shortest_edge(load_pixels(timm_folder), timm_folder) == 40
    torch.testing.assert_close(look(network, clips), vectors.mean(1), atol=1e-5, rtol=1e-4)


def test_a_pooler_without_weights_is_not_used(tmp_path, saved, clips):
    """A classifier's checkpoint has no pooler: a random one would give other features at every start."""
    torch.manual_seed(0)
    tr.ViTForImageClassification(tr.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    IMAGE_NETWORKS["vit"][2].save_pretrained(tmp_path)
    first = look(Network(str(tmp_path)), clips)
    torch.manual_seed(1)
    assert torch.equal(first, look(Network(str(tmp_path)), clips))


def test_missing_weights_are_refused(tmp_path):
    """transformers fills them with random numbers, and everything would seem to work."""
    model = tr.ViTModel(tr.ViTConfig(**SMALL))
    state = {key: value for key, value in model.state_dict().items() if "layers.0" not in key}
    left = len(model.state_dict()) - len(state)
    model.save_pretrained(tmp_path, state_dict=state)
    IMAGE_NETWORKS["vit"][2].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"lacks {left} weights of a ViTModel"):
        Network(str(tmp_path))


# --- S3D ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def torchvision_s3d():
    """torchvision's S3D with random weights and statistics that folding must not forget."""
    torch.manual_seed(0)
    network = S3D()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 1, 2)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.fixture
def fetched_s3d(torchvision_s3d, tmp_path, monkeypatch):
    """What torchvision would fetch lies where it would put it, so that its own loading code runs."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "hub" / "checkpoints").mkdir(parents=True)
    name = S3D_Weights.KINETICS400_V1.url.rsplit("/", 1)[1]
    torch.save(torchvision_s3d.state_dict(), tmp_path / "home" / "hub" / "checkpoints" / name)


@pytest.mark.slow
def test_s3d_equals_torchvision(fetched_s3d, torchvision_s3d, tmp_path):
    """By its id, and from a folder of safetensors: its classifier makes torchvision's logits of the feature."""
    network = Network("torchvision/s3d")
    clip = torch.randint(0, 256, (30, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = S3D_Weights.KINETICS400_V1.transforms()(clip)
    torch.testing.assert_close(network.prepare(clip), pixels.transpose(0, 1), atol=1e-5, rtol=0)
    # As few frames as its pooling can take: this is about numbers, not about seeing.
    pixels = pixels[None, :, :16].contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        logits, head = torchvision_s3d(pixels), torchvision_s3d.classifier[1]
        feature = network(pixels.transpose(1, 2))
        ours = feature @ head.weight.flatten(1).T + head.bias
    assert feature.shape == (1, 1024) and logits.std() > 0.01
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in network.model.modules())

    network.model.save_pretrained(tmp_path / "s3d")
    network.processor.save_pretrained(tmp_path / "s3d")
    with torch.no_grad():
        torch.testing.assert_close(Network(str(tmp_path / "s3d"))(pixels.transpose(1, 2)), feature)


def test_s3d_that_cannot_be_fetched_says_so(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ValueError, match="torchvision could not fetch .* no route to host"):
        Network("torchvision/s3d")


# --- ids and bad input ----------------------------------------------------------------------------------------------


def test_ids_by_hand(tmp_path):
    assert split_backbone("a/b") == [("a/b", {})]
    assert split_backbone("a/b + c/d:frames=9,change") == [("a/b", {}), ("c/d", {"frames": 9, "change": True})]
    assert split_backbone("C:\\models\\vit") == [("C:\\models\\vit", {})]
    (tmp_path / "one+two").mkdir()
    assert split_backbone(tmp_path / "one+two") == [(str(tmp_path / "one+two"), {})]


def test_names_by_hand(tmp_path, monkeypatch):
    """One network or several, ready-made or named: what others are told, what a file says, and the way back."""
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))
    for folder in ("i3d", "a+b", "weights/s3d"):
        (tmp_path / folder).mkdir(parents=True)
    assert public_name(tmp_path / "i3d") == "i3d" and public_name(tmp_path / "a+b") == "a+b"
    joined = f"{tmp_path}/i3d:frames=3,change+facebook/dinov2-base:change+{tmp_path}/weights/s3d"
    assert public_name(joined) == "i3d:frames=3,change+facebook/dinov2-base:change+s3d"
    assert saved_name(joined) == f"{tmp_path}/i3d:frames=3,change+facebook/dinov2-base:change+s3d"
    assert local_name(saved_name(joined)) == joined
    monkeypatch.setenv("HOME", str(tmp_path))
    assert saved_name(joined) == "~/i3d:frames=3,change+facebook/dinov2-base:change+s3d"
    assert local_name(saved_name(joined)) == joined
    assert public_name("~/elsewhere/eyes") == "eyes"  # of another machine
    (tmp_path / "home").symlink_to(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # and a folder named by the way behind it
    assert saved_name(tmp_path / "i3d") == saved_name(tmp_path / "home" / "i3d") == "~/i3d"
    monkeypatch.setenv("HOME", str(tmp_path))
    ready = SimpleNamespace(model=SimpleNamespace(name_or_path=str(tmp_path / "i3d")))
    assert public_name(ready) == "i3d" and saved_name(ready) == "~/i3d"
    assert public_name(object()) is None and local_name(None) is None


@pytest.mark.parametrize(
    "backbone, message",
    [
        ("a/b+", "a part without a name"),
        ("", "a part without a name"),
        ("a/b:frame=3", "'frame=3' .* neither frames=NUMBER nor change"),
        ("a/b:frames=0", "'frames=0' .* neither"),
        ("a/b:change=no", "'change=no' .* neither"),
    ],
)
def test_bad_ids_are_named(backbone, message):
    with pytest.raises(ValueError, match=message):
        split_backbone(backbone)


def test_what_is_no_vision_model_is_named(tmp_path, saved):
    with pytest.raises(ValueError, match=r"nowhere is no model that can be loaded \(there is no such folder\)"):
        Network(str(tmp_path / "nowhere"))
    sizes = {key: value for key, value in SMALL.items() if "size" not in key or key == "hidden_size"}
    tr.BertModel(tr.BertConfig(vocab_size=9, intermediate_size=32, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="takes no pixels"):
        Network(str(tmp_path))
    tr.ViTModel(tr.ViTConfig(**SMALL)).save_pretrained(tmp_path / "no_processor")
    with pytest.raises(ValueError, match="says nothing on how to prepare its pixels"):
        Network(str(tmp_path / "no_processor"))
    with pytest.raises(ValueError, match="frames and change are for image ones"):
        Network(saved("videomae"), change=True)
    with pytest.raises(ValueError, match="cannot tell a change from frames=1"):
        Network(saved("vit"), frames=1, change=True)


def test_too_few_frames_are_refused(saved, clips):
    """Some frames may be shown twice, but not all of them: motion would be half as fast."""
    network = Network(saved("videomae"))
    assert len(network.prepare(clips[0, :4])) == 8
    with pytest.raises(ValueError, match="3 frames is too short for .*, which needs 8; take more frames"):
        network.prepare(clips[0, :3])
    rotary = Network(saved("vjepa2"))
    assert len(rotary.prepare(clips[0, :5])) == 4  # pairs of frames, as many as there are
    assert look(rotary, clips[:, :5]).isfinite().all()
    with pytest.raises(ValueError, match="1 frames is too short"):
        rotary.prepare(clips[0, :1])


def test_pick_frames_by_hand():
    clip = torch.arange(30)
    assert pick_frames(clip, 30) is clip
    assert pick_frames(clip, 8).tolist() == EIGHT and pick_frames(clip, 6).tolist() == SIX
    thirty_two = pick_frames(clip, 32)  # ViViT: two frames are shown twice
    assert len(thirty_two) == 32 and sorted(set(thirty_two.tolist())) == list(range(30))


def test_our_models_save_what_they_are(tmp_path):
    """Random S3D of a config, through the Auto classes."""
    S3DModel(S3DConfig()).save_pretrained(tmp_path)
    VideoBertVideoProcessor(**S3D_PIXELS).save_pretrained(tmp_path)
    assert isinstance(tr.AutoModel.from_pretrained(tmp_path), S3DModel)
    assert shortest_edge(load_pixels(str(tmp_path)), "s3d") == 256


OTHERS = {
    "efficientnet": (
        tr.EfficientNetModel,
        tr.EfficientNetConfig(image_size=32, hidden_dim=128, num_block_repeats=[1] * 7, width_coefficient=0.1),
        tr.ConvNextImageProcessor(size={"shortest_edge": 32}),
    ),
    "clip": (
        tr.CLIPModel,
        tr.CLIPConfig(
            vision_config=SMALL | {"projection_dim": 16},
            text_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20},
        ),
        tr.CLIPImageProcessor(**SQUARE),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_width_is_what_comes_out(name, tmp_path, clips):
    """Configurations tell the width under many names, or of another layer; a model that reads text, too, has eyes."""
    model, config, processor = OTHERS[name]
    model(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    network = Network(str(tmp_path), frames=2)
    vectors = look(network, clips)
    assert vectors.shape == (2, network.feature_size) and vectors.isfinite().all()
    whole = tr.AutoModel.from_pretrained(tmp_path).eval()
    eyes = getattr(whole, "vision_model", whole)
    pixels = network.prepare(clips[0])
    torch.testing.assert_close(vectors[0], eyes(pixels).pooler_output.mean(0).flatten(), atol=1e-5, rtol=1e-4)


def test_what_has_no_name_is_no_folder():
    """A ready-made network that does not know where it is from ended in a `TypeError` of `os.fspath`."""
    assert not is_on_this_machine(object())
