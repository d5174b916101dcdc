"""Protects which videos a data set on this machine holds, and that each is a file only while it is worked on."""

import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from threading import Event

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Video, load_from_disk
from support.stand_in import StandIn

from processing.corpus import Share, build_corpus, dataset_videos, describing, note_contents, streamed_videos
from processing.corpus.contents import Contents, digest_of_video, stamp_of
from processing.corpus.describing import Queue
from processing.corpus.held import CHUNK, HeldVideo, LostConnectionError, NoVideoError
from processing.corpus.isolation import Here


def saved(folder, clips):
    Dataset.from_dict({"clip": clips, "label": [*range(len(clips))]}).cast_column("clip", Video()).save_to_disk(folder)
    return load_from_disk(folder)


def test_files_stay_where_they_lie(tmp_path, monkeypatch):
    """Under the names that they have below the folder of them all, one that is not there too."""
    paths = [str(tmp_path / "a" / name) for name in ("b/y.mp4", "x.mp4", "gone.mp4")]
    data = Dataset.from_dict({"clip": paths, "label": [1, 2, 3]}).cast_column("clip", Video())
    found = dataset_videos(data, tmp_path / "out")
    assert {name: str(path) for name, path in found.items()} == dict(zip(("b/y", "x", "gone"), paths, strict=True))
    with pytest.raises(ValueError, match="no column of videos; its columns are text"):
        dataset_videos(Dataset.from_dict({"text": ["a"]}), tmp_path)
    with pytest.raises(ValueError, match="no column 'film'; its columns are clip, label"):
        dataset_videos(data, tmp_path, "film")
    with pytest.raises(ValueError, match="Column 'label' holds .*int64.*; allowed are videos, or the paths"):
        dataset_videos(data, tmp_path, "label")
    monkeypatch.chdir(tmp_path)
    mixed = Dataset.from_dict({"clip": [paths[0], "a/x.mp4"]}).cast_column("clip", Video())
    assert {name: str(path) for name, path in dataset_videos(mixed, tmp_path).items()} == {
        "b/y": paths[0],
        "x": paths[1],
    }


@pytest.mark.parametrize(
    ("table", "given", "sentence"),
    [
        ("t.jsonl", {"column": "n"}, "Row 0 has 7 in column 'n'; allowed are videos, or the paths of their files"),
        ("t.csv", {"column": "film"}, "no column 'film'; its columns are clip, n"),
        ("t.csv", {"column": "clip", "captions": "said"}, "no column 'said'; its columns are clip, n"),
    ],
)
def test_a_table_without_the_column_is_a_sentence(tmp_path, table, given, sentence):
    """Also where types are not told before rows are read; what is said is never left out without a word."""
    (tmp_path / table).write_text('{"clip": "a.mp4", "n": 7}\n' if "json" in table else "clip,n\na.mp4,7\n")
    with pytest.raises(ValueError, match=sentence):
        streamed_videos(str(tmp_path), tmp_path, **given)


def test_what_it_holds_is_a_file_for_a_while(tmp_path):
    """As long as nobody drops it, once, also of a data set in another order and in another process. A row of nothing
    is known to be one, and a name is never a place."""
    clips = [{"bytes": b"one", "path": "v.webm"}, {"bytes": b"two", "path": None}, None]
    clips += [{"bytes": b"four", "path": "../../x/\0 y.mp4"}]
    data = saved(tmp_path / "data", clips).select([3, 2, 1, 0])
    found = dataset_videos(data, tmp_path / "out")
    assert [*found] == ["000000_\0 y", "000001_video", "000002_video", "000003_v"] and not (tmp_path / "out").exists()
    for number, video in enumerate(pickle.loads(pickle.dumps([*found.values()]))):
        if number == 1:
            with pytest.raises(NoVideoError, match="000001_video.mp4: the data set holds no video there"):
                video.fetch()
            continue
        path = video.fetch()
        assert path.read_bytes() == (b"four", None, b"two", b"one")[number] and video.fetch() == path
        assert path.parent.parent == tmp_path / "out" and path.parent.name.endswith(".unfinished")
        video.drop()
        assert not [*(tmp_path / "out").iterdir()]
    again = dataset_videos(load_from_disk(tmp_path / "data").select([3, 2, 1, 0]), tmp_path / "out")
    assert [stamp_of(one) for one in again.values()] == [stamp_of(one) for one in found.values()]
    assert len({stamp_of(one) for one in found.values()}) == 4


