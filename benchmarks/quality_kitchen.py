"""Does the recipe work, and which parts of it matter? On the kept rows of the kitchen, from a small text BERT.

    python benchmarks/quality_kitchen.py                            # one seed of the recipe, some eight minutes
    python benchmarks/quality_kitchen.py --full --json FILE.json    # all seeds and variants, about five hours
    python benchmarks/quality_kitchen.py --smoke                    # two steps on few videos: shows that it runs

Runs that were done before are read from `--runs`; a stopped benchmark goes on with the next one. Beside FILE.json it
writes FILE.md and FILE.png. 200 videos to learn from, 60 held out; the recipe is `examples/configs/kitchen.yaml`,
which was chosen on a third split of the 200. Labels are used by the probe and for scoring only.

Variants leave one part out, or change it; each stands beside the recipe with the same seeds. `hard_…`: the same
videos, narrated anew in writing: words up to 3 s before or after their pictures, half of them chatter. Two answers
that need no network stand beside the model: pointwise mutual information of words and visual ids, and the words said
over the nearest training segment. `two_codes`, `path_as_tokens`: two visual ids a clip, of a codebook that is fitted
on the features; for these, and for a probe on them, the kept videos are drawn and looked at once more.
"""

import argparse
import gc
import hashlib
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import datasets
import numpy as np
import torch
from accelerate.utils import set_seed
from kitchen.prepare import KEPT, read_lines
from kitchen.recipes import Step, narrate
from kitchen.weights import weights_folder
from pretrain import make_model, measure_alignment, start_accelerator
from quality.kept_features import ids_as_kept, kept_features, raw_probes, with_codes
from quality.runs import figures_of, mean_and_error, show
from training.forecasting import STEPS, train_to_forecast
from training.loop import Loop
from training.material import Material, make_collator, make_examples
from training.options import parse_options
from transformers import BertModel

from modeling_videobert import VideoBertForPreTraining
from modeling_videobert.text_start_videobert import visual_rows
from processing import VideoBertProcessor, VisualCodebook
from processing.corpus import read_rows
from processing.evaluation import evaluate_actions, evaluate_alignment, step_segments
from processing.evaluation.counting import mutual_information_ranks, nearest_transcript_ranks
from processing.evaluation.forecasting import forecast_figures
from processing.evaluation.truth import ASKED
from processing.training_data import row_segments

ROOT = Path(__file__).resolve().parents[1]
RECIPE, FORECAST, FEATURES, CURVE = "recipe", "forecast", "features", {"videos_10": 0.1, "videos_30": 0.3}
WAYS = ("model", "markov2", "markov1", "copy_last", "unigram")
# Twice the demo's steps: what the minutes of the demo leave unlearned.
LONG = {"long": ["--max_steps", "1600"]}
# By name what is changed, as options of pretrain.py; an empty one changes rows or weights, see below.
ABLATIONS = {
    "no_video_text": ["--mixture", "0.5", "0.5", "0"],
    "no_alignment": ["--alignment_share", "0", "--alignment_weight", "0"],
    "no_joint_cloze": ["--joint_cloze", "false"],
    "masked_pairs": ["--twins", "false", "--masked_pairs", "true", "--alignment_start", "0"],
    "no_joining": ["--max_joined", "1"],
    "no_subsampling": ["--max_step", "1"],
    "random_codebook": [],
    "random_visual_rows": [],
    "frozen_embeddings": ["--freeze_input_embeddings", "true"],
}
HARD = {"hard": [], "hard_no_joining": ["--max_joined", "1"], "hard_no_subsampling": ["--max_step", "1"]}
CODES = {"two_codes": {"residual_codes": 2}, "path_as_tokens": {"levels_as_tokens": True}}
HARD_SHIFT, HARD_CHATTER, LETTER_SECONDS = 3.0, 0.5, 0.065


def small_text_model(folder, layers):
    """MiniLM's first layers, as a folder."""
    model = BertModel.from_pretrained(weights_folder("bert-minilm-l6"))
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    return folder


