"""Real speech out of real files: whatever their channels, rate, codec and clock, and whatever is wrong with them."""

import re
import subprocess
import wave
from difflib import SequenceMatcher

import numpy as np
import pytest
from packaged import packaged_weights
from test_speech import SCRIPT, narration, texts  # noqa: F401

from processing import VideoBertProcessor
from processing.pieces_videobert import SAMPLE_RATE
from processing.processing_videobert import _hear
from processing.speech_videobert import SpeechRecognizer


def encode(source, target, *options, before=()):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *before, "-i", str(source), *options, str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def narrated_wav(narration, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("narrated") / "narrated.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((narration[0].clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def ears(whisper_tiny, bert_minilm):
    """A processor without a video network: it only hears."""
    return VideoBertProcessor.from_models(str(bert_minilm), str(whisper_tiny))


def alike(sentences):
    """Which share of the words is right and in its place; 1 if all are."""
    heard, said = (re.sub("[.,]", "", " ".join(lines)).lower().split() for lines in (texts(sentences), SCRIPT))
    return SequenceMatcher(None, heard, said, autojunk=False).ratio()


def assert_narrated(sentences, times, offset=0.0):
    """The sentences that were said, but for a few words that tiny.en mishears, where they were said."""
    assert alike(sentences) > 0.85 and len(sentences) == len(SCRIPT)
    for sentence, (start, end) in zip(sentences, times, strict=True):
        assert sentence["start"] == pytest.approx(start + offset, abs=0.3)
        assert sentence["end"] == pytest.approx(end + offset, abs=0.3)


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.mp3", ("-ar", "8000", "-ac", "1")),
        ("a.wav", ("-ar", "192000", "-ac", "6")),
        ("a.ogg", ("-ar", "48000", "-ac", "2", "-c:a", "libopus")),
    ],
)
def test_any_rate_channels_and_codec(ears, narrated_wav, narration, tmp_path, name, options):  # noqa: F811
    path = encode(narrated_wav, tmp_path / name, *options)
    assert_narrated(ears.transcribe(path), narration[1])


def test_sound_that_starts_later_than_the_picture(ears, narrated_wav, narration, tmp_path):  # noqa: F811
    """Times are the video's own: from its first displayed frame on, not from where the sound begins."""
    picture = ("-f", "lavfi", "-i", "color=black:s=64x48:r=10:d=25", "-itsoffset", "4")
    path = encode(narrated_wav, tmp_path / "late.mkv", "-c:v", "ffv1", "-c:a", "flac", before=picture)
    assert_narrated(ears.transcribe(path), narration[1], offset=4.0)


def test_clipped_sound_is_still_heard(whisper_tiny, narration):  # noqa: F811
    """Recorded far too loud: the words are there, and nothing else."""
    clipped, silent = (narration[0] * 4).clip(-1, 1), np.zeros(len(narration[0]), dtype=np.float32)
    heard, nothing = SpeechRecognizer(whisper_tiny).transcribe([(clipped, 0.0), (silent, 0.0)])
    assert (np.abs(clipped) == 1).mean() > 0.02 and alike(heard) > 0.8 and nothing == []


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.mka"])
def test_half_a_file_is_heard_as_far_as_it_goes(ears, narrated_wav, tmp_path, name):
    """Cut off in the middle: what can be heard is kept, the rest is not made up, and the row says so."""
    whole = encode(narrated_wav, tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    problems = []
    (sentences,) = ears._speech().transcribe([_hear(tmp_path / name, problems)])
    assert texts(sentences)[0].lower() == SCRIPT[0].lower()
    assert len(sentences) < len(SCRIPT) and sentences[-1]["end"] < 9
    assert len(problems) == 1 and " s of " in problems[0]


def test_both_engines_give_the_same_rows(whisper_tiny, narration):  # noqa: F811
    """faster-whisper on the same weights: the same sentences at the same places, two sounds in one batch."""
    faster_whisper = pytest.importorskip("faster_whisper", reason="an optional engine: videobert[faster-whisper]")
    folder = packaged_weights("whisper-tiny.en-ctranslate2")
    model = faster_whisper.WhisperModel(str(folder), "cpu", compute_type="float32")
    waveform, times = narration
    for recognizer in (SpeechRecognizer(model, engine="faster-whisper"), SpeechRecognizer(whisper_tiny)):
        alone, shifted = recognizer.transcribe([(waveform, 0.0), (waveform, 50.0)])
        assert_narrated(alone, times)
        assert_narrated(shifted, times, offset=50.0)
