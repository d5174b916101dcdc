"""Protects the way from a stream of clips to features: I3D with its real weights, networks that are joined, clips that
are decoded while the networks work."""

import threading

import numpy as np
import pytest
import torch
import transformers as tr

from processing import Backbone, VideoBertProcessor, VideoBertVideoProcessor
from processing.backbone_videobert import FeatureError, load_preprocessing, read_ahead
from processing.codebook.fitting import fit_codebook
from processing.i3d_videobert import MaxPool, same_padding

# The pooled feature of the original JAX implementation for the clip made below: every 32nd value, so that all branches
# of the last block are among them, and the length of the whole.
REFERENCE = [0.1222258, 0.4029877, 0.1835703, 0.0840324, 0.1103514, 0.0578757, 0.0776218, 0.1426108]
REFERENCE += [0.1034146, 0.1247813, 0.2670797, 0.1024098, 0.0787013, 0.1167802, 0.1124788, 0.0490297]
REFERENCE += [0.0471886, 0.0366781, 0.120708, 0.0861943, 0.0431967, 0.0329326, 0.0560448, 0.0673292]
REFERENCE += [0.0731064, 0.0543495, 0.0225031, 0.0, 0.0852588, 0.0209372, 0.3186634, 0.0345621]
REFERENCE_LENGTH = 4.5386252


def test_i3d_equals_the_original(i3d):
    """Real weights: the feature of a fixed random clip equals the original implementation's to 1e-5."""
    random = np.random.RandomState(0)
    random.uniform(-1, 1, (1, 30, 160, 160, 3))
    clip = torch.tensor(random.uniform(-1, 1, (30, 224, 224, 3)).astype(np.float32)).permute(0, 3, 1, 2)
    feature = Backbone(i3d, device="cpu").features([clip])
    assert feature.shape == (1, 1024)
    np.testing.assert_allclose(feature[0, ::32], REFERENCE, atol=1e-5)
    assert feature.norm().item() == pytest.approx(REFERENCE_LENGTH, abs=1e-4)


@pytest.mark.parametrize("kernel, stride", [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((2, 2, 2), (2, 2, 2))])
@pytest.mark.parametrize("shape", [(30, 12, 12), (15, 11, 10), (1, 1, 1), (2, 5, 7), (4, 3, 2)])
def test_pools_pad_as_the_original(kernel, stride, shape):
    """TensorFlow's SAME, odd and even sides: as if zeros had been put around what a ReLU left."""
    x = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.max_pool3d(same_padding(x, kernel, stride), kernel, stride)
    assert torch.equal(MaxPool(kernel, stride)(x), expected)


def test_i3d_sees_the_frames_of_a_file_as_before(i3d, silent_video):
    """Raw frames of a processor of today, and frames that an older saved processor normalises, give one feature."""
    raw = VideoBertVideoProcessor(**load_preprocessing(i3d))
    prepared = VideoBertVideoProcessor(size={"shortest_edge": 160}, crop_size={"height": 160, "width": 160})
    backbone = Backbone(i3d, device="cpu")
    features = backbone.features(raw.iter_clips(silent_video))
    torch.testing.assert_close(features, backbone.features(prepared.iter_clips(silent_video)))
    assert features.shape == (3, 1024)


def test_batches_do_not_matter_and_no_clip_is_no_feature(saved, clips):
    stream = [clip for _ in range(3) for clip in clips][:5]
    features = [Backbone(saved("videomae"), "cpu", batch_size=size).features(iter(stream)) for size in (1, 2, 8)]
    torch.testing.assert_close(features[0], features[1])
    torch.testing.assert_close(features[0], features[2])
    assert Backbone(saved("videomae"), "cpu").features([]).shape == (0, 24)


def test_a_compiled_backbone_sees_batches_of_one_size(saved, clips):
    """A smaller last batch would be compiled anew, for minutes: it is filled up, without more features."""
    stream, seen = [*clips, *clips, clips[1]], []
    backbone = Backbone(saved("videomae"), "cpu", batch_size=3)
    expected = backbone.features(stream)
    backbone.compile = True  # how batches are cut, without the compiler
    network = backbone.networks[0]
    backbone.networks[0] = lambda pixels: seen.append(len(pixels)) or network(pixels)
    backbone.networks[0].prepare = network.prepare
    torch.testing.assert_close(backbone.features(stream), expected)
    assert seen == [3, 3]


def test_prepared_clips_pass_as_they_are(saved):
    """A floating clip is the network's own pixels already."""
    prepared = torch.randn(2, 30, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model = tr.VideoMAEModel.from_pretrained(saved("videomae")).eval()
        expected = model(prepared[:, [1, 5, 9, 13, 16, 20, 24, 28]]).last_hidden_state.mean(1)
    features = Backbone(saved("videomae"), "cpu").features(prepared)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="takes raw clips"):
        Backbone(f"{saved('videomae')}+{saved('vit')}", "cpu").features(prepared)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near(saved, clips, dtype):
    for name in ("videomae", "vit"):
        whole = Backbone(saved(name), "cpu").features(clips)
        half = Backbone(saved(name), "cpu", dtype=dtype).features(clips)
        assert half.dtype == torch.float32 and not torch.equal(half, whole)
        assert torch.cosine_similarity(half, whole).min() > 0.99


# --- joined ----------------------------------------------------------------------------------------------------------


def test_joined_networks_by_hand(saved, clips):
    """Each brought to unit length, side by side, in the order of the id."""
    parts = [Backbone(name, "cpu").features(clips) for name in (saved("timesformer"), f"{saved('convnext')}:frames=3")]
    backbone = Backbone(f"{saved('timesformer')}+{saved('convnext')}:frames=3", "cpu")
    assert backbone.feature_size == 48
    expected = torch.cat([part / part.norm(dim=1, keepdim=True) for part in parts], 1)
    torch.testing.assert_close(backbone.features(clips), expected)


