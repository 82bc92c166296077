"""A hub on loopback that takes repositories and commits, as far as an upload needs it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """The files and requests that were sent to a hub.

    Attributes:
        address: for HF_ENDPOINT
        repositories: the requests that made them
        files: path -> content, of all commits
        tokens: the logins that were shown
    """

    address: str = ""
    repositories: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/api/repos/create"):
            self.repositories.append(json.loads(body))
            return {"url": f"{self.address}/lab/shoes"}
        if path.endswith("/api/validate-yaml"):
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            names = [each["path"] for each in json.loads(body)["files"]]
            usual = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": name, **usual} for name in names]}
        assert "/commit/" in path, path
        for said in map(json.loads, body.splitlines()):
            if said["key"] == "file":
                self.files[said["value"]["path"]] = base64.b64decode(said["value"]["content"])
        return {"commitUrl": f"{self.address}/lab/shoes/commit/1", "commitOid": "1" * 40}


class HubServer(ThreadingHTTPServer):
    hub = Hub()


class HubRequest(BaseHTTPRequestHandler):
    server: HubServer

    def do_POST(self) -> None:
        self.server.hub.tokens.add(self.headers.get("Authorization", ""))
        content = json.dumps(self.server.hub.answer(self.path, self._body())).encode()
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
