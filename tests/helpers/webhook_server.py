"""An HTTP server that takes JSON, and answers as a test wants."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass
class Received:
    """The server's address and all that it got; it answers 200 after its list of answers."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)


@contextmanager
def webhook_server(answers: Sequence[int] = ()) -> Iterator[Received]:
    received = Received(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            received.messages.append(json.loads(body))
            code = received.answers.pop(0) if received.answers else 200
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", received.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
