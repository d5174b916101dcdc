"""Subtitles instead of sound: the same rows, nothing said twice, nothing invented from a broken file."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing import find_subtitles, read_subtitles
from processing.sentences_videobert import make_sentences, normalize_text
from processing.subtitles_videobert import _json_cues, _said_once

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Cut the lemon.</i>

2
00:00:03,000 --> 00:00:05,000
- Now fry it
for 5 min. until done.
"""

VTT = """WEBVTT
Kind: captions

NOTE not said

intro
00:01.000 --> 00:02.500 align:start position:0%
Cut the lemon.

00:03.000 --> 00:05.000
&gt;&gt; Now fry it
for 5 min. until done.

00:06.000 --> 00:07.000
[Music]
"""

COLUMNS = {
    "text": ["Cut the lemon.", "Now fry it\nfor 5 min. until done."],
    "start": [1.0, 3.0],
    "end": [2.5, 5.0],
}
CSV = 'start,end,text\n1.0,2.5,Cut the lemon.\n3.0,5.0,"Now fry it for 5 min. until done."\n'
SENTENCES = [
    {"text": "Cut the lemon.", "start": 1.0, "end": 2.5},
    {"text": "Now fry it for 5 min. until done.", "start": 3.0, "end": 5.0},
]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.srt", SRT),
        ("a.srt", SRT.replace("\n", "\r\n")),
        ("a.srt", SRT.replace("\n\n", "\n")),  # without the empty line between cues
        ("a.SRT", "\ufeff" + SRT),
        ("a.vtt", VTT),
        ("a.json", json.dumps(COLUMNS)),
        ("a.json", json.dumps({"a": COLUMNS, "b": {"text": ["No."], "start": [0.0], "end": [1.0]}})),
        ("a.json", json.dumps(SENTENCES)),
        ("a.csv", CSV),
        ("a.csv", CSV.replace("fry it for", "fry it\nfor")),  # a line break inside quotes
    ],
)
def test_every_format_gives_the_same_sentences(tmp_path, name, content):
    """One narration in each of the formats, with their tags, notes, positions and marks of speakers."""
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert read_subtitles(tmp_path / name, video_id="a") == SENTENCES


def test_encodings_of_old_files(tmp_path):
    """Subtitles that are not UTF-8 are read as players read them."""
    text = "1\n00:00:01,000 --> 00:00:02,000\nLa crème brûlée.\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        (tmp_path / "a.srt").write_bytes(text.encode(encoding))
        assert [sentence["text"] for sentence in read_subtitles(tmp_path / "a.srt")] == ["La crème brûlée."]


@pytest.mark.parametrize(
    "language, text, encodings",
    [
        ("ru", "Порежьте лимон тонкими ломтиками.", ("cp1251", "koi8-r", "cp866")),
        ("pl", "Pokrój pomidory w cienkie plasterki, dodaj łyżkę oleju.", ("cp1250", "iso8859-2")),
        ("zh", "把番茄切成薄片", ("gbk", "gb18030", "big5")),
        ("ja", "まずトマトを薄く切ります。", ("shift-jis", "euc-jp")),
        ("ko", "먼저 토마토를 얇게 썹니다.", ("cp949",)),
        ("el", "Κόψτε τις ντομάτες σε φέτες.", ("cp1253",)),
        ("he", "חותכים את העגבניות.", ("cp1255",)),
        ("de", "Die Äpfel in dünne Scheiben schneiden.", ("cp1252",)),
    ],
)
def test_old_encodings_of_a_language(tmp_path, language, text, encodings):
    """In the language that is asked for or that the file's name tells, without a guess, hence without a note."""
    cue, text = (
        f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n",
        f"{text.rstrip('。.')}{'。' if text[-1] == '。' else '.'}",
    )
    for encoding in encodings:
        problems = []
        for name, told in (("a.srt", language), (f"a.{language}.srt", "en"), (f"a.{language}.srt", None)):
            (tmp_path / name).write_bytes(cue.encode(encoding, errors="replace"))
            (sentence,) = read_subtitles(tmp_path / name, language=told, problems=problems)
            assert (sentence["text"], problems) == (text, []), (encoding, name)


