"""A Hub that this process talks to."""

import pytest
from huggingface_hub import constants
from support.hub_server import HubServer


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of small parts and pages, and a token that may write to what is `me`'s."""
    with HubServer(tmp_path / "hub", part_bytes=5_000_000, page=3) as server:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        address = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield server
