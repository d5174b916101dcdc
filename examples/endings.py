"""How a command ends when it cannot go on: with one sentence instead of a traceback."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

REASONS = {
    errno.ENOSPC: "there is no space left on the device",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.EROFS: "the disk can only be read",
}
AGAIN = "Run the same command again to go on where it stopped."


@contextmanager
def end_in_a_sentence(go_on: str = AGAIN) -> Iterator[None]:
    """Ends the program with one sentence on Ctrl-C, a full disk and missing permission; all else goes through.

    Args:
        go_on (`str`, *optional*, defaults to `AGAIN`):
            How to go on after Ctrl-C or with room on the disk.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nStopped. {go_on}", file=sys.stderr)
        sys.exit(130)  # as a shell tells it of a program that Ctrl-C ended
    except Exception as error:
        if (found := refused_by_the_system(error)) is None:
            raise
        number, where = found
        print(f"Stopped{where}: {REASONS[number]}. {go_on}", file=sys.stderr)
        sys.exit(1)


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
