"""The sound tracks of an open file: which one is heard, and how long it says it is."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from torchcodec.decoders import (
    AudioDecoder,
    AudioStreamMetadata,
    ContainerMetadata,
    Demuxer,
    VideoStreamHeaderMetadata,
)

from .opening_videobert import MediaError, Source
from .sound_videobert import check_sound, decoded_sound, riff_size, sound_in_place
from .tracks_videobert import UNKNOWN, sound_languages


class SoundTracks:
    """The sound tracks of a file; by default the one is heard that players take.

    Args:
        source ([`Source`]):
            The open file.
        container (`ContainerMetadata`):
            What its header says.

    Attributes:
        languages (`list[str]`):
            Of each track, as the file writes it; `"und"` where it does not say.
        chosen (`int`, *optional*):
            The track that is heard, counted from 0; `None` if there is none.
    """

    def __init__(self, source: Source, container: ContainerMetadata):
        self._source = source
        self._container = container
        self._streams = [stream.stream_index for stream in container.streams if stream.media_type == "audio"]
        best = container.best_audio_stream_index
        self.chosen = None if best is None else self._streams.index(best)
        self.languages = self._read_languages()

    def _read_languages(self) -> list[str]:
        unknown = [UNKNOWN] * len(self._streams)
        if len(unknown) < 2:
            return unknown
        with self._source.reading("the sound tracks cannot be read"):
            languages = sound_languages(self._source.view())
        return languages if len(languages) == len(unknown) else unknown

    def choose(self, track: int):
        """Hears another track, counted from 0.

        Raises:
            MediaError: There is no such track.
        """
        count = len(self._streams)
        if not 0 <= track < count:
            raise MediaError(f"{self._source.name}: there is no sound track {track}; it has {count} of them")
        self.chosen = track

    def read_header(self, size: int | None = None) -> AudioStreamMetadata:
        """What the track says of itself, in the whole file or in its first `size` bytes."""
        with self._source.reading("the sound stream cannot be read"):
            return AudioDecoder(self._source.view(size), stream_index=self._streams[self.chosen]).metadata

    def find_stated_seconds(self, beside_pictures: bool) -> float:
        """Seconds of sound that the file says it has; 0 where it does not say.

        FFmpeg fills in what is missing: it divides the file's size by the bit rate, or looks for the last timestamp.
        Such a length is another one if half the file is hidden. It takes a WAV file that was cut for a shorter one,
        too, whose header still knows how many bytes there were.
        """
        size = self._source.size
        stated = self._find_length(size, beside_pictures)
        with suppress(MediaError):  # half of it cannot be opened: what it states stands at its end
            if self._find_length(size // 2, beside_pictures) != stated:
                return stated * riff_size(self._source.view().read(8)) / size
        return stated

    def _find_length(self, size: int, beside_pictures: bool) -> float:
        """As FFmpeg finds it. Some formats know only when the whole file ends, which beside pictures says nothing of
        the sound."""
        header = self.read_header(size)
        if header.duration_seconds_from_header or beside_pictures:
            return float(header.duration_seconds_from_header or 0)
        return float((header.duration_seconds or 0) - (header.begin_stream_seconds or 0))

    def promised_end(self, video: VideoStreamHeaderMetadata) -> float:
        """When the sound beside a video ends on the container's clock, as the header says; infinity where it says
        nothing."""
        sound = self._container.streams[self._streams[self.chosen]]
        if sound.duration_seconds_from_header:
            return sound.duration_seconds_from_header + (sound.begin_stream_seconds_from_header or 0)
        if not self._container.duration_seconds_from_header:
            return float("inf")
        begins = [stream.begin_stream_seconds_from_header or 0 for stream in (sound, video)]
        return self._container.duration_seconds_from_header + min(begins)

    def check_header(self) -> float:
        """Refuses what is no sound before it is decoded.

        Returns:
            `float`: Seconds that FFmpeg takes it for, which may be a guess.

        Raises:
            MediaError: Its rate or channels are such as no sound has.
        """
        header = self.read_header()
        check_sound(header.sample_rate, header.num_channels, self._source.name)
        return float(header.duration_seconds or 0)

    def decode(self, errors: list[Exception], longest: float) -> Iterator[tuple[float, np.ndarray]]:
        """The sound on the container's clock, to its true end; see [`sound_in_place`]."""
        with self._source.reading("the sound stream cannot be read"):
            demuxer = Demuxer(self._source.view(), streams=self._streams[self.chosen])
        return sound_in_place(decoded_sound(demuxer, errors), longest, self._source.name)
