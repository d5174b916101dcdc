"""Protects the one door for users: the joint sequence, what is saved and loaded, rows out of good and bad videos."""

import subprocess

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.spelled_speech import spelled_recognizer
from support.tiny_processor import WORDS, make_video, text_tokenizer
from transformers import (
    AutoProcessor,
    BertTokenizer,
    pipeline,
)
from transformers.utils import logging

from modeling_videobert import VideoBertConfig, VideoBertForMaskedLM, cloze_videobert
from processing import VideoBertProcessor, joint_tokenizer, sequence_videobert
from processing.codebook.fitting import fit_codebook


@pytest.fixture
def processor(tiny_backbone, tiny_text_model):
    codebook = fit_codebook(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), 2, 3, progress=False)
    return VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone, codebook=codebook)


def test_join_token_takes_the_unused_slot_and_words_keep_their_ids():
    tokenizer = joint_tokenizer(text_tokenizer(), 9)
    assert tokenizer.convert_tokens_to_ids("[>]") == WORDS.index("[unused0]")
    assert tokenizer("cut the lemons")["input_ids"] == text_tokenizer()("cut the lemons")["input_ids"]
    assert tokenizer.convert_tokens_to_ids("<v_00004>") == len(WORDS) + 4
    assert len(tokenizer) == len(WORDS) + 9


def test_tokenizer_refuses_what_is_no_bert():
    with pytest.raises(ValueError, match=r"no \[unused0\]"):
        joint_tokenizer(BertTokenizer(vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]"])}), 9)


def test_joint_sequence_by_hand(processor):
    """`[CLS] w1 … wn [>] v1 … vm [SEP]`, one [SEP] at the end, and token types 0 for language and 1 for vision."""
    inputs = processor(text=["cut the lemon", "now"], videos=[[4, 0], [8]])
    v0 = len(WORDS)
    cut, the, lemon, now = (WORDS.index(word) for word in ("cut", "the", "lemon", "now"))
    assert inputs["input_ids"].tolist() == [[3, cut, the, lemon, 1, v0 + 4, v0, 4], [3, now, 1, v0 + 8, 4, 0, 0, 0]]
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1] * 8, [1] * 5 + [0] * 3]
    assert inputs["input_ids"].dtype == torch.int64


def test_model_and_data_mean_the_same_by_ignored():
    """The label that asks nothing is said by the data and read by the model, which know nothing of each other."""
    assert sequence_videobert.IGNORED == cloze_videobert.IGNORED == torch.nn.CrossEntropyLoss().ignore_index


def test_special_ids_are_those_of_a_joint_tokenizer(processor):
    """Any other tokenizer would give [UNK] for them without a word."""
    ids = sequence_videobert.sequence_ids(processor.tokenizer)
    assert ids == {"cls_id": 3, "join_id": 1, "sep_id": 4, "visual_token_offset": len(WORDS)}
    with pytest.raises(ValueError, match=r"does not know '\[>\]'; joint_tokenizer makes one that does"):
        sequence_videobert.sequence_ids(text_tokenizer())


def test_text_alone_and_video_alone(processor):
    """Text alone needs no network at all; neither has a join token."""
    assert processor(text="cut the lemon")["input_ids"].tolist() == [[3, 7, 8, 9, 4]]
    v0 = processor.visual_token_offset
    assert processor(videos=[1, 2])["input_ids"].tolist() == [[3, v0 + 1, v0 + 2, 4]]
    assert processor(videos=np.array([1, 2]))["input_ids"].tolist() == [[3, v0 + 1, v0 + 2, 4]]
    assert processor._backbone is None and processor._recognizer is None


