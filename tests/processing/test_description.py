"""One video to one row: whatever happens to it, the others go on; the track of the wanted language is heard."""

import subprocess

import numpy as np
import pytest
from support.spelled_speech import spelled_recognizer

from processing import VideoBertProcessor, description_videobert
from processing.corpus import build_corpus
from processing.corpus.isolation import Here
from processing.description_videobert import Findings, Listening, hear_video
from processing.media_videobert import Media


@pytest.fixture
def processor(tiny_backbone, tiny_text_model):
    processor = VideoBertProcessor.from_models(tiny_text_model, backbone=tiny_backbone)
    processor._recognizer = spelled_recognizer()
    return processor


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of 3 s with sound."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("bad", "good"):
        sources = "-f lavfi -i testsrc=s=64x48:r=10:d=3 -f lavfi -i sine=440:d=3".split()
        subprocess.run(["ffmpeg", "-v", "error", *sources, str(folder / f"{name}.mkv")], check=True)
    return [folder / "bad.mkv", folder / "good.mkv"]


@pytest.mark.parametrize("method", ["iter_clips", "iter_speech"])
def test_unforeseen_exceptions_are_errors_of_their_row(processor, videos, monkeypatch, caplog, method):
    """A fault of ours that one video meets costs its row alone, and the log has the traceback."""
    right = getattr(Media, method)

    def wrong(media, *arguments, **options):
        if "bad" in media.name:
            raise KeyError("nobody has\nforeseen this")
        return right(media, *arguments, **options)

    monkeypatch.setattr(Media, method, wrong)
    bad, good = processor.describe(videos)
    assert "bad.mkv: an unforeseen error (KeyError: " in bad["error"] and "\n" not in bad["error"]
    assert good["error"] is None and len(good["features"]) == 2 and good["has_speech"]
    assert "Traceback" in caplog.text and "in wrong" in caplog.text


def test_recogniser_that_fails_at_one_video(processor, videos, monkeypatch, caplog):
    """Together they fail; one by one only the bad one does. A wrong setting is no fault of a video: it is raised."""
    right = processor._recognizer.transcribe

    def wrong(sounds, durations, **options):
        if len(sounds) > 1 or wrong.calls == 1:
            wrong.calls += 1
            raise RuntimeError("out of luck")
        return right(sounds, durations, **options)

    wrong.calls = 0
    monkeypatch.setattr(processor._recognizer, "transcribe", wrong)
    bad, good = processor.describe(videos)
    assert "RuntimeError: out of luck" in bad["error"] and bad["sentences"] == [] and len(bad["features"]) == 2
    assert good["error"] is None and good["has_speech"] and "Traceback" in caplog.text

    def unset(sounds, durations, **options):
        raise ValueError("the checkpoint does not know the language")

    monkeypatch.setattr(processor._recognizer, "transcribe", unset)
    with pytest.raises(ValueError, match="does not know the language"):
        processor.describe(videos)


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory):
    """A German sound track of 440 Hz, which is the default one, and an English one of 880 Hz."""
    path = tmp_path_factory.mktemp("tracks") / "two.mp4"
    sources = "-f lavfi -i testsrc=s=64x48:r=10:d=2 -f lavfi -i sine=440:d=2 -f lavfi -i sine=880:d=2".split()
    tracks = "-map 0 -map 1 -map 2 -metadata:s:a:0 language=deu -metadata:s:a:1 language=eng -disposition:a:0 default"
    subprocess.run(["ffmpeg", "-v", "error", *sources, *tracks.split(), str(path)], check=True)
    return path


@pytest.mark.parametrize(
    "wanted, pitch",
    [({}, 440), ({"language": "en"}, 880), ({"language": "german"}, 440), ({"language": "fr"}, 440)]
    + [({"sound_track": 1}, 880), ({"language": "en", "sound_track": 0}, 440)],
)
def test_track_of_the_wanted_language_is_heard(two_tracks, wanted, pitch):
    """By its tag, else by its number; a language that no track has leaves the default one. The notes say which."""
    met = Findings()
    ((waveform, _),) = hear_video(two_tracks, met, Listening(**wanted))
    assert np.abs(np.fft.rfft(waveform[8000:24000])).argmax() == pytest.approx(pitch, abs=1)
    assert met.problems == [] and met.notes == [
        f"of its sound tracks 0 (deu), 1 (eng) number {pitch // 880} was heard"
    ]