def test_old_encodings_of_no_known_language(tmp_path):
    """Told by their bytes, which is a guess and noted; what is text in no encoding is refused."""
    problems, notes, path = [], [], tmp_path / "a.srt"
    path.write_bytes("1\n00:00:01,000 --> 00:00:02,000\nНарежьте лимон.\n".encode("cp1251"))
    (sentence,) = read_subtitles(path, problems=problems, notes=notes)
    assert sentence["text"] == "Нарежьте лимон." and not problems
    assert notes == [f"{path}: the subtitles were read as cp1251, judging by their bytes alone"]
    path.write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\n" + bytes(range(128, 256)) * 9)
    with pytest.raises(ValueError, match=r"a\.srt: its encoding is not known; save it as UTF-8"):
        read_subtitles(path)


def test_one_bad_byte_does_not_change_the_others(tmp_path):
    """It is read as it would be in an old file of the language; the rest stays UTF-8."""
    text = "1\n00:00:01,000 --> 00:00:02,000\nCrème brûlée: \xe9gg.\n"
    (tmp_path / "a.srt").write_bytes(text.encode().replace("\xe9g".encode(), b"\xe9g"))
    assert [sentence["text"] for sentence in read_subtitles(tmp_path / "a.srt")] == ["Crème brûlée: égg."]


@pytest.mark.parametrize(
    "content",
    [
        SRT.replace("\n", "\r\r\n"),
        SRT.replace("\n", "\n\n"),  # the same, saved again by a tool that took each \r for a line end
        SRT.replace("\n", "\r"),
        SRT.replace("000\n", "000\n\n").replace("500\n", "500\n\n"),  # between times and text
        SRT.replace("fry it\n", "fry it\n\n \n"),  # inside a cue
        SRT.replace("-->", "->"),
        SRT.replace("-->", "–>"),
        "WEBVTT\n\nfirst\n" + SRT[2:].replace("2\n00", "NOTE no\ncue\n\nsecond\n00").replace(",", "."),
        "WEBVTT\n\n" + SRT[2:].replace("fry it\n", "fry it\n\n").replace(",", "."),
    ],
)
def test_text_belongs_to_its_cue_until_the_next_one(tmp_path, content):
    """Whatever the line ends, wherever blank lines lie, however the arrow is drawn."""
    name = "a.vtt" if content.startswith("WEBVTT") else "a.srt"
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    problems = []
    assert (read_subtitles(tmp_path / name, problems=problems), problems) == (SENTENCES, [])


@pytest.mark.parametrize(
    "text, said",
    [
        ("If x < 10 it is raw, if x > 20 it burns.", "If x < 10 it is raw, if x > 20 it burns."),
        ("Cut it --> fry it -> eat <3 it.", "Cut it --> fry it -> eat <3 it."),
        ("<b>Cut</b> <v Ann>it <c.red>now</c>,<br/><00:01.500> <font color='red'>Bob</font>.", "Cut it now, Bob."),
        ("At <b3 or <italic> it > that.", "At <b3 or <italic> it > that."),
        ("42", "42."),
    ],
)
def test_only_known_tags_are_tags(tmp_path, text, said):
    cues = f"1\n00:00:01,000 --> 00:00:03,000\n{text}\n\n2\n00:00:05,000 --> 00:00:06,000\nDone.\n"
    (tmp_path / "a.srt").write_text(cues)
    assert [sentence["text"] for sentence in read_subtitles(tmp_path / "a.srt")] == [said, "Done."]


def test_a_cue_that_begins_before_the_file_is_cut_there(tmp_path):
    (tmp_path / "a.srt").write_text("1\n-00:00:01,000 --> 00:00:02,000\nCut it.\n")
    problems = []
    assert read_subtitles(tmp_path / "a.srt", problems=problems) == [{"text": "Cut it.", "start": 0.0, "end": 2.0}]
    assert problems == []


