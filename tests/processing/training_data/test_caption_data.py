"""What captioners learn from: pairs of what is seen and said, and batches of them."""

import pytest
import torch
from support.tiny_rows import row, tiny_processor
from support.tiny_run import tiny_model

from modeling_videobert import VideoBertForCaptioning
from processing.training_data import CaptionData, caption_pairs

ROWS = [
    row("a", [("now cut the lemon.", 0.0, 3.0), ("good.", 3.1, 3.4), ("  ", 4.0, 9.0)], 8),
    row("silent", [], 20, first_id=30),
    row("heard only", [("now wash the potato.", 0.0, 3.0)], 0),
]


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


def make_data(processor, with_video=True, **options):
    captioner = VideoBertForCaptioning.from_videobert(
        tiny_model(), processor.tokenizer, 1, **{name: options[name] for name in ("feature_size",) if name in options}
    )
    captioner.generation_config.max_length = options.get("max_length", 40)
    return CaptionData(caption_pairs(ROWS, 3.0), captioner, processor, with_video)


def test_pairs_have_words_and_clips():
    """Silence, empty captions and sound without pictures teach nothing; neighbours share trailing clips."""
    assert [(pair.text, pair.visual_ids) for pair in caption_pairs(ROWS, 3.0)] == [
        ("now cut the lemon.", (0, 1, 2, 3)),  # the middles of clips up to 3 + 3 s
        ("good.", (2, 3)),  # from 3.1 up to 3.4 + 3 s
    ]
    with pytest.raises(ValueError, match="No row has a sentence with clips"):
        caption_pairs(ROWS[1:])


def test_batches(processor):
    """Visual tokens without words on one side, words and what ends them on the other."""
    data = make_data(processor)
    batch = data.collate([data[0], data[1]])
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and all(token.startswith("<v_") for token in tokens[1:-1])
    labels = batch["labels"].tolist()
    assert processor.tokenizer.convert_ids_to_tokens(labels[0]) == ["now", "cut", "the", "lemon", ".", "[SEP]"]
    assert processor.tokenizer.convert_ids_to_tokens(labels[1][:3]) == ["good", ".", "[SEP]"]
    assert labels[1][3:] == [-100] * 3


def test_without_video_no_token_is_seen(processor):
    """The control may not see how long a video is either."""
    batch = make_data(processor, with_video=False).collate([0, 1])
    assert processor.tokenizer.batch_decode(batch["input_ids"]) == ["[CLS] [SEP]"] * 2


def test_what_is_cut_has_no_end(processor):
    """A captioner shall not learn to stop where room ended."""
    data = make_data(processor, max_length=5)
    assert processor.tokenizer.convert_ids_to_tokens(data.labels[0]) == ["now", "cut", "the", "lemon"]


def test_features_are_made_once(processor):
    """For the paper's way a batch holds one vector a pair."""
    data = make_data(processor, feature_size=32)
    batch = data.collate([1, 0, 1])
    assert batch.keys() == {"features", "labels"} and batch["features"].shape == (3, 32)
    assert torch.equal(batch["features"][0], data.features[1])
