"""Our ears beside the plain Whisper pipeline and faster-whisper, all on the same weights (tiny.en).

    python benchmarks/speech.py --json benchmarks/results/speech.json   # all parts, all peers
    python benchmarks/speech.py --parts real --json benchmarks/results/speech.json   # a part; the others stay
    python benchmarks/speech.py --smoke                                 # toy sizes, some minutes: shows that it runs

The truth: sentences of the kitchen, spoken by its narrator, laid out with a third of pauses and without any, which say
what is said and when; and the real speech of ../shared/media where that folder is there, whose references are what a
larger recogniser (Whisper base) heard, so that its errors count against all alike. Peers: the pipeline of transformers
with one beam in its sequential long form (`plain`), in chunks of 30 s, as many at once as ours, with one beam
(`chunked`) and with its own defaults of five beams (`chunked, 5 beams`); faster-whisper with one beam on its own
(`faster-whisper`); and our ears on faster-whisper (`ours, faster-whisper`). Those that are not installed are left out.

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
import re
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from transformers import pipeline
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from kitchen.generate import plan_video
from kitchen.voice import PiperNarrator
from kitchen.weights import weights_folder

from processing.media_videobert import open_media
from processing.pieces_videobert import cut_pieces
from processing.sound_videobert import SAMPLE_RATE
from processing.speech_videobert import SpeechRecognizer

SHARED_MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
# Files of clear English speech, of which the reference can be trusted.
REAL = (
    "whisper__jfk.flac",
    "torchcodec__nasa_13013.mp4",
    "psychopy__jwpIntro.mp4",
    "cognitive-services-speech-sdk__aboutSpeechSdk.wav",
    "python-docs-samples__commercial_mono.wav",
    "opencast__av.mov",
    "mmaction2__test.avi",
    "ST-LLM__cooking.mp4",
    "auto-editor__example.mp4",
    "python-docs-samples__googlework_short.mp4",
)
COMPARED = ("ours", "plain")
NEAR_CUT = 2.0
# Speech in the long sound: so much of each minute that ten minutes fill a batch of pieces.
SPEECH_OF_A_MINUTE = 20.0
KEYS = (
    "wer",
    "wer_pipeline",
    "speed_with_pauses",
    "speed_without_pauses",
    "cut_recall",
    "words_on_no_speech",
    "time_error_median",
    "rss_ratio_2h_10min",
)
normalize = EnglishTextNormalizer({})


# --- sounds whose truth is known -------------------------------------------------------------------------------------


def spoken_sentences(videos):
    """(text, waveform without the silence around it) of what the kitchen's narrator says in its videos."""
    from torchaudio.functional import resample

    narrator, spoken = PiperNarrator(weights_folder("piper-joe")), []
    for index in range(videos):
        _, sentences, track = plan_video(5, "train", index, narrator, chatter=0.5, shift=0.7)
        track = resample(torch.from_numpy(track.astype(np.float32)), narrator.rate, SAMPLE_RATE).numpy()
        for sentence in sentences:
            sound = track[int(sentence.start * SAMPLE_RATE) : int(sentence.end * SAMPLE_RATE)]
            loud = np.flatnonzero(np.abs(sound) > 0.01)
            spoken.append((sentence.text, sound[loud[0] : loud[-1] + 1]))
    return spoken


def lay_out(spoken, pause_share, seed):
    """One sound of all sentences in a random order: (waveform, [(text, start, end)]).

    A breath of 0.1 to 0.35 s follows each; if pauses are wanted, a long one after every fifth makes up their share of
    the whole, in which breaths do not count.
    """
    rng, parts, truth, place, paused = np.random.default_rng(seed), [], [], 0, 0
    for count, number in enumerate(rng.permutation(len(spoken)), 1):
        text, sound = spoken[number]
        truth.append((text, place / SAMPLE_RATE, (place + len(sound)) / SAMPLE_RATE))
        place += len(sound)
        silence = int(rng.uniform(0.1, 0.35) * SAMPLE_RATE)
        if count % 5 == 0 or count == len(spoken):
            pause = int(pause_share / (1 - pause_share) * (place + silence - paused)) - paused
            paused += pause
            silence += pause
        parts += [sound, np.zeros(silence)]
        place += silence
    waveform = np.concatenate(parts)
    return (waveform + rng.normal(0, 0.0015, len(waveform))).astype(np.float32), truth


def real_speech():
    """(waveform, reference) by name, of the files beside the checkout."""
    if not SHARED_MEDIA.is_dir():
        return {}
    manifest = json.loads((SHARED_MEDIA / "manifest.json").read_text(encoding="utf-8"))
    references = {entry["file"]: entry["transcript_whisper_base"] for entry in manifest if entry["file"] in REAL}
    sounds = {}
    for name, reference in references.items():
        with open_media(SHARED_MEDIA / name) as media:
            sounds[name] = (media.read_speech()[0], reference)
    return sounds


