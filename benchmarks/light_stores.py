"""Many light stores in one process: they speak Flower's Fleet API over TLS, and do not train.

    python -m benchmarks.light_stores KITS NAMES REPORT

KITS is a folder of kits with keys. NAMES is a file with one store's name a line, to which lines may
be added. Each store has one connection, polls and sends heartbeats as `flower-client` does, takes
orders in pieces, and answers at once: with the model that it got and the same little noise as every
other store. PyTorch is not imported. When the process is terminated it writes to REPORT the number
of requests of each kind, the duration of polls that brought no message, and its own processor
seconds.
"""

import asyncio
import json
import random
import signal
import ssl
import struct
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
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

from benchmarks.light_line import Connection, RefusedError, Report
from fedshelf.client.connection.fleet import HEARTBEAT_SECONDS, UPLOAD_POLL_SECONDS
from fedshelf.client.connection.framing import (
    MessageHeader,
    assemble,
    make_reply,
    read_headers,
    split,
)
from fedshelf.client.session.poll_loop import (
    MAX_POLL_SECONDS,
    MAX_SERVER_TURN_SECONDS,
    MIN_POLL_SECONDS,
    POLL_TIME_FACTOR,
    SERVER_TURN_SHARE,
)
from fedshelf.common.protocol.kit import Kit
from fedshelf.common.protocol.probe import HEADER_RECORD, PROBE_MESSAGE_TYPE, make_presence

CLASSES = 10
IMAGES = 100
NOISE = 1e-3  # standard deviation of the noise on each weight of an answer
RETRY_SECONDS = 1.0  # between two attempts to reach a server that does not answer
MAX_JOINING_STORES = 16  # at the same time
NAMES_POLL_SECONDS = 0.5


class WithdrawnError(Exception):
    """The server has withdrawn an order: it sent another in its place, or waits no longer."""


