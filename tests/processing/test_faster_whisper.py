"""Many pieces at once through faster-whisper's network: each hears what it would hear alone, nothing is lost."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.packaged import packaged_weights
from support.spelled_speech import SCRIPT, texts

pytest.importorskip("faster_whisper", reason="faster-whisper is not installed (pip install faster-whisper)")

from processing.faster_whisper_videobert import TogetherWhisper, end_window, is_silence, shorten_first_words
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer

TIME = 1000  # the token of the time 0


@pytest.mark.parametrize(
    "tokens, whole, reached",
    [
        ([1000, 5, 6, 1100], [1000, 5, 6, 1100], None),  # one time at the end: nothing follows
        ([1000, 5, 1100, 1100, 6, 1200], [1000, 5, 1100, 1100, 6, 1200], None),
        ([1000, 5, 1100, 1120, 6, 7], [1000, 5, 1100], 100),  # broken off: the second sentence is heard again
        ([1000, 5, 1100, 1100], [1000, 5, 1100], 100),  # another sentence begins, of which nothing is told
        ([1000, 5, 6], [1000, 5, 6], 0),  # broken off in the first one: all that is there is kept
        ([], [], 0),
        ([1000, 1000, 5], [1000], 0),
    ],
)
def test_what_of_a_window_is_whole(tokens, whole, reached):
    """Worked out by hand from how Whisper sets times; words after the last one that it names must not be lost."""
    assert end_window(tokens, TIME) == (whole, reached)


@pytest.mark.parametrize(
    "no_speech, log_probability, silent", [(0.7, -1.2, True), (0.5, -1.2, False), (0.7, -0.9, False)]
)
def test_silence_is_what_is_neither_speech_nor_believed(no_speech, log_probability, silent):
    """Of three tokens the sum of their mean is divided by four: the end counts."""
    result = SimpleNamespace(no_speech_prob=no_speech, sequences_ids=[[7, 8, 9]], scores=[log_probability * 4 / 3])
    assert is_silence(result) is silent


def test_a_first_word_does_not_begin_in_the_pause_before_it():
    """The usual word takes 0.3 s, so the first one, and the one after the full stop, begin 0.6 s before they end."""
    spans = [(" The", 0.0, 5.0), (" pan", 5.0, 5.3), (" now", 5.3, 5.6), (".", 5.6, 5.8), (" Stir", 5.8, 7.8)]
    spans += [(" it", 7.8, 8.1), ("!", 8.1, 8.1)]
    words = [{"word": word, "start": start, "end": end} for word, start, end in spans]
    shorten_first_words(words)
    starts = [word["start"] for word in words]
    assert starts == pytest.approx([4.4, 5.0, 5.3, 5.6, 7.2, 7.8, 8.1])


class StandIn:
    """Stands for a multilingual `WhisperModel`, A sound has one value a second, the first of a window tells what is
    heard there: its tokens in `script`, its language in `languages`. A word lasts a second."""

    frames_per_second, time_precision, max_length = 100, 0.02, 448
    is_multilingual, hf_tokenizer = True, None

    def __init__(self, script, languages):
        self.script, self.languages, self.model = script, languages, self
        self.passes, self.prompts = [], []
        self.feature_extractor = Spectrogram()

    def encode(self, windows):
        self.passes.append(len(windows))
        return windows[:, 0, 0].astype(int).tolist()

    def detect_language(self, encoded):
        return [[(f"<|{self.languages[value]}|>", 0.9), ("<|xx|>", 0.1)] for value in encoded]

    def generate(self, encoded, prompts, **options):
        self.prompts += prompts
        self.options = options
        return [SimpleNamespace(sequences_ids=[self.script[i]], scores=[-0.1], no_speech_prob=0.0) for i in encoded]

    def find_alignment(self, tokenizer, texts, encoded, lengths):
        def word(token, second):
            times = {"start": second, "end": second + 1.0}
            return {"word": f" {tokenizer.code}{token}", "tokens": [token], "probability": 0.5} | times

        return [[word(token, second) for second, token in enumerate(tokens)] for tokens in texts]


class Spectrogram:
    nb_max_frames = 3000

    def __call__(self, waveform):
        return np.append(np.repeat(waveform, 100), 0)[None]


class StandInTokenizer:
    timestamp_begin, eot = TIME, 900

    def __init__(self, _tokenizer, _multilingual, task, code):
        self.code, self.sot_sequence = code, [task, code]


@pytest.fixture
def hear(monkeypatch):
    """A function from sounds to (what is heard in each, the stand-in that heard it)."""
    monkeypatch.setattr("faster_whisper.tokenizer.Tokenizer", StandInTokenizer)

    def run(sounds, script, languages, **options):
        model = StandIn(script, languages)
        heard = list(TogetherWhisper(model, **options)(np.array(sound, dtype=np.float32) for sound in sounds))
        return [[(chunk["text"], *chunk["timestamp"]) for chunk in piece.chunks] for piece in heard], model

    return run


def test_what_a_window_leaves_unheard_is_heard_in_the_next_round(hear):
    """The first sound breaks off after its first second: only that one comes again, from there on, in the language in
    which it began. The third one does not fit into the batch."""
    script = {1: [TIME, 5, TIME + 50, TIME + 50, 6], 2: [TIME, 7, TIME + 50], 3: [TIME, 8, 9, TIME + 100]}
    sounds = [[1, 2, 2], [3, 3], [2]]
    heard, model = hear(sounds, script, {1: "de", 2: "en", 3: "ja"}, batch_size=2)
    assert heard == [[(" de5", 0, 1), (" de7", 1, 2)], [(" ja8", 0, 1), (" ja9", 1, 2)], [(" en7", 0, 1)]]
    assert model.passes == [2, 1, 1]
    assert model.prompts == [["transcribe", code] for code in ("de", "ja", "de", "en")]


def test_a_given_language_is_not_looked_for(hear):
    heard, model = hear([[2]], {2: [TIME, 7, TIME + 50]}, {}, batch_size=2, language="de", task="translate")
    assert heard == [[(" de7", 0, 1)]] and model.prompts == [["translate", "de"]]


def test_fast_speech_is_not_broken_off(hear):
    """CTranslate2 halves the length that it is given: with 225 it broke off after 112 tokens, some 20 s of speech, and
    the rest took another pass."""
    _, model = hear([[2]], {2: [TIME, 7, TIME + 50]}, {2: "en"}, batch_size=1)
    assert model.options["max_length"] == model.max_length


def test_times_without_words_end_a_piece(hear):
    """A window that reaches nothing would be heard again for ever."""
    heard, model = hear([[1, 1]], {1: [TIME, TIME, 5]}, {1: "en"}, batch_size=2)
    assert heard == [[]] and model.passes == [1]


def test_pieces_heard_together_are_those_heard_alone(narration):
    """Real weights, real voice: two pieces of different lengths in one batch and one by one."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(packaged_weights("whisper-tiny.en-ctranslate2")), "cpu", compute_type="float32")
    sounds = [(narration[0], 0.0), (narration[0][: 5 * SAMPLE_RATE], 2.0)]
    together, alone = (
        SpeechRecognizer(model, batch_size=size, engine="faster-whisper").transcribe(sounds, word_times=True)
        for size in (2, 1)
    )
    assert together == alone and len(together[0]) == len(SCRIPT)
    assert texts(together[1])[0] == texts(together[0])[0]
