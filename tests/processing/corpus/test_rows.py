"""Protects rows from being mixed: of one length of clips, of one codebook, and of the processor's."""

from types import SimpleNamespace

import pytest
from datasets import Dataset
from support.stand_in import StandIn, videos

from processing.corpus import build_corpus, check_rows, read_rows


def made(*values):
    return [
        {"video_id": f"v{number}", "clip_seconds": seconds, "codebook": codebook, "visual_ids": [0]}
        for number, (seconds, codebook) in enumerate(values)
    ]


def processor(clip_seconds, fingerprint):
    codebook = None if fingerprint is None else SimpleNamespace(fingerprint=fingerprint)
    return SimpleNamespace(codebook=codebook, video_processor=SimpleNamespace(clip_seconds=clip_seconds))


@pytest.mark.parametrize("kind", [list, Dataset.from_list])
def test_rows_that_belong_together(kind):
    """Dataset or list: the length of their clips comes back."""
    rows = kind(made((3.0, "abc"), (3.0, "abc")))
    assert check_rows(rows) == check_rows(rows, processor(3.0, "abc")) == 3.0


@pytest.mark.parametrize("kind", [list, Dataset.from_list])
@pytest.mark.parametrize(
    ("values", "given", "sentence"),
    [
        ([(1.5, "a"), (1.5, "a"), (3.0, "a")], None, "different clip_seconds .* v0 has 1.5 and v2 has 3.0"),
        ([(1.5, "a"), (1.5, "b")], None, "different codebook .* v0 has a… and v1 has b…"),
        ([(1.5, "a")], (3.0, "a"), "rows have clip_seconds 1.5 and the processor has 3.0; give the processor that"),
        ([(1.5, "a" * 64)], (1.5, "b" * 64), "rows have codebook aaaaaaaaaaaa… and the processor has bbbbbbbbbbbb…;"),
        ([(1.5, "a")], (1.5, None), "The processor has no codebook"),
        ([], None, "There are no rows"),
    ],
)
def test_rows_that_do_not_are_refused_in_a_sentence(kind, values, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_rows(kind(made(*values)), None if given is None else processor(*given))


@pytest.mark.parametrize("column", ["clip_seconds", "codebook"])
def test_rows_that_do_not_tell_say_so(column):
    rows = made((1.5, "a"), (1.5, "a"))
    del rows[1][column]
    for wrong in (rows, Dataset.from_list(made((1.5, "a"))).remove_columns(column)):
        with pytest.raises(ValueError, match=f"The rows have no '{column}', which tells what they were made with"):
            check_rows(wrong)


def test_rows_of_a_build_fit_its_processor_and_no_other(tmp_path):
    """Rows of a codebook of 2 leaves trained silently with a processor whose codebook has 3."""
    one, other = StandIn(), StandIn()
    rows = build_corpus(videos(5), one, tmp_path / "one", levels=1, branches=2)
    build_corpus(videos(5), other, tmp_path / "other", levels=1, branches=3)
    assert check_rows(rows, one) == check_rows(read_rows(tmp_path / "one" / "ids"), one) == 1.5
    with pytest.raises(ValueError, match="give the processor that the rows were made with"):
        check_rows(rows, other)


def test_a_damaged_file_of_rows_is_named(tmp_path):
    build_corpus(videos(5), StandIn(), tmp_path, levels=1, branches=2)
    (path,) = (tmp_path / "ids").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read as a Parquet file"):
        read_rows(tmp_path / "ids")


@pytest.mark.parametrize("name", ["dataset_info.json", "state.json", "*.arrow"])
def test_damaged_rows_are_named(tmp_path, name):
    """The libraries tell a line and a column, or a number of bytes, but not of which of a user's folders."""
    Dataset.from_list(made((1.5, "a"))).save_to_disk(tmp_path / "rows")
    (path,) = (tmp_path / "rows").glob(name)
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(ValueError, match="rows is damaged: it is no saved datasets.Dataset"):
        read_rows(tmp_path / "rows")
