"""One light store's connection to a server: Flower's Fleet API over TLS, with counts of its cost.

It implements HTTP/1.1 itself, because a general client would take more processor time than the
server that is measured.
"""

import asyncio
import json
import secrets
import ssl
import time
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from google.protobuf.message import Message as ProtoMessage

from fedshelf.client.connection.fleet import HEARTBEAT_SECONDS
from fedshelf.common.protocol.enrolment import HELD_HEADER, PROCESS_HEADER, process_header

SIGNATURE_SECONDS = 60.0  # age at which a signature is renewed; the server accepts 305 s

Reply = TypeVar("Reply", bound=ProtoMessage)


class RefusedError(Exception):
    """The server answered with another status than 200."""


@dataclass
class Report:
    """Counts of all stores of this process.

    Attributes:
        requests: by name of the call
        failures: by name of the error, or by call and status
        idle: seconds of each poll that brought no message
        joined: number of successful registrations
    """

    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    idle: list[float] = field(default_factory=list)
    joined: int = 0

    def write(self, path: Path) -> None:
        """Write the counts as JSON, with this process's processor seconds."""
        cpu = time.process_time()
        counts = {
            "requests": self.requests,
            "failures": self.failures,
            "idle": self.idle,
            "joined": self.joined,
        }
        path.write_text(json.dumps({**counts, "cpu": cpu}), encoding="utf-8")


class Connection:
    """One persistent connection to the server: signed requests, one after the other.

    `is_held` is True if the server keeps polls until there is a message, as its last answer says.

    Args:
        server: HOST:PORT
        tls: context that trusts the server's authority
        key: the store's key
        report: gets the counts
    """

    def __init__(
        self, server: str, tls: ssl.SSLContext, key: EllipticCurvePrivateKey, report: Report
    ) -> None:
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self._tls = tls
        self._key = key
        self._report = report
        self.public_key = public_key_to_bytes(key.public_key())
        self._signed = -SIGNATURE_SECONDS
        self._headers = b""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._process = process_header(secrets.token_hex(16), HEARTBEAT_SECONDS / 2)
        self.is_held = False

    async def call(self, name: str, request: ProtoMessage, reply: type[Reply]) -> Reply:
        """Call the Fleet API.

        Args:
            name: the name of the call, such as "pull-messages"
            request: its message
            reply: the type of the reply

        Raises:
            RefusedError: the status is not 200.
            OSError: the connection breaks.
        """
        body = request.SerializeToString(deterministic=True)
        self._report.requests[name] += 1
        try:
            status, content = await self._exchange(name, body)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self._report.failures[type(error).__name__] += 1
            self.close()
            raise OSError(str(error)) from error
        if status != 200:
            self._report.failures[f"{name} {status}"] += 1
            raise RefusedError(status)
        return reply.FromString(content)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._streams:
            self._streams[1].close()
        self._streams = None

    async def _exchange(self, name: str, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        reader, writer = self._streams
        head = f"POST /v1/fleet/{name} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
        writer.write(head + self._identity() + body)
        await writer.drain()
        status, *lines = (
            (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        )
        headers = dict(line.split(": ", 1) for line in lines if line)
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        self.is_held = HELD_HEADER in headers
        if headers.get("connection") == "close":
            self.close()
        return int(status.split()[1]), content

    def _identity(self) -> bytes:
        """Return the headers that prove who sends."""
        if time.monotonic() - self._signed > SIGNATURE_SECONDS:
            moment = datetime.now(UTC).isoformat()
            fields = {
                "Host": f"{self._host}:{self._port}",
                "Content-Type": PROTOBUF_MEDIA_TYPE,
                "Accept": PROTOBUF_MEDIA_TYPE,
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self.public_key).decode(),
                TIMESTAMP_HEADER: moment,
                PROCESS_HEADER: self._process,
                FLEET_HTTP_SIGNATURE_HEADER: (
                    b64encode(sign_message(self._key, moment.encode())).decode()
                ),
            }
            self._headers = (
                "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n"
            )
            self._signed = time.monotonic()
        return self._headers
