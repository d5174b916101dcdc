"""What the Hub answers to which address: (methods, pattern, function of the handler and the pattern's groups)."""

import hashlib
import json
import re
from urllib.parse import parse_qs, quote, urlencode

import yaml

from .hub_server_store import HubError

ROUTES = []
PREFIXES = {"": "model", "datasets/": "dataset", "spaces/": "space"}
FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
API = r"/api/(?P<kind>model|dataset|space)s/(?P<name>[^/]+/[^/]+)"


def route(methods: str, pattern: str):
    def keep(function):
        ROUTES.append((methods, re.compile(pattern), function))
        return function

    return keep


# --- accounts and repositories ---------------------------------------------------------------------------------------


@route("GET", "/api/whoami-v2")
def whoami(handler):
    user = handler.user()
    if user is None:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "test", "role": user[1]}
    told = {"type": "user", "id": user[0], "name": user[0], "fullname": user[0], "orgs": []}
    handler.send_json(told | {"auth": {"type": "access_token", "accessToken": token}})


@route("POST", "/api/repos/create")
def create(handler):
    asked = handler.json_body()
    user = handler.user()
    owner = asked.get("organization") or (user and user[0]) or ""
    handler.require_writer(owner)
    kind, name = asked.get("type") or "model", f"{owner}/{asked['name']}"
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    prefix = next(prefix for prefix, of in PREFIXES.items() if of == kind)
    told = {"url": f"{handler.server.url}/{prefix}{name}"}
    if handler.server.store.create(kind, name, private):
        handler.send_json(told)
    else:
        handler.send_json(told | {"error": f"You already created this {kind} repo"}, 409)


@route("DELETE", "/api/repos/delete")
def delete(handler):
    asked = handler.json_body()
    kind, name = asked.get("type") or "model", f"{asked.get('organization') or handler.user()[0]}/{asked['name']}"
    handler.find_repository(kind, name, write=True)
    del handler.server.store.repositories[kind, name]
    handler.send_json({})


@route("POST", "/api/validate-yaml")
def validate_yaml(handler):
    errors, warnings = check_card(handler.json_body()["content"])
    told = {"errors": [{"message": one} for one in errors], "warnings": [{"message": one} for one in warnings]}
    handler.send_json(told, 400 if errors else 200)


def check_card(text: str) -> tuple[list[str], list[str]]:
    """What is wrong with the metadata of a card, and what is missing."""
    front = FRONT.match(text)
    if not front:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(front[1])
    except yaml.YAMLError as error:
        return [f"YAML metadata cannot be read: {error}"], []
    if not isinstance(data, dict):
        return ["YAML metadata must be a mapping"], []
    errors = []
    for name in ("license", "library_name", "pipeline_tag"):
        if name in data and not isinstance(data[name], str):
            errors.append(f'"{name}" must be a string')
    for name in ("tags", "datasets", "metrics", "language", "base_model"):
        listed = data.get(name, [])
        if not all(isinstance(one, str) for one in (listed if isinstance(listed, list) else [listed])):
            errors.append(f'"{name}" must be a string or a list of strings')
    for entry in data.get("model-index", []):
        for result in entry.get("results", [{}]):
            task, of, metrics = (result.get(name) or {} for name in ("task", "dataset", "metrics"))
            if not (entry.get("name") and task.get("type") and of.get("type") and of.get("name") and metrics):
                errors.append('"model-index" needs name, task.type, dataset.type, dataset.name and metrics')
            elif not all(isinstance(one.get("value"), (int, float)) and one.get("type") for one in metrics):
                errors.append('"model-index" needs a type and a number for each metric')
    return errors, []


@route("GET", API)
@route("GET", API + "/revision/(?P<revision>[^/]+)")
def info(handler, kind, name, revision="main"):
    repository = handler.find_repository(kind, name)
    commit = repository.find(revision)
    front = FRONT.match(read(handler, commit, "README.md").decode())
    card = yaml.safe_load(front[1]) if front else None
    siblings = [{"rfilename": path} for path in commit.files]
    if handler.query.get("blobs"):
        siblings = [sibling(path, file) for path, file in commit.files.items()]
    first = repository.history(commit.sha)[-1]
    told = {"_id": name, "id": name, "modelId": name, "sha": commit.sha, "private": repository.private}
    told |= {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "siblings": siblings}
    told |= {"author": name.partition("/")[0], "lastModified": commit.date, "createdAt": first.date}
    told |= {"cardData": card, "tags": (card or {}).get("tags") or []}
    told |= {key: card[key] for key in ("pipeline_tag", "library_name", "model-index") if key in (card or {})}
    handler.send_json(told)


def read(handler, commit, path: str) -> bytes:
    file = commit.files.get(path)
    return b"" if file is None else handler.server.store.blobs.path(file.sha256).read_bytes()


# --- what there is ---------------------------------------------------------------------------------------------------


