"""Does the recipe work on real pictures and real language? 520 YouCook II videos as stills, with little data.

    python benchmarks/quality_real_cooking.py --data ../shared/real_cooking --text ../shared/text
    python benchmarks/quality_real_cooking.py --full --json FILE.json      # three seeds and the curve, about an hour

`--data` holds `index.jsonl` and `frames/` (three stills a video, each with the annotator's sentence; 450 videos to
learn from, 70 to measure on), `--text` the spoken sentences of other videos (`yc2_asr_transcripts.jsonl`) and the
annotation file that says which are of the validation split; those are left out.

EfficientNet-Lite0 looks at a still, a codebook of 64 gives it one visual id. VideoBERT (three layers of MiniLM) first
reads what is said in other videos, once for all runs, then learns from stills and sentences. Nothing was chosen on the
70 videos: `--choose` trains without 70 of the 450 and measures on those, which is how prompts, rate, masks and steps
were chosen.

A thing's AUC: how well its score at a mask, given a step's still, tells the steps whose sentence names it from the
others; the mean over the commonest things. Beside it the same with another video's still, without any, and
regressions that were told the labels, on the same visual ids and on the features themselves.
"""

import argparse
import gc
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import datasets
import numpy as np
import torch
from accelerate.utils import set_seed
from kitchen.weights import weights_folder
from pretrain import start_accelerator
from quality.runs import figures_of, mean_and_error, show
from quality.stills import (
    CLIP_SECONDS,
    common_things,
    fit_many,
    look_at,
    read_speech,
    read_stills,
    share_of,
    thing_labels,
)
from quality_kitchen import small_text_model
from training.loop import Loop
from training.material import Material, make_collator, make_examples
from training.options import parse_options

from modeling_videobert import VideoBertForPreTraining
from processing import VideoBertProcessor
from processing.codebook import fit_codebook
from processing.evaluation import evaluate_alignment
from processing.evaluation.actions import mask_logits
from processing.evaluation.alignment import area_under_curve
from processing.evaluation.controls import other_videos

ROOT = Path(__file__).resolve().parents[1]
CODES, LAYERS, DECAY = 64, 3, 0.01
# Asked one after the other; a thing's score is the sum of what they say at all their masks.
PROMPTS = ("[MASK] [MASK] [MASK] [MASK] [MASK].", "add the [MASK].", "[MASK] the [MASK] in the [MASK].")
VERB_PROMPT = PROMPTS[0]  # whose first mask is the verb: sentences begin with it
COMMON = ["--freeze_input_embeddings", "false", "--max_length", "96", "--max_step", "1", "--warmup_steps", "50"]
COMMON += ["--batch_size", "32", "--logging_steps", "50", "--learning_rate", "1e-3", "--report_to", "none"]
COMMON += ["--mixed_precision", "auto", "--eval_steps", "100000", "--checkpointing_steps", "100000"]
TEXT_STAGE = ["--mixture", "1", "0", "0", "--language_probability", "0.2", "--vision_probability", "0.15"]
TEXT_STAGE += ["--max_joined", "1"]
JOINT_STAGE = ["--mixture", "0", "0.1", "0.9", "--language_probability", "0.85", "--vision_probability", "0.25"]
JOINT_STAGE += ["--alignment_start", "0.5", "--alignment_share", "0.3", "--max_joined", "2"]
TEXT_STEPS, JOINT_STEPS = 600, 400
CURVE = (0.25, 0.5, 1.0)


def still_rows(videos, visual_ids, fingerprint):
    """Rows whose clips are the stills, each under its sentence."""
    rows = []
    for video in videos:
        times = [(CLIP_SECONDS * place, CLIP_SECONDS * (place + 1)) for place in range(len(video["steps"]))]
        sentences = [
            {"text": step["sentence"].strip() + ".", "start": start, "end": end}
            for step, (start, end) in zip(video["steps"], times, strict=True)
        ]
        ids = visual_ids[video["video_id"]]
        rows.append(text_row(video["video_id"], sentences, len(ids) * CLIP_SECONDS, ids, fingerprint))
    return datasets.Dataset.from_list(rows)


