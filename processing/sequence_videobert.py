"""The joint vocabulary, and how words and visual tokens become one sequence: the single place that knows both."""

from collections.abc import Sequence
from typing import Any, cast

from tokenizers import AddedToken
from transformers import BertTokenizer

from .codes_videobert import check_whole

JOIN_TOKEN = "[>]"
JOIN_SLOT = "[unused0]"
# A label that asks nothing: of a token that need not be predicted, of an example that is not asked about alignment.
IGNORED = -100
# Under which name the tokenizer's file says how many visual tokens are of each code of a clip.
CODES = "code_sizes"


def visual_token(visual_id: int) -> str:
    """The written form of a visual id, `<v_00042>`."""
    return f"<v_{visual_id:05d}>"


def joint_tokenizer(
    text_tokenizer: BertTokenizer, codebook_size: int, code_sizes: Sequence[int] = ()
) -> BertTokenizer:
    """Puts words and visual tokens in one vocabulary (paper, section 3.2).

    `[>]` takes the unused slot `[unused0]`, so every row of a text checkpoint keeps its place; visual id i becomes
    token `<v_i>` with id `len(text vocabulary) + i`.

    Args:
        text_tokenizer ([`BertTokenizer`]):
            The tokenizer of the text checkpoint, or a joint one, whose visual tokens are replaced.
        codebook_size (`int`):
            How many visual ids there are.
        code_sizes (`Sequence[int]`, *optional*):
            Where a clip has several of them, how many are of its first, second, … code.

    Returns:
        [`BertTokenizer`]: Saves and loads like any other.

    Raises:
        ValueError: The vocabulary has no `[unused0]`, or is not one of BERT's WordPieces.
    """
    if not isinstance(text_tokenizer, BertTokenizer):
        raise ValueError(
            f"The text tokenizer is a {type(text_tokenizer).__name__}; VideoBERT starts from a BertTokenizer."
        )
    vocab = text_tokenizer.get_vocab()
    if (first := vocab.get(visual_token(0))) is not None:  # a joint one: its visual tokens give way to the new ones
        vocab = {token: number for token, number in vocab.items() if number < first}
        vocab[JOIN_SLOT] = vocab.pop(JOIN_TOKEN)
    if JOIN_SLOT not in vocab:
        raise ValueError(
            f"The text tokenizer's vocabulary of {len(vocab)} has no {JOIN_SLOT}, the slot of the join token."
        )
    vocab[JOIN_TOKEN] = vocab.pop(JOIN_SLOT)
    told: dict[str, Any] = {CODES: list(code_sizes)} if len(code_sizes) > 1 else {}
    # Built anew rather than copied: a checkpoint's file may carry padding and truncation settings that are not ours.
    tokenizer = BertTokenizer(
        vocab=vocab,
        do_lower_case=text_tokenizer.do_lower_case,
        tokenize_chinese_chars=text_tokenizer.tokenize_chinese_chars,
        strip_accents=text_tokenizer.strip_accents,
        extra_special_tokens=[JOIN_TOKEN],
        model_max_length=512,
        # BERT's token types would be those of two texts, all 0 here; without any the model goes by the ids.
        model_input_names=["input_ids", "attention_mask"],
        **told,
    )
    tokenizer.add_tokens([AddedToken(visual_token(i), normalized=False) for i in range(codebook_size)])
    return tokenizer


def sequence_ids(tokenizer: BertTokenizer) -> dict[str, int]:
    """The ids that [`joint_sequence`] needs to know.

    Args:
        tokenizer ([`BertTokenizer`]):
            The joint vocabulary of [`joint_tokenizer`].

    Returns:
        `dict[str, int]`: `cls_id`, `join_id`, `sep_id`, `visual_token_offset`; `tokens_per_clip` where it is not 1.

    Raises:
        ValueError: The tokenizer does not know one of these tokens.
    """
    tokens = {"cls_id": "[CLS]", "join_id": JOIN_TOKEN, "sep_id": "[SEP]", "visual_token_offset": visual_token(0)}
    ids: dict[str, int] = {}
    for name, token in tokens.items():
        number = tokenizer.convert_tokens_to_ids(token)
        if not isinstance(number, int) or number == tokenizer.unk_token_id:
            raise ValueError(f"The tokenizer does not know {token!r}; joint_tokenizer makes one that does.")
        ids[name] = number
    count = len(visual_code_sizes(tokenizer))
    return ids | ({"tokens_per_clip": count} if count > 1 else {})


def visual_code_sizes(tokenizer: BertTokenizer) -> tuple[int, ...]:
    """How many visual tokens are of a clip's first, second, … code: all of them where a clip has one visual token."""
    told = tokenizer.init_kwargs.get(CODES)
    return tuple(told) if told else (len(tokenizer) - cast(int, tokenizer.convert_tokens_to_ids(visual_token(0))),)


def joint_sequence(
    text_ids: Sequence[int],
    visual_ids: Sequence[int],
    cls_id: int,
    join_id: int,
    sep_id: int,
    visual_token_offset: int,
    max_length: int | None = None,
    tokens_per_clip: int = 1,
) -> tuple[list[int], list[int]]:
    """Lay out words and visual ids as one sequence (paper, section 3.2).

    Both: `[CLS] w1 … wn [>] v1 … vm [SEP]`. Words alone: `[CLS] w1 … wn [SEP]`. Video alone: `[CLS] v1 … vm [SEP]`.
    There is one `[SEP]`, because the whole is one sentence. The special tokens count as language (token type 0).

    A sequence that is too long keeps both modalities: each may use half of the room, and what one does not need
    goes to the other. What is cut is cut at the end, of the video whole clips.

    Args:
        text_ids (`Sequence[int]`):
            WordPiece ids w1 … wn without special tokens, may be empty.
        visual_ids (`Sequence[int]`):
            Visual ids v1 … vm, 0 … codebook_size − 1, may be empty.
        cls_id (`int`):
            Id of `[CLS]`.
        join_id (`int`):
            Id of the join token `[>]`.
        sep_id (`int`):
            Id of `[SEP]`.
        visual_token_offset (`int`):
            Id of the first visual token; visual id i becomes `visual_token_offset + i`.
        max_length (`int`, *optional*):
            Longest sequence allowed, special tokens included. `None` cuts nothing.
        tokens_per_clip (`int`, *optional*, defaults to 1):
            Visual ids of each clip.

    Returns:
        `tuple[list[int], list[int]]`: `input_ids` and `token_type_ids` (0 language, 1 vision), equally long.

    Raises:
        ValueError: `max_length` has no room for the special tokens, one word and one clip, if they are given; or the
            visual ids are no whole clips.
    """
    check_whole(len(visual_ids), tokens_per_clip)
    words, vision = list(text_ids), [visual_token_offset + int(visual_id) for visual_id in visual_ids]
    join = [join_id] if words and vision else []
    if max_length is not None:
        room = max_length - 2 - len(join)
        clip = tokens_per_clip if vision else 0
        if room < bool(words) + clip:
            both, video = 4 + tokens_per_clip, 2 + tokens_per_clip
            raise ValueError(
                f"max_length is {max_length}; allowed is {both} or more for words and video, {video} for one."
            )
        # A clip has room at least, however many tokens it takes.
        words = words[: min(max(room // 2, room - len(vision)), room - clip)]
        left = room - len(words)
        vision = vision[: left - left % tokens_per_clip]
    input_ids = [cls_id, *words, *join, *vision, sep_id]
    token_type_ids = [0] * (1 + len(words) + len(join)) + [1] * len(vision) + [0]
    return input_ids, token_type_ids
