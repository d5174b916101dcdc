"""What a repository on the Hub holds: each function fills a folder with all of it, the card included."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets

import modeling_videobert
from processing import VideoBertProcessor, VisualCodebook
from processing.card_videobert import codebook_card, fill_empty_card
from processing.codebook.saving import is_saved, load_codebook, read_record
from processing.corpus import held_out_ids, read_rows
from processing.corpus.card import without_folders, write_corpus_card
from processing.corpus.rows import shared_value
from processing.corpus.settings import read_settings
from processing.evaluation.tables import results_tables
from processing.model_card import write_model_card
from processing.speech_videobert import language_code

ROWS_A_FILE = 100_000
# Where the scripts that train leave what they measured.
FIGURES = ("all_results.json", "actions.json", "captions.json")


def stage_model(
    folder: Path,
    source: Path,
    repo_id: str,
    license: str | None = None,
    language: str | list[str] | None = None,
    datasets: Sequence[str] = (),
    base_models: Sequence[str] = (),
) -> None:
    """Model, processor, tokenizer, codebook, code, and a card with what the files of the run tell.

    Args:
        folder (`Path`):
            Is filled.
        source (`Path`):
            Folder of a trained model: of pretraining, of named actions, or a captioner.
        repo_id (`str`):
            Where it will be found.
        license, language, datasets, base_models:
            See [`write_model_card`].

    Raises:
        ValueError: There is no model, or figures of it are missing.
    """
    kind = getattr(modeling_videobert, saved_class(source), None)
    if kind is None:
        raise ValueError(f"{source} holds {told_class(source)}; allowed is the folder of a trained model.")
    model = kind.from_pretrained(source)
    processor = VideoBertProcessor.from_pretrained(source)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    results, training = read_figures(source), read_if_there(source / "training.json")
    if results and "weights" in training and training["weights"] != model.weights_fingerprint():
        print("The figures of the run are of other weights: the card is without them.", file=sys.stderr)
        results = {}
    try:
        tables = results_tables(results)
    except KeyError as error:
        raise ValueError(f"The figures in {source} have no {error}; measure the model again.") from None
    told = {"license": license, "language": language, "datasets": datasets, "base_models": base_models}
    write_model_card(folder, model, processor, results, training, tables, repo_id, **told)


def read_figures(source: Path) -> dict:
    """All that was measured of a model."""
    return {name: value for file in FIGURES for name, value in read_if_there(source / file).items()}


def read_if_there(path: Path) -> dict:
    """A JSON file, or nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def saved_class(source: Path) -> str:
    """Name of the class that was saved in a folder; empty where its `config.json`, if there is one, tells none."""
    return (read_if_there(source / "config.json").get("architectures") or [""])[0]


def told_class(source: Path) -> str:
    """The same, for a sentence on a folder of something else."""
    return f"a {name}" if (name := saved_class(source)) else "no config.json of a model"


def stage_codebook(folder: Path, source: Path, repo_id: str) -> None:
    """A codebook with its frames, code and card; arguments as of [`stage_model`].

    Raises:
        ValueError: There is no codebook, or it is damaged.
    """
    if saved_class(source) != VisualCodebook.__name__:
        raise ValueError(f"{source} holds {told_class(source)}; allowed is the folder of a codebook.")
    codebook = load_codebook(source)
    codebook.save_pretrained(folder)
    fill_empty_card(folder, codebook_card(codebook, repo_id))


def stage_corpus(
    folder: Path,
    source: Path,
    repo_id: str,
    license: str | None = None,
    language: str | list[str] | None = None,
) -> None:
    """Rows as Parquet, their codebook where it lies beside them, and a card of how they were made.

    Args:
        folder (`Path`):
            Is filled.
        source (`Path`):
            Folder of a corpus, or its rows.
        repo_id (`str`):
            Where it will be found.
        license, language:
            See [`write_corpus_card`].

    Raises:
        ValueError: There are no rows, or they do not belong together.
    """
    rows = without_folders(read_rows(source / "rows" if (source / "rows").is_dir() else source))
    codebook, fit, shape = source / "codebook", {}, None
    # Another one may lie there than that of the rows.
    if is_saved(codebook) and (kept := load_codebook(codebook)).fingerprint == shared_value(rows, "codebook"):
        kept.save_pretrained(folder / "codebook")
        fit, shape = read_record(codebook), kept.config.shape_in_words
    splits = split_rows(rows, fit.get("held_out_share"))
    for split, part in splits.items():
        count = max(1, -(-len(part) // ROWS_A_FILE))
        for number in range(count):
            path = folder / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet"
            path.parent.mkdir(exist_ok=True)
            part.shard(count, number, contiguous=True).to_parquet(path)
    made = read_settings(source / "features")
    made = {name: value for name, value in made.items() if name != "contents"}
    if shape is not None:
        made["codebook"] = shape
        made["share of the videos that its fit did not see"] = fit.get("held_out_share")
    written = "en" if made.get("task") == "translate" else language_code(made.get("language"))
    write_corpus_card(folder, splits, made, repo_id, license, language or written)


def split_rows(rows: datasets.Dataset, held_out_share: float | None) -> dict[str, datasets.Dataset]:
    """Rows of videos that the codebook's fit saw, and of those that it did not."""
    if held_out_share is None:
        return {"train": rows}
    good = [row["video_id"] for row in rows if row["sentences"] or row["visual_ids"]]
    held_out = held_out_ids(good, held_out_share)
    places = {"train": [], "test": []}
    for place, video_id in enumerate(rows["video_id"]):
        places["test" if video_id in held_out else "train"].append(place)
    return {split: rows.select(chosen) for split, chosen in places.items() if chosen}


def stage_metric(folder: Path, source: Path, repo_id: str) -> None:
    """A metric's folder, what its links lead to included; arguments as of [`stage_model`].

    Raises:
        ValueError: A file is missing that the Space needs.
    """
    name = repo_id.split("/")[-1]
    for needed in (f"{name}.py", "README.md"):  # evaluate looks for a script of the Space's own name
        if not (source / needed).is_file():
            raise ValueError(f"{source} holds no {needed}, which the Space {repo_id} needs.")
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True)
