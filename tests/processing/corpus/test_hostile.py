"""Protects the machine, and a corpus, from files that strangers made; `make hostile` runs all of them."""

import os

import pytest
from support.hostile_files import KINDS
from support.hostile_files.run import run_features, run_stills, run_videos
from support.hostile_files.world import World

# Minutes of encoding and decoding: only `make hostile` makes these.
LARGE = {"grown", "many"}
BAD = ("lost", "secret", "hung", "crashed", "held", "unforeseen")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("hostile") / "world")
    yield world
    world.close()


def check(outcomes, world):
    """Nothing is lost or leads elsewhere, and no decoder had to be ended."""
    assert not [one for one in outcomes if one.end in BAD]
    assert not world.listener.visits and not world.opened


@pytest.mark.slow
def test_every_hostile_video_is_a_row(world, tmp_path, monkeypatch):
    """Right, or with an error, or refused by name where it is a link out of the folder; no connection is made, and
    nothing outside is opened."""
    monkeypatch.chdir(tmp_path)  # where a shell would leave what it was made to do
    outcomes = run_videos(world, world.folder.parent / "videos", set(KINDS) - LARGE)
    check(outcomes, world)
    assert len(outcomes) >= 250
    by_name = {one.name: one for one in outcomes}
    for name in ("things/pipe.mp4", "things/socket.mp4"):
        assert "existing regular file" in by_name[name].told
    for name in ("file.mp4", "near.mp4", "folder", "zero.mp4", "passwords.mp4", "nowhere.mp4"):
        assert by_name[f"links/{name}"].end == "refused"
    assert by_name["links/inside.mp4"].end == by_name["links/good.mp4"].end == "row"
    assert {one.end for one in outcomes if one.kind in ("lists", "references") and one.told} == {"error"}
    assert "owned" not in os.listdir(tmp_path) + os.listdir(world.folder)


@pytest.mark.slow
def test_every_hostile_file_of_features_is_a_row(world, tmp_path, monkeypatch):
    """Nothing is unpickled or evaluated, and no link or reference is followed to another file."""
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("h5py", reason="HDF5 is one of the kinds")
    outcomes = run_features(world, world.folder.parent / "features")
    check(outcomes, world)
    assert "owned" not in os.listdir(tmp_path) + os.listdir(world.folder)
    by_name = {one.name: one for one in outcomes}
    for name in ("link.npy", "pipe.npy", "external.h5", "virtual.h5", "bomb.npz", "huge.npy", "nan.npy"):
        assert by_name[f"features/{name}"].end == "error"


@pytest.mark.slow
def test_every_hostile_still_is_a_row(world):
    """A picture that unpacks to gigabytes is refused by its header, and a pipe is not waited for."""
    outcomes = run_stills(world, world.folder.parent / "stills")
    check(outcomes, world)
    assert {one.end for one in outcomes} == {"error"}
    assert any("exceeds" in one.told or "limit" in one.told for one in outcomes)
