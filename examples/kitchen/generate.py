"""Makes narrated cooking videos: the data set that this project carries with it.

    python examples/kitchen/generate.py --output kitchen/train --num_videos 100 --seed 0 --split train --workers 2
    python examples/kitchen/generate.py --output kitchen/test --num_videos 20 --seed 0 --split test --workers 2

Each video depends on nothing but (seed, split, index): its frames and its sound are the same in every run.
`truth.jsonl` beside the videos says what really happens in them; only evaluation reads it. Needs the `ffmpeg` program,
and `piper-tts` for the voice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endings import end_in_a_sentence

from kitchen.motions import close_up, prepare, work
from kitchen.recipes import narrate, plan_steps, truth_line
from kitchen.scene import REACH, SIDE, Sprite, draw_kitchen, light_of, photograph
from kitchen.voice import PiperNarrator

FPS = 20
SPLITS = ("train", "test")


def _randomness(seed: int, split: str, index: int, part: int, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), index, part, *more])


def draw_frames(steps, seed: int, split: str, index: int):
    """Yields the frames of a video one by one: uint8, shape (224, 224, 3)."""
    look = _randomness(seed, split, index, 1)
    kitchen = Sprite(draw_kitchen(look))
    light, mirror = light_of(look), bool(look.random() < 0.5)
    grain = look.normal(0, look.uniform(1, 3), (8, SIDE, SIDE, 3)).astype(np.float32)
    cook = int(look.integers(1 << 30))
    for at, step in enumerate(steps):
        deed = prepare(step.verb, step.object, np.random.default_rng(cook), _randomness(seed, split, index, 2, at))
        first, change, last = (round(time * FPS) for time in (step.start, step.close_up_end, step.end))
        for frame in range(first, last):
            if frame < change:
                stage = close_up(deed, (frame - first) / (change - first))
            else:
                stage = work(deed, kitchen, REACH, (frame - change) / FPS)
            yield photograph(stage, light, grain[frame * 5 % 8], mirror)


def plan_video(seed: int, split: str, index: int, narrator, chatter: float, shift: float):
    """A video's steps, sentences and sound track (float32 at `narrator.rate`)."""
    recipe, speech = _randomness(seed, split, index, 0), _randomness(seed, split, index, 3)
    steps = plan_steps(recipe, split, FPS)
    pace, pitch = speech.uniform(0.9, 1.08), speech.uniform(0.92, 1.08)
    speak = partial(narrator, pace=pace, pitch=pitch)
    sentences, track = narrate(speech, steps, speak, narrator.rate, chatter, shift)
    room = speech.normal(0, 0.0015, len(track)).astype(np.float32)
    return steps, sentences, track + room


def _write_sound(path: Path, track: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((track.clip(-1, 1) * 32767).astype("<i2").tobytes())


def _encode(frames, sound: Path, target: Path) -> None:
    """H.264 and AAC through ffmpeg; one thread and no dates, so that the same input gives the same file."""
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{SIDE}x{SIDE}",
        "-r",
        str(FPS),
    ]
    command += [
        "-i",
        "-",
        "-i",
        str(sound),
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "22",
        "-pix_fmt",
        "yuv420p",
    ]
    command += ["-threads", "1", "-c:a", "aac", "-b:a", "64k", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
    command += ["-flags:a", "+bitexact", "-movflags", "+faststart", "-f", "mp4", str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            for frame in frames:
                process.stdin.write(frame)
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg has stopped; what it said follows
        complaint = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(f"ffmpeg could not write {target.name}: {complaint}")


def make_video(index: int, *, output: Path, seed: int, split: str, narrator, chatter: float, shift: float) -> dict:
    """Writes one video and returns its line of truth."""
    video_id = f"kitchen_{split}_{seed}_{index:05d}"
    steps, sentences, track = plan_video(seed, split, index, narrator, chatter, shift)
    with tempfile.TemporaryDirectory(dir=output) as folder:
        sound, film = Path(folder) / "sound.wav", Path(folder) / "film.mp4"
        _write_sound(sound, track, narrator.rate)
        _encode(draw_frames(steps, seed, split, index), sound, film)
        film.replace(output / f"{video_id}.mp4")
    return truth_line(video_id, seed, steps, sentences)


def generate(
    output, num_videos, seed=0, split="train", narrator=None, workers=1, chatter=0.3, shift=0.7
) -> list[dict]:
    """Makes `num_videos` videos and their `truth.jsonl` in the folder `output`.

    Args:
        output (`str` or `os.PathLike`):
            The folder, which is made if it is missing.
        num_videos (`int`):
            How many.
        seed (`int`, defaults to 0):
            Together with the split and a video's number it fixes everything in that video.
        split (`str`, defaults to `"train"`):
            `"train"` never shows a pair of `HELD_OUT_PAIRS`; `"test"` does.
        narrator (`Callable`, *optional*):
            `(text, pace, pitch) -> samples` with an attribute `rate`, and picklable; the packaged Piper voice if not
            given.
        workers (`int`, defaults to 1):
            Processes at work.
        chatter (`float`, defaults to 0.3):
            Probability of sentences that are off the topic.
        shift (`float`, defaults to 0.7):
            Words come up to this many seconds before or after their pictures.

    Returns:
        `list[dict]`: The lines of truth: video_id, duration, seed, steps, sentences.

    Raises:
        `ValueError`: The split, a probability or a count is not one that is allowed.
        `RuntimeError`: The program ffmpeg is missing or failed.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {SPLITS}.")
    if not 0 <= chatter <= 1:
        raise ValueError(f"chatter is {chatter}; it must lie between 0 and 1.")
    if not 0 <= shift <= 2:
        raise ValueError(f"shift is {shift} s; it must lie between 0 and 2.")
    for name, count in (("num_videos", num_videos), ("workers", workers)):
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1.")
    if shutil.which("ffmpeg") is None:
        raise RuntimeError("The ffmpeg program is not found; the kitchen needs it to write its videos.")
    if narrator is None:
        from kitchen.weights import weights_folder

        narrator = PiperNarrator(weights_folder("piper-joe"))
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    make = partial(make_video, output=output, seed=seed, split=split, narrator=narrator, chatter=chatter, shift=shift)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    lines = []
    with (output / "truth.jsonl").open("w", encoding="utf-8") as file:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            for line in pool.map(make, range(num_videos)):
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--num_videos", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--voice", type=Path, help="folder of a Piper voice (default: the packaged one)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--chatter", type=float, default=0.3, help="probability of off-topic sentences")
    parser.add_argument(
        "--shift", type=float, default=0.7, help="largest shift between words and pictures, in seconds"
    )
    options = vars(parser.parse_args())
    voice = options.pop("voice")
    lines = generate(**options, narrator=PiperNarrator(voice) if voice else None)
    seconds = sum(line["duration"] for line in lines)
    print(f"{len(lines)} videos, {seconds / 60:.1f} minutes, in {options['output']}")


if __name__ == "__main__":
    with end_in_a_sentence():
        main()
