"""MPEG transport and program streams (.ts, .m2ts, .mpg, .vob) whose clock begins anew, jumps or wraps.

Recordings and discs are several streams joined byte by byte, each with a clock of its own. FFmpeg's index sorts the
frames by those clocks, and pictures of different parts mix. So the file is shown to it with one steady clock: where a
part's clock is another one, its times go on where those of the part before end, as ffmpeg's own remux does.
"""

import re
from collections.abc import Iterator

import numpy as np

SECOND = 90_000  # of their clock, which has 33 bits
WRAP = 1 << 33
# As in ffmpeg: a stream's clock that goes back by more, or all streams' ahead by more, is another clock.
BACK, AHEAD = SECOND // 10, 10 * SECOND
STEADY_START = 10 * SECOND  # what begins a little earlier than the first packet is not before zero
PACKET_SIZES = (188, 192, 204)
SYNC = 0x47
CHUNK_PACKETS = 1 << 14
CHUNK_BYTES = 1 << 22
# A packet of a program stream with a time: stream, length, flags (MPEG-2) or stuffing (MPEG-1), the time of display
# alone, or that and the time of decoding.
PES_WITH_TIME = re.compile(
    rb"(?s)\x00\x00\x01([\xbd\xc0-\xef])..(?:[\x80-\xbf][\x80-\xff].|\xff{0,16}(?:[\x40-\x7f].)?)"
    rb"([\x20-\x2f].{4}|[\x30-\x3f].{4}(?=[\x10-\x1f]))"
)
LONGEST_PES_HEADER = 64


class Stamps:
    """Times of display and decoding that replace those in a file.

    Args:
        places (`np.ndarray`):
            Where each of them begins in the file, ascending `(N,)`.
        fields (`np.ndarray`):
            Their five bytes, `(N, 5)` uint8.
    """

    def __init__(self, places: np.ndarray, fields: np.ndarray):
        self.places = places
        self.fields = fields

    def written_into(self, data: bytes, start: int) -> bytes:
        """The bytes of the file from `start` on, with these times in them."""
        first, last = np.searchsorted(self.places, (start - 4, start + len(data)))
        if first == last:
            return data
        where = (self.places[first:last, None] + np.arange(5) - start).ravel()
        inside = (where >= 0) & (where < len(data))
        shown = np.frombuffer(data, np.uint8).copy()
        shown[where[inside]] = self.fields[first:last].ravel()[inside]
        return shown.tobytes()


def steady_stamps(view) -> Stamps | None:
    """The times that a file must show to have one steady clock; `None` if it has one, or is no MPEG stream."""
    start = view.read(8 * max(PACKET_SIZES))
    packets = _packet_grid(start)
    if packets:
        found = list(_transport_times(view, *packets))
    elif start.startswith(b"\x00\x00\x01\xba"):
        found = list(_program_times(view))
    else:
        return None
    if not found:
        return None
    # Of each time: place of its field, stream, five bytes, and whether it is one of decoding that follows one of
    # display.
    places, streams, fields, follows = (np.concatenate(part) for part in zip(*found, strict=True))
    if not len(places):  # packets, none of which has a time
        return None
    times = _unpack(fields)
    # A packet is known by its time of decoding, where it has one: that never goes back.
    last_of_packet = ~np.append(follows[1:], False)
    streams_, times_ = streams[last_of_packet], times[last_of_packet]
    if _is_steady(streams_, times_):
        return None
    shifts = _steady_shifts(streams_.tolist(), times_.tolist())
    packet = np.cumsum(last_of_packet) - last_of_packet
    return Stamps(places, _pack((times + shifts[packet]) % WRAP, fields))


def _packet_grid(start: bytes) -> tuple[int, int] | None:
    """(first packet, bytes of a packet) of a transport stream; `None` if it is none."""
    for size in PACKET_SIZES:
        for first in range(size):
            syncs = start[first::size]
            if len(syncs) > 3 and set(syncs) == {SYNC}:
                return first, size
    return None


