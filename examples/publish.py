"""Publish a trained model, a corpus, or a metric on the Hub: all that others need, with a card, in one commit.

    hf auth login
    python examples/publish.py --model runs/kitchen --repo_id user/kitchen --license apache-2.0 --language en
    python examples/publish.py --corpus runs/mine/corpus --repo_id user/mine-rows --language en --private
    python examples/publish.py --metric METRIC_FOLDER --repo_id user/NAME_OF_ITS_SCRIPT

A model's repository gets model, processor, tokenizer, codebook (with its frames), the code for `trust_remote_code` and
a card with what `all_results.json` and `training.json` of the folder tell. A corpus' gets its rows as Parquet, its
codebook where the folder holds it, and a card that says how it was made, how much there is and what went wrong; what
the codebook's fit did not see is the split `test`. A metric's folder becomes a Space as it is, for `evaluate.load`.

Large files are uploaded first and belong to nothing until the one commit at the end names them: whoever stops this, or
pulls meanwhile, never has half of it. Files of ours that an earlier commit held and this one does not are deleted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import datasets
from endings import end_in_a_sentence
from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from transformers import AutoConfig

import modeling_videobert
from processing import VideoBertProcessor
from processing.codebook.saving import is_saved, load_codebook, read_record
from processing.codebook.whole_files import read_json
from processing.corpus import held_out_ids, read_rows
from processing.corpus.card import without_folders, write_corpus_card
from processing.corpus.settings import read_settings
from processing.evaluation.tables import results_tables
from processing.model_card import write_model_card

# What a later commit may no longer hold.
OURS = ["*.py", "*.safetensors", "*.safetensors.index.json", "data/*.parquet", "codebook/*"]
ROWS_A_FILE = 100_000


def stage_model(args: argparse.Namespace, folder: Path) -> None:
    """Puts all that a model's repository holds into a folder."""
    source = Path(args.model)
    if not (source / "config.json").is_file():
        raise ValueError(f"--model {source} holds no config.json; allowed is the folder of a trained model.")
    (architecture,) = AutoConfig.from_pretrained(source).architectures
    model = getattr(modeling_videobert, architecture).from_pretrained(source)
    processor = VideoBertProcessor.from_pretrained(source)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    results, training = (read_if_there(source / name) for name in ("all_results.json", "training.json"))
    if results and training.get("weights", model.weights_fingerprint()) != model.weights_fingerprint():
        print("The figures in all_results.json are of other weights: the card is without them.", file=sys.stderr)
        results = {}
    kept = {name: getattr(args, name) for name in ("repo_id", "license", "language", "datasets", "base_models")}
    try:
        tables = results_tables(results)
    except KeyError as error:
        raise ValueError(f"{source / 'all_results.json'} has no {error}; measure the model again.") from None
    write_model_card(folder, model, processor, results, training, tables, **kept)