def test_captions_that_grow_word_by_word(tmp_path):
    """Each cue shows what the one before it shows, and a word more; a new sentence does not end the growing."""
    edges = [0.85, 1.31, 1.47, 1.69, 2.57, 3.0, 4.0]
    shown = ["Slice", "Slice the", "Slice the lemon.", "Slice the lemon. Then", "Slice the lemon. Then go.", "Go on."]
    columns = {"text": shown, "start": edges[:-1], "end": edges[1:]}
    assert [tuple(sentence.values()) for sentence in read_subtitles_of(columns)] == [
        ("Slice the lemon.", 0.85, 1.69),
        ("Then go.", 1.69, 3.0),
        ("Go on.", 3.0, 4.0),
    ]


def test_one_word_highlighted_a_cue(tmp_path):
    """As `whisper --highlight_words` writes: the sentence lasts as long as all of its cues."""
    shown = ["<u>Slice</u> the lemon.", "Slice <u>the</u> lemon.", "Slice the lemon.", "Slice the <u>lemon.</u>"]
    columns = {"text": [*shown, "Go on."], "start": [0.85, 1.31, 1.47, 1.69, 2.57], "end": [1.31, 1.47, 1.69, 2.57, 3]}
    assert [tuple(sentence.values()) for sentence in read_subtitles_of(columns)] == [
        ("Slice the lemon.", 0.85, 2.57),
        ("Go on.", 2.57, 3.0),
    ]


def test_scripts_without_spaces_are_bounded_and_lose_no_character():
    """Chinese without full stops: as long as sentences of other languages, cut between cues."""
    texts = [f"把第{number}块切成小块放到锅里" for number in range(50)]
    columns = {"text": texts, "start": list(range(0, 150, 3)), "end": list(range(3, 153, 3))}
    sentences = read_subtitles_of(columns)
    assert max(sentence["end"] - sentence["start"] for sentence in sentences) <= 30
    assert max(len(sentence["text"]) for sentence in sentences) <= 100
    assert " ".join(sentence["text"].rstrip(".") for sentence in sentences) == " ".join(texts)


def test_slow_cues_make_no_endless_sentence():
    """Few words over minutes, without a pause or a full stop: the time alone is a bound."""
    texts = [f"then {number} spoons" for number in range(12)]
    columns = {"text": texts, "start": list(range(0, 120, 10)), "end": list(range(10, 130, 10))}
    sentences = read_subtitles_of(columns)
    assert max(sentence["end"] - sentence["start"] for sentence in sentences) <= 30
    assert " ".join(sentence["text"].rstrip(".") for sentence in sentences) == " ".join(texts)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("text", ["\n" * 99_000 + "Go.", "a " * 49_000 + "b"])
def test_work_grows_with_the_length_of_a_cue(text):
    """It grew with its square: minutes for a caption of newlines, or for a long one that is shown almost twice."""
    columns = {"text": [text, f"{text}c", "End."], "start": [1, 2, 5], "end": [2, 3, 6]}
    assert read_subtitles_of(columns)[-1]["text"] == "End."


