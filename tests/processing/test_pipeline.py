"""What all pipelines have in common: reading a video."""

import pytest
from support.tiny_rows import tiny_processor
from support.tiny_run import tiny_model

from modeling_videobert import VideoBertForCaptioning
from processing.tasks_videobert import TASKS

TEXT = "we [MASK] it."


@pytest.mark.parametrize("task", TASKS)
def test_what_has_no_clip_is_one_sentence_in_each(task):
    """Whatever is asked, the video is named; and a film of one clip has an answer."""
    processor, model = tiny_processor(), tiny_model()
    if task == "video-captioning":
        model = VideoBertForCaptioning.from_videobert(model, processor.tokenizer, decoder_layers=1)
    pipe = TASKS[task][0](model=model, processor=processor, device="cpu")
    with pytest.raises(ValueError, match=r"The video \[\] holds no clip; allowed is at least one of 1.5 s"):
        pipe({"video": [], "text": TEXT})
    if task != "video-fill-mask":  # which may ask for words alone
        with pytest.raises(ValueError, match="There is no video; give a path"):
            pipe({"video": None, "text": TEXT})
    assert isinstance(pipe({"video": [3], "text": TEXT}), list)