def read_if_there(path: Path) -> dict:
    """A JSON file, or nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def stage_corpus(args: argparse.Namespace, folder: Path) -> None:
    """Puts all that a corpus' repository holds into a folder."""
    source, codebook = Path(args.corpus), Path(args.corpus) / "codebook"
    rows = without_folders(read_rows(source / "rows" if (source / "rows").is_dir() else source))
    fit = read_record(codebook) if is_saved(codebook) else {}
    splits = split_rows(rows, fit.get("held_out_share"))
    for split, part in splits.items():
        count = max(1, -(-len(part) // ROWS_A_FILE))
        for number in range(count):
            path = folder / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet"
            path.parent.mkdir(exist_ok=True)
            part.shard(count, number, contiguous=True).to_parquet(path)
    made = read_settings(source / "features")
    made = {name: value for name, value in made.items() if name != "contents"}
    if is_saved(codebook):
        load_codebook(codebook).save_pretrained(folder / "codebook")
        shape = read_json(codebook / "config.json")
        made["codebook"] = f"{shape['levels']} levels of {shape['branches']}"
        made["share of the videos that its fit did not see"] = fit.get("held_out_share")
    language = args.language or made.get("language")
    write_corpus_card(folder, splits, made, args.repo_id, args.license, language)


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


def stage_metric(args: argparse.Namespace, folder: Path) -> None:
    """Puts a metric's folder, what its links lead to included, into a folder."""
    name = args.repo_id.split("/")[-1]
    for needed in (f"{name}.py", "README.md"):  # evaluate looks for a script of the Space's own name
        if not (args.metric / needed).is_file():
            raise ValueError(f"--metric {args.metric} holds no {needed}, which the Space {args.repo_id} needs.")
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(args.metric, folder, ignore=ignored, dirs_exist_ok=True)


STAGES = {"model": stage_model, "dataset": stage_corpus, "space": stage_metric}


def publish(folder: Path, args: argparse.Namespace, kind: str) -> str:
    """One commit with everything in a folder; its address."""
    api, what = HfApi(), {"repo_type": kind, "private": args.private or None, "exist_ok": True}
    if kind == "space":
        what["space_sdk"] = RepoCard.load(folder / "README.md").data.get("sdk") or "static"
    repo_id = api.create_repo(args.repo_id, **what).repo_id
    message = {"model": "Publish model, processor, codebook and card", "dataset": "Publish rows and card"}
    done = api.upload_folder(
        repo_id=repo_id,
        repo_type=kind,
        folder_path=folder,
        commit_message=message.get(kind, "Publish metric"),
        delete_patterns=OURS,
    )
    return done.commit_url


def refusal(error: Exception, repo_id: str) -> str | None:
    """In one sentence why the Hub did not take it; `None` for what is not the Hub's doing."""
    if isinstance(error, OfflineModeIsEnabled):
        return "Publishing needs the Hub, and HF_HUB_OFFLINE is set; unset it."
    if isinstance(error, LocalTokenNotFoundError):
        return "There is no token for the Hub; log in with `hf auth login`."
    if not isinstance(error, HfHubHTTPError):
        return None
    status = error.response.status_code
    if status == 401 or isinstance(error, RepositoryNotFoundError):
        return f"The Hub does not know the token, or it sees no {repo_id}; log in with `hf auth login`."
    if status == 403:
        return f"The token may not write to {repo_id}; take one with the right to write, of its owner."
    return f"The Hub refused {repo_id}: {str(error).strip().splitlines()[-1]}"


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="folder of a trained model, as of pretrain.py")
    what.add_argument("--corpus", type=Path, help="folder of a corpus, as pretrain.py makes it of videos, or its rows")
    what.add_argument("--metric", type=Path, help="folder of a metric for evaluate, with its card")
    parser.add_argument("--repo_id", required=True, help="where it goes: user/name")
    parser.add_argument("--private", action="store_true", help="only you see it, if it is new")
    parser.add_argument("--license", help="in the Hub's words, such as apache-2.0; not stated by default")
    parser.add_argument("--language", nargs="+", help="codes of what is spoken, such as en")
    parser.add_argument("--datasets", nargs="+", default=[], help="Hub ids of what the model was trained on")
    parser.add_argument("--base_models", nargs="+", default=[], help="Hub ids of the models that it started from")
    args = parser.parse_args(arguments)
    if not args.model and (args.datasets or args.base_models):
        parser.error("--datasets and --base_models are about a model")
    if args.metric and (args.license or args.language):
        parser.error("--license and --language of a metric are in its card")
    return args


def main(arguments: list[str] | None = None) -> str:
    args = parse_arguments(arguments)
    kind = "model" if args.model else "dataset" if args.corpus else "space"
    with tempfile.TemporaryDirectory() as folder:
        try:
            STAGES[kind](args, Path(folder))
            url = publish(Path(folder), args, kind)
        except Exception as error:
            told = str(error) if isinstance(error, ValueError) else refusal(error, args.repo_id)
            if told is None:
                raise
            sys.exit(told)
    print(f"published as {args.repo_id}: {url}")
    return url


if __name__ == "__main__":
    with end_in_a_sentence("Run the same command again: what was uploaded is not sent twice."):
        main()
