"""From a row (one video) to segments, and from segments to text-only, video-only and video-text examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ..sequence_videobert import IGNORED, joint_sequence

REGIMES = ("text", "video", "video_text")
# The paper leaves the mixture open. Video-text pairs carry two of the three objectives, so they get half.
DEFAULT_MIXTURE = {"text": 0.25, "video": 0.25, "video_text": 0.5}
# Speech and picture are only loosely aligned: within this distance the same video may still show what is being said.
FAR_CLIPS = 8
# How many other places are tried before an example goes without an alignment label.
MAX_DRAWS = 64


class Segment(NamedTuple):
    """A stretch of a row: `text` and `visual_ids` (either may be empty), `start` and `end` in seconds."""

    video_id: str
    text: str
    visual_ids: tuple[int, ...]
    start: float
    end: float


class Span(NamedTuple):
    """Where a segment lies in its row: seconds, clips `first_clip … last_clip − 1`, its sentence (−1: no speech)."""

    start: float
    end: float
    first_clip: int
    last_clip: int
    sentence: int


def clips_between(start: float, end: float, clip_seconds: float, num_clips: int) -> tuple[int, int]:
    """
    The clips whose middle lies in `[start, end)`.

    Args:
        start (`float`): seconds from the video's first displayed frame.
        end (`float`): seconds.
        clip_seconds (`float`): length of a clip, as the row says it.
        num_clips (`int`): how many clips the video has.

    Returns:
        `tuple[int, int]`: `(first, last)`, so that `visual_ids[first:last]` are the clips; `first == last` if none.
    """
    first, last = (math.ceil(seconds / clip_seconds - 0.5) for seconds in (start, end))
    first = min(max(first, 0), num_clips)
    return first, min(max(last, first), num_clips)


def row_spans(row: Mapping, trailing_seconds: float = 0.0, silence_tokens: int = 16) -> list[Span]:
    """
    Cut a row into spans: one a sentence, and pieces of `silence_tokens` clips where nobody speaks (section 4.1).

    A clip belongs to the sentence whose span holds its middle; where sentences overlap, to the one that began last.
    Pauses shorter than `silence_tokens` clips make no span of their own: they are seen when the sentences around
    them are joined. A damaged video, whose row has an `error`, gives what could be read of it.

    Args:
        row (`Mapping`): `sentences`, `visual_ids` and `clip_seconds`, as `processor.tokenize` returns them.
        trailing_seconds (`float`, defaults to 0.0):
            a sentence also gets the clips up to this many seconds after its end, spoken over or not, because
            instructors say and then do; neighbours then share clips. 0.0 is the paper's rule.
        silence_tokens (`int`, defaults to 16): visual tokens in a segment without speech.

    Returns:
        `list[Span]`: in the order of time; without `trailing_seconds` no clip is in two of them.
    """
    num_clips, clip_seconds = len(row["visual_ids"]), row["clip_seconds"]
    order = sorted(
        (number for number, sentence in enumerate(row["sentences"]) if sentence["text"].strip()),
        key=lambda number: row["sentences"][number]["start"],
    )
    starts = [row["sentences"][number]["start"] for number in order] + [math.inf]
    spans, silent_from = [], 0
    for place, number in enumerate(order):
        end = min(row["sentences"][number]["end"], starts[place + 1]) + trailing_seconds
        first, last = clips_between(starts[place], end, clip_seconds, num_clips)
        if first - silent_from >= silence_tokens:
            spans += _silent_spans(silent_from, first, silence_tokens, clip_seconds)
        spans.append(Span(starts[place], end, first, last, number))
        silent_from = max(silent_from, last)
    if not order or num_clips - silent_from >= silence_tokens:
        spans += _silent_spans(silent_from, num_clips, silence_tokens, clip_seconds)
    return spans


def _silent_spans(first: int, last: int, size: int, clip_seconds: float) -> Iterator[Span]:
    for begin in range(first, last, size):
        end = min(begin + size, last)
        yield Span(begin * clip_seconds, end * clip_seconds, begin, end, -1)


def row_segments(row: Mapping, trailing_seconds: float = 0.0, silence_tokens: int = 16) -> list[Segment]:
    """
    The segments of a row, neither joined nor subsampled: what training starts from, for reading and retrieval.

    Args:
        row (`Mapping`): one video.
        trailing_seconds (`float`, defaults to 0.0): see [`row_spans`].
        silence_tokens (`int`, defaults to 16): see [`row_spans`].

    Returns:
        `list[Segment]`: in the order of time.
    """
    return [
        Segment(
            row["video_id"],
            row["sentences"][span.sentence]["text"].strip() if span.sentence >= 0 else "",
            tuple(row["visual_ids"][span.first_clip : span.last_clip]),
            span.start,
            span.end,
        )
        for span in row_spans(row, trailing_seconds, silence_tokens)
    ]


class SegmentDataset(Dataset):
    """
    Training examples, one for each segment of the rows and drawn anew in each epoch (paper, sections 3.2 and 4.1).

    An example starts at its segment and is joined with up to `max_joined − 1` sentences that follow it without a long
    pause, as long as `max_length` holds them all (the clips between them come along). Its visual tokens are subsampled
    by a random step of 1 to `max_step`; a step that would leave fewer than `min_visual_tokens` is not drawn, so that
    short segments stay whole. Then one of three regimes shows the words, the visual tokens, or both.

    With probability `misaligned_probability` a video-text example shows the words with the video of another place:
    another video, or the same one at least `FAR_CLIPS` clips away, under a sentence with other words. The other place
    has equally many clips wherever its video is long enough, so that the length gives nothing away, and its visual
    tokens always differ from the true ones. Where 64 draws find no such place, the pair stays aligned without
    alignment label.

    Everything random comes from (seed, epoch, index): workers, processes and resuming change nothing.

    Args:
        rows (`Sequence[Mapping]`): rows, e.g. a `datasets.Dataset`; those that hold nothing give no example.
        tokenizer (`PreTrainedTokenizerBase`): a BERT tokenizer that knows `[>]`.
        visual_token_offset (`int`): id of the first visual token.
        mixture (`Mapping[str, float]`, *optional*):
            weights of the regimes `text`, `video`, `video_text`; `DEFAULT_MIXTURE` if not given. A segment without
            words or without visual tokens uses the regimes it allows; one that allows none is left out.
        max_length (`int`, defaults to 128): longest sequence, special tokens included.
        max_joined (`int`, defaults to 3): most sentences in one example.
        max_step (`int`, defaults to 5): largest subsampling step.
        min_visual_tokens (`int`, defaults to 4): what subsampling leaves at least, where there were as many.
        misaligned_probability (`float`, defaults to 0.5): share of misaligned pairs among the video-text examples.
        trailing_seconds (`float`, defaults to 0.0): see [`row_spans`].
        silence_tokens (`int`, defaults to 16): see [`row_spans`].
        seed (`int`, defaults to 0): not negative.

    Raises:
        `ValueError`: the mixture names an unknown regime or has no weight, the rows give no example, or misaligned
            pairs are wanted and all rows together hold no two places that differ.
    """

    def __init__(
        self,
        rows: Sequence[Mapping],
        tokenizer,
        visual_token_offset: int,
        mixture: Mapping[str, float] | None = None,
        max_length: int = 128,
        max_joined: int = 3,
        max_step: int = 5,
        min_visual_tokens: int = 4,
        misaligned_probability: float = 0.5,
        trailing_seconds: float = 0.0,
        silence_tokens: int = 16,
        seed: int = 0,
    ):
        self.rows, self.tokenizer, self.visual_token_offset = rows, tokenizer, visual_token_offset
        self.weights = _checked_mixture(DEFAULT_MIXTURE if mixture is None else mixture)
        self.max_length, self.max_joined, self.max_step = max_length, max_joined, max_step
        self.min_visual_tokens, self.misaligned_probability = min_visual_tokens, misaligned_probability
        self.trailing_seconds, self.silence_tokens, self.seed = trailing_seconds, silence_tokens, seed
        self.cls_id, self.join_id, self.sep_id = (
            _token_id(tokenizer, token) for token in (tokenizer.cls_token, "[>]", tokenizer.sep_token)
        )
        # In shared memory, so that workers that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._index_rows()

    def _index_rows(self):
        """Numbers only, 24 bytes an example: the rows themselves may stay on disk."""
        span_rows, positions, num_words, num_clips = [], [], [], []
        for number, row in enumerate(self.rows):
            for position, span in enumerate(row_spans(row, self.trailing_seconds, self.silence_tokens)):
                span_rows.append(number)
                positions.append(position)
                num_words.append(sum(len(text.split()) for text in _texts(row, [span])))
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
        self._examples, self._places = np.flatnonzero(usable), np.flatnonzero(seen)
        if both and self.misaligned_probability and (spoken & seen).any() and not self._two_places():
            raise ValueError(
                f"Misaligned pairs need two places that differ, but the {len(self.rows)} rows hold only one: add "
                "videos, or set misaligned_probability to 0."
            )

    def _two_places(self) -> bool:
        videos = (self.rows[int(row)] for row in np.unique(self._spans[self._places, 0]))
        first = next(videos)["visual_ids"]
        return len(first) > 2 * FAR_CLIPS or any(list(row["visual_ids"]) != list(first) for row in videos)

    def set_epoch(self, epoch: int) -> None:
        """Draw the examples of another epoch from now on; workers that are running follow."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict:
        """
        The example `index` of the current epoch.

        Returns:
            `dict`: `input_ids` and `token_type_ids` (lists), `alignment_label` (1 belongs together, 0 does not, −100
            not asked) and `seed`, the (seed, epoch, index) that the collator's masking starts from.
        """
        index = range(len(self))[index]
        seed = (self.seed, int(self._epoch), index)
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        row_number, position = self._spans[self._examples[index]].tolist()
        row = self.rows[row_number]
        spans = self._joined(row, position, rng)
        text_ids = [] if spans[0].sentence < 0 else self._text_ids(" ".join(_texts(row, spans)))
        first, last = spans[0].first_clip, max(span.last_clip for span in spans)
        visual_ids, thin = row["visual_ids"][first:last], self._subsampling(last - first, rng)
        regime = self._regime(bool(text_ids), bool(visual_ids), rng)
        label = IGNORED
        if regime == "text":
            visual_ids = []
        if regime == "video":
            text_ids = []
        input_ids, token_type_ids = self._sequence(text_ids, visual_ids[thin])
        if regime == "video_text":
            label = 1
            if rng.random() < self.misaligned_probability:
                texts = {text.lower() for text in _texts(row, spans)}
                other = self._other_place(rng, row_number, first, last, texts, text_ids, thin, input_ids)
                label = IGNORED if other is None else 0
                input_ids, token_type_ids = other or (input_ids, token_type_ids)
        return {"input_ids": input_ids, "token_type_ids": token_type_ids, "alignment_label": label, "seed": seed}

    def _joined(self, row: Mapping, position: int, rng: np.random.Generator) -> list[Span]:
        """The span at `position` and the sentences joined to it; spans without speech stay alone."""
        spans = row_spans(row, self.trailing_seconds, self.silence_tokens)[position:]
        wanted = int(rng.integers(1, self.max_joined + 1))
        joined = spans[:1]
        if joined[0].sentence < 0:
            return joined
        words = len(self._text_ids(_texts(row, joined)[0]))
        for span in spans[1:wanted]:
            words += len(self._text_ids(_texts(row, [span])[0])) if span.sentence >= 0 else 0
            if span.sentence < 0 or words + span.last_clip - joined[0].first_clip > self.max_length - 3:
                break
            joined.append(span)
        return joined

    def _subsampling(self, num_clips: int, rng: np.random.Generator) -> slice:
        largest = max(1, min(self.max_step, num_clips // max(1, self.min_visual_tokens)))
        step = int(rng.integers(1, largest + 1))
        return slice(int(rng.integers(step)), None, step)

    def _regime(self, has_text: bool, has_video: bool, rng: np.random.Generator) -> str:
        allowed = np.array([has_text, has_video, has_text and has_video]) * self.weights
        if not allowed.any():
            # A sentence that the tokenizer reduces to nothing: show what there is.
            return "text" if has_text else "video"
        return REGIMES[rng.choice(len(REGIMES), p=allowed / allowed.sum())]

    def _other_place(self, rng, row_number, first, last, texts, text_ids, thin, aligned_ids):
        """The same words with the video of another place, or `None` if no draw finds one that differs."""
        draws = rng.choice(self._places, size=min(MAX_DRAWS, len(self._places)), replace=False)
        for other_number, position in self._spans[draws].tolist():
            row = self.rows[other_number]
            span = row_spans(row, self.trailing_seconds, self.silence_tokens)[position]
            begin = max(0, min(span.first_clip, len(row["visual_ids"]) - (last - first)))
            end = min(begin + last - first, len(row["visual_ids"]))
            near = other_number == row_number and begin < last + FAR_CLIPS and end > first - FAR_CLIPS
            if near or (span.sentence >= 0 and _texts(row, [span])[0].lower() in texts):
                continue
            sequence = self._sequence(text_ids, row["visual_ids"][begin:end][thin])
            if sequence[0] != aligned_ids and 1 in sequence[1]:
                return sequence
        return None

    def _text_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _sequence(self, text_ids, visual_ids) -> tuple[list[int], list[int]]:
        ids = (self.cls_id, self.join_id, self.sep_id)
        return joint_sequence(text_ids, visual_ids, *ids, self.visual_token_offset, self.max_length)


def _texts(row: Mapping, spans: Sequence[Span]) -> list[str]:
    return [row["sentences"][span.sentence]["text"].strip() for span in spans if span.sentence >= 0]


def _checked_mixture(mixture: Mapping[str, float]) -> np.ndarray:
    weights = np.array([mixture.get(regime, 0.0) for regime in REGIMES], dtype=float)
    if set(mixture) - set(REGIMES) or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"mixture is {dict(mixture)}; allowed are weights of at least 0 for {', '.join(REGIMES)}.")
    return weights


def _token_id(tokenizer, token: str) -> int:
    token_id = tokenizer.convert_tokens_to_ids(token)
    if token_id is None or token_id == tokenizer.unk_token_id:
        raise ValueError(f"The tokenizer does not know {token!r}; a VideoBERT tokenizer has it as one token.")
    return token_id
