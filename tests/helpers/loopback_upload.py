"""Upload endpoints for :class:`loopback_hub.LoopbackHub`; importing this module adds their routes.

A client with the token ``TOKEN`` can create repositories and commit to them. Uploaded files are stored under
``hub.root/models/OWNER/NAME``, from where the hub serves them.
"""

from __future__ import annotations

import base64
import hashlib
import json

from loopback_hub import LARGE, ROUTES, Handler

TOKEN = "hf_loopback"

_blobs: dict[str, bytes] = {}  # content of the large-file storage, by sha256


def _allowed(handler: Handler) -> bool:
    if handler.headers.get("Authorization") == f"Bearer {TOKEN}":
        return True
    handler.reply_error(401, "Unauthorized")
    return False


def create(handler: Handler) -> None:
    wanted = json.loads(handler.body)
    if not _allowed(handler):
        return
    name = f"{wanted['organization']}/{wanted['name']}"
    folder = handler.hub.root / "models" / name
    answer = {"url": f"{handler.hub.url}/{name}", "id": name, "visibility": wanted.get("visibility")}
    if folder.is_dir():
        return handler.reply(409, json.dumps(answer | {"error": "exists"}).encode(), {})
    folder.mkdir(parents=True)
    handler.hub.write(f"settings/{name}.json", handler.body)
    handler.reply_json(answer)


def validate(handler: Handler) -> None:
    """Validate the front matter of a model card, as the hub does before a commit."""
    import yaml

    content = json.loads(handler.body)["content"]
    metadata = yaml.safe_load(content.split("---\n")[1]) if content.startswith("---\n") else {}
    if not isinstance(metadata, dict):
        return handler.reply(400, json.dumps({"errors": [{"message": "no mapping"}]}).encode(), {})
    handler.reply_json({"errors": [], "warnings": []})


def preupload(handler: Handler, kind: str, name: str, revision: str) -> None:
    """Send for each file whether it belongs into the commit or into large-file storage."""
    if _allowed(handler) and handler.repository(kind, name, revision):
        files = json.loads(handler.body)["files"]
        modes = {file["path"]: "lfs" if file["size"] >= LARGE else "regular" for file in files}
        answer = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        handler.reply_json({"files": answer})


def batch(handler: Handler, name: str) -> None:
    """Send the upload address of each large file."""
    if _allowed(handler):
        objects = []
        for wanted in json.loads(handler.body)["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            upload = {"actions": {"upload": {"href": f"{handler.hub.url}/blobs/{oid}"}}}
            objects.append({"oid": oid, "size": size} | ({} if oid in _blobs else upload))
        handler.reply_json({"transfer": "basic", "objects": objects})


def store(handler: Handler, oid: str) -> None:
    content = handler.body or _read_chunks(handler)
    if hashlib.sha256(content).hexdigest() != oid:
        return handler.reply_error(400, "WrongDigest")
    _blobs[oid] = content
    handler.reply(200, b"", {})


def _read_chunks(handler: Handler) -> bytes:
    content = b""
    while size := int(handler.rfile.readline(), 16):
        content += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return content


def commit(handler: Handler, kind: str, name: str, revision: str) -> None:
    """Store all files of a commit, or none."""
    found = _allowed(handler) and handler.repository(kind, name, revision)
    if not found:
        return
    content = {}
    for line in (handler.body or _read_chunks(handler)).splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "file":
            content[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            content[value["path"]] = _blobs[value["oid"]]
    for path, data in content.items():
        handler.hub.write(f"{kind}/{name}/{path}", data)
    oid = found.commit()
    url = f"{handler.hub.url}/{name}/commit/{oid}"
    handler.reply_json({"success": True, "commitUrl": url, "commitOid": oid, "hookOutput": ""})


_REPOSITORY = r"/api/(?P<kind>models)/(?P<name>[^/]+/[^/]+)"
ROUTES += [
    ("POST", "/api/repos/create", create),
    ("POST", "/api/validate-yaml", validate),
    ("POST", rf"{_REPOSITORY}/preupload/(?P<revision>[^/]+)", preupload),
    ("POST", r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", batch),
    ("PUT", r"/blobs/(?P<oid>[0-9a-f]{64})", store),
    ("POST", rf"{_REPOSITORY}/commit/(?P<revision>[^/]+)", commit),
]
