"""Speech to sentences: nothing invented, no word cut or doubled, every sentence where it was said."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spelled_speech import SCRIPT, SpelledSpeech, piece_of, spelled, spelled_recognizer, texts
from transformers import pipeline
from transformers.utils import logging

from processing.pieces_videobert import PIECE_SECONDS, Heard, cut_pieces, place_words
from processing.sentences_videobert import (
    make_sentences,
)
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer, TokenProbabilities, is_improbable

# --- pieces -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1000, 400_000), st.integers(1, 100_000)), min_size=1, max_size=40))
def test_pieces_hold_all_speech_once(parts):
    """Every sample with voice is in exactly one piece; no piece is longer than the recogniser hears."""
    spans, place = [], 0
    for pause, speech in parts:
        spans.append((place + pause, place + pause + speech))
        place += pause + speech
    count = np.zeros(place + 5000, dtype=int)
    for stretches in cut_pieces(spans, np.zeros(len(count), dtype=np.float32)):
        assert sum(end - start for start, end in stretches) <= PIECE_SECONDS * SAMPLE_RATE
        for start, end in stretches:
            count[start:end] += 1
    assert count.max() == 1
    assert all((count[start:end] == 1).all() for start, end in spans)


def test_speech_without_pause_is_cut_where_it_is_quietest():
    """Forty-five seconds without a pause, one breath at 20 s: the cut is there, so no word is cut."""
    sound = np.random.default_rng(0).normal(0, 0.1, 45 * SAMPLE_RATE).astype(np.float32)
    sound[20 * SAMPLE_RATE : 20 * SAMPLE_RATE + 1600] *= 0.01
    first, second = cut_pieces([(0, len(sound))], sound)
    assert first[-1][1] == second[0][0] == pytest.approx(20 * SAMPLE_RATE + 800, abs=800)


# --- the recogniser -----------------------------------------------------------------------------------------


def test_progress_bars_can_be_switched_off():
    """The switch of transformers holds here too."""
    logging.disable_progress_bar()
    try:
        assert texts(spelled_recognizer().transcribe([(spelled([7]), 0.0)], [5.0])[0]) == ["7."]
    finally:
        logging.enable_progress_bar()


def test_sounds_are_recognised_together():
    """One call for the pieces of all sounds, in batches and with one beam; each sentence returns to its own sound and
    clock."""
    recognizer = spelled_recognizer()
    first, nothing, second = recognizer.transcribe(
        [(spelled([7, 8]), 0.0), (np.zeros(16000, dtype=np.float32), 0.0), (spelled([9]), 5.0)]
    )
    asr = recognizer.asr_model
    assert asr.calls == 1 and asr.options["batch_size"] == 3
    assert asr.options["num_beams"] == 1 and asr.options["max_length"] < 448
    assert texts(first) == ["7.", "8."] and nothing == [] and texts(second) == ["9."]
    assert [s["start"] for s in first] == pytest.approx([1.0, 2.1], abs=0.11) and first[0]["end"] == pytest.approx(1.1)
    assert second[0]["start"] == pytest.approx(6.0, abs=0.11)


def test_words_that_the_recogniser_does_not_believe_are_left_out():
    """As those that an English checkpoint writes where Russian is spoken; the row says so, and the next sound keeps
    its own."""
    numbers = spelled(range(1, 13))
    sounds, problems = [(numbers, 2.0), (np.zeros(16000, dtype=np.float32), 0.0)], [[], []]
    believed, doubted = spelled_recognizer(), spelled_recognizer()
    doubted.asr_model.probability = 0.3
    assert len(believed.transcribe(sounds, problems=problems)[0]) == 12 and problems == [[], []]
    assert doubted.transcribe(sounds, problems=problems) == [[], []]
    assert len(problems[0]) == 1 and problems[1] == []
    assert problems[0][0].startswith(
        "1 s of speech, from 2 s on, were left out: the recogniser is not sure of its words"
    )


@pytest.mark.parametrize(
    "tokens, log_probabilities, improbable",
    [
        (range(20), [-0.6] * 20, False),  # English in noise
        (range(20), [-0.95] * 20, True),
        (range(7), [-3.0] * 7, False),  # too few to say
        # A loop: sure of every round but the first. Who truly says a sentence ten times is believed the first time.
        ([*range(9)] * 10, [-1.5] * 9 + [-0.01] * 81, True),
        ([*range(9)] * 10, [-0.7] * 9 + [-0.01] * 81, True),
        ([*range(5)] * 10, [-1.5] * 5 + [-0.01] * 45, True),
        ([*range(9)] * 10, [-0.2] * 9 + [-0.01] * 81, False),
        # Much is said before the recogniser loses its way.
        ([*range(60), *[60] * 160], [-0.2] * 60 + [-0.01] * 160, False),
    ],
)
def test_what_is_improbable(tokens, log_probabilities, improbable):
    assert is_improbable(Heard([], list(tokens), log_probabilities)) is improbable


def test_probabilities_are_those_of_the_tokens_of_each_sound():
    """By hand: a batch of two, of which the first needs a second pass alone; times and what follows the end are no
    tokens of text."""
    noted, end = TokenProbabilities(end_token=3), 3
    scores = torch.log(torch.tensor([[0.7, 0.1, 0.1, 0.05, 0.05], [0.1, 0.6, 0.1, 0.1, 0.1]]))
    noted.follow(torch.tensor([[0, 3000], [0, 3000]]))
    assert noted(torch.tensor([[9], [9]]), scores) is scores
    noted(torch.tensor([[9, 0], [9, end]]), scores + 5)  # scores need not be normalised
    noted.follow(torch.tensor([[1500, 3000], [3000, 3000]]))
    noted(torch.tensor([[9]]), torch.log(torch.tensor([[0.1, 0.1, 0.1, 0.1, 0.6]])))  # a time
    noted(torch.tensor([[9, 4]]), torch.log(torch.tensor([[0.1, 0.1, 0.6, 0.1, 0.1]])))
    first, second = noted.noted
    assert (first.tokens, second.tokens) == ([0, 0, 2], [1])
    assert first.log_probabilities == pytest.approx(np.log([0.7, 0.7, 0.6]).tolist())
    assert second.log_probabilities == pytest.approx([np.log(0.6)])


def test_silence_does_not_even_build_the_recogniser():
    recognizer = SpeechRecognizer("no/such/model")
    recognizer._voice_detector = lambda waveform: []
    assert recognizer.transcribe([(np.zeros(16000, dtype=np.float32), 0.0)], [1.0]) == [[]]
    assert recognizer.transcribe([]) == []


@pytest.mark.parametrize("block_seconds", [3.0, 10.05, 200.0])
def test_long_sound_in_blocks_is_the_whole_sound(block_seconds):
    """Hours of sound come in blocks: a word on the seam is neither cut nor doubled."""
    words = np.random.default_rng(1).permutation(np.arange(1, 100)).tolist()
    # The middle of a gap is a whole tenth of a second: the stand-in hears in tenths.
    sound, size = spelled(words, gap=0.8), int(block_seconds * SAMPLE_RATE)
    blocks = [(sound[i : i + size], 2.0 + i / SAMPLE_RATE) for i in range(0, len(sound), size)]
    (sentences,) = spelled_recognizer().transcribe([iter(blocks)])
    said = " ".join(texts(sentences)).split()
    assert said == [f"{word}." for word in words]
    assert sentences[-1]["end"] == pytest.approx(2.0 + len(sound) / SAMPLE_RATE, abs=0.11)


def test_bad_input_is_named():
    recognizer = spelled_recognizer()
    with pytest.raises(ValueError, match="int16"):
        recognizer.transcribe([(np.zeros(16000, dtype=np.int16), 0.0)])
    with pytest.raises(ValueError, match=r"\(2, 16000\)"):
        recognizer.transcribe([(np.zeros((2, 16000), dtype=np.float32), 0.0)])
    with pytest.raises(ValueError, match="1 sounds and 2 durations"):
        recognizer.transcribe([(np.zeros(16000, dtype=np.float32), 0.0)], [1.0, 2.0])
    recognizer.asr_model.type = "ctc"
    with pytest.raises(ValueError, match="Whisper"):
        recognizer.transcribe([(spelled([5]), 0.0)])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"language": "klingon"}, "no language 'klingon'; it knows afrikaans"),
        ({"task": "sing"}, "'sing'; it must be one of"),
        ({"engine": "gramophone"}, "'gramophone'; it must be one of"),
    ],
)
def test_options_that_there_are_not(options, message):
    """Said before anything is loaded."""
    with pytest.raises(ValueError, match=message):
        SpeechRecognizer("some/whisper", **options)


@pytest.mark.parametrize("options", [{"language": "German"}, {"language": "de"}, {"task": "translate"}])
def test_a_checkpoint_for_english_refuses_other_languages(options):
    """It would write English nonsense for them."""
    with pytest.raises(ValueError, match="hears English only"):
        spelled_recognizer(**options).transcribe([(spelled([5]), 0.0)])


def test_language_and_task_reach_a_multilingual_checkpoint():
    recognizer = spelled_recognizer(language="German", task="translate")
    recognizer.asr_model.model.generation_config.is_multilingual = True
    recognizer.transcribe([(spelled([5]), 0.0)])
    assert (recognizer.asr_model.options["language"], recognizer.asr_model.options["task"]) == ("de", "translate")
    # A half minute of Hindi or Thai has more tokens than one of English may have.
    assert recognizer.asr_model.options["max_length"] == 448
    english = spelled_recognizer(language="english")  # may be said to one that hears nothing else
    english.transcribe([(spelled([5]), 0.0)])
    assert "language" not in english.asr_model.options and english.asr_model.options["max_length"] == 228


def test_words_tell_when_they_are_said():
    """By option, within their sentence, and the sentence is the same without them."""
    (plain,) = spelled_recognizer().transcribe([(spelled([7, 8]), 0.0)])
    (timed,) = spelled_recognizer().transcribe([(spelled([7, 8]), 0.0)], word_times=True)
    assert [{name: value for name, value in s.items() if name != "words"} for s in timed] == plain
    for sentence in timed:
        (word,) = sentence["words"]
        assert word == {"text": sentence["text"], "start": sentence["start"], "end": sentence["end"]}


class WatchedSpeech(SpelledSpeech):
    """Tells whenever it takes a piece."""

    def __init__(self, taken):
        super().__init__()
        self.taken = taken

    def __call__(self, inputs, batch_size, **options):
        def watched():
            for item in inputs:
                self.taken()
                yield item

        return super().__call__(watched(), batch_size, **options)


def test_sound_is_read_as_it_is_needed():
    """Blocks are read while pieces are heard, not all of them first: hours need the memory of minutes."""
    read, progress = [], []
    recognizer = spelled_recognizer()
    recognizer.asr_model = WatchedSpeech(lambda: progress.append(len(read)))

    def blocks():
        for number in range(40):
            read.append(number)
            yield spelled([5] * 15, gap=1.9), number * 30.0

    recognizer.transcribe([blocks()])
    assert len(read) == 40 and progress[0] <= 5
    assert all(after - before <= 4 for before, after in pairwise(progress))


def test_scripts_without_spaces_still_make_sentences():
    """Whisper's Chinese words come without spaces; a full stop still ends a sentence, where it was said."""
    heard = [{"text": text, "timestamp": (i, i + 0.9)} for i, text in enumerate(["切", "柠檬。", "然后", "炒。"])]
    words = place_words(heard, piece_of((0.0, 5.0)))
    assert [(s["text"], s["start"], s["end"]) for s in make_sentences(words)] == [
        ("切柠檬。", 0.0, 1.9),
        ("然后炒。", 2.0, 3.9),
    ]


