"""Fills the masks of a sentence about a video: the pipeline "video-fill-mask", and how words are scored.

A word of several WordPieces is asked with several masks, all at once: "how to [MASK] the [MASK]" asks an object of two
pieces as "how to [MASK] the [MASK] [MASK]". Its score is the mean of its pieces' log-probabilities, which does not
sink with their number, and one pass answers for all words of a length. To fill the pieces one after the other needs a
pass for each word and gives the likelihood of all its pieces together. But the mean of those would favour long words:
where the first piece of a known word stands, the others are all but certain.
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

    Each answer has its `score` (a probability among all words; of several pieces the geometric mean of theirs),
    `token` (its id, or ids), `token_str` and the `sequence` that it makes. One mask gives a list of answers, several
    give one list each.

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
        videos = None if inputs["video"] is None else [self._read(inputs["video"])]
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

    def _forward(self, model_inputs):
        asked, is_last = model_inputs.pop("asked"), model_inputs.pop("is_last")
        answers = mask_log_probabilities(self.model, model_inputs, self.processor.tokenizer.mask_token_id)
        return {"log_probabilities": answers, "asked": asked, "is_last": is_last}

    def postprocess(self, model_outputs, top_k: int = 5):
        """The best words of each mask, the best first."""
        asked = model_outputs[0]["asked"]
        answers = [(one["log_probabilities"][0], one["asked"]["questions"]) for one in model_outputs]
        results = []
        for slot, words in enumerate(asked["lists"]):
            if words is None:
                best = self._best_of_all(answers[0][0][slot], top_k)
            else:
                best = self._best_of_list(slot, words, answers, top_k)
            before, after = self._around(asked["text"], slot)
            results.append(
                [
                    {"score": score, "token": token, "token_str": word, "sequence": before + word + after}
                    for score, token, word in best
                ]
            )
        return results if len(results) > 1 else results[0]

    def _best_of_all(self, log_probabilities: torch.Tensor, top_k: int) -> list[tuple]:
        """Score, id and word of the best WordPieces."""
        scores, ids = log_probabilities.topk(min(top_k, len(log_probabilities)))
        words = [self.processor.tokenizer.decode([one]) for one in ids.tolist()]
        return list(zip(scores.exp().tolist(), ids.tolist(), words, strict=True))

    def _best_of_list(self, slot: int, words: Sequence[str], answers, top_k: int) -> list[tuple]:
        """Score, ids and word of the best listed words."""
        scores, pieces = torch.empty(len(words)), word_pieces(self.processor.tokenizer, words)
        for log_probabilities, questions in answers:
            for question in questions:
                if question.slot == slot:
                    scores[question.columns] = score_words(log_probabilities, question)
        scores, order = scores.exp().topk(min(top_k, len(words)))
        tokens = [ids[0] if len(ids) == 1 else ids for ids in pieces]
        return [(score, tokens[one], words[one]) for score, one in zip(scores.tolist(), order.tolist(), strict=True)]

    def _around(self, text: str, slot: int) -> tuple[str, str]:
        """What stands before and behind a mask of a text."""
        mask = self.processor.tokenizer.mask_token
        parts = text.split(mask)
        return mask.join(parts[: slot + 1]), mask.join(parts[slot + 1 :])
