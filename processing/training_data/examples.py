"""From segments to text-only, video-only and video-text examples, drawn anew in each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from ..codes_videobert import ids_of_clips, tokens_per_clip
from ..sequence_videobert import IGNORED, joint_sequence, sequence_ids
from .pairs import AlignmentPairs, FalseVideos
from .segments import Span, row_spans, span_texts

REGIMES = ("text", "video", "video_text")
# The paper leaves the mixture open. Video-text pairs carry two of the three objectives, so they get half.
DEFAULT_MIXTURE = {"text": 0.25, "video": 0.25, "video_text": 0.5}
# What ends a sentence, in the scripts that speech recognisers write.
STOPS = ".!?…。！？।"


class SegmentDataset(Dataset):
    """Training examples, drawn from the segments of the rows anew in each epoch (paper, sections 3.2, 3.3 and 4.1).

    An example starts at its segment and is joined with up to `max_joined − 1` sentences that follow it without a long
    pause, as long as `max_length` holds them all (the clips between them come along). Its clips are subsampled by a
    random step of 1 to `max_step`; a step that would leave fewer than `min_visual_tokens` is not drawn, so that short
    segments stay whole. Then one of three regimes shows the words, the visual tokens, or both.

    Video-text examples ask the cloze or, by `pairs.share`, alignment: then an item holds the text with its true and
    with a false video, see [`AlignmentPairs`]. Where no false video is found, the example asks the cloze.

    Everything random comes from (seed, epoch, index): workers, processes and resuming change nothing.

    Args:
        rows (`Sequence[Mapping]`):
            Rows, e.g. a `datasets.Dataset`; those that hold nothing give no example.
        tokenizer (`PreTrainedTokenizerBase`):
            The joint vocabulary, as of [`joint_tokenizer`].
        mixture (`Mapping[str, float]`, *optional*, defaults to `DEFAULT_MIXTURE`):
            Weights of the regimes `text`, `video`, `video_text`. A segment without words or without visual tokens uses
            the regimes it allows; one that allows none is left out.
        pairs ([`AlignmentPairs`], *optional*, defaults to `AlignmentPairs()`):
            How alignment is asked; a `share` of 0 asks the cloze alone.
        max_length (`int`, *optional*, defaults to 128):
            Longest sequence, special tokens included.
        max_joined (`int`, *optional*, defaults to 3):
            Most sentences in one example.
        max_step (`int`, *optional*, defaults to 5):
            Largest subsampling step.
        min_visual_tokens (`int`, *optional*, defaults to 4):
            Clips that subsampling leaves at least, where there were as many.
        trailing_seconds (`float`, *optional*, defaults to 0.0):
            See [`row_spans`].
        silence_tokens (`int`, *optional*, defaults to 16):
            See [`row_spans`].
        bare_share (`float`, *optional*, defaults to 0.3):
            Share of the examples whose text is shown without the stop at its end, even where its sentences are joined;
            0 for texts as they are, such as those that figures are measured on.
        seed (`int`, *optional*, defaults to 0):
            Not negative.

    Raises:
        ValueError: The mixture names an unknown regime or has no weight, `bare_share` is not between 0 and 1, the rows
            give no example, or alignment is asked and all rows together hold no two places that differ.
    """

    def __init__(
        self,
        rows: Sequence[Mapping],
        tokenizer,
        mixture: Mapping[str, float] | None = None,
        pairs: AlignmentPairs | None = None,
        max_length: int = 128,
        max_joined: int = 3,
        max_step: int = 5,
        min_visual_tokens: int = 4,
        trailing_seconds: float = 0.0,
        silence_tokens: int = 16,
        bare_share: float = 0.3,
        seed: int = 0,
    ):
        if not 0 <= bare_share <= 1:
            raise ValueError(f"bare_share is {bare_share}; allowed is 0 to 1.")
        self.bare_share = bare_share
        self.rows, self.tokenizer = rows, tokenizer
        self.weights = _checked_mixture(DEFAULT_MIXTURE if mixture is None else mixture)
        self.pairs = AlignmentPairs() if pairs is None else pairs
        self.max_length, self.max_joined, self.max_step = max_length, max_joined, max_step
        self.min_visual_tokens, self.seed = min_visual_tokens, seed
        self.trailing_seconds, self.silence_tokens = trailing_seconds, silence_tokens
        self._sequence_ids = sequence_ids(tokenizer)
        # In shared memory, so that workers that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._asks_alignment = torch.ones((), dtype=torch.bool).share_memory_()
        self._index_rows()

    def _index_rows(self) -> None:
        """Numbers only, 24 bytes an example: the rows themselves may stay on disk."""
        span_rows, positions, num_words, num_clips = [], [], [], []
        for number, row in enumerate(self.rows):
            for position, span in enumerate(row_spans(row, self.trailing_seconds, self.silence_tokens)):
                span_rows.append(number)
                positions.append(position)
                num_words.append(sum(len(text.split()) for text in span_texts(row, [span])))
                num_clips.append(span.last_clip - span.first_clip)
        words, clips = np.array(num_words, dtype=np.int32), np.array(num_clips, dtype=np.int32)
        text, video, both = (weight > 0 for weight in self.weights)
        spoken, seen = words > 0, clips > 0
        usable = (text & spoken) | (video & seen) | (both & spoken & seen)
        if not usable.any():
            raise ValueError(
                f"The {len(self.rows)} rows give no example for a mixture of {self.weights.tolist()} ({REGIMES}): "
                "allowed are rows that have sentences or visual ids."
            )
        self._spans = np.stack([span_rows, positions], axis=1).astype(np.int32)
        self._examples = np.flatnonzero(usable)
        self._false_videos = FalseVideos(
            self.rows, self._spans[seen], self.pairs, self.trailing_seconds, self.silence_tokens
        )
        if both and self.pairs.share and (spoken & seen).any() and not self._false_videos.exist():
            raise ValueError(
                f"False videos need two places that differ, but the {len(self.rows)} rows hold only one: add videos, "
                "or set the share of the alignment pairs to 0."
            )

    def set_epoch(self, epoch: int) -> None:
        """Draw the examples of another epoch from now on; workers that are running follow."""
        self._epoch.fill_(epoch)

    def set_alignment(self, asked: bool) -> None:
        """Ask alignment from now on, or the cloze alone; workers that are running follow."""
        self._asks_alignment.fill_(asked)

    def draw_epoch(self, epoch: int) -> list[list[dict]]:
        """All examples of one epoch, each an item of its own, which stay the same: for figures on held-out rows.

        Args:
            epoch (`int`):
                Which one.

        Returns:
            `list[list[dict]]`: As many items as there are examples.
        """
        self.set_epoch(epoch)
        return [[example] for index in range(len(self)) for example in self[index]]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> list[dict]:
        """What segment `index` gives in the current epoch.

        Returns:
            `list[dict]`: One example, or the two of a text with its true and a false video. Each has `input_ids` and
            `token_type_ids` (lists), `alignment_label` (1 belongs together, 0 does not, −100 not asked), `masked`
            (whether its tokens are to be hidden and asked for) and `seed`, the (seed, epoch, index) that the
            collator's masking starts from.
        """
        index = range(len(self))[index]
        seed = (self.seed, int(self._epoch), index)
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        row_number, position = self._spans[self._examples[index]].tolist()
        row = self.rows[row_number]
        spans = self._join_spans(row, position, rng)
        texts = span_texts(row, spans)
        text_ids = self._text_ids(self._shown_text(texts, seed))
        clips = range(spans[0].first_clip, max(span.last_clip for span in spans))
        thin = self._draw_step(len(clips), rng)
        visual_ids = ids_of_clips(row, clips[thin])
        regime = self._draw_regime(bool(text_ids), bool(visual_ids), rng)
        if regime == "video_text" and self._asks_alignment and rng.random() < self.pairs.share:
            said = {text.lower() for text in texts}
            false_ids = self._false_videos.draw(rng, row_number, clips, said, thin)
            if false_ids is not None:
                return self._pair_examples(text_ids, visual_ids, false_ids, seed, rng)
        shown = ([] if regime == "video" else text_ids, [] if regime == "text" else visual_ids)
        return [self._example(*shown, IGNORED, True, seed)]

    def _shown_text(self, texts: Sequence[str], seed: tuple) -> str:
        """The texts as one, in a share of the examples without the last stop."""
        text = " ".join(texts)
        # A branch of its own, so that all other draws stay what they are without it; the collator's is (1,).
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
        bare = text.rstrip(STOPS) if rng.random() < self.bare_share else text
        return bare or text

    def _pair_examples(self, text_ids, true_ids, false_ids, seed, rng: np.random.Generator) -> list[dict]:
        pair = [
            self._example(text_ids, visual_ids, label, self.pairs.masked, seed)
            for label, visual_ids in ((1, true_ids), (0, false_ids))
        ]
        return pair if self.pairs.twins else [pair[int(rng.integers(2))]]

    def _example(self, text_ids, visual_ids, label: int, masked: bool, seed: tuple) -> dict:
        sequence = joint_sequence(text_ids, visual_ids, max_length=self.max_length, **self._sequence_ids)
        shown = dict(zip(("input_ids", "token_type_ids"), sequence, strict=True))
        return {**shown, "alignment_label": label, "masked": masked, "seed": seed}

    def _join_spans(self, row: Mapping, position: int, rng: np.random.Generator) -> list[Span]:
        """The span at `position` and the sentences joined to it; spans without speech stay alone."""
        spans = row_spans(row, self.trailing_seconds, self.silence_tokens)[position:]
        wanted = int(rng.integers(1, self.max_joined + 1))
        joined = spans[:1]
        if joined[0].sentence < 0:
            return joined
        words = len(self._text_ids(span_texts(row, joined)[0]))
        each = tokens_per_clip(row)
        for span in spans[1:wanted]:
            words += len(self._text_ids(span_texts(row, [span])[0])) if span.sentence >= 0 else 0
            vision = each * (span.last_clip - joined[0].first_clip)
            if span.sentence < 0 or words + vision > self.max_length - 3:
                break
            joined.append(span)
        return joined

    def _draw_step(self, num_clips: int, rng: np.random.Generator) -> slice:
        largest = max(1, min(self.max_step, num_clips // max(1, self.min_visual_tokens)))
        step = int(rng.integers(1, largest + 1))
        return slice(int(rng.integers(step)), None, step)

    def _draw_regime(self, has_text: bool, has_video: bool, rng: np.random.Generator) -> str:
        allowed = np.array([has_text, has_video, has_text and has_video]) * self.weights
        if not allowed.any():
            # A sentence that the tokenizer reduces to nothing: show what there is.
            return "text" if has_text else "video"
        return REGIMES[rng.choice(len(REGIMES), p=allowed / allowed.sum())]

    def _text_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _checked_mixture(mixture: Mapping[str, float]) -> np.ndarray:
    weights = np.array([mixture.get(regime, 0.0) for regime in REGIMES], dtype=float)
    if set(mixture) - set(REGIMES) or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"mixture is {dict(mixture)}; allowed are weights of at least 0 for {', '.join(REGIMES)}.")
    return weights
