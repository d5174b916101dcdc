"""Zero-shot action classification (paper, section 4.4): which deed, and on what? Nothing is trained for it.

The model reads "now let me show you how to [MASK] the [MASK]." with a step's visual tokens: the first mask is the
verb, the second the object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from .controls import MISS, other_videos, rank_words, token_probe_ranks
from .truth import ASKED

# With the full stop that ends every recognised sentence: without it, the last mask of the text asks for that stop.
TEMPLATE = "now let me show you how to [MASK] the [MASK]."
TOPS = (1, 5)
# How a condition is called in the results' keys and in the table.
CONDITIONS = {
    "": "true video",
    "_shuffled": "another video (shuffled)",
    "_prior": "no video (language prior)",
    "_chance": "chance among the classes",
    "_token_probe": "supervised on the same tokens",
}


@torch.inference_mode()
def mask_logits(model, processor, visual_ids: Sequence[Sequence[int]], batch_size=32) -> Iterator[torch.Tensor]:
    """What the model says at the two masks, with each of N videos.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            Put into evaluation mode.
        processor ([`VideoBertProcessor`]):
            For the words.
        visual_ids (`Sequence[Sequence[int]]`):
            One list a video; an empty one asks without video.
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.

    Yields:
        `torch.Tensor` of shape (batch, 2, text_vocab_size): float32 scores of all words, verb first.
    """
    model.eval()
    text_ids = processor.tokenizer(TEMPLATE, add_special_tokens=False)["input_ids"]
    # The template stands at the front, behind [CLS], and only the end of long videos is cut.
    masks = [1 + place for place, token in enumerate(text_ids) if token == processor.tokenizer.mask_token_id]
    for start in range(0, len(visual_ids), batch_size):
        videos = [list(ids) for ids in visual_ids[start : start + batch_size]]
        inputs = processor([TEMPLATE] * len(videos), videos, max_length=model.config.max_position_embeddings)
        inputs = inputs.to(model.device)
        hidden_states = model.base_model(**inputs).last_hidden_state
        # The vocabulary head at the two masks only: with 50,000 rows it costs more than the encoder.
        yield model.cloze_head(hidden_states[:, masks])[..., : model.config.text_vocab_size].float()


def action_ranks(model, processor, segments: Sequence[Mapping], visual_ids, batch_size: int) -> dict[str, np.ndarray]:
    """Ranks of the true verb and object, each (N,), when the segments are asked with these `visual_ids`."""
    tokenizer = processor.tokenizer
    word_ids = {
        asked: [tokenizer(segment[asked], add_special_tokens=False)["input_ids"] for segment in segments]
        for asked in ASKED
    }
    ranks = {asked: [] for asked in ASKED}
    for logits in mask_logits(model, processor, visual_ids, batch_size):
        done = len(ranks[ASKED[0]])
        for place, asked in enumerate(ASKED):
            ids = word_ids[asked][done : done + len(logits)]
            words = torch.tensor([one[0] for one in ids], device=logits.device)
            found = rank_words(logits[:, place], words).tolist()
            # One mask holds one WordPiece: a longer word cannot be found. That is a miss, no reason to leave it out.
            ranks[asked] += [rank if len(one) == 1 else MISS for rank, one in zip(found, ids, strict=True)]
    return {asked: np.array(values, dtype=float) for asked, values in ranks.items()}


def evaluate_actions(
    model, processor, segments: Sequence[Mapping], batch_size=32, train_segments: Sequence[Mapping] | None = None
) -> dict[str, float | int | None]:
    """Zero-shot accuracies with the true video, and what they must be compared with.

    Args:
        model ([`VideoBertForPreTraining`] or [`VideoBertForMaskedLM`]):
            The model.
        processor ([`VideoBertProcessor`]):
            For the words.
        segments (`Sequence[Mapping]`):
            N steps with `visual_ids`, `verb`, `object` and `video_id`, as of [`step_segments`].
        batch_size (`int`, *optional*, defaults to 32):
            Sequences at a time.
        train_segments (`Sequence[Mapping]`, *optional*):
            Labelled steps of the training videos, for the token probe only.

    Returns:
        `dict`: `{verb,object}_top{1,5}` with the suffixes `""` (true video), `_shuffled` (visual tokens of another
        video, which may by chance show the same), `_prior` (words alone), `_chance` (1 and 5 of the classes that
        occur) and `_token_probe`, each with its binomial standard error `…_se`, and `num_segments`. `None` where a
        figure cannot be had: shuffled with one video only, the probe without `train_segments`.

    Raises:
        ValueError: There are no segments.
    """
    if not segments:
        raise ValueError("There are no segments to classify: no video id of the truth is among the rows.")
    own = [segment["visual_ids"] for segment in segments]
    order = other_videos([segment["video_id"] for segment in segments])
    ranks = {"": action_ranks(model, processor, segments, own, batch_size)}
    ranks["_prior"] = action_ranks(model, processor, segments, [[]] * len(segments), batch_size)
    if order is not None:
        ranks["_shuffled"] = action_ranks(model, processor, segments, [own[place] for place in order], batch_size)
    if train_segments:
        ranks["_token_probe"] = {asked: token_probe_ranks(train_segments, segments, asked) for asked in ASKED}

    results = {"num_segments": len(segments)}
    for asked in ASKED:
        classes = {segment[asked] for segment in [*segments, *(train_segments or ())]}
        for top in TOPS:
            for condition in CONDITIONS:
                share = se = None
                if condition == "_chance":
                    share, se = min(1.0, top / len(classes)), 0.0
                elif condition in ranks:
                    share = float((ranks[condition][asked] <= top).mean())
                    se = math.sqrt(share * (1 - share) / len(segments))
                results[f"{asked}_top{top}{condition}"] = share
                results[f"{asked}_top{top}{condition}_se"] = se
    return results


def results_table(results: Mapping[str, float | None]) -> str:
    """The results of [`evaluate_actions`] as a markdown table, in per cent with standard errors."""
    keys = [f"{asked}_top{top}" for asked in ASKED for top in TOPS]
    lines = ["| | " + " | ".join(key.replace("_top", " top-") for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for condition, name in CONDITIONS.items():
        cells = []
        for key in keys:
            share, se = results[key + condition], results[f"{key}{condition}_se"]
            cells.append("–" if share is None else f"{100 * share:.1f}" + (f" ± {100 * se:.1f}" if se else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def best_words(model, processor, segments: Sequence[Mapping], batch_size: int = 32) -> list[tuple[str, str]]:
    """The best verb and the best object for each segment, as words."""
    tokenizer = processor.tokenizer
    words = []
    for logits in mask_logits(model, processor, [segment["visual_ids"] for segment in segments], batch_size):
        words += [tuple(tokenizer.convert_ids_to_tokens(pair)) for pair in logits.argmax(dim=-1).tolist()]
    return words
