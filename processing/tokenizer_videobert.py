"""The joint vocabulary: a BERT WordPiece tokenizer with the join token and one token a visual id."""

from tokenizers import AddedToken
from transformers import BertTokenizer

JOIN_TOKEN = "[>]"
JOIN_SLOT = "[unused0]"


def visual_token(visual_id):
    """The written form of a visual id, `<v_00042>`."""
    return f"<v_{visual_id:05d}>"


def joint_tokenizer(text_tokenizer, codebook_size):
    """Puts words and visual tokens in one vocabulary (paper, section 3.2).

    `[>]` takes the unused slot `[unused0]`, so every row of a text checkpoint keeps its place; visual id i becomes
    token `<v_i>` with id `len(text vocabulary) + i`.

    Args:
        text_tokenizer ([`BertTokenizer`]): The tokenizer of the text checkpoint.
        codebook_size (`int`): How many visual ids there are.

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
    if JOIN_SLOT not in vocab:
        raise ValueError(
            f"The text tokenizer's vocabulary of {len(vocab)} has no {JOIN_SLOT}, the slot of the join token."
        )
    vocab[JOIN_TOKEN] = vocab.pop(JOIN_SLOT)
    # Built anew rather than copied: a checkpoint's file may carry padding and truncation settings that are not ours.
    tokenizer = BertTokenizer(
        vocab=vocab,
        do_lower_case=text_tokenizer.do_lower_case,
        tokenize_chinese_chars=text_tokenizer.tokenize_chinese_chars,
        strip_accents=text_tokenizer.strip_accents,
        extra_special_tokens=[JOIN_TOKEN],
        model_max_length=512,
    )
    tokenizer.add_tokens([AddedToken(visual_token(i), normalized=False) for i in range(codebook_size)])
    return tokenizer
