"""Says in words what a video shows: the pipeline "video-captioning", and what it shares with training and evaluation.

Where nobody speaks there are no sentences to say which clips belong together. So a video is cut into windows, as many
as come closest to `WINDOW_SECONDS` each and all equally long but for a clip. Windows side by side with the same
caption become one.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from transformers.modeling_outputs import BaseModelOutput

from .codes_videobert import join_clips, split_clips
from .pipeline_videobert import VideoBertPipeline
from .sequence_videobert import visual_code_sizes

# What the paper asks to get features for captions (section 4.5).
TEMPLATE = "now let's [MASK] the [MASK] to the [MASK], and then [MASK] the [MASK]"
# Long enough to be read, short enough to show one thing.
WINDOW_SECONDS = 6.0


@torch.inference_mode()
def paper_features(
    model, processor, visual_ids: Sequence[Sequence[int]], raw: bool = False, batch_size: int = 32
) -> torch.Tensor:
    """The paper's features for captions (section 4.5): what a VideoBERT makes of `TEMPLATE` with a video.

    Args:
        model (any VideoBERT):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the words; with `raw` its codebook.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video. An empty one has zeros in the place of its video outputs.
        raw (`bool`, *optional*, defaults to `False`):
            Whether the mean feature of the clips' clusters is joined to them, as the paper does with S3D.
        batch_size (`int`, *optional*, defaults to 32):
            Videos at a time.

    Returns:
        `torch.Tensor` of shape (N, 2 H) or (N, 2 H + D): float32, on the CPU: the mean of the video outputs, the mean
        of the outputs at the masks, and with `raw` the mean of the clips' centroids.
    """
    model.eval()
    encoder, parts = model.base_model, []
    for start in range(0, len(visual_ids), batch_size):
        videos = [list(ids) for ids in visual_ids[start : start + batch_size]]
        inputs = processor([TEMPLATE] * len(videos), videos, max_length=model.config.max_position_embeddings)
        inputs = inputs.to(model.device)
        hidden_states = encoder(**inputs).last_hidden_state.float()
        masks = inputs["input_ids"] == processor.tokenizer.mask_token_id
        means = [_mean_where(hidden_states, places) for places in (inputs["token_type_ids"] == 1, masks)]
        if raw:
            means.append(torch.stack([_mean_centroid(processor.codebook, ids) for ids in videos]).to(model.device))
        parts.append(torch.cat(means, dim=1).cpu())
    return torch.cat(parts)


def _mean_where(hidden_states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Means over some places of each sequence: (B, L, H) and (B, L) to (B, H); zeros where there are none."""
    summed = (hidden_states * places[..., None]).sum(dim=1)
    return summed / places.sum(dim=1, keepdim=True).clamp_min(1)


def _mean_centroid(codebook, ids: Sequence[int]) -> torch.Tensor:
    if not ids:
        return torch.zeros(codebook.centroids([0]).shape[1])
    of_clips = getattr(codebook, "decode", codebook.centroids)
    return of_clips(list(ids)).float().mean(dim=0)