# --- real weights -------------------------------------------------------------------------------------------


def noises(seconds=6):
    """What a kitchen sounds like while nobody speaks."""
    rng, time = np.random.default_rng(0), np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    notes = rng.choice([262, 330, 392, 523], seconds * 3).repeat(SAMPLE_RATE // 3 + 1)[: len(time)]
    melody = sum(np.sin(2 * np.pi * k * notes * time) / k for k in range(1, 6)) * np.exp(-6 * (time * 3 % 1) / 3)
    return {
        "silence": np.zeros(len(time)),
        "hiss": rng.normal(0, 0.1, len(time)),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time) + 0.1 * np.sin(2 * np.pi * 150 * time),
        "music": 0.2 * melody,
        "sizzle": rng.normal(0, 0.2, len(time)) * (1 + np.sin(2 * np.pi * 3 * time)) / 2,
    }


def test_noises_give_no_words(whisper_tiny):
    """Whisper alone hears "Thank you for watching" in all of these."""
    pytest.importorskip("silero_vad")
    recognizer = SpeechRecognizer(whisper_tiny)
    sounds = [(noise.astype(np.float32), 0.0) for noise in noises().values()]
    assert dict(zip(noises(), recognizer.transcribe(sounds), strict=True)) == {name: [] for name in noises()}


