"""Which subtitles belong to which video."""

import json
from pathlib import Path

import pytest

from processing import find_subtitles

COLUMNS = {
    "text": ["Cut the lemon.", "Now fry it\nfor 5 min. until done."],
    "start": [1.0, 3.0],
    "end": [2.5, 5.0],
}


def test_subtitles_of_another_language_are_not_taken(tmp_path):
    """The wanted language first, then a name that tells none; where there is only another one, the video is heard."""
    for name in ("v.ar.vtt", "v.en.vtt", "v.vtt", "w.de.srt", "w.srt", "x.ar.vtt", "y.eng.srt", "y.de-AT.srt"):
        (tmp_path / name).touch()
    videos = {name: tmp_path / f"{name}.mp4" for name in "vwxy"}

    def found(**options):
        return {video_id: path.name for video_id, path in find_subtitles(videos, **options).items()}

    assert found() == {"v": "v.en.vtt", "w": "w.srt", "y": "y.eng.srt"}
    assert found(language="German") == {"v": "v.vtt", "w": "w.de.srt", "y": "y.de-AT.srt"}
    with pytest.raises(ValueError, match="no language 'klingon'"):
        found(language="klingon")


def test_subtitles_are_found_beside_their_videos(tmp_path):
    """`name.srt` or `name.vtt` next to `name.mp4`; other videos' subtitles, whose names begin alike, are not taken."""
    for name in ("a.en.vtt", "a.srt", "b.en-US.vtt", "c.more.srt", "e.de.srt", "f.srt.txt", ".srt"):
        (tmp_path / name).touch()
    videos = {name: tmp_path / f"{name}.mp4" for name in ("a", "b", "c", "c.more", "d", "e.de", "f")}
    found = find_subtitles(videos)
    assert {name: path.name for name, path in found.items()} == {
        "a": "a.en.vtt",
        "b": "b.en-US.vtt",
        "c.more": "c.more.srt",
        "e.de": "e.de.srt",
    }
    other = tmp_path / "other"
    other.mkdir()
    (other / "d.vtt").touch()
    assert find_subtitles(videos, other) == {"d": other / "d.vtt"}
    (tmp_path / "all.json").write_text(json.dumps({"d": COLUMNS, "z": COLUMNS}))
    assert find_subtitles(videos, tmp_path / "all.json") == {"d": tmp_path / "all.json"}
    with pytest.raises(ValueError, match="no such folder or file of subtitles"):
        find_subtitles(videos, tmp_path / "nothing")


def test_each_folder_is_searched_once(tmp_path, monkeypatch):
    """However many videos lie in it; and no file is compared with every video."""
    searched, compared, iterdir, told = [], [], Path.iterdir, Path.stem
    monkeypatch.setattr(Path, "iterdir", lambda folder: searched.append(folder) or iterdir(folder))
    monkeypatch.setattr(Path, "stem", property(lambda path: compared.append(path) or told.fget(path)))
    for number in range(200):
        (tmp_path / f"{number}.en.srt").touch()
    videos = {str(number): tmp_path / f"{number}.mp4" for number in range(300)}
    assert list(find_subtitles(videos)) == [str(number) for number in range(200)]
    assert searched == [tmp_path] and len(compared) < 1000


def test_a_source_that_fits_no_video_is_told_of(tmp_path):
    """A folder or file that was named, but is another corpus's: not a word of it would be used."""
    (tmp_path / "a.vtt").touch()
    (tmp_path / "all.json").write_text(json.dumps({"a": COLUMNS}))
    for source in (tmp_path, tmp_path / "all.json"):
        with pytest.raises(ValueError, match="subtitles of 0 of the 2 videos"):
            find_subtitles({"b": tmp_path / "b.mp4", "c": tmp_path / "c.mp4"}, source)
        assert find_subtitles({}, source) == {}


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    """Words of another file of this machine must not come into a corpus because a link has the right name."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.srt").touch()
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "videos" / "a.srt").symlink_to("../elsewhere/a.srt")
    (tmp_path / "videos" / "b.srt").touch()
    (tmp_path / "videos" / "deep" / "c.srt").symlink_to("../b.srt")
    videos = {name: tmp_path / "videos" / f"{name}.mp4" for name in ("a", "b", "deep/c")}
    assert set(find_subtitles(videos)) == {"b", "deep/c"}
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.srt").symlink_to("../elsewhere/a.srt")
    (tmp_path / "given" / "b.srt").touch()
    assert set(find_subtitles(videos, tmp_path / "given")) == {"b"}
