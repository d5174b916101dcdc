"""Which frame is on the screen at a moment, and how it is made small."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch.nn.functional as F
from torchcodec.decoders import AudioPacketDecoder, ColorConverter, Demuxer, RawFrame, VideoPacketDecoder

# Sums of seconds are inexact: a frame that is due at 0.1 s is on the screen at 0.0999999999 s.
TIME_TOLERANCE = 1e-6
# FFmpeg's threads wait for each other's frames: four keep two cores busier than two do. Each one holds frames of the
# full size.
DECODER_THREADS = 4
FRAMES_AHEAD = 3  # see `ahead`
# Frames that a decoder may hold back to put them in order (H.264 allows no more).
MAX_DELAY = 16
# Packets without a frame of their own are normal (fields, hidden reference frames); a longer gap is damage.
LOST_SECONDS = 0.5


def count_clips(duration: float, clip_seconds: float = 1.5) -> int:
    """The number of clips in a video: a last clip is kept if at least half of it is there; there is always one.

    Only the duration counts, never the number of frames: 5 fps and 60 fps give as many clips.
    """
    return max(1, int((duration + TIME_TOLERANCE) / clip_seconds + 0.5))


def frame_times(clip: int, clip_seconds: float = 1.5, fps: float = 20) -> np.ndarray:
    """The moments (seconds) at which clip number `clip` is looked at: `clip_seconds * clip + k / fps`."""
    return clip * clip_seconds + np.arange(round(clip_seconds * fps)) / fps


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the same aspect ratio and a shortest edge of `size`; the longer edge is rounded down."""
    if width <= height:
        return size * height // width, size
    return size, size * width // height


def picture_maker(shape: tuple[int, int], crop_size: tuple[int, int] | None) -> Callable[[RawFrame], np.ndarray]:
    """What turns a decoded frame into a picture (H, W, 3) uint8: upright, of `shape`, its middle cut out.

    Equal to torchvision's antialiased resize and centre crop of the whole RGB frame. Only the frames that are shown
    pay for it, one by one, so that a large one never exists twice.
    """
    converter = ColorConverter("cpu")

    def make_picture(frame):
        pixels = converter.convert(frame).data.permute(1, 2, 0)
        if pixels.shape[:2] != shape:
            # Made a batch before the colours move: the other way round torch takes the pixels for scattered ones.
            batch = pixels[None].permute(0, 3, 1, 2)
            pixels = F.interpolate(batch, shape, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        return _centre(pixels.numpy(), crop_size)

    return make_picture


def _centre(picture: np.ndarray, crop_size: tuple[int, int] | None) -> np.ndarray:
    height, width = crop_size or picture.shape[:2]
    if picture.shape[0] < height or picture.shape[1] < width:
        return picture
    top, left = round((picture.shape[0] - height) / 2), round((picture.shape[1] - width) / 2)
    return picture[top : top + height, left : left + width]


def decoded_frames(demuxer: Demuxer, errors: list[Exception]) -> Iterator[RawFrame]:
    """All frames that can be decoded, in the order of display."""
    return decoded(demuxer, demuxer.streams[0].make_decoder("cpu", num_ffmpeg_threads=DECODER_THREADS), errors)


def timed_frames(frames: Iterable[RawFrame]) -> tuple[np.ndarray, float]:
    """When each of the frames is displayed, ascending, and when the last one ends."""
    times = sorted((frame.pts_seconds, frame.duration_seconds) for frame in frames)
    starts = np.array([start for start, _ in times])
    if not times:
        return starts, 0.0
    usual = float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0
    return starts, times[-1][0] + (times[-1][1] or usual)  # some decoders tell no duration


def decoded(demuxer: Demuxer, decoder: VideoPacketDecoder | AudioPacketDecoder, errors: list[Exception]) -> Iterator:
    """All that a decoder makes of a stream; a damaged packet is lost alone, its error kept."""
    for packet in demuxer:
        try:
            items = decoder.decode(packet)
        except RuntimeError as error:
            errors.append(error)
            continue
        yield from items
    yield from decoder.drain()


def ahead(items: Iterator, count: int = FRAMES_AHEAD) -> Iterator:
    """The same items: another thread gets the next `count` and `count` more while the caller works on the last ones.

    They are handed over together: one by one, two threads that are both busy wait for each other too often.
    """

    def some():
        got: list = []
        try:
            got.extend(islice(items, count))  # keeps those before an error
        except Exception as error:
            return got, error
        return got, None

    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(some) for _ in range(2))
        try:
            while True:
                got, error = coming.popleft().result()
                coming.append(thread.submit(some))
                yield from got
                if error is not None:
                    raise error
                if not got:
                    return
        finally:
            thread.shutdown(cancel_futures=True)


def frames_in_place(frames: Iterable[RawFrame], stamps: np.ndarray, counted: bool) -> Iterator[tuple[int, RawFrame]]:
    """(number of the frame in `stamps`, the frame)

    The `stamps` are the ascending times of display, as the file has them: shifted and shifted back they would no
    longer equal those of the frames. Where frames are only `counted`, a decoder that holds some back to order them
    stamps each with the time of a later one: the first frame shows by how many. A frame without a time follows the
    one before it.
    """
    place, delay = -1, None
    for frame in frames:
        place += 1
        if frame.pts_seconds >= stamps[0]:
            stamped = int(np.searchsorted(stamps, frame.pts_seconds))
            if delay is None:
                delay = stamped if counted and stamped <= MAX_DELAY else 0
            place = max(0, stamped - delay)
        yield place, frame


def pictures_at(
    times: Iterable[float],
    frames: Iterator[tuple[int, RawFrame]],
    starts: np.ndarray,
    make_picture: Callable[[RawFrame], np.ndarray],
    lost: list[float],
) -> Iterator[np.ndarray]:
    """The picture on the screen at each of the ascending `times`, from one pass over `frames` (see above).

    Where frames are missing the one before them stays, at the start the first one is shown; after a longer gap the
    time goes into `lost`. Nothing comes if there are no frames at all.
    """
    shown, picture, coming = None, None, next(frames, None)
    for time in times:
        due = np.searchsorted(starts, time + TIME_TOLERANCE, side="right") - 1
        while coming is not None and coming[0] <= due:
            shown, picture, coming = coming, None, next(frames, None)
        if shown is None and coming is None:
            return
        if picture is None:
            picture = make_picture((shown or coming)[1])
        if shown is None or starts[due] - starts[shown[0]] > LOST_SECONDS:
            lost.append(time)
        yield picture
