"""What is asked of the model about a video that was watched: nothing here but calls of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeling_videobert import VideoBertForPreTraining
from processing.captioning_videobert import VideoCaptioningPipeline
from processing.fill_mask_videobert import VideoFillMaskPipeline
from processing.forecasting_videobert import HORIZONS, VideoForecastingPipeline
from processing.search import MomentIndex, row_moments

MAX_LETTERS = 300  # of a sentence
TOP_WORDS, TOP_TOKENS, TOP_MOMENTS = 5, 3, 5


class Answers:
    """Asks one model, one question at a time.

    Args:
        model ([`VideoBertForPreTraining`]):
            Trained.
        processor ([`VideoBertProcessor`]):
            Its processor.
        captioner ([`VideoBertForCaptioning`], *optional*):
            Of the same codebook.
        forecaster ([`VideoBertForPreTraining`], *optional*):
            Of the same codebook, and asked for what comes next in training; by default the model itself.
        trailing_seconds (`float`, *optional*, defaults to 0.0):
            A moment also has the clips up to so long after its sentence, as in training.
    """

    def __init__(
        self,
        model: VideoBertForPreTraining,
        processor,
        captioner=None,
        forecaster=None,
        trailing_seconds: float = 0.0,
    ):
        self.model, self.processor, self.trailing_seconds = model, processor, trailing_seconds
        self._fill = VideoFillMaskPipeline(model=model, processor=processor)
        self._forecast = VideoForecastingPipeline(model=forecaster or model, processor=processor)
        self._caption = captioner and VideoCaptioningPipeline(model=captioner, processor=processor)

    @property
    def has_captioner(self) -> bool:
        return self._caption is not None

    def moments(self, row: Mapping) -> list[dict]:
        """The parts of a video, as of [`row_moments`]."""
        return row_moments(row, self.trailing_seconds)

    def fill(self, text: str, shown: Mapping[str, Sequence[int] | None]) -> list[dict[str, list[tuple[str, float]]]]:
        """Words for each mask of a sentence.

        Args:
            text (`str`):
                With `[MASK]`.
            shown (`Mapping[str, Sequence[int]]`):
                By name the visual ids that are shown with it, or `None`.

        Returns:
            `list[dict[str, list[tuple[str, float]]]]`: For each mask, by name, the best words and their probabilities.

        Raises:
            ValueError: There is no mask, or the sentence is too long.
        """
        check_length(text)
        answers = {name: self._fill(video, text=text, top_k=TOP_WORDS) for name, video in by_video(shown)}
        lists = {name: answer if isinstance(answer[0], list) else [answer] for name, answer in answers.items()}
        masks = len(next(iter(lists.values())))
        return [
            {name: [(one["token_str"], one["score"]) for one in lists[name][mask]] for name in lists}
            for mask in range(masks)
        ]

    def forecast(self, visual_ids: Sequence[int], text: str) -> list[dict]:
        """What comes after some clips, as of [`VideoForecastingPipeline`]; told in a sentence, if it holds masks."""
        check_length(text)
        asked = {"text": text} if text.strip() else {}
        return self._forecast(list(visual_ids), horizons=HORIZONS, top_k=TOP_TOKENS, **asked)

    def caption(self, visual_ids: Sequence[int]) -> list[dict]:
        """Captions, as of [`VideoCaptioningPipeline`]."""
        return self._caption(list(visual_ids), num_beams=4)

    def find(self, row: Mapping, text: str) -> list[dict]:
        """The moments of a video that a text fits best, as of [`MomentIndex`]."""
        check_length(text)
        index = MomentIndex(self.model, self.processor)
        index.add(self.moments(row))
        return index.search(text, TOP_MOMENTS)


def by_video(shown: Mapping[str, Sequence[int] | None]) -> list[tuple[str, dict | list[int]]]:
    """By name what a pipeline is given: visual ids, or nothing at all."""
    return [(name, {} if ids is None else list(ids)) for name, ids in shown.items()]


def check_length(text: str) -> None:
    """Raise `ValueError` if a text is too long."""
    if len(text) > MAX_LETTERS:
        raise ValueError(f"The text has {len(text)} letters; allowed are {MAX_LETTERS}.")
