"""Protects the reading of features that others made: their names, their shapes, and that nothing foreign is run."""

import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processing.corpus.feature_files import FeatureSource, find_features, name_of, read_features, without_common_end


def made(clips, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(clips, width)).astype(np.float32)


def test_files_are_called_after_their_videos(tmp_path):
    """As they are passed around: `ID.npy`, `ID.mp4.npy`, in folders, and ids with dots and dashes in them."""
    for name in ("a.npy", "b.mp4.npy", "-c.d.npy", "sub/e.webm.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, made(3))
    assert set(find_features(tmp_path)) == {"a", "b", "-c.d", "sub/e"}
    assert name_of(tmp_path / "x.npy", tmp_path) == "x"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_numbers_are_the_same_whatever_their_type(tmp_path, dtype):
    array = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    read = read_features(find_features(tmp_path)["a"])
    assert read.dtype == np.float32 and (read == array).all()


def test_an_archive_holds_one_video_or_several(tmp_path):
    np.savez(tmp_path / "one.npz", features=made(3), rate=2.0)
    np.savez(tmp_path / "many.npz", u=made(2, seed=1), v=made(4, seed=2))
    found = find_features(tmp_path)
    assert {name: source.shape for name, source in found.items()} == {"one": (3, 6), "u": (2, 6), "v": (4, 6)}
    assert (read_features(found["v"]) == made(4, seed=2)).all() and (read_features(found["one"]) == made(3)).all()


def test_keys_of_one_end_are_called_without_it():
    """ActivityNet's `v_ID/c3d_features`; keys that differ in their ends keep them."""
    assert without_common_end(["v_a/c3d", "v_b/c3d"]) == ["v_a", "v_b"]
    assert without_common_end(["a", "b/c"]) == ["a", "b/c"]


@pytest.mark.parametrize("by_clip", [False, True])
def test_parquet_has_a_row_a_video_or_a_row_a_clip(tmp_path, by_clip):
    u, v = made(3, seed=1), made(2, seed=2)
    if by_clip:
        columns = {"video_id": ["u"] * 3 + ["v"] * 2, "features": pa.array([*u, *v], pa.list_(pa.float32()))}
    else:
        nested = pa.list_(pa.list_(pa.float32()))
        columns = {"video_id": ["u", "v"], "features": pa.array([list(u), list(v)], nested)}
    pq.write_table(pa.table(columns), tmp_path / "all.parquet", row_group_size=2)
    found = find_features(tmp_path)
    assert list(found) == ["u", "v"]
    assert (read_features(found["u"], 6) == u).all() and (read_features(found["v"], 6) == v).all()


def test_hdf5_of_many_videos_and_its_links(tmp_path):
    """A dataset a video; what lies behind links in other files is not looked at."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "secret.bin", "w") as file:
        file["inside"] = made(9)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["v_a/c3d"], file["v_b/c3d"] = made(2, seed=1), made(3, seed=2)
        file["elsewhere"] = h5py.ExternalLink(str(tmp_path / "secret.bin"), "inside")
        file.create_dataset("v_c/c3d", (5, 6), "f4", external=[(str(tmp_path / "secret.bin"), 0, 120)])
    found = find_features(tmp_path)
    assert set(found) == {"v_a", "v_b", "v_c"}
    assert (read_features(found["v_b"]) == made(3, seed=2)).all()
    with pytest.raises(ValueError, match="lies in another file, which is not followed"):
        read_features(found["v_c"])


class Evil:
    ran = False

    def __reduce__(self):
        return setattr, (Evil, "ran", True)


def test_nothing_is_unpickled(tmp_path):
    """A pickle runs whatever its maker wants: neither arrays of objects nor .pkl are opened."""
    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", features=np.array([Evil()], dtype=object))
    np.array([Evil()], dtype=object).dump(tmp_path / "c.pkl")
    Evil.ran = False
    found = find_features(tmp_path)
    assert set(found) == {"a", "b"} and not Evil.ran
    for source in found.values():
        with pytest.raises(ValueError, match="pickles are not read"):
            read_features(source)
    assert not Evil.ran


def with_head(shape):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


BAD = {
    "cube": (lambda path: np.save(path, np.zeros((2, 3, 4))), "has shape (2, 3, 4); the features of a video are"),
    "one vector": (lambda path: np.save(path, np.zeros(4)), "has shape (4,)"),
    "words": (lambda path: np.save(path, np.array([["a", "b"]])), "not numbers"),
    "no array": (lambda path: path.write_bytes(b"hello"), "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "no head": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x40\x00" + b"(" * 63 + b"\n"), "cannot be read"),
    "huge": (lambda path: path.write_bytes(with_head((10**9, 10**6))), "at most 536870912 numbers"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_says_what_is_wrong_with_it(tmp_path, kind):
    write, told = BAD[kind]
    write(tmp_path / "bad.npy")
    source = find_features(tmp_path)["bad"]
    assert told in source.error and "bad.npy" in source.error
    with pytest.raises(ValueError):
        read_features(source)


def test_a_small_archive_that_unpacks_to_terabytes_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", with_head((10**9, 1000)))
    assert "at most" in find_features(tmp_path)["bomb"].error


def test_a_file_that_is_cut_off_is_named_when_it_is_read(tmp_path):
    np.save(tmp_path / "a.npy", made(50))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:400])
    with pytest.raises(ValueError, match="a.npy"):
        read_features(find_features(tmp_path)["a"])


def test_another_width_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", made(3))
    with pytest.raises(ValueError, match="width 6; here they are 8 wide"):
        read_features(find_features(tmp_path)["a"], 8)
    with pytest.raises(ValueError, match="gone"):
        read_features(FeatureSource(tmp_path / "a.npy", error="gone"))


def test_messages_on_folders(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        find_features(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="holds no features; looked for files ending in .npy"):
        find_features(tmp_path)
    np.save(tmp_path / "a.npy", made(3))
    np.savez(tmp_path / "b.npz", a=made(3), c=made(3))
    with pytest.raises(ValueError, match="both hold features of a"):
        find_features(tmp_path)