class Numbered(StandIn):
    """Describes what it can open, by the number that a name begins with."""

    def describe(self, videos, names, subtitles, on_progress=None):
        self.asked += names
        for video in videos:
            assert open(video, "rb").read()
        return [self.row(f"v{int(name[:6]) + 1}") | {"video_id": name} for name in names]


def test_a_row_of_nothing_is_an_error_once(tmp_path):
    """And the others are described, once; the second run asks for none of them."""
    data, first, second = saved(tmp_path / "data", [{"bytes": b"a", "path": "a.mp4"}, None]), Numbered(), Numbered()
    given = {"levels": 1, "branches": 2}
    for processor in (first, second):
        videos = dataset_videos(data, tmp_path / "out" / "features")
        rows = build_corpus(videos, processor, tmp_path / "out", **given)
    assert (first.asked, second.asked) == (["000000_a"], []) and rows["video_id"][:] == ["000000_a", "000001_video"]
    assert rows[1]["error"] == "000001_video: the data set holds no video there"


def test_other_rows_and_columns_are_other_videos(tmp_path):
    """Under the numbers and names of those before, in files that are the same."""
    data = saved(tmp_path / "data", [{"bytes": bytes([65 + number]), "path": None} for number in range(4)])
    parts = [data.select(range(2)), data.select(range(2, 4)), data.select([0, 2])]
    found = [dataset_videos(part, tmp_path / "out") for part in parts]
    assert [*found[0]] == [*found[1]] == [*found[2]]
    assert len({stamp_of(one) for videos in found for one in videos.values()}) == 6
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.table({"left": [b"a"], "right": [b"b"]}), tmp_path / "parquet" / "train.parquet")
    sides = [streamed_videos(str(tmp_path / "parquet"), tmp_path, column=name) for name in ("left", "right")]
    assert [*sides[0]] == [*sides[1]] and len({stamp_of(one) for side in sides for one in side.values()}) == 2


class Cut(HeldVideo):
    """Notes that it is fetched; the line to one of them is cut."""

    fetched, cut = [], None

    def _write(self, path):
        self.fetched.append(self.name)
        if self.name == Cut.cut:
            raise LostConnectionError(f"{self.name} cannot be fetched")
        path.write_text(self.name)


def test_what_was_noted_stays_where_the_line_is_cut(tmp_path):
    """What was fetched to know what it holds is not fetched for that once more."""
    videos = {name: Cut(name, name, tmp_path / "features") for name in "abcd"}
    Cut.fetched, Cut.cut = [], "c"
    with pytest.raises(LostConnectionError):
        note_contents(videos, tmp_path, Share(0, 1))
    Cut.cut = None
    note_contents(videos, tmp_path, Share(0, 1))
    assert Cut.fetched == ["a", "b", "c", "c", "d"]


def test_tasks_that_know_no_copies_share_all_videos_out(tmp_path):
    """Each takes the others of a lot with a copy, and no more: no video is two tasks', and none is nobody's."""
    taken = []
    for task in (0, 1):
        (folder := tmp_path / str(task)).mkdir()
        videos = {name: Cut(name[0], name, folder) for name in ("a0", "a1", "b", "c", "d", "e", "f", "g")}
        queue = Queue(videos, {}, Contents(folder), 2, False, lambda count: None, Share(task, 2))
        taken.append([*queue.new()])
        for video in videos.values():
            video.drop()
    assert taken == [[["a0"], ["d", "e"]], [["b", "c"], ["f", "g"]]]


class Late(HeldVideo):
    """Of one the line is cut when another one is on its way, which comes when the work has ended."""

    on_its_way, ended = Event(), Event()

    def _write(self, path):
        if self.name == "v1":
            self.on_its_way.wait(60)
            raise LostConnectionError(f"{self.name} cannot be fetched")
        self.on_its_way.set()
        self.ended.wait(60)
        path.write_text(self.name)


def test_what_comes_when_the_work_has_ended_is_dropped_too(tmp_path, monkeypatch):
    """Of two workers one stops the build; the file that the other one waits for does not stay."""
    videos = {name: Late(name, name, tmp_path / "features") for name in ("v1", "v2")}
    for name, video in videos.items():
        video.digest = name
    describers = [Here(StandIn()), Here(StandIn())]
    monkeypatch.setattr(Here, "close", lambda self: Late.ended.set())
    monkeypatch.setattr(describing, "make_describers", lambda *_: describers)
    with pytest.raises(LostConnectionError):
        build_corpus(videos, StandIn(), tmp_path, shard_size=1, num_workers=2)
    assert not [*tmp_path.rglob("*.unfinished")]


