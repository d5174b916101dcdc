"""Protects the card of a corpus: how much there is and what went wrong, counted by hand, and how it is used."""

import datasets
import pytest
from huggingface_hub import DatasetCard
from support.tiny_rows import row

from processing.corpus.card import size_category, without_folders, write_corpus_card
from processing.corpus.counts import count_kinds, count_rows, kind_of
from processing.corpus.rows import ROW_FEATURES

ROWS = [
    row("a", [("cut the lemon", 0, 1), ("stir", 2, 3)], 4),
    row(
        "b", [], 2, first_id=1, error="b.mp4: the video is damaged at 3.5 s; b.mp4: the sound (FFmpeg (x): 3) is lost"
    ),
    row("sub/c", [("peel it", 0, 2)], 0, error="sub/c.mp4: the video is damaged at 41 s"),
    row("d", [], 0, error="d.avi: the file is empty"),
]
ROWS = [one | {"codebook": "f" * 64} for one in ROWS]


def test_counts_are_those_of_the_rows():
    """a: 4 clips of ids 0 to 3, b: 2 of ids 1 and 2; 6 s and 3 s; six words in three sentences."""
    expected = {"videos": 4, "clips": 6, "sentences": 3, "words": 6, "with_speech": 2, "with_error": 3}
    assert count_rows(ROWS) == expected | {"hours": 0.0, "visual_ids": 4}
    assert count_rows([ROWS[0] | {"duration": 5400.0}, ROWS[1] | {"duration": None}])["hours"] == 1.5


def test_errors_are_counted_by_kind():
    """Whatever the file is called and whatever numbers its fault has, it is one kind; two faults are two."""
    assert count_kinds(ROWS, "error") == {
        "the video is damaged at N s": 2,
        "the file is empty": 1,
        "the sound is lost": 1,
    }
    assert count_kinds(ROWS, "notes") == {}
    assert kind_of("x 1.mp4: frames of 4096 x 2,160 exceed the 100 pixels allowed") == (
        "frames of N x N exceed the N pixels allowed"
    )


def test_the_card_tells_how_many_visual_ids_a_clip_has(tmp_path):
    """Wherever it speaks of them."""
    rows = datasets.Dataset.from_list([one | {"tokens_per_clip": 2} for one in ROWS])
    write_corpus_card(tmp_path, {"train": rows}, {}, "me/rows")
    text = (tmp_path / "README.md").read_text()
    assert "and 2 visual ids for each clip of 1.5 s" in text and "one visual id" not in text
    assert "| `visual_ids` | 2 visual ids a clip |\n| `tokens_per_clip` | how many" in text


def test_the_card_tells_what_was_made_and_states_no_licence_of_its_own(tmp_path):
    """The Hub reads splits and sizes of it; the licence is the user's to know."""
    splits = {"train": datasets.Dataset.from_list(ROWS[:3]), "test": datasets.Dataset.from_list(ROWS[3:])}
    made = {"asr_model": "openai/whisper-small", "language": None, "fps": 20}
    write_corpus_card(tmp_path, splits, made, "me/rows")
    card = DatasetCard.load(tmp_path / "README.md", repo_type="dataset")
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    assert card.data.configs == [{"config_name": "default", "data_files": files}]
    assert card.data.size_categories == ["n<1K"] and card.data.license is None and card.data.language is None
    for part in (
        "- asr_model: openai/whisper-small\n- fps: 20\n",
        "| videos | 3 | 1 |",
        "| with an error | 2 | 1 |",
        "| the video is damaged at N s | 2 |",
        'load_dataset("me/rows", split="train", streaming=True)',
    ):
        assert part in card.text
    assert "and one visual id for each clip of 1.5 s" in card.text and "tokens_per_clip" not in card.text
    assert "snapshot_download" not in card.text and "The codebook is not here" in card.text
    (tmp_path / "codebook").mkdir()
    write_corpus_card(tmp_path, splits, made, "me/rows", "cc-by-4.0", ["de"])
    card = DatasetCard.load(tmp_path / "README.md", repo_type="dataset")
    assert (card.data.license, card.data.language) == ("cc-by-4.0", ["de"]) and "snapshot_download" in card.text


def test_no_folder_of_somebodys_machine_is_published():
    """An error names the file by the path under which it was found; ids, addresses and all else stay."""
    home = "/home/some one/my videos/"
    told = f"{home}a.mp4: the file is empty; {home}a.mp4: see https://example.org/x/y (1/2)"
    rows = [ROWS[0] | {"error": told, "notes": r"C:/films/a.mp4: 3/4 of it"}, ROWS[2]]
    found = without_folders(datasets.Dataset.from_list(rows, features=ROW_FEATURES))
    assert found["error"] == ["a.mp4: the file is empty; a.mp4: see https://example.org/x/y (1/2)", ROWS[2]["error"]]
    assert found["notes"] == ["a.mp4: 3/4 of it", None] and found[1]["video_id"] == "sub/c"
    assert found.features == ROW_FEATURES


@pytest.mark.parametrize("rows, told", [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (5 * 10**8, "n>100M")])
def test_size_as_the_hub_calls_it(rows, told):
    assert size_category(rows) == told