def video_inputs(captioner, processor, visual_ids: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """What a captioner sees of some videos, for its `forward`.

    Args:
        captioner ([`VideoBertForCaptioning`]):
            The captioner.
        processor ([`VideoBertProcessor`]):
            Its processor.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video; an empty one asks without video.

    Returns:
        `dict[str, torch.Tensor]`: `[CLS] v1 … vm [SEP]` of each video, without words; or `features`, those of
        [`paper_features`], where the captioner reads them.
    """
    encoder, size = captioner.config.encoder, captioner.config.feature_size
    if size is not None:
        return {
            "features": paper_features(captioner.encoder, processor, visual_ids, raw=size > 2 * encoder.hidden_size)
        }
    return dict(processor(videos=[list(ids) for ids in visual_ids], max_length=encoder.max_position_embeddings))


@torch.inference_mode()
def write_captions(
    captioner, processor, visual_ids: Sequence[Sequence[int]], batch_size: int = 32, **generation
) -> list[str]:
    """A caption for each of N videos, or parts of videos.

    Args:
        captioner ([`VideoBertForCaptioning`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            Its processor.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video.
        batch_size (`int`, *optional*, defaults to 32):
            Videos at a time, those of like lengths together.
        generation:
            Options of `generate`, such as `num_beams` and `length_penalty`; the captioner's own if not given.

    Returns:
        `list[str]`: in the order of the videos.
    """
    captioner.eval()
    order = sorted(range(len(visual_ids)), key=lambda number: len(visual_ids[number]))
    captions = [""] * len(visual_ids)
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        inputs = video_inputs(captioner, processor, [visual_ids[number] for number in numbers])
        inputs = {name: values.to(captioner.device) for name, values in inputs.items()}
        if "features" in inputs:
            encoded: BaseModelOutput = captioner.encode_features(inputs["features"])
            ones = torch.ones(encoded[0].shape[:2], dtype=torch.long, device=captioner.device)
            inputs = {"encoder_outputs": encoded, "attention_mask": ones}
        written = captioner.generate(**inputs, **generation)
        texts = processor.tokenizer.batch_decode(written, skip_special_tokens=True)
        for number, text in zip(numbers, texts, strict=True):
            captions[number] = " ".join(text.split())
    return captions


def cut_windows(num_clips: int, clip_seconds: float, window_seconds: float = WINDOW_SECONDS) -> list[tuple[int, int]]:
    """The windows of a video in which nobody speaks.

    Args:
        num_clips (`int`):
            Clips of the video.
        clip_seconds (`float`):
            Length of a clip.
        window_seconds (`float`, *optional*, defaults to `WINDOW_SECONDS`):
            Length that windows come as close to as they can.

    Returns:
        `list[tuple[int, int]]`: `(first, last)`, so that `clips[first:last]` are a window's clips; side by side, none
        of them empty.
    """
    if not window_seconds > 0:
        raise ValueError(f"window_seconds is {window_seconds}; allowed is more than 0.")
    count = min(num_clips, max(1, round(num_clips * clip_seconds / window_seconds)))
    edges = [num_clips * number // count for number in range(count + 1)] if count else []
    return list(pairwise(edges))


def merge_captions(captions: Sequence[Mapping]) -> list[dict]:
    """Captions of windows side by side, `{"text", "start", "end"}`, of which those that say the same become one."""
    merged: list[dict] = []
    for caption in captions:
        if merged and merged[-1]["text"] == caption["text"] and merged[-1]["end"] == caption["start"]:
            merged[-1]["end"] = caption["end"]
        elif caption["text"]:
            merged.append(dict(caption))
    return merged


class VideoCaptioningPipeline(VideoBertPipeline):
    """Tells what a video shows, window by window.

    ```python
    >>> pipe = pipeline("video-captioning", model="my-captioner", trust_remote_code=True)
    >>> pipe("film.mp4", num_beams=4)
    [{"text": "now cut the lemon.", "start": 0.0, "end": 6.0}, …]
    ```

    Parameters of the pipeline and of its calls:
        window_seconds (`float`, *optional*, defaults to `WINDOW_SECONDS`):
            See [`cut_windows`].
        windows_at_a_time (`int`, *optional*, defaults to 32):
            Windows that are put in words together; more are faster and need more memory.
        others:
            Options of `generate`: `num_beams`, `length_penalty`, `max_length`, …
    """

    def _sanitize_parameters(self, window_seconds=None, windows_at_a_time=None, **generation):
        cutting = {} if window_seconds is None else {"window_seconds": window_seconds}
        if windows_at_a_time is not None:
            generation["batch_size"] = windows_at_a_time
        return cutting, generation, {}

    def preprocess(self, inputs, window_seconds: float = WINDOW_SECONDS):
        """One chunk a video: the visual ids of its windows, and their times."""
        clip_seconds, each = (
            self.processor.video_processor.clip_seconds,
            len(visual_code_sizes(self.processor.tokenizer)),
        )
        clips = split_clips(self._read(inputs["video"]), each)
        windows = cut_windows(len(clips), clip_seconds, window_seconds)
        pieces = [join_clips(clips[first:last]) for first, last in windows]
        times = [(first * clip_seconds, last * clip_seconds) for first, last in windows]
        yield {"pieces": pieces, "times": times, "is_last": True}

    def _forward(self, model_inputs, batch_size: int = 32, **generation):
        batched = isinstance(model_inputs["is_last"], list)  # several videos at a time
        videos = model_inputs["pieces"] if batched else [model_inputs["pieces"]]
        pieces = [ids for one in videos for ids in one]
        written = iter(write_captions(self.model, self.processor, pieces, batch_size, **generation))
        texts = [[next(written) for _ in one] for one in videos]
        told = {name: model_inputs[name] for name in ("times", "is_last")}
        return {"texts": texts if batched else texts[0], **told}

    def postprocess(self, model_outputs):
        """The captions of one video, with their times."""
        (answer,) = model_outputs
        captions = [
            {"text": text, "start": start, "end": end}
            for text, (start, end) in zip(answer["texts"], answer["times"], strict=True)
        ]
        return merge_captions(captions)