def test_a_folder_of_parquet_or_tar_is_read_as_on_the_hub(tmp_path):
    """Parquet of plain bytes; and in whichever order videos are asked for, in another process too."""
    contents = [bytes([65 + number]) * 5000 for number in range(7)]
    for name in ("parquet", "tar"):
        (tmp_path / name).mkdir()
    table = pa.table({"mp4": contents, "text": ["x"] * 7})
    pq.write_table(table, tmp_path / "parquet" / "train.parquet", row_group_size=3)
    with tarfile.open(tmp_path / "tar" / "train.tar", "w") as archive:
        for number, content in enumerate(contents):
            (tmp_path / f"{number}.mp4").write_bytes(content)
            archive.add(tmp_path / f"{number}.mp4", arcname=f"clips/{number}.mp4")
    for name, column in {"parquet": "mp4", "tar": None}.items():
        videos = [*streamed_videos(str(tmp_path / name), tmp_path / "out", column=column).values()]
        assert len(videos) == 7 and all(isinstance(video, HeldVideo) for video in videos)
        videos = pickle.loads(pickle.dumps(videos))  # as an engine sends them to its jobs
        for number in (0, 1, 1, 2, 6, 4, 3, 5, 0):
            assert videos[number].fetch().read_bytes() == contents[number]
            videos[number].drop()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"mp4": ["a.mp4"]}, "Column 'mp4' of .*train-1.parquet holds string; allowed are bytes"),
        ({"mp4": [{"path": "a.mp4"}]}, "Column 'mp4' of .*train-1.parquet holds struct<path: string>; allowed"),
        ({"film": [b"1"]}, "train-1.parquet has no column 'mp4'; its columns are film"),
        ({"mp4": [b"1"], "n": [1]}, "train-1.parquet has no column 'said'; its columns are mp4, n"),
    ],
)
def test_a_column_of_no_bytes_is_a_sentence(tmp_path, columns, sentence):
    """Found when videos are listed, also in the second file, and not as a fault of ours in the midst of the work."""
    pq.write_table(pa.table({"mp4": [b"1"], "said": [None]}), tmp_path / "train-0.parquet")
    pq.write_table(pa.table(columns), tmp_path / "train-1.parquet")
    given = {"captions": "said"} if "n" in columns else {}
    with pytest.raises(ValueError, match=sentence):
        streamed_videos(str(tmp_path), tmp_path, column="mp4", **given)


def test_of_several_configurations_one_is_named(tmp_path):
    """What `datasets` says in several lines is one, which tells what there is."""
    for name in "ab":
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"mp4": [b"1"]}), tmp_path / name / "train.parquet")
    configs = "".join(f"- config_name: {name}\n  data_dir: {name}\n" for name in "ab")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert len(streamed_videos(str(tmp_path), tmp_path, column="mp4", config="b")) == 1
    with pytest.raises(ValueError, match=r"cannot be opened as a data set: [^\n]*'a', 'b'\]$"):
        streamed_videos(str(tmp_path), tmp_path)
    with pytest.raises(ValueError, match="nowhere cannot be opened as a data set: "):
        streamed_videos(str(tmp_path / "nowhere"), tmp_path)


def test_damage_in_the_midst_is_of_its_rows_alone(tmp_path):
    """Rows in other row groups are read, before it and after it."""
    contents = [bytes([65 + number]) * 200_000 for number in range(6)]
    (tmp_path / "parquet").mkdir()
    path = tmp_path / "parquet" / "train.parquet"
    pq.write_table(pa.table({"mp4": contents}), path, row_group_size=2, compression=None, use_dictionary=False)
    begin = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    damaged = path.read_bytes()
    path.write_bytes(damaged[:begin] + b"\xff" * 50 + damaged[begin + 50 :])
    videos = [*streamed_videos(str(path.parent), tmp_path / "out", column="mp4").values()]
    assert [video.fetch().read_bytes() for video in videos[:2] + videos[4:]] == contents[:2] + contents[4:]
    for video in videos[2:4]:
        with pytest.raises(NoVideoError, match="train.parquet, row group 1, row .: the Parquet file is damaged"):
            video.fetch()


