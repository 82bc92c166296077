"""A hub on loopback, as far as an upload or a download needs it: commits, Git LFS, ranges."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "1" * 40
LARGE = (".safetensors", ".onnx")  # ends of files that go through Git LFS, as at the hub


@dataclass
class Hub:
    """The files and requests that were sent to a hub.

    Attributes:
        address: for HF_ENDPOINT
        repositories: the requests that made them
        files: path -> content, of all commits
        large: SHA-256 -> content, of the objects of Git LFS
        tokens: the logins that were shown
        broken_after: bytes of the first answer with a large file after which its connection breaks
        damaged: whether large files are sent with another last byte
        ranges: the parts that were asked for
    """

    address: str = ""
    repositories: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    broken_after: int = 0
    damaged: bool = False
    ranges: list[str] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/api/repos/create"):
            self.repositories.append(json.loads(body))
            return {"url": f"{self.address}/lab/shoes"}
        if path.endswith("/api/validate-yaml"):
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            names = [each["path"] for each in json.loads(body)["files"]]
            return {
                "files": [
                    {
                        "path": name,
                        "uploadMode": "lfs" if name.endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for name in names
                ]
            }
        if path.endswith("/info/lfs/objects/batch"):
            return {
                "transfer": "basic",
                "objects": [*map(self._upload, json.loads(body)["objects"])],
            }
        assert "/commit/" in path, path
        for said in map(json.loads, body.splitlines()):
            value = said["value"]
            if said["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            if said["key"] == "lfsFile":
                assert len(self.large[value["oid"]]) == value["size"]
                self.files[value["path"]] = self.large[value["oid"]]
        return {"commitUrl": f"{self.address}/lab/shoes/commit/1", "commitOid": "1" * 40}

    def _upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return where an object of Git LFS is to be put, unless it is here already."""
        if wanted["oid"] in self.large:
            return wanted
        return {**wanted, "actions": {"upload": {"href": f"{self.address}/large/{wanted['oid']}"}}}

    def put(self, path: str, body: bytes) -> None:
        """Keep an object of Git LFS, under the SHA-256 that its address names."""
        oid = path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == oid
        self.large[oid] = body


class HubServer(ThreadingHTTPServer):
    hub = Hub()


class HubRequest(BaseHTTPRequestHandler):
    server: HubServer

    def do_POST(self) -> None:
        self.server.hub.tokens.add(self.headers.get("Authorization", ""))
        self._send(json.dumps(self.server.hub.answer(self.path, self._body())).encode())

    def do_HEAD(self) -> None:
        self._send_file(b"", self.server.hub.files[self.path.rpartition("/")[2]])

    def do_GET(self) -> None:
        hub = self.server.hub
        name = self.path.rpartition("/")[2].partition("?")[0]
        if "/tree/" in self.path:
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": "2" * 40}
                for path, content in hub.files.items()
            ]
            return self._send(json.dumps(tree).encode())
        if name not in hub.files:
            siblings = [{"rfilename": path} for path in hub.files]
            about = {"id": "lab/shoes", "sha": REVISION, "siblings": siblings, "tags": []}
            return self._send(json.dumps(about).encode())
        content = hub.files[name]
        hub.ranges.append(wanted := self.headers.get("Range", ""))
        start = int(wanted.removeprefix("bytes=").partition("-")[0] or 0)
        sent = content[start:-1] + b"?" if hub.damaged else content[start:]
        cut, hub.broken_after = hub.broken_after, 0
        return self._send_file(sent[:cut] if cut else sent, content, start)

    def _send_file(self, sent: bytes, content: bytes, start: int = 0) -> None:
        """Send a part of a file from `start` on, under the headers that the hub gives it."""
        oid = hashlib.sha256(content).hexdigest()
        self.send_response(206 if start else 200)
        for key, value in (
            ("ETag", f'"{oid}"'),
            ("X-Repo-Commit", REVISION),
            ("Content-Length", str(len(content) - start)),
            ("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"),
        ):
            if start or key != "Content-Range":
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def do_PUT(self) -> None:
        self.server.hub.put(self.path, self._body())
        self._send(b"")

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


@contextmanager
def hub_server() -> Iterator[Hub]:
    server = HubServer(("127.0.0.1", 0), HubRequest)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
