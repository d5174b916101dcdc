"""A tokenizer of a few dozen words and rows written by hand, for the tests of the data rooms."""

import json

import datasets
import torch
from transformers import BertTokenizer

from modeling_videobert import VideoBertConfig
from processing import VideoBertProcessor, VideoBertVideoProcessor
from processing.codebook.fitting import fit_codebook
from processing.sequence_videobert import joint_tokenizer

SPECIALS = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VERBS = ["cut", "peel", "stir", "wash"]
OBJECTS = ["carrot", "lemon", "onion", "potato"]
WORDS = ["now", "let", "me", "show", "you", "how", "to", "the", "we", "is", "good", "."] + VERBS + OBJECTS
OFFSET = len(SPECIALS) + len(WORDS)
CODEBOOK_SIZE = 64


def tiny_text_tokenizer():
    """As it comes with a text BERT."""
    return BertTokenizer(vocab={token: number for number, token in enumerate(SPECIALS + WORDS)}, do_lower_case=True)


def tiny_tokenizer():
    return joint_tokenizer(tiny_text_tokenizer(), CODEBOOK_SIZE)


def row(video_id, sentences, num_clips, first_id=0, error=None):
    """Clip i has visual id (first_id + i) modulo the codebook; sentences are (text, start, end)."""
    return {
        "video_id": video_id,
        "duration": 1.5 * num_clips,
        "clip_seconds": 1.5,
        "has_speech": bool(sentences),
        "sentences": [{"text": text, "start": start, "end": end} for text, start, end in sentences],
        "visual_ids": [(first_id + number) % CODEBOOK_SIZE for number in range(num_clips)],
        "error": error,
        "notes": None,
    }


def cooking_rows(count=8):
    """Videos of four steps of 12 s; verb and object are named, and their visual ids say which they are."""
    rows = []
    for number in range(count):
        sentences, visual_ids = [], []
        for step in range(4):
            verb, thing = (number + step) % 4, (number * 3 + step * 2 + number // 4) % 4
            text = f"now let me show you how to {VERBS[verb]} the {OBJECTS[thing]}."
            sentences.append((text, 12.0 * step, 12.0 * step + 12))
            visual_ids += [16 + thing] * 2 + [32 + verb * 4 + thing, verb, verb, 48 + number % 16, verb, verb]
        rows.append(row(f"video{number}", sentences, 32))
        rows[-1]["visual_ids"] = visual_ids
    return rows


def cooking_truth(rows):
    """The true steps of `cooking_rows`, as they stand in a truth file."""
    truth = {}
    for one in rows:
        truth[one["video_id"]] = [
            {
                "verb": sentence["text"].split()[7],
                "object": sentence["text"].rstrip(".").split()[-1],
                "start": sentence["start"],
                "end": sentence["end"],
            }
            for sentence in one["sentences"]
        ]
    return truth


def tiny_processor():
    features = torch.randn(CODEBOOK_SIZE, 24, generator=torch.Generator().manual_seed(0))
    codebook = fit_codebook(features, levels=2, branches=8, progress=False)
    processor = VideoBertProcessor(VideoBertVideoProcessor(), tiny_text_tokenizer())
    processor.add_codebook(codebook)
    return processor


def tiny_reader(model_class, seed=0):
    """A model of these words and visual tokens, with weights large enough that its answers differ."""
    torch.manual_seed(seed)
    config = VideoBertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        text_vocab_size=OFFSET,
        codebook_size=CODEBOOK_SIZE,
        initializer_range=0.5,
    )
    return model_class(config).eval()


def save_rows(rows, folder):
    datasets.Dataset.from_list(rows).save_to_disk(folder / "rows")
    return folder / "rows"


def save_truth(truth, folder):
    lines = [json.dumps({"video_id": video_id, "steps": steps}) for video_id, steps in truth.items()]
    (folder / "truth.jsonl").write_text("\n".join(lines))
    return folder / "truth.jsonl"
