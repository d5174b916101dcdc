"""A VideoBERT small enough for tests, and batches to match."""

import torch

from modeling_videobert import VideoBertConfig

CLS, JOIN, SEP, MASK = 101, 1, 102, 103
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def tiny_config(**options) -> VideoBertConfig:
    return VideoBertConfig(**(SIZES | {"text_vocab_size": 120, "codebook_size": 40} | options))


def tiny_model(model_class, seed=0, **options):
    """Random weights large enough that a leak or a mix-up shows, in evaluation mode."""
    torch.manual_seed(seed)
    return model_class(tiny_config(**({"initializer_range": 0.3} | options))).eval()


def joint_example(num_words: int, num_clips: int, generator: torch.Generator) -> dict:
    """`[CLS] w … [>] v … [SEP]`, or one modality alone where the other has no tokens; 1-d tensors."""
    words = torch.randint(104, 120, (num_words,), generator=generator).tolist()
    clips = torch.randint(120, 160, (num_clips,), generator=generator).tolist()
    join = [JOIN] if words and clips else []
    input_ids = torch.tensor([CLS, *words, *join, *clips, SEP])
    return {"input_ids": input_ids, "token_type_ids": (input_ids >= 120).long()}


def padded(examples: list[dict]) -> dict:
    """One example a row, padded to the longest."""
    names = examples[0].keys()
    batch = {
        name: torch.nn.utils.rnn.pad_sequence([example[name] for example in examples], batch_first=True)
        for name in names
    }
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    batch["attention_mask"] = (torch.arange(lengths.max()) < lengths[:, None]).long()
    return batch


def masked(batch: dict, share: float, generator: torch.Generator) -> dict:
    """Hide a share of the words and visual tokens and ask for them."""
    ids = batch["input_ids"]
    hidden = (ids > MASK) & (torch.rand(ids.shape, generator=generator) < share)
    return batch | {"input_ids": ids.masked_fill(hidden, MASK), "labels": ids.masked_fill(~hidden, -100)}
