"""A small Hugging Face hub on 127.0.0.1, for tests: it serves folders, injects faults and counts requests.

The layout of the folder is ``models/OWNER/NAME/files...`` and ``datasets/OWNER/NAME/files...``. Changed files are
served immediately, under a new commit. Use it as a context manager and set ``HF_ENDPOINT`` to ``hub.url``::

    with LoopbackHub(tmp_path) as hub:
        hub.write("datasets/me/data/train.txt", b"...")
        hub.inject(Fault("train.txt", cut_after=100))

``ROUTES`` maps method and path to a function of the handler. To add an endpoint, add a row.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1024  # smallest size of a file in "large-file storage", whose ETag is a sha256, as on the hub
DATE = "2024-01-01T00:00:00.000Z"


@dataclass
class Fault:
    """A fault of the next ``times`` requests whose path ends with ``path``."""

    path: str
    status: int | None = None  # answer with this status instead
    cut_after: int | None = None  # close the connection after this many bytes of the body
    content: bytes | None = None  # send other bytes under the correct ETag
    method: str = "GET"
    times: int = 1


@dataclass
class LoopbackHub:
    """The server; ``requests`` counts ``(method, path)`` pairs, ``ranges`` lists the Range headers seen."""

    root: Path
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> LoopbackHub:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def write(self, path: str, content: bytes) -> Path:
        """Write a file into a repository; create the repository if needed."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def inject(self, fault: Fault) -> None:
        with self.lock:
            self.faults.append(fault)

    def count(self, method: str, ending: str) -> int:
        """Count the requests with a method whose path ends with ``ending``."""
        with self.lock:
            return sum(n for (verb, path), n in self.requests.items() if verb == method and path.endswith(ending))

    def observe(self, method: str, path: str, byte_range: str | None) -> Fault | None:
        """Count a request and return the fault that applies to it, if any."""
        with self.lock:
            self.requests[method, path] += 1
            self.ranges += [byte_range] if byte_range else []
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and path.endswith(fault.path):
                    fault.times -= 1
                    return fault
        return None


@dataclass(frozen=True)
class Repository:
    """A repository folder with a single commit."""

    kind: str
    name: str
    folder: Path

    def files(self) -> dict[str, Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}

    def commit(self) -> str:
        state = "".join(f"{name}\0{etag(path.read_bytes())}\n" for name, path in self.files().items())
        return hashlib.sha1(state.encode()).hexdigest()

    def info(self) -> dict[str, object]:
        return {
            "_id": "0" * 24,
            "id": self.name,
            "modelId": self.name,
            "sha": self.commit(),
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": DATE,
            "createdAt": DATE,
            "siblings": [{"rfilename": name} for name in self.files()],
        }

    def entries(self, under: str = "", recursive: bool = True) -> list[dict[str, object]]:
        """List folders and files; only the first level unless ``recursive``."""
        prefix = f"{under}/" if under else ""
        names = [name for name in self.files() if name.startswith(prefix)]
        folders = {parent.as_posix() for name in names for parent in Path(name).parents if parent != Path(".")}
        listed = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in sorted(folders)]
        listed += [self.entry(name) for name in names]
        inside = [entry for entry in listed if str(entry["path"]).startswith(prefix)]
        return [entry for entry in inside if recursive or "/" not in str(entry["path"])[len(prefix) :]]

    def entry(self, name: str) -> dict[str, object]:
        content = (self.folder / name).read_bytes()
        entry = {"type": "file", "oid": git_oid(content), "size": len(content), "path": name}
        if len(content) >= LARGE:
            entry["lfs"] = {"oid": etag(content), "size": len(content), "pointerSize": 130}
        return entry


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) >= LARGE else git_oid(content)


class Handler(BaseHTTPRequestHandler):
    """Handles one request; the server sets ``hub``."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        path = urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.fault = self.hub.observe(self.command, path, self.headers.get("Range"))
        if self.fault and self.fault.status:
            return self.reply_error(self.fault.status, "InjectedFault")
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split():
                return answer(self, **{key: unquote(value or "") for key, value in match.groupdict().items()})
        return self.reply_error(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def repository(self, kind: str, name: str, revision: str = "main") -> Repository | None:
        """Return a repository at a revision, or send an error and return None."""
        folder = self.hub.root / kind / name
        if not folder.is_dir():
            self.reply_error(404, "RepoNotFound")
            return None
        found = Repository(kind, name, folder)
        if revision not in ("", "main", found.commit()):
            self.reply_error(404, "RevisionNotFound")
            return None
        return found

    def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.cut_after is not None:
            self.wfile.write(content[: self.fault.cut_after])
            self.close_connection = True
            return
        self.wfile.write(content)

    def reply_json(self, value: object) -> None:
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply_error(self, status: int, code: str) -> None:
        self.reply(status, b"", {"X-Error-Code": code, "X-Error-Message": code})


def send_info(handler: Handler, kind: str, name: str, revision: str = "main") -> None:
    if found := handler.repository(kind, name, revision):
        handler.reply_json(found.info())


def send_tree(handler: Handler, kind: str, name: str, revision: str, under: str) -> None:
    query = parse_qs(urlsplit(handler.path).query)
    recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
    if found := handler.repository(kind, name, revision):
        handler.reply_json(found.entries(under, recursive))


def send_paths(handler: Handler, kind: str, name: str, revision: str) -> None:
    """Send details of the requested paths, from a JSON body or a form."""
    text = handler.body.decode()
    wanted = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if found := handler.repository(kind, name, revision):
        handler.reply_json([entry for entry in found.entries() if entry["path"] in wanted])


def send_file(handler: Handler, kind: str, name: str, revision: str, path: str) -> None:
    found = handler.repository(kind or "models", name, revision)
    if found is None:
        return
    commit = {"X-Repo-Commit": found.commit()}
    if path not in found.files():
        return handler.reply(404, b"", {**commit, "X-Error-Code": "EntryNotFound"})
    content = found.files()[path].read_bytes()
    headers = {**commit, "ETag": f'"{etag(content)}"', "Accept-Ranges": "bytes"}
    if len(content) >= LARGE:
        headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{etag(content)}"'}
    if handler.fault and handler.fault.content is not None:
        content = handler.fault.content
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range") or "")
    if asked is None:
        return handler.reply(200, content, headers)
    start, size = int(asked[1]), len(content)
    part = content[start : int(asked[2]) + 1 if asked[2] else size]
    handler.reply(206, part, {**headers, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{size}"})


_API = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+(?:/[^/]+)?)"
Answer = Callable[..., None]
ROUTES: list[tuple[str, str, Answer]] = [
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)/?(?P<under>.*)", send_tree),
    ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", send_paths),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", send_info),
    ("GET", _API, send_info),
    (
        "GET HEAD",
        r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        send_file,
    ),
]
