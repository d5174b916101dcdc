"""Clips of a video beside decord, PyAV, OpenCV and torchcodec's VideoDecoder: the same tensors, written in turn.

    pip install -e ".[benchmarks]"
    python benchmarks/media.py                        # about eight minutes
    python benchmarks/media.py --json results.json    # the figures in a file too
    python benchmarks/media.py --smoke                # toy sizes, seconds: shows that it runs

Every reader gives clips of 30 frames at exact presentation times, 20 a second, shortest edge 224, centre crop: uint8
(30, 3, 224, 224). Peers decode on four threads; ours does as well, one thread more asks for the next frames, and torch
makes them small on as many as it takes by itself (all cores, or OMP_NUM_THREADS). Two peers are told the size that
frames get, the others find it out. Two 720p files are read, as videos on the web (30 fps, a key frame every 48) and on
disk (25 fps, every 250) are coded: natural pictures where `../shared/media` has them, else a test picture with noise.
Each frame carries its number in black and white squares, and every clip of every reader is checked for the right ones.
Two peers have a variant that skips the smoothing that shrinking needs: faster, but jagged, so not the same tensors.

`read_vs_best_peer`: the time of the fastest peer over ours, on the file where we do worse; the median of rounds.
`read_vs_unsmoothed`: the same against the variants. `readers`: seconds, and how far the pictures are from
torchvision's antialiased ones (grey levels, mean). `rss_ratio_2h_10min`: the most memory of a process that reads two
hours over that for ten minutes, each clip dropped when it came. (320 x 180 at 10 fps, a coded minute repeated; frames
are made 224 high as always.) `added_ratio_2h_10min`: the same without what the process held before it read.
`i3d_matmul_share`, `i3d_vs_plain`: see `i3d_speed.py`.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torchcodec.decoders import VideoDecoder
from torchcodec.transforms import CenterCrop, Resize
from torchvision.transforms.v2.functional import center_crop, resize

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processing.media_videobert import count_clips, frame_times, open_media, resized_shape

REAL_VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "media"
CLIP_SECONDS, FPS, EDGE, THREADS = 1.5, 20, 224, 4
CLIP_FRAMES = round(CLIP_SECONDS * FPS)
SMALL = resized_shape(720, 1280, EDGE)  # of every frame, known beforehand: two peers must be told it to open a file
# name: (frames a second, frames from key frame to key frame, a real video to look like)
FILES = {"web": (30, 48, "Ask-Anything__yoga.mp4"), "disk": (25, 250, "ST-LLM__cooking.mp4")}
BITS, SQUARE, LEFT = 12, 48, 296  # a frame's number: squares inside the middle 720 columns of 1280


# --- readers: path -> an iterator over clips (30, 3, 224, 224) uint8 ---------------------------------------------


def ours(path):
    with open_media(path) as media:
        yield from media.iter_clips(CLIP_SECONDS, FPS, EDGE, (EDGE, EDGE))


def torchcodec(path):
    transforms = [Resize(SMALL), CenterCrop((EDGE, EDGE))]
    decoder = VideoDecoder(path, num_ffmpeg_threads=THREADS, transforms=transforms)
    end = decoder.metadata.end_stream_seconds
    for times in clip_times(decoder.metadata.duration_seconds):
        yield decoder.get_frames_played_at(np.minimum(times + 1e-6, end - 1e-6).tolist()).data


def decord(path, batches=True):
    import decord

    height, width = SMALL
    reader = decord.VideoReader(path, ctx=decord.cpu(0), width=width, height=height, num_threads=THREADS)
    stamps = reader.get_frame_timestamp(np.arange(len(reader)))
    left = round((width - EDGE) / 2)
    following, frame = 0, None
    for times in clip_times(stamps[-1, 1] - stamps[0, 0]):
        shown = np.searchsorted(stamps[:, 0], times + 1e-6, side="right") - 1
        if batches:
            clip = reader.get_batch(shown.tolist()).asnumpy()[:, :, left : left + EDGE]
        else:
            pictures = []
            for number in shown:
                while following <= number:
                    frame, following = reader.next(), following + 1
                pictures.append(frame.asnumpy()[:, left : left + EDGE])
            clip = np.stack(pictures)
        yield torch.from_numpy(clip).permute(0, 3, 1, 2)


def decord_in_sequence(path):
    return decord(path, batches=False)


def pyav(path, interpolation="BILINEAR"):
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = THREADS
        height, width = resized_shape(stream.height, stream.width, EDGE)
        left = round((width - EDGE) / 2)

        def picture(frame):
            small = frame.reformat(width, height, "rgb24", interpolation=interpolation)
            return small.to_ndarray()[:, left : left + EDGE]

        frames = ((float(frame.pts * stream.time_base), frame) for frame in container.decode(stream))
        yield from clips_of_stream(frames, picture, float(stream.duration * stream.time_base))


def pyav_unsmoothed(path):
    return pyav(path, interpolation="FAST_BILINEAR")


def opencv(path, smooth=True):
    import cv2

    cv2.setNumThreads(THREADS)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, THREADS])
    seconds = capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS)
    size = (int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
    height, width = resized_shape(*size, EDGE)
    left = round((width - EDGE) / 2)

    def picture(frame):
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smooth else cv2.INTER_LINEAR)
        return cv2.cvtColor(small[:, left : left + EDGE], cv2.COLOR_BGR2RGB)

    def frames():
        while capture.grab():
            # The time of the next frame is known only when this one is gone: each must be retrieved.
            yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, capture.retrieve()[1]

    yield from clips_of_stream(frames(), picture, seconds)


def opencv_unsmoothed(path):
    return opencv(path, smooth=False)


UNSMOOTHED = ", unsmoothed"
READERS = {
    "ours": (ours, None),
    "torchcodec's transforms": (torchcodec, None),
    "decord, get_batch": (decord, "decord"),
    "decord, in sequence": (decord_in_sequence, "decord"),
    "PyAV": (pyav, "av"),
    f"PyAV{UNSMOOTHED}": (pyav_unsmoothed, "av"),
    "OpenCV": (opencv, "cv2"),
    f"OpenCV{UNSMOOTHED}": (opencv_unsmoothed, "cv2"),
}


def clip_times(seconds):
    return (frame_times(clip, CLIP_SECONDS, FPS) for clip in range(count_clips(seconds, CLIP_SECONDS)))


def clips_of_stream(frames, picture, seconds):
    """Clips from (time, frame) in order: a frame is shown until the next one comes, and made small once."""
    (_, shown), small, coming = next(frames), None, next(frames, None)
    for times in clip_times(seconds):
        pictures = []
        for moment in times + 1e-6:
            while coming is not None and coming[0] <= moment:
                (_, shown), small, coming = coming, None, next(frames, None)
            if small is None:
                small = picture(shown)
            pictures.append(small)
        yield torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


# --- material -----------------------------------------------------------------------------------------------------


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def make_video(path, fps, key_frames, real, seconds):
    """A 720p file whose frames carry their numbers."""
    real = REAL_VIDEOS / real
    source = ["-stream_loop", "-1", "-i", real] if real.exists() else ["-f", "lavfi", "-i", "testsrc2=s=1280x720"]
    width = BITS * SQUARE
    squares = [f"drawbox=x={LEFT}:y=24:w={width}:h={SQUARE}:color=black:t=fill"]
    for bit in range(BITS):
        where = f"x={LEFT + bit * SQUARE}:y=24:w={SQUARE}:h={SQUARE}"
        squares.append(f"drawbox={where}:color=white:t=fill:enable='mod(floor(n/{2**bit}),2)'")
    fill = "scale=1280:720:force_original_aspect_ratio=increase,crop=1280:720,setsar=1,noise=alls=6:allf=t"
    filters = ",".join([f"fps={fps}", fill, *squares])
    coding = ["-c:v", "libx264", "-preset", "medium", "-crf", "23", "-g", key_frames, "-pix_fmt", "yuv420p"]
    ffmpeg(*source, "-t", seconds, "-an", "-vf", filters, "-r", fps, *coding, path)


def make_long_video(folder, seconds):
    """Many copies of one coded minute, one after the other."""
    minute, listing, path = folder / "minute.mp4", folder / "minutes.txt", folder / f"{seconds}.mp4"
    if not minute.exists():
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x180:r=10:d=60", "-pix_fmt", "yuv420p", "-g", 100, minute)
    listing.write_text(f"file {minute.name}\n" * max(1, round(seconds / 60)))
    ffmpeg("-f", "concat", "-i", listing, "-c", "copy", path)
    return path


# --- measuring ----------------------------------------------------------------------------------------------------


def numbers_shown(clip):
    """The frame numbers in the squares of a clip."""
    scale = EDGE / 720
    row = round((24 + SQUARE / 2) * scale)
    columns = [round((LEFT - 280 + (bit + 0.5) * SQUARE) * scale) for bit in range(BITS)]
    bits = (clip[:, 1, row, columns] > 127).long()
    return (bits * 2 ** torch.arange(BITS)).sum(1).tolist()


def check(read, path, fps, name, count):
    """All clips show the right frames; the mean difference of the first ones from torchvision's."""
    difference, frames = [], VideoDecoder(path)
    clips = 0
    for clip, shown in enumerate(read(path)):
        expected = [min(int(moment * fps + 1e-6), count - 1) for moment in frame_times(clip, CLIP_SECONDS, FPS)]
        assert shown.shape == (CLIP_FRAMES, 3, EDGE, EDGE) and shown.dtype == torch.uint8, (name, shown.shape)
        assert numbers_shown(shown) == expected, f"{name}: clip {clip} shows {numbers_shown(shown)}, not {expected}"
        if clip < 2:
            whole = frames.get_frames_at(expected[:4]).data
            right = center_crop(resize(whole, resized_shape(*whole.shape[2:], EDGE)), [EDGE, EDGE])
            difference.append((shown[:4].float() - right.float()).abs().mean().item())
        clips += 1
    assert clips == count_clips(count / fps, CLIP_SECONDS), (name, clips)
    return statistics.mean(difference)


