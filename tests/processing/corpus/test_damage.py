"""Protects a build from what it may meet: videos that break the code, names, damaged files, killed runs."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from support.stand_in import StandIn, videos
from support.tiny_rows import tiny_processor

from processing.codebook import fit_codebook
from processing.codebook.saving import is_saved, load_codebook, save_codebook
from processing.codebook.whole_files import remove_unfinished, unfinished_folder
from processing.codebook_videobert import VisualCodebook
from processing.corpus import build_corpus, encode_rows
from processing.corpus.describing import extract_features
from processing.corpus.settings import check_settings

ROOT = Path(__file__).resolve().parents[3]


class Breaking(StandIn):
    """Raises what nobody foresaw at some videos, and with them at every lot that they are in."""

    def __init__(self, *bad, error=None):
        super().__init__()
        self.bad, self.error = bad, error or ZeroDivisionError("float division by zero")

    def row(self, name):
        if name in self.bad:
            raise self.error
        return super().row(name)


def test_one_bad_video_does_not_end_the_build(tmp_path, caplog):
    """Its lot is described one by one: all others have their rows, it has an error, and the log its traceback."""
    logging.getLogger("transformers").propagate = True
    for _ in range(2):  # at every rerun it is tried again
        rows = build_corpus(videos(6), Breaking("v2"), tmp_path, levels=1, branches=3, shard_size=4)
        assert [len(ids) for ids in rows["visual_ids"]] == [0, 1, 0, 3, 4, 5]
        assert rows[2]["error"] == "v2: ZeroDivisionError: float division by zero" and rows[2]["duration"] is None
        assert (
            rows[2]["clip_seconds"] == 1.5 and [row["error"] for row in rows if row["video_id"] > "v2"] == [None] * 3
        )
    assert (
        "v2 cannot be described." in caplog.text and "Traceback" in caplog.text and "raise self.error" in caplog.text
    )


def test_a_fault_that_every_video_meets_is_raised(tmp_path):
    """A network that cannot be loaded is no fault of the videos, none of which becomes an error row."""
    error = OSError("models/eyes is not a folder")
    with pytest.raises(OSError, match="models/eyes is not a folder"):
        build_corpus(videos(4), Breaking(*videos(4), error=error), tmp_path)
    assert not list((tmp_path / "features").glob("*.parquet"))
    # Of bad ones that are tried again, all may fail.
    extract_features(videos(4), Breaking("v1", "v2"), tmp_path / "features")
    extract_features(videos(4), Breaking("v0", "v1", "v2"), tmp_path / "features")


def test_the_first_error_is_told_where_nothing_can_be_fitted(tmp_path):
    with pytest.raises(
        ValueError, match="None of 1 videos gave a feature .* The first error: v0: not a readable video"
    ):
        build_corpus(videos(1), StandIn(), tmp_path)


def test_names_and_errors_that_are_not_utf8_are_rows(tmp_path):
    """As Python reads a file name in Latin-1: a surrogate, at which the shard, with all of its videos, was lost."""
    processor = StandIn()
    processor.row = lambda name: {
        **StandIn().row("v3"),
        "video_id": name,
        "sentences": [{"text": "caf\udce9", "start": 0.0, "end": 1.0}],
        "error": f"{name}: cut" if "caf" in name else None,
    }
    for _ in range(2):
        given = {"caf\udce9": "caf\udce9.mp4", "b": "b.mp4"}
        rows = build_corpus(given, processor, tmp_path, levels=1, branches=3, subtitles={"caf\udce9": "a.srt"})
        assert processor.given[0] == "a.srt"
        assert rows["video_id"][:] == ["caf\\udce9", "b"] and rows["error"][:] == ["caf\\udce9: cut", None]
        assert rows[0]["sentences"][0]["text"] == "caf\\udce9"


def changed(path, place):
    """One bit of a file is another."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def end_of(path, name):
    """Where the values of a column of a shard end."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    (column,) = (c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.split(".")[0] == name)
    return (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size


@pytest.mark.parametrize("damage", ["cut", "bit"])
def test_a_damaged_shard_is_named_and_made_again(tmp_path, caplog, damage):
    """Whether its end is missing or a bit of a feature is another, which is noticed where features are read: its
    videos are described again, no others, and rows, ids and codebook are as they were."""
    logging.getLogger("transformers").propagate = True
    given = {name: path for name, path in videos(6).items() if name != "v0"}
    before = build_corpus(given, StandIn(), tmp_path, levels=1, branches=3, shard_size=3)
    path = next(path for path in (tmp_path / "features").glob("*.parquet") if "v2" in str(pq.read_table(path)))
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-40])
    else:
        changed(path, end_of(path, "features") - 3)
    (tmp_path / "codebook" / "config.json").unlink()
    again = StandIn()
    after = build_corpus(given, again, tmp_path, levels=1, branches=3, shard_size=3)
    assert again.asked == ["v1", "v2", "v3"] and after.to_list() == before.to_list()
    assert f"{path} " in caplog.text and "are described again" in caplog.text
    assert path.read_bytes() == whole and path.with_suffix(".damaged").exists()


def test_what_the_system_refuses_is_no_damage(tmp_path, monkeypatch):
    """A shard that may not be read is not put aside."""
    build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(ValueError, match="Permission denied"):
        build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)
    assert len([*(tmp_path / "features").glob("*.parquet")]) == 1


def test_two_builds_into_one_folder_are_refused(tmp_path):
    """The second is told at once; a lock that a killed run held is free."""
    script = LOCKER.format(here=str(ROOT / "processing" / "codebook"), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "at work\n"
        with pytest.raises(ValueError, match=f"Another run is at work in {tmp_path}; wait until it has ended"):
            build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)
        first.kill()
    build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)


LOCKER = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from whole_files import only_one
with only_one(Path({folder!r})):
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("damage", ["cut", "empty", "bit"])
def test_damaged_ids_are_written_again(tmp_path, damage):
    """They come from features and codebook, which are there; nobody needs to delete anything."""
    before = build_corpus(videos(6), StandIn(), tmp_path, levels=1, branches=3)
    (path,) = (tmp_path / "ids").glob("*.parquet")
    if damage == "bit":
        changed(path, end_of(path, "visual_ids") - 1)
    else:
        path.write_bytes(path.read_bytes()[: -40 if damage == "cut" else 0])
    assert build_corpus(videos(6), StandIn(), tmp_path, levels=1, branches=3).to_list() == before.to_list()


def test_broken_settings_are_named(tmp_path):
    extract_features(videos(2), StandIn(), tmp_path)
    for broken in ('{"fps": 2', "[]", ""):
        (tmp_path / "settings.json").write_text(broken)
        with pytest.raises(ValueError, match="settings.json is damaged"):
            extract_features(videos(2), StandIn(), tmp_path)


def test_weights_that_moved_are_the_same(tmp_path):
    """They are known by their content: another folder of the same is fine, the same folder of others is refused."""
    (tmp_path / "corpus").mkdir()
    processor, folder = StandIn(), tmp_path / "eyes"
    folder.mkdir()
    save_file({"weight": torch.ones(3)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    processor.backbone = str(folder)
    check_settings(tmp_path / "corpus", processor, None)
    noted = json.loads((tmp_path / "corpus" / "settings.json").read_text())
    assert noted["backbone"] == "eyes" and str(tmp_path) not in json.dumps(noted)
    processor.backbone = f"{folder.rename(tmp_path / 'moved')}"
    check_settings(tmp_path / "corpus", processor, None)
    processor.backbone += "+torchvision/s3d"
    with pytest.raises(ValueError, match="begun with other weights of backbone"):
        check_settings(tmp_path / "corpus", processor, None)
    processor.backbone = str(tmp_path / "moved")
    save_file({"weight": torch.zeros(3)}, tmp_path / "moved" / "model.safetensors")
    with pytest.raises(ValueError, match="begun with other weights of backbone 'moved'"):
        check_settings(tmp_path / "corpus", processor, None)


# --- codebooks -------------------------------------------------------------------------------------------------------


def made(branches):
    return fit_codebook(np.random.default_rng(0).normal(size=(40, 6)), 1, branches, progress=False)


def test_a_codebook_that_is_replaced_is_whole_or_absent(tmp_path, monkeypatch):
    """Killed at any file: never the weights of one beside the shape of the other, and no frames of the first."""
    first, second, replace = made(3), made(4), os.replace
    first.set_frames({0: torch.zeros(3, 8, 8, dtype=torch.uint8)})
    for killed_at in range(4):
        moved = []

        def killing(source, target, killed_at=killed_at, moved=moved):
            moved.append(target)
            if len(moved) > killed_at + 1:  # the first one is the record, inside the unfinished folder
                raise KeyboardInterrupt
            replace(source, target)

        folder = tmp_path / str(killed_at)
        save_codebook(first, folder, {"seed": 1})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", killing)
            save_codebook(second, folder, {"seed": 2})
            raise KeyboardInterrupt
        if is_saved(folder):
            assert load_codebook(folder).fingerprint == second.fingerprint
        save_codebook(second, folder)
        assert load_codebook(folder).frame(0) is None and not list(folder.glob("*.unfinished"))


@pytest.mark.parametrize("damage", ["cut", "bit"])
def test_a_damaged_codebook_is_named(tmp_path, damage):
    save_codebook(made(3), tmp_path)
    path = tmp_path / "model.safetensors"
    if damage == "bit":
        changed(path, -20)
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"The codebook in {tmp_path} is damaged"):
        load_codebook(tmp_path)


# --- what killed runs leave ------------------------------------------------------------------------------------------

WRITER = """
import os, sys, time
sys.path.insert(0, {here!r})  # the module alone: the package takes seconds
from pathlib import Path
from whole_files import unfinished_folder
with unfinished_folder(Path({folder!r})) as path:
    (path / "half").write_text("half")
    print("at work", flush=True)
    time.sleep(60)
