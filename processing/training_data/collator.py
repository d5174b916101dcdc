"""From examples to a batch: masking, labels, and rows that hold one example or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch

from ..forecasting_videobert import HORIZONS
from ..sequence_videobert import IGNORED, sequence_ids, visual_code_sizes

LAYOUTS = ("padded", "packed", "flat")


def first_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Pack examples into rows, the longest first, each into the first row that has room for it.

    Args:
        lengths (`Sequence[int]`):
            Tokens of each example.
        room (`int`):
            Tokens that a row holds; an example that is longer has a row for itself.

    Returns:
        `list[list[int]]`: The numbers of the examples in each row.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        length = lengths[number]
        place = next((place for place, free in enumerate(left) if free >= length), len(rows))
        if place == len(rows):
            rows.append([])
            left.append(room)
        rows[place].append(number)
        left[place] -= length
    return rows


class VideoBertDataCollator:
    """Masks as BERT does, each token within its own modality, and lays the examples out in rows (paper, section 3.2).

    Of the words (visual tokens), a share `language_probability` (`vision_probability`) must be predicted: 80 % of them
    become `[MASK]`, 10 % a random word (visual token), 10 % stay. Special tokens are never touched. An example in
    which no token was drawn gets one, where it has any.

    Pairs that ask alignment stay as they are, unless they are wanted masked. Then false ones are masked like true
    ones, or the mere presence of `[MASK]` would betray them, but get no cloze labels: to name a word from a video that
    does not show it would only teach the model to ignore the video.

    The cloze hardly ever hides all that comes last, so who is to forecast must be asked for it: of the examples that
    show video alone a share `future_probability` also hides its last clips, 1 to `max(HORIZONS)` of them, all as
    `[MASK]`. An example with `future`, as of [`FutureDataset`], hides its last so many clips in this way.

    Where a clip has several visual tokens, its codes, it is drawn as a whole, and hidden from one of them on: a code
    is named from those before it, as in a forecast, and never from finer ones behind it, which would give it away. Of
    the clips to come one may show its first codes. What takes the place of a code at random is one of the same kind.

    The masking of an example comes from its own `seed`, so that it depends on no worker and no neighbour in the batch.

    Three layouts hold the same examples and give the same losses:

    - `"padded"`: one example a row, padded to the longest. The way to read outputs example by example.
    - `"packed"`: as many examples in a row as fit into the length of the longest, so that next to nothing is computed
      on padding; the fastest with eager and sdpa attention (`benchmarks/pretraining_step.py`).
    - `"flat"`: all examples in one row, which is what flash attention reads.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The joint vocabulary, as of [`joint_tokenizer`], whose last tokens are the visual ones.
        language_probability (`float`, *optional*, defaults to 0.15):
            Share of the words to predict.
        vision_probability (`float`, *optional*, defaults to 0.15):
            Share of the visual tokens to predict.
        joint_cloze (`bool`, *optional*, defaults to `True`):
            Whether video-text examples have cloze labels too.
        pad_to_multiple_of (`int`, *optional*):
            Pad the length to a multiple of this.
        layout (`str`, *optional*, defaults to `"padded"`):
            `"padded"`, `"packed"` or `"flat"`.
        future_probability (`float`, *optional*, defaults to 0.0):
            Share of the video-only examples that hide all of their last visual tokens.

    Raises:
        ValueError: A probability is not between 0 and 1, the layout is unknown, or the tokenizer knows no visual
            tokens.
    """

    def __init__(
        self,
        tokenizer,
        language_probability: float = 0.15,
        vision_probability: float = 0.15,
        joint_cloze: bool = True,
        pad_to_multiple_of: int | None = None,
        layout: str = "padded",
        future_probability: float = 0.0,
    ):
        for name, value in (("language", language_probability), ("vision", vision_probability)):
            if not 0 < value < 1:
                raise ValueError(f"{name}_probability is {value}; allowed is more than 0 and less than 1.")
        if not 0 <= future_probability <= 1:
            raise ValueError(f"future_probability is {future_probability}; allowed is 0 to 1.")
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; allowed are {', '.join(LAYOUTS)}.")
        self.mask_id, self.pad_id = tokenizer.mask_token_id, tokenizer.pad_token_id
        known = sequence_ids(tokenizer)
        self.special_ids = np.unique([*tokenizer.all_special_ids, known["join_id"]])
        self.visual_ids = np.arange(known["visual_token_offset"], len(tokenizer))
        words = [word for token, word in tokenizer.get_vocab().items() if not token.startswith("[unused")]
        self.code_sizes = np.array(visual_code_sizes(tokenizer))
        self.codes = len(self.code_sizes)
        self.first_ids = self.visual_ids[0] + np.cumsum([0, *self.code_sizes[:-1]])
        self.word_ids = np.setdiff1d([word for word in words if word < self.visual_ids[0]], self.special_ids)
        self.probabilities = np.array([language_probability, vision_probability])
        self.joint_cloze, self.pad_to_multiple_of, self.layout = joint_cloze, pad_to_multiple_of, layout
        self.future_probability = future_probability

    def __call__(self, items: Iterable[Sequence[Mapping]]) -> dict[str, torch.Tensor]:
        """Lay out and mask what some segments give.

        Args:
            items (`Iterable[Sequence[Mapping]]`):
                Items of a [`SegmentDataset`], which together hold B examples.

        Returns:
            `dict[str, torch.Tensor]`: `input_ids`, `token_type_ids` and `labels` (−100 where nothing is to be
            predicted, padding included), each (rows, L) int64. In padded rows also `attention_mask` (B, L), 0 on
            padding, and `alignment_labels` (B,); in the other layouts `sequence_ids` (rows, L), 1, 2, … for the
            examples of a row and 0 on padding, and `alignment_labels` (rows, L) at each example's first token.

        Raises:
            ValueError: There is no example.
        """
        examples = list(chain.from_iterable(items))
        if not examples:
            raise ValueError("The batch holds 0 examples; allowed is at least 1.")
        rows = self._rows([len(example["input_ids"]) for example in examples])
        longest = max(sum(len(examples[number]["input_ids"]) for number in row) for row in rows)
        multiple = self.pad_to_multiple_of or 1
        shape = (len(rows), -(-longest // multiple) * multiple)
        batch = {name: np.zeros(shape, dtype=np.int64) for name in ("input_ids", "token_type_ids", "sequence_ids")}
        batch["input_ids"] += self.pad_id
        batch |= {name: np.full(shape, IGNORED, dtype=np.int64) for name in ("labels", "alignment_labels")}
        for place, row in enumerate(rows):
            start = 0
            for order, number in enumerate(row, start=1):
                example = examples[number]
                here = place, slice(start, start + len(example["input_ids"]))
                batch["input_ids"][here], batch["labels"][here] = self.mask(example)
                batch["token_type_ids"][here], batch["sequence_ids"][here] = example["token_type_ids"], order
                batch["alignment_labels"][place, start] = example["alignment_label"]
                start = here[1].stop
        if self.layout == "padded":
            batch["attention_mask"] = batch.pop("sequence_ids")
            batch["alignment_labels"] = batch["alignment_labels"][:, 0]
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _rows(self, lengths: Sequence[int]) -> list[list[int]]:
        if self.layout == "padded":
            return [[number] for number in range(len(lengths))]
        return first_fit(lengths, max(lengths) if self.layout == "packed" else sum(lengths))

    def mask(self, example: Mapping) -> tuple[np.ndarray, np.ndarray]:
        """Mask one example, if it is to be masked.

        Args:
            example (`Mapping`):
                An example of a [`SegmentDataset`], L tokens.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: Masked `input_ids` (L,) and `labels` (L,).
        """
        original, vision = np.array(example["input_ids"]), np.array(example["token_type_ids"])
        if not example["masked"]:
            return original, np.full(len(original), IGNORED)
        # Its own branch of the example's seed: the masking repeats no draw of the dataset.
        rng = np.random.default_rng(np.random.SeedSequence(example["seed"], spawn_key=(1,)))
        allowed = ~np.isin(original, self.special_ids)
        predicted = allowed & (rng.random(len(original)) < self.probabilities[vision])
        code = np.searchsorted(self.first_ids, original, side="right") - 1  # of words -1
        if self.codes > 1:
            self._hide_from_one_code_on(predicted, np.flatnonzero(vision), example["seed"])
        coming = self._draw_future(example, allowed)
        predicted |= coming
        if allowed.any() and not predicted.any():
            place = rng.choice(np.flatnonzero(allowed))
            predicted[place : place + (self.codes - code[place] if vision[place] else 1)] = True
        covered = coming | self._behind_hidden_codes(predicted, vision)

        kind = rng.random(len(original))
        visual = rng.choice(self.visual_ids, len(original)) - self.visual_ids[0]
        visual = self.first_ids[code] + visual % self.code_sizes[code]
        random_ids = np.where(vision == 1, visual, rng.choice(self.word_ids, len(original)))
        masked = np.where(predicted & ((kind < 0.8) | covered), self.mask_id, original)
        masked = np.where(predicted & (kind >= 0.9) & ~covered, random_ids, masked)
        labels = np.where(predicted, original, IGNORED)

        joint = vision.any() and (allowed & (vision == 0)).any()
        if example["alignment_label"] == 0 or (joint and not self.joint_cloze):
            labels[:] = IGNORED
        return masked, labels

    def _hide_from_one_code_on(self, predicted: np.ndarray, places: np.ndarray, seed: tuple) -> None:
        """Of clips whose first code was drawn those codes are predicted that stand behind a random place in it."""
        clips = places.reshape(-1, self.codes)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
        first = rng.integers(self.codes, size=(len(clips), 1))
        predicted[clips] = predicted[clips[:, :1]] & (np.arange(self.codes) >= first)

    def _behind_hidden_codes(self, predicted: np.ndarray, vision: np.ndarray) -> np.ndarray:
        """Codes behind a predicted one in their clip, which they would give away if they stayed in place: (L,)."""
        behind, clips = np.zeros(len(predicted), dtype=bool), np.flatnonzero(vision).reshape(-1, self.codes)
        behind[clips[:, 1:]] = predicted[clips[:, :-1]]
        return behind

    def _draw_future(self, example: Mapping, allowed: np.ndarray) -> np.ndarray:
        """Which visual tokens come last and are hidden all together: (L,), none where the cloze alone is asked."""
        places, future = np.flatnonzero(allowed), example.get("future", 0)
        if "future" not in example and self.future_probability and len(places) > self.codes:
            # A branch of its own, too: without the option every mask is what it was before there was one.
            rng = np.random.default_rng(np.random.SeedSequence(example["seed"], spawn_key=(2,)))
            only_video = all(example["token_type_ids"][place] for place in places)
            if only_video and rng.random() < self.future_probability:
                future = int(rng.integers(1, min(max(HORIZONS), len(places) // self.codes - 1) + 1))
        coming, first = np.zeros(len(allowed), dtype=bool), len(places) - future * self.codes
        coming[places[first:]] = True
        if self.codes > 1 and future:
            rng = np.random.default_rng(np.random.SeedSequence(example["seed"], spawn_key=(4,)))
            first += self.codes * int(rng.integers(future))
            coming[places[first : first + int(rng.integers(self.codes))]] = False
        return coming
