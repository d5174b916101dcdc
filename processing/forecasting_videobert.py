"""What comes next in a video: the visual tokens of the clips to come, from those so far (paper, sections 3.2 and 4.2).

The paper shows such forecasts as pictures. Here hidden places follow the clips so far, and the cloze names them.
"""

from collections.abc import Iterator, Sequence

import torch

from .sequence_videobert import joint_sequence, sequence_ids, visual_token

# How many clips ahead a forecast looks.
HORIZONS = (1, 2, 4, 8)
# The newest so many clips are looked back on, in training and afterwards.
CONTEXT_CLIPS = 64


def forecast_sequence(
    visual_ids: Sequence[int], future: int, tokenizer, max_length: int | None = None
) -> tuple[list[int], list[int]]:
    """The question after the next clips: `[CLS] v1 … vm [MASK] … [MASK] [SEP]`.

    Args:
        visual_ids (`Sequence[int]`):
            Those of the clips so far; the newest `CONTEXT_CLIPS` of them are shown.
        future (`int`):
            How many clips to come are hidden places.
        tokenizer (`PreTrainedTokenizerBase`):
            The joint vocabulary.
        max_length (`int`, *optional*):
            The longest sequence; it shows fewer clips where it has no room for more.

    Returns:
        `tuple[list[int], list[int]]`: `input_ids` and `token_type_ids`; hidden places count as vision.

    Raises:
        ValueError: `max_length` has no room for one clip and those to come.
    """
    room = CONTEXT_CLIPS if max_length is None else min(CONTEXT_CLIPS, max_length - 2 - future)
    if room < 1:
        raise ValueError(
            f"A forecast of {future} clips needs sequences of {future + 3} tokens; the model takes {max_length}."
        )
    input_ids, token_type_ids = joint_sequence([], visual_ids[-room:], **sequence_ids(tokenizer))
    input_ids[-1:-1] = [tokenizer.mask_token_id] * future
    token_type_ids[-1:-1] = [1] * future
    return input_ids, token_type_ids


@torch.inference_mode()
def future_scores(
    model, processor, contexts: Sequence[Sequence[int]], horizons: Sequence[int] = HORIZONS, batch_size: int = 32
) -> Iterator[torch.Tensor]:
    """How likely each visual id is at each horizon, for N videos so far.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            Knows the tokens.
        contexts (`Sequence[Sequence[int]]`):
            The visual ids so far of each video, at least one.
        horizons (`Sequence[int]`, *optional*, defaults to `HORIZONS`):
            How many clips ahead: 1 is the next clip.
        batch_size (`int`, *optional*, defaults to 32):
            Videos at a time.

    Yields:
        `torch.Tensor` of shape (batch, len(horizons), codebook_size): float32 log-probabilities among visual ids.

    Raises:
        ValueError: A horizon that is no whole number above 0, a video without clips, or an id outside the codebook.
    """
    config = model.config
    future = _checked_horizons(horizons)
    for context in contexts:
        _check_context(context, config.codebook_size, processor)
    ahead = torch.tensor(list(horizons), device=model.device) - future - 2
    visual = slice(config.visual_token_offset, config.visual_token_offset + config.codebook_size)
    model.eval()
    for start in range(0, len(contexts), batch_size):
        sequences = [
            forecast_sequence(list(context), future, processor.tokenizer, config.max_position_embeddings)
            for context in contexts[start : start + batch_size]
        ]
        rows = dict(zip(("input_ids", "token_type_ids"), map(list, zip(*sequences, strict=True)), strict=True))
        inputs = processor.tokenizer.pad(rows, return_tensors="pt").to(model.device)
        hidden_states = model.base_model(**inputs).last_hidden_state
        # Counted from the end of each sequence: before [SEP] stand the hidden places.
        places = inputs["attention_mask"].sum(dim=1, keepdim=True) + ahead
        asked = hidden_states[torch.arange(len(places), device=places.device)[:, None], places]
        yield model.cloze_head(asked)[..., visual].float().log_softmax(dim=-1)


def forecast(
    model, processor, visual_ids: Sequence[int], horizons: Sequence[int] = HORIZONS, top_k: int = 5
) -> list[dict]:
    """What one video will show, likeliest first.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            One that has been asked for what comes next in training, see `examples/forecast.py`.
        processor ([`VideoBertProcessor`]):
            Knows the tokens and how long a clip is.
        visual_ids (`Sequence[int]`):
            Those of the clips so far.
        horizons (`Sequence[int]`, *optional*, defaults to `HORIZONS`):
            How many clips ahead: 1 is the next clip.
        top_k (`int`, *optional*, defaults to 5):
            Visual ids at each horizon.

    Returns:
        `list[dict]`: For each horizon `horizon`, `start` and `end` of that clip in seconds, and `visual_ids`, `tokens`
        and `scores` (probabilities among visual ids) of the `top_k`.

    Raises:
        ValueError: As of [`future_scores`], or `top_k` is not between 1 and the codebook's size.
    """
    if not 1 <= top_k <= model.config.codebook_size:
        raise ValueError(f"top_k is {top_k}; allowed is 1 to {model.config.codebook_size}, the codebook's size.")
    scores = next(future_scores(model, processor, [visual_ids], horizons))[0]
    best = scores.exp().topk(top_k, dim=-1)
    clip_seconds, answers = processor.video_processor.clip_seconds, []
    for horizon, ids, probabilities in zip(horizons, best.indices.tolist(), best.values.tolist(), strict=True):
        end = clip_seconds * (len(visual_ids) + horizon)
        named = {"visual_ids": ids, "tokens": [visual_token(i) for i in ids], "scores": probabilities}
        answers.append({"horizon": horizon, "start": end - clip_seconds, "end": end, **named})
    return answers


def _checked_horizons(horizons: Sequence[int]) -> int:
    """The farthest of them."""
    if not len(horizons) or any(horizon != int(horizon) or horizon < 1 for horizon in horizons):
        raise ValueError(f"horizons are {tuple(horizons)}; allowed are whole numbers of clips from 1 on.")
    return int(max(horizons))


def _check_context(visual_ids: Sequence[int], size: int, processor) -> None:
    if not len(visual_ids):
        seconds = processor.video_processor.clip_seconds
        raise ValueError(f"The video has 0 clips; a forecast needs at least 1, and a clip is {seconds} s long.")
    for visual_id in visual_ids:
        if not 0 <= visual_id < size:
            raise ValueError(f"Visual id {visual_id} is outside the codebook, whose ids are 0 to {size - 1}.")