def kept_material():
    """The kept rows; nothing fresh, so that all runs and machines learn from the same."""
    codebook = VisualCodebook.from_pretrained(KEPT / "codebook")
    processor = VideoBertProcessor.from_models(str(weights_folder("bert-minilm-l6")), codebook=codebook)
    truth = {line["video_id"]: line["steps"] for line in read_lines(KEPT / "truth.jsonl")}
    return Material(read_rows(KEPT / "train.parquet"), read_rows(KEPT / "test.parquet"), processor, truth)


def subset(rows, share):
    """So many of the videos, the smaller share always a part of the larger."""
    order = sorted(rows["video_id"], key=lambda video_id: hashlib.sha256(video_id.encode()).hexdigest())
    chosen = set(order[: round(share * len(order))])
    return rows.filter(lambda row: row["video_id"] in chosen)


def narrate_anew(rows, truth):
    """The same pictures under a worse narration, which is planned and not heard."""
    rate = 100

    def change(row, number):
        steps = [Step(**step) for step in truth[row["video_id"]]]
        sentences, _ = narrate(
            np.random.default_rng([number, len(rows)]),
            steps,
            lambda text: np.zeros(round(len(text) * LETTER_SECONDS * rate), np.float32),
            rate,
            HARD_CHATTER,
            HARD_SHIFT,
        )
        return {"sentences": [{"text": one.text, "start": one.start, "end": one.end} for one in sentences]}

    return rows.map(change, with_indices=True)


def requantise(rows, centroids, seed):
    """Visual ids of a codebook of random directions; a clip is known by the centroid of its leaf."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(centroids.shape, generator=generator) * centroids.std(0) + centroids.mean(0)
    new = torch.cdist(centroids, random).argmin(1)
    return [one.map(lambda row: {"visual_ids": new[row["visual_ids"]].tolist()}) for one in rows], random


def set_visual_rows(model, rows):
    with torch.no_grad():
        offset = model.config.visual_token_offset
        model.get_input_embeddings().weight[offset : offset + len(rows)] = rows


def train_variant(name, changes, seed, folder, material, text_model):
    """Train as pretrain.py does; the model and the material that it learned from."""
    if name in CODES:
        material = with_codes(material, kept_features(folder.parent / "kept", material), CODES[name], seed)
    words = ["--output_dir", str(folder), "--text_model", str(text_model), "--seed", str(seed), "--report_to", "none"]
    words += ["--eval_steps", "100000", "--checkpointing_steps", "100000"]
    options = parse_options(words + changes)
    train, test = material.train_rows, material.test_rows
    if name in CURVE:
        train = subset(train, CURVE[name])
    if name in HARD:
        train, test = (narrate_anew(rows, material.truth) for rows in (train, test))
    random = None
    if name == "random_codebook":
        (train, test), random = requantise((train, test), material.processor.codebook.centroids(), seed)
    material = Material(train, test, material.processor, material.truth)
    accelerator = start_accelerator(options)
    set_seed(seed)
    model = make_model(options, material)
    if random is not None:
        set_visual_rows(model, visual_rows(random, model.get_input_embeddings().weight.data))
    if name == "random_visual_rows":
        set_visual_rows(
            model, torch.randn(len(material.processor.codebook.centroids()), model.config.hidden_size) * 0.02
        )
    train_data, held_out = make_examples(options, material, model.config)
    loop = Loop(
        accelerator, model, train_data, held_out.draw_epoch(0), make_collator(options, material, model.config), options
    )
    loop.run()
    accelerator.end_training()
    return accelerator.unwrap_model(loop.model, keep_fp32_wrapper=False), options, material, loop.final_figures()


def measure(name, changes, seed, folder, material, text_model):
    """Figures of one run; the recipe's own are measured in all ways."""
    model, options, material, figures = train_variant(name, changes, seed, folder, material, text_model)
    model.eval()
    segments = step_segments(material.test_rows, material.truth)
    train_segments = step_segments(material.train_rows, material.truth)
    seen = {(one["verb"], one["object"]) for one in step_segments(read_rows(KEPT / "train.parquet"), material.truth)}
    unseen = [one for one in segments if (one["verb"], one["object"]) not in seen]
    whole = name in (RECIPE, "hard", *LONG)
    figures |= evaluate_actions(model, material.processor, segments, 32, train_segments if whole else None)
    figures |= {f"unseen_{key}": value for key, value in evaluate_actions(model, material.processor, unseen).items()}
    if whole:
        parts = ("max_length", "max_joined", "trailing_seconds")
        figures |= evaluate_alignment(
            model,
            material.processor,
            material.test_rows,
            material.train_rows if seed == 0 else None,  # the regression is the same for all seeds
            **{part: getattr(options.segments, part) for part in parts},
        )
        model.save_pretrained(folder / "model")
        figures |= count_only(material, segments, options.segments.trailing_seconds)
    else:
        figures |= measure_alignment(model, options, material)
    del model
    gc.collect()
    return {key: value for key, value in figures.items() if isinstance(value, (int, float, type(None)))}


