"""Sentences out of words and cues: where they end, what belongs together, and what is no speech."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spelled_speech import piece_of, texts, words_of

from processing.pieces_videobert import place_words
from processing.sentences_videobert import (
    Word,
    drop_loops,
    ends_sentence,
    join_words,
    make_sentences,
    normalize_text,
    spread_words,
)


@pytest.mark.parametrize(
    "text",
    [
        "Add 2 tbsp. of oil and stir.",
        "Fry it for approx. 5 min. on each side.",
        "Heat the oven to 350 °F. or a bit more.",
        "Take a No. 1 pan.",
        "Mr. Brown likes it.",
        "Use e.g. Parmesan or another hard cheese.",
        "You want it hot... not burnt.",
        "It weighs 1.5 lb. or so.",
    ],
)
def test_cooking_abbreviations_do_not_end_a_sentence(text):
    assert texts(make_sentences(words_of(text))) == [text]


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("Cut it. Now fry it!", ["Cut it.", "Now fry it!"]),
        ("Fry it for 5 min. Then turn it.", ["Fry it for 5 min.", "Then turn it."]),
        ("Is it done? yes it is.", ["Is it done?", "yes it is."]),
        ('He said "stir." Then he left.', ['He said "stir."', "Then he left."]),
        ("No. That is wrong.", ["No.", "That is wrong."]),
        ("Bake at 350. 20 minutes are enough.", ["Bake at 350.", "20 minutes are enough."]),
        ("cut it. now fry it.", ["cut it.", "now fry it."]),  # a text without any capital letters
        ("And then,", ["And then."]),  # cut off: still a punctuated sentence
    ],
)
def test_sentences_end_where_they_end(text, sentences):
    assert texts(make_sentences(words_of(text))) == sentences


def test_times_of_sentences_by_hand():
    """A sentence lasts from its first word to the end of its last one."""
    words = [Word("Cut", 1.0, 1.2), Word("it.", 1.2, 1.5), Word("Fry", 2.5, 2.8), Word("it.", 2.8, 3.25)]
    assert make_sentences(words) == [
        {"text": "Cut it.", "start": 1.0, "end": 1.5},
        {"text": "Fry it.", "start": 2.5, "end": 3.25},
    ]


def test_sentences_stay_inside_the_video():
    """Speech before the first frame and after the last one has no picture; what reaches over an edge is cut there."""
    words = [
        *(Word("Before.", -2.0, -1.0), Word("Over", -0.5, 0.2), Word("it.", 0.2, 0.5)),
        *(Word("At", 9.0, 9.5), Word("end.", 9.5, 11.0), Word("After.", 11.0, 12.0)),
    ]
    assert make_sentences(words, duration=10.0) == [
        {"text": "Over it.", "start": 0.0, "end": 0.5},
        {"text": "At end.", "start": 9.0, "end": 10.0},
    ]


def test_long_pause_ends_a_sentence():
    """Whoever works silently for a while starts anew, whatever the punctuation says."""
    words = words_of("now we stir") + words_of("and now it is done.", start=10)
    assert texts(make_sentences(words)) == ["now we stir.", "and now it is done."]


def test_endless_run_is_cut_at_its_pauses():
    """Sixty words without a full stop are no sentence: they are cut at the longest pause, not within a breath."""
    words = words_of(" ".join(f"w{i}" for i in range(25))) + words_of(
        " ".join(f"w{i}" for i in range(25, 60)), start=11
    )
    sentences = make_sentences(words)
    assert [text.split()[0] for text in texts(sentences)] == ["w0", "w25"]
    assert " ".join(text.rstrip(".") for text in texts(sentences)) == " ".join(f"w{i}" for i in range(60))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stir", "it.", "5", "min.", "Then", "no.", "cut,", "What?", "tbsp.", "..."]),
            st.floats(0, 3),
            st.floats(0, 2),
        ),
        max_size=120,
    ),
    st.floats(-5, 5),
    st.floats(0.5, 200),
)
def test_sentences_are_in_order_and_keep_every_word(parts, start, duration):
    """Whatever is heard: start < end, inside the video, no overlap, and inside the video no word lost or doubled."""
    words = []
    for text, seconds, pause in parts:
        words.append(Word(text, start, start + seconds))
        start += seconds + pause
    sentences = make_sentences(words, duration)
    edges = [edge for sentence in sentences for edge in (sentence["start"], sentence["end"])]
    assert edges == sorted(edges) and all(0 <= edge <= duration for edge in edges)
    assert all(sentence["start"] < sentence["end"] for sentence in sentences)
    everything = [Word(word.text, word.start + 10, word.end + 10) for word in words]
    said = " ".join(texts(make_sentences(everything))).split()
    assert [word.strip(".,") for word in said] == [word.text.strip(".,") for word in words]


@pytest.mark.parametrize(
    "word, following, ends", [("oil.", "Then", True), ("oil", "Then", False), ("tbsp.", "of", False)]
)
def test_ends_sentence(word, following, ends):
    assert ends_sentence(word, following) is ends


def test_normalize_text():
    """One form for WordPiece: plain quotes and dashes, composed accents, single spaces; case and accents stay."""
    assert normalize_text(" It’s “cre\u0301me” –\u00a0yes…\t♪ ") == 'It\'s "créme" - yes...'
    assert normalize_text(normalize_text("“a”\u200b b")) == '"a" b'


def test_words_come_back_to_the_clock_of_the_video():
    """Two stretches, 10 … 12 s and 20 … 25 s, went through the recogniser as one: second 3 of it is second 21."""
    piece = piece_of((10.0, 12.0), (20.0, 25.0))
    heard = [{"text": " Cut", "timestamp": (0.5, 1.0)}, {"text": " it.", "timestamp": (3.0, 3.5)}]
    assert place_words(heard, piece) == [Word("Cut", 10.5, 11.0), Word("it.", 21.0, 21.5)]


def test_word_leaves_the_pause_before_and_after_it():
    """A recogniser lets a word begin where the last one ended; voice detection knows better."""
    piece = piece_of((0.0, 10.0), spans=[(1.0, 2.0), (5.0, 6.0)])
    heard = [{"text": " first", "timestamp": (1.2, 4.8)}, {"text": " second", "timestamp": (4.8, 5.4)}]
    assert place_words(heard, piece) == [Word("first", 1.2, 2.0), Word("second", 5.0, 5.4)]


def test_parts_of_a_word_are_joined():
    """Whisper times "real", "-time" apart; they are one word."""
    heard = [{"text": " real", "timestamp": (0.0, 0.4)}, {"text": "-time", "timestamp": (0.4, 0.8)}]
    assert place_words(heard, piece_of((0.0, 2.0))) == [Word("real-time", 0.0, 0.8)]


def test_segments_share_their_time_by_characters():
    """A checkpoint without alignment heads times segments only: "abc de" has 3 + 1 and 2 + 1 characters of 0.7 s."""
    (first, second) = place_words([{"text": " abc de", "timestamp": (0.0, 0.7)}], piece_of((0.0, 2.0)))
    assert (first.text, second.text) == ("abc", "de")
    assert (first.start, first.end, second.end) == pytest.approx((0.0, 0.4, 0.7))


def test_noises_are_not_words():
    heard = [{"text": f" {text}", "timestamp": (0.0, 1.0)} for text in "Stir [soft music] it. (applause) ♪".split()]
    assert [word.text for word in place_words(heard, piece_of((0.0, 2.0)))] == ["Stir", "it."]


@pytest.mark.parametrize("characters", ["切菜炒", "ตกก", "きるカ"])
def test_a_pause_ends_a_word_and_a_sentence_in_any_script(characters):
    """Characters at 0, 8 and 16 s, with silence between and no spaces: they became one "word" of 0.0 to 2.8 s."""
    piece = piece_of((0.0, 1.0), (7.0, 9.0), (15.0, 17.0), spans=[(0.0, 0.8), (8.0, 8.8), (16.0, 16.8)])
    heard = [{"text": char, "timestamp": (2.0 * i, 2.0 * i + 0.8)} for i, char in enumerate(characters)]
    sentences = make_sentences(place_words(heard, piece))
    assert [sentence["text"] for sentence in sentences] == [f"{char}." for char in characters]
    assert [sentence["start"] for sentence in sentences] == [0.0, 8.0, 16.0]


def test_a_pause_ends_a_word_in_scripts_with_spaces():
    """What comes seconds later is no part of the word before it, even where the recogniser puts no space."""
    heard = [{"text": " stir", "timestamp": (0.0, 0.5)}, {"text": "fry", "timestamp": (2.0, 2.5)}]
    words = place_words(heard, piece_of((0.0, 1.0), (7.0, 9.0)))
    assert [(word.text, word.start) for word in words] == [("stir", 0.0), ("fry", 8.0)]


def test_characters_have_their_own_times_and_spaces_stay():
    """Each with its marks and punctuation; what was written without a space comes back without one."""
    text = "切柠檬。然后加200克糖，“好” 炒（笑）。 วันนี้ and go"
    words = spread_words(text, 0.0, 1.0)
    assert [word.text for word in words][:10] == ["切", "柠", "檬。", "然", "后", "加", "200", "克", '糖，"', '好"']
    assert "นี้" in [word.text for word in words] and join_words(words) == normalize_text(text)
    assert [word.end for word in words[:-1]] == [word.start for word in words[1:]]


def test_korean_and_hindi_words_stay_whole():
    """They have spaces between words."""
    assert [word.text for word in spread_words("오늘은 샐러드를, आज सलाद।", 0, 1)] == [
        "오늘은",
        "샐러드를,",
        "आज",
        "सलाद।",
    ]


def test_words_that_differ_in_vowel_signs_are_no_loop():
    """Six words of Hindi with the same consonants were taken for one that loops."""
    words = words_of("की का के कु कू को")
    assert drop_loops(words) == words


def test_loops_of_scripts_without_spaces_are_dropped():
    """Also a long one, character by character."""
    round_of_it = "请不吝点赞订阅转发打赏支持"
    heard = spread_words("开始" + round_of_it * 6 + "结束", 0.0, 10.0)
    assert join_words(drop_loops(heard)) == f"开始{round_of_it}结束"


def test_loops_are_dropped():
    """A recogniser that lost its way repeats itself; one round is kept. Four times may be meant."""
    loop = words_of("Start. " + "Thank you. " * 20 + "End.")
    assert " ".join(word.text for word in drop_loops(loop)) == "Start. Thank you. End."
    meant = words_of("stir stir stir stir it")
    assert drop_loops(meant) == meant