def text_row(video_id, sentences, duration, visual_ids, fingerprint):
    return {
        "video_id": video_id,
        "duration": duration,
        "clip_seconds": CLIP_SECONDS,
        "has_speech": True,
        "sentences": sentences,
        "visual_ids": visual_ids,
        "codebook": fingerprint,
        "error": None,
        "notes": None,
    }


class RealCooking:
    """The videos, their features, codebook and processor; `choose`: what is measured on is a part of the training."""

    def __init__(self, data: Path, text: Path, runs: Path, choose: bool):
        self.text, self.runs = text, runs
        videos = read_stills(data)
        self.train = [video for video in videos if video["split"] == "training"]
        self.test = [video for video in videos if video["split"] == "validation"]
        if choose:
            self.test = share_of(self.train, 70 / 450, "choose")
            left_out = {video["video_id"] for video in self.test}
            self.train = [video for video in self.train if video["video_id"] not in left_out]
        saved = runs / "features.pt"
        if not saved.is_file():
            torch.save(look_at(videos, data / "frames", weights_folder("efficientnet-lite0")), saved)
        features = torch.load(saved, weights_only=True)
        self.features = {video["video_id"]: one for video, one in zip(videos, features, strict=True)}
        known = self.feature_rows(self.train)
        self.codebook = fit_codebook(known, levels=1, branches=CODES, progress=False, backbone="efficientnet-lite0")
        self.middle = known.mean(0)
        self.visual_ids = {name: self.codebook.encode(one).tolist() for name, one in self.features.items()}
        text_model = small_text_model(runs / "text_model", LAYERS)
        self.processor = VideoBertProcessor.from_models(str(weights_folder("bert-minilm-l6")), codebook=self.codebook)
        self.processor.save_pretrained(runs / "processor")
        self.text_model = str(text_model)
        self.things = common_things(self.train, self.processor.tokenizer)
        words = [self.processor.tokenizer(thing, add_special_tokens=False)["input_ids"][0] for thing in self.things]
        self.words = torch.tensor(words)

    def feature_rows(self, videos):
        return torch.cat([self.features[video["video_id"]] for video in videos])

    def rows(self, videos):
        return still_rows(videos, self.visual_ids, self.codebook.fingerprint)

    def speech_rows(self):
        """What is said in other videos, and what the annotators wrote of the training videos; no pictures."""
        annotated = json.loads((self.text / "youcookii_annotations_trainval.json").read_text())["database"]
        excluded = {name for name, video in annotated.items() if video["subset"] == "validation"}
        excluded |= {video["video_id"] for video in self.test}
        spoken = read_speech(self.text / "yc2_asr_transcripts.jsonl", excluded)
        spoken += 3 * [[step["sentence"] + "." for step in video["steps"]] for video in self.train]
        rows = []
        for number, sentences in enumerate(spoken):
            timed = [{"text": text, "start": place, "end": place + 1.0} for place, text in enumerate(sentences)]
            rows.append(text_row(f"speech_{number}", timed, float(len(timed)), [], self.codebook.fingerprint))
        return datasets.Dataset.from_list(rows)


def train(model, words, folder, rows, held_out, cooking, seed):
    """One stage; the model is trained in place."""
    source = ["--corpus", "-", "--processor", "-", "--text_model", cooking.text_model, "--output_dir", str(folder)]
    options = parse_options([*source, *COMMON, *words, "--seed", str(seed)])
    material = Material(rows, held_out, cooking.processor)
    accelerator = start_accelerator(options)
    set_seed(seed)
    train_data, held_out_data = make_examples(options, material, model.config)
    collator = make_collator(options, material, model.config)
    loop = Loop(accelerator, model, train_data, held_out_data.draw_epoch(0), collator, options)
    loop.run()
    accelerator.end_training()
    return accelerator.unwrap_model(loop.model, keep_fp32_wrapper=False)


def read_first(cooking, folder, steps):
    """The stage of words alone, done once; the folder of its model."""
    if not (folder / "config.json").is_file():
        model = VideoBertForPreTraining.from_text_checkpoint(
            cooking.text_model, centroids=cooking.codebook.centroids(), freeze_input_embeddings=False
        )
        words = [*TEXT_STAGE, "--max_steps", str(steps), "--alignment_share", "0"]
        held_out = cooking.rows(cooking.test)
        train(model, words, folder, cooking.speech_rows(), held_out, cooking, 0).save_pretrained(folder)
    return folder


