"""Our ears beside the plain Whisper pipeline and faster-whisper, all on the same weights (tiny.en).

    python benchmarks/speech.py --json benchmarks/results/speech.json   # all parts, all peers
    python benchmarks/speech.py --parts real --json benchmarks/results/speech.json   # a part; the others stay
    python benchmarks/speech.py --parts engines --repeats 2             # ours beside faster-whisper alone: minutes
    python benchmarks/speech.py --smoke                                 # toy sizes, some minutes: shows that it runs

The truth: sentences of the kitchen, spoken by its narrator, laid out with a third of pauses and without any, which say
what is said and when; and the real speech of ../shared/media where that folder is there, whose references are what a
larger recogniser (Whisper base) heard, so that its errors count against all alike. Peers: the pipeline of transformers
with one beam in its sequential long form (`plain`), in chunks of 30 s, as many at once as ours, with one beam
(`chunked`) and with its own defaults of five beams (`chunked, 5 beams`); faster-whisper with one beam on its own
(`faster-whisper`); and our ears on faster-whisper (`ours, faster-whisper`). Those that are not installed are left out.

The part `engines` compares our ears on faster-whisper with faster-whisper alone, one beam each, both with the times of
all words (and, for the table, with its own batches). `speed_vs_faster_whisper_with_pauses` and
`speed_vs_faster_whisper_without_pauses` are its least seconds over ours, of runs in turn; `speed_vs_faster_whisper` is
the smaller one.

`wer`, `wer_pipeline`: word error rate of ours and of `plain`, the mean of kitchen and real speech (in each all errors
over all words). `speed_with_pauses`, `speed_without_pauses`: seconds of `plain` over ours, medians of runs in turn.
`cut_recall`: recall of the words within 2 s of every cut of a piece, over recall of the same words when the whole file
goes through `plain`. `words_on_no_speech`: words heard in eight kinds of sound without speech. `time_error_median`:
seconds between true and heard starts and ends of sentences. `rss_ratio_2h_10min`: peak memory of a process that hears
two hours over one that hears ten minutes of the same mixture, mostly music, hiss and silence with speech every minute
(of speech alone two hours would take long and show the same: memory knows blocks and batches only).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from transformers import pipeline
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from hearing.engines import measure_engines, show_engines, speeds
from hearing.measures import as_text, cut_times, errors_of, time_errors, words_near_cuts
from hearing.sounds import lay_out, real_speech, sounds_without_speech, spoken_sentences, write_long_sound
from kitchen.weights import weights_folder

from processing.media_videobert import open_media
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer

COMPARED = ("ours", "plain")
KEYS = (
    "wer",
    "wer_pipeline",
    "speed_with_pauses",
    "speed_without_pauses",
    "speed_vs_faster_whisper",
    "speed_vs_faster_whisper_with_pauses",
    "speed_vs_faster_whisper_without_pauses",
    "cut_recall",
    "words_on_no_speech",
    "time_error_median",
    "rss_ratio_2h_10min",
)


# --- recognisers: from a waveform to its words -----------------------------------------------------------------------


@cache
def build_recognizers():
    """By name our own ears, and of the others functions from a waveform to its text."""
    # One for ours, and one for the others: word times turn a pipeline's fast attention off for good.
    ears, asr = (pipeline("automatic-speech-recognition", str(weights_folder("whisper-tiny.en"))) for _ in range(2))

    def piped(**options):
        def recognize(waveform):
            return asr({"raw": waveform, "sampling_rate": SAMPLE_RATE}, return_timestamps=True, **options)["text"]

        return recognize

    one_beam = {"generate_kwargs": {"num_beams": 1}}
    ours = {"ours": SpeechRecognizer(ears)}
    chunked = {"chunk_length_s": 30, "batch_size": ours["ours"].batch_size}
    others = {
        "plain": piped(**one_beam),
        "chunked": piped(**chunked, **one_beam),
        "chunked, 5 beams": piped(**chunked),
    }
    if find_spec("faster_whisper") is None:
        print("faster-whisper is not installed (pip install -e '.[benchmarks]'); it is left out")
        return ours, others
    from faster_whisper import WhisperModel

    model = WhisperModel(str(weights_folder("whisper-tiny.en-ctranslate2")), "cpu", compute_type="float32")

    def faster(waveform):
        return " ".join(segment.text for segment in model.transcribe(waveform, beam_size=1)[0])

    ours["ours, faster-whisper"] = SpeechRecognizer(model, engine="faster-whisper")
    return ours, others | {"faster-whisper": faster}


def run_in_turn(recognizers, waveform, repeats):
    """What each hears, and its seconds in each round: the two that are compared in turn, then the others once."""
    texts, seconds = {}, {name: [] for name in recognizers}
    for name in [*COMPARED] * repeats + [name for name in recognizers if name not in COMPARED]:
        if not seconds[name]:  # what is built or compiled at first use
            recognizers[name](waveform[: 5 * SAMPLE_RATE])
        start = time.perf_counter()
        texts[name] = recognizers[name](waveform)
        seconds[name].append(time.perf_counter() - start)
    return texts, seconds


# --- memory ----------------------------------------------------------------------------------------------------------


def peak_megabytes():
    """The most memory of this process. (`ru_maxrss` would count what the process that started it had.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def hear_file(path):
    """Hears a file in a process of its own and prints the memory that it took."""
    recognizer = SpeechRecognizer(weights_folder("whisper-tiny.en"))
    with open_media(path) as media:
        (sentences,) = recognizer.transcribe([media.iter_speech()], [media.duration])
    print(json.dumps({"megabytes": peak_megabytes(), "sentences": len(sentences)}))


# --- the run ---------------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too; those of other parts stay in it")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; default: all")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only_plain", action="store_true", help="of the peers only the one that the figures need")
    parser.add_argument("--hear", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.hear:
        return hear_file(options.hear)
    figures = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    spoken = spoken_sentences(2 if options.smoke else 8)
    for part in options.parts:
        start = time.perf_counter()
        figures |= {part: PARTS[part](options, spoken)}
        print(f"{part.replace('_', ' ')}: measured in {time.perf_counter() - start:.0f} s", flush=True)
        figures |= summary(figures)
        if options.json:  # after each part, so that no measured figure is lost
            options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)


def chosen_recognizers(options):
    """By name functions from a waveform to (text, sentences; `None` of the others), and our own ears."""
    ours, others = build_recognizers()

    def heard_by(ears):
        def recognize(waveform):
            (sentences,) = ears.transcribe([(waveform, 0.0)])
            return as_text(sentences), sentences

        return recognize

    recognizers = {name: heard_by(ears) for name, ears in ours.items()}
    recognizers |= {name: lambda waveform, hear=hear: (hear(waveform), None) for name, hear in others.items()}
    if options.only_plain:
        recognizers = {name: recognizers[name] for name in COMPARED}
    return recognizers, ours["ours"]


def measure_kitchen(options, spoken, pause_share):
    """Words, times, cuts and speed on the kitchen's speech."""
    recognizers, ears = chosen_recognizers(options)
    waveform, truth = lay_out(spoken, pause_share, seed=1)
    heard, seconds = run_in_turn(recognizers, waveform, 1 if options.smoke else options.repeats)
    reference = " ".join(text for text, _, _ in truth)
    pairs = zip(seconds["plain"], seconds["ours"], strict=True)
    return {
        "seconds_of_sound": len(waveform) / SAMPLE_RATE,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "speed": statistics.median(theirs / mine for theirs, mine in pairs),
        "errors": {name: errors_of([(reference, text)]) for name, (text, _) in heard.items()},
        "near_cuts": words_near_cuts(truth, cut_times(ears, waveform), heard["ours"][0], heard["plain"][0]),
        "time_errors": time_errors(truth, heard["ours"][1]),
    }


def compare_engines(options, spoken):
    """Our ears on faster-whisper beside faster-whisper alone."""
    if find_spec("faster_whisper") is None:
        print("faster-whisper is not installed (pip install -e '.[benchmarks]'); the engines are not compared")
        return {}
    return measure_engines(1 if options.smoke else options.repeats, spoken)


def measure_real(options, spoken):
    """Words of real speech."""
    sounds = {} if options.smoke else real_speech()
    if not sounds:
        print("the folder ../shared/media is not there, or not wanted: the kitchen alone, without real speech")
        return {}
    recognizers, _ = chosen_recognizers(options)
    errors = {name: [] for name in recognizers}
    for waveform, reference in sounds.values():
        for name, recognize in recognizers.items():
            errors[name].append((reference, recognize(waveform)[0]))
    return {"errors": {name: errors_of(pairs) for name, pairs in errors.items()}}


def measure_no_speech(options, _spoken):
    """Words that are invented where nobody speaks."""
    ours, others = build_recognizers()
    sounds = sounds_without_speech(5 if options.smoke else 40)
    said = ours["ours"].transcribe([(sound, 0.0) for sound in sounds.values()])
    return {
        "ours": {name: len(as_text(sentences).split()) for name, sentences in zip(sounds, said, strict=True)},
        "plain": {name: len(others["plain"](sound).split()) for name, sound in sounds.items()},
    }


def measure_memory(options, spoken):
    """Peak memory of hearing a short and a long sound, in processes of their own."""
    figures = {}
    for name, minutes in zip(("short", "long"), (1, 2) if options.smoke else (10, 120), strict=True):
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "sound.wav"
            write_long_sound(path, minutes, spoken)
            command = [sys.executable, __file__, "--hear", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[name] = {"minutes": minutes, **json.loads(done.stdout.splitlines()[-1])}
    return figures


PARTS = {
    "with_pauses": partial(measure_kitchen, pause_share=1 / 3),
    "without_pauses": partial(measure_kitchen, pause_share=0.0),
    "engines": compare_engines,
    "real": measure_real,
    "no_speech": measure_no_speech,
    "memory": measure_memory,
}


def summary(figures):
    """The figures that the parts measured so far add up to."""
    kitchen = [figures[part] for part in ("with_pauses", "without_pauses") if part in figures]
    found = {f"speed_{part}": figures[part]["speed"] for part in ("with_pauses", "without_pauses") if part in figures}
    if len(kitchen) == 2:
        near = [part["near_cuts"] for part in kitchen]
        found["cut_recall"] = sum(cuts["ours"] for cuts in near) / max(1, sum(cuts["plain"] for cuts in near))
        found["time_error_median"] = statistics.median(kitchen[0]["time_errors"] + kitchen[1]["time_errors"])
        if "real" in figures:
            rates = error_rates(figures)
            for key, name in (("wer", "ours"), ("wer_pipeline", "plain")):
                found[key] = statistics.mean(kind[name] for kind in rates.values())
    if figures.get("engines"):
        found |= speeds(figures["engines"])
    if "no_speech" in figures:
        found["words_on_no_speech"] = sum(figures["no_speech"]["ours"].values())
    if "memory" in figures:
        sizes = figures["memory"]
        found["rss_ratio_2h_10min"] = sizes["long"]["megabytes"] / sizes["short"]["megabytes"]
    return found


def error_rates(figures):
    """Word error rates by kind of speech and recogniser."""
    kinds = {"kitchen": [figures["with_pauses"], figures["without_pauses"]], "real": [figures["real"]]}
    rates = {}
    for kind, parts in kinds.items():
        counts = [part["errors"] for part in parts if part]
        if counts:
            rates[kind] = {
                name: sum(count[name][0] for count in counts) / sum(count[name][1] for count in counts)
                # Parts that were measured one by one may differ in their peers.
                for name in counts[0]
                if all(name in count for count in counts)
            }
    return rates


def show(figures):
    for part in ("with_pauses", "without_pauses", "real"):
        if not figures.get(part):
            continue
        length = f", {figures[part]['seconds_of_sound']:.0f} s" if "seconds" in figures[part] else ""
        print(f"{part.replace('_', ' ')}{length}:")
        for name, (errors, words) in figures[part]["errors"].items():
            took = f"{figures[part]['seconds'][name]:8.1f} s" if "seconds" in figures[part] else ""
            print(f"  {name:22}{errors:5} errors in {words} words {errors / words:8.2%}{took}")
        if "near_cuts" in figures[part]:
            print("  near cuts:", figures[part]["near_cuts"])
    if "with_pauses" in figures and "without_pauses" in figures:
        rates = error_rates({"real": {}, **figures})
        print(f"word error rates:       {''.join(f'{kind:>9}' for kind in (*rates, 'mean'))}")
        for name in rates["kitchen"]:
            shares = [kind[name] for kind in rates.values() if name in kind]
            print(f"  {name:22}{''.join(f'{share:9.2%}' for share in (*shares, statistics.mean(shares)))}")
    show_engines(figures.get("engines", {}))
    if "no_speech" in figures:
        print("words where nobody speaks:", figures["no_speech"])
    if "memory" in figures:
        print("memory:", figures["memory"])
    for key in KEYS:
        print(f"{key}: {figures[key]:.4g}" if key in figures else f"{key}: not measured")


if __name__ == "__main__":
    main()
