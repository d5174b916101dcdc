"""Protects where a protocol's videos come from: each kind of folder, ids as they are spelled, and what is missing."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tiny_rows import row, tiny_processor

from processing.corpus.stills import Still
from processing.evaluation.protocols.published import PUBLISHED, Published
from processing.evaluation.protocols.sources import (
    gather_source,
    match_ids,
    missing_videos,
    steps_of_rows,
    steps_of_stills,
    write_missing,
)
from processing.evaluation.protocols.table import protocol_table


def step(video_id, start, end, **more):
    return {"video_id": video_id, "subset": "validation", "start": start, "end": end, "sentence": "cut it", **more}


def test_ids_are_found_in_names():
    found = {"205/v_FHvZgt3ExDI": 1, "GLd3aX16zBg": 2, "other": 3, "again/GLd3aX16zBg": 4}
    assert match_ids(found, ["FHvZgt3ExDI", "GLd3aX16zBg", "gone"]) == {"FHvZgt3ExDI": 1, "GLd3aX16zBg": 2}


def test_steps_get_the_clips_whose_middle_lies_in_them():
    rows = [{"video_id": "a", "clip_seconds": 1.5, "visual_ids": [5, 6, 7, 8]}, {"video_id": "b", "visual_ids": []}]
    found = steps_of_rows(rows, [step("a", 1.5, 4.5), step("a", 50, 60), step("b", 0, 9), step("c", 0, 9)])
    # A step outside its video stays and has nothing to see; a video without clips is missing as a whole.
    assert [(one["video_id"], one["visual_ids"]) for one in found] == [("a", [6, 7]), ("a", [])]


def test_a_still_is_shown_for_the_steps_that_it_stands_for():
    stills = {"a": [Still(None, 10, 20), Still(None, 40, 50)]}
    rows = [{"video_id": "a", "visual_ids": [3, 4]}]
    found = steps_of_stills(rows, stills, [step("a", 10, 20), step("a", 20, 40), step("a", 0, 99), step("b", 0, 9)])
    assert [one["visual_ids"] for one in found] == [[3], [3, 4]]


def test_missing_videos_say_why(tmp_path):
    rows = [
        {"video_id": "a", "visual_ids": [1], "error": "half of it is damaged"},
        {"video_id": "b", "visual_ids": [], "error": "b.mp4 cannot be read"},
        {"video_id": "c", "visual_ids": [], "error": None},
    ]
    missing = missing_videos(["a", "b", "c", "d"], rows)
    assert missing == {"b": "b.mp4 cannot be read", "c": "it has no clips", "d": "it is not there"}
    write_missing(missing, tmp_path / "missing.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "missing.jsonl").read_text().splitlines()]
    assert lines[0] == {"video_id": "b", "reason": "b.mp4 cannot be read"} and len(lines) == 3


def test_rows_must_be_of_the_model(tmp_path):
    processor = tiny_processor()
    own = row("v_FHvZgt3ExDI", [], 4) | {"codebook": processor.codebook.fingerprint}
    pq.write_table(pa.Table.from_pylist([own]), tmp_path / "rows.parquet")
    source = gather_source(str(tmp_path), processor, [step("FHvZgt3ExDI", 0, 3)], tmp_path / "work")
    assert source.segments[0]["visual_ids"] == own["visual_ids"][:2] and not source.missing
    pq.write_table(pa.Table.from_pylist([own | {"codebook": "another"}]), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="The rows have codebook another"):
        gather_source(str(tmp_path), processor, [step("FHvZgt3ExDI", 0, 3)], tmp_path / "work")


def test_a_folder_of_features(tmp_path):
    """Of all that is there only what is asked for becomes rows; bad files are missing videos."""
    processor, folder = tiny_processor(), tmp_path / "features"
    folder.mkdir()
    good = np.random.default_rng(0).normal(size=(4, 24)).astype(np.float16)
    np.save(folder / "a.npy", good)
    np.save(folder / "not_asked.npy", good)
    (folder / "b.npy").write_bytes(b"")
    steps = [step("a", 0, 3), step("b", 0, 3), step("c", 0, 3)]
    source = gather_source(str(folder), processor, steps, tmp_path / "work")
    assert [one["video_id"] for one in source.rows] == ["a", "b"]
    assert source.segments[0]["visual_ids"] == processor.codebook.encode(good[:2].astype(np.float32)).tolist()
    assert "b.npy cannot be read" in source.missing["b"] and source.missing["c"] == "it is not there"


def test_nothing_of_all_that(tmp_path):
    with pytest.raises(ValueError, match="holds no features"):
        gather_source(str(tmp_path), tiny_processor(), [step("a", 0, 3)], tmp_path / "work")
    with pytest.raises(ValueError, match="neither a folder nor a data set that can be loaded"):
        gather_source("no/such_data", tiny_processor(), [step("a", 0, 3)], tmp_path / "work")


def test_every_published_figure_has_its_source():
    for rows in PUBLISHED.values():
        for one in rows:
            assert "arXiv:" in one.source and one.figures and all(value >= 0 for value in one.figures.values())
    paper = {one.model: one.figures for one in PUBLISHED["youcook2 actions"]}
    assert list(paper["VideoBERT, cross-modal"].values()) == [3.2, 43.3, 13.1, 33.7]


def test_the_table_keeps_ours_and_theirs_apart():
    figures = {"verb_top1": 0.5, "verb_top1_low": 0.25, "verb_top1_high": 0.751, "verb_top1_chance": 0.1}
    published = [Published("X", {"verb_top1": 3.2}, "paper A"), Published("Y", {"other": 1}, "paper B")]
    lines = protocol_table(figures, ["verb_top1", "object_top1"], published).splitlines()
    assert lines[0] == "| | verb top-1 | object top-1 |"
    assert "| true video | 50.0 (25.0–75.1) | – |" in lines and "| chance among the classes | 10.0 | – |" in lines
    assert (
        "| X [1] | 3.2 | – |" in lines
        and "| Y [2] | – | – |" in lines
        and lines[-2:] == ["[1] paper A", "[2] paper B"]
    )
