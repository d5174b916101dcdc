"""What comes next in a video: the visual tokens of the clips to come, from those so far (paper, sections 3.2 and 4.2).

The paper shows such forecasts as pictures. Here hidden places follow the clips so far, and the cloze names them.
"""

from collections.abc import Iterator, Sequence

import torch

from .fill_mask_videobert import count_masks, mask_log_probabilities
from .pipeline_videobert import VideoBertPipeline
from .sequence_videobert import joint_sequence, sequence_ids, visual_token

# How many clips ahead a forecast looks.
HORIZONS = (1, 2, 4, 8)
# The newest so many clips are looked back on, in training and afterwards.
CONTEXT_CLIPS = 64
# Of the visual ids that may come, so many are put into words.
NAMED_IDS = 64


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


def forecast_inputs(processor, contexts: Sequence[Sequence[int]], future: int, config):
    """A batch of such questions.

    Args:
        processor ([`VideoBertProcessor`]):
            Knows the tokens.
        contexts (`Sequence[Sequence[int]]`):
            The visual ids so far of each video.
        future (`int`):
            How many clips to come are hidden places.
        config ([`VideoBertConfig`]):
            The model's.

    Returns:
        `BatchEncoding`: `input_ids`, `attention_mask` and `token_type_ids`, padded on the right.

    Raises:
        ValueError: A video without clips, an id outside the codebook, or more clips to come than the model has room
            for.
    """
    for context in contexts:
        _check_context(context, config.codebook_size, processor)
    sequences = [
        forecast_sequence(list(context), future, processor.tokenizer, config.max_position_embeddings)
        for context in contexts
    ]
    ids, types = map(list, zip(*sequences, strict=True))
    rows = {"input_ids": ids, "token_type_ids": types}
    return processor.tokenizer.pad(rows, padding_side="right", return_tensors="pt")


def horizon_scores(model, inputs, horizons: Sequence[int]) -> torch.Tensor:
    """How likely each visual id is at each horizon.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            In evaluation mode.
        inputs (`Mapping[str, torch.Tensor]`):
            A batch of [`forecast_inputs`] for the farthest horizon, on the model's device.
        horizons (`Sequence[int]`):
            How many clips ahead: 1 is the next clip.

    Returns:
        `torch.Tensor` of shape (batch, len(horizons), codebook_size): float32 log-probabilities among visual ids.
    """
    hidden_states = model.base_model(**inputs).last_hidden_state
    # Counted from the end of each sequence: before [SEP] stand the hidden places.
    ahead = torch.tensor(list(horizons), device=hidden_states.device) - max(horizons) - 2
    places = inputs["attention_mask"].sum(dim=1, keepdim=True) + ahead
    asked = hidden_states[torch.arange(len(places), device=places.device)[:, None], places]
    offset = model.config.visual_token_offset
    scores = model.cloze_head(asked)[..., offset : offset + model.config.codebook_size]
    return scores.float().log_softmax(dim=-1)


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
    check_horizons(horizons)
    model.eval()
    for start in range(0, len(contexts), batch_size):
        some = contexts[start : start + batch_size]
        inputs = forecast_inputs(processor, some, max(horizons), model.config).to(model.device)
        yield horizon_scores(model, inputs, horizons)


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
    check_top_k(top_k, model.config.codebook_size)
    scores = next(future_scores(model, processor, [visual_ids], horizons))[0]
    return name_clips(scores, horizons, len(visual_ids), processor.video_processor.clip_seconds, top_k)


def name_clips(
    scores: torch.Tensor, horizons: Sequence[int], clips: int, clip_seconds: float, top_k: int
) -> list[dict]:
    """The best of [`horizon_scores`] (len(horizons), codebook_size) after so many clips; see [`forecast`]."""
    best, answers = scores.exp().topk(top_k, dim=-1), []
    for horizon, ids, probabilities in zip(horizons, best.indices.tolist(), best.values.tolist(), strict=True):
        end = clip_seconds * (clips + horizon)
        named = {"visual_ids": ids, "tokens": [visual_token(i) for i in ids], "scores": probabilities}
        answers.append({"horizon": horizon, "start": end - clip_seconds, "end": end, **named})
    return answers