def test_clips_are_cut_for_the_network_that_wants_most(saved, i3d):
    """Frames are decoded once, raw, as large as the largest wish."""
    wishes = load_preprocessing(f"{saved('vit')}+{saved('videomae')}")
    assert wishes["size"] == {"shortest_edge": 36} and wishes["crop_size"] == {"height": 36, "width": 36}
    assert load_preprocessing(f"{saved('vit')}+{i3d}")["size"] == {"shortest_edge": 160}
    frames = torch.zeros(30, 3, 40, 44, dtype=torch.uint8)
    (clip,) = VideoBertVideoProcessor(**wishes).iter_clips(frames)
    assert clip.shape == (30, 3, 36, 36) and clip.dtype == torch.uint8


def test_a_joined_backbone_survives_saving(saved, silent_video, tiny_text_model, tmp_path):
    """The id is a string of the saved processor, which finds the same features of a file when loaded again."""
    backbone = f"{saved('videomae')}+{saved('vit')}:frames=4,change"
    codebook = fit_codebook(torch.randn(60, 72, generator=torch.Generator().manual_seed(0)), 2, 3, progress=False)
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=backbone, codebook=codebook)
    processor.save_pretrained(tmp_path)
    again = VideoBertProcessor.from_pretrained(tmp_path)
    assert again.backbone == backbone
    features = again.features(silent_video)
    assert features.shape == (3, 72)
    assert torch.equal(features, processor.features(silent_video))
    assert again(videos=silent_video)["input_ids"].shape == (1, 5)


def test_a_backbone_may_be_given_ready_made(saved, silent_video, tiny_text_model, tmp_path):
    """It is used as it is and saved by its id; its features may be learned from."""
    backbone = Backbone(saved("vit"), "cpu", batch_size=1)
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=backbone)
    features = processor.features(silent_video)
    torch.nn.Linear(24, 2)(features).sum().backward()
    processor.save_pretrained(tmp_path)
    again = VideoBertProcessor.from_pretrained(tmp_path)
    assert again.backbone == saved("vit")
    torch.testing.assert_close(again.features(silent_video), features)


# --- numbers that are none -------------------------------------------------------------------------------------------


@pytest.fixture
def spoiled(saved, tmp_path):
    """A network whose vectors are not numbers."""
    model = tr.VideoMAEModel.from_pretrained(saved("videomae"))
    model.encoder.layer[0].output.dense.bias.data.fill_(torch.nan)
    model.save_pretrained(tmp_path)
    tr.AutoVideoProcessor.from_pretrained(saved("videomae")).save_pretrained(tmp_path)
    return str(tmp_path)


def test_features_that_are_no_numbers_are_named(spoiled, clips, silent_video, tiny_text_model):
    with pytest.raises(FeatureError, match="of clip 0 holds NaN or infinity; .* precision"):
        Backbone(spoiled, "cpu").features(clips)
    row = VideoBertProcessor.from_models(tiny_text_model, backbone=spoiled).describe([silent_video])[0]
    assert "clip 0 holds NaN" in row["error"] and len(row["features"]) == 0  # a job goes on


# --- decoding goes on while the networks work ------------------------------------------------------------------------


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read_ahead")]


def test_read_ahead_keeps_order_and_its_bound():
    """While the first item is in use the next ones are made, two and no more."""
    made, third = [], threading.Event()

    def numbers():
        for number in range(20):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    with read_ahead(numbers(), 2) as items:
        assert next(items) == 0
        assert third.wait(60)  # nobody asked for it
        assert len(threads()) == 1
        assert made == [0, 1, 2]
        assert list(items) == list(range(1, 20))
    assert threads() == []


def test_what_goes_wrong_while_decoding_is_raised_to_the_caller(saved, clips):
    def stream():
        yield clips[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Backbone(saved("videomae"), "cpu", batch_size=1).features(stream())
    assert threads() == []


def test_no_thread_is_left_when_the_network_fails(saved, clips):
    """An endless stream is not read on behind the back of a caller who got an error."""
    backbone = Backbone(saved("videomae"), "cpu", batch_size=1)

    def out_of_memory(*_):
        raise MemoryError

    def endless():
        while True:
            yield clips[0]

    backbone._forward = out_of_memory
    with pytest.raises(MemoryError):
        backbone.features(endless())
    assert threads() == []


# --- real videos -----------------------------------------------------------------------------------------------------


def test_clips_of_one_real_video_are_nearest_to_each_other(i3d, shared_media):
    """Real weights on real videos: a cook, a guitar, yoga; each clip's nearest neighbour shows the same."""
    names = ("ST-LLM__cooking.mp4", "Ask-Anything__playing_guitar.mp4", "Ask-Anything__yoga.mp4")
    backbone, cutter = Backbone(i3d, "cpu"), VideoBertVideoProcessor(**load_preprocessing(i3d))
    features, owner = [], []
    for number, name in enumerate(names):
        stream = (clip for clip, _ in zip(cutter.iter_clips(shared_media / name), range(3), strict=False))
        features.append(backbone.features(stream))
        owner += [number] * len(features[-1])
    features, owner = torch.cat(features), torch.tensor(owner)
    centred = torch.nn.functional.normalize(features - features.mean(0), dim=1)
    similarity = (centred @ centred.T).fill_diagonal_(-1)
    assert torch.equal(owner[similarity.argmax(1)], owner)
