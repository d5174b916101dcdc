"""Protects the whole way on real, awkward files: 40 videos and sounds that lie beside the project on some machines."""

import json
import re

import pytest

from processing import VideoBertProcessor

# What cannot be read, and the reason that the row must give.
BROKEN = {
    "opencast__nostreams.mp4": "neither a video nor a sound stream",
}
DAMAGED = "decord__corrupted.mp4"  # one packet of 50
SOUND_ONLY = {
    "whisper__jfk.flac",
    "cognitive-services-speech-sdk__aboutSpeechSdk.wav",
    "python-docs-samples__commercial_mono.wav",
    "opencast__silent.mp4",
}
# Speech that the manifest's own Whisper base hears in English, clearly enough for tiny.en to hear much of it too.
NARRATED = {
    "mmaction2__test.avi",
    "torchcodec__nasa_13013.mp4",
    "auto-editor__example.mp4",
    "psychopy__jwpIntro.mp4",
    "whisper__jfk.flac",
    "cognitive-services-speech-sdk__aboutSpeechSdk.wav",
    "python-docs-samples__commercial_mono.wav",
    "derived__surround_5.1.mkv",
    "derived__vfr.mkv",
    "derived__interlaced_tff.mp4",
}


@pytest.fixture(scope="module")
def manifest(shared_media):
    return {entry["file"]: entry for entry in json.loads((shared_media / "manifest.json").read_text())}


@pytest.fixture(scope="module")
def rows(shared_media, manifest, whisper_tiny, tiny_backbone, tiny_text_model):
    processor = VideoBertProcessor.from_models(tiny_text_model, str(whisper_tiny), tiny_backbone)
    return dict(zip(manifest, processor.describe([shared_media / file for file in manifest]), strict=True))


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def test_every_clip_of_every_readable_video_has_a_feature(rows, manifest):
    """One feature every 1.5 s of displayed video, whatever the frame rate, rotation, bit depth or container."""
    for file, entry in manifest.items():
        if file in BROKEN or file in SOUND_ONLY or file == DAMAGED:
            continue
        seconds = entry["torchcodec_video"]["end"] - entry["torchcodec_video"]["begin"]
        assert len(rows[file]["features"]) == max(1, int(seconds / 1.5 + 0.5)), file
        assert abs(rows[file]["duration"] - seconds) < 0.01, file


def test_damaged_video_is_used_and_says_so(rows):
    """The whole packets give clips at their times, and the row says what is damaged."""
    row = rows[DAMAGED]
    assert len(row["features"]) == 3 and row["error"] == "the video is damaged: 1 of its packets cannot be decoded"


def test_broken_files_say_why(rows):
    for file, reason in BROKEN.items():
        assert file in rows[file]["error"] and reason in rows[file]["error"], (file, rows[file]["error"])
        assert "\n" not in rows[file]["error"]


def test_sound_alone_keeps_its_sentences_and_says_what_is_missing(rows):
    for file in SOUND_ONLY:
        assert len(rows[file]["features"]) == 0 and "no video stream" in rows[file]["error"], file
    assert rows["whisper__jfk.flac"]["has_speech"]


def test_real_speech_is_heard(rows, manifest):
    """At least two thirds of the words that a larger Whisper hears; sentences in order and inside the video."""
    for file in NARRATED:
        expected = set(words(manifest[file]["transcript_whisper_base"]))
        heard = set(words(" ".join(sentence["text"] for sentence in rows[file]["sentences"])))
        assert len(expected & heard) >= 0.66 * len(expected), (file, expected - heard)
    for file, row in rows.items():
        before = 0.0
        for sentence in row["sentences"]:
            assert before <= sentence["start"] < sentence["end"] <= row["duration"] + 1e-3, file
            before = sentence["end"]


def test_silence_gives_no_words(rows):
    """Whisper alone answers silence with "you" or thanks for watching."""
    for file in ("opencast__silent.mp4", "moviepy__no_duration.webm", "gradio__b.avi", "mmaction2__demo.mp4"):
        assert rows[file]["sentences"] == [] and rows[file]["has_speech"] is False, file