def measure_forecasts(model_folder, material, steps):
    """What a model of the recipe expects next, after it was asked for that; beside Markov chains on the same rows."""
    model = VideoBertForPreTraining.from_pretrained(model_folder)
    train_to_forecast(model, material.processor, material.train_rows, steps)
    found = forecast_figures(model, material.processor, material.train_rows, material.test_rows)
    figures = {"forecast_top1": found["forecast_top1"], "markov2_top1": found["forecast_markov2"]}
    for horizon, ways in found["forecast"].items():
        figures |= {f"{way}_{horizon}": ways[way]["top1"] for way in (*WAYS, "gain") if way in ways}
        figures[f"gain_{horizon}_se"] = ways["gain"]["top1_se"]
    return figures


def count_only(material, segments, trailing_seconds):
    """The two answers that need no network."""
    heard = [part._asdict() for row in material.train_rows for part in row_segments(row, trailing_seconds)]
    heard = [part for part in heard if part["text"] and part["visual_ids"]]
    figures = {}
    for asked in ASKED:
        figures[f"pmi_{asked}"] = float((mutual_information_ranks(heard, segments, asked) <= 1).mean())
        figures[f"nearest_{asked}"] = float((nearest_transcript_ranks(heard, segments, asked) <= 1).mean())
    return figures


def plan_runs(full, seeds):
    """Name, options and seed of each run, what is most wanted first."""
    if not full:
        return [(RECIPE, [], 0), (FORECAST, [], 0)]
    curve = [(name, [], seed) for seed in range(seeds) for name in CURVE]
    variants = [(name, changes, 0) for name, changes in (ABLATIONS | HARD | dict.fromkeys(CODES, [])).items()]
    first = [(RECIPE, [], seed) for seed in range(seeds)] + curve[: len(CURVE)] + [(FEATURES, [], 0)]
    forecasts = [(FORECAST, [], seed) for seed in range(seeds)]
    long = [(name, changes, seed) for name, changes in LONG.items() for seed in range(seeds)]
    return first + forecasts + long + variants + curve[len(CURVE) :]