def test_a_name_is_the_same_composed_and_decomposed(tmp_path):
    """Macs take the é of `café` apart, downloaders do not."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    (tmp_path / f"{apart}.en.vtt").touch()
    (tmp_path / "all.json").write_text(json.dumps({apart: COLUMNS}))
    assert find_subtitles({composed: tmp_path / f"{composed}.mp4"}) == {composed: tmp_path / f"{apart}.en.vtt"}
    assert list(find_subtitles({composed: tmp_path / f"{composed}.mp4"}, tmp_path / "all.json")) == [composed]
    assert read_subtitles(tmp_path / "all.json", video_id=composed) == SENTENCES


def test_a_time_beyond_all_videos_is_left_out_with_a_note():
    """In any source, a list of sentences included: it made a sentence that starts at nan."""
    problems = []
    cues = [*SENTENCES, {"text": "Late.", "start": 1e307, "end": 1e308}]
    assert read_subtitles(cues, problems=problems) == SENTENCES
    assert problems == ["the list of sentences: 1 of 3 cues cannot be read and were left out"]


def test_an_escape_of_no_character_costs_no_word():
    columns = {"text": [f"Cut &#{'9' * 5000};it &amp; fry&#33;"], "start": [0], "end": [1]}
    assert [sentence["text"] for sentence in read_subtitles_of(columns)] == ["Cut it & fry!"]


def test_a_minus_is_no_mark_of_a_speaker():
    columns = {"text": ["-18 degrees are enough.", "- 18 degrees?\n-Yes."], "start": [0, 2], "end": [1, 3]}
    said = [sentence["text"] for sentence in read_subtitles_of(columns)]
    assert said == ["-18 degrees are enough.", "18 degrees?", "Yes."]


def test_rolling_captions_are_said_once(tmp_path):
    """Automatic captions show each line twice, and once more for a hundredth of a second; it was said once, when it
    came."""
    (tmp_path / "a.vtt").write_text(
        """WEBVTT

00:00:00.000 --> 00:00:02.000
 \nso<00:00:00.300><c> today</c>

00:00:02.000 --> 00:00:02.010
so today
 \n
00:00:02.010 --> 00:00:04.000
so today
we<00:00:02.400><c> cut</c><c> it.</c>

00:00:04.000 --> 00:00:04.010
we cut it.
 \n
00:00:04.010 --> 00:00:06.000
we cut it.
then stir.
"""
    )
    sentences = read_subtitles(tmp_path / "a.vtt")
    assert [sentence["text"] for sentence in sentences] == ["so today we cut it.", "then stir."]
    assert sentences[0] == {"text": "so today we cut it.", "start": 0.0, "end": 4.0}
    assert sentences[1]["start"] == 4.01


def test_overlapping_captions_without_repetition_keep_every_word():
    """HowTo100M's captions stay on the screen while the next one is spoken; a cue is said before the next begins."""
    columns = {"text": ["first we cut", "the onions and", "then fry them"], "start": [0, 2, 4], "end": [4, 6, 7]}
    (sentence,) = read_subtitles_of(columns, word_times=True)
    assert sentence["text"] == "first we cut the onions and then fry them."
    assert [word["start"] for word in sentence["words"]][::3] == [0, 2, 4]


@pytest.mark.parametrize(
    "cues, said",
    [
        (["[Music", "Cut the lemon.", "Fry it.", "[Applause]", "Done."], "[Music Cut the lemon. Fry it. Done."),
        (["Add flour (sifted) and sugar (about 2 tbsp)."], "Add flour (sifted) and sugar (about 2 tbsp)."),
        (["Stir [upbeat music] it.", "(applause)"], "Stir it."),
        (["Stir it. (applause) Now fry it."], "Stir it. Now fry it."),
        (["Stir it [laughs]. Now fry it [sizzling]!"], "Stir it. Now fry it!"),
        (["[laughs]. Stir it. [laughs]. Fry it, [laughs], then."], "Stir it. Fry it, then."),
        (["Add flour", "(sifted) and sugar."], "Add flour (sifted) and sugar."),
        (["[Cut it. Fry it] now."], "[Cut it. Fry it] now."),
        (["[one two three four five six seven] go."], "[one two three four five six seven] go."),
    ],
)
def test_noises_take_no_words_with_them(cues, said):
    """A bracket that nobody closes, or closes far away, and parentheses within a sentence lose no word."""
    columns = {"text": cues, "start": list(range(len(cues))), "end": [i + 0.9 for i in range(len(cues))]}
    assert " ".join(sentence["text"] for sentence in read_subtitles_of(columns)) == said


def test_what_is_said_twice_stays(tmp_path):
    """Two cues with a pause between them are two sentences, even of the same words."""
    columns = {"text": ["Stir it.", "Stir it."], "start": [0, 2], "end": [1, 3]}
    assert [sentence["start"] for sentence in read_subtitles_of(columns)] == [0, 2]


