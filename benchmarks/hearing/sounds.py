"""Sounds whose truth is known: the kitchen's narration, real speech, and sounds in which nobody speaks."""

import json
import wave
from pathlib import Path

import numpy as np
import torch
from kitchen.generate import plan_video
from kitchen.voice import PiperNarrator
from kitchen.weights import weights_folder

from processing.media_videobert import open_media
from processing.sound_videobert import SAMPLE_RATE

SHARED_MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"
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
# Speech in the long sound: so much of each minute that ten minutes fill a batch of pieces.
SPEECH_OF_A_MINUTE = 20.0


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
