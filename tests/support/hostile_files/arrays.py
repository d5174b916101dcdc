"""Features and stills that lie, run code, or lead elsewhere."""

import io
import os
import pickle
import struct
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .made import make_jpeg, make_png
from .world import World


class _Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def features(world: World, folder: Path):
    """Arrays that lie, run code, lead elsewhere or hold no numbers."""
    np.save(folder / "object.npy", np.array([_Evil(world.folder / "owned")], dtype=object), allow_pickle=True)
    np.savez(folder / "object_in_archive.npz", a=np.array([_Evil(world.folder / "owned")], dtype=object))
    (folder / "pickle.npy").write_bytes(pickle.dumps(_Evil(world.folder / "owned")))
    yield from ((name, None) for name in ("object.npy", "object_in_archive.npz", "pickle.npy"))
    for name, head in {
        "huge": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000)}",
        "large": "{'descr': '<f4', 'fortran_order': False, 'shape': (500000, 1024)}",
        "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-5, -6)}",
        "overflow": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**63}, {2**63})}}",
        "code": "__import__('os').mkdir('owned')",
        "words": "{'descr': '<U9', 'fortran_order': False, 'shape': (3, 6)}",
        "no_shape": "{'descr': '<f4'}",
        "fields": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 6)}",
        "deep": "(" * 5000,
    }.items():
        yield f"{name}.npy", _array(head)
    yield "long_head.npy", b"\x93NUMPY\x02\0" + struct.pack("<I", 0xFFFF_FFFF) + b"{" * 1000
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "../../escaped.npy", _array("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000, 6)}", 10**7)
        )
    yield "bomb.npz", bomb.getvalue()
    yield "no_archive.npz", b"PK\3\4" + bytes(100)
    for name, value in {"nan": np.nan, "inf": np.inf, "float16": 1e38}.items():
        made = np.ones((4, 6), np.float32)
        made[2] = value
        np.save(folder / f"{name}.npy", made)
        yield f"{name}.npy", None
    np.save(folder / "cube.npy", np.zeros((2, 3, 6)))
    yield "cube.npy", None
    (folder / "link.npy").symlink_to(world.elsewhere / "secret.npy")
    yield "link.npy", None
    os.mkfifo(folder / "pipe.npy")
    yield "pipe.npy", None
    yield "noise.parquet", b"PAR1" + bytes(1000) + b"\xff\xff\xff\x7fPAR1"
    yield from _tables(folder)
    if find_spec("h5py"):  # without it, one such file ends the work in a sentence
        yield "noise_of_hdf.h5", b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 20
        yield from _hdf5(world, folder)


def _array(head: str, zeros: int = 0) -> bytes:
    """A numpy file with any head, and so many zeros behind it."""
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(zeros)


def _tables(folder: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, column in {
        "text": ["a"],
        "structs": [{"a": 1}],
        "ragged": [[[1.0, 2.0], [1.0]]],
        "none": [None],
    }.items():
        pq.write_table(pa.table({"features": column}), folder / f"{name}.parquet")
        yield f"{name}.parquet", None
    pq.write_table(pa.table({"other": [1]}), folder / "other.parquet")
    yield "other.parquet", None


def _hdf5(world: World, folder: Path):
    import h5py

    with h5py.File(folder / "links.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink(str(world.elsewhere / "secret.h5"), "features")
        file["round"] = h5py.SoftLink("/round")
    with h5py.File(folder / "external.h5", "w") as file:
        file.create_dataset("features", (3, 6), "f4", external=[(str(world.elsewhere / "secret.npy"), 0, 72)])
    with h5py.File(folder / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 6), "f4")
        layout[:] = h5py.VirtualSource(str(world.elsewhere / "secret.h5"), "features", shape=(3, 6))
        file.create_virtual_dataset("features", layout)
    with h5py.File(folder / "packed.h5", "w") as file:
        file.create_dataset("features", (50_000_000, 12), "f4", chunks=(1000, 12), compression="gzip")
    yield from ((f"{name}.h5", None) for name in ("links", "external", "virtual", "packed"))


def stills(world: World, folder: Path):
    """(video id, its steps); the frames lie in the folder."""
    frames = {
        "png": make_png(60_000, 60_000),
        "jpeg": make_jpeg(65500, 65500),
        "noise": bytes(range(256)) * 8,
        "empty": b"",
    }
    for name, content in frames.items():
        (folder / f"{name}.jpg").write_bytes(content)
        yield name, [{"frame": f"{name}.jpg", "start": 0, "end": 1}]
    os.mkfifo(folder / "pipe.jpg")
    for name in ("pipe.jpg", "gone.jpg"):
        yield name, [{"frame": name, "start": 0, "end": 1}]
