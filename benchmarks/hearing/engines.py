"""Our ears on faster-whisper beside faster-whisper alone, both with the times of all words, on the same network."""

import statistics
import time

from kitchen.weights import weights_folder

from hearing.measures import as_text, errors_of, time_errors
from hearing.sounds import lay_out
from processing.sentences_videobert import Word, make_sentences
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer

PAUSES = {"with_pauses": 1 / 3, "without_pauses": 0.0}


def measure_engines(repeats, spoken):
    """By sort of sound and by name: the least seconds of runs in turn, passes, windows, errors and times; and how many
    times as fast ours is as each other.

    A pass is a call of the encoder, a window one of the half minutes in it. Both are exact, whatever else the machine
    does.
    """
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    class CountedWhisper(WhisperModel):
        passes = windows = 0

        def encode(self, features):
            self.passes += 1
            self.windows += 1 if features.ndim == 2 else len(features)
            return super().encode(features)

    model = CountedWhisper(str(weights_folder("whisper-tiny.en-ctranslate2")), "cpu", compute_type="float32")
    ears, batches = SpeechRecognizer(model, engine="faster-whisper"), BatchedInferencePipeline(model)

    def hear(waveform):
        return ears.transcribe([(waveform, 0.0)], word_times=True)[0]

    def hear_alone(waveform):
        return sentences_of(model.transcribe(waveform, beam_size=1, word_timestamps=True)[0])

    def hear_in_batches(waveform):
        options = {"beam_size": 1, "word_timestamps": True, "without_timestamps": False}
        return sentences_of(batches.transcribe(waveform, batch_size=ears.batch_size, **options)[0])

    recognizers = {"ours": hear, "alone": hear_alone, "in batches": hear_in_batches}
    figures = {}
    for sort, share in PAUSES.items():
        waveform, truth = lay_out(spoken, share, seed=1)
        measured = run_by_turns(recognizers, model, waveform, repeats)
        for name in recognizers:
            measured[name] |= judge(measured[name].pop("sentences"), truth)
        speed = {name: measured[name]["seconds"] / measured["ours"]["seconds"] for name in recognizers}
        figures[sort] = {"seconds_of_sound": len(waveform) / SAMPLE_RATE, "speed": speed, **measured}
    return figures


def run_by_turns(recognizers, model, waveform, repeats):
    """By name what each hears, its least seconds, its passes and windows."""
    measured = {name: {"seconds": float("inf")} for name in recognizers}
    for recognize in recognizers.values():  # what is built at first use
        recognize(waveform[: 5 * SAMPLE_RATE])
    for name in list(recognizers) * repeats:
        model.passes = model.windows = 0
        start = time.perf_counter()
        sentences = recognizers[name](waveform)
        seconds = min(measured[name]["seconds"], time.perf_counter() - start)
        measured[name] = {
            "seconds": seconds,
            "passes": model.passes,
            "windows": model.windows,
            "sentences": sentences,
        }
    return measured


def sentences_of(segments):
    """What faster-whisper heard, as sentences."""
    words = [Word(word.word.strip(), word.start, word.end) for segment in segments for word in segment.words]
    return make_sentences([word for word in words if word.text])


def judge(sentences, truth):
    errors, words = errors_of([(" ".join(text for text, _, _ in truth), as_text(sentences))])
    return {"errors": errors, "words": words, "time_error": statistics.median(time_errors(truth, sentences) or [0.0])}


def speeds(figures):
    """The keys of these figures: how many times as fast ours is as faster-whisper alone."""
    found = {f"speed_vs_faster_whisper_{sort}": part["speed"]["alone"] for sort, part in figures.items()}
    return found | {"speed_vs_faster_whisper": min(found.values())}


def show_engines(figures):
    for sort, part in figures.items():
        print(f"engines, {sort.replace('_', ' ')}, {part['seconds_of_sound']:.0f} s, with the times of words:")
        for name, speed in part["speed"].items():
            mine = part[name]
            print(
                f"  {name:12}{mine['seconds']:7.1f} s, ours is {speed:.2f} x as fast; {mine['passes']} passes, "
                f"{mine['windows']} windows, {mine['errors']} errors, times {mine['time_error']:.3f} s"
            )