@pytest.mark.parametrize(
    "cues, said",
    [
        ([("Yes.", 0, 1), ("Yes.", 1, 2), ("Stir.", 2, 3), ("Stir.", 3, 4)], "Yes. Yes. Stir. Stir."),
        ([("Yes.", 0, 1), ("Yes. Stir.", 1, 2)], "Yes. Yes. Stir."),
        ([("Yes.", 0, 1), ("Yes.\nStir.", 1, 2)], "Yes. Stir."),  # a line that rolls up
        ([("Yes.", 0, 2), ("Yes.", 1, 3)], "Yes."),
        ([("Cut it now.", 0, 1), ("Cut it now.", 1, 2)], "Cut it now. Cut it now."),
        ([("Cut it now.", 0, 1), ("Cut it now.", 1, 1.01)], "Cut it now."),  # flashes
        ([("Then cut it now.", 0, 1), ("cut it now. Stir.", 1, 2)], "Then cut it now. Stir."),
    ],
)
def test_what_is_said_twice_without_a_pause(cues, said):
    """Only cues that overlap or flash, lines that roll up and three words before new ones are the same words shown
    on; a whole cue that has a time of its own is said again."""
    columns = dict(zip(("text", "start", "end"), map(list, zip(*cues, strict=True)), strict=True))
    assert " ".join(sentence["text"] for sentence in read_subtitles_of(columns)) == said


def read_subtitles_of(columns, **options):
    """As a file of these columns would be read."""
    return make_sentences(_said_once(_json_cues(columns, "columns", None)), **options)


def test_times_are_the_videos_own():
    """What begins before the first displayed frame is cut, what lies outside is left out."""
    cues = [*SENTENCES, {"text": "After.", "start": 9.0, "end": 10.0}]
    assert read_subtitles(cues, duration=4.0) == [SENTENCES[0], {**SENTENCES[1], "end": 4.0}]


def test_a_file_has_the_clock_of_the_file(tmp_path):
    """The first frame of this video is displayed 0.8 s after its sound begins, which is where subtitles begin."""
    (tmp_path / "a.srt").write_text(SRT)
    sentences = read_subtitles(tmp_path / "a.srt", offset=0.8)
    assert [sentence["start"] for sentence in sentences] == [0.2, 2.2]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.text(string.ascii_letters + " .,?切柠。，ก้", min_size=1), st.floats(0, 50), st.floats(0.01, 9)),
        max_size=9,
    )
)
def test_sentences_read_again_are_the_same(cues):
    """Sentences of a row given as subtitles give that row again, whatever they were made of."""
    cues = [{"text": f"a{text}", "start": start, "end": start + length} for text, start, length in cues]
    sentences = read_subtitles(cues)
    assert read_subtitles(sentences) == sentences
    edges = [edge for sentence in sentences for edge in (sentence["start"], sentence["end"])]
    assert edges == sorted(edges)
    assert all(sentence["text"] == normalize_text(sentence["text"]) for sentence in sentences)


