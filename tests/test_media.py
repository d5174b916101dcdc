"""Frames and sound at their true times, out of every kind of file, and one clear sentence where that is impossible."""

import io
import os
import struct
import subprocess
from fractions import Fraction

import numpy as np
import pytest
import torch

from processing.media_videobert import MediaError, count_clips, frame_times, open_media, resized_shape


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def make_counter(path, fps, seconds, *options):
    """A video in which frame n has the grey level 16 + 4 (n mod 54), so that each picture tells its number."""
    source = f"color=black:s=64x48:r={fps}:d={seconds},format=yuv420p,geq=lum='16+4*mod(N,54)':cb=128:cr=128"
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


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


def test_time_starts_at_the_first_displayed_frame(tmp_path):
    """A container's clock may start anywhere; ours starts with the first picture."""
    path = make_counter(tmp_path / "video.mkv", 20, 1.5, "-output_ts_offset", "0.834")
    with open_media(path) as media:
        assert media.begin == pytest.approx(0.834, abs=2e-3)
        assert media.duration == pytest.approx(1.5, abs=2e-3)
        assert shown_numbers(media.iter_clips()) == list(range(30))


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


def test_damage_in_the_middle_keeps_the_clips_before_it(tmp_path):
    """Clips come as they are read; damage ends them, and the message says where it is."""
    path = tmp_path / "video.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=20:d=12", "-c:v", "png", path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) * 2 // 3] = bytes(len(data) * 2 // 3 - len(data) // 2)
    clips = []
    with open_media(bytes(data)) as media, pytest.raises(MediaError, match="damaged near"):
        for clip in media.iter_clips():
            clips.append(clip)
    assert 2 <= len(clips) <= 6


def test_cut_off_video_is_noted(tmp_path):
    """Half of a file whose index is at its start plays well and ends early: it is read, and the loss reported."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=20:d=12", "-g", "20", "-movflags", "+faststart", path)
    data = path.read_bytes()
    with open_media(data[: len(data) // 2]) as media:
        assert len(list(media.iter_clips())) == count_clips(media.duration)
        assert 3 < media.duration < 9 and "of the 12.0 s" in media.problems[0]


def test_damage_in_the_last_clip_is_worked_around(tmp_path):
    """Real files fail on their very last frame: the last readable one stands for it, and a note says so."""
    path = tmp_path / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=20:d=6", "-g", "5", "-bf", "0", "-movflags", "+faststart", path)
    data = path.read_bytes()
    with open_media(data[:-6000]) as media:
        clips = list(media.iter_clips())
        assert len(clips) == 4 and len(media.problems) == 1
    assert (clips[-1][-1] == clips[-1][-2]).all() and not (clips[-1][0] == clips[-1][-1]).all()


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
                assert clips == count_clips(media.duration), path.name
        except MediaError as error:
            assert path.name in str(error) and "\n" not in str(error)
            unreadable[path.name] = str(error)
    assert sorted(unreadable) == [
        "cognitive-services-speech-sdk__aboutSpeechSdk.wav",
        "decord__corrupted.mp4",
        "opencast__nostreams.mp4",
        "opencast__silent.mp4",
        "python-docs-samples__commercial_mono.wav",
        "whisper__jfk.flac",
    ]