@torch.inference_mode()
def tell_forecast(model, processor, text: str, scores: torch.Tensor, top_k: int = 5) -> list[list[list[dict]]]:
    """A forecast in words: what the masks of a sentence would say of the clip at each horizon.

    No single visual id is likely far ahead, but many of them may show the same. So each is named by itself, and the
    words are weighted by how likely their ids are.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            In evaluation mode.
        processor ([`VideoBertProcessor`]):
            Knows the words.
        text (`str`):
            A sentence with masks.
        scores (`torch.Tensor` of shape (H, codebook_size)):
            Log-probabilities of one video, as of [`horizon_scores`]; the `NAMED_IDS` likeliest ids are named.
        top_k (`int`, *optional*, defaults to 5):
            Words at each mask.

    Returns:
        `list[list[list[dict]]]`: For each horizon and mask `score`, `token` and `token_str` of the `top_k` words.

    Raises:
        ValueError: The text holds no mask.
    """
    tokenizer = processor.tokenizer
    count_masks(tokenizer, text)
    best = scores.exp().topk(min(NAMED_IDS, scores.shape[-1]), dim=-1)
    ids = best.indices.unique()
    inputs = processor([text] * len(ids), [[i] for i in ids.tolist()], max_length=model.config.max_position_embeddings)
    named = mask_log_probabilities(model, inputs.to(model.device), tokenizer.mask_token_id)
    weights = torch.zeros(len(scores), len(ids), device=scores.device)
    weights.scatter_(1, torch.searchsorted(ids, best.indices), best.values / best.values.sum(dim=-1, keepdim=True))
    mixed = torch.einsum("hn,nmv->hmv", weights, torch.stack(named).exp().to(weights.device)).topk(top_k, dim=-1)
    return [
        [
            [{"score": p, "token": i, "token_str": tokenizer.decode([i])} for p, i in zip(*mask, strict=True)]
            for mask in zip(*clip, strict=True)
        ]
        for clip in zip(mixed.values.tolist(), mixed.indices.tolist(), strict=True)
    ]


def check_horizons(horizons: Sequence[int]) -> None:
    """Raise `ValueError` unless all are whole numbers above 0."""
    if not len(horizons) or any(horizon != int(horizon) or horizon < 1 for horizon in horizons):
        raise ValueError(f"horizons are {tuple(horizons)}; allowed are whole numbers of clips from 1 on.")


def check_top_k(top_k: int, size: int) -> None:
    """Raise `ValueError` unless there are as many visual ids."""
    if not 1 <= top_k <= size:
        raise ValueError(f"top_k is {top_k}; allowed is 1 to {size}, the codebook's size.")


def _check_context(visual_ids: Sequence[int], size: int, processor) -> None:
    if not len(visual_ids):
        seconds = processor.video_processor.clip_seconds
        raise ValueError(f"The video has 0 clips; a forecast needs at least 1, and a clip is {seconds} s long.")
    for visual_id in visual_ids:
        if not 0 <= visual_id < size:
            raise ValueError(f"Visual id {visual_id} is outside the codebook, whose ids are 0 to {size - 1}.")


class VideoForecastingPipeline(VideoBertPipeline):
    """Names the visual tokens of the clips to come and, where it is given a sentence with masks, tells them in words.

    ```python
    >>> pipe = pipeline("video-forecasting", model="my-videobert-forecast", trust_remote_code=True)
    >>> pipe("film.mp4", text="now let me show you how to [MASK] the [MASK].", horizons=(1, 4), top_k=2)
    [{"horizon": 1, "start": 24.0, "end": 25.5, "visual_ids": [17, 18], "tokens": […], "scores": […],
      "words": [[{"score": 0.6, "token": 3013, "token_str": "cut"}, …], …]}, …]
    ```

    Parameters of the pipeline and of its calls:
        horizons (`Sequence[int]`, *optional*, defaults to `HORIZONS`):
            How many clips ahead: 1 is the next clip.
        top_k (`int`, *optional*, defaults to 5):
            Visual ids at each horizon, and words at each mask.
    """

    def _sanitize_parameters(self, horizons: Sequence[int] | None = None, top_k: int | None = None):
        looking, naming = {}, {}
        if horizons is not None:
            check_horizons(horizons)
            looking["horizons"] = naming["horizons"] = tuple(horizons)
        if top_k is not None:
            check_top_k(top_k, self.model.config.codebook_size)
            naming["top_k"] = top_k
        return looking, naming, naming

    def preprocess(self, inputs, horizons: Sequence[int] = HORIZONS):
        """One chunk a video."""
        if inputs["text"] is not None:
            count_masks(self.processor.tokenizer, inputs["text"])
        ids = self._read(inputs["video"])
        encoded = forecast_inputs(self.processor, [ids], max(horizons), self.model.config)
        yield {**encoded, "clips": len(ids), "text": inputs["text"], "is_last": True}

    def _forward(self, model_inputs, horizons: Sequence[int] = HORIZONS, top_k: int = 5):
        clips, text, is_last = (model_inputs.pop(name) for name in ("clips", "text", "is_last"))
        scores, batched = horizon_scores(self.model, model_inputs, horizons), isinstance(text, list)
        words = [
            None if one is None else tell_forecast(self.model, self.processor, one, answer, top_k)
            for one, answer in zip(text if batched else [text], scores, strict=True)
        ]
        return {"scores": scores, "words": words if batched else words[0], "clips": clips, "is_last": is_last}

    def postprocess(self, model_outputs, horizons: Sequence[int] = HORIZONS, top_k: int = 5):
        """The best of each clip, and what the masks say of it."""
        [answer] = model_outputs
        clip_seconds = self.processor.video_processor.clip_seconds
        found = name_clips(answer["scores"][0], horizons, answer["clips"], clip_seconds, top_k)
        if answer["words"] is None:
            return found
        return [one | {"words": words} for one, words in zip(found, answer["words"], strict=True)]
