"""Fills the masks of a sentence about a video: the pipeline "video-fill-mask", and how words are scored.

A word of several WordPieces is asked with several masks, all at once: "how to [MASK] the [MASK]" asks an object of two
pieces as "how to [MASK] the [MASK] [MASK]". Its score is the mean of its pieces' log-probabilities, which does not
sink with their number. To fill the pieces one after the other would give a likelihood of them together, but no mean
that compares: within a word later pieces are all but certain, so long words would win.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .pipeline_videobert import VideoBertPipeline


@dataclass(frozen=True)
class Question:
    """Words that one variant of a sentence asks for, all of them of as many pieces as there are masks in their slot.

    Args:
        slot (`int`):
            Which of the sentence's slots, counted from 0; the first of the variant's masks that stand for it.
        columns (`torch.Tensor` of shape (n,)):
            The words' places in the list of the slot.
        ids (`torch.Tensor` of shape (n, pieces)):
            Their WordPieces.
    """

    slot: int
    columns: torch.Tensor
    ids: torch.Tensor


def word_pieces(tokenizer, words: Sequence[str]) -> list[list[int]]:
    """The WordPieces of each word.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The joint vocabulary.
        words (`Sequence[str]`):
            Words, or phrases.

    Raises:
        ValueError: There is no word, or one that has no letters or others than the vocabulary knows.
    """
    if isinstance(words, str) or not words:
        raise ValueError(f"The list of words is {words!r}; allowed is a list of at least one word.")
    pieces = tokenizer(list(words), add_special_tokens=False)["input_ids"]
    for word, ids in zip(words, pieces, strict=True):
        if not ids or tokenizer.unk_token_id in ids:
            raise ValueError(f"The word {word!r} cannot be written in the model's WordPieces.")
    return pieces


def count_masks(tokenizer, text: str | None) -> int:
    """How many masks a text holds.

    Raises:
        ValueError: There is none.
    """
    masks = (text or "").count(tokenizer.mask_token)
    if not masks:
        raise ValueError(f"The text {text!r} holds no {tokenizer.mask_token}; allowed is at least one.")
    return masks


def plan_questions(tokenizer, text: str, lists: Sequence[Sequence[str] | None]) -> dict[str, list[Question]]:
    """The variants of a sentence that lists of words need.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The joint vocabulary.
        text (`str`):
            A sentence with a mask for each slot.
        lists (`Sequence[Sequence[str]]`):
            For each slot its words, or `None` where only all words are asked.

    Returns:
        `dict[str, list[Question]]`: By variant what it asks. The first is the sentence itself.

    Raises:
        ValueError: The sentence has no mask, not as many as there are lists, or a list is empty.
    """
    masks = count_masks(tokenizer, text)
    if masks != len(lists):
        raise ValueError(
            f"There are {len(lists)} lists of words for the {masks} masks of {text!r}; one each is allowed."
        )
    parts, plan = text.split(tokenizer.mask_token), {text: []}
    for slot, words in enumerate(lists):
        if words is None:
            continue
        pieces = word_pieces(tokenizer, words)
        for count in sorted({len(ids) for ids in pieces}):
            widened = [tokenizer.mask_token] * masks
            widened[slot] = " ".join([tokenizer.mask_token] * count)
            variant = "".join(part + mask for part, mask in zip(parts, [*widened, ""], strict=True))
            columns = [column for column, ids in enumerate(pieces) if len(ids) == count]
            ids = torch.tensor([pieces[column] for column in columns])
            plan.setdefault(variant, []).append(Question(slot, torch.tensor(columns), ids))
    return plan


def mask_log_probabilities(model, inputs, mask_id: int) -> list[torch.Tensor]:
    """What the model says at the masks, among all words.

    Args:
        model ([`VideoBertForMaskedLM`] or [`VideoBertForPreTraining`]):
            In evaluation mode.
        inputs (`Mapping[str, torch.Tensor]`):
            A batch of the processor, on the model's device.
        mask_id (`int`):
            Id of `[MASK]`.

    Returns:
        `list[torch.Tensor]`: For each sequence (masks, text_vocab_size) float32.
    """
    asked = inputs["input_ids"] == mask_id
    hidden_states = model.base_model(**inputs).last_hidden_state
    # The vocabulary head at the masks only: with 50,000 rows it costs more than the encoder.
    logits = model.cloze_head(hidden_states[asked])[:, : model.config.text_vocab_size]
    return list(logits.float().log_softmax(dim=-1).split(asked.sum(dim=1).tolist()))


def score_words(log_probabilities: torch.Tensor, question: Question) -> torch.Tensor:
    """The mean log-probability of the pieces of each word.

    Args:
        log_probabilities (`torch.Tensor` of shape (…, masks, V)):
            Of the variant that asks the question.
        question ([`Question`]):
            n words.

    Returns:
        `torch.Tensor` of shape (…, n).
    """
    ids = question.ids.to(log_probabilities.device)
    places = question.slot + torch.arange(ids.shape[1], device=ids.device)
    return log_probabilities[..., places, ids].mean(dim=-1)


class VideoFillMaskPipeline(VideoBertPipeline):
    """Names the hidden words of a sentence, with a video or without.

    ```python
    >>> pipe = pipeline("video-fill-mask", model="my-videobert", trust_remote_code=True)
    >>> pipe({"video": "film.mp4", "text": "now let me show you how to [MASK] the [MASK]."}, top_k=2)
    [[{"score": 0.98, "token": 3013, "token_str": "cut", "sequence": "now let me show you how to cut …"}, …], …]
    >>> pipe("film.mp4", text="now let me show you how to [MASK] it.", targets=["cut", "julienne"])
    ```

    Parameters of the pipeline and of its calls:
        top_k (`int`, *optional*, defaults to 5):
            Answers to each mask.
        targets (`str`, `list[str]` or `list[list[str]]`, *optional*):
            The only words to choose from, for all masks or for each of them. They may have several WordPieces and
            several words. Without targets, answers are all words of one piece.
    """

    def _sanitize_parameters(self, top_k: int | None = None, targets=None):
        chosen = {}
        if top_k is not None:
            if top_k < 1:
                raise ValueError(f"top_k is {top_k}; allowed is at least 1.")
            chosen["top_k"] = top_k
        return ({} if targets is None else {"targets": targets}), {}, chosen

    def preprocess(self, inputs, targets=None):
        """One chunk for each variant of the sentence."""
        tokenizer, text = self.processor.tokenizer, inputs["text"]
        lists = self._lists(targets, count_masks(tokenizer, text))
        videos = None if inputs["video"] is None else self._read(inputs["video"])
        plan = plan_questions(tokenizer, text, lists)
        for number, (variant, questions) in enumerate(plan.items(), start=1):
            places = self.model.config.max_position_embeddings
            encoded = self.processor(variant, videos, max_length=places)
            masks, kept = variant.count(tokenizer.mask_token), encoded["input_ids"] == tokenizer.mask_token_id
            if kept.sum() < masks:
                raise ValueError(f"The text {text!r:.80} is too long: its masks must be within {places} tokens.")
            asked = {"text": text, "lists": lists, "questions": questions}
            yield {**encoded, "asked": asked, "is_last": number == len(plan)}

    @staticmethod
    def _lists(targets, masks: int) -> list[list[str] | None]:
        """The words to choose from at each mask."""
        if targets is None or isinstance(targets, str):
            return [None if targets is None else [targets]] * masks
        targets = list(targets)
        if targets and all(one is None or isinstance(one, (list, tuple)) for one in targets):
            return targets
        return [targets] * masks

    def _read(self, video) -> list[list[int]]:
        """The visual ids of a video, which is read once for all variants of a sentence."""
        offset = self.processor.visual_token_offset
        ids = self.processor(videos=[video], truncation=False)["input_ids"][0]
        ids = [[int(one) - offset for one in ids if one >= offset]]
        if not ids[0]:
            seconds = self.processor.video_processor.clip_seconds
            raise ValueError(f"The video {f'{video!r:.80}'} holds no clip; allowed is at least one of {seconds} s.")
        return ids

    def _forward(self, model_inputs):
        asked, is_last = model_inputs.pop("asked"), model_inputs.pop("is_last")
        answers = mask_log_probabilities(self.model, model_inputs, self.processor.tokenizer.mask_token_id)
        return {"log_probabilities": answers, "asked": asked, "is_last": is_last}

    def postprocess(self, model_outputs, top_k: int = 5):
        """The best words of each mask, the best first."""
        tokenizer, lists = self.processor.tokenizer, model_outputs[0]["asked"]["lists"]
        text, results = model_outputs[0]["asked"]["text"], []
        answers = [(one["log_probabilities"][0], one["asked"]["questions"]) for one in model_outputs]
        for slot, words in enumerate(lists):
            if words is None:
                scores, ids = answers[0][0][slot].topk(top_k)
                ids = ids.tolist()
                words, pieces = [tokenizer.decode([one]) for one in ids], [[one] for one in ids]
            else:
                every = torch.empty(len(words))
                for log_probabilities, questions in answers:
                    for question in questions:
                        if question.slot == slot:
                            every[question.columns] = score_words(log_probabilities, question)
                scores, order = every.topk(min(top_k, len(words)))
                words = [words[one] for one in order.tolist()]
                pieces = word_pieces(tokenizer, words)
            parts = text.split(tokenizer.mask_token)
            before, after = tokenizer.mask_token.join(parts[: slot + 1]), tokenizer.mask_token.join(parts[slot + 1 :])
            results.append(
                [
                    {
                        "score": score,
                        "token": ids[0] if len(ids) == 1 else ids,
                        "token_str": word,
                        "sequence": before + word + after,
                    }
                    for score, word, ids in zip(scores.exp().tolist(), words, pieces, strict=True)
                ]
            )
        return results if len(results) > 1 else results[0]