def mask_scores(model, processor, prompt, visual_ids, words):
    """Log-probabilities of words at the masks of a prompt, `(steps, masks, words)`."""
    return torch.cat([found[..., words] for found in mask_logits(model, processor, visual_ids, 64, prompt)])


def thing_scores(model, cooking, visual_ids):
    """How much a thing is expected, `(steps, things)`: log of its expected count at the masks, over all prompts."""
    parts = [mask_scores(model, cooking.processor, prompt, visual_ids, cooking.words) for prompt in PROMPTS]
    return sum(part.logsumexp(1) for part in parts).numpy()


def mean_auc(scores, labels):
    return float(
        np.nanmean([area_under_curve(scores[:, thing], labels[:, thing]) for thing in range(scores.shape[1])])
    )


def verb_top5(model, cooking, train_videos, test, visual_ids):
    """The sentence's first word among the five likeliest first words, with the stills and with none."""
    tokenizer = cooking.processor.tokenizer
    first = [step["sentence"].split()[0].lower() for video in train_videos for step in video["steps"]]
    verbs = sorted({verb for verb in first if len(tokenizer(verb, add_special_tokens=False)["input_ids"]) == 1})
    words = torch.tensor(tokenizer.convert_tokens_to_ids(verbs))
    said = [step["sentence"].split()[0].lower() for video in test for step in video["steps"]]
    figures = {}
    for name, ids in (("verb_top5", visual_ids), ("verb_top5_prior", [[]] * len(visual_ids))):
        best = mask_scores(model, cooking.processor, VERB_PROMPT, ids, words)[:, 0].topk(5).indices
        hits = [verb in {verbs[place] for place in five} for verb, five in zip(said, best.tolist(), strict=True)]
        figures[name] = float(np.mean(hits))
    counts = sorted(set(first), key=first.count)[-5:]
    return figures | {"verb_top5_most_frequent": float(np.mean([verb in counts for verb in said]))}


def measure(cooking, share, seed, folder, text_stage, steps):
    """Train on a share of the videos and measure on those that are left out."""
    videos = share_of(cooking.train, share)
    model = VideoBertForPreTraining.from_pretrained(text_stage)
    rows, held_out = cooking.rows(videos), cooking.rows(cooking.test)
    model = train(model, [*JOINT_STAGE, "--max_steps", str(steps)], folder, rows, held_out, cooking, seed)
    own = [[one] for video in cooking.test for one in cooking.visual_ids[video["video_id"]]]
    names = [video["video_id"] for video in cooking.test for _ in video["steps"]]
    labels = thing_labels(cooking.test, cooking.things)
    others = [
        mean_auc(thing_scores(model, cooking, [own[place] for place in other_videos(names, draw)]), labels)
        for draw in range(5)
    ]
    figures = {
        "auc_true": mean_auc(thing_scores(model, cooking, own), labels),
        "auc_other": float(np.mean(others)),
        "auc_none": mean_auc(thing_scores(model, cooking, [[]] * len(own)), labels),
    }
    figures |= probe(cooking, videos, labels) | verb_top5(model, cooking, videos, cooking.test, own)
    alignment = evaluate_alignment(model, cooking.processor, held_out, max_length=96, max_joined=2)
    figures |= {key: value for key, value in alignment.items() if "auc" in key or "pairs" in key}
    del model
    gc.collect()
    return figures


def probe(cooking, videos, labels):
    """Regressions that were told the labels of the training videos."""
    told = thing_labels(videos, cooking.things)
    one_hot = torch.eye(CODES)
    ids = [
        torch.tensor([i for video in part for i in cooking.visual_ids[video["video_id"]]])
        for part in (videos, cooking.test)
    ]
    tokens = fit_many(one_hot[ids[0]], told, DECAY)(one_hot[ids[1]])
    raw = [
        torch.nn.functional.normalize(cooking.feature_rows(part) - cooking.middle, dim=-1)
        for part in (videos, cooking.test)
    ]
    return {
        "auc_token_probe": mean_auc(tokens, labels),
        "auc_raw_probe": mean_auc(fit_many(raw[0], told, DECAY)(raw[1]), labels),
    }


