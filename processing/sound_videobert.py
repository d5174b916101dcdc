"""Sound put in its place in time: gaps in a stream are silent instead of closed up."""

from collections.abc import Iterable, Iterator

import numpy as np
from torchcodec import AudioSamples
from torchcodec.decoders import AudioConverter, Demuxer, RawAudioSamples

from .frames_videobert import decoded

SAMPLE_RATE = 16_000  # what speech recognisers and voice detection listen to
# Timestamps are rounded: only sound that is further off than this is moved to its time.
GAP_SECONDS = 0.1
# A clock that goes back by more than this begins anew, and its sound follows; by less, the same time is told twice.
TWICE_SECONDS = 1.0
NO_TIME = -1e9  # what has no timestamp says that it is older than this
# What is written as a stream does not know its size yet, and claims the largest one.
UNKNOWN_SIZE = 0x7FFF_F000


def decoded_sound(demuxer: Demuxer, errors: list[Exception]) -> Iterator[RawAudioSamples]:
    """All sound that can be decoded; where the file itself cannot be read on, it ends."""
    try:
        yield from decoded(demuxer, demuxer.streams[0].make_decoder(), errors)
    except RuntimeError as error:
        errors.append(error)


def sound_in_place(sounds: Iterable[RawAudioSamples], longest: float) -> Iterator[tuple[float, np.ndarray]]:
    """(time in seconds, samples (N,) float32 mono 16 kHz), each piece beginning where the one before it ends.

    A gap is filled with silence, unless it makes the sound last more than `longest` seconds: that time is broken.
    """
    start = due = given = kind = None
    converter = AudioConverter(sample_rate=SAMPLE_RATE, num_channels=1)

    def silence(until):
        missing = round((until - start) * SAMPLE_RATE) - given
        while missing > 0:
            yield np.zeros(min(missing, SAMPLE_RATE), np.float32)
            missing -= SAMPLE_RATE

    def placed(pieces):
        nonlocal given
        for piece in pieces:
            if len(piece):
                yield start + given / SAMPLE_RATE, piece
                given += len(piece)

    for sound in sounds:
        time = sound.pts_seconds
        if start is None:
            start = due = time if time > NO_TIME else 0.0
            given = 0
        if -TWICE_SECONDS < time - due < -GAP_SECONDS:
            continue
        gap = GAP_SECONDS < time - due and time - start <= longest
        if kind is not None and (gap or kind != (sound.sample_rate, sound.num_channels)):
            yield from placed([_samples(converter.drain())])
            converter.reset()
        if gap:
            yield from placed(silence(time))
            due = time
        kind = sound.sample_rate, sound.num_channels
        yield from placed([_samples(converter.convert(sound))])
        due += sound.num_samples / sound.sample_rate
    if kind is not None:
        yield from placed([_samples(converter.drain())])


def riff_size(start: bytes) -> int:
    """The bytes that a RIFF file (WAV) has by its first eight ones; 0 of another file, or where it does not know."""
    size = 8 + int.from_bytes(start[4:8], "little")
    return size if start[:4] == b"RIFF" and size < UNKNOWN_SIZE else 0


def _samples(sound: AudioSamples) -> np.ndarray:
    return np.nan_to_num(sound.data[0].numpy()).astype(np.float32, copy=False)


def blocks_of(pieces: Iterable[tuple[float, np.ndarray]], seconds: float) -> Iterator[tuple[np.ndarray, float]]:
    """(samples, time) of the same sound in blocks of so many seconds; the last one is shorter."""
    size, held, length, start = round(seconds * SAMPLE_RATE), [], 0, 0.0
    for time, piece in pieces:
        if not held:
            start = time
        held.append(piece)
        length += len(piece)
        while length >= size:
            sound = np.concatenate(held)
            yield sound[:size], start
            held, length, start = [sound[size:]], length - size, start + size / SAMPLE_RATE
    if length:
        yield np.concatenate(held), start
