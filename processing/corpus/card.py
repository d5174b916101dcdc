"""The card of a corpus that is published: what rows hold, how they were made, how much there is, what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCard, DatasetCardData

from ..codes_videobert import tokens_per_clip
from .counts import count_kinds, count_rows
from .rows import check_rows

CARD = """# {name}

Narrated videos as [VideoBERT](https://arxiv.org/abs/1904.01766) (Sun et al., ICCV 2019) reads them: what is said, with
its times, and {each} for each clip of {clip_seconds} s. The videos themselves are not here.

## Use

```python
from datasets import load_dataset

rows = load_dataset("{repo_id}", split="{split}", streaming=True)
row = next(row for row in rows if row["visual_ids"])
print(row["video_id"], row["visual_ids"], [sentence["text"] for sentence in row["sentences"]])
```
{codebook_use}
## What a row holds

| column | what |
|---|---|
| `video_id` | name of the video |
| `duration` | seconds |
| `clip_seconds` | clip *i* covers the times from `clip_seconds` · *i* up to `clip_seconds` · (*i* + 1) |
| `has_speech` | whether anything was heard or read |
| `sentences` | `text`, `start` and `end` in seconds from the first frame |
| `visual_ids` | {each} a clip |
{codes}| `codebook` | fingerprint of the codebook that they belong to; ids of two codebooks cannot be compared |
| `error` | what is wrong with the video; whatever could be read of it is there |
| `notes` | what was met, of no fault |

## How it was made

{made}

## How much there is

{counts}

## What went wrong

{errors}

{notes}

## Before you use it

The rights in the videos are with whoever made them, and what is said in them is theirs. Speech was recognised by a
machine, unless it was read in subtitles, and holds its errors. A visual id names what a clip looks like to a network,
not what is done in it.
"""
CODEBOOK_USE = """
The codebook lies beside the rows. Where it keeps a picture of a visual id, `codebook.frame(…)`, it is one out of these
videos.

```python
from huggingface_hub import snapshot_download
from transformers import AutoModel

folder = snapshot_download("{repo_id}", repo_type="dataset", allow_patterns="codebook/*")
codebook = AutoModel.from_pretrained(f"{{folder}}/codebook", trust_remote_code=True)
print(codebook.centroids(row["visual_ids"]).shape)
```
"""
NO_CODEBOOK = """
The codebook is not here; each row has the fingerprint of the one that its visual ids belong to.
"""
# The way to a file on somebody's machine, which messages begin with; no address.
FOLDERS = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:)?/(?:[^/:;]+/)+")
COLUMNS = {
    "videos": "videos",
    "hours": "hours",
    "with_speech": "with speech",
    "sentences": "sentences",
    "words": "words",
    "clips": "clips",
    "visual_ids": "different visual ids",
    "with_error": "with an error",
}


def write_corpus_card(
    folder: str | PathLike,
    splits: Mapping[str, Dataset],
    made: Mapping[str, object],
    repo_id: str,
    license: str | None = None,
    language: str | list[str] | None = None,
) -> None:
    """Writes `README.md` of a folder with the Parquet files of a corpus.

    Args:
        folder (`str` or `os.PathLike`):
            What will be published: `data/SPLIT-*.parquet`, and `codebook/` if it goes along.
        splits (`Mapping[str, Dataset]`):
            The rows by split.
        made (`Mapping[str, object]`):
            Models and options by name; what is `None` is left out.
        repo_id (`str`):
            Where it will be found.
        license (`str`, *optional*):
            In the Hub's words; not stated by default, for it is the user's to know.
        language (`str` or `list[str]`, *optional*):
            Codes of what is said.

    Raises:
        `ValueError`: The rows do not belong together.
    """
    folder, rows = Path(folder), [row for split in splits.values() for row in split]
    data = DatasetCardData(
        license=license,
        language=language,
        tags=["videobert", "video", "video-text"],
        size_categories=[size_category(len(rows))],
        pretty_name=repo_id.split("/")[-1],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits],
            }
        ],
    )
    body = CARD.format(
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        split=next(iter(splits)),
        clip_seconds=check_rows(rows),
        each="one visual id" if (each := tokens_per_clip(rows[0])) == 1 else f"{each} visual ids",
        codes="" if each == 1 else "| `tokens_per_clip` | how many `visual_ids` a clip has, clip after clip |\n",
        codebook_use=CODEBOOK_USE.format(repo_id=repo_id) if (folder / "codebook").is_dir() else NO_CODEBOOK,
        made="\n".join(f"- {name}: {value}" for name, value in made.items() if value is not None) or "Not kept.",
        counts=counts_table(splits),
        errors=kinds_table(rows, "error", "Nothing: no video has an error."),
        notes=kinds_table(rows, "notes", "Nothing else was noted."),
    )
    DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}").save(folder / "README.md")


def without_folders(rows: Dataset) -> Dataset:
    """Rows whose errors and notes call a file by its name alone: where it lies on a machine is for nobody else."""
    told = {column: [text and FOLDERS.sub("", text) for text in rows[column]] for column in ("error", "notes")}
    features = rows.features
    for column, texts in told.items():
        rows = rows.remove_columns(column).add_column(column, texts, feature=features[column])
    return rows


def counts_table(splits: Mapping[str, Dataset]) -> str:
    """What there is, a column a split."""
    counts = {split: count_rows(rows) for split, rows in splits.items()}
    lines = ["| | " + " | ".join(counts) + " |", "|---" * (len(counts) + 1) + "|"]
    for name, told in COLUMNS.items():
        lines.append(f"| {told} | " + " | ".join(f"{one[name]:,}" for one in counts.values()) + " |")
    return "\n".join(lines)


def kinds_table(rows: list[Mapping], column: str, none: str) -> str:
    """How many videos had which error, or which note."""
    kinds = count_kinds(rows, column)
    if not kinds:
        return none
    lines = [f"| {column} | videos |", "|---|---|"]
    return "\n".join(lines + [f"| {kind.replace('|', '/')} | {count} |" for kind, count in kinds.items()])


def size_category(rows: int) -> str:
    """As the Hub calls it: `n<1K`, `1K<n<10K`, …"""
    bounds = {1_000: "1K", 10_000: "10K", 100_000: "100K", 1_000_000: "1M", 10_000_000: "10M", 100_000_000: "100M"}
    below = "n"
    for bound, name in bounds.items():
        if rows < bound:
            return f"{below}<{name}" if below == "n" else f"{below}<n<{name}"
        below = name
    return f"n>{below}"
