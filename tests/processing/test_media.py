"""Frames and sound at their true times, out of every kind of file, and one clear sentence where that is impossible."""

import io
import os
import re
import struct
import subprocess
import threading
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2.functional import center_crop, resize

from processing import opening_videobert, pictures_videobert
from processing.frames_videobert import count_clips, frame_times, resized_shape
from processing.media_videobert import MediaError, open_media


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def make_counter(path, fps, seconds, *options):
    """A video in which frame n has the grey level 16 + 4 (n mod 54), so that each picture tells its number."""
    source = f"color=black:s=64x48:r={fps}:d={seconds},format=yuv420p,geq=lum='16+4*mod(N,54)':cb=128:cr=128"
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def seconds_of_video(path):
    """How long the pictures of a file last, from ffprobe's list of its packets; AVI has no times of display."""
    entries = "-select_streams v:0 -show_entries packet=pts_time,dts_time,duration_time,flags -of csv=p=0".split()
    listed = subprocess.run(["ffprobe", "-v", "quiet", *entries, path], capture_output=True, text=True).stdout
    packets = [line.split(",")[:3] for line in listed.split() if "D" not in line.split(",")[3]]  # not discarded
    starts = np.array([dts if pts == "N/A" else pts for pts, dts, _ in packets], dtype=float)
    lengths = np.array([0 if length == "N/A" else length for _, _, length in packets], dtype=float)
    return (starts + lengths).max() - starts.min()


def shown_numbers(clips):
    """The frame numbers mod 54 read back from the grey levels of clips (T, 3, H, W): video range is 16 … 235."""
    levels = torch.cat(list(clips)).float().mean((1, 2, 3)) * 219 / 255
    return (levels / 4).round().long().tolist()


@pytest.mark.parametrize("fps", ["5", "24", "30000/1001", "60"])
def test_frame_index_is_never_taken_for_time(tmp_path, fps):
    """The fault of earlier implementations: a 5 fps file gave a quarter of the clips that were due. The frame shown at
    k/20 s is floor(k/20 * fps), whatever fps is."""
    rate = float(Fraction(fps))
    path = make_counter(tmp_path / "video.mp4", fps, 3)
    with open_media(path) as media:
        clips = list(media.iter_clips())
        assert media.duration == pytest.approx(3, abs=1 / rate)
    assert [clip.shape for clip in clips] == [(30, 3, 48, 64)] * 2
    last = round(3 * rate) - 1
    assert shown_numbers(clips) == [min(int(k / 20 * rate + 1e-6), last) % 54 for k in range(60)]