def test_decode_writes_visual_tokens(processor):
    ids = processor(text="cut the lemon", videos=[4])["input_ids"][0]
    assert processor.decode(ids) == "[CLS] cut the lemon [>] <v_00004> [SEP]"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "neither text nor videos"),
        ({"text": ["cut", "now"], "videos": [[1]]}, "2 texts and 1 videos"),
        ({"videos": [[9]]}, "Visual id 9 .* 0 to 8"),
        ({"videos": [[-1]]}, "Visual id -1 .* 0 to 8"),
        ({"videos": [[0.5]]}, "Visual ids must be integers"),
        ({"videos": np.array([0.5])}, "Visual ids must be integers"),
        ({"videos": [[1]], "num_frames": 4}, "num_frames=4 has no effect here"),
        ({"videos": [[1]], "fps": 5}, "fps=5 has no effect on visual ids"),
        ({"videos": [[1]], "videos_kwargs": {"clip_seconds": 3.0}}, "clip_seconds=3.0 has no effect"),
    ],
)
def test_bad_arguments_are_named(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_frames_files_and_ids_give_the_same_tokens(processor, silent_video):
    """A path, its bytes and its visual ids are three ways to say the same."""
    row = processor.tokenize(silent_video)
    by_path = processor(videos=silent_video)["input_ids"]
    assert len(row["visual_ids"]) == 3
    assert torch.equal(by_path, processor(videos=silent_video.read_bytes())["input_ids"])
    assert torch.equal(by_path, processor(videos=[row["visual_ids"]])["input_ids"])


def test_a_call_may_look_at_videos_in_its_own_way(processor, silent_video):
    """Options of videos are not dropped; those of one call do not stay."""
    usual, coarse = processor(videos=silent_video), processor(videos=silent_video, clip_seconds=0.8)
    assert coarse["input_ids"].shape[1] - 2 == 6 and usual["input_ids"].shape[1] - 2 == 3
    processor.video_processor.fps = 5
    expected = processor.features(silent_video)
    processor.video_processor.fps = 20
    assert torch.equal(processor.features(silent_video, fps=5), expected)
    assert not torch.equal(processor.features(silent_video), expected)
    ids = processor.codebook.encode(expected).tolist()
    found = processor(videos=silent_video, videos_kwargs={"fps": 5})
    assert torch.equal(found["input_ids"], processor(videos=ids)["input_ids"])


def test_save_and_load_keep_everything(processor, silent_video, tmp_path):
    """The codebook's weights travel inside the processor's folder; the networks are named, not saved."""
    before = processor.tokenize(silent_video)
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "codebook" / "model.safetensors").exists()
    again = VideoBertProcessor.from_pretrained(tmp_path)
    assert (again.asr_model, again.backbone) == (processor.asr_model, processor.backbone)
    assert again.video_processor.size == processor.video_processor.size
    assert again.tokenize(silent_video) == before
    assert torch.equal(again(text="cut", videos=[3])["input_ids"], processor(text="cut", videos=[3])["input_ids"])
    again.save_pretrained(tmp_path / "twice")
    assert isinstance(AutoProcessor.from_pretrained(tmp_path / "twice"), VideoBertProcessor)


@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow"])
@pytest.mark.parametrize("ids", [[[4, 0], [8]], [[4], [8]], [[4, 0], []]])
def test_rows_are_taken_in_every_format(processor, form, ids):
    """`datasets` gives a column as lists, as one array, or as an array of arrays where their lengths differ."""
    rows = Dataset.from_dict({"visual_ids": ids}).with_format(form)
    column = rows[:]["visual_ids"]
    column = column.to_pylist() if form == "arrow" else column
    expected = processor(text=["cut", "now"], videos=ids)["input_ids"]
    assert torch.equal(processor(text=["cut", "now"], videos=column)["input_ids"], expected)
    one = column[1]
    assert torch.equal(
        processor(text="now", videos=one)["input_ids"], processor(text="now", videos=ids[1:])["input_ids"]
    )


def test_processor_without_a_codebook_survives_saving(tiny_text_model, tiny_backbone, tmp_path):
    VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone).save_pretrained(tmp_path)
    assert VideoBertProcessor.from_pretrained(tmp_path).codebook is None


