"""Pairs of text and video for the alignment objective: which are asked, and which video is a false one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..codes_videobert import ids_of_clips, num_clips
from .segments import row_spans, span_texts

# Speech and picture are only loosely aligned: within this distance the same video may still show what is being said.
FAR_CLIPS = 8
# How many other places are tried before a text goes without a false video.
MAX_DRAWS = 64


@dataclass(frozen=True)
class AlignmentPairs:
    """How the alignment objective is asked (paper, section 3.3, which leaves all of this open).

    Args:
        share (`float`, *optional*, defaults to 0.5):
            Of the video-text examples those that ask whether text and video belong together; the others ask the cloze.
        twins (`bool`, *optional*, defaults to `True`):
            Whether a text comes with its true and with a false video in one batch, so that only comparing them helps;
            otherwise with one of them, drawn by a coin.
        masked (`bool`, *optional*, defaults to `False`):
            Whether pairs are masked like cloze examples, and true ones ask the cloze as well. What tells whether the
            two belong together is then often hidden.
        same_video_share (`float`, *optional*, defaults to 0.5):
            Of the false videos those that are another place of the same video; where both kinds are wanted, one stands
            in for the other.
        candidates (`int`, *optional*, defaults to 1):
            False videos that are drawn, of which the one most like the true one is taken; above 1 they are hard.

    Raises:
        ValueError: A share that is not between 0 and 1, or no candidate.
    """

    share: float = 0.5
    twins: bool = True
    masked: bool = False
    same_video_share: float = 0.5
    candidates: int = 1

    def __post_init__(self) -> None:
        for name in ("share", "same_video_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of the alignment pairs is {getattr(self, name)}; allowed is 0 to 1.")
        if self.candidates < 1:
            raise ValueError(f"candidates of the alignment pairs is {self.candidates}; allowed is at least 1.")


class FalseVideos:
    """Finds clips of another place for a text: of another video, or of the same one at least `FAR_CLIPS` away.

    A false video has as many clips as the true one wherever its row is long enough, so that the length gives nothing
    away; it lies under a sentence with other words, and its visual ids differ from the true ones.

    Args:
        rows (`Sequence[Mapping]`):
            The rows.
        places (`np.ndarray` of shape (N, 2)):
            Number of a row and of a span in it, for every span that has clips, in the order of rows.
        pairs ([`AlignmentPairs`]):
            How false videos are drawn.
        trailing_seconds, silence_tokens:
            As of [`row_spans`].
    """

    def __init__(
        self,
        rows: Sequence[Mapping],
        places: np.ndarray,
        pairs: AlignmentPairs,
        trailing_seconds: float,
        silence_tokens: int,
    ):
        self.rows, self.places, self.pairs = rows, places, pairs
        self.trailing_seconds, self.silence_tokens = trailing_seconds, silence_tokens

    def exist(self) -> bool:
        """Whether all rows together hold two places that differ."""
        videos = (self.rows[int(number)] for number in np.unique(self.places[:, 0]))
        first = next(videos)
        others = (list(row["visual_ids"]) != list(first["visual_ids"]) for row in videos)
        return num_clips(first) > 2 * FAR_CLIPS or any(others)

    def draw(
        self, rng: np.random.Generator, row_number: int, clips: range, texts: set[str], thin: slice
    ) -> list[int] | None:
        """Visual ids of a false video.

        Args:
            rng (`np.random.Generator`):
                Where the draws come from.
            row_number (`int`):
                The row of the true video.
            clips (`range`):
                The true clips.
            texts (`set[str]`):
                The sentences of the text, in lower case.
            thin (`slice`):
                How the clips are subsampled.

        Returns:
            `list[int]`: Subsampled like the true ones, or `None` if no draw finds a place.
        """
        true_ids = ids_of_clips(self.rows[row_number], clips[thin])
        share = self.pairs.same_video_share
        same = rng.random() < share
        # Where there is no far place in the same video another one must do, and the other way round.
        for same_video in (same, not same) if 0 < share < 1 else (same,):
            found = []
            for place in self._draw_places(rng, row_number, same_video):
                ids = self._ids_at(place, row_number, clips, texts, thin)
                if ids and ids != true_ids:
                    found.append(ids)
                if len(found) == self.pairs.candidates:
                    break
            if found:
                return max(found, key=lambda ids: likeness(ids, true_ids))
        return None

    def _draw_places(self, rng: np.random.Generator, row_number: int, same_video: bool) -> list[list[int]]:
        first, last = np.searchsorted(self.places[:, 0], [row_number, row_number + 1])
        if same_video:
            return rng.permutation(self.places[first:last])[:MAX_DRAWS].tolist()
        others = len(self.places) - (last - first)
        draws = rng.choice(others, size=min(MAX_DRAWS, others), replace=False) if others else np.zeros(0, int)
        return self.places[np.where(draws < first, draws, draws + last - first)].tolist()

    def _ids_at(
        self, place: list[int], row_number: int, clips: range, texts: set[str], thin: slice
    ) -> list[int] | None:
        number, position = place
        row = self.rows[number]
        span = row_spans(row, self.trailing_seconds, self.silence_tokens)[position]
        begin = max(0, min(span.first_clip, num_clips(row) - len(clips)))
        end = min(begin + len(clips), num_clips(row))
        near = number == row_number and begin < clips.stop + FAR_CLIPS and end > clips.start - FAR_CLIPS
        if near or texts & {text.lower() for text in span_texts(row, [span])}:
            return None
        return ids_of_clips(row, range(begin, end)[thin])


def likeness(ids: Sequence[int], others: Sequence[int]) -> float:
    """How much two lists of visual ids have in common, order aside: 0 nothing, 1 all."""
    one, other = set(ids), set(others)
    return len(one & other) / len(one | other)
