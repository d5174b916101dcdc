"""Sound put in its place in time: gaps in a stream are silent instead of closed up."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from torchcodec import AudioSamples
from torchcodec.decoders import AudioConverter, Demuxer, RawAudioSamples

from .frames_videobert import decoded
from .opening_videobert import MAX_SECONDS, MediaError

SAMPLE_RATE = 16_000  # what speech recognisers and voice detection listen to
# Timestamps are rounded: only sound that is further off than this is moved to its time.
GAP_SECONDS = 0.1
# A clock that goes back by more than this begins anew, and its sound follows; by less, the same time is told twice.
TWICE_SECONDS = 1.0
NO_TIME = -1e9  # what has no timestamp says that it is older than this
# What a second of sound may have. Few samples make much work, too: a file of 1 Hz is 16,000 times as long at 16 kHz.
SAMPLE_RATES, MAX_CHANNELS = (1_000, 1_000_000), 64
MAX_PACKET_SECONDS = 600  # of sound out of one packet, which is held at once
# Two channels are in opposite phase if they are equal but for their sign, nearly: mixed they would be silent.
OPPOSITE = 0.98
# What is written as a stream does not know its size yet, and claims the largest one.
UNKNOWN_SIZE = 0x7FFF_F000


def check_sound(sample_rate: int | None, num_channels: int | None, name: str):
    """Refuses sound that cannot be one, before work is done on it.

    Raises:
        MediaError: One sentence with the `name` of the file.
    """
    lowest, highest = SAMPLE_RATES
    if sample_rate is None or not lowest <= sample_rate <= highest:
        raise MediaError(f"{name}: sound of {sample_rate} Hz cannot be read; it must be {lowest} to {highest} Hz")
    if num_channels is None or not 1 <= num_channels <= MAX_CHANNELS:
        raise MediaError(f"{name}: sound of {num_channels} channels cannot be read; there may be {MAX_CHANNELS}")


def heard_channels(sound: RawAudioSamples, alone: bool) -> RawAudioSamples:
    """The sound, or its first channel where mixing two would leave nothing of them: they are in opposite phase.

    Where there is silence it stays as before: `alone` tells whether one channel was heard.
    """
    if sound.num_channels != 2:
        return sound
    left, right = sound.data.numpy().astype(np.float32)
    power = (np.dot(left, left) + np.dot(right, right)) / 2
    if np.dot(left, right) < -OPPOSITE * power or (alone and not power):
        return replace(sound, data=sound.data[:1].contiguous())
    return sound


def decoded_sound(demuxer: Demuxer, errors: list[Exception]) -> Iterator[RawAudioSamples]:
    """All sound that can be decoded; where the file itself cannot be read on, it ends."""
    try:
        yield from decoded(demuxer, demuxer.streams[0].make_decoder(), errors)
    except RuntimeError as error:
        errors.append(error)


def sound_in_place(
    sounds: Iterable[RawAudioSamples], longest: float, name: str = "the sound"
) -> Iterator[tuple[float, np.ndarray]]:
    """(time in seconds, samples (N,) float32 mono 16 kHz), each piece beginning where the one before it ends.

    A gap is filled with silence, unless it makes the sound last more than `longest` seconds: that time is broken.

    Raises:
        MediaError: There is no end to it, or its rate or channels become such as no sound has.
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
        if kind is None or kind[0] != sound.sample_rate:
            check_sound(sound.sample_rate, sound.num_channels, name)
        seconds = sound.num_samples / sound.sample_rate
        if seconds > MAX_PACKET_SECONDS:
            raise MediaError(f"{name}: one packet holds {seconds:.0f} s of sound; {MAX_PACKET_SECONDS} s are allowed")
        if start is None:
            start = due = time if time > NO_TIME else 0.0
            given = 0
        if -TWICE_SECONDS < time - due < -GAP_SECONDS:
            continue
        sound = heard_channels(sound, kind == (sound.sample_rate, 1))
        gap = GAP_SECONDS < time - due and time - start <= longest
        if kind is not None and (gap or kind != (sound.sample_rate, sound.num_channels)):
            yield from placed([_samples(converter.drain())])
            converter.reset()
        if gap:
            yield from placed(silence(time))
            due = time
        kind = sound.sample_rate, sound.num_channels
        yield from placed([_samples(converter.convert(sound))])
        due += seconds
        if due - start > MAX_SECONDS:
            raise MediaError(f"{name}: there are more than {MAX_SECONDS // 3600} hours of sound")
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