def collect(found):
    """The figures that the project is judged by, means over the seeds."""
    recipe = found[RECIPE]

    def mean(key):
        return mean_and_error([one.get(key) for one in recipe])[0]

    keys = {"verb_top1": "verb_top1", "object_top1": "object_top1", "verb_probe": "verb_top1_token_probe"}
    keys |= {"object_probe": "object_top1_token_probe", "pmi_verb": "pmi_verb", "pmi_object": "pmi_object"}
    keys |= {"nearest_verb": "nearest_verb", "nearest_object": "nearest_object"}
    keys |= {"auc_other_video": "alignment_auc_other_video", "auc_same_video": "alignment_auc_same_video"}
    for kind in ("other_video", "same_video"):
        keys |= {f"gain_auc_{kind}": f"likelihood_gain_auc_{kind}", f"regression_auc_{kind}": f"regression_auc_{kind}"}
    figures = {key: mean(name) for key, name in keys.items()}
    gaps = [mean(f"{asked}_top1_shuffled") - mean(f"{asked}_top1_prior") for asked in ASKED]
    figures["shuffled_gap"] = max(gaps, key=abs)
    over = [mean(f"unseen_{asked}_top1") / max(mean(f"unseen_{asked}_top1_prior"), 1e-9) for asked in ASKED]
    figures["unseen_over_prior"] = min(over)
    curve = [(100 * share, name) for name, share in CURVE.items()] + [(100.0, RECIPE)]
    shown = ("verb_top1", "object_top1", "alignment_auc")
    figures["data_curve"] = [
        {"videos_percent": percent} | {key: mean_and_error([one[key] for one in found[name]])[0] for key in shown}
        for percent, name in curve
        if name in found
    ]
    for key in ("forecast_top1", "markov2_top1"):
        figures[key] = mean_and_error([one[key] for one in found.get(FORECAST, ())])[0]
    for kind in ("other_video", "same_video"):
        for score, key in (("alignment", "auc"), ("likelihood_gain", "gain_auc")):
            figures[f"long_{key}_{kind}"] = mean_and_error(
                [one[f"{score}_auc_{kind}"] for one in found.get("long", ())]
            )[0]
    for one in found.get(FEATURES, ()):
        figures |= {key: value for key, value in one.items() if key != "seconds"}
    figures["seeds"] = len(recipe)
    figures["runs"] = found
    return figures