class LightStore:
    """One store: it joins, polls as `client.session.poll_loop` does, and answers at once.

    Args:
        kit: its kit, with a key
        tls: context that trusts the server's authority
        report: gets the counts
        joining: limits the stores that join at the same time
    """

    def __init__(
        self, kit: Kit, tls: ssl.SSLContext, report: Report, joining: asyncio.Semaphore
    ) -> None:
        assert kit.private_key is not None
        key = load_pem_private_key(kit.private_key.encode(), password=None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._name = kit.store
        self._report = report
        self._joining = joining
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
            await asyncio.sleep(RETRY_SECONDS * (1 + random.random()))

    async def _join(self) -> None:
        request = fleet.ActivateNodeRequest(
            public_key=self._line.public_key, heartbeat_interval=HEARTBEAT_SECONDS
        )
        reply = await self._line.call("activate-node", request, fleet.ActivateNodeResponse)
        self._node = Node(node_id=reply.node_id)

    async def _listen(self) -> None:
        self._done = time.monotonic()
        while True:
            began = time.monotonic()
            if began - self._beaten > HEARTBEAT_SECONDS / 2:
                beat = SendNodeHeartbeatRequest(
                    node=self._node, heartbeat_interval=HEARTBEAT_SECONDS
                )
                await self._line.call("send-node-heartbeat", beat, SendNodeHeartbeatResponse)
                self._beaten = began = time.monotonic()
            reply = await self._line.call(
                "pull-messages",
                fleet.PullMessagesRequest(node=self._node),
                fleet.PullMessagesResponse,
            )
            took = time.monotonic() - began
            if not (headers := read_headers(reply)):
                self._report.idle.append(took)
                if self._line.is_held:
                    self._beaten = time.monotonic()
                    continue
                pause = min(
                    max(
                        0.1 * (time.monotonic() - self._done),
                        MIN_POLL_SECONDS,
                        POLL_TIME_FACTOR * took,
                    ),
                    MAX_POLL_SECONDS,
                )
                await asyncio.sleep(pause)
                continue
            self._turn = began - self._done
            is_held = self._line.is_held
            for head in headers:
                with suppress(WithdrawnError):
                    await self._answer(head)
            if is_held:
                continue
            if head.type == MessageType.TRAIN:
                self._done = time.monotonic()
                await asyncio.sleep(min(SERVER_TURN_SHARE * self._turn, MAX_SERVER_TURN_SECONDS))

    async def _answer(self, head: MessageHeader) -> None:
        objects = {piece: await self._pull(head.run_id, piece) for piece in head.pieces}
        confirm = ConfirmMessageReceivedRequest(
            node=self._node, run_id=head.run_id, message_object_id=head.message_id
        )
        await self._line.call("confirm-message-received", confirm, ConfirmMessageReceivedResponse)
        message = assemble(head, objects)
        if head.type != PROBE_MESSAGE_TYPE:
            await self._look_at_bundle(head.run_id)
        content = (
            make_presence(has=False)
            if head.type == PROBE_MESSAGE_TYPE
            else answer(self._name, message)
        )
        parcel = split(make_reply(message, content), self._node, 0.0)
        accepted = await self._line.call(
            "push-messages", parcel.announcement, fleet.PushMessagesResponse
        )
        for piece in accepted.objects_to_push:
            part = PushObjectRequest(
                node=self._node, run_id=head.run_id, object_id=piece,
                object_content=parcel.objects[piece], session_id=accepted.session_id,
            )  # fmt: skip
            await self._line.call("push-object", part, PushObjectResponse)

    async def _pull(self, run_id: int, piece: str) -> bytes:
        request = PullObjectRequest(node=self._node, run_id=run_id, object_id=piece)
        while True:
            reply = await self._line.call("pull-object", request, PullObjectResponse)
            if not reply.object_found:
                raise WithdrawnError
            if reply.object_available:
                return bytes(reply.object_content)
            await asyncio.sleep(UPLOAD_POLL_SECONDS)

    async def _look_at_bundle(self, run_id: int) -> None:
        """Fetch the run's bundle once, as a real store does."""
        if run_id in self._runs:
            return
        run = (
            await self._line.call(
                "get-run", GetRunRequest(node=self._node, run_id=run_id), GetRunResponse
            )
        ).run
        request = GetFabRequest(node=self._node, hash_str=run.fab_hash, run_id=run_id)
        await self._line.call("get-fab", request, GetFabResponse)
        self._runs.add(run_id)


def answer(store: str, message: Message) -> RecordDict:
    """Return a light store's answer to an order, in the form of `common.protocol.serialization`."""
    order = message.content[HEADER_RECORD]
    assert isinstance(order, ConfigRecord)
    values: dict[str, object] = {"format": order["format"], "store": store}
    match order["kind"]:
        case "train":
            numbers = {"num_examples": CLASSES * IMAGES, "loss": 1.0, "seconds": 0.0, "steps": 1}
            values |= {
                "kind": "update",
                "round": order["round"],
                "tensors": _moved(order["tensors"]),
                **numbers,
            }
        case "evaluate":
            confusion = np.diag(np.full(CLASSES, IMAGES // CLASSES)).astype(np.int64)
            values |= {
                "kind": "evaluation",
                "round": order["round"],
                "loss_sum": 1.0,
                "right": 0,
                "wrong": 0,
            }
            values |= {"tensors": _blob("confusion", "I64", confusion)}
        case _:
            classes = [f"class-{label}" for label in range(CLASSES)]
            values |= {
                "kind": "info",
                "validation": IMAGES,
                "test": IMAGES,
                "untold": 0,
                "version": version("fedshelf"),
            }
            values |= {"classes": classes, "counts": [IMAGES] * CLASSES}
    return RecordDict({HEADER_RECORD: ConfigRecord(values)})


_NOISY_MODELS: dict[bytes, bytes] = {}


def _moved(blob: object) -> bytes:
    """Return the order's parameters with noise, computed once for all stores."""
    assert isinstance(blob, bytes), (
        "a light store takes models of up to 4 MiB, which travel within the header"
    )
    if blob not in _NOISY_MODELS:
        (length,) = struct.unpack("<Q", blob[:8])
        begin, end = json.loads(blob[8 : 8 + length])["params"]["data_offsets"]
        params = np.frombuffer(blob[8 + length + begin : 8 + length + end], np.float32)
        noise = np.random.default_rng(0).normal(0, NOISE, len(params)).astype(np.float32)
        _NOISY_MODELS.clear()
        _NOISY_MODELS[blob] = _blob("params", "F32", params + noise)
    return _NOISY_MODELS[blob]


def _blob(name: str, kind: str, array: np.ndarray) -> bytes:
    """Return one tensor in the safetensors format."""
    about = json.dumps(
        {name: {"dtype": kind, "shape": array.shape, "data_offsets": [0, array.nbytes]}}
    ).encode()
    return struct.pack("<Q", len(about)) + about + array.tobytes()


async def serve(kits: Path, names: Path, report: Report) -> None:
    """Run all stores whose names are in the file, until this process is terminated.

    Args:
        kits: the folder of kits
        names: the file of names
        report: gets the counts
    """
    ended = asyncio.Event()
    joining = asyncio.Semaphore(MAX_JOINING_STORES)
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
            await asyncio.wait_for(ended.wait(), NAMES_POLL_SECONDS)
    for task in tasks.values():
        task.cancel()


def main() -> None:
    """Run the stores, then write the report."""
    kits, names, to = map(Path, sys.argv[1:])
    report = Report()
    asyncio.run(serve(kits, names, report))
    report.write(to)


if __name__ == "__main__":
    main()