def zipped(folder, contents, packing=zipfile.ZIP_DEFLATED):
    """A data set of one archive; by name its videos."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "train.zip", "w", packing) as archive:
        for name, content in contents.items():
            archive.writestr(f"in/{name}.mp4", content)
    found = streamed_videos(str(folder), folder.parent / "out")
    return {name.rpartition("/")[2]: video for name, video in found.items()}


def refused(video):
    with pytest.raises(NoVideoError) as told:
        video.fetch()
    return str(told.value).partition("mp4: ")[2]


def test_members_of_zip_archives(tmp_path):
    """Their bytes, stored and packed, large and small, whatever order they are asked for."""
    random = np.random.default_rng(0)
    contents = {"a": random.bytes(3_000_000), "b": b"", "c": b"c" * 90 + random.bytes(90)}
    for name, packing in {"stored": zipfile.ZIP_STORED, "packed": zipfile.ZIP_DEFLATED}.items():
        videos = zipped(tmp_path / name, contents, packing)
        assert {one: videos[one].fetch().read_bytes() for one in "cab"} == contents
        for video in videos.values():
            video.drop()


def test_hostile_zip_archives(tmp_path):
    """What is packed to burst, whatever it tells of that, encrypted, packed in another way, damaged, or holds less
    than it tells of, is an error of its row; what lies beside it is read."""
    tight = "it is packed more tightly than a video can be; allowed are 100 bytes in one"
    videos = zipped(tmp_path / "bomb", {"bomb": bytes(10_000_000), "good": b"good"})
    assert refused(videos["bomb"]) == tight
    videos["bomb"].info.compress_size = 5_000_000  # it may tell what it likes
    assert refused(videos["bomb"]) == tight
    assert videos["good"].fetch().read_bytes() == b"good"
    video = zipped(tmp_path / "lzma", {"a": b"a"}, zipfile.ZIP_LZMA)["a"]
    assert refused(video) == "it is packed by method 14; allowed are 0 and 8"
    content = np.random.default_rng(0).bytes(5000)
    for change, sentence in {
        "flag_bits": "it is encrypted",
        "file_size": "the archive holds 5000 bytes of its 5001",
        "header_offset": "the archive has no such member in its place",
    }.items():
        video = zipped(tmp_path / change, {"a": content})["a"]
        setattr(video.info, change, getattr(video.info, change) + 1)
        assert refused(video) == sentence
    video = zipped(tmp_path / "liar", {"a": b"abc" * 50})["a"]
    video.info.file_size = 10  # no more is unpacked than that
    assert video.fetch().read_bytes() == b"abcabcabca"
    video = zipped(tmp_path / "damaged", {"a": content[:200] * 3})["a"]
    path = tmp_path / "damaged" / "train.zip"
    path.write_bytes(path.read_bytes()[:60] + b"\xff" * 50 + path.read_bytes()[110:])
    assert refused(video).startswith("the archive ")


def test_what_stands_behind_a_packed_stream_is_not_read(tmp_path):
    """Its end is its end: megabytes behind it are neither kept nor asked for."""
    video = zipped(tmp_path / "long", {"a": b"a" * 50, "b": np.random.default_rng(0).bytes(3 * CHUNK)})["a"]
    video.info.compress_size, video.info.file_size, asked = 3 * CHUNK, 100, []

    class Source:
        def read(self, count):
            asked.append(count)
            return zlib.compress(b"a" * 50, wbits=-15) + bytes(count)

    assert b"".join(video._unpacked(Source())) == b"a" * 50 and asked == [CHUNK]


def test_members_outside_of_the_archive_or_in_one_another(tmp_path):
    """Where an archive tells that a member lies, another lies, or nothing does: it is none of the data set's, and
    neither is all of an archive that needs a newer program."""
    contents = {name: name.encode() * 3000 for name in "abc"}
    zipped(tmp_path / "set", contents, zipfile.ZIP_STORED)
    path = tmp_path / "set" / "train.zip"
    whole = path.read_bytes()
    listed = [place for place in range(len(whole)) if whole[place : place + 4] == b"PK\1\2"]
    for place, offset in {listed[1]: 0, listed[2]: 2**31}.items():  # b lies where a does, c nowhere
        whole = whole[: place + 42] + struct.pack("<I", offset) + whole[place + 46 :]
    path.write_bytes(whole)
    found = streamed_videos(str(tmp_path / "set"), tmp_path / "out")
    kept = {name: video for name, video in found.items() if name.startswith("train.zip")}
    assert [*kept] == ["train.zip/in/b"] and len(found) == 3
    assert kept["train.zip/in/b"].fetch().read_bytes() == contents["a"]
    for video in set(found.values()) - set(kept.values()):
        with pytest.raises(NoVideoError, match="is no file of the data set"):
            video.fetch()
    for broken in (whole[: listed[0] + 6] + b"\x63" + whole[listed[0] + 7 :], b"PK no archive"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="cannot be opened as a data set"):
            streamed_videos(str(tmp_path / "set"), tmp_path / "out")


def test_rows_tell_paths_from_the_data_set_on(tmp_path):
    """In JSON lines, which know nothing of videos, however a path is written; one that leads out, that no file can
    have, or that is no video's is an error of its row."""
    (tmp_path / "set" / "films").mkdir(parents=True)
    (tmp_path / "set" / "films" / "a.mp4").write_bytes(b"a")
    (tmp_path / "set" / "round.mp4").symlink_to("round.mp4")
    (tmp_path / "out.mp4").write_bytes(b"out")
    told = ["films/a.mp4", "./films//a.mp4", "../out.mp4", str(tmp_path / "out.mp4"), "zip://a.mp4::../out.mp4"]
    told += [f"zip://a.mp4::{tmp_path}/set/train.jsonl", "a\0b.mp4", ".", "./", "round.mp4", "file://out.mp4"]
    (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps({"film": one}) + "\n" for one in told))
    found = streamed_videos(str(tmp_path / "set"), tmp_path / "x", column="film")
    assert found["films/a"] == tmp_path / "set" / "films" / "a.mp4"
    others = [video for name, video in found.items() if name != "films/a"]
    assert len(others) == len(told) - 2
    for video in others:
        with pytest.raises(NoVideoError, match="is no file of the data set"):
            video.fetch()


