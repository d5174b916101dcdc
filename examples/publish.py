"""Publish a trained model, a codebook, a corpus, or a metric on the Hub: all that others need, with a card, in one
commit.

    hf auth login
    python examples/publish.py --model runs/kitchen --repo_id user/kitchen --license apache-2.0 --language en
    python examples/publish.py --codebook runs/codebook --repo_id user/codebook
    python examples/publish.py --corpus runs/mine/corpus --repo_id user/mine-rows --language en --private
    python examples/publish.py --metric METRIC_FOLDER --repo_id user/NAME_OF_ITS_SCRIPT

A model's repository gets model, processor, tokenizer, codebook (with its frames), the code for `trust_remote_code` and
a card with what the files of the run tell: how it was trained, and what was measured. A corpus' gets its rows as
Parquet, its codebook where the folder holds it, and a card that says how it was made, how much there is and what went
wrong; what the codebook's fit did not see is the split `test`. A metric's folder becomes a Space as it is, for
`evaluate.load`.
The scripts that make models, codebooks and corpora do the same at their end with `--push_to_hub`.

Large files are uploaded first and belong to nothing until the one commit at the end names them: whoever stops this, or
pulls meanwhile, never has half of it. Files of ours that an earlier commit held and this one does not are deleted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from endings import end_in_a_sentence
from publishing.hub import THINGS, publish


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="folder of a trained model, as of pretrain.py")
    what.add_argument("--codebook", type=Path, help="folder of a codebook, as fit_codebook.py makes it")
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
    if (args.metric or args.codebook) and (args.license or args.language):
        parser.error("--license and --language are about a model or a corpus; a metric says them in its card")
    return args


def main(arguments: list[str] | None = None) -> str:
    args = parse_arguments(arguments)
    (thing,) = (thing for thing in THINGS if getattr(args, thing))
    told = ("license", "language", "datasets", "base_models") if args.model else ()
    told = ("license", "language") if args.corpus else told
    return publish(
        thing, getattr(args, thing), args.repo_id, args.private, **{name: getattr(args, name) for name in told}
    )


if __name__ == "__main__":
    with end_in_a_sentence("Run the same command again: what was uploaded is not sent twice."):
        main()
