"""What a Hub keeps: repositories of commits, each a snapshot of all its files, with branches and tags, in a folder."""

import base64
import fnmatch
import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

KINDS = ("model", "dataset", "space")
# What every new repository on the Hub begins with: which files are kept as large ones.
LARGE = ("*.bin", "*.safetensors", "*.parquet", "*.npz", "*.mp4", "*.zip", "*.tar.*")
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE).encode()
REGULAR_BYTES = 10_000_000  # a file of more is a large one, whatever its name


class HubError(Exception):
    """What the Hub refuses: a status, the word for it in `X-Error-Code`, and a sentence."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None):
        super().__init__(message)
        self.status, self.code, self.commit = status, code, commit


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit; its content lies under its `sha256`. `oid` is git's, of a large file that of its pointer."""

    oid: str
    sha256: str
    size: int
    large: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid


@dataclass(frozen=True)
class Commit:
    """A snapshot; its name is a hash of all that it holds."""

    sha: str
    parent: str | None
    title: str
    date: str
    files: dict[str, StoredFile]


def git_oid(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Blobs:
    """Contents by SHA-256, in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.path(sha256).exists():
            self.path(sha256).write_bytes(content)
        return sha256

    def regular(self, content: bytes) -> StoredFile:
        return StoredFile(git_oid(content), self.put(content), len(content), False)

    def large(self, sha256: str) -> StoredFile:
        if not self.path(sha256).exists():
            raise HubError(400, f"The large file {sha256} was never uploaded.")
        size = self.path(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return StoredFile(git_oid(pointer.encode()), sha256, size, True)


class Repository:
    """One repository: its commits, and the branches and tags that point to them.

    Args:
        folder (`Path`):
            Gets a JSON file for each commit.
        blobs ([`Blobs`]):
            Where contents lie.
        kind (`str`):
            One of `KINDS`.
        name (`str`):
            `owner/name`.
        private (`bool`):
            Whether only its owner sees it.
    """

    def __init__(self, folder: Path, blobs: Blobs, kind: str, name: str, private: bool):
        self.folder, self.blobs, self.kind, self.name, self.private = folder, blobs, kind, name, private
        self.commits, self.branches, self.tags = {}, {}, {}
        self.lock = threading.Lock()
        folder.mkdir(parents=True)
        self.add_commit("main", None, "initial commit", {".gitattributes": blobs.regular(GITATTRIBUTES)})

    def add_commit(self, branch: str, parent: str | None, title: str, files: dict[str, StoredFile]) -> Commit:
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        content = {"parent": parent, "title": title, "date": date}
        content["files"] = {path: asdict(file) for path, file in sorted(files.items())}
        text = json.dumps(content, indent=1)
        sha = hashlib.sha1(text.encode()).hexdigest()
        (self.folder / f"{sha}.json").write_text(text)
        self.commits[sha] = Commit(sha, parent, title, date, dict(sorted(files.items())))
        self.branches[branch] = sha
        return self.commits[sha]

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a hash names."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def file(self, revision: str, path: str) -> tuple[Commit, StoredFile]:
        commit = self.find(revision)
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound", commit.sha)
        return commit, commit.files[path]

    def change(self, branch: str, header: dict, changes: list[tuple[str, dict]]) -> Commit:
        """One commit of what was added and deleted: all of it or none."""
        with self.lock:
            if branch not in self.branches:
                raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            head = self.find(branch)
            if header.get("parentCommit") not in (None, head.sha):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(head.files)
            for key, value in changes:
                self._apply(files, key, value)
            return self.add_commit(branch, head.sha, header["summary"], files)

    def _apply(self, files: dict[str, StoredFile], key: str, value: dict) -> None:
        path = value["path"]
        if key == "file":
            files[path] = self.blobs.regular(base64.b64decode(value["content"], validate=True))
        elif key == "lfsFile":
            files[path] = self.blobs.large(value["oid"])
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            for inside in [one for one in files if one.startswith(path.rstrip("/") + "/")]:
                del files[inside]
        else:
            raise HubError(400, f"Unknown operation {key!r} in a commit.")

    def is_large(self, path: str, size: int) -> bool:
        return size > REGULAR_BYTES or any(fnmatch.fnmatch(path.rpartition("/")[2], one) for one in LARGE)

    def history(self, revision: str) -> list[Commit]:
        """Commits from this one back to the first."""
        commits = [self.find(revision)]
        while commits[-1].parent is not None:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit since which a file, or all below a folder, is as it is."""

        def below(one):
            return {name: file for name, file in one.files.items() if name == path or name.startswith(path + "/")}

        history = self.history(commit.sha)
        for newer, older in zip(history, history[1:], strict=False):
            if below(newer) != below(older):
                return newer
        return history[-1]


class Store:
    """All repositories of a Hub, in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.blobs = folder, Blobs(folder / "blobs")
        self.repositories = {}

    def create(self, kind: str, name: str, private: bool) -> bool:
        """A new repository; whether there was none."""
        if (kind, name) in self.repositories:
            return False
        folder = self.folder / f"{kind}s" / name
        self.repositories[kind, name] = Repository(folder, self.blobs, kind, name, private)
        return True