def test_captions_are_what_is_said(tmp_path):
    """In the forms in which data sets hold them, as Parquet, on disk and beside files, which stay where they lie,
    and of one file in several rows; a text is never taken for a file's name."""
    said = [{"text": "cut it.", "start": 0.5, "end": 1.0}]
    (tmp_path / "parquet").mkdir()
    for number, (told, expected) in enumerate(
        {
            "list": ([said, None, []], [said, None, []]),
            "columns": ([{name: [said[0][name]] for name in said[0]}] * 3, [said] * 3),
            "text": (["/etc/hostname", "", None], [["/etc/hostname"], [""], None]),
        }.values()
    ):
        path = tmp_path / "parquet" / "train.parquet"
        pq.write_table(pa.table({"mp4": [b"a", b"b", b"c"], "said": told, "n": [number] * 3}), path)
        found = streamed_videos(str(path.parent), tmp_path, column="mp4", captions="said")
        assert [video.captions for video in found.values()] == expected
    clips = [{"bytes": b"a", "path": "a.mp4"}, {"bytes": b"b", "path": "b.mp4"}]
    data = Dataset.from_dict({"clip": clips, "said": [said, None]}).cast_column("clip", Video())
    found = dataset_videos(data, tmp_path, captions="said")
    assert [video.captions for video in found.values()] == [said, None]
    assert found["000000_a"].fetch().read_bytes() == b"a" and not found["000000_a"].drop()
    paths = [tmp_path / "files" / "train" / f"{name}.mp4" for name in "ab"]
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        path.write_text(path.name)
    lines = [json.dumps({"file_name": path.name, "said": said if path is paths[0] else None}) for path in paths]
    (paths[0].parent / "metadata.jsonl").write_text("\n".join(lines))
    files = streamed_videos(str(tmp_path / "files"), tmp_path, captions="said")
    rows = Dataset.from_dict({"clip": [*map(str, paths)], "said": [said, None]}).cast_column("clip", Video())
    for found in (files, dataset_videos(rows, tmp_path, captions="said")):
        (first, second), file = found.values(), paths[0]
        assert (first.captions, first.fetch(), second) == (said, file, paths[1]) and not first.drop()
        assert file.exists() and stamp_of(first) == stamp_of(file) and digest_of_video(first, False)
    more = [{"text": "stir.", "start": 2.0, "end": 3.0}]
    lines = [json.dumps({"file_name": "a.mp4", "said": told}) for told in (said, said, more)]
    (paths[0].parent / "metadata.jsonl").write_text("\n".join(lines))
    rows = Dataset.from_dict({"clip": [str(paths[0])] * 3, "said": [said, said, more]}).cast_column("clip", Video())
    files = streamed_videos(str(tmp_path / "files"), tmp_path, captions="said")
    for found in (files, dataset_videos(rows, tmp_path, captions="said")):
        assert [video.captions for video in found.values()] == [said + more]
    with pytest.raises(ValueError, match="no column 'words'; its columns are clip, said"):
        dataset_videos(data, tmp_path, captions="words")
