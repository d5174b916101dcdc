"""Protects the Hub that the other tests push to: huggingface_hub itself must find it to be one."""

import hashlib
import json

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

BIG = bytes(range(256)) * 50_000  # 12.8 MB


@pytest.fixture
def api(hub):
    api = HfApi(endpoint=hub.url, token="hf_writer")
    api.create_repo("me/chef")
    return api


def add(api, files, message="more", **options):
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit("me/chef", operations, commit_message=message, **options)


def test_what_was_committed_comes_back(hub, api, tmp_path):
    """Small files travel in the commit, large ones before it in parts, and both come back to the byte."""
    made = add(api, {"config.json": b"{}", "model.safetensors": BIG, "codebook/config.json": b"[1]"})
    for path, content in {"config.json": b"{}", "model.safetensors": BIG, "codebook/config.json": b"[1]"}.items():
        found = api.hf_hub_download("me/chef", path, cache_dir=tmp_path / "cache")
        with open(found, "rb") as file:
            assert file.read() == content
        assert made.oid in found and hub.read("me/chef", path) == content
    parts = [seen.path for seen in hub.seen if seen.method == "PUT"]
    assert [path.rsplit("/", 1)[1] for path in parts] == ["1", "2", "3"]
    # A commit is a file on disk whose name is a hash of it.
    written = (hub.store.folder / "models" / "me" / "chef" / f"{made.oid}.json").read_bytes()
    assert hashlib.sha1(written).hexdigest() == made.oid
    assert json.loads(written)["files"]["model.safetensors"]["sha256"] == hashlib.sha256(BIG).hexdigest()


def test_what_is_there_already_is_not_sent_again(hub, api):
    """By content: git's hash of a small file, SHA-256 of a large one."""
    first = add(api, {"config.json": b"{}", "model.safetensors": BIG})
    before = len(hub.seen)
    assert add(api, {"config.json": b"{}", "model.safetensors": BIG}).oid == first.oid
    assert not [seen for seen in hub.seen[before:] if seen.method == "PUT" or "/commit/" in seen.path]


def test_tree_pages_and_paths(hub, api):
    """More files than a page has; folders; and the commit since which each is as it is."""
    files = {f"part{number}.txt": b"x" for number in range(7)} | {"codebook/a.bin": b"y", "codebook/b.txt": b"z"}
    first = add(api, files, "first")
    second = add(api, {"part3.txt": b"new"}, "second")
    found = {one.path: one for one in api.list_repo_tree("me/chef", recursive=True, expand=True)}
    assert set(found) == set(files) | {"codebook", ".gitattributes"}
    assert found["part3.txt"].last_commit.oid == second.oid and found["codebook"].last_commit.oid == first.oid
    assert found["codebook/a.bin"].lfs.sha256 == hashlib.sha256(b"y").hexdigest()
    assert found["codebook/b.txt"].blob_id == hashlib.sha1(b"blob 1\0z").hexdigest()
    assert [one.path for one in api.list_repo_tree("me/chef", "codebook")] == ["codebook/a.bin", "codebook/b.txt"]
    assert [one.path for one in api.get_paths_info("me/chef", ["codebook", "part1.txt", "no.txt"])] == [
        "codebook",
        "part1.txt",
    ]
    info = api.model_info("me/chef", files_metadata=True)
    assert info.sha == second.oid and len(info.siblings) == 10 and info.private is False
    assert [commit.title for commit in api.list_repo_commits("me/chef")] == ["second", "first", "initial commit"]


def test_revisions(hub, api, tmp_path):
    """A tag, a branch and a hash name a commit for good; `main` goes on."""
    first = add(api, {"a.txt": b"1"})
    api.create_tag("me/chef", tag="v1")
    api.create_branch("me/chef", branch="try/this")
    add(api, {"a.txt": b"2"})
    add(api, {"a.txt": b"3"}, revision="try/this")
    for revision, content in {"v1": "1", first.oid: "1", "main": "2", "try/this": "3"}.items():
        path = api.hf_hub_download("me/chef", "a.txt", revision=revision, cache_dir=tmp_path)
        with open(path) as file:
            assert file.read() == content, revision
    refs = api.list_repo_refs("me/chef")
    assert [tag.target_commit for tag in refs.tags] == [first.oid]
    assert {branch.name for branch in refs.branches} == {"main", "try/this"}
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("me/chef", "a.txt", revision="v2", cache_dir=tmp_path)
    with pytest.raises(HfHubHTTPError, match="412"):
        add(api, {"a.txt": b"4"}, parent_commit=first.oid)
    api.delete_file("a.txt", "me/chef")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("me/chef", "a.txt", cache_dir=tmp_path)


def test_who_may_write_and_who_may_read(hub, api, tmp_path):
    """Without a token 401, with one that may not 403, with a wrong one told so; what is private is not there."""
    assert api.whoami()["name"] == "me"
    api.create_repo("me/secret", private=True)
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="me/secret")
    for token, status in {False: "401", "hf_reader": "403", "hf_other": "403", "hf_nobody": "Invalid cred"}.items():
        other = HfApi(endpoint=hub.url, token=token)
        with pytest.raises(HfHubHTTPError, match=status):
            other.create_repo("me/mine")
        with pytest.raises(HfHubHTTPError, match=status):
            other.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="me/chef")
    for token in (False, "hf_other"):
        with pytest.raises(RepositoryNotFoundError):
            HfApi(endpoint=hub.url, token=token).hf_hub_download("me/secret", "a.txt", cache_dir=tmp_path / str(token))
    assert HfApi(endpoint=hub.url, token="hf_reader").hf_hub_download("me/secret", "a.txt", cache_dir=tmp_path)
    assert hub.read("me/secret", "a.txt") == b"1" and ("model", "me/mine") not in hub.store.repositories


def test_a_cut_connection_is_resumed(hub, api, tmp_path):
    """Where it was cut, not from the start; a cut upload is sent again."""
    sha256 = hashlib.sha256(BIG).hexdigest()
    hub.cut_uploads[sha256] = 1_000_000
    add(api, {"model.safetensors": BIG})
    assert hub.read("me/chef", "model.safetensors") == BIG and not hub.cut_uploads
    hub.cut_downloads[sha256] = 11_000_000
    path = api.hf_hub_download("me/chef", "model.safetensors", cache_dir=tmp_path)
    with open(path, "rb") as file:
        assert file.read() == BIG
    gets = [seen.range for seen in hub.seen if seen.method == "GET" and sha256 in seen.path]
    assert gets == [None, "bytes=10485760-"]  # the client keeps what it has in blocks of 10 MB


def test_wrong_metadata_of_a_card_is_refused(api):
    """As the Hub does, before anything is sent."""
    with pytest.raises(ValueError, match="model-index"):
        add(api, {"README.md": b"---\nmodel-index:\n- name: chef\n  results:\n  - task: {}\n---\n"})
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        add(api, {"README.md": b"# chef\n"})
    add(api, {"README.md": b"---\nlicense: mit\ntags: [videobert]\n---\n# chef\n"})
    assert api.model_info("me/chef").card_data.license == "mit"
