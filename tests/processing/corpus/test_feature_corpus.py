"""Protects the way from features to rows: a row for every file, what is said beside them, and nothing mixed."""

import shutil

import numpy as np
import pytest
from support.tiny_rows import tiny_text_tokenizer

from processing import VideoBertProcessor, VideoBertVideoProcessor
from processing.corpus import build_feature_corpus, find_features
from processing.corpus.features import feature_subtitles


def blind_processor(clip_seconds=1.0):
    return VideoBertProcessor(VideoBertVideoProcessor(clip_seconds=clip_seconds), tiny_text_tokenizer())


FITTING = {"levels": 1, "branches": 3}


@pytest.fixture
def folder(tmp_path):
    """Four good videos, the first with subtitles, and three bad files."""
    draw, folder = np.random.default_rng(0), tmp_path / "s3d"
    folder.mkdir()
    for number in range(4):
        np.save(folder / f"v{number}.mp4.npy", draw.normal(size=(10 + number, 6)).astype(np.float16))
    np.save(folder / "wide.npy", np.zeros((5, 7)))
    np.save(folder / "words.npy", np.array(["a"]))
    broken = draw.normal(size=(5, 6))
    broken[3, 2] = np.nan
    np.save(folder / "nan.npy", broken)
    (folder / "v0.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nnow cut the lemon\n\n")
    return folder


def test_every_file_becomes_a_row(folder, tmp_path):
    """Clips last as long as was said; a bad file is a row with its error; ids are those of the codebook."""
    sources, processor = find_features(folder), blind_processor(clip_seconds=0.5)
    rows = build_feature_corpus(sources, processor, tmp_path / "out", feature_subtitles(sources), **FITTING)
    assert rows["video_id"] == list(sources)
    found = {row["video_id"]: row for row in rows}
    assert found["v0"]["duration"] == 5.0 and found["v0"]["clip_seconds"] == 0.5 and found["v0"]["has_speech"]
    assert found["v0"]["sentences"] == [{"text": "now cut the lemon.", "start": 1.0, "end": 3.0}]
    expected = processor.codebook.encode(np.load(folder / "v2.mp4.npy").astype(np.float32))
    assert found["v2"]["visual_ids"] == expected.tolist() and not found["v2"]["has_speech"]
    assert "width 7; here they are 6 wide" in found["wide"]["error"] and not found["wide"]["visual_ids"]
    assert "not numbers" in found["words"]["error"]
    assert found["nan"]["error"] == "nan: the feature of clip 3 holds NaN or infinity"
    assert len(found["nan"]["visual_ids"]) == 3


def test_what_is_done_is_not_done_again(folder, tmp_path, monkeypatch):
    """And a file that was repaired is read again, one that is new is added."""
    from processing.corpus import features

    asked = []
    read = features.read_features
    monkeypatch.setattr(features, "read_features", lambda *given: asked.append(given[0].path.name) or read(*given))
    first = build_feature_corpus(find_features(folder), blind_processor(), tmp_path / "out", **FITTING)
    asked.clear()
    again = build_feature_corpus(find_features(folder), blind_processor(), tmp_path / "out", **FITTING)
    assert again.to_list() == first.to_list() and set(asked) == {"wide.npy", "words.npy", "nan.npy"}
    np.save(folder / "words.npy", np.ones((2, 6)))
    np.save(folder / "new.npy", np.ones((4, 6)))
    rows = build_feature_corpus(find_features(folder), blind_processor(), tmp_path / "out", **FITTING)
    found = {row["video_id"]: row for row in rows}
    assert len(found["new"]["visual_ids"]) == 4
    assert found["words"]["error"] is None and len(found["words"]["visual_ids"]) == 2


def test_several_codes_never_mix_with_one(folder, tmp_path):
    """Rows tell how many ids a clip has; another number is refused, and with a new codebook all ids are new."""
    given = (find_features(folder), tmp_path / "out")

    def build(**options):
        processor = blind_processor()
        return build_feature_corpus(given[0], processor, given[1], **FITTING, **options), processor

    rows, processor = build(residual_codes=2)
    assert processor.codebook.code_sizes == (3, 3) and set(rows["tokens_per_clip"]) == {2}
    expected = processor.codebook.encode(np.load(folder / "v2.mp4.npy").astype(np.float32))
    assert rows["visual_ids"][rows["video_id"].index("v2")] == expected.tolist() and len(expected) == 2 * 12
    with pytest.raises(ValueError, match="fitted with residual_codes 2, not with 1; ask for the same"):
        build()
    with pytest.raises(ValueError, match="fitted with residual_codes 2, not with 1, levels_as_tokens False, not with"):
        build(levels_as_tokens=True)
    assert build(residual_codes=2)[0].to_list() == rows.to_list()
    shutil.rmtree(tmp_path / "out" / "codebook")
    rows, processor = build()
    assert "tokens_per_clip" not in rows.column_names and set(rows["codebook"]) == {processor.codebook.fingerprint}


def test_clips_of_two_lengths_never_mix(folder, tmp_path):
    build_feature_corpus(find_features(folder), blind_processor(), tmp_path / "out", **FITTING)
    with pytest.raises(ValueError, match="begun with clip_seconds 1.0, not with 2.0"):
        build_feature_corpus(find_features(folder), blind_processor(2.0), tmp_path / "out", **FITTING)


def test_features_of_another_width_than_the_codebook_are_refused(folder, tmp_path):
    processor = blind_processor()
    build_feature_corpus(find_features(folder), processor, tmp_path / "out", **FITTING)
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "a.npy", np.zeros((3, 9)))
    with pytest.raises(ValueError, match="The features are 9 wide, and those of the codebook 6"):
        build_feature_corpus(find_features(tmp_path / "other"), processor, tmp_path / "out2")


def test_nothing_that_can_be_read(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match="None of 1 features can be read. The first: .*a.npy has shape"):
        build_feature_corpus(find_features(tmp_path), blind_processor(), tmp_path / "out")


def test_its_processor_has_no_eyes_and_says_so(folder, tmp_path):
    """Saved and opened again, too; visual ids and text go through."""
    processor = blind_processor()
    build_feature_corpus(find_features(folder), processor, tmp_path / "out", **FITTING)
    processor.save_pretrained(tmp_path / "saved")
    opened = VideoBertProcessor.from_pretrained(tmp_path / "saved")
    for call in (opened.features, opened.tokenize, lambda video: opened(videos=video)):
        with pytest.raises(ValueError, match="no backbone, so no eyes for raw video"):
            call(np.zeros((30, 3, 8, 8), np.uint8))
    assert opened(text="cut the lemon", videos=[0, 2, 1])["input_ids"].shape == (1, 9)


def test_captions_by_video_id(folder, tmp_path):
    """As HowTo100M's: columns by id, for those of the features that have any."""
    (tmp_path / "caption.json").write_text('{"v1": {"start": [0, 2], "end": [2, 4], "text": ["cut it.", "stir it."]}}')
    sources = find_features(folder)
    subtitles = feature_subtitles(sources, tmp_path / "caption.json")
    rows = build_feature_corpus(sources, blind_processor(), tmp_path / "out", subtitles, **FITTING)
    said = {row["video_id"]: [sentence["text"] for sentence in row["sentences"]] for row in rows}
    assert said["v1"] == ["cut it.", "stir it."] and not said["v0"]