def test_a_processor_without_a_codebook_says_so(tiny_text_model, tiny_backbone, silent_video):
    """Before it looks at a video, which may be long."""
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone)
    for ask in (processor.tokenize, lambda video: processor(videos=video), lambda video: processor(videos=[0, 1])):
        with pytest.raises(ValueError, match="The processor has no codebook"):
            ask(silent_video)


def test_bad_videos_become_rows_and_the_others_go_on(processor, silent_video, tmp_path):
    """A missing file, a text file named .mp4 and silence each give a row; nothing is raised and nothing is lost."""
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    rows = processor.describe([tmp_path / "missing.mp4", text, silent_video])
    assert [row["video_id"] for row in rows] == ["missing", "text", "silent"]
    assert "no such file" in rows[0]["error"] and "missing.mp4" in rows[0]["error"]
    assert "not a readable video" in rows[1]["error"] and "text.mp4" in rows[1]["error"]
    assert rows[2]["error"] is None and rows[2]["has_speech"] is False and len(rows[2]["features"]) == 3
    assert processor.tokenize(text)["visual_ids"] == []


def test_a_row_from_subtitles_needs_no_recogniser(processor, silent_video, tmp_path):
    """The row that speech would give, from a file beside the video; a broken file leaves a row that says so."""
    assert processor.asr_model is None
    said = [{"text": "Cut it.", "start": 1.0, "end": 2.5}, {"text": "Fry it.", "start": 3.0, "end": 4.5}]
    cues = "1\n00:00:01,000 --> 00:00:02,500\nCut it.\n\n2\n00:00:03,000 --> 00:00:04,500\nFry it.\n"
    (tmp_path / "good.srt").write_text(cues)
    (tmp_path / "broken.srt").write_text("nothing")
    good, broken = processor.describe(
        [silent_video] * 2, ["good", "broken"], [tmp_path / "good.srt", tmp_path / "broken.srt"]
    )
    assert good["sentences"] == said
    assert good["has_speech"] and good["error"] is None
    assert broken["sentences"] == [] and not broken["has_speech"] and "broken.srt: no cue was found" in broken["error"]
    assert len(broken["features"]) == len(good["features"]) == 3
    assert processor.transcribe(silent_video, subtitles=said) == said
    assert processor.tokenize(silent_video, subtitles=said)["sentences"] == said


@pytest.mark.parametrize("piped", [False, True])
def test_sound_of_unknown_length_is_heard(processor, tmp_path, piped):
    """A live recording does not say how long it is: that drops no sentence, neither heard nor of subtitles."""
    command = "ffmpeg -v error -f lavfi -i sine=d=5 -c:a libopus -f webm".split()
    live = tmp_path / "live.webm"
    if piped:
        live.write_bytes(subprocess.run([*command, "-"], check=True, capture_output=True).stdout)
    else:
        subprocess.run([*command, "-live", "1", str(live)], check=True)
    processor._recognizer = spelled_recognizer()
    assert processor.transcribe(live)
    said = [{"text": "Cut it.", "start": 1.0, "end": 2.5}]
    assert processor.transcribe(live, subtitles=said) == said
    heard, read = processor.describe([live, live], subtitles=[None, said])
    assert heard["sentences"] == processor.transcribe(live) and read["sentences"] == said


def test_sound_beside_broken_pictures_is_heard(processor, tmp_path):
    """A video stream without a single frame takes neither the sound nor the subtitles with it; the row tells of it."""
    broken = tmp_path / "broken.mkv"
    sources = "-f lavfi -i sine=d=5 -f lavfi -i color=s=64x48:d=5 -map 0 -map 1"
    command = f"ffmpeg -v error {sources} -c:v ffv1 -c:a flac -frames:v 0".split()
    subprocess.run([*command, str(broken)], check=True)
    processor._recognizer = spelled_recognizer()
    said = [{"text": "Cut it.", "start": 1.0, "end": 2.5}]
    assert processor.transcribe(broken)
    assert processor.transcribe(broken, subtitles=said) == said
    heard, read = processor.describe([broken, broken], subtitles=[None, said])
    assert heard["sentences"] == processor.transcribe(broken) and read["sentences"] == said
    assert all(row["error"].count("the video stream cannot be read") == 1 for row in (heard, read))
    assert heard["duration"] == pytest.approx(5) and read["duration"] == heard["duration"]


