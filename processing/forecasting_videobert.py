"""What comes next in a video: the visual tokens of the clips to come, from those so far (paper, sections 3.2 and 4.2).

The paper shows such forecasts as pictures. Here hidden places follow the clips so far, and the cloze names them: those
of a clip with several visual ids one after the other, each by what the ones before it may be.
"""

from collections.abc import Iterator, Sequence

import torch

from .codes_videobert import checked_ids, code_choices
from .fill_mask_videobert import count_masks, mask_log_probabilities
from .pipeline_videobert import VideoBertPipeline
from .sequence_videobert import joint_sequence, sequence_ids, visual_code_sizes, visual_token

# How many clips ahead a forecast looks.
HORIZONS = (1, 2, 4, 8)
# The newest so many clips are looked back on, in training and afterwards.
CONTEXT_CLIPS = 64
# Of the visual ids that may come, so many are put into words.
NAMED_IDS = 64
# Where a clip has several visual ids, so many beginnings of clips are read in a forward pass.
BEGUN_CLIPS = 256
BEGINNINGS = 32  # of a clip with several visual ids, that are gone on with: a likelier clip behind others is missed


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
    each = len(visual_code_sizes(tokenizer))
    room = CONTEXT_CLIPS if max_length is None else min(CONTEXT_CLIPS, (max_length - 2) // each - future)
    if room < 1:
        needed = (future + 1) * each + 2
        raise ValueError(
            f"A forecast of {future} clips needs sequences of {needed} tokens; the model takes {max_length}."
        )
    input_ids, token_type_ids = joint_sequence([], visual_ids[-room * each :], **sequence_ids(tokenizer))
    input_ids[-1:-1] = [tokenizer.mask_token_id] * future * each
    token_type_ids[-1:-1] = [1] * future * each
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
        _check_context(context, processor)
    sequences = [
        forecast_sequence(list(context), future, processor.tokenizer, config.max_position_embeddings)
        for context in contexts
    ]
    ids, types = map(list, zip(*sequences, strict=True))
    rows = {"input_ids": ids, "token_type_ids": types}
    return processor.tokenizer.pad(rows, padding_side="right", return_tensors="pt")


def horizon_places(inputs, horizons: Sequence[int], each: int) -> torch.Tensor:
    """Where the first of the `each` visual tokens of the clip at each horizon stands: (batch, len(horizons))."""
    # Counted from the end of each sequence: before [SEP] stand the hidden places.
    ahead = (torch.tensor(list(horizons), device=inputs["input_ids"].device) - max(horizons) - 1) * each - 1
    return inputs["attention_mask"].sum(dim=1, keepdim=True) + ahead


def place_scores(model, inputs, places: torch.Tensor, first: int, size: int) -> torch.Tensor:
    """How likely each of `size` visual tokens from id `first` on is at some places (batch, P): (batch, P, size)."""
    hidden_states = model.base_model(**inputs).last_hidden_state
    asked = hidden_states[torch.arange(len(places), device=places.device)[:, None], places]
    return model.cloze_head(asked)[..., first : first + size].float().log_softmax(dim=-1)


def likely_clips(
    model, inputs, horizons: Sequence[int], sizes: Sequence[int], width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest clips at each horizon.

    Of several codes the first is named, then, for each of the likeliest beginnings (a beam of `BEGINNINGS`, or of
    `width` where that is more), the next, and so on.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            In evaluation mode.
        inputs (`Mapping[str, torch.Tensor]`):
            A batch of [`forecast_inputs`] for the farthest horizon, on the model's device.
        horizons (`Sequence[int]`):
            How many clips ahead: 1 is the next clip.
        sizes (`Sequence[int]`):
            How many visual ids each code of a clip has, as of [`visual_code_sizes`].
        width (`int`):
            Clips at each horizon; fewer where there are not as many.

    Returns:
        `tuple`: Log-probabilities (batch, len(horizons), K), highest first, and the visual ids of these clips (batch,
        len(horizons), K, len(sizes)).
    """
    places, first = horizon_places(inputs, horizons, len(sizes)), model.config.visual_token_offset
    beam = width if len(sizes) == 1 else max(width, BEGINNINGS)
    scores, clips = place_scores(model, inputs, places, first, sizes[0]).topk(min(beam, sizes[0]), dim=-1)
    clips = clips[..., None]
    for code, choices in enumerate(code_choices(sizes)[1:], start=1):
        first += sizes[code - 1]
        # Of each beginning no more than these can be among the best.
        ahead = [one.topk(min(beam, choices), dim=-1) for one in begun_scores(model, inputs, places, clips, sizes)]
        further, ids = (torch.cat(parts).view(*clips.shape[:3], -1) for parts in zip(*ahead, strict=True))
        each = ids.shape[-1]
        scores, best = (scores[..., None] + further).flatten(2).topk(min(beam, scores.shape[2] * each), dim=-1)
        before = clips.gather(2, (best // each)[..., None].expand(-1, -1, -1, code))
        named = ids.flatten(2).gather(2, best) + first - model.config.visual_token_offset
        clips = torch.cat([before, named[..., None]], dim=-1)
    return scores[..., :width], clips[..., :width, :]


def score_clips(
    model, inputs, horizons: Sequence[int], sizes: Sequence[int], clips: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How likely some clips are: their first code, times their second one after the first, and so on.

    Args:
        model, inputs, horizons, sizes:
            See [`likely_clips`].
        clips (`torch.Tensor` of shape (batch, len(horizons), len(sizes))):
            The visual ids of a clip at each horizon.

    Returns:
        `tuple`: Log-probabilities of all first codes (batch, len(horizons), sizes[0]), and of the clips (batch,
        len(horizons)).
    """
    places, first = horizon_places(inputs, horizons, len(sizes)), model.config.visual_token_offset
    codes = place_scores(model, inputs, places, first, sizes[0])
    scores = codes.gather(2, clips[..., :1])[..., 0]
    for code in range(1, len(sizes)):
        first += sizes[code - 1]
        further = torch.cat([*begun_scores(model, inputs, places, clips[:, :, None, :code], sizes)])
        named = clips[..., code] + model.config.visual_token_offset - first
        scores = scores + further.gather(1, named.view(-1, 1)).view_as(scores)
    return codes, scores


def begun_scores(
    model, inputs, places: torch.Tensor, begun: torch.Tensor, sizes: Sequence[int]
) -> Iterator[torch.Tensor]:
    """How likely each id of the next code is behind each beginning of a clip.

    Args:
        model, inputs, sizes:
            See [`likely_clips`]; B sequences.
        places (`torch.Tensor` of shape (B, H)):
            Where clips begin.
        begun (`torch.Tensor` of shape (B, H, K, n)):
            The first n visual ids of K clips at each of them, which are shown in their places.

    Yields:
        `torch.Tensor` of shape (at most `BEGUN_CLIPS`, sizes[n]): Log-probabilities, of all B · H · K in their order.
    """
    sequences = torch.arange(len(places), device=places.device)[:, None, None].expand(begun.shape[:3]).flatten()
    starts = places[..., None].expand(begun.shape[:3]).reshape(-1, 1)
    clips, codes = begun.flatten(0, 2), begun.shape[3]
    first = model.config.visual_token_offset + sum(sizes[:codes])
    for some, at, ids in zip(*(values.split(BEGUN_CLIPS) for values in (sequences, starts, clips)), strict=True):
        asked = {name: values[some] for name, values in inputs.items()}
        shown = at + torch.arange(codes, device=at.device)
        asked["input_ids"].scatter_(1, shown, ids + model.config.visual_token_offset)
        scores = place_scores(model, asked, at + codes, first, sizes[codes])[:, 0]
        yield among_next(scores, ids[:, -1], sizes, codes)


def among_next(scores: torch.Tensor, before: torch.Tensor, sizes: Sequence[int], code: int) -> torch.Tensor:
    """How likely the ids of a code are among those that it may have: of a path down a tree, the children of the id
    before.

    Args:
        scores (`torch.Tensor` of shape (…, sizes[code])):
            Log-probabilities among all ids of the code.
        before (`torch.Tensor` of shape (…)):
            The visual ids of the code before it.
        sizes (`Sequence[int]`):
            How many ids each code has.
        code (`int`):
            Which code, counted from 0.

    Returns:
        `torch.Tensor` of shape (…, sizes[code]): Log-probabilities; of all others minus infinity.
    """
    choices = code_choices(sizes)[code]
    if not code or choices == sizes[code]:
        return scores
    parents = torch.arange(sizes[code], device=scores.device) // choices
    others = parents != (before - sum(sizes[: code - 1]))[..., None]
    return scores.masked_fill(others, -torch.inf).log_softmax(dim=-1)


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
        ValueError: A horizon that is no whole number above 0, a video without clips, an id outside the codebook, or
            several visual ids a clip.
    """
    check_horizons(horizons)
    if (each := len(visual_code_sizes(processor.tokenizer))) > 1:
        raise ValueError(
            f"All visual ids can be scored where a clip has one; it has {each} here, of which forecast() finds the "
            "likeliest clips."
        )
    size = model.config.codebook_size
    model.eval()
    for start in range(0, len(contexts), batch_size):
        some = contexts[start : start + batch_size]
        inputs = forecast_inputs(processor, some, max(horizons), model.config).to(model.device)
        yield place_scores(model, inputs, horizon_places(inputs, horizons, 1), model.config.visual_token_offset, size)


@torch.inference_mode()
def forecast(
    model,
    processor,
    visual_ids: Sequence[int],
    horizons: Sequence[int] = HORIZONS,
    top_k: int = 5,
    text: str | None = None,
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
            Clips at each horizon.
        text (`str`, *optional*):
            A sentence with masks, see [`tell_forecast`].

    Returns:
        `list[dict]`: For each horizon `horizon`, `start` and `end` of that clip in seconds, and `visual_ids`, `tokens`
        and `scores` (probabilities among visual ids) of the `top_k`; where a clip has several visual ids each of
        `visual_ids` is a list of them. With a text `words`, the best of each mask.

    Raises:
        ValueError: A horizon that is no whole number above 0, a video without clips, an id outside the codebook, a
            `top_k` that is not between 1 and the codebook's size, or a text without masks.
    """
    check_horizons(horizons)
    check_top_k(top_k, model.config.codebook_size)
    model.eval()
    inputs = forecast_inputs(processor, [visual_ids], max(horizons), model.config).to(model.device)
    [scores], [clips], [words] = look_ahead(model, processor, inputs, horizons, top_k, [text])
    return name_clips(processor, scores, clips, words, horizons, len(visual_ids), top_k)


def look_ahead(
    model, processor, inputs, horizons: Sequence[int], top_k: int, texts: Sequence[str | None]
) -> tuple[torch.Tensor, torch.Tensor, list]:
    """The likeliest clips, as of [`likely_clips`], of a batch, and for each video with a text its words."""
    width = top_k if not any(texts) else max(top_k, NAMED_IDS)
    sizes = visual_code_sizes(processor.tokenizer)
    scores, clips = likely_clips(model, inputs, horizons, sizes, width)
    words = [
        None if text is None else tell_forecast(model, processor, text, *one, top_k)
        for text, *one in zip(texts, scores, clips, strict=True)
    ]
    return scores, clips, words


def name_clips(
    processor,
    scores: torch.Tensor,
    clips: torch.Tensor,
    words: list | None,
    horizons: Sequence[int],
    count: int,
    top_k: int,
) -> list[dict]:
    """What [`look_ahead`] found for one video of `count` visual ids; see [`forecast`]."""
    each, clip_seconds, answers = clips.shape[-1], processor.video_processor.clip_seconds, []
    for place, horizon in enumerate(horizons):
        end, best = clip_seconds * (count // each + horizon), clips[place, :top_k].tolist()
        named = {
            "visual_ids": [ids[0] for ids in best] if each == 1 else best,
            "tokens": ["".join(map(visual_token, ids)) for ids in best],
            "scores": scores[place, :top_k].exp().tolist(),
        }
        told = {} if words is None else {"words": words[place]}
        answers.append({"horizon": horizon, "start": end - clip_seconds, "end": end, **named, **told})
    return answers


@torch.inference_mode()
def tell_forecast(
    model, processor, text: str, scores: torch.Tensor, clips: torch.Tensor | None = None, top_k: int = 5
) -> list[list[list[dict]]]:
    """A forecast in words: what the masks of a sentence would say of the clip at each horizon.

    No single clip is likely far ahead, but many of them may show the same. So each is named by itself, and the words
    are weighted by how likely their clips are.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            In evaluation mode.
        processor ([`VideoBertProcessor`]):
            Knows the words.
        text (`str`):
            A sentence with masks.
        scores (`torch.Tensor` of shape (H, N)):
            Log-probabilities of one video; the `NAMED_IDS` likeliest clips are named.
        clips (`torch.Tensor` of shape (H, N, n), *optional*):
            The visual ids of these clips; by default those with one visual id, 0 … N − 1.
        top_k (`int`, *optional*, defaults to 5):
            Words at each mask.

    Returns:
        `list[list[list[dict]]]`: For each horizon and mask `score`, `token` and `token_str` of the `top_k` words.

    Raises:
        ValueError: The text holds no mask.
    """
    tokenizer = processor.tokenizer
    count_masks(tokenizer, text)
    if clips is None:
        clips = torch.arange(scores.shape[-1], device=scores.device).expand(len(scores), -1)[..., None]
    best = scores.exp().topk(min(NAMED_IDS, scores.shape[-1]), dim=-1)
    shown = clips.gather(1, best.indices[..., None].expand(-1, -1, clips.shape[-1]))
    videos, place = shown.flatten(0, 1).unique(dim=0, return_inverse=True)
    inputs = processor([text] * len(videos), videos.tolist(), max_length=model.config.max_position_embeddings)
    named = mask_log_probabilities(model, inputs.to(model.device), tokenizer.mask_token_id)
    weights = torch.zeros(len(scores), len(videos), device=scores.device)
    weights.scatter_(1, place.view(best.indices.shape), best.values / best.values.sum(dim=-1, keepdim=True))
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


def _check_context(visual_ids: Sequence[int], processor) -> None:
    if not len(visual_ids):
        seconds = processor.video_processor.clip_seconds
        raise ValueError(f"The video has 0 clips; a forecast needs at least 1, and a clip is {seconds} s long.")
    checked_ids(visual_ids, visual_code_sizes(processor.tokenizer))


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
            Clips at each horizon, and words at each mask.
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
        yield {**encoded, "count": len(ids), "text": inputs["text"], "is_last": True}

    def _forward(self, model_inputs, horizons: Sequence[int] = HORIZONS, top_k: int = 5):
        count, text, is_last = (model_inputs.pop(name) for name in ("count", "text", "is_last"))
        batched = isinstance(text, list)
        texts = text if batched else [text]
        scores, clips, words = look_ahead(self.model, self.processor, model_inputs, horizons, top_k, texts)
        told = {"words": words if batched else words[0], "count": count, "is_last": is_last}
        return {"scores": scores, "clips": clips, **told}

    def postprocess(self, model_outputs, horizons: Sequence[int] = HORIZONS, top_k: int = 5):
        """The best of each clip, and what the masks say of it."""
        [answer] = model_outputs
        found = (answer["scores"][0], answer["clips"][0], answer["words"])
        return name_clips(self.processor, *found, horizons, answer["count"], top_k)
