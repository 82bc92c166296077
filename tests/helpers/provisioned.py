"""A chain with its server running, and stores that speak to its door as they like."""

import base64
import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import MessageType

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.errors import UnknownStoreError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.common.errors import RefusedError
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.protocol.serialization import encode_result
from fedshelf.server.addresses import Address
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.launcher.flower_server import FlowerServer
from tests.helpers.deployed import PATIENCE, free_port

PROTOBUF = {"content-type": "application/protobuf", "accept": "application/protobuf"}


@contextmanager
def running(place: Path, *stores: str) -> Iterator[tuple[Chain, FlowerServer]]:
    """A new chain with a kit for each store, and Flower behind its door."""
    port = free_port()
    chain = Chain.make(place / "chain" / "server", "localhost", port)
    for store in stores:
        chain.write_kit(store)
    with FlowerServer(place / "flower", Address("127.0.0.1", port), chain) as flower:
        yield chain, flower


class Quiet:
    """A narrator that is heard by nobody."""

    def on_joined(self) -> None: ...

    def on_lost(self, reason: str) -> None: ...

    def on_restored(self) -> None: ...


def say_what_is_here(credentials: Credentials, info: StoreInfo) -> None:
    """Be a store that is there and answers what it is asked, and trains nothing, until the chain
    takes it out.
    """
    with (
        suppress(RefusedError, UnknownStoreError),
        FleetConnection(credentials, Quiet(), deadline=time.monotonic() + PATIENCE) as line,
    ):
        while True:
            for head in line.receive():
                message, _ = line.fetch(head)
                if head.type == MessageType.QUERY:
                    line.send(line.build_reply(message, encode_result(info), 0.0))
            time.sleep(0.1)


def signed(
    key: ec.EllipticCurvePrivateKey, claimed: ec.EllipticCurvePrivateKey, ahead: float = 0.0
) -> dict[str, str]:
    """Headers of Flower's node authentication, by a clock that is `ahead` seconds ahead."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = claimed.public_key().public_bytes(serialization.Encoding.PEM, form)
    timestamp = (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()
    signature = key.sign(timestamp.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": base64.b64encode(public).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": base64.b64encode(signature).decode(),
    }


def client_of(credentials: Credentials) -> httpx.Client:
    """Speaks TLS with the server of a store, without saying who it is."""
    assert credentials.root_certificates
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=credentials.root_certificates.decode())
    return httpx.Client(base_url=f"https://{credentials.server}", verify=context, trust_env=False)


def status_without_words(
    port: int, context: ssl.SSLContext, method: str, path: str, headers: dict[str, str]
) -> int:
    """The status of a request whose path goes out as it is: httpx would tidy it up first."""
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
    connection.request(method, path, body=b"", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status
