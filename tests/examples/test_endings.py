"""Protects the last line that a user reads: what only the system can mend is one sentence, a fault of ours is not."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endings import end_in_a_sentence
from safetensors import SafetensorError

from modeling_videobert import VideoBertForPreTraining
from processing.corpus import read_rows

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def raised_by(error):
    def wrapped():
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("the writer failed") from inner

    return wrapped


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "rows/0.parquet"), "at rows/0.parquet: there is no space"),
        (SafetensorError("Error: I/O error: No space left on device (os error 28)"), "Stopped: there is no space"),
        (PermissionError(errno.EACCES, "Permission denied", "/out"), "Stopped at /out: permission is missing"),
        (OSError(errno.EROFS, "Read-only file system", "/out"), "Stopped at /out: the disk can only be read"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, sentence, capsys):
    """Plain, and wrapped in the error of a library."""

    def plain():
        raise error

    for fail in (plain, raised_by(error)):
        with pytest.raises(SystemExit) as end, end_in_a_sentence():
            fail()
        told = capsys.readouterr().err
        assert end.value.code == 1 and sentence in told and told.count("\n") == 1
        assert told.endswith("Run the same command again to go on where it stopped.\n")


def test_what_our_code_refuses_is_one_sentence(tmp_path, capsys):
    """A user gave it, and needs no traceback."""
    with pytest.raises(SystemExit) as end, end_in_a_sentence():
        read_rows(tmp_path)
    told = capsys.readouterr().err
    assert end.value.code == 1 and told.startswith(f"Stopped: {tmp_path} holds no rows; allowed is")
    assert told.count("\n") == 1


def test_a_model_that_is_not_there_is_one_sentence(tmp_path, capsys):
    """The commonest slip, a mistyped folder; transformers says it in several lines and forty of a traceback."""
    with pytest.raises(SystemExit) as end, end_in_a_sentence():
        VideoBertForPreTraining.from_pretrained(tmp_path / "nothing")
    told = capsys.readouterr().err
    assert end.value.code == 1 and told.startswith("Stopped: ") and "nothing" in told and told.count("\n") == 1


def test_so_does_every_script():
    """None of them shows a traceback where another one says a sentence."""
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert ('if __name__ == "__main__":' not in text) or ("\n    with end_in_a_sentence(" in text), path.name
        assert "except ValueError as error:\n        sys.exit" not in text, path.name


def test_a_value_that_a_library_refuses_keeps_its_traceback():
    """We should not have given it: the sentence would be about nothing that a user knows."""
    with pytest.raises(ValueError), end_in_a_sentence():
        json.loads("no JSON")


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), FileNotFoundError(errno.ENOENT, "No", "a")])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)), end_in_a_sentence():
        raise error


def test_ctrl_c_is_one_sentence(tmp_path):
    """As a user does it: the signal, to a program that is at work."""
    script = tmp_path / "work.py"
    script.write_text(
        f"import sys, time\nsys.path.insert(0, {str(EXAMPLES)!r})\nfrom endings import end_in_a_sentence\n"
        "with end_in_a_sentence('Add --resume to go on.'):\n    print('at work', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as work:
        assert work.stdout.readline() == "at work\n"
        time.sleep(0.1)
        work.send_signal(signal.SIGINT)
        _, told = work.communicate(timeout=60)
    assert work.returncode == 130 and told == "\nStopped. Add --resume to go on.\n"
