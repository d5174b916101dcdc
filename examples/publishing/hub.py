"""The way to the Hub: a repository that one may write to, found before the work begins, and one commit at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, RepoCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from .staging import stage_codebook, stage_corpus, stage_metric, stage_model

# By what is published: the kind of its repository, what fills a folder with all that this holds, and the commit.
THINGS = {
    "model": ("model", stage_model, "Publish model, processor, codebook and card"),
    "codebook": ("model", stage_codebook, "Publish codebook and card"),
    "corpus": ("dataset", stage_corpus, "Publish rows and card"),
    "metric": ("space", stage_metric, "Publish metric"),
}
# What a later commit may no longer hold.
OURS = ["*.py", "*.safetensors", "*.safetensors.index.json", "data/*.parquet", "codebook/*"]


def claim_repository(options, output: Path, thing: str) -> str | None:
    """The repository that `--push_to_hub` will fill, made if it is new: asked for before the work begins.

    Args:
        options ([`HubOptions`] or a namespace that holds them):
            Whether and where to.
        output (`Path`):
            Folder of what is made; its name is the repository's if no other is given.
        thing (`str`):
            One of `THINGS`.

    Returns:
        `str`: `user/name`; `None` where nothing is to be published.

    Raises:
        ValueError: In one sentence why the Hub would not take it.
    """
    if not options.push_to_hub:
        if options.hub_model_id:
            raise ValueError(f"--hub_model_id {options.hub_model_id} says where --push_to_hub goes, which is missing.")
        return None
    repo_id, (kind, _, _) = options.hub_model_id or Path(output).resolve().name, THINGS[thing]
    with refused_in_a_sentence(repo_id):
        api = HfApi()
        repo_id = api.create_repo(repo_id, repo_type=kind, exist_ok=True).repo_id
        # A repository that is there is found with a token that may only read. What asks how a file would be sent
        # must be allowed to write; nothing is sent.
        api.preupload_lfs_files(repo_id, [CommitOperationAdd("README.md", b"#")], repo_type=kind)
    return repo_id


def publish(thing: str, source: Path, repo_id: str, private: bool = False, **told) -> str:
    """One commit with all that a repository is to hold.

    Args:
        thing (`str`):
            One of `THINGS`.
        source (`Path`):
            The folder where it lies.
        repo_id (`str`):
            Where it goes: `user/name`.
        private (`bool`, *optional*, defaults to `False`):
            Whether a new repository is the owner's alone.
        told:
            What the card says besides, see the `stage_…` of the thing.

    Returns:
        `str`: The address of the commit.

    Raises:
        ValueError: In one sentence why there is nothing to publish, or why the Hub did not take it.
    """
    kind, stage, message = THINGS[thing]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(folder, Path(source), repo_id, **told)
        what = {"repo_type": kind, "private": private or None, "exist_ok": True}
        if kind == "space":
            what["space_sdk"] = RepoCard.load(folder / "README.md").data.get("sdk") or "static"
        with refused_in_a_sentence(repo_id):
            api = HfApi()
            repo_id = api.create_repo(repo_id, **what).repo_id
            done = api.upload_folder(
                repo_id=repo_id, repo_type=kind, folder_path=folder, commit_message=message, delete_patterns=OURS
            )
    print(f"published as {repo_id}: {done.commit_url}")
    return done.commit_url


def publish_what_was_made(thing: str, source: Path, repo_id: str | None, **told) -> None:
    """The end of a run with `--push_to_hub`, for a repository that [`claim_repository`] found; `None` publishes
    nothing. Where the Hub does not take it then, what was made is there, and the sentence says how to publish it."""
    if repo_id is None:
        return
    try:
        publish(thing, source, repo_id, **told)
    except ValueError as error:
        later = f"python examples/publish.py --{thing} {source} --repo_id {repo_id}"
        later += "".join(f" --{name} {value}" for name, value in told.items() if value)
        raise ValueError(f"{error} What was made is in {source}; to publish it: {later}") from error


@contextmanager
def refused_in_a_sentence(repo_id: str) -> Iterator[None]:
    """Makes a `ValueError` of one sentence of whatever the Hub refuses."""
    try:
        yield
    except Exception as error:
        if (told := refusal(error, repo_id)) is None:
            raise
        raise ValueError(told) from error


def refusal(error: Exception, repo_id: str) -> str | None:
    """In one sentence why the Hub did not take it; `None` for what is not the Hub's doing."""
    if isinstance(error, OfflineModeIsEnabled):
        return "Publishing needs the Hub, and HF_HUB_OFFLINE is set; unset it."
    if isinstance(error, LocalTokenNotFoundError):
        return "There is no token for the Hub; log in with `hf auth login`."
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} cannot be a repository's name: {str(error).strip().splitlines()[0]}"
    if not isinstance(error, HfHubHTTPError):  # the base of which is what happens before there is an answer
        return f"The Hub cannot be reached for {repo_id}: {error}" if isinstance(error, HTTPError) else None
    status = error.response.status_code
    if status == 401 or isinstance(error, RepositoryNotFoundError):
        return f"The Hub does not know the token, or it sees no {repo_id}; log in with `hf auth login`."
    if status == 403:
        return f"The token may not write to {repo_id}; take one with the right to write, of its owner."
    return f"The Hub refused {repo_id}: {str(error).strip().splitlines()[-1]}"
