"""Protects which videos there are: none lost without a word, none twice, whatever the folder holds."""

import logging
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.corpus import find_videos, listed_videos
from processing.corpus.videos import named_videos


@pytest.fixture
def log(caplog):
    logging.getLogger("transformers").propagate = True
    logging.getLogger("processing").propagate = True
    caplog.set_level(logging.WARNING)
    return caplog


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def test_names_come_from_the_place_in_the_folder(tmp_path):
    """Two files of one name keep their endings; what is no video is passed over."""
    make(tmp_path, "b/clip.mp4", "a.MP4", "same.mkv", "same.webm", "notes.txt")
    assert list(find_videos(tmp_path)) == ["a", "b/clip", "same.mkv", "same.webm"]


def test_no_two_files_have_one_name(tmp_path):
    """`x.mp4.mp4` without its ending is called as `x.mp4` with it: one of them was lost."""
    make(tmp_path, "x.mp4", "x.mkv", "x.mp4.mp4")
    found = find_videos(tmp_path)
    assert {name: path.name for name, path in found.items()} == {
        name: name for name in ("x.mp4", "x.mkv", "x.mp4.mp4")
    }


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.lists(st.sampled_from([".mp4", ".mkv"]), min_size=1, max_size=4).map(lambda ends: "x" + "".join(ends)))
)
def test_every_file_has_a_name_of_its_own(tmp_path_factory, names):
    folder = tmp_path_factory.getbasetemp()
    found = named_videos(folder, [folder / name for name in sorted(names)])
    assert sorted(path.name for path in found.values()) == sorted(names)


def test_names_that_are_not_utf8_are_spelled_out(tmp_path):
    """Parquet and JSON hold UTF-8 only: a row under the raw name ended the build."""
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    open(raw, "wb").close()
    make(tmp_path, "café.mkv")
    found = find_videos(tmp_path)
    assert sorted(found) == ["caf\\udce9", "café"] and os.fsencode(found["caf\\udce9"]) == raw
    assert all(name.encode() for name in found)


def test_links_are_followed_once(tmp_path, log):
    """A folder behind a link is searched; loops and second ways add nothing."""
    make(tmp_path, "disk/c.mp4", "disk/deep/d.mp4", "videos/a/b.mp4", "videos/z/e.mp4")
    for name, target in {"more": "disk", "again": "disk/deep", "0": "videos/z", "videos/a/loop": "videos"}.items():
        (tmp_path / name).symlink_to(tmp_path / target, target_is_directory=True)
    (tmp_path / "x.mp4").symlink_to("disk/c.mp4")
    assert sorted(find_videos(tmp_path)) == ["disk/c", "disk/deep/d", "videos/a/b", "videos/z/e", "x"]
    assert "a link to a folder that is searched already" in log.text


def test_links_out_of_the_folder_are_not_followed(tmp_path, log):
    """Whoever made a folder of videos does not choose which files of this machine are read. The folder itself may be
    reached by a link, and one of the Hub's cache holds links only, to the blobs beside its snapshots."""
    make(tmp_path / "elsewhere", "c.mp4", "deep/d.mp4")
    make(tmp_path / "videos", "a.mp4")
    for name, target in {"b.mp4": "../elsewhere/c.mp4", "deep": tmp_path / "elsewhere" / "deep"}.items():
        (tmp_path / "videos" / name).symlink_to(target)
    (tmp_path / "way").symlink_to("videos")
    for folder in ("videos", "way"):
        assert list(find_videos(tmp_path / folder)) == ["a"]
        assert f"{tmp_path / folder / 'b.mp4'} and 1 more: a link that leads out of the folder" in log.text
    make(tmp_path / "hub", "blobs/123")
    (tmp_path / "hub/snapshots/45/train").mkdir(parents=True)
    (tmp_path / "hub/snapshots/45/train/e.mp4").symlink_to("../../../blobs/123")
    (tmp_path / "hub/snapshots/45/train/f.mp4").symlink_to(tmp_path / "elsewhere/c.mp4")
    for folder in ("hub/snapshots/45", "hub/snapshots/45/train"):
        assert [path.name for path in find_videos(tmp_path / folder).values()] == ["e.mp4"]


def test_what_is_no_file_becomes_a_row(tmp_path):
    """A pipe that is called a video is not passed over in silence: describing it says what is wrong."""
    os.mkfifo(tmp_path / "pipe.mp4")
    assert list(find_videos(tmp_path)) == ["pipe"]


def test_what_cannot_be_opened_ends_nothing_and_is_said(tmp_path, monkeypatch, log):
    """A link whose target's name is too long, one that leads nowhere, a folder that may not be entered."""
    make(tmp_path, "a.mp4", "locked/b.mp4")
    (tmp_path / "long.mp4").symlink_to("n" * 300)
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    scan = os.scandir

    def scandir(path):  # whoever runs the tests may be allowed everything
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(find_videos(tmp_path)) == ["a"]
    for told in ("long.mp4: it cannot be opened (File name too long)", "gone.mp4", "self.mp4", "locked: it cannot be"):
        assert told in log.text


def test_hidden_files_are_left_and_endings_of_cameras_taken(tmp_path, log):
    """`._a.mp4` is what macOS notes about a.mp4, on a disk that cannot hold it otherwise: no video."""
    endings = ".mts .m2ts .vob .ogv .asf .f4v .3g2 .MTS".split()
    make(tmp_path, "._a.mp4", "a.mp4", ".trash/b.mp4", ".DS_Store", *(f"{n}{end}" for n, end in enumerate(endings)))
    assert list(find_videos(tmp_path)) == [*map(str, range(len(endings))), "a"]
    assert "._a.mp4 and 1 more: hidden" in log.text


def test_folders_without_videos_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no video"):
        find_videos(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        find_videos(tmp_path / "nothing")


def test_a_list_names_videos_as_it_writes_them(tmp_path):
    """From its own folder on; also what is not there, elsewhere, or listed twice."""
    (tmp_path / "list.txt").write_text(f"a/b.mp4\n\n c.mkv \na/b.mp4\n{tmp_path}/d.mp4\n/else/where.mp4\n../up.mp4\n")
    found = listed_videos(tmp_path / "list.txt")
    assert list(found) == ["a/b", "c", "d", "else/where", "../up"]
    assert found["a/b"] == tmp_path / "a" / "b.mp4" and str(found["else/where"]) == "/else/where.mp4"
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no video"):
        listed_videos(tmp_path / "empty.txt")
    with pytest.raises(ValueError, match="the list of videos cannot be read"):
        listed_videos(tmp_path / "nowhere.txt")
