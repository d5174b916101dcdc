"""What a processor or a codebook tells of itself where it is published, alone or with a model."""

import os
from collections.abc import Mapping
from pathlib import Path

from .names_videobert import is_on_this_machine, model_name, public_name, split_backbone

# What the library's empty form for a card is full of. A card that is made here holds it as well: whatever knows more,
# such as a model that is pushed to the same place, may write its own instead.
EMPTY_CARD = "[More Information Needed]"
CARD = """---
library_name: transformers
tags:
- videobert
- video
---
<!-- {empty}: a model's card takes the place of this one. Delete this line, and it stays. -->

# {name}

{what}

```python
{code}
```
{parts}"""
PROCESSOR = """The processor of a [VideoBERT](https://arxiv.org/abs/1904.01766): text and videos in, the joint sequence
of words and visual tokens out. Its codebook lies in `codebook/`."""
PROCESSOR_CODE = """from transformers import AutoProcessor

processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)
inputs = processor(text="cut the lemon into slices", videos={video})
print(processor.decode(inputs["input_ids"][0]))"""
CODEBOOK = """The codebook of a [VideoBERT](https://arxiv.org/abs/1904.01766): {summary},
out of features of {backbone}."""
CODEBOOK_CODE = """import torch
from transformers import AutoModel

codebook = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
visual_ids = codebook.encode(torch.randn(5, {width}))  # one feature a clip
print(visual_ids, codebook.centroids(visual_ids).shape)"""
SURVIVAL = "visual ids (top levels) stay the same where videos are altered"
ELSEWHERE = """
The weights of {networks} are neither in this repository nor on the Hub: to read videos, pass the folders where they
are, `from_pretrained("{repo_id}", trust_remote_code=True, {arguments})`. Text and visual ids need none.
"""


def processor_card(processor, repo_id: str) -> str:
    """The card of a processor that is published without a model.

    Args:
        processor ([`VideoBertProcessor`]):
            The processor.
        repo_id (`str`):
            Where it will be found.
    """
    return CARD.format(
        empty=EMPTY_CARD,
        name=repo_id.split("/")[-1],
        what=PROCESSOR,
        code=PROCESSOR_CODE.format(repo_id=repo_id, video=example_video(processor)),
        parts=f"{elsewhere(processor, repo_id)}\n{parts_table(processor)}\n",
    )


def codebook_card(codebook, repo_id: str) -> str:
    """The card of a codebook that is published alone; arguments as of [`processor_card`]."""
    backbone, survival = codebook.config.backbone, told_survival(codebook)
    return CARD.format(
        empty=EMPTY_CARD,
        name=repo_id.split("/")[-1],
        what=CODEBOOK.format(summary=codebook.summary(), backbone=f"`{backbone}`" if backbone else "some network"),
        code=CODEBOOK_CODE.format(repo_id=repo_id, width=codebook.config.feature_size),
        parts=f"\nSo many {SURVIVAL}: {survival}.\n" if survival else "",
    )


def fill_empty_card(folder: str | os.PathLike, card: str) -> None:
    """Writes a card into a folder that is about to be pushed, unless it holds one already that says anything."""
    path = Path(folder) / "README.md"
    if not path.is_file() or EMPTY_CARD in path.read_text(encoding="utf-8"):
        path.write_text(card, encoding="utf-8")


def parts_table(processor, above: Mapping[str, str] | None = None) -> str:
    """What a processor is made of, as a markdown table.

    Args:
        processor ([`VideoBertProcessor`]):
            The processor.
        above (`Mapping[str, str]`, *optional*):
            Further rows, that come first.
    """
    cutter, codebook = processor.video_processor, processor.codebook
    visual = codebook.summary() if codebook is not None else "no visual tokens yet"
    rows = {
        **(above or {}),
        "vocabulary": f"{processor.visual_token_offset} words, {visual}" if codebook is not None else visual,
        "speech recognition": _told(processor.asr_model, processor.asr_options),
        "video network": _told(processor.backbone),
        "clips": f"{cutter.clip_seconds} s at {cutter.fps} frames a second",
    }
    if survival := told_survival(codebook):
        rows[SURVIVAL] = survival
    return "\n".join(["| part | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def told_survival(codebook) -> str:
    """How many visual ids survive an altered video, in words; nothing where it was not measured."""
    found = getattr(getattr(codebook, "config", None), "robustness", None)
    if not found:
        return ""
    shares = {**found["survive"], "by chance": found["chance"]}
    told = [f"{name} {100 * share[-1]:.0f} % ({100 * share[0]:.0f} %)" for name, share in shares.items()]
    return f"{', '.join(told)}; {found['clips']} clips"


def absent_networks(processor) -> dict[str, str]:
    """By argument the name of each network that others do not get, being a folder of this machine."""
    networks = {"asr_model": processor.asr_model, "backbone": processor.backbone}
    given = {argument: network for argument, network in networks.items() if model_name(network) is not None}
    own_names = "asr_model" if (processor.asr_options or {}).get("engine") else None  # another engine knows others
    return {
        argument: public_name(network)
        for argument, network in given.items()
        if is_on_this_machine(network) or (argument != own_names and _is_bare(network))
    }


def elsewhere(processor, repo_id: str) -> str:
    """What others must do about networks that are folders of this machine."""
    absent = absent_networks(processor)
    if not absent:
        return ""
    return ELSEWHERE.format(
        networks=" and ".join(f"`{name}`" for name in absent.values()),
        repo_id=repo_id,
        arguments=", ".join(f'{argument}="…"' for argument in absent),
    )


def example_video(processor) -> str:
    """What stands for a video in a card's code, which must run as it is written: visual ids where the networks that
    read videos are not to be had."""
    has_eyes = processor.backbone is not None and not absent_networks(processor)
    return '"video.mp4"' if has_eyes else "[[0, 1, 1, 0]]  # visual ids, or a video's path"


def _is_bare(network) -> bool:
    """Whether a name has no owner, as those of weights that no Hub has: see [`weights_cache`]."""
    return any("/" not in name for name, _ in split_backbone(model_name(network)))


def _told(network, options: Mapping | None = None) -> str:
    """A network as others know it, and what it was asked for."""
    asked = {name: (options or {}).get(name) for name in ("language", "task")}
    asked = ", ".join(f"{name} {value}" for name, value in asked.items() if value)
    name = public_name(network)
    return (f"`{name}`" if name else "not told") + (f" ({asked})" if asked else "")
