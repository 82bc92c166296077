"""Many light stores in one process: they speak Flower's Fleet API over TLS as `flower-client` does, and do not train.

    python -m benchmarks.light_stores KITS NAMES REPORT

KITS is a folder of kits with keys; NAMES a file with a store's name a line, to which lines may be added. Each store has
one connection, polls and beats as a real one, takes orders in pieces, and answers at once: with the model that it was
sent and the same little noise as every other store. There is no PyTorch here. When it is terminated it writes to REPORT
how many requests of each kind it sent, how long polls took that brought nothing, and its own processor seconds.
"""

import asyncio
import json
import random
import signal
import ssl
import struct
import sys
import time
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.fab_pb2 import GetFabRequest, GetFabResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from google.protobuf.message import Message as ProtoMessage

from client.fleet import HEARTBEAT, UPLOAD_WAIT
from client.parcels import Head, answer_to, heads, put_together, take_apart
from client.serving import FAIR, FASTEST, LONGEST_TURN, SLOWEST, SOON
from common.envelope import HEADER, PROBE, presence
from common.kit import Kit

CLASSES, IMAGES = 10, 100
NOISE = 1e-3  # deviation of what an answer adds to each weight
SIGNED_FOR = 60.0  # seconds for which one signature is used: the server takes it for 305
RETRY = 1.0  # seconds between two attempts at a server that does not answer
JOINING = 16  # stores that shake hands at the same time
LOOK = 0.5  # seconds between two looks for more names

Reply = TypeVar("Reply", bound=ProtoMessage)


class RefusedError(Exception):
    """The server answered with another status than 200."""


@dataclass
class Report:
    """Counts of all stores of this process. idle: seconds of each poll that brought nothing."""

    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    idle: list[float] = field(default_factory=list)
    joined: int = 0

    def write(self, path: Path) -> None:
        cpu = time.process_time()
        told = {"requests": self.requests, "failures": self.failures, "idle": self.idle, "joined": self.joined}
        path.write_text(json.dumps({**told, "cpu": cpu}), encoding="utf-8")


class Connection:
    """One kept connection to the server: HTTP/1.1 with signed requests, one after the other."""

    def __init__(self, server: str, tls: ssl.SSLContext, key: EllipticCurvePrivateKey, report: Report) -> None:
        self._host, _, port = server.rpartition(":")
        self._port, self._tls, self._key, self._report = int(port), tls, key, report
        self.public_key = public_key_to_bytes(key.public_key())
        self._signed, self._headers = -SIGNED_FOR, b""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def call(self, name: str, request: ProtoMessage, reply: type[Reply]) -> Reply:
        """Call the Fleet API. Raises RefusedError, and OSError if the connection breaks."""
        body = request.SerializeToString(deterministic=True)
        async with self._turn:
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
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(status.split()[1]), content

    def _identity(self) -> bytes:
        """The headers that prove who sends."""
        if time.monotonic() - self._signed > SIGNED_FOR:
            moment = datetime.now(UTC).isoformat()
            fields = {
                "Host": f"{self._host}:{self._port}",
                "Content-Type": PROTOBUF_MEDIA_TYPE,
                "Accept": PROTOBUF_MEDIA_TYPE,
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self.public_key).decode(),
                TIMESTAMP_HEADER: moment,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(self._key, moment.encode())).decode(),
            }
            self._headers = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n"
            self._signed = time.monotonic()
        return self._headers