def _transport_times(view, first: int, size: int) -> Iterator[tuple]:
    """The times of a transport stream, many packets at once; what has lost its grid is found again."""
    place = first
    while True:
        view.seek(place)
        data = view.read(size * CHUNK_PACKETS)
        rows = np.frombuffer(data, np.uint8)[: len(data) // size * size].reshape(-1, size)
        if not len(rows):
            return
        good = int(np.argmin(np.append(rows[:, 0] == SYNC, False)))
        if good:
            yield _times_of_packets(rows[:good, :188], place + size * np.arange(good))
            place += size * good
        else:
            grid = re.compile(b"(?s)G(?=(?:.{%d}G){3})" % (size - 1)).search(data, 1)  # G is the sync byte
            place += grid.start() if grid else len(data)


def _times_of_packets(rows: np.ndarray, places: np.ndarray) -> tuple:
    has_adaptation = (rows[:, 3] & 0x20) > 0
    begin = 4 + np.where(has_adaptation, 1 + rows[:, 4].astype(np.int64), 0)
    starts = ((rows[:, 1] & 0x40) > 0) & ((rows[:, 3] & 0x10) > 0) & (begin <= 188 - 19)
    rows, places, begin = rows[starts], places[starts], begin[starts]
    header = np.take_along_axis(rows, begin[:, None] + np.arange(19), 1)
    stream = header[:, 3]
    timed = (header[:, :3] == (0, 0, 1)).all(1) & ((header[:, 6] & 0xC0) == 0x80) & ((header[:, 7] & 0x80) > 0)
    timed &= ((stream >= 0xC0) & (stream <= 0xEF)) | (stream == 0xBD) | (stream == 0xFD)
    rows, header, places = rows[timed], header[timed], places[timed] + begin[timed]
    packet_id = (rows[:, 1] & 0x1F).astype(np.int64) << 8 | rows[:, 2]
    decoding = (header[:, 7] & 0x40) > 0
    return _in_turn(packet_id, places + 9, header[:, 9:14], decoding, places + 14, header[:, 14:19])


def _program_times(view) -> Iterator[tuple]:
    """The times of a program stream."""
    place, kept = 0, b""
    view.seek(0)
    while new := view.read(CHUNK_BYTES):
        data = kept + new
        matches = [match for match in PES_WITH_TIME.finditer(data) if match.end() <= len(data) - 5]
        if matches:
            fields = [data[match.start(2) : match.start(2) + 10] for match in matches]
            fields = np.frombuffer(b"".join(fields), np.uint8).reshape(-1, 2, 5)
            places = place + np.array([match.start(2) for match in matches])
            streams = np.array([match[1][0] for match in matches])
            yield _in_turn(streams, places, fields[:, 0], fields[:, 0, 0] >= 0x30, places + 5, fields[:, 1])
        rest = max(len(data) - LONGEST_PES_HEADER, matches[-1].end() if matches else 0, 0)
        place, kept = place + rest, data[rest:]


def _in_turn(streams, shown_at, shown, decoding, decoded_at, decoded) -> tuple:
    """Times of display and, where there are, of decoding in the order of the file."""
    places = np.stack([shown_at, decoded_at], 1)
    fields = np.stack([shown, decoded], 1)
    marked = (shown[:, ::2] & 1).all(1)  # bits that are set in every time: other bytes may look like one
    there = np.stack([marked, marked & decoding], 1)
    follows = np.broadcast_to([False, True], there.shape)
    return places[there], np.broadcast_to(streams[:, None], there.shape)[there], fields[there], follows[there]


def _unpack(fields: np.ndarray) -> np.ndarray:
    """33 bits out of five bytes with marker bits between them."""
    a, b, c, d, e = fields.T.astype(np.int64)
    return (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1


def _pack(times: np.ndarray, fields: np.ndarray) -> np.ndarray:
    parts = (fields[:, 0] & 0xF0 | (times >> 30 & 7) << 1, times >> 22 & 0xFF, times >> 14 & 0xFE)
    parts += (times >> 7 & 0xFF, times << 1 & 0xFE)
    packed = np.stack(parts, 1)
    packed[:, [0, 2, 4]] |= 1
    return packed.astype(np.uint8)


def _difference(later, earlier):
    """The shorter way round the clock."""
    return (later - earlier + WRAP // 2) % WRAP - WRAP // 2


def _is_steady(streams: np.ndarray, times: np.ndarray) -> bool:
    """Whether the clock never wraps, no stream's clock goes back, and never all streams' go ahead."""
    if (np.abs(np.diff(times)) > WRAP // 2).any() or (_difference(times[1:], times[:-1]) > AHEAD).any():
        return False
    by_stream = (times[streams == stream] for stream in np.unique(streams))
    return all((np.diff(of_stream) >= -BACK).all() for of_stream in by_stream)


def _steady_shifts(streams: list[int], times: list[int]) -> np.ndarray:
    """What is added to each of the times, in the order of the file, so that they go on without a jump.

    A packet is of the newest clock, or of the one before it (where the last packets of a part come later than the
    first ones of the next), or begins another.
    """
    shifts, given = [STEADY_START - times[0]], []
    last, step, latest = {}, {}, STEADY_START
    for stream, time in zip(streams, times, strict=True):
        before = last.get(stream, latest)
        ways = [_difference(time + shift, before) for shift in shifts[:2]]
        close = [way for way in ways if -BACK <= way <= SECOND]
        fitting = [way for way in ways if -BACK <= way <= AHEAD + max(0, latest - before) or stream not in last]
        if fitting:
            steady = before + (close[0] if close else min(fitting, key=abs))
        else:
            # Of a stream whose packets hold many frames only another one tells when the last of them ends.
            steady = before + step[stream] if stream in step else latest
            shifts.insert(0, steady - time)
        if 0 < steady - before < SECOND:
            step[stream] = steady - before
        last[stream] = steady
        latest = max(latest, steady)
        given.append(steady - time)
    return np.array(given)