def entry(path: str, file) -> dict:
    told = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
    return told | ({"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 134}} if file.large else {})


def sibling(path: str, file) -> dict:
    """The same in the words of a repository's own page."""
    large = {"sha256": file.sha256, "size": file.size, "pointerSize": 134}
    told = {"rfilename": path, "blobId": file.oid, "size": file.size}
    return told | ({"lfs": large} if file.large else {})


def entries(repository, commit, expand: bool) -> dict[str, dict]:
    """Files and folders of a commit by path."""
    told = {}
    for path, file in commit.files.items():
        parents = path.split("/")[:-1]
        for depth in range(len(parents)):
            folder = "/".join(parents[: depth + 1])
            oid = hashlib.sha1(f"{commit.sha}/{folder}".encode()).hexdigest()
            told[folder] = {"type": "directory", "path": folder, "oid": oid, "size": 0}
        told[path] = entry(path, file)
    if expand:
        for path in told:
            last = repository.last_change(commit, path)
            told[path]["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
    return told


def is_asked(values: list[str] | None) -> bool:
    return bool(values) and values[0].lower() in ("1", "true")


@route("GET", API + "/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
def tree(handler, kind, name, revision, path):
    repository = handler.find_repository(kind, name)
    commit, query = repository.find(revision), handler.query
    told = entries(repository, commit, is_asked(query.get("expand")))
    if path and told.get(path, {}).get("type") != "directory":
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound", commit.sha)
    inside = {one: told[one] for one in sorted(told) if not path or one.startswith(path + "/")}
    if not is_asked(query.get("recursive")):
        depth = path.count("/") + 1 if path else 0
        inside = {one: value for one, value in inside.items() if one.count("/") == depth}
    start, page = int(query.get("cursor", ["0"])[0]), handler.server.page
    headers = {}
    if start + page < len(inside):
        more = urlencode({key: values[0] for key, values in query.items()} | {"cursor": start + page})
        headers["Link"] = f'<{handler.server.url}{handler.path.partition("?")[0]}?{more}>; rel="next"'
    handler.send_json([*inside.values()][start : start + page], headers=headers)


@route("POST", API + "/paths-info/(?P<revision>[^/]+)")
def paths_info(handler, kind, name, revision):
    repository = handler.find_repository(kind, name)
    asked = parse_qs(handler.body().decode())
    told = entries(repository, repository.find(revision), is_asked(asked.get("expand")))
    paths = [path.rstrip("/") for path in asked.get("paths", [])]
    handler.send_json([told[path] for path in paths if path in told])


@route("GET", API + "/refs")
def refs(handler, kind, name):
    repository = handler.find_repository(kind, name)

    def listed(pointers, place):
        return [{"name": one, "ref": f"refs/{place}/{one}", "targetCommit": sha} for one, sha in pointers.items()]

    told = {"branches": listed(repository.branches, "heads"), "tags": listed(repository.tags, "tags")}
    handler.send_json(told | {"converts": [], "pullRequests": []})


@route("GET", API + "/commits/(?P<revision>[^/]+)")
def commits(handler, kind, name, revision):
    told = handler.find_repository(kind, name).history(revision)
    author = [{"user": name.partition("/")[0]}]
    handler.send_json(
        [{"id": one.sha, "title": one.title, "message": "", "date": one.date, "authors": author} for one in told]
    )


@route("POST DELETE", API + "/branch/(?P<branch>[^/]+)")
def branch(handler, kind, name, branch):
    change_pointer(handler, handler.find_repository(kind, name, write=True), "branches", branch)


@route("POST", API + "/tag/(?P<revision>[^/]+)")
def add_tag(handler, kind, name, revision):
    repository = handler.find_repository(kind, name, write=True)
    change_pointer(handler, repository, "tags", handler.json_body()["tag"], revision)


@route("DELETE", API + "/tag/(?P<tag>[^/]+)")
def delete_tag(handler, kind, name, tag):
    change_pointer(handler, handler.find_repository(kind, name, write=True), "tags", tag)


def change_pointer(handler, repository, which: str, pointer: str, revision: str | None = None) -> None:
    pointers = getattr(repository, which)
    if handler.command == "DELETE":
        if pointers.pop(pointer, None) is None:
            raise HubError(404, f"Invalid rev id: {pointer}", "RevisionNotFound")
    elif pointer in pointers:
        raise HubError(409, f"Reference already exists: {pointer}")
    else:
        asked = {} if handler.body_read else json.loads(handler.body() or b"{}")
        pointers[pointer] = repository.find(revision or asked.get("startingPoint") or "main").sha
    handler.send_json({})


# --- writing ---------------------------------------------------------------------------------------------------------


@route("POST", API + "/preupload/(?P<revision>[^/]+)")
def preupload(handler, kind, name, revision):
    repository = handler.find_repository(kind, name, write=True)
    there, told = repository.find(revision).files, []
    for one in handler.json_body()["files"]:
        mode = "lfs" if repository.is_large(one["path"], one["size"]) else "regular"
        oid = there[one["path"]].etag if one["path"] in there else None
        told.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    handler.send_json({"files": told})


@route("POST", API + "/commit/(?P<revision>[^/]+)")
def commit(handler, kind, name, revision):
    repository = handler.find_repository(kind, name, write=True)
    if handler.headers["Content-Type"] != "application/x-ndjson":
        raise HubError(400, "A commit is sent as application/x-ndjson.")
    lines = [json.loads(line) for line in handler.body().splitlines()]
    if not lines or lines[0]["key"] != "header":
        raise HubError(400, "A commit begins with its header.")
    made = repository.change(revision, lines[0]["value"], [(one["key"], one["value"]) for one in lines[1:]])
    url = f"{handler.server.url}/{name}/commit/{made.sha}"
    handler.send_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


@route("POST", r"/(?P<prefix>datasets/|spaces/|)(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
def large_files(handler, prefix, name):
    handler.find_repository(PREFIXES[prefix], name, write=True)
    server, asked, told = handler.server, handler.json_body(), []
    for one in asked["objects"]:
        oid, size, actions = one["oid"], one["size"], {}
        if not server.store.blobs.path(oid).exists():
            upload = {"href": f"{server.storage_url}/storage/{oid}?{signed(oid)}", "header": {}}
            if size > server.part_bytes and "multipart" in asked["transfers"]:
                parts = range(1, -(-size // server.part_bytes) + 1)
                upload["header"] = {
                    str(part): f"{server.storage_url}/storage/{oid}/{part}?{signed(oid)}" for part in parts
                }
                upload["header"]["chunk_size"] = str(server.part_bytes)
                upload["href"] = f"{server.url}/complete/{oid}?{signed(oid)}"
            actions["actions"] = {"upload": upload, "verify": {"href": f"{server.url}/verify", "header": {}}}
        told.append({"oid": oid, "size": size, "authenticated": True, **actions})
    handler.send_json({"transfer": "basic", "objects": told})


def signed(oid: str) -> str:
    return "signature=" + hashlib.sha256(f"signed {oid}".encode()).hexdigest()[:16]


def require_signature(handler, oid: str) -> None:
    """As storage does: who has a signed address needs no token, and may not send one."""
    if handler.query.get("signature") != [signed(oid).partition("=")[2]]:
        raise HubError(403, "Access denied: the address is not signed.")
    if "Authorization" in handler.headers:
        raise HubError(400, "Only one way of authentication is allowed; there is a token beside a signature.")


@route("PUT", "/storage/(?P<oid>[0-9a-f]{64})(?:/(?P<part>[0-9]+))?")
def receive(handler, oid, part):
    require_signature(handler, oid)
    if (most := handler.server.cut_uploads.pop(oid, None)) is not None:
        handler.body(most)
        handler.close_connection = True
        handler.note(-1)
        return
    content = handler.body()
    if part:
        handler.server.parts.setdefault(oid, {})[int(part)] = content
    else:
        keep(handler, oid, content)
    handler.send(b"", headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})


@route("POST", "/complete/(?P<oid>[0-9a-f]{64})")
def complete(handler, oid):
    asked, parts = handler.json_body(), handler.server.parts.pop(oid, {})
    for one in asked["parts"]:
        content = parts.get(one["partNumber"], b"")
        if one["etag"].strip('"') != hashlib.md5(content).hexdigest():
            raise HubError(400, f"Part {one['partNumber']} is not the one that was received.")
    keep(handler, oid, b"".join(parts[number] for number in sorted(parts)))
    handler.send_json({})


def keep(handler, oid: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubError(400, f"The content that was received is not {oid}.")
    handler.server.store.blobs.put(content)


@route("POST", "/verify")
def verify(handler):
    handler.user()
    asked = handler.json_body()
    path = handler.server.store.blobs.path(asked["oid"])
    if not path.exists() or path.stat().st_size != asked["size"]:
        raise HubError(404, "This large file is not there.")
    handler.send_json({})


# --- reading ---------------------------------------------------------------------------------------------------------


@route("GET HEAD", "/storage/(?P<oid>[0-9a-f]{64})")
def send_large(handler, oid):
    require_signature(handler, oid)
    handler.send_file(oid, {"ETag": f'"{oid}"'})


@route("GET HEAD", "/(?P<prefix>datasets/|spaces/|)(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(handler, prefix, name, revision, path):
    found, file = handler.find_repository(PREFIXES[prefix], name).file(revision, path)
    headers = {"X-Repo-Commit": found.sha, "ETag": f'"{file.etag}"'}
    headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
    if not file.large:
        return handler.send_file(file.sha256, headers)
    headers |= {"X-Linked-Size": file.size, "X-Linked-ETag": f'"{file.sha256}"'}
    headers["Location"] = f"{handler.server.storage_url}/storage/{file.sha256}?{signed(file.sha256)}"
    handler.send(b"Found. Redirecting to storage.", 302, headers)
