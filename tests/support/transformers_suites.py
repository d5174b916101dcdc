"""
transformers' own common test suites, at exactly the installed version.

The wheel does not carry them, the source distribution does: it is fetched from the package index once, into
`$VIDEOBERT_CACHE/transformers-<version>` (default `~/.cache/videobert`), and nothing of it is part of this project.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import types
import warnings
from functools import cache
from pathlib import Path

import pytest
import transformers
from transformers.models.auto import modeling_auto

PACKAGE = "transformers_tests"
# What the suites import from one another, but the distribution leaves out.
LEFT_OUT = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {
        "config_common_kwargs": {"output_hidden_states": True, "chunk_size_feed_forward": 5, "dtype": "float16"}
    },
}
# One module of the repository's root, which the suites import by its bare name.
FETCHING = "fetch_hub_objects_for_ci"


def suites_folder() -> Path:
    """The `tests` folder of the installed transformers, downloaded when it is asked for the first time.

    Returns:
        `pathlib.Path`: the folder.

    Raises:
        RuntimeError: the package index cannot be reached or has no source distribution of this version.
    """
    version = transformers.__version__
    root = Path(os.environ.get("VIDEOBERT_CACHE", Path.home() / ".cache" / "videobert"))
    folder = root / f"transformers-{version}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        # Made under another name and renamed when whole, so that a killed run leaves no half folder behind.
        with tempfile.TemporaryDirectory(dir=root) as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            limits = ["--retries", "1", "--timeout", "20", "--disable-pip-version-check"]
            done = subprocess.run(
                [*command, *limits, "-d", work, f"transformers=={version}"], capture_output=True, text=True
            )
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
                raise RuntimeError(f"pip could not download the source of transformers {version}: {reason}")
            with tarfile.open(next(Path(work).glob("*.tar.gz"))) as archive:
                # Pythons before 3.10.12 and 3.11.4 lack the filter.
                archive.extractall(work, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            tests = Path(work) / f"transformers-{version}" / "tests"
            (tests / "__init__.py").touch()
            try:
                tests.rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return folder


@cache
def _package() -> None:
    """Make the folder importable as `transformers_tests`, with stand-ins for what it lacks."""
    folder = suites_folder()
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    for name, content in LEFT_OUT.items():
        parent, _, _ = name.rpartition(".")
        for path in filter(None, (parent, name)):
            module = sys.modules.setdefault(f"{PACKAGE}.{path}", types.ModuleType(f"{PACKAGE}.{path}"))
            module.__path__ = []
        vars(sys.modules[f"{PACKAGE}.{name}"]).update(content)
    sys.modules[FETCHING] = types.ModuleType(FETCHING)
    sys.modules[FETCHING].url_to_local_path = lambda url: url


def suite(name: str) -> types.ModuleType:
    """One of the suites, or a visible skip of the whole test file where it cannot be had.

    Args:
        name (`str`): module in transformers' `tests` folder, e.g. `"test_modeling_common"`.

    Returns:
        `types.ModuleType`: the module.
    """
    try:
        _package()
    except RuntimeError as error:
        reason = f"transformers' common suites did not run: {error}"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason, allow_module_level=True)
    return importlib.import_module(f"{PACKAGE}.{name}")


def announce(model_type: str, **class_names: str) -> None:
    """Enter our classes in the tables by which the suites decide which labels a class wants.

    Args:
        model_type (`str`): the configuration's `model_type`.
        class_names (`str`): table in `modeling_auto`, without `_MAPPING_NAMES`, and the class's name.
    """
    for table, class_name in class_names.items():
        getattr(modeling_auto, f"{table}_MAPPING_NAMES")[model_type] = class_name
