"""Steps of a protocol named by verb and object, with intervals over videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..actions import TEMPLATE, TOPS, evaluate_actions, rank_lists
from ..controls import other_videos
from ..intervals import share_with_interval
from ..truth import ASKED


def evaluate_named_steps(
    model, processor, segments: Sequence[Mapping], train_segments: Sequence[Mapping] | None = None, batch_size=32
) -> dict[str, float | int | None]:
    """Zero-shot verbs and objects as of [`evaluate_actions`], with the ends of intervals over videos.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            For the words.
        segments (`Sequence[Mapping]`):
            N steps with `visual_ids`, `verb`, `object` and `video_id`.
        train_segments (`Sequence[Mapping]`, *optional*):
            Labelled steps of the training videos, for the token probe only.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Returns:
        `dict`: Its figures, and `…_low` and `…_high` of those that the model gives. The interval of the probe is that
        of its standard error.
    """
    figures = evaluate_actions(model, processor, segments, batch_size, train_segments)
    videos = [segment["video_id"] for segment in segments]
    own, order = [segment["visual_ids"] for segment in segments], other_videos(videos)
    asked_with = {"": own, "_prior": [[]] * len(own)}
    if order is not None:
        asked_with["_shuffled"] = [own[place] for place in order]
    truth = [[segment[asked] for segment in segments] for asked in ASKED]
    words = [sorted({one[asked] for one in [*segments, *(train_segments or ())]}) for asked in ASKED]
    for condition, visual_ids in asked_with.items():
        among_all, _ = rank_lists(model, processor, visual_ids, TEMPLATE, words, truth, batch_size)
        for asked, ranks in zip(ASKED, among_all, strict=True):
            for top in TOPS:
                found = share_with_interval(ranks <= top, videos)
                name = f"{asked}_top{top}{condition}"
                figures |= {f"{name}_low": found["low"], f"{name}_high": found["high"]}
    return figures