def collect(found):
    """The figures that the project is judged by: means over the seeds, of all training videos."""
    whole = found[max(found)]
    keys = [key for key, value in whole[0].items() if isinstance(value, float) and key != "seconds"]
    figures = {key: mean_and_error([one[key] for one in whole])[0] for key in keys}
    figures["excess_of_token_probe"] = (figures["auc_true"] - 0.5) / (figures["auc_token_probe"] - 0.5)
    figures["data_curve"] = [
        {"videos_percent": 100 * share}
        | {key: mean_and_error([one[key] for one in runs])[0] for key in ("auc_true", "auc_token_probe")}
        for share, runs in sorted(found.items())
    ]
    return figures | {"seeds": len(whole), "runs": {str(share): runs for share, runs in found.items()}}


def tables(found, things, videos):
    """What came out, as markdown."""
    lines = [
        f"{len(things)} things: {', '.join(things)}.",
        "",
        f"{3 * videos} stills of {videos} videos left out.",
        "",
    ]
    rows = {
        "auc_true": "true video", "auc_other": "another video", "auc_none": "no video",
        "auc_token_probe": "probe on the same visual ids", "auc_raw_probe": "probe on the features",
        "verb_top5": "verb top-5", "verb_top5_prior": "verb top-5, no video",
        "verb_top5_most_frequent": "verb top-5, the most frequent ones",
        "alignment_auc_other_video": "alignment, `[CLS]`, AUC against another video",
        "likelihood_gain_auc_other_video": "alignment, likelihood gain, AUC against another video",
    }  # fmt: skip
    shares = sorted(found)
    lines += ["| | " + " | ".join(f"{share:.0%} of the videos" for share in shares) + " |"]
    lines += ["|---" * (len(shares) + 1) + "|"]
    for key, title in rows.items():
        lines.append(
            f"| {title} | " + " | ".join(show([one.get(key) for one in found[s]], 1, 3) for s in shares) + " |"
        )
    return "\n".join([*lines, "| seeds | " + " | ".join(str(len(found[share])) for share in shares) + " |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "real_cooking")
    parser.add_argument("--text", type=Path, default=ROOT.parent / "shared" / "text")
    parser.add_argument("--json", type=Path, help="write the figures here, and a table beside it")
    parser.add_argument("--full", action="store_true", help="three seeds, and a quarter and half of the videos")
    parser.add_argument("--choose", action="store_true", help="measure on training videos that are left out")
    parser.add_argument("--steps", type=int, default=JOINT_STEPS)
    parser.add_argument("--text_steps", type=int, default=TEXT_STEPS)
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "quality_real_cooking", help="keeps what was done"
    )
    args = parser.parse_args()
    if not (args.data / "index.jsonl").is_file():
        parser.error(f"--data {args.data} holds no index.jsonl: the stills are not at hand")
    datasets.disable_progress_bars()
    args.runs.mkdir(parents=True, exist_ok=True)
    cooking = RealCooking(args.data, args.text, args.runs, args.choose)
    kind = "choose" if args.choose else "share"
    text_stage = read_first(cooking, args.runs / f"text_stage_{kind}", args.text_steps)
    runs = [(1.0, 0)] if not args.full else [(share, seed) for seed in range(3) for share in reversed(CURVE)]
    found = {}
    for number, (share, seed) in enumerate(runs):

        def work(place, share=share, seed=seed):
            return measure(cooking, share, seed, place, text_stage, args.steps)

        name = f"{kind}_{round(100 * share)}"
        found.setdefault(share, []).append(figures_of(args.runs, name, seed, work, len(runs) - number - 1))
        if args.json:
            args.json.write_text(json.dumps(collect(found), indent=2) + "\n")
            args.json.with_suffix(".md").write_text(tables(found, cooking.things, len(cooking.test)) + "\n")
    print("\n" + tables(found, cooking.things, len(cooking.test)))


if __name__ == "__main__":
    main()
