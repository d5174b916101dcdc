"""What surrounds hostile files: good ones to start from, a secret, and a listener, both of which notice a visit."""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from functools import cached_property
from pathlib import Path

IN_OPEN = 0x20
PICTURES = "testsrc=s=64x48:r=10:d=1.5"
TONE = "sine=440:d=1.5:r=22050"
SECRET = "canary"


def ffmpeg(*arguments) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def encoded(path: Path, *options, video: str = PICTURES, sound: str | None = TONE) -> bytes:
    """The bytes of a small video."""
    inputs = [word for source in (video, sound) if source for word in ("-f", "lavfi", "-i", source)]
    ffmpeg(*inputs, "-shortest", "-threads", "1", *options, path)
    return path.read_bytes()


class World:
    """A folder beside the hostile files.

    Args:
        folder (`Path`):
            Holds good files to start from, and in `elsewhere` the secret: a video, subtitles, features and a picture
            that nobody may open.
    """

    def __init__(self, folder: Path):
        self.folder, self.elsewhere = folder, folder / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        self._good = {}
        for name in ("secret.ts", "secret.mp4", "secret.mkv"):
            encoded(self.elsewhere / name, video="testsrc=s=64x48:r=10:d=7.5", sound="sine=440:d=7.5:r=16000")
        (self.elsewhere / "secret.srt").write_text(f"1\n00:00:00,000 --> 00:00:01,000\nthe {SECRET} sings\n")
        self.listener = Listener()
        self._watch = Watch(self.elsewhere)

    def good(self, ending: str, *options) -> bytes:
        """A second and a half of picture and sound."""
        if (ending, options) not in self._good:
            path = self.folder / f"good{len(self._good)}{ending}"
            self._good[ending, options] = encoded(path, *options)
        return self._good[ending, options]

    @cached_property
    def url(self) -> str:
        """Where the listener listens."""
        return f"127.0.0.1:{self.listener.port}"

    @property
    def opened(self) -> list[str]:
        """What somebody has opened of the secret since it was last asked."""
        return self._watch.events()

    def close(self) -> None:
        self.listener.close()
        self._watch.close()


class Listener:
    """Counts who connects to this machine by TCP or sends it a datagram."""

    def __init__(self):
        self.visits, self._open = 0, True
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        for wait in (self._accept, self._receive):
            threading.Thread(target=wait, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            self.visits += self._open
            connection.close()

    def _receive(self) -> None:
        while True:
            self._udp.recv(1)
            self.visits += self._open

    def close(self) -> None:
        self._open = False


class Watch:
    """Tells which files of a folder any process opens (inotify)."""

    def __init__(self, folder: Path):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._libc.inotify_add_watch(self._number, os.fsencode(folder), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def events(self) -> list[str]:
        names = []
        while True:
            try:
                data = os.read(self._number, 65536)
            except BlockingIOError:
                return names
            while data:
                (length,) = struct.unpack_from("I", data, 12)
                names.append(data[16 : 16 + length].rstrip(b"\0").decode())
                data = data[16 + length :]

    def close(self) -> None:
        os.close(self._number)
