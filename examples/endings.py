"""How a command ends when it cannot go on: with one sentence instead of a traceback."""

from __future__ import annotations

import errno
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REASONS = {
    errno.ENOSPC: "there is no space left on the device",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.EROFS: "the disk can only be read",
}
# Where what a script was given is refused; the scripts lie beside this file.
OWN_PACKAGES = ("processing", "modeling_videobert")
AGAIN = "Run the same command again to go on where it stopped."


@contextmanager
def end_in_a_sentence(go_on: str = AGAIN) -> Iterator[None]:
    """Ends the program with one sentence on Ctrl-C (or a `KeyboardInterrupt` that names another signal), on a full
    disk and missing permission, where our own code refuses what it was given, and where there is no model. All else
    goes through.

    Args:
        go_on (`str`, *optional*, defaults to `AGAIN`):
            How to go on after Ctrl-C or with room on the disk.
    """
    try:
        yield
    except KeyboardInterrupt as stopped:
        print(f"\nStopped. {go_on}", file=sys.stderr)
        number = next((one for one in stopped.args if isinstance(one, signal.Signals)), signal.SIGINT)
        sys.exit(128 + number)  # as a shell tells it of a program that a signal ended
    except Exception as error:
        if (found := refused_by_the_system(error)) is not None:
            number, where = found
            print(f"Stopped{where}: {REASONS[number]}. {go_on}", file=sys.stderr)
        elif refused_by_us(error) or names_no_model(error):
            print(f"Stopped: {' '.join(str(error).split())}", file=sys.stderr)
        else:
            raise
        sys.exit(1)


def refused_by_us(error: Exception) -> bool:
    """Whether it is a `ValueError` of our own code. What a library raises of itself is a fault of ours instead."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    script = Path(__file__).resolve().parent in Path(frame.f_code.co_filename).resolve().parents
    return isinstance(error, ValueError) and (package in OWN_PACKAGES or script)


def names_no_model(error: Exception) -> bool:
    """Whether it is transformers' sentence about a folder or a Hub id: an `OSError`, though not of the system."""
    return isinstance(error, OSError) and error.errno is None


def refused_by_the_system(error: BaseException | None) -> tuple[int, str] | None:
    """Number of the reason for which the system refused to go on and the file it was about, if that is what happened.

    Libraries wrap it in errors of their own: safetensors, for one, tells it in words (`os error 28`).
    """
    while error is not None:
        number = getattr(error, "errno", None)
        told = re.search(r"os error (\d+)", str(error))
        if number is None and told:
            number = int(told[1])
        if number in REASONS:
            name = getattr(error, "filename", None)
            return number, f" at {name}" if name is not None else ""
        error = error.__cause__ or error.__context__
    return None
