"""Video and image networks with random weights, and clips for them to look at."""

import pytest
import torch
import transformers as tr

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SMALL |= {"image_size": 32, "patch_size": 16}
SQUARE = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
V_JEPA = {"crop_size": 32, "patch_size": 16, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
V_JEPA |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1, "mlp_ratio": 2}
VIVIT = {**SMALL, "tubelet_size": [2, 16, 16]}

VIDEO_NETWORKS = {
    "videomae": (tr.VideoMAEModel, tr.VideoMAEConfig(num_frames=8, **SMALL), tr.VideoMAEImageProcessor(**SQUARE)),
    "timesformer": (
        tr.TimesformerModel,
        tr.TimesformerConfig(num_frames=8, **SMALL),
        tr.VideoMAEImageProcessor(image_mean=[0.45] * 3, image_std=[0.225] * 3, **SQUARE),
    ),
    # Its pixels are shifted, which normalising could not do.
    "vivit": (tr.VivitModel, tr.VivitConfig(num_frames=8, **VIVIT), tr.VivitImageProcessor(**SQUARE)),
    "vjepa2": (tr.VJEPA2Model, tr.VJEPA2Config(frames_per_clip=8, **V_JEPA), tr.VJEPA2VideoProcessor(**SQUARE)),
}


IMAGE_NETWORKS = {
    "vit": (tr.ViTModel, tr.ViTConfig(**SMALL), tr.ViTImageProcessor(size={"height": 32, "width": 32})),
    "dinov2": (tr.Dinov2Model, tr.Dinov2Config(**SMALL), tr.BitImageProcessor(**SQUARE)),
    "convnext": (
        tr.ConvNextModel,
        tr.ConvNextConfig(hidden_sizes=[8, 8, 16, 24], depths=[1] * 4),
        tr.ConvNextImageProcessor(size={"shortest_edge": 32}),
    ),
}


@pytest.fixture(scope="session")
def clips():
    """Two raw clips of 30 noisy frames that grow lighter."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 156, (2, 30, 3, 40, 44), generator=generator)
    return (noise + 3 * torch.arange(30).view(1, -1, 1, 1, 1)).to(torch.uint8)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A function that saves a tiny network with random weights and its processor, once, and returns the folder."""
    folders = {}

    def save(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            model, config, processor = (VIDEO_NETWORKS | IMAGE_NETWORKS)[name]
            torch.manual_seed(0)
            model(config).save_pretrained(folders[name])
            processor.save_pretrained(folders[name])
        return str(folders[name])

    return save
