"""Does a model know which text and video belong together (paper, section 3.3)? Measured unmasked, on whole segments.

Two scores of one model: `alignment`, what `[CLS]` says, in one pass; and `likelihood_gain`, how much likelier the
video makes the words to the cloze, in several. Beside them stands a regression over which words and visual ids meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from ..sequence_videobert import IGNORED
from ..training_data import AlignmentPairs, SegmentDataset, row_segments
from .controls import fit_linear

# The false video: of another video, or another place of the same one.
KINDS = {"other_video": 0.0, "same_video": 1.0}
# Words are hidden in so many interleaved groups: the others around each still say what the sentence is about.
GROUPS = 3


def alignment_pairs(rows: Sequence[Mapping], processor, same_video_share: float, seed: int = 0, **segments) -> list:
    """Each text of some rows with its own and with a false video, whole and unmasked.

    Args:
        rows (`Sequence[Mapping]`):
            Rows, one a video.
        processor ([`VideoBertProcessor`]):
            For the words.
        same_video_share (`float`):
            Of the false videos those that are another place of the same video; with 0 and 1 there is one kind only.
        seed (`int`, *optional*, defaults to 0):
            Of joining and of the false videos.
        segments:
            `max_length`, `max_joined`, `trailing_seconds` and `silence_tokens` as of [`SegmentDataset`].

    Returns:
        `list[dict]`: 2 N examples, those of a text side by side, `alignment_label` 1 and 0.
    """
    settings = {name: segments[name] for name in ("trailing_seconds", "silence_tokens") if name in segments}
    if not any(one.text and one.visual_ids for row in rows for one in row_segments(row, **settings)):
        return []
    data = SegmentDataset(
        rows,
        processor.tokenizer,
        mixture={"video_text": 1.0},
        pairs=AlignmentPairs(share=1.0, same_video_share=same_video_share),
        max_step=1,
        bare_share=0.0,
        seed=seed,
        **segments,
    )
    return [example for (example,) in data.draw_epoch(0) if example["alignment_label"] != IGNORED]


@torch.inference_mode()
def alignment(model, processor, examples: Sequence[Mapping], batch_size: int = 32) -> np.ndarray:
    """What `[CLS]` says of text and video: the log-odds that they belong together.

    Args:
        model ([`VideoBertForPreTraining`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the special tokens.
        examples (`Sequence[Mapping]`):
            N joint sequences of words and visual tokens, `input_ids` and `token_type_ids`.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `np.ndarray` of shape (N,): Above 0 where they are taken to belong together.
    """
    model.eval()
    scores = []
    for inputs, places in _batches(processor, examples, batch_size, model.device):
        # Without the vocabulary head, which costs more than the encoder.
        logits = model.alignment_head(model.base_model(**inputs).pooler_output).float()
        scores += zip(places, (logits[:, 1] - logits[:, 0]).tolist(), strict=True)
    return np.array([score for _, score in sorted(scores)])


@torch.inference_mode()
def likelihood_gain(model, processor, examples: Sequence[Mapping], batch_size: int = 32) -> np.ndarray:
    """How much likelier the video makes the words: log p(words | video) − log p(words), each hidden word by itself.

    The words are hidden in `GROUPS` interleaved groups, one after the other, and named from what is left; the sum of
    their log-probabilities is a pseudo-likelihood. It takes 2 · `GROUPS` passes an example.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the special tokens.
        examples (`Sequence[Mapping]`):
            N joint sequences of words and visual tokens, `input_ids` and `token_type_ids`.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `np.ndarray` of shape (N,): Nats; above 0 where the video fits the words.
    """
    model.eval()
    asked = []
    for number, example in enumerate(examples):
        join = example["input_ids"].index(model.config.join_token_id)
        alone = example["input_ids"][:join] + example["input_ids"][-1:]
        for sign, ids in ((1, example["input_ids"]), (-1, alone)):
            types = example["token_type_ids"] if sign == 1 else [0] * len(alone)
            for group in range(GROUPS):
                hidden = list(range(1 + group, join, GROUPS))
                if hidden:
                    asked.append({"number": number, "sign": sign, "ids": ids, "types": types, "hidden": hidden})
    sequences = []
    for one in asked:
        ids = list(one["ids"])
        for place in one["hidden"]:
            ids[place] = processor.tokenizer.mask_token_id
        sequences.append({"input_ids": ids, "token_type_ids": one["types"]})
    gains = np.zeros(len(examples))
    for inputs, places in _batches(processor, sequences, batch_size, model.device):
        hidden_states = model.base_model(**inputs).last_hidden_state
        rows = [row for row, place in enumerate(places) for _ in asked[place]["hidden"]]
        columns = [column for place in places for column in asked[place]["hidden"]]
        truth = torch.tensor([asked[place]["ids"][c] for place in places for c in asked[place]["hidden"]])
        logits = model.cloze_head(hidden_states[rows, columns])[:, : model.config.text_vocab_size].float()
        found = -F.cross_entropy(logits, truth.to(logits.device), reduction="none")
        for row, value in zip(rows, found.tolist(), strict=True):
            gains[asked[places[row]]["number"]] += asked[places[row]]["sign"] * value
    return gains


def _batches(
    processor, examples: Sequence[Mapping], batch_size: int, device: torch.device
) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
    """Padded inputs of sequences of about one length, and the numbers of the sequences."""
    order = sorted(range(len(examples)), key=lambda number: len(examples[number]["input_ids"]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        shown = {name: [examples[place][name] for place in places] for name in ("input_ids", "token_type_ids")}
        yield processor.tokenizer.pad(shown, return_tensors="pt").to(device), places


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of (true, false) pairs of examples of which the true one has the higher score; equal ones count half.

    Args:
        scores (`np.ndarray` of shape (N,)):
            Higher for what is taken to be true.
        labels (`np.ndarray` of shape (N,)):
            1 true, 0 false.

    Returns:
        `float`: 0.5 for scores that say nothing; NaN where one of the two is missing.
    """
    scores, true = np.asarray(scores, dtype=float), np.asarray(labels) == 1
    false = np.sort(scores[~true])
    if not true.any() or not len(false):
        return math.nan
    below = np.searchsorted(false, scores[true], side="left") + np.searchsorted(false, scores[true], side="right")
    return float(below.mean() / 2 / len(false))


def product_regression(train: Sequence[Mapping], test: Sequence[Mapping], decay: float = 1e-4) -> np.ndarray:
    """Scores of a logistic regression over which word meets which visual id: what can be had without a network.

    Args:
        train (`Sequence[Mapping]`):
            Labelled examples, as of [`alignment_pairs`].
        test (`Sequence[Mapping]`):
            N examples.
        decay (`float`, *optional*, defaults to 1e-4):
            How strongly weights are held back.

    Returns:
        `np.ndarray` of shape (N,): Log-odds that text and video belong together.
    """
    columns = {}
    for example in train:
        for product in _products(example):
            columns.setdefault(product, len(columns))
    inputs, tests = (_product_matrix(examples, columns) for examples in (train, test))
    target = torch.tensor([example["alignment_label"] for example in train])
    scores = fit_linear(inputs, target, 2, decay)(tests)
    return (scores[:, 1] - scores[:, 0]).numpy()


def _products(example: Mapping) -> set[tuple[int, int]]:
    kinds = zip(example["input_ids"], example["token_type_ids"], strict=True)
    words, vision = set(), set()
    for token, kind in kinds:
        (vision if kind else words).add(token)
    return {(word, visual) for word in words for visual in vision}


def _product_matrix(examples: Sequence[Mapping], columns: Mapping[tuple[int, int], int]) -> torch.Tensor:
    """Sparse, one line of unit length an example."""
    places, values = [], []
    for number, example in enumerate(examples):
        found = [columns[product] for product in _products(example) if product in columns]
        places += [(number, column) for column in found]
        # An example of which training knows no pair has none.
        values += [1 / math.sqrt(len(found))] * len(found) if found else []
    indices = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
    shape = len(examples), max(1, len(columns))
    return torch.sparse_coo_tensor(indices, torch.tensor(values), shape, check_invariants=True).coalesce()


def evaluate_alignment(
    model,
    processor,
    rows: Sequence[Mapping],
    train_rows: Sequence[Mapping] | None = None,
    gain: bool = True,
    max_texts: int | None = None,
    batch_size: int = 32,
    **segments,
) -> dict[str, float]:
    """How well a model tells true from false pairs of rows it has not seen, against each kind of false video.

    Args:
        model ([`VideoBertForPreTraining`]):
            The model.
        processor ([`VideoBertProcessor`]):
            For the words.
        rows (`Sequence[Mapping]`):
            Held-out rows.
        train_rows (`Sequence[Mapping]`, *optional*):
            Training rows, for the regression only.
        gain (`bool`, *optional*, defaults to `True`):
            Whether the likelihood gain of the cloze is measured too, which takes several times as long.
        max_texts (`int`, *optional*):
            Take at most so many texts of each kind, evenly out of all, for a quick look.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.
        segments:
            As of [`alignment_pairs`].

    Returns:
        `dict[str, float]`: For `other_video` and `same_video`: `alignment_auc_…`, `alignment_accuracy_…` (which takes
        log-odds above 0 for true) and `alignment_pairs_…`, the number of texts; where wanted `likelihood_gain_auc_…`
        and `regression_auc_…`. `alignment_auc` is the lower of the two of `[CLS]`. A kind of which there is no pair
        has no figures.
    """
    figures = {}
    for kind, share in KINDS.items():
        examples = alignment_pairs(rows, processor, share, **segments)
        if not examples:
            continue
        if max_texts is not None and len(examples) > 2 * max_texts:
            chosen = np.linspace(0, len(examples) // 2 - 1, max_texts).astype(int)
            examples = [examples[2 * place + twin] for place in chosen for twin in (0, 1)]
        labels = np.array([example["alignment_label"] for example in examples])
        scores = alignment(model, processor, examples, batch_size)
        figures[f"alignment_auc_{kind}"] = area_under_curve(scores, labels)
        figures[f"alignment_accuracy_{kind}"] = float(((scores > 0) == (labels == 1)).mean())
        figures[f"alignment_pairs_{kind}"] = len(examples) // 2
        if gain:
            gains = likelihood_gain(model, processor, examples, batch_size)
            figures[f"likelihood_gain_auc_{kind}"] = area_under_curve(gains, labels)
        if train_rows is not None:
            # Each training text with several false videos.
            drawn = [alignment_pairs(train_rows, processor, share, seed, **segments) for seed in range(4)]
            known = [example for pairs in drawn for example in pairs]
            figures[f"regression_auc_{kind}"] = area_under_curve(product_regression(known, examples), labels)
    aucs = [figures[name] for name in figures if name.startswith("alignment_auc_")]
    return figures | ({"alignment_auc": min(aucs)} if aucs else {})


def alignment_table(figures: Mapping[str, float]) -> str:
    """The figures of [`evaluate_alignment`] as a markdown table."""
    scores = {
        "alignment_auc": "`[CLS]`, AUC",
        "alignment_accuracy": "`[CLS]`, right",
        "likelihood_gain_auc": "the cloze's likelihood gain, AUC",
        "regression_auc": "regression over words × visual ids, AUC",
        "alignment_pairs": "texts",
    }
    kinds = [kind for kind in KINDS if f"alignment_auc_{kind}" in figures]
    lines = ["| | " + " | ".join(f"against {kind.replace('_', ' ')}" for kind in kinds) + " |"]
    lines.append("|---" * (len(kinds) + 1) + "|")
    for score, name in scores.items():
        cells = [figures[f"{score}_{kind}"] for kind in kinds if f"{score}_{kind}" in figures]
        if cells:
            shown = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
            lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)