"""


def test_what_killed_runs_left_is_removed_and_what_is_written_stays(tmp_path):
    """The lock of a living writer tells them apart, at once and on every rerun."""
    script = WRITER.format(here=str(ROOT / "processing" / "codebook"), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "at work\n"
        with unfinished_folder(tmp_path) as own:
            (left,) = set(tmp_path.glob("*.unfinished")) - {own}
            remove_unfinished(tmp_path)
            assert (left / "half").exists() and own.exists()
            writer.kill()
            writer.wait()
            remove_unfinished(tmp_path)
            assert not left.exists() and own.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["features", "ids", "codebook", "."])
def test_a_build_removes_litter(tmp_path, place):
    build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)
    litter = tmp_path / place / "tmp123.unfinished"
    litter.mkdir()
    (litter / "0.parquet").write_bytes(b"half")
    (tmp_path / "codebook" / "config.json").unlink()
    build_corpus(videos(4), StandIn(), tmp_path, levels=1, branches=3)
    assert not litter.exists()


# --- another codebook ------------------------------------------------------------------------------------------------


def test_a_refitted_codebook_gives_rows_of_its_own(tmp_path):
    """Refit, then rows with new ids, by building with that codebook: what was described is not described again."""
    first, second = StandIn(), StandIn()
    before = build_corpus(videos(6), first, tmp_path, levels=1, branches=3)
    save_codebook(made(4), tmp_path / "refitted")
    second.add_codebook(VisualCodebook.from_pretrained(tmp_path / "refitted"))
    after = build_corpus(videos(6), second, tmp_path)
    assert second.asked == ["v0"]  # which had failed
    assert set(after["codebook"]) == {second.codebook.fingerprint} != set(before["codebook"])
    features = StandIn().row("v5")["features"].astype(np.float16)
    assert after[5]["visual_ids"] == second.codebook.encode(features).tolist()
    # The same without the videos, where only the features are left.
    alone = encode_rows(load_codebook(tmp_path / "refitted"), tmp_path / "features", tmp_path / "ids_alone", videos(6))
    assert alone.to_list() == after.to_list()
    assert after.remove_columns(["visual_ids", "codebook"]).to_list() == (
        before.remove_columns(["visual_ids", "codebook"]).to_list()
    )


@pytest.mark.parametrize("branches", [2, 30])
def test_a_processor_takes_another_codebook(branches):
    """Fewer or more visual ids in the place of the old ones, while words and special tokens stay: it was refused."""
    processor = tiny_processor()
    words, offset = processor.tokenizer("now cut the lemon.")["input_ids"], processor.visual_token_offset
    features = np.random.default_rng(0).normal(size=(40, 24))
    processor.add_codebook(fit_codebook(features, 1, branches, progress=False))
    assert processor.tokenizer("now cut the lemon.")["input_ids"] == words and processor.visual_token_offset == offset
    assert len(processor.tokenizer) == offset + branches
    assert processor(text="cut", videos=[1])["input_ids"][0].tolist()[-2] == offset + 1