def test_voice_detection_leaves_the_threads_alone():
    """Importing silero-vad sets the whole process to one thread; the networks after it want theirs back."""
    pytest.importorskip("silero_vad")
    before = torch.get_num_threads()
    SpeechRecognizer("unused").find_speech(np.zeros(16000, dtype=np.float32))
    assert torch.get_num_threads() == before


def test_narration_is_heard_where_it_is_said(whisper_tiny, narration):
    """Real Whisper on a real voice: the right words, each sentence within 0.3 s of where it was said, whether it is
    alone, beside another sound in the batch, shifted on the clock, or given in blocks."""
    waveform, times = narration
    recognizer = SpeechRecognizer(whisper_tiny)
    blocks = iter([(waveform[:80000], 100.0), (waveform[80000:], 105.0)])
    alone, shifted, in_blocks = recognizer.transcribe([(waveform, 0.0), (waveform, 50.0), blocks])
    for sentences, offset in ((alone, 0.0), (shifted, 50.0), (in_blocks, 100.0)):
        bare = [text.lower().replace(",", "") for text in texts(sentences)]
        assert [text.replace("2 spoons", "two spoons") for text in bare] == [text.lower() for text in SCRIPT]
        for sentence, (start, end) in zip(sentences, times, strict=True):
            assert sentence["start"] - offset == pytest.approx(start, abs=0.3)
            assert sentence["end"] - offset == pytest.approx(end, abs=0.3)


def test_what_is_no_english_gives_no_english_words(whisper_tiny, narration):
    """An English voice played backwards is a language that the checkpoint does not know: it wrote words of its own."""
    problems = [[]]
    backwards = narration[0][8 * SAMPLE_RATE :][::-1].copy()
    assert SpeechRecognizer(whisper_tiny).transcribe([(backwards, 0.0)], problems=problems) == [[]]
    assert len(problems[0]) == 1 and "were left out" in problems[0][0]


def test_word_times_leave_the_encoder_its_fast_attention(whisper_tiny, narration):
    """The library turns it off for the whole model; what is heard is the same, in half the memory."""
    asr = pipeline("automatic-speech-recognition", str(whisper_tiny))
    for _ in range(2):  # of the second one, too, when the model's own is off
        assert SpeechRecognizer(asr).transcribe([(narration[0][: 5 * SAMPLE_RATE], 0.0)])[0]
    assert asr.model.config._attn_implementation == "eager"
    assert {layer.self_attn.config._attn_implementation for layer in asr.model.get_encoder().layers} == {"sdpa"}
