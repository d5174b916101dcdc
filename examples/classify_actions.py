"""Zero-shot action classification (paper, section 4.4): which deed, and on what? Nothing is trained for it.

    python examples/classify_actions.py --model runs/kitchen --corpus runs/kitchen/rows/held_out.parquet \
        --truth runs/kitchen/rows/truth.jsonl

The model reads "now let me show you how to [MASK] the [MASK]." with a step's visual tokens: the first mask is the
verb, the second the object. A line of the truth file is one video, with times in seconds:
`{"video_id": …, "steps": [{"verb", "object", "start", "end"}]}`. With `--train_corpus` and `--train_truth`, a
supervised classifier on the same visual tokens says how much they hold at all.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from torch.nn import functional as F

from processing.segments import clips_between
from processing.sequence_videobert import joint_sequence

# With the full stop that ends every recognised sentence: without it, the last mask of the text asks for that stop.
TEMPLATE = "now let me show you how to [MASK] the [MASK]."
ASKED = ("verb", "object")
TOPS = (1, 5)
# How a condition is called in the results' keys and in the table.
CONDITIONS = {
    "": "true video",
    "_shuffled": "another video (shuffled)",
    "_prior": "no video (language prior)",
    "_chance": "chance among the classes",
    "_token_probe": "supervised on the same tokens",
}
MISS = np.inf


def step_segments(rows: Iterable[Mapping], truth: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """
    The steps to classify.

    Args:
        rows (`Iterable[Mapping]`): rows of the corpus; those whose video is not in `truth` are left out.
        truth (`Mapping[str, Sequence[Mapping]]`):
            by video id its steps, each with `verb`, `object`, `start` and `end` (seconds).

    Returns:
        `list[dict]`: `video_id`, `visual_ids` (of the clips whose middle lies in `[start, end)`), `verb`, `object`,
        `start`, `end`. A step without any clip stays, with no visual ids.
    """
    segments = []
    for row in rows:
        for step in truth.get(row["video_id"], ()):
            first, last = clips_between(step["start"], step["end"], len(row["visual_ids"]))
            step = {name: step[name] for name in (*ASKED, "start", "end")}
            segments.append({"video_id": row["video_id"], "visual_ids": list(row["visual_ids"][first:last]), **step})
    return segments


@torch.inference_mode()
def mask_logits(model, processor, visual_ids: Sequence[Sequence[int]], batch_size=32) -> Iterator[torch.Tensor]:
    """
    What the model says at the two masks, with each of N videos.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]): put into evaluation mode.
        processor ([`VideoBertProcessor`] or its tokenizer): for the words.
        visual_ids (`Sequence[Sequence[int]]`): one list a video; an empty one asks without video.
        batch_size (`int`, defaults to 32): sequences at a time.

    Yields:
        `torch.Tensor` of shape (batch, 2, text_vocab_size): float32 scores of all words, verb first.
    """
    model.eval()
    tokenizer, config = getattr(processor, "tokenizer", processor), model.config
    text_ids = tokenizer(TEMPLATE, add_special_tokens=False)["input_ids"]
    # The template stands at the front, behind [CLS], and joint_sequence cuts only the end of long videos.
    masks = [1 + place for place, token in enumerate(text_ids) if token == tokenizer.mask_token_id]
    ids = (tokenizer.cls_token_id, config.join_token_id, tokenizer.sep_token_id, config.visual_token_offset)
    for start in range(0, len(visual_ids), batch_size):
        sequences = [
            joint_sequence(text_ids, one, *ids, config.max_position_embeddings)
            for one in visual_ids[start : start + batch_size]
        ]
        length = max(len(sequence) for sequence, _ in sequences)
        inputs = {
            "input_ids": [one + [tokenizer.pad_token_id] * (length - len(one)) for one, _ in sequences],
            "token_type_ids": [types + [0] * (length - len(types)) for _, types in sequences],
            "attention_mask": [[1] * len(one) + [0] * (length - len(one)) for one, _ in sequences],
        }
        inputs = {name: torch.tensor(values, device=model.device) for name, values in inputs.items()}
        hidden_states = model.base_model(**inputs).last_hidden_state
        # The vocabulary head at the two masks only: with 50,000 rows it costs more than the encoder.
        yield model.cloze_head(hidden_states[:, masks])[..., : config.text_vocab_size].float()


def rank_words(logits: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """
    The place of each true word among all words, 1 for the best.

    Nothing is left out and nothing skipped; words with the same score count as better ones, so that a model that says
    nothing earns nothing.

    Args:
        logits (`torch.Tensor` of shape (N, V)): scores.
        words (`torch.Tensor` of shape (N,)): ids of the true words.

    Returns:
        `torch.Tensor` of shape (N,): int64, 1 … V.
    """
    # "Not less" rather than "at least": NaN is neither, and must not come first.
    return (~(logits < logits.gather(1, words[:, None]))).sum(dim=1)


def action_ranks(model, processor, segments: Sequence[Mapping], visual_ids, batch_size: int) -> dict[str, np.ndarray]:
    """Ranks of the true verb and object, each (N,), when the segments are asked with these `visual_ids`."""
    tokenizer = getattr(processor, "tokenizer", processor)
    word_ids = {
        asked: [tokenizer(segment[asked], add_special_tokens=False)["input_ids"] for segment in segments]
        for asked in ASKED
    }
    ranks = {asked: [] for asked in ASKED}
    for logits in mask_logits(model, processor, visual_ids, batch_size):
        done = len(ranks[ASKED[0]])
        for place, asked in enumerate(ASKED):
            ids = word_ids[asked][done : done + len(logits)]
            words = torch.tensor([one[0] for one in ids], device=logits.device)
            found = rank_words(logits[:, place], words).tolist()
            # One mask holds one WordPiece: a longer word cannot be found. That is a miss, no reason to leave it out.
            ranks[asked] += [rank if len(one) == 1 else MISS for rank, one in zip(found, ids, strict=True)]
    return {asked: np.array(values, dtype=float) for asked, values in ranks.items()}


def other_videos(video_ids: Sequence[str], seed: int = 0) -> np.ndarray | None:
    """
    A random order in which every place gets something of another video.

    Args:
        video_ids (`Sequence[str]`): N ids.
        seed (`int`, defaults to 0): of the order.

    Returns:
        `np.ndarray` of shape (N,): indices, or `None` if one video has more than half of the places.
    """
    rng, largest = np.random.default_rng(seed), max(Counter(video_ids).values())
    if 2 * largest > len(video_ids):
        return None
    unique = sorted(set(video_ids))
    turn = dict(zip(unique, rng.permutation(len(unique)), strict=True))
    shuffled = rng.permutation(len(video_ids))
    # Sorted by video, a shift by the largest video's size leads out of every video.
    grouped = shuffled[np.argsort([turn[video_ids[place]] for place in shuffled], kind="stable")]
    order = np.empty(len(video_ids), dtype=int)
    order[grouped] = np.roll(grouped, -largest)
    return order


def token_probe_ranks(train: Sequence[Mapping], test: Sequence[Mapping], asked: str, seed: int = 0) -> np.ndarray:
    """
    Ranks of the true classes under a supervised classifier that sees the same visual tokens: what they hold at all.

    Multinomial logistic regression over bags of visual tokens. How tokens are counted and how strongly weights are
    held back is chosen on a quarter of the training videos; then all of them train it.

    Args:
        train, test (`Sequence[Mapping]`): segments with `video_id`, `visual_ids` and the class.
        asked (`str`): `verb` or `object`.
        seed (`int`, defaults to 0): of the split.

    Returns:
        `np.ndarray` of shape (len(test),): 1 for the best; infinite for a class that training never shows.
    """
    classes = sorted({segment[asked] for segment in train})
    columns = {token: place for place, token in enumerate(sorted({i for one in train for i in one["visual_ids"]}))}
    bags, test_bags = _bags(train, columns), _bags(test, columns)
    target = torch.tensor([classes.index(segment[asked]) for segment in train])
    videos = sorted({segment["video_id"] for segment in train})
    chosen = set(np.random.default_rng(seed).permutation(videos)[: max(1, len(videos) // 4)].tolist())
    held_out = torch.tensor([segment["video_id"] in chosen for segment in train])

    def held_out_loss(setting):
        count, decay = setting
        fit = _fit_linear(count(bags[~held_out]), target[~held_out], len(classes), decay)
        return F.cross_entropy(fit(count(bags[held_out])), target[held_out]).item()

    counts = (lambda bag: (bag > 0).float(), torch.sqrt, lambda bag: F.normalize(torch.sqrt(bag), dim=1))
    settings = [(count, decay) for count in counts for decay in (1e-4, 1e-3, 1e-2, 1e-1)]
    count, decay = min(settings, key=held_out_loss) if len(videos) > 1 else settings[1]
    scores = _fit_linear(count(bags), target, len(classes), decay)(count(test_bags))
    ranks = np.full(len(test), MISS)
    known = [place for place, segment in enumerate(test) if segment[asked] in classes]
    truth = torch.tensor([classes.index(test[place][asked]) for place in known], dtype=torch.long)
    ranks[known] = rank_words(scores[known], truth)
    return ranks


def _bags(segments, columns) -> torch.Tensor:
    bags = torch.zeros(len(segments), len(columns))
    for number, segment in enumerate(segments):
        for token in segment["visual_ids"]:
            if token in columns:
                bags[number, columns[token]] += 1
    return bags


def _fit_linear(inputs: torch.Tensor, target: torch.Tensor, num_classes: int, decay: float):
    """The linear classifier with the least mean cross-entropy + `decay`/2 · squared weights, found by L-BFGS."""
    weight = torch.zeros(num_classes, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weight.T + bias, target) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weight, bias = weight.detach(), bias.detach()
    return lambda new: new @ weight.T + bias


def evaluate_actions(
    model, processor, segments: Sequence[Mapping], batch_size=32, train_segments: Sequence[Mapping] | None = None
) -> dict[str, float | int | None]:
    """
    Zero-shot accuracies with the true video, and what they must be compared with.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]): the model.
        processor ([`VideoBertProcessor`] or its tokenizer): for the words.
        segments (`Sequence[Mapping]`):
            N steps with `visual_ids`, `verb`, `object` and `video_id`, as of [`step_segments`].
        batch_size (`int`, defaults to 32): sequences at a time.
        train_segments (`Sequence[Mapping]`, *optional*):
            labelled steps of the training videos, for the token probe only.

    Returns:
        `dict`: `{verb,object}_top{1,5}` with the suffixes `""` (true video), `_shuffled` (visual tokens of another
        video, which may by chance show the same), `_prior` (words alone), `_chance` (1 and 5 of the classes that
        occur) and `_token_probe`, each with its binomial standard error `…_se`, and `num_segments`. `None` where a
        figure cannot be had: shuffled with one video only, the probe without `train_segments`.

    Raises:
        `ValueError`: there are no segments.
    """
    if not segments:
        raise ValueError("There are no segments to classify: no video id of the truth is among the rows.")
    own = [segment["visual_ids"] for segment in segments]
    order = other_videos([segment["video_id"] for segment in segments])
    ranks = {"": action_ranks(model, processor, segments, own, batch_size)}
    ranks["_prior"] = action_ranks(model, processor, segments, [[]] * len(segments), batch_size)
    if order is not None:
        ranks["_shuffled"] = action_ranks(model, processor, segments, [own[place] for place in order], batch_size)
    if train_segments:
        ranks["_token_probe"] = {asked: token_probe_ranks(train_segments, segments, asked) for asked in ASKED}

    results = {"num_segments": len(segments)}
    for asked in ASKED:
        classes = {segment[asked] for segment in [*segments, *(train_segments or ())]}
        for top in TOPS:
            for condition in CONDITIONS:
                share = se = None
                if condition == "_chance":
                    share, se = min(1.0, top / len(classes)), 0.0
                elif condition in ranks:
                    share = float((ranks[condition][asked] <= top).mean())
                    se = math.sqrt(share * (1 - share) / len(segments))
                results[f"{asked}_top{top}{condition}"] = share
                results[f"{asked}_top{top}{condition}_se"] = se
    return results


def results_table(results: Mapping[str, float | None]) -> str:
    """The results of [`evaluate_actions`] as a markdown table, in per cent with standard errors."""
    keys = [f"{asked}_top{top}" for asked in ASKED for top in TOPS]
    lines = ["| | " + " | ".join(key.replace("_top", " top-") for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for condition, name in CONDITIONS.items():
        cells = []
        for key in keys:
            share, se = results[key + condition], results[f"{key}{condition}_se"]
            cells.append("–" if share is None else f"{100 * share:.1f}" + (f" ± {100 * se:.1f}" if se else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def best_words(model, processor, segments: Sequence[Mapping], batch_size: int = 32) -> list[tuple[str, str]]:
    """The best verb and the best object for each segment, as words."""
    tokenizer = getattr(processor, "tokenizer", processor)
    words = []
    for logits in mask_logits(model, processor, [segment["visual_ids"] for segment in segments], batch_size):
        words += [tuple(tokenizer.convert_ids_to_tokens(pair)) for pair in logits.argmax(dim=-1).tolist()]
    return words


def read_truth(path: str | Path) -> dict[str, list[dict]]:
    """The steps by video id, from a file with one JSON object a line."""
    with open(path, encoding="utf-8") as lines:
        return {video["video_id"]: video["steps"] for video in map(json.loads, lines)}


def read_rows(path: str | Path) -> datasets.Dataset:
    """
    Rows from disk.

    Args:
        path (`str` or `Path`): a saved `datasets.Dataset`, or a folder or file of Parquet.

    Returns:
        `datasets.Dataset`: one row a video.

    Raises:
        `ValueError`: there is neither at `path`.
    """
    path = Path(path)
    if (path / "dataset_info.json").is_file():
        return datasets.load_from_disk(str(path))
    files = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    if not files:
        raise ValueError(f"{path} holds no rows; allowed is a saved datasets.Dataset, or a folder or file of Parquet.")
    return datasets.Dataset.from_parquet([str(file) for file in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id of a trained VideoBERT")
    parser.add_argument("--corpus", type=Path, required=True, help="rows of the videos to classify")
    parser.add_argument("--truth", type=Path, required=True, help="their steps, one JSON object a line")
    parser.add_argument("--train_corpus", type=Path, help="rows of the training videos, for the token probe")
    parser.add_argument("--train_truth", type=Path, help="their steps")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()
    if (args.train_corpus is None) != (args.train_truth is None):
        parser.error("--train_corpus and --train_truth belong together")

    from modeling_videobert import VideoBertForPreTraining
    from processing import VideoBertProcessor

    model = VideoBertForPreTraining.from_pretrained(args.model)
    processor = VideoBertProcessor.from_pretrained(args.model)
    segments = step_segments(read_rows(args.corpus), read_truth(args.truth))
    train_segments = None
    if args.train_corpus:
        train_segments = step_segments(read_rows(args.train_corpus), read_truth(args.train_truth))
    results = evaluate_actions(model, processor, segments, args.batch_size, train_segments)
    print(f"{results['num_segments']} steps, ranked among all {model.config.text_vocab_size} words, in per cent\n")
    print(results_table(results))
    if args.output:
        args.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