def sounds_without_speech(seconds):
    """Eight kinds of sound in which nobody speaks."""
    rng, clock = np.random.default_rng(0), np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    notes = rng.choice([262, 294, 330, 392, 440, 523], int(seconds * 3) + 1).repeat(SAMPLE_RATE // 3 + 1)[: len(clock)]
    phase = 2 * np.pi * np.cumsum(notes) / SAMPLE_RATE
    plucked = sum(np.sin(k * phase) / k for k in range(1, 7)) * np.exp(-5 * (clock * 3 % 1) / 3)
    chords = sum(np.sin(2 * np.pi * f * (1 + 0.003 * np.sin(5 * clock)) * clock) for f in (196, 247, 294, 392))
    beat = rng.normal(0, 1, len(clock)) * np.exp(-30 * (clock * 2 % 1)) + np.sin(2 * np.pi * 60 * clock) * np.exp(
        -12 * (clock * 2 % 1)
    )
    brown = np.cumsum(rng.normal(0, 1, len(clock)))
    brown -= np.convolve(brown, np.ones(1600) / 1600, "same")
    sounds = {
        "silence": np.zeros(len(clock)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * clock),
        "mains hum": 0.3 * np.sin(2 * np.pi * 50 * clock) + 0.1 * np.sin(2 * np.pi * 150 * clock),
        "white noise": rng.normal(0, 0.1, len(clock)),
        "brown noise": 0.2 * brown / np.abs(brown).max(),
        "sizzling": rng.normal(0, 0.2, len(clock)) * (1 + np.sin(2 * np.pi * 3 * clock)) / 2,
        "plucked melody": 0.15 * plucked,
        "chords and drum": 0.05 * chords + 0.2 * beat,
    }
    return {name: sound.astype(np.float32) for name, sound in sounds.items()}


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


def as_text(sentences):
    return " ".join(sentence["text"] for sentence in sentences)


# --- measures --------------------------------------------------------------------------------------------------------


def words_of(text):
    """Words as all sides are compared by: lower case, no punctuation, "2" and "two" alike."""
    return re.sub(r"[^\w' ]", " ", normalize(text)).split()


def align(truth, heard):
    """Word edit distance: (errors, for each true word the index of the heard word that equals it, or None)."""
    costs = np.zeros((len(truth) + 1, len(heard) + 1), dtype=int)
    costs[:, 0], costs[0] = np.arange(len(truth) + 1), np.arange(len(heard) + 1)
    for i, word in enumerate(truth, 1):
        for j, other in enumerate(heard, 1):
            costs[i, j] = min(costs[i - 1, j] + 1, costs[i, j - 1] + 1, costs[i - 1, j - 1] + (word != other))
    i, j, matches = len(truth), len(heard), [None] * len(truth)
    while i and j:
        if costs[i, j] == costs[i - 1, j - 1] + (truth[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            matches[i] = j if truth[i] == heard[j] else None
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return int(costs[-1, -1]), matches


def errors_of(pairs):
    """(errors, true words) of (true text, heard text) pairs together."""
    errors = [align(words_of(truth), words_of(heard))[0] for truth, heard in pairs]
    return sum(errors), sum(len(words_of(truth)) for truth, _ in pairs)


def timed_words(truth):
    """The true words with their times, which they share by their characters within a sentence."""
    words = []
    for text, start, end in truth:
        parts = words_of(text)
        edges = np.cumsum([0] + [len(part) + 1 for part in parts])
        words += [
            (part, start + (end - start) * edge / edges[-1]) for part, edge in zip(parts, edges[:-1], strict=True)
        ]
    return words


def cut_times(recognizer, waveform):
    """Where pieces begin and end, in seconds: all cuts but those at the start and the end of the sound."""
    pieces = cut_pieces(recognizer.find_speech(waveform), waveform)
    edges = [edge for piece in pieces for edge in (piece[0][0], piece[-1][1])][1:-1]
    return np.array(sorted(edges)) / SAMPLE_RATE


def words_near_cuts(truth, cuts, ours, plain):
    """How many true words lie near a cut, and how many of them each side hears."""
    words = timed_words(truth)
    near = [bool((np.abs(cuts - time) <= NEAR_CUT).any()) for _, time in words]
    counts = {"words": sum(near)}
    for name, text in (("ours", ours), ("plain", plain)):
        matches = align([word for word, _ in words], words_of(text))[1]
        counts[name] = sum(match is not None for match, close in zip(matches, near, strict=True) if close)
    return counts


def time_errors(truth, sentences):
    """Seconds between the true and the heard start and end of sentences whose first and last word were heard so."""
    true_words, true_edges = [], {}
    for text, start, end in truth:
        parts = words_of(text)
        true_edges[len(true_words)], true_edges[len(true_words) + len(parts) - 1] = (0, start), (1, end)
        true_words += parts
    heard_words, heard_edges = [], {}
    for sentence in sentences:
        parts = words_of(sentence["text"])
        if len(parts) > 1:
            heard_edges[len(heard_words)] = (0, sentence["start"])
            heard_edges[len(heard_words) + len(parts) - 1] = (1, sentence["end"])
        heard_words += parts
    errors = []
    for place, match in enumerate(align(true_words, heard_words)[1]):
        if place in true_edges and match in heard_edges and true_edges[place][0] == heard_edges[match][0]:
            errors.append(abs(true_edges[place][1] - heard_edges[match][1]))
    return errors


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


def write_long_sound(path, minutes, spoken):
    """Minutes of music, hiss and silence in turn, each with a few seconds of speech."""
    rng = np.random.default_rng(0)
    backgrounds = [sounds_without_speech(60)[name] for name in ("plucked melody", "silence", "sizzling")]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for minute in range(minutes):
            sound = backgrounds[minute % len(backgrounds)].copy() * 0.3
            place = int(rng.uniform(5, 32) * SAMPLE_RATE)
            limit = place + int(SPEECH_OF_A_MINUTE * SAMPLE_RATE)
            while place < limit:
                said = spoken[rng.integers(len(spoken))][1]
                sound[place : place + len(said)] = said
                place += len(said) + SAMPLE_RATE // 4
            file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())


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
    if "no_speech" in figures:
        print("words where nobody speaks:", figures["no_speech"])
    if "memory" in figures:
        print("memory:", figures["memory"])
    for key in KEYS:
        print(f"{key}: {figures[key]:.4g}" if key in figures else f"{key}: not measured")


if __name__ == "__main__":
    main()