def seconds_of(read, path):
    start = time.perf_counter()
    for _ in read(path):
        pass
    return time.perf_counter() - start


def compare(path, fps, count, readers, rounds):
    """Every reader in turn; the seconds of each round after one that is checked."""
    difference = {name: check(read, path, fps, name, count) for name, read in readers.items()}
    seconds = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            seconds[name].append(seconds_of(read, path))
    medians = {name: statistics.median(values) for name, values in seconds.items()}

    def versus(peers):
        best = min(peers, key=medians.get, default=None)
        return best, best and statistics.median(a / b for a, b in zip(seconds[best], seconds["ours"], strict=True))

    best, ratio = versus([name for name in readers if name != "ours" and not name.endswith(UNSMOOTHED)])
    return {
        "readers": {name: {"seconds": medians[name], "difference": difference[name]} for name in readers},
        "best_peer": best,
        "ratio": ratio,
        "ratio_unsmoothed": versus([name for name in readers if name.endswith(UNSMOOTHED)])[1],
        "megabytes": Path(path).stat().st_size / 1e6,
        "video_seconds": count / fps,
    }


def peak_memory(path):
    """The most memory, in MB, of a process that reads a file clip by clip, and what reading added to it."""
    done = subprocess.run([sys.executable, __file__, "--memory-of", path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_of(path):
    before = peak_megabytes()
    for _ in ours(path):
        pass
    print(json.dumps({"process": peak_megabytes(), "added": peak_megabytes() - before}))


def peak_megabytes():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--smoke", action="store_true", help="toy sizes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return memory_of(options.memory_of)

    readers = {}
    for name, (read, package) in READERS.items():
        if package is None or importlib.util.find_spec(package):
            readers[name] = read
        else:
            print(f"{package} is not installed: left out")
    seconds, rounds, short, long = (3, 1, 10, 30) if options.smoke else (30, options.rounds, 600, 7200)
    figures = {"files": {}}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, (fps, key_frames, real) in FILES.items():
            make_video(folder / f"{name}.mp4", fps, key_frames, real, seconds)
            figures["files"][name] = compare(str(folder / f"{name}.mp4"), fps, seconds * fps, readers, rounds)
        memory = [peak_memory(make_long_video(folder, length)) for length in (short, long)]
    figures["memory"] = {"10 minutes": memory[0], "2 hours": memory[1]}
    figures["rss_ratio_2h_10min"] = memory[1]["process"] / memory[0]["process"]
    figures["added_ratio_2h_10min"] = memory[1]["added"] / max(1e-9, memory[0]["added"])
    figures["read_vs_best_peer"] = min(file["ratio"] for file in figures["files"].values())
    unsmoothed = [file["ratio_unsmoothed"] for file in figures["files"].values() if file["ratio_unsmoothed"]]
    figures["read_vs_unsmoothed"] = min(unsmoothed, default=None)
    from i3d_speed import measure  # I3D's share of this report lies beside it

    figures.update(measure(options.smoke))
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def show(figures):
    for name, file in figures["files"].items():
        print(f"\n{name}: {file['video_seconds']:.0f} s of 720p, {file['megabytes']:.1f} MB")
        print(f"{'':26}{'seconds':>9}{'x real time':>13}{'peer / ours':>13}{'difference':>12}")
        for reader, line in file["readers"].items():
            speed, ratio = (
                file["video_seconds"] / line["seconds"],
                line["seconds"] / file["readers"]["ours"]["seconds"],
            )
            print(f"{reader:26}{line['seconds']:9.3f}{speed:13.1f}{ratio:13.2f}{line['difference']:12.2f}")
        print(f"fastest peer: {file['best_peer']}, over ours (median of rounds): {file['ratio']:.2f}")
    print()
    for length, megabytes in figures["memory"].items():
        print(f"{length}: the process {megabytes['process']:.0f} MB, reading adds {megabytes['added']:.0f} MB")
    print(f"ratio of the processes {figures['rss_ratio_2h_10min']:.3f}, of the additions", end=" ")
    print(f"{figures['added_ratio_2h_10min']:.3f}")
    print(f"read_vs_best_peer {figures['read_vs_best_peer']:.2f}, unsmoothed {figures['read_vs_unsmoothed'] or 0:.2f}")
    print(
        f"I3D: {figures['i3d_matmul_share']:.0%} of the matmul rate, {figures['i3d_vs_plain']:.2f} x the plain module"
    )


if __name__ == "__main__":
    main()
