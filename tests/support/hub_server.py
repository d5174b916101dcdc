"""A Hub on this machine: its protocol over HTTP, as huggingface_hub speaks it, for real pushes and pulls in tests.

    with HubServer(folder) as hub:
        subprocess.run(…, env=hub.environment(home, token="hf_writer"))

Large files travel by signed addresses of another host (`localhost` beside `127.0.0.1`), as they do on the Hub: a token
that is sent there is refused. There is no Xet.
"""

import http.server
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from .hub_server_routes import ROUTES
from .hub_server_store import HubError, Repository, Store

BLOCK = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A request. It is noted before its answer is sent: who has the answer finds it."""

    method: str
    path: str
    status: int
    range: str | None


class HubServer(http.server.ThreadingHTTPServer):
    """The server; a context manager that runs it in a thread.

    Args:
        folder (`Path`):
            Where repositories and contents lie.
        part_bytes (`int`, *optional*, defaults to 5 MB):
            A larger file is uploaded in parts of this size.
        page (`int`, *optional*, defaults to 1000):
            Entries of a tree on one page.
    """

    daemon_threads = True
    request_queue_size = 128  # connections that wait to be taken: where there is no room, a client tries for seconds
    # By token who sends it, and whether with the right to write.
    tokens = {"hf_writer": ("me", "write"), "hf_reader": ("me", "read"), "hf_other": ("you", "write")}

    def __init__(self, folder: Path, part_bytes: int = 5_000_000, page: int = 1000):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store, self.part_bytes, self.page = Store(folder), part_bytes, page
        self.seen: list[Seen] = []
        self.parts: dict[str, dict[int, bytes]] = {}
        # By content how many bytes of it are sent, or received, before the connection is cut, once.
        self.cut_downloads: dict[str, int] = {}
        self.cut_uploads: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def storage_url(self) -> str:
        """Where large files lie: another host, as on the Hub."""
        return f"http://localhost:{self.server_port}"

    def environment(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """What a process needs that is to use this Hub and nothing else of the machine's."""
        given = {"PATH": "/usr/bin:/bin", "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": self.url}
        given |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1,localhost"}
        given |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
        given |= {"HF_HUB_DOWNLOAD_TIMEOUT": "120", "HF_HUB_ETAG_TIMEOUT": "120"}  # a busy Hub is not asked twice
        return given | ({"HF_TOKEN": token} if token else {}) | more

    def repository(self, name: str, kind: str = "model") -> Repository:
        return self.store.repositories[kind, name]

    def read(self, name: str, path: str, kind: str = "model", revision: str = "main") -> bytes:
        """A file as it lies on the Hub."""
        _, file = self.repository(name, kind).file(revision, path)
        return self.store.blobs.path(file.sha256).read_bytes()

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request, client_address):
        """A client that went away is nothing to print."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. What the Hub answers to which address is in `hub_server_routes.py`."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_):
        pass

    def answer(self):
        address = urlsplit(self.path)
        self.query, self.body_read = parse_qs(address.query), False
        try:
            for method, pattern, function in ROUTES:
                found = pattern.fullmatch(address.path)
                if found and self.command in method.split():
                    function(self, **{name: unquote(value or "") for name, value in found.groupdict().items()})
                    break
            else:
                raise HubError(404, f"There is no {self.command} {address.path} here.")
        except HubError as error:
            self.drain()
            headers = {"X-Error-Message": str(error)}
            headers |= {"X-Error-Code": error.code} if error.code else {}
            headers |= {"X-Repo-Commit": error.commit} if error.commit else {}
            self.send_json({"error": str(error)}, error.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    # --- who asks ----------------------------------------------------------------------------------------------------

    def user(self) -> tuple[str, str] | None:
        """Name and right of whoever asks; `None` without a token."""
        given = self.headers.get("Authorization")
        if given is None:
            return None
        known = self.server.tokens.get(given.removeprefix("Bearer "))
        if known is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return known

    def require_writer(self, owner: str) -> None:
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user != (owner, "write"):
            raise HubError(403, f"You don't have the rights to write to {owner}'s repositories with this token")

    def find_repository(self, kind: str, name: str, write: bool = False) -> Repository:
        user = self.user()
        found = self.server.store.repositories.get((kind, name))
        if found is None or (found.private and (user is None or user[0] != name.partition("/")[0])):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if write:
            self.require_writer(name.partition("/")[0])
        return found

    # --- what is received --------------------------------------------------------------------------------------------

    def body(self, most: int | None = None) -> bytes:
        """The body, whole; or its first bytes, when the connection is to be cut."""
        self.body_read = True
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            length = int(self.headers.get("Content-Length", 0))
            return self.rfile.read(length if most is None else min(length, most))
        parts, size = [], 0
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
            size += length
            if most is not None and size >= most:
                return b"".join(parts)
        self.rfile.readline()
        return b"".join(parts)

    def drain(self) -> None:
        """The next request on this connection begins where the body of this one ends."""
        if not self.body_read:
            self.body()

    def json_body(self):
        return json.loads(self.body())

    # --- what is sent ------------------------------------------------------------------------------------------------

    def note(self, status: int) -> None:
        """Before the first byte of the answer: a test may look as soon as it has the last one."""
        self.server.seen.append(Seen(self.command, urlsplit(self.path).path, status, self.headers.get("Range")))

    def send_head(self, status: int, headers: dict) -> None:
        self.drain()
        self.note(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send(self, content: bytes, status: int = 200, headers: dict | None = None) -> None:
        self.send_head(status, {"Content-Length": len(content)} | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value, status: int = 200, headers: dict | None = None) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send_file(self, sha256: str, headers: dict) -> None:
        """A content or the range of it that was asked for."""
        path = self.server.store.blobs.path(sha256)
        size = path.stat().st_size
        start, end, status = 0, size, 200
        wanted = self.headers.get("Range")
        if wanted is not None:
            start, end = parse_range(wanted, size)
            status, headers = 206, headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        self.send_head(status, {"Content-Length": end - start, "Accept-Ranges": "bytes"} | headers)
        if self.command == "HEAD":
            return
        cut = self.server.cut_downloads.pop(sha256, None)
        with open(path, "rb") as file:
            file.seek(start)
            left = end - start if cut is None else min(cut, end - start)
            while left:
                block = file.read(min(BLOCK, left))
                self.wfile.write(block)
                left -= len(block)
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


def parse_range(wanted: str, size: int) -> tuple[int, int]:
    """First byte and the one behind the last of `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`."""
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise HubError(416, f"The range {wanted} is outside a file of {size} bytes.")
    return start, end