def test_cues_that_transcribe_cannot_read_are_told_of(processor, silent_video, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    cues = "1\n00:00:01,000 --> 00:00:02,500\nCut it.\n\n2\n00:00:03,000 --> soon\nFry it.\n"
    (tmp_path / "a.srt").write_text(cues)
    assert len(processor.transcribe(silent_video, tmp_path / "a.srt")) == 1
    assert "1 of 2 cues cannot be read" in caplog.text


def test_a_missing_recogniser_is_told_of_before_the_work(processor, tmp_path, monkeypatch):
    """Not after minutes of features, which would be lost."""
    make_video(tmp_path / "loud.mp4", "testsrc=s=64x48:r=25:d=2", "sine=d=2")
    monkeypatch.setattr(processor._network(), "features", lambda clips: pytest.fail("features were computed"))
    with pytest.raises(ValueError, match="no asr_model"):
        processor.describe([tmp_path / "loud.mp4"])


def test_a_narrated_video_becomes_the_row_it_should(
    kitchen_videos, whisper_tiny, i3d, bert_minilm, caplog, monkeypatch
):
    """The whole real way, Whisper and I3D with real weights: the words that were spoken, when they were spoken; and no
    notes of the library about its own pipeline."""
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    type(logging.get_logger("transformers")).warning_once.cache_clear()
    videos, truth = kitchen_videos
    video_id, path = next(iter(videos.items()))
    processor = VideoBertProcessor.from_models(str(bert_minilm), str(whisper_tiny), str(i3d))
    (row,) = processor.describe([path])
    assert "output_attentions" not in caplog.text and "generation_config" not in caplog.text
    spoken = truth[video_id]["sentences"]
    words = " ".join(sentence["text"] for sentence in row["sentences"]).lower()
    steps = truth[video_id]["steps"]
    named = [step["object"] in words and step["verb"] in words for step in steps]
    assert sum(named) >= len(steps) - 1
    assert row["error"] is None and row["has_speech"] and abs(row["duration"] - truth[video_id]["duration"]) < 0.1
    assert len(row["features"]) == round(row["duration"] / 1.5)
    ends = [0.0] + [sentence["end"] for sentence in row["sentences"]]
    for sentence, before in zip(row["sentences"], ends, strict=False):
        assert before <= sentence["start"] < sentence["end"] <= row["duration"]
    assert abs(row["sentences"][0]["start"] - spoken[0]["start"]) < 0.5
    assert abs(row["sentences"][-1]["end"] - spoken[-1]["end"]) < 0.5


def test_fill_mask_reads_written_visual_tokens(processor, tmp_path):
    """transformers' own pipeline, on a saved folder, says what model and processor say; its token types were all 0."""
    torch.manual_seed(0)
    config = VideoBertConfig(
        text_vocab_size=len(WORDS),
        codebook_size=9,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
    )
    model = VideoBertForMaskedLM(config).eval()
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    inputs = processor(text="cut the [MASK]", videos=[4, 0])
    expected = model(**inputs).logits[0, 3].softmax(-1).sort(descending=True)
    fill = pipeline("fill-mask", model=str(tmp_path), tokenizer=str(tmp_path), top_k=5)
    found = fill("cut the [MASK] [>] <v_00004> <v_00000>")
    assert [one["token"] for one in found] == expected.indices[:5].tolist()
    assert [one["score"] for one in found] == pytest.approx(expected.values[:5].tolist(), abs=1e-6)