def test_variable_frame_rate_shows_what_was_on_the_screen(tmp_path):
    """Ten frames a second, of which 3 … 7 are missing: frame 2 stays on the screen until frame 8 comes."""
    path = make_counter(tmp_path / "video.mkv", 10, 1.5, "-vf", "select='not(between(n,3,7))'", "-vsync", "vfr")
    with open_media(path) as media:
        shown = shown_numbers(media.iter_clips())
    assert shown == [n if n < 3 or n > 7 else 2 for n in (k // 2 for k in range(30))]


@pytest.mark.parametrize(
    "codec", [["mpeg4", "-bf", "2"], ["libx264", "-bf", "3"], ["libxvid"], ["mjpeg"]], ids=lambda codec: codec[0]
)
def test_file_that_only_counts_frames(tmp_path, codec):
    """AVI stores no times of display: frames that the decoder holds back to order them are not shown late for it."""
    path = make_counter(tmp_path / "video.avi", 25, 3, "-c:v", *codec, "-q:v", "2")
    with open_media(path) as media:
        assert media.duration == pytest.approx(3)
        assert shown_numbers(media.iter_clips()) == [min(int(k / 20 * 25 + 1e-6), 74) % 54 for k in range(60)]
        assert not media.problems


@pytest.mark.parametrize(
    "name, options",
    [
        ("ten bits.mkv", ["-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("444.mp4", ["-pix_fmt", "yuv444p"]),
        ("no duration.mkv", ["-live", "1"]),
        ("no duration.webm", ["-c:v", "libvpx", "-live", "1", "-b:v", "1M"]),
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-b:v", "1M"]),
        ("long group.mp4", ["-g", "1000", "-bf", "8"]),
        ("open group.ts", ["-g", "15", "-x264-params", "open-gop=1"]),
        ("fragments.mp4", ["-movflags", "frag_keyframe+empty_moov"]),
        ("mpeg2.ts", ["-c:v", "mpeg2video", "-bf", "2", "-q:v", "1"]),
        ("film.mov", ["-c:v", "prores", "-pix_fmt", "yuv422p10le"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_container_and_codec_shows_the_same_frames(tmp_path, name, options):
    """What is on the screen at k/20 s of a 25 fps file, by its drawn number, whatever it is packed in."""
    path = make_counter(tmp_path / name, 25, 3, *options)
    with open_media(path) as media:
        shown = shown_numbers(media.iter_clips())
        assert not media.problems
    assert shown == [int(k / 20 * 25 + 1e-6) % 54 for k in range(60)]


def test_odd_sizes(tmp_path):
    """Sizes that no codec likes come out as asked, and the picture is whole: white left, black right."""
    for width, height in ((97, 51), (51, 97), (33, 34)):
        path = tmp_path / f"{width}.mkv"
        source = f"color=black:s={width}x{height}:r=10:d=0.5,format=rgb24,drawbox=0:0:{width // 2}:{height}:white:fill"
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264rgb", "-qp", "0", path)
        with open_media(path) as media:
            (clip,) = media.iter_clips(size=32, crop_size=(32, 32))
            (whole,) = media.iter_clips()
        assert clip.shape == (30, 3, 32, 32) and whole.shape == (30, 3, height, width)
        for picture in (clip[0], whole[0]):
            columns = picture.float().mean((0, 1))
            assert columns[: len(columns) // 2 - 1].min() > 250 and columns[len(columns) // 2 + 2 :].max() < 5


def test_size_that_changes_within_a_video(tmp_path):
    """A stream may change its resolution: all frames are made to fit the first."""
    for number, size in enumerate(("64x48", "128x96")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:r=20:d=1.5", tmp_path / f"{number}.ts")
    data = b"".join((tmp_path / f"{number}.ts").read_bytes() for number in range(2))
    with open_media(data) as media:
        clips = list(media.iter_clips())
    assert {clip.shape[2:] for clip in clips} == {(48, 64)}


def test_interlaced_video_does_not_comb(tmp_path):
    """Two fields of different moments lie in one frame. Made half as high, a frame blends them: neighbouring rows of
    a moving edge differ no more than those of a progressive one."""
    source = "color=black:s=480x384:r=50:d=0.5,format=yuv420p,geq=lum='235*lt(mod(X-12*N+7200,144),72)':cb=128:cr=128"
    options = {"progressive.mp4": ["-r", "25"], "interlaced.mp4": ["-vf", "tinterlace=4", "-flags", "+ildct+ilme"]}
    combing = {}
    for name, option in options.items():
        ffmpeg("-f", "lavfi", "-i", source, *option, tmp_path / name)
        with open_media(tmp_path / name) as media:
            for size in (150, 384):
                (clip,) = media.iter_clips(size=size)
                combing[name, size] = (clip[:, :, 1:].float() - clip[:, :, :-1].float()).abs().mean().item()
    assert combing["interlaced.mp4", 384] > 10 and combing["progressive.mp4", 384] < 2
    assert combing["interlaced.mp4", 150] < 2


def test_decoded_once_in_a_stream(tmp_path, monkeypatch):
    """A 5 fps source with one key frame: frames stay across the borders of clips, yet each is decoded once, in order,
    and each picture is made once; the file is read for its header, the times and the frames."""
    path = make_counter(tmp_path / "video.mkv", 5, 30, "-g", "1000")
    decoded, made = [], []
    frames, maker = pictures_videobert.decoded_frames, pictures_videobert.picture_maker

    def counted_frames(*arguments):
        for frame in frames(*arguments):
            decoded.append(frame.pts_seconds)
            yield frame

    def counted_maker(*arguments):
        make = maker(*arguments)
        return lambda frame: made.append(frame.pts_seconds) or make(frame)

    monkeypatch.setattr(pictures_videobert, "decoded_frames", counted_frames)
    monkeypatch.setattr(pictures_videobert, "picture_maker", counted_maker)
    file = CountingFile(path.read_bytes())
    with open_media(file) as media:
        assert shown_numbers(media.iter_clips()) == [k // 4 % 54 for k in range(600)]
    assert decoded == made == pytest.approx([n / 5 for n in range(150)], abs=1e-3)
    assert file.bytes_read < 3.1 * len(file.getvalue()) + 2048  # its first bytes tell what kind it is


def test_stopping_early_leaves_no_thread(tmp_path):
    """Frames are decoded ahead in a thread; who takes one clip and closes the file leaves nothing running."""
    path = make_counter(tmp_path / "video.mp4", 20, 6)
    before = set(threading.enumerate())  # of which some may end meanwhile: they are others'
    with open_media(path) as media:
        clips = media.iter_clips()
        assert shown_numbers([next(clips)]) == list(range(30))
        assert len(set(threading.enumerate()) - before) == 1
    clips.close()
    assert not set(threading.enumerate()) - before


class CountingFile(io.BytesIO):
    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_pictures_equal_torchvision(tmp_path):
    """Resizing and cropping are those of torchvision on the whole RGB frame, to the last bit."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=426x240:r=20:d=1.5", path)
    with open_media(path) as media:
        (whole,) = media.iter_clips()
        (clip,) = media.iter_clips(size=112, crop_size=(112, 112))
    assert torch.equal(clip, center_crop(resize(whole, [112, 198]), [112, 112]))


def test_time_starts_at_the_first_displayed_frame(tmp_path):
    """A container's clock may start anywhere; ours starts with the first picture."""
    path = make_counter(tmp_path / "video.mkv", 20, 1.5, "-output_ts_offset", "0.834")
    with open_media(path) as media:
        assert media.begin == pytest.approx(0.834, abs=2e-3)
        assert media.duration == pytest.approx(1.5, abs=2e-3)
        assert shown_numbers(media.iter_clips()) == list(range(30))


@pytest.mark.parametrize("begin", ["0.067", "0.083", "1.4"])
def test_no_frame_is_late_for_a_rounded_sum(tmp_path, begin):
    """Times that are shifted to our zero and back differ in the last bit: a frame compared with them was taken for
    the one after it."""
    path = make_counter(tmp_path / "video.mkv", 25, 3, "-output_ts_offset", begin)
    with open_media(path) as media:
        assert shown_numbers(media.iter_clips(fps=25, clip_seconds=1)) == [n % 54 for n in range(75)]


def test_tail_is_padded_with_the_last_frame(tmp_path):
    """The fault of earlier implementations: tail padding off by one. 2.25 s are one clip and a half: two clips, the
    second of which shows 15 new frames and the last of them 15 times more."""
    path = make_counter(tmp_path / "video.mp4", 20, 2.25)
    with open_media(path) as media:
        shown = shown_numbers(media.iter_clips())
    assert shown == list(range(45)) + [44] * 15


@pytest.mark.parametrize(
    "duration, clips",
    [(0, 1), (0.1, 1), (1.5, 1), (2.2, 1), (2.25, 2), (3, 2), (3.74, 2), (3.75, 3), (10, 7), (3600, 2400)],
)
def test_last_clip_is_kept_if_half_of_it_is_there(duration, clips):
    """The documented rule of the number of clips, by hand."""
    assert count_clips(duration) == clips


def test_frame_times_by_hand():
    """Clip 2 of half-second clips at 4 fps is looked at 1 s and 1.25 s after the first frame."""
    assert frame_times(2, clip_seconds=0.5, fps=4).tolist() == [1.0, 1.25]


def test_one_frame_is_one_clip(tmp_path):
    """A picture in a video file has a clip like any other."""
    for name in ("video.mp4", "video.mkv", "video.gif"):
        ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48:r=10:d=0.1", "-frames:v", "1", tmp_path / name)
        with open_media(tmp_path / name) as media:
            (clip,) = media.iter_clips()
        assert clip.shape == (30, 3, 48, 64) and (clip == clip[:1]).all()


@pytest.mark.parametrize("degrees, corner", [(90, "top right"), (180, "bottom right"), (270, "bottom left")])
def test_rotated_video_is_seen_upright(tmp_path, degrees, corner):
    """Phones store the picture lying down and a note beside it. White is stored in the top left corner."""
    path = tmp_path / "plain.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=black:s=160x80:r=10:d=0.5,drawbox=0:0:40:40:white:fill", path)
    data = bytearray(path.read_bytes())
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    place = data.index(b"tkhd") + 44  # the matrix of the track header
    data[place : place + 36] = matrix
    with open_media(bytes(data)) as media:
        (clip,) = media.iter_clips(size=40)
        assert (media.height, media.width) == ((160, 80) if degrees != 180 else (80, 160))
    bright = clip[0].float().mean(0)
    middle_y, middle_x = bright.shape[0] // 2, bright.shape[1] // 2
    quarters = {
        "top left": bright[:middle_y, :middle_x].mean(),
        "top right": bright[:middle_y, middle_x:].mean(),
        "bottom left": bright[middle_y:, :middle_x].mean(),
        "bottom right": bright[middle_y:, middle_x:].mean(),
    }
    assert max(quarters, key=quarters.get) == corner


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    """An anamorphic 4:3 file that is shown 16:9 must not make everybody thin."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=120x90:r=10:d=0.5,setsar=4/3", path)
    with open_media(path) as media:
        assert (media.width, media.height) == (160, 90)
        (clip,) = media.iter_clips(size=45)
    assert clip.shape[2:] == (45, 80)


def test_decoder_resizes_and_crops(tmp_path):
    """The shortest edge is asked for, the longer one follows; the crop is the centre."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=black:s=320x160:r=10:d=0.5,drawbox=80:0:160:160:white:fill", path)
    with open_media(path) as media:
        (whole,) = media.iter_clips(size=40)
        (centre,) = media.iter_clips(size=40, crop_size=(40, 40))
    assert whole.shape[2:] == (40, 80) and centre.shape[2:] == (40, 40)
    assert whole.float().mean() == pytest.approx(128, abs=4) and centre.float().mean() > 250


@pytest.mark.parametrize(
    "height, width, expected", [(90, 160, (45, 80)), (160, 90, (80, 45)), (45, 45, (45, 45)), (1, 1, (45, 45))]
)
def test_resized_shape_by_hand(height, width, expected):
    assert resized_shape(height, width, 45) == expected


def test_every_way_of_giving_a_video(tmp_path):
    """Path, string, bytes and open file show the same; a file of the user's stays open."""
    path = make_counter(tmp_path / "video.mp4", 20, 1.5)
    expected = list(range(30))
    with open(path, "rb") as file:
        for video in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file):
            with open_media(video) as media:
                assert shown_numbers(media.iter_clips()) == expected
        assert not file.closed


def test_name_that_looks_like_an_option(tmp_path, monkeypatch):
    """`-video.mp4` is a file like any other."""
    make_counter(tmp_path / "video.mp4", 20, 1.5).rename(tmp_path / "-video.mp4")
    monkeypatch.chdir(tmp_path)
    with open_media("-video.mp4") as media:
        assert media.duration == pytest.approx(1.5)


# --- sound --------------------------------------------------------------------------------------------------


def make_tone(path, *options, video="testsrc=s=64x48:r=10:d=2", sound="sine=440:d=2:r=44100"):
    ffmpeg("-f", "lavfi", "-i", video, *options, "-f", "lavfi", "-i", sound, path)
    return path


def test_sound_is_mono_16_khz(tmp_path):
    with open_media(make_tone(tmp_path / "video.mp4")) as media:
        waveform, start = media.read_speech()
    assert waveform.dtype == np.float32 and waveform.ndim == 1 and start == pytest.approx(0, abs=1e-3)
    assert len(waveform) == pytest.approx(2 * 16000, abs=1600)
    spectrum = np.abs(np.fft.rfft(waveform[:16000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@pytest.mark.parametrize("offset", [0.7, -0.4])
def test_sound_is_placed_on_the_clock_of_the_video(tmp_path, offset):
    """Late sound begins after the first picture, early sound before it: a sentence must land where it is seen."""
    path = tmp_path / "video.mkv"
    delay = ("-itsoffset", offset) if offset > 0 else ()
    early = ("-itsoffset", -offset) if offset < 0 else ()
    ffmpeg(
        *early, "-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=2", *delay, "-f", "lavfi", "-i", "sine=440:d=2:r=16000",
        "-c:a", "pcm_s16le", path,
    )  # fmt: skip
    with open_media(path) as media:
        waveform, start = media.read_speech()
    assert start == pytest.approx(offset, abs=0.02)
    assert np.abs(waveform[:100]).max() > 0.01  # the tone begins at once


def test_blocks_are_the_whole_sound(tmp_path):
    """Reading hours in blocks loses and doubles nothing: the blocks follow one another and equal one reading."""
    path = make_tone(tmp_path / "video.mkv", sound="anoisesrc=d=9.3:r=16000:a=0.3:seed=1")
    with open_media(path) as media:
        whole, _ = media.read_speech()
        blocks = list(media.iter_speech(block_seconds=2))
    starts = [start for _, start in blocks]
    assert len(blocks) == 5 and starts == pytest.approx([2 * i + starts[0] for i in range(5)], abs=1e-6)
    joined = np.concatenate([block for block, _ in blocks])
    assert len(joined) == len(whole)
    np.testing.assert_allclose(joined, whole, atol=0.02)


def test_video_without_sound(tmp_path):
    with open_media(make_counter(tmp_path / "video.mp4", 20, 1.5)) as media:
        assert not media.has_audio and media.read_speech() is None and list(media.iter_speech()) == []


def test_sound_without_video(tmp_path):
    """A talk without pictures can be heard; asking it for pictures says what is missing."""
    path = tmp_path / "talk.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=2", path)
    with open_media(path) as media:
        assert media.duration == pytest.approx(2) and len(media.read_speech()[0]) == 32000
        with pytest.raises(MediaError, match="talk.wav: there is no video stream"):
            list(media.iter_clips())


def loud(waveform):
    """Which tenths of a second can be heard."""
    tenths = waveform[: len(waveform) // 1600 * 1600].reshape(-1, 1600)
    return [k for k, level in enumerate(np.abs(tenths).max(1)) if level > 0.05]


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "flac"])
def test_gap_in_the_sound_is_silent(tmp_path, codec):
    """What is said after a gap stays at its time: torchcodec's own ranges close the gap up and let it come sooner.
    Neither the length of a block nor a header without duration changes that."""
    path = tmp_path / "talk.mkv"
    tone = "sine=440:d=12:r=44100,asetnsamples=441,volume=4,aselect='lt(t,2)+between(t,5,6.999)+gte(t,9.5)'"
    ffmpeg("-f", "lavfi", "-i", tone, "-c:a", codec, "-live", "1", path)
    due = {*range(20), *range(50, 70), *range(95, 120)}
    with open_media(path) as media:
        whole, start = media.read_speech()
        blocks = list(media.iter_speech(block_seconds=1))
    edges = {19, 20, 49, 50, 69, 70, 94, 95, 119, 120}  # coded sound is spread over its frames
    assert start == pytest.approx(0, abs=0.03) and len(whole) == pytest.approx(12 * 16000, abs=1600)
    assert set(loud(whole)) - edges == due - edges
    assert [start for _, start in blocks] == pytest.approx([k + start for k in range(len(blocks))])
    assert {len(block) for block, _ in blocks[:-1]} == {16000}
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), whole)


@pytest.mark.parametrize("name, options", [("talk.mp3", ["-q:a", "2", "-write_xing", "0"]), ("talk.aac", [])])
@pytest.mark.parametrize("quiet", ["lt(t,10)", "gt(t,24)"])
def test_sound_longer_or_shorter_than_its_header_guesses(tmp_path, name, options, quiet):
    """Without an index FFmpeg guesses the length from the first seconds' rate, by a factor: nothing is lost of 34 s,
    and the duration is the true one."""
    path = tmp_path / name
    source = f"aevalsrc='if({quiet},0,0.9)*(random(0)-0.5)':d=34:s=44100"
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    with open_media(path) as media:
        waveform, _ = media.read_speech()
        assert media.duration == pytest.approx(34, abs=0.1) and not media.problems
    assert len(waveform) == pytest.approx(34 * 16000, abs=1600)
    assert len(set(loud(waveform)) & set(range(100, 240))) == 140


@pytest.mark.parametrize("name", ["talk.m4a", "talk.mp3", "talk.flac"])
def test_cover_is_no_video(tmp_path, name):
    """A picture attached to the sound has no time: the file lasts as long as it can be heard."""
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", "1", tmp_path / "cover.png")
    attached = ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"]
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=8", "-i", tmp_path / "cover.png", *attached, tmp_path / name)
    with open_media(tmp_path / name) as media:
        waveform, start = media.read_speech()
        assert not media.has_video and media.duration == pytest.approx(8, abs=0.1)
    assert start == pytest.approx(0, abs=0.05) and len(waveform) == pytest.approx(8 * 16000, abs=1600)


@pytest.mark.parametrize("name", ["video.webm", "video.mkv", "video.mp4"])
def test_last_picture_stays_until_the_sound_ends(tmp_path, name):
    """Slides, the last of which comes at 2 s, and 8 s of sound: players show it to the end, and so do the clips."""
    path = make_tone(tmp_path / name, video="testsrc=s=64x48:r=1:d=3", sound="sine=440:d=8:r=48000")
    with open_media(path) as media:
        clips = list(media.iter_clips())
        assert media.duration == pytest.approx(8, abs=0.1) and media.problems == []
    assert len(clips) == 5 and (torch.cat(clips)[45:] == clips[1][-1]).all() and not (clips[0][0] == clips[4]).all()


@pytest.mark.parametrize("name", ["video.mkv", "video.mp4"])
def test_single_picture_with_a_sound_track(tmp_path, name):
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", "1", tmp_path / "picture.png")
    ffmpeg("-i", tmp_path / "picture.png", "-f", "lavfi", "-i", "sine=440:d=6", path)
    with open_media(path) as media:
        clips = torch.cat(list(media.iter_clips()))
        assert media.duration == pytest.approx(6, abs=0.1) and media.problems == []
    assert len(clips) == 4 * 30 and (clips == clips[0]).all()


def test_frames_at_any_time_are_no_cover(tmp_path):
    """FFmpeg gives a video whose rate it cannot guess the 90,000 frames a second of a cover."""
    moments = "settb=1/90000,setpts='PTS+floor(random(0)*8000)'"
    options = "-fps_mode passthrough -enc_time_base 1/90000 -video_track_timescale 90000 -bf 0".split()
    path = tmp_path / "video.mp4"
    sources = "-f lavfi -i testsrc=s=64x48:r=10:d=2 -f lavfi -i sine=440:d=2".split()
    ffmpeg(*sources, "-vf", moments, *options, path)
    with open_media(path) as media:
        assert media.has_video and len(list(media.iter_clips())) == 1 and media.duration == pytest.approx(2, abs=0.2)


def test_video_that_begins_after_its_sound(tmp_path):
    """In FLV there is no picture at time zero then, to which a scan could go back: the frames tell their times."""
    path = tmp_path / "video.flv"
    sources = "-f lavfi -i testsrc=s=64x48:r=10:d=2 -f lavfi -i sine=440:d=2:r=44100".split()
    ffmpeg(*sources, "-c:v", "flv", "-c:a", "libmp3lame", path)
    with open_media(path) as media:
        assert media.duration == pytest.approx(2, abs=0.05) and len(list(media.iter_clips())) == 1
        assert media.problems == []


def test_damaged_sound_is_silent_where_it_is_damaged(tmp_path):
    """What can be heard is kept at its place, and the damage is reported."""
    path = tmp_path / "talk.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=20:r=16000", "-c:a", "aac", "-b:a", "64k", path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = np.random.default_rng(0).bytes(1500)
    with open_media(bytes(data)) as media:
        waveform, start = media.read_speech()
        (problem,) = media.problems
    assert "damaged" in problem and len(waveform) == pytest.approx(20 * 16000, abs=1600)
    assert np.abs(waveform[: 16000 * 8]).max() > 0.05 and np.abs(waveform[16000 * 13 : 16000 * 19]).max() > 0.05


def test_unreadable_sound_leaves_the_pictures(tmp_path):
    """A sound decoder that cannot start is a problem of the sound alone: it is noted, and the clips come."""
    data = make_tone(tmp_path / "video.mkv").read_bytes()
    assert data.count(b"\x05vorbis") == 1  # the decoder's settings
    with open_media(data.replace(b"\x05vorbis", b"\x05nobody")) as media:
        assert media.read_speech() is None
        assert len(list(media.iter_clips())) == 1
        assert len(media.problems) == 1 and "sound" in media.problems[0]


# --- files that are not what they should be ----------------------------------------------------------------


def error_of(video):
    """The one sentence with which a video is refused."""
    with pytest.raises(MediaError) as caught:
        with open_media(video) as media:
            list(media.iter_clips())
    message = str(caught.value)
    assert "\n" not in message and ".cpp" not in message and len(message) < 400
    return message


def test_missing_and_strange_paths(tmp_path):
    """Only regular files are opened: no folder, no pipe (which would hang), no address, no FFmpeg protocol."""
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "no.mp4", tmp_path, tmp_path / "pipe.mp4", "http://localhost/a.mp4", "concat:a.mp4|b.mp4"):
        assert "no such file" in error_of(path) and str(path) in error_of(path)


def test_not_a_video(tmp_path):
    for name, data, reason in [
        ("empty.mp4", b"", "empty"),
        ("zero.mp4", bytes(10000), "not a readable"),
        ("text.mp4", b"This is not a video.\n" * 100, "not a readable"),
    ]:
        (tmp_path / name).write_bytes(data)
        message = error_of(tmp_path / name)
        assert reason in message and name in message
        assert reason in error_of(data)
    assert "not int" in error_of(5)
    assert "text" in error_of(io.StringIO("text"))


def test_truncated_file_says_so(tmp_path):
    """An mp4 whose index was at the lost end cannot be opened; one sentence says which file."""
    path = make_counter(tmp_path / "video.mp4", 20, 3)
    data = path.read_bytes()
    (tmp_path / "short.mp4").write_bytes(data[: len(data) * 2 // 3])
    assert "short.mp4" in error_of(tmp_path / "short.mp4")


def test_damage_in_the_middle_costs_only_what_is_damaged(tmp_path):
    """A fifth of a file is overwritten: clips keep their places in time, the last good frame stands for what is
    gone, what follows is decoded again, and a note says that there is damage."""
    path = make_counter(tmp_path / "video.mkv", 20, 12, "-g", "20")
    data = bytearray(path.read_bytes())
    start, stop = len(data) * 2 // 5, len(data) * 3 // 5
    data[start:stop] = bytes(stop - start)
    with open_media(bytes(data)) as media:
        shown = shown_numbers(media.iter_clips())
        assert media.duration == pytest.approx(12) and "damaged" in media.problems[0]
    right = [number == n % 54 for n, number in enumerate(shown)]
    gap = right.index(False)
    again = len(right) - right[::-1].index(False)
    assert 60 < gap and again < 220 and max(shown.count(number) for number in set(shown)) > 100


def video_of_pictures(path, num_frames):
    """A 20 fps file of single pictures, and the places in it where each begins."""
    source = "mandelbrot=s=64x48:r=20"  # no two frames are alike
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", num_frames, "-c:v", "magicyuv", path)
    data = path.read_bytes()
    codes = [match.start() for match in re.finditer(b"MAGY", data)]  # the header has one, too
    return bytearray(data), codes[-num_frames:]


def test_frames_that_cannot_be_decoded_are_counted(tmp_path):
    """The packets are there, but three seconds of them are noise: the row says how many, and from when on."""
    path = tmp_path / "video.mkv"
    data, codes = video_of_pictures(path, 180)
    for start in codes[60:120]:
        data[start] = 0
    with open_media(bytes(data)) as media:
        clips = torch.cat(list(media.iter_clips()))
        problems = " ".join(media.problems)
    assert (clips[60:120] == clips[59]).all() and not (clips[120] == clips[59]).all()
    assert "60 of its packets" in problems and "2.5 s of the video are damaged, from 3.5 s on" in problems


def test_damage_at_the_start_shows_the_first_good_frame(tmp_path):
    path = tmp_path / "video.mkv"
    data, codes = video_of_pictures(path, 60)
    for start in codes[:20]:
        data[start] = 0
    with open_media(bytes(data)) as media:
        clips = torch.cat(list(media.iter_clips()))
        assert (clips[:21] == clips[20]).all() and not (clips[21] == clips[20]).all()
        assert "20 of its packets" in media.problems[0]
    for start in codes:
        data[start] = 0
    assert "none of its frames can be decoded" in error_of(bytes(data))


def test_cut_off_video_is_noted(tmp_path):
    """Half of a file whose index is at its start plays well and ends early: it is read, and the loss reported."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=20:d=12", "-g", "20", "-movflags", "+faststart", path)
    data = path.read_bytes()
    with open_media(data[: len(data) // 2]) as media:
        (tmp_path / "short.mp4").write_bytes(data[: len(data) // 2])
        assert len(list(media.iter_clips())) == count_clips(seconds_of_video(tmp_path / "short.mp4"))
        assert 3 < media.duration < 9 and "of the 12.0 s" in media.problems[0]


def test_damage_in_the_last_frame_is_worked_around(tmp_path):
    """Real files fail on their very last frame: the last readable one stands for it."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=20:d=6", "-g", "5", "-bf", "0", "-movflags", "+faststart", path)
    data = path.read_bytes()
    with open_media(data[:-6000]) as media:
        clips = list(media.iter_clips())
        assert len(clips) == 4
    assert (clips[-1][-1] == clips[-1][-2]).all() and not (clips[-1][0] == clips[-1][-1]).all()


def test_file_without_end_is_given_up(tmp_path):
    """No hang: a stream that never ends would be searched for its end forever."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=20:d=3", tmp_path / "video.ts")
    packets = (tmp_path / "video.ts").read_bytes()

    class Endless(io.RawIOBase):
        place = 0

        def readable(self):
            return True

        def read(self, size=-1):
            start = self.place % len(packets)
            self.place += size
            return (packets[start:] + packets * (size // len(packets) + 1))[:size]

        def seek(self, offset, whence=os.SEEK_SET):
            self.place = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: 1 << 50}[whence] + offset
            return self.place

    with pytest.raises(MediaError, match="given up after 0.5 s"):
        with open_media(Endless(), time_limit=0.5) as media:
            list(media.iter_clips())


def test_time_between_clips_is_not_that_of_reading(tmp_path, monkeypatch):
    """A network works meanwhile, longer than reading may take."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=20:d=3", tmp_path / "video.ts")
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(opening_videobert, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with open_media(tmp_path / "video.ts", time_limit=1) as media:
        for _ in media.iter_clips():
            clock.now += 0.6
    assert clock.now == 1.2


def test_playlist_in_disguise_leads_nowhere(tmp_path):
    """An HLS or concat list named .mp4 must not open another local file."""
    secret = make_counter(tmp_path / "secret.ts", 20, 2)
    lists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {secret}\n",
        "near.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert name in error_of(tmp_path / name)
        error_of(text.encode())


def test_frames_above_the_limit_are_refused_before_decoding(tmp_path):
    """A tiny file may hold enormous frames. An extreme strip would grow enormous when its short edge is resized."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=black:s=640x480:r=10:d=0.2", path)
    with pytest.raises(MediaError, match="640 x 480"):
        open_media(path, max_pixels=640 * 480 - 1)
    open_media(path, max_pixels=640 * 480).close()
    strip = tmp_path / "strip.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=black:s=8192x2:r=10:d=0.2", "-c:v", "ffv1", strip)
    with open_media(strip) as media, pytest.raises(MediaError, match="pixels allowed"):
        list(media.iter_clips(size=224))


def test_broken_timestamp_does_not_make_years_of_clips(tmp_path):
    """Two frames, the second a month later: refused, instead of two million clips."""
    path = tmp_path / "video.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=1:d=2", "-vf", "setpts=N*2600000/TB", "-vsync", "passthrough", path)
    assert "hours" in error_of(path)


def test_picture_that_stays_for_hours(tmp_path):
    """Two frames, the second 23 hours later: 55,000 clips of one picture are none that anybody made. One hour of them
    comes, and a note."""
    path = tmp_path / "video.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=16x16:r=1:d=2", "-vf", "setpts=N*82800/TB", "-vsync", "passthrough", path)
    with open_media(path) as media:
        assert media.duration == 3600 and sum(1 for _ in media.iter_clips(fps=2, clip_seconds=10)) == 360
        (problem,) = media.problems
    assert "stays for 23.0 hours" in problem


def test_frames_of_no_size(tmp_path):
    """A header that claims 0 x 0 pixels, as an animated WebP's: one sentence; beside sound a note, and it is heard."""
    webp = b"RIFF" + struct.pack("<I", 0x1000) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + bytes(6)
    assert "bytes>: " in error_of(webp + b"ANIM" + struct.pack("<I", 6) + bytes(2000))
    sources = "-f lavfi -i testsrc=s=64x48:r=10:d=2 -f lavfi -i sine=440:d=2".split()
    ffmpeg(*sources, "-c:v", "ffv1", "-level", "1", tmp_path / "video.mkv")
    data = bytearray((tmp_path / "video.mkv").read_bytes())
    for code in (b"\xb0\x81\x40", b"\xba\x81\x30"):  # Matroska's width and height, one byte each: 64 and 48
        assert data.count(code) == 1
        data[data.index(code) + 2] = 0
    with open_media(bytes(data)) as media:
        assert not media.has_video and "0 x 0 pixels" in media.problems[0]
        assert len(media.read_speech()[0]) == pytest.approx(2 * 16000, abs=1600)


def test_size_that_grows_beyond_the_limit(tmp_path, monkeypatch):
    """The header is small, and frames in the midst of the stream are large: the first one is refused as soon as it is
    decoded, before others are waiting behind it."""
    for number, size in enumerate(("64x48", "640x480")):
        ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:r=20:d=1.5", tmp_path / f"{number}.ts")
    data, large = b"".join((tmp_path / f"{number}.ts").read_bytes() for number in range(2)), []
    frames = pictures_videobert.decoded_frames

    def counted_frames(*arguments):
        for frame in frames(*arguments):
            large.extend([frame.width] if frame.width > 64 else [])
            yield frame

    monkeypatch.setattr(pictures_videobert, "decoded_frames", counted_frames)
    with open_media(data, max_pixels=640 * 480 - 1) as media, pytest.raises(MediaError, match="640 x 480 exceed"):
        list(media.iter_clips())
    assert large == [640]


@pytest.mark.parametrize("rate, channels", [(1, 1), (999, 1), (8000, 65)])
def test_sound_that_is_none_is_refused_before_it_is_decoded(rate, channels):
    """100 KB of 1 Hz are 27.8 hours of sound, 1.6 billion samples of 16 kHz."""
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * channels, channels, 8)
    data = b"RIFF" + struct.pack("<I", 100_036) + b"WAVEfmt " + struct.pack("<I", 16) + header
    with pytest.raises(MediaError, match=f"sound of ({rate} Hz|{channels} channels) cannot be read"):
        with open_media(data + b"data" + struct.pack("<I", 100_000) + bytes(100_000)) as media:
            media.read_speech()


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """One second and a half of picture and sound in five containers, as bytes."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("video.mp4", "video.mkv", "video.webm", "video.avi", "video.ts"):
        make_tone(folder / name, video="testsrc2=s=64x48:r=20:d=3", sound="sine=440:d=3:r=44100")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def damage(content, wounds):
    """The bytes with some cut out, overwritten with noise or with zeros: (start, length, how) each."""
    content = bytearray(content)
    for start, length, how in wounds:
        start %= len(content) + 1
        count = len(content[start : start + length])
        new = {"cut": b"", "noise": np.random.default_rng(start).bytes(count), "zeros": bytes(count)}
        content[start : start + length] = new[how]
    return bytes(content)


wound = st.tuples(st.integers(0, 1 << 18), st.integers(0, 3000), st.sampled_from(["cut", "noise", "zeros"]))


@settings(suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 4), wounds=st.lists(wound, min_size=1, max_size=4))
# Matroska's width and height, and the frames that tell them as well: 0 x 0 was divided by.
@example(number=1, wounds=[(373, 1, "zeros"), (376, 1, "zeros"), (4076, 3000, "noise")])
def test_whatever_happens_to_a_file(small_files, number, wounds):
    """Overwritten, cut short, shortened in the middle: as many clips as its length asks for, or one clear sentence."""
    try:
        with open_media(damage(small_files[number], wounds), time_limit=30) as media:
            if media.has_audio:
                media.read_speech()
            clips = sum(1 for _ in media.iter_clips(size=32, crop_size=(32, 32)))
            assert clips == count_clips(media.shown_seconds)
    except MediaError as error:
        assert "\n" not in str(error) and ".cpp" not in str(error) and "bytes>: " in str(error)


def test_pictures_and_sound_read_side_by_side(small_files):
    """Both come from one open file, frames in a thread of their own: neither moves the other's place in it."""
    for content in small_files:
        with open_media(content) as media:
            clips, alone = torch.stack(list(media.iter_clips())), [block for block, _ in media.iter_speech(1)]
            pairs = list(zip(media.iter_clips(), media.iter_speech(1), strict=False))
            assert len(pairs) == 2 and torch.equal(torch.stack([clip for clip, _ in pairs]), clips)
            for (_, (together, _)), block in zip(pairs, alone, strict=False):
                np.testing.assert_array_equal(together, block)


def test_real_and_awkward_files(shared_media):
    """Every file of the collection gives its clips or one clear sentence."""
    unreadable = {}
    for path in sorted(shared_media.iterdir()):
        if path.suffix == ".json":
            continue
        try:
            with open_media(path) as media:
                media.read_speech()
                clips = sum(1 for _ in media.iter_clips(size=32, crop_size=(32, 32)))
                assert clips == count_clips(seconds_of_video(path)), path.name
        except MediaError as error:
            assert path.name in str(error) and "\n" not in str(error)
            unreadable[path.name] = str(error)
    assert sorted(unreadable) == [
        "cognitive-services-speech-sdk__aboutSpeechSdk.wav",
        "opencast__nostreams.mp4",
        "opencast__silent.mp4",
        "python-docs-samples__commercial_mono.wav",
        "whisper__jfk.flac",
    ]