def test_language_of_the_processor_chooses_the_track(processor, two_tracks, monkeypatch):
    """`asr_options` say what is spoken; an option that is given says which track, and one too many is an error."""
    processor.asr_options = {"language": "en"}
    assert "number 1 was heard" in processor.describe([two_tracks])[0]["notes"]
    assert "number 0 was heard" in processor.describe([two_tracks], sound_track=0)[0]["notes"]
    assert "there is no sound track 2; it has 2" in processor.describe([two_tracks], sound_track=2)[0]["error"]


def test_header_of_no_pixels_costs_one_row(processor, videos, monkeypatch):
    """The build that ended at every rerun: the file is a row with an error, and the next one is described."""
    monkeypatch.setattr(description_videobert, "open_media", nothing_wide(description_videobert.open_media))
    bad, good = processor.describe(videos)
    assert "0 x 0 pixels" in bad["error"] and good["error"] is None and len(good["features"]) == 2


def nothing_wide(open_media):
    """`open_media` as if the header of a bad file claimed 0 x 0 pixels, which FFmpeg finds out of few formats."""

    def opened(video):
        media = open_media(video)
        if "bad" in media.name:
            media.pictures.stream.width = media.pictures.stream.height = 0
            media.has_video = media.pictures.can_be_shown(beside_sound=media.has_audio)
        return media

    return opened


def test_faults(processor, shared_media):
    """Small files that came out wrong once, each for a whole kind; see the README beside them."""
    faults = shared_media.parent / "faults"
    expected = {
        "ts_clock_begins_anew_after_8s.ts": 28,
        "ts_33bit_clock_wraps_at_6s.ts": 20,
        "slides_last_frame_at_4s_sound_20s.webm": 20,
        "stereo_channels_in_opposite_phase.mkv": 20,
        "header_says_0x0.mp4": None,
    }
    for name, row in zip(expected, processor.describe([faults / name for name in expected]), strict=True):
        if expected[name] is None:
            assert "0 x 0 pixels" in row["error"]
            continue
        assert row["error"] is None and row["duration"] == pytest.approx(expected[name], abs=0.1), name
        assert len(row["features"]) == int(expected[name] / 1.5 + 0.5) and row["has_speech"], name


def test_an_encoding_that_was_guessed_is_a_note(processor, videos, tmp_path):
    """As an error, every run of a build would describe the video again, to guess the same again."""
    path = tmp_path / "said.srt"
    path.write_bytes("1\n00:00:01,000 --> 00:00:02,000\nНарежьте лимон.\n".encode("cp1251"))
    (row,) = processor.describe(videos[1:], subtitles=[path])
    assert row["has_speech"] and row["error"] is None and "read as cp1251, judging by" in row["notes"]


@pytest.mark.parametrize(
    ("asr_model", "message"),
    [
        (None, "The processor has no asr_model"),
        ("/no/ears", "/no/ears is no model that can be loaded"),
        ("spelled", "hears English only and cannot transcribe ru"),
    ],
)
def test_a_wrong_setting_is_no_fault_of_a_video(processor, videos, silent_video, tmp_path, asr_model, message):
    """Beside one without sound, videos with sound became rows with an error and the build went on; when it was
    corrected, the folder was one of other settings."""
    processor.asr_model, processor._recognizer = asr_model, None
    if asr_model == "spelled":
        processor._recognizer = spelled_recognizer()
        processor._recognizer.language = "ru"
    both = {"heard": videos[1], "silent": silent_video}
    with pytest.raises(ValueError, match=message):
        build_corpus(both, processor, tmp_path, levels=1, branches=2, num_workers=0)
    processor.asr_model, processor._recognizer = "spelled", spelled_recognizer()
    assert build_corpus(both, processor, tmp_path, levels=1, branches=2, num_workers=0)["error"] == [None, None]


def test_progress_is_told_of_every_stage(processor, videos):
    """Whoever watches over a description sees that it goes on: at every clip and block of sound, and at their end."""
    told = []
    bad, good = processor.describe(videos, on_progress=told.append)
    clips = len(bad["features"]) + len(good["features"])
    assert told.count("pictures") == 2 + 1 + clips + 2  # opened, networks built, clips, looked at
    assert told.count("speech") >= 3 and told[-1] == "speech" and set(told) == {"pictures", "speech"}


def test_waits_for_pictures_and_for_sound_are_told(processor, videos):
    """Each network waits for its first clip or block at least, and never longer than its stage takes."""
    here = Here(processor)
    here.describe(videos, ["bad", "good"], [None, None])
    assert here.waited.keys() == {"pictures", "speech"}
    assert all(0 < here.waited[stage] <= here.seconds[stage] for stage in here.waited)
