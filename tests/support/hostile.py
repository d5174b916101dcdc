"""A stand-in that can be sent to another process, and does there what the worst videos do."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from support.stand_in import StandIn

EATEN = 700  # MiB: whoever looks late finds no more
HOLD = Path("hold")  # as long as it is there, where the process works, some videos are not done


class Hostile(StandIn):
    """Does what the first word in a file says, such as `hang` or `crash`; all else is described.

    Args:
        wish (`str`, *optional*):
            What to do in every process at its start.
    """

    def __init__(self, wish=None):
        self.wish = wish
        self.video_processor = SimpleNamespace(fps=20, clip_seconds=1.5)

    def __reduce__(self):
        return Hostile, (self.wish,), {"codebook": self.codebook}

    def describe(self, videos, names, subtitles, on_progress=lambda stage: None):
        if not videos and self.wish:
            self.obey(self.wish, on_progress)
        for video in videos:
            with open(video) as file:
                self.obey(file.read().split()[0], on_progress)
            on_progress("pictures")
        on_progress("speech")
        return [self.row(name) for name in names]

    def obey(self, wish, on_progress):
        if wish == "hang":
            hangs(os.getpid()).touch()
            time.sleep(600)
        elif wish == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif wish == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif wish == "killed-once":
            with open("killed", "a") as file:
                file.write("x")
            if os.path.getsize("killed") == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        elif wish == "eat":
            held = os.urandom(1 << 20) * EATEN
            time.sleep(600)
            del held
        elif wish == "leave":
            os._exit(3)
        elif wish == "raise":
            raise ZeroDivisionError("float division by zero")
        elif wish == "beat":
            for _ in range(12):
                time.sleep(0.25)
                on_progress("pictures")
        elif wish == "slow":
            time.sleep(0.2)
        elif wish == "hold":
            hangs(os.getpid()).touch()
            while HOLD.exists():
                time.sleep(0.01)


def hangs(process):
    """The file, where the process works, that says that it hangs."""
    return Path(f"hangs_{process}")


def make_videos(folder, wishes):
    """Files by video id, `v0` to `v9`, that hold these words, and differ."""
    paths = {f"v{number}": folder / f"v{number}.mp4" for number in range(len(wishes))}
    for path, wish in zip(paths.values(), wishes, strict=True):
        path.write_text(f"{wish} {path.stem}")
    return paths
