"""Real cooking as stills: 520 YouCook II videos, three annotated steps each, one frame a step. For measuring only."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

CLIP_SECONDS = 1.5  # each still stands for one clip
# What annotators name often; those that are one WordPiece and stand in at least 25 training sentences count.
THINGS = (
    "pan oil salt water sauce bowl pepper garlic chicken pot onions butter onion powder pieces flour heat cheese "
    "bread olive rice potatoes plate slices oven eggs mixture dish egg meat beef noodles lemon juice sugar milk "
    "shrimp roll dough tomato tomatoes pork fish ginger bacon cream beans"
).split()
LEAST_SENTENCES, MOST_THINGS = 25, 40


def read_stills(folder: Path) -> list[dict]:
    """Videos with `video_id`, `split` and three `steps` of `frame` and `sentence`."""
    return [json.loads(line) for line in (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()]


def read_speech(path: Path, excluded: set[str]) -> list[list[str]]:
    """What is said in other cooking videos, sentence by sentence; those of the validation split are left out."""
    texts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [one["sentences"] for one in texts if one["video_id"] not in excluded]


@torch.inference_mode()
def look_at(videos: list[dict], frames: Path, weights: Path) -> torch.Tensor:
    """Features of the image network, `(videos, 3, 1280)`."""
    from torchvision.io import read_image
    from torchvision.transforms import functional as pixels
    from tqdm import tqdm
    from transformers import TimmWrapperModel

    network = TimmWrapperModel.from_pretrained(weights).eval()
    features = []
    for video in tqdm(videos, desc="stills"):
        pictures = [read_image(str(frames / step["frame"])).float() / 255 for step in video["steps"]]
        pictures = [pixels.center_crop(pixels.resize(one, 224, antialias=True), 224) for one in pictures]
        features.append(network((torch.stack(pictures) - 0.5) / 0.5).pooler_output)
    return torch.stack(features)


def thing_labels(videos: list[dict], things: list[str]) -> np.ndarray:
    """Which step names which thing, `(3 · videos, things)`."""
    said = [set(re.findall(r"[a-z]+", step["sentence"].lower())) for video in videos for step in video["steps"]]
    return np.array([[thing in words for thing in things] for words in said])


def common_things(train: list[dict], tokenizer) -> list[str]:
    """The commonest things of the training sentences, for each of which there is a WordPiece."""
    counts = Counter(dict(zip(THINGS, thing_labels(train, THINGS).sum(0).tolist(), strict=True)))
    one_piece = [thing for thing in THINGS if len(tokenizer(thing, add_special_tokens=False)["input_ids"]) == 1]
    common = [thing for thing, count in counts.most_common() if count >= LEAST_SENTENCES and thing in one_piece]
    return common[:MOST_THINGS]


def share_of(videos: list[dict], share: float, salt: str = "") -> list[dict]:
    """So many of the videos; a smaller share is always a part of a larger one."""
    order = sorted(videos, key=lambda video: hashlib.sha256((salt + video["video_id"]).encode()).hexdigest())
    return order[: round(share * len(order))]


def fit_many(inputs: torch.Tensor, labels: np.ndarray, decay: float):
    """Logistic regressions, one a thing: what these inputs hold when the labels are told."""
    target = torch.tensor(labels, dtype=torch.float)
    weight = torch.zeros(inputs.shape[1], target.shape[1], requires_grad=True)
    bias = torch.zeros(target.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=150, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(inputs @ weight + bias, target) * target.shape[1]
        loss = loss + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return lambda new: (new @ weight + bias).detach().numpy()
