"""Which sound track is in which language, by the file's own tables, and whether an MP4's index is whole."""

import io
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.media_videobert import open_media
from processing.tracks_videobert import index_is_cut, sound_languages


def make_tracks(path, *languages):
    """A picture and a tone of 440 Hz, 880 Hz … for each language."""
    sources = ["-f", "lavfi", "-i", "color=gray:s=64x48:r=10:d=2"]
    chosen = ["-map", "0:v"]
    for number, language in enumerate(languages):
        sources += ["-f", "lavfi", "-i", f"sine={440 * (number + 1)}:d=2:r=16000"]
        chosen += ["-map", f"{number + 1}:a", f"-metadata:s:a:{number}", f"language={language}"]
    subprocess.run(["ffmpeg", "-v", "error", *sources, *chosen, str(path)], check=True)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_languages_and_choice(tmp_path, name):
    """What the file says, in its order; the track that is chosen is the one that is heard."""
    with open_media(make_tracks(tmp_path / name, "ger", "eng", "fra")) as media:
        assert media.sound.languages == ["ger", "eng", "fra"]
        assert media.sound.chosen == 0
        for track in (2, 0, 1):
            media.sound.choose(track)
            spectrum = np.abs(np.fft.rfft(media.read_speech()[0][8000:24000]))
            assert spectrum.argmax() == pytest.approx(440 * (track + 1), abs=1)
        with pytest.raises(ValueError, match="there is no sound track 3; it has 3"):
            media.sound.choose(3)


def test_index_that_is_cut(tmp_path):
    """The sound's entry is the last of the index: cut off with it, the file would play as a silent video."""
    data = make_tracks(tmp_path / "a.mp4", "eng")
    assert not index_is_cut(io.BytesIO(data)) and index_is_cut(io.BytesIO(data[:-10]))
    with open_media(data[:-10]) as media:
        assert "index is cut off" in media.problems[0]


@given(st.binary(max_size=200), st.sampled_from([b"\0\0\0\x18ftyp", b"\x1a\x45\xdf\xa3\x80", b"\0\0\0\1moov"]))
def test_whatever_a_table_holds(rest, start):
    """Any bytes: languages or none, in no time and without an exception."""
    assert isinstance(sound_languages(io.BytesIO(start + rest)), list)
    index_is_cut(io.BytesIO(start + rest))