class LightStore:
    """One store: it joins, polls as `client.serving` does, and answers at once."""

    def __init__(self, kit: Kit, tls: ssl.SSLContext, report: Report, joining: asyncio.Semaphore) -> None:
        assert kit.private_key is not None
        key = load_pem_private_key(kit.private_key.encode(), password=None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._name, self._report, self._joining = kit.store, report, joining
        self._line = Connection(kit.server, tls, key, report)
        self._node = Node()
        self._runs: set[int] = set()
        self._done = self._beaten = time.monotonic()
        self._turn = 0.0

    async def work(self) -> None:
        """Serve until cancelled."""
        while True:
            with suppress(OSError, RefusedError):
                async with self._joining:
                    await self._join()
                self._report.joined += 1
                await self._listen()
            await asyncio.sleep(RETRY * (1 + random.random()))

    async def _join(self) -> None:
        request = fleet.ActivateNodeRequest(public_key=self._line.public_key, heartbeat_interval=HEARTBEAT)
        reply = await self._line.call("activate-node", request, fleet.ActivateNodeResponse)
        self._node = Node(node_id=reply.node_id)

    async def _listen(self) -> None:
        self._done = time.monotonic()
        while True:
            began = time.monotonic()
            if began - self._beaten > HEARTBEAT / 2:
                beat = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT)
                await self._line.call("send-node-heartbeat", beat, SendNodeHeartbeatResponse)
                self._beaten = began = time.monotonic()
            reply = await self._line.call(
                "pull-messages", fleet.PullMessagesRequest(node=self._node), fleet.PullMessagesResponse
            )
            took = time.monotonic() - began
            if not (found := heads(reply)):
                self._report.idle.append(took)
                pause = min(max(0.1 * (time.monotonic() - self._done), FASTEST, FAIR * took), SLOWEST)
                await asyncio.sleep(pause)
                continue
            self._turn = began - self._done
            for head in found:
                await self._answer(head)
            if head.type == MessageType.TRAIN:
                self._done = time.monotonic()
                await asyncio.sleep(min(SOON * self._turn, LONGEST_TURN))

    async def _answer(self, head: Head) -> None:
        objects = {piece: await self._pull(head.run_id, piece) for piece in head.pieces}
        confirm = ConfirmMessageReceivedRequest(node=self._node, run_id=head.run_id, message_object_id=head.message_id)
        await self._line.call("confirm-message-received", confirm, ConfirmMessageReceivedResponse)
        message = put_together(head, objects)
        if head.type != PROBE:
            await self._look_at_bundle(head.run_id)
        content = presence(has=False) if head.type == PROBE else answer(self._name, message)
        parcel = take_apart(answer_to(message, content), self._node, 0.0)
        accepted = await self._line.call("push-messages", parcel.head, fleet.PushMessagesResponse)
        for piece in accepted.objects_to_push:
            part = PushObjectRequest(
                node=self._node, run_id=head.run_id, object_id=piece, object_content=parcel.objects[piece],
                session_id=accepted.session_id,
            )  # fmt: skip
            await self._line.call("push-object", part, PushObjectResponse)

    async def _pull(self, run_id: int, piece: str) -> bytes:
        request = PullObjectRequest(node=self._node, run_id=run_id, object_id=piece)
        while True:
            reply = await self._line.call("pull-object", request, PullObjectResponse)
            if reply.object_available:
                return bytes(reply.object_content)
            await asyncio.sleep(UPLOAD_WAIT)

    async def _look_at_bundle(self, run_id: int) -> None:
        """Fetch what the server ships with a run, once, as a real store does."""
        if run_id in self._runs:
            return
        run = (await self._line.call("get-run", GetRunRequest(node=self._node, run_id=run_id), GetRunResponse)).run
        request = GetFabRequest(node=self._node, hash_str=run.fab_hash, run_id=run_id)
        await self._line.call("get-fab", request, GetFabResponse)
        self._runs.add(run_id)


def answer(store: str, message: Message) -> RecordDict:
    """Return a light store's answer to an order, in the form of `common.messages`."""
    order = message.content[HEADER]
    assert isinstance(order, ConfigRecord)
    told: dict[str, object] = {"format": order["format"], "store": store}
    match order["kind"]:
        case "train":
            numbers = {"num_examples": CLASSES * IMAGES, "loss": 1.0, "seconds": 0.0, "steps": 1}
            told |= {"kind": "update", "round": order["round"], "tensors": _moved(order["tensors"]), **numbers}
        case "evaluate":
            confusion = np.diag(np.full(CLASSES, IMAGES // CLASSES)).astype(np.int64)
            told |= {"kind": "evaluation", "round": order["round"], "loss_sum": 1.0, "right": 0, "wrong": 0}
            told |= {"tensors": _blob("confusion", "I64", confusion)}
        case _:
            classes = [f"class-{label}" for label in range(CLASSES)]
            told |= {"kind": "info", "validation": IMAGES, "test": IMAGES, "untold": 0, "version": version("fedshelf")}
            told |= {"classes": classes, "counts": [IMAGES] * CLASSES}
    return RecordDict({HEADER: ConfigRecord(told)})


_MADE: dict[bytes, bytes] = {}


def _moved(blob: object) -> bytes:
    """The order's parameters with noise, made once for all stores."""
    assert isinstance(blob, bytes), "a light store takes models of up to 4 MiB, which travel within the header"
    if blob not in _MADE:
        (length,) = struct.unpack("<Q", blob[:8])
        begin, end = json.loads(blob[8 : 8 + length])["params"]["data_offsets"]
        params = np.frombuffer(blob[8 + length + begin : 8 + length + end], np.float32)
        noise = np.random.default_rng(0).normal(0, NOISE, len(params)).astype(np.float32)
        _MADE.clear()
        _MADE[blob] = _blob("params", "F32", params + noise)
    return _MADE[blob]


def _blob(name: str, kind: str, array: np.ndarray) -> bytes:
    """One tensor in the safetensors format."""
    about = json.dumps({name: {"dtype": kind, "shape": array.shape, "data_offsets": [0, array.nbytes]}}).encode()
    return struct.pack("<Q", len(about)) + about + array.tobytes()


async def serve(kits: Path, names: Path, report: Report) -> None:
    """Let every store work whose name is in the file, until this process is terminated."""
    ended, joining = asyncio.Event(), asyncio.Semaphore(JOINING)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    tasks: dict[str, asyncio.Task[None]] = {}
    tls: ssl.SSLContext | None = None
    while not ended.is_set():
        for name in names.read_text(encoding="utf-8").split():
            if name not in tasks:
                kit = Kit.read(kits / f"{name}.kit")
                tls = tls or ssl.create_default_context(cadata=kit.authority)
                tasks[name] = asyncio.create_task(LightStore(kit, tls, report, joining).work())
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK)
    for task in tasks.values():
        task.cancel()


def main() -> None:
    kits, names, to = map(Path, sys.argv[1:])
    report = Report()
    asyncio.run(serve(kits, names, report))
    report.write(to)


if __name__ == "__main__":
    main()