def tables(found):
    """What came out, as markdown: mean ± standard error over seeds where there are several."""
    recipe = found[RECIPE]
    lines = [f"{len(recipe)} seed(s); held-out videos; mean ± standard error over seeds.", ""]
    lines += ["| | verb top-1 | object top-1 | verb, unseen pairs | object, unseen pairs |", "|---|---|---|---|---|"]
    rows = {"": "true video", "_shuffled": "another video", "_prior": "no video", "_chance": "chance"}
    rows["_token_probe"] = "supervised on the same tokens"
    for ending, title in rows.items():
        cells = [
            [one.get(f"{pre}{asked}_top1{ending}") for one in recipe] for pre in ("", "unseen_") for asked in ASKED
        ]
        lines.append(f"| {title} | " + " | ".join(show(cell) for cell in cells) + " |")
    for one in found.get(FEATURES, ()):
        cells = [show([one[f"{asked}_raw_probe"]]) for asked in ASKED]
        lines.append("| supervised on the features | " + " | ".join(cells) + " | – | – |")
    for way, title in (("pmi", "PMI of words and visual ids"), ("nearest", "words over the nearest segment")):
        lines.append(
            f"| {title} | " + " | ".join(show([one[f"{way}_{a}"] for one in recipe]) for a in ASKED) + " | – | – |"
        )
    lines += ["", "| alignment, AUC | another video | same video |", "|---|---|---|"]
    scores = {"alignment": "`[CLS]`", "likelihood_gain": "the cloze's likelihood gain", "regression": "regression"}
    ways = [(RECIPE, score, title) for score, title in scores.items()]
    ways += [(name, score, f"{scores[score]}, {name}") for name in LONG for score in list(scores)[:2] if name in found]
    for name, score, title in ways:
        cells = [[one.get(f"{score}_auc_{kind}") for one in found[name]] for kind in ("other_video", "same_video")]
        lines.append(f"| {title} | " + " | ".join(show(cell, 1, 3) for cell in cells) + " |")
    lines += ["", "| the right visual token, clips ahead | 1 | 2 | 4 | 8 |", "|---" * 5 + "|"]
    for way in WAYS:
        cells = [show([one.get(f"{way}_{horizon}") for one in found.get(FORECAST, ())]) for horizon in (1, 2, 4, 8)]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| variant | seeds | verb top-1 | object top-1 | unseen verb | unseen object | AUC other | AUC same |",
    ]
    lines += ["|---" * 8 + "|"]
    for name, figures in found.items():
        if name in (FORECAST, FEATURES):
            continue
        keys = [f"{pre}{asked}_top1" for pre in ("", "unseen_") for asked in ASKED]
        cells = [show([one.get(key) for one in figures]) for key in keys]
        kinds = ("other_video", "same_video")
        cells += [show([one.get(f"alignment_auc_{kind}") for one in figures], 1, 3) for kind in kinds]
        lines.append(f"| {name} | {len(figures)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found, path):
    """The same as a picture: conditions, data curve, variants."""
    from matplotlib import pyplot as plt

    plt.switch_backend("Agg")
    figure, axes = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    colours = dict(zip(ASKED, ("tab:blue", "tab:orange"), strict=True))
    rows = ["", "_shuffled", "_prior", "_token_probe"]
    for place, asked in enumerate(ASKED):
        pairs = [mean_and_error([one[f"{asked}_top1{row}"] for one in found[RECIPE]]) for row in rows]
        pairs += [mean_and_error([one[f"{way}_{asked}"] for one in found[RECIPE]]) for way in ("pmi", "nearest")]
        where = np.arange(len(pairs)) + 0.4 * place
        errors = np.nan_to_num([100 * error for _, error in pairs])
        axes[0].bar(where, [100 * mean for mean, _ in pairs], 0.38, yerr=errors, label=asked, color=colours[asked])
    names = ["true video", "another", "none", "probe", "PMI", "nearest"]
    axes[0].set_xticks(np.arange(len(names)) + 0.2, names)
    axes[0].set_title("zero-shot top-1, %")
    axes[0].legend()
    curve = [(100 * share, name) for name, share in CURVE.items() if name in found] + [(100.0, RECIPE)]
    for key in ("verb_top1", "object_top1", "alignment_auc"):
        pairs = [mean_and_error([one[key] for one in found[name]]) for _, name in curve]
        errors = np.nan_to_num([100 * error for _, error in pairs])
        axes[1].errorbar(
            [percent for percent, _ in curve], [100 * mean for mean, _ in pairs], errors, marker="o", label=key
        )
    axes[1].set(title="by share of the training videos, %", xlabel="videos, %", ylim=(0, 102))
    axes[1].legend()
    order = [name for name in found if name not in (FORECAST, FEATURES, *CURVE)][::-1]
    for place, key in enumerate(("verb_top1", "object_top1", "alignment_auc")):
        values = [100 * mean_and_error([one.get(key) for one in found[name]])[0] for name in order]
        axes[2].barh(np.arange(len(order)) + 0.26 * place, values, 0.24, label=key)
    axes[2].set_yticks(np.arange(len(order)) + 0.26, order)
    axes[2].set(title="variants, %", xlim=(0, 100))
    axes[2].legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here, and a table and a picture beside it")
    parser.add_argument("--full", action="store_true", help="all seeds and variants")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6, help="of MiniLM's six; three learn no alignment in this time")
    parser.add_argument(
        "--smoke", action="store_true", help="two steps of a layer on few videos, in a folder of its own"
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "quality_kitchen", help="keeps what was done")
    args = parser.parse_args()
    datasets.disable_progress_bars()
    material, steps = kept_material(), []
    if args.smoke:
        args.runs, args.layers, steps = Path(tempfile.mkdtemp(prefix="quality_")), 1, ["--max_steps", "2"]
        material.train_rows, material.test_rows = (
            rows.select(range(16)) for rows in (material.train_rows, material.test_rows)
        )
    text_model = small_text_model(args.runs / "text_model", args.layers)
    runs, found = plan_runs(args.full, args.seeds), {}
    for number, (name, changes, seed) in enumerate(runs):

        def work(place, name=name, changes=changes, seed=seed):
            if name == FORECAST:
                return measure_forecasts(
                    args.runs / f"{RECIPE}_{seed}" / "model", material, 2 if args.smoke else STEPS
                )
            if name == FEATURES:
                features = kept_features(args.runs / "kept", material)
                return raw_probes(material, features) | {"visual_ids_as_kept": ids_as_kept(material, features)}
            return measure(name, changes + steps, seed, place, material, text_model)

        found.setdefault(name, []).append(figures_of(args.runs, name, seed, work, len(runs) - number - 1))
        if args.json:
            args.json.write_text(json.dumps(collect(found), indent=2) + "\n")
            args.json.with_suffix(".md").write_text(tables(found) + "\n")
            draw(found, args.json.with_suffix(".png"))
    print("\n" + tables(found))


if __name__ == "__main__":
    main()