def test_sentences_of_a_list_that_overlap_take_turns():
    """One that is shown all the time swallows none of the others; two that begin together share the time."""
    cues = [("Subtitles by me.", 0, 60), ("Cut it.", 2, 3), ("Fry it.", 5, 6), ("Stir.", 5, 7), ("Done.", 9, 10)]
    cues = [{"text": text, "start": start, "end": end} for text, start, end in cues]
    assert [tuple(sentence.values()) for sentence in read_subtitles(cues, duration=60)] == [
        ("Subtitles by me.", 0, 2),
        ("Cut it.", 2, 3),
        ("Fry it.", 5, 6),
        ("Stir.", 6, 7),
        ("Done.", 9, 10),
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1, max_size=9))
def test_sentences_of_a_list_lose_no_word(times):
    """However they overlap, every word stays, in the order of the starts, within the video and the file."""
    cues = [{"text": f"w{i} now.", "start": start, "end": start + length} for i, (start, length) in enumerate(times)]
    sentences = read_subtitles(cues, duration=max(cue["end"] for cue in cues))
    in_order = sorted(cues, key=lambda cue: cue["start"])
    assert [sentence["text"] for sentence in sentences] == [cue["text"] for cue in in_order]
    edges = [edge for sentence in sentences for edge in (sentence["start"], sentence["end"])]
    assert edges == sorted(edges) and all(sentence["start"] < sentence["end"] for sentence in sentences)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.srt", "", "no cue was found"),
        ("a.srt", "this is no subtitle", "no cue was found"),
        ("a.srt", "1\n00:00:05,000 --> 00:00:04,000\nBack.\n", "none of its 1 cues"),
        ("a.srt", "1\n00:99:05,000 --> 01:00\nWhen?\n", "none of its 1 cues"),
        ("a.srt", f"1\n{'9' * 400}:00:05,000 --> {'9' * 401}:00:06,000\nLate.\n", "none of its 1 cues"),
        ("a.srt", f"1\n{'9' * 5000}:00:05,000 --> {'9' * 5001}:00:06,000\nLate.\n", "none of its 1 cues"),
        ("a.json", f'{{"text": ["a"], "start": [0], "end": [{"9" * 400}]}}', "none of its 1 cues"),
        ("a.json", f'{{"text": ["a"], "start": [0], "end": [{"9" * 5000}]}}', "not readable as JSON"),
        ("a.json", '[{"text": "a", "start": 1e307, "end": 1e308}]', "in seconds up to 1000000"),
        ("a.json", json.dumps([{"text": "a" * 100_001, "start": 0, "end": 1}]), "at most 100000 characters"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> 00:00:04,000\n<i></i>\n", "has any text"),
        ("a.srt", "x" * 20_000_001, "subtitles of 20000001 bytes are not read"),
        ("a.json", "[" * 200_000, "not readable as JSON"),
        ("a.json", "{broken", "not readable as JSON"),
        ("a.json", "3", "a list of text, start and end"),
        ("a.json", '{"b": []}', "captions of 1 videos, but none of 'a'"),
        ("a.json", '{"text": ["a"], "start": [1, 2], "end": [3]}', "lists of one length"),
        ("a.csv", "1,2,hello\n", "must name the columns"),
        ("a.csv", "start,end,text\n1,2," + "x" * 200_000, "not readable as CSV"),
        ("a.txt", SRT, "subtitles end in one of"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_subtitles(tmp_path / name, video_id="a")
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["a.srt", "a.json"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, name, monkeypatch):
    """Nor does it stop a job: whoever reads many files catches one kind of error."""

    def forbidden(path, *flags):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / name).touch()
    monkeypatch.setattr("os.open", forbidden)
    with pytest.raises(ValueError, match=rf"{name}: the subtitles cannot be read \(Permission denied\)"):
        read_subtitles(tmp_path / name)
    monkeypatch.setattr("pathlib.Path.iterdir", forbidden)
    with pytest.raises(ValueError, match=r"cannot be searched for subtitles \(Permission denied\)"):
        find_subtitles({"a": tmp_path / "a.mp4"})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.srt: there is no such file"):
        read_subtitles(tmp_path / "gone.srt")


def test_an_empty_vtt_says_that_nobody_speaks(tmp_path):
    (tmp_path / "a.vtt").write_text("WEBVTT\n")
    assert read_subtitles(tmp_path / "a.vtt") == []


def test_a_broken_cue_is_told_of_and_the_others_stay(tmp_path):
    problems = []
    (tmp_path / "a.srt").write_text(SRT + "\n3\n00:00:09,000 --> soon\nNever said.\n")
    assert read_subtitles(tmp_path / "a.srt", problems=problems) == SENTENCES
    assert problems == [f"{tmp_path / 'a.srt'}: 1 of 3 cues cannot be read and were left out"]
