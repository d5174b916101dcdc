"""Protects the way from a clip to a feature: I3D with its real weights, and any transformers video model."""

import numpy as np
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEImageProcessor, VideoMAEModel

from processing import Backbone
from processing.backbone_videobert import load_preprocessing

# First values of the pooled feature of the original JAX implementation for the clip made below.
REFERENCE = [0.12222583, 0.07189646, 0.15361571, 0.2520122, 0.186106]


def test_i3d_equals_the_original(i3d):
    """Real weights: the feature of a fixed random clip equals the original implementation's to 1e-5."""
    random = np.random.RandomState(0)
    random.uniform(-1, 1, (1, 30, 160, 160, 3))
    clip = torch.tensor(random.uniform(-1, 1, (30, 224, 224, 3)).astype(np.float32)).permute(0, 3, 1, 2)
    feature = Backbone(i3d, device="cpu").features([clip])
    assert feature.shape == (1, 1024)
    np.testing.assert_allclose(feature[0, :5], REFERENCE, atol=1e-5)


@pytest.fixture
def video_mae(tmp_path):
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    VideoMAEModel(config).save_pretrained(tmp_path)
    mean = [0.1, 0.2, 0.3]
    VideoMAEImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 24, "width": 24}, image_mean=mean
    ).save_pretrained(tmp_path)
    return tmp_path


def test_transformers_video_model_equals_itself(video_mae):
    """A transformers model sees the frames it was made for; its mean output is the feature, whatever the batch."""
    clips = torch.randn(5, 30, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = Backbone(str(video_mae), device="cpu", batch_size=2).features(iter(clips))
    picked = clips[:, [1, 5, 9, 13, 16, 20, 24, 28]]  # middles of eight equal parts of 30 frames
    with torch.no_grad():
        expected = VideoMAEModel.from_pretrained(video_mae).eval()(picked).last_hidden_state.mean(1)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


def test_pixels_follow_the_networks_own_processor(video_mae, i3d):
    """Wrong normalisation is silent: mean, deviation and size come from the network's folder."""
    assert load_preprocessing(video_mae)["size"] == {"shortest_edge": 32}
    assert load_preprocessing(video_mae)["image_mean"] == [0.1, 0.2, 0.3]
    assert load_preprocessing(video_mae)["crop_size"] == {"height": 24, "width": 24}
    assert load_preprocessing(i3d)["crop_size"] == {"height": 160, "width": 160}
    assert load_preprocessing(i3d)["image_std"] == [0.5, 0.5, 0.5]
