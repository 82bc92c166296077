"""One call of the server: it shows whether the server is there, its certificate good, and its clock
ours.

It sends a TLS handshake, `GET /health`, and the question for the run's classes with proof of the
kit; nothing of the store's photos.
"""

import base64
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx
from pydantic import BaseModel

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.connection.proxies import ProxyFault
from fedshelf.client.connection.transport import causes, http_client
from fedshelf.common.protocol.enrolment import CLASSES_PATH, classes_statement
from fedshelf.common.protocol.kit import Kit

Trouble = Literal["", "unreachable", "proxy", "certificate", "name", "protocol"]
# of membership in the chain, for a server's clock that is ahead of ours by this
Proof = Callable[[timedelta], bytes]

_TIMEOUT_SECONDS = 5.0  # to connect, and for each piece of the answer

# OpenSSL's X509_V_ERR_ codes, in words
_CERTIFICATE_FAULTS = {
    9: "it is not valid yet, or this machine's clock is behind",
    10: "it has expired, or this machine's clock is ahead",
    18: "it is signed only by itself",
    19: "another authority has signed it",
    20: "another authority has signed it",
}
# by the right authority
_NAME_FAULTS = {62: "it was made for another host name", 64: "it was made for another address"}


@dataclass(frozen=True)
class ServerProbe:
    """The result of the call.

    Attributes:
        server: HOST:PORT, the address that answered; without an answer the one that `join` tries
            first.
        trouble: The step that failed, and `why` in a few words.
        ends: Expiry of the first certificate to expire, of the server or its authority; None over
            plain HTTP.
        status: Of the HTTP answer; 0 without one.
        skew: Seconds (give or take one) that the server's clock is ahead of ours; None if unknown.
        classes: Of the run; None if the server was not asked or did not answer, as before they are
            known.
        merges: True if other spellings of these are taken for the same.
    """

    server: str
    trouble: Trouble = ""
    why: str = ""
    ends: datetime | None = None
    status: int = 0
    skew: float | None = None
    classes: tuple[str, ...] | None = None
    merges: bool = False


class _ProbeAnswers(BaseModel):
    """The gateway's answer to a question for the run's classes."""

    classes: tuple[str, ...]
    merge_spellings: bool = False


def probe_server(known: KnownAddresses, proof: Proof | None = None) -> ServerProbe:
    """Call the server as `join` does: at the first address that can be reached, over the same
    proxies.

    Args:
        proof: See `proof_of`; None: the classes are not asked for.
    """
    server = known.all[0]
    try:
        return _probe(known, proof)
    except ProxyFault as fault:
        return ServerProbe(server, "proxy", str(fault))
    except httpx.TransportError as error:
        return _without_answer(server, error)


def _without_answer(server: str, error: httpx.TransportError) -> ServerProbe:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in _NAME_FAULTS:
            return ServerProbe(server, "name", _NAME_FAULTS[cause.verify_code])
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ServerProbe(
                server,
                "certificate",
                _CERTIFICATE_FAULTS.get(cause.verify_code, cause.verify_message),
            )
        if isinstance(cause, ssl.SSLError):
            return ServerProbe(
                server,
                "protocol",
                f"it does not speak TLS ({(cause.reason or 'no handshake').lower()})",
            )
    if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServerProbe(
            server,
            "protocol",
            "it accepts connections, but does not answer as a Fedshelf server does",
        )
    system_errors = [
        cause.strerror for cause in causes(error) if isinstance(cause, OSError) and cause.strerror
    ]
    return ServerProbe(server, "unreachable", system_errors[0] if system_errors else "no answer")


def proof_of(kit: Kit, ahead: timedelta = timedelta(0)) -> bytes:
    """Return the proof (JSON) that the store's kit is here: the kit's code, or the time signed with
    its key.

    Args:
        ahead: The server's clock less ours, added to the time in the proof.
    """
    if kit.private_key is None:
        return json.dumps({"store": kit.store, "code": kit.code}).encode()
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(kit.private_key.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    moment = (datetime.now(UTC) + ahead).isoformat()
    signature = key.sign(classes_statement(kit.chain, kit.store, moment), ec.ECDSA(hashes.SHA256()))
    proof = {
        "store": kit.store,
        "moment": moment,
        "signature": base64.b64encode(signature).decode(),
    }
    return json.dumps(proof).encode()


def _probe(known: KnownAddresses, proof: Proof | None) -> ServerProbe:
    with http_client(known, _TIMEOUT_SECONDS) as client:
        before = time.time()
        with client.stream("GET", "/health") as answer:
            ends = _ends(answer, known.authority) if known.authority else None
            skew = _skew(answer.headers.get("date", ""), before, time.time())
            answer.read()
        class_answer = None
        if proof and answer.status_code == httpx.codes.OK:
            class_answer = _classes(client, proof(timedelta(seconds=skew or 0.0)))
    classes, merges = (
        (class_answer.classes, class_answer.merge_spellings) if class_answer else (None, False)
    )
    return ServerProbe(
        known.last_answering, "", "", ends, answer.status_code, skew, classes, merges
    )


def _classes(client: httpx.Client, proof: bytes) -> _ProbeAnswers | None:
    """Return the run's classes and whether other spellings count as the same; None if the server
    does not tell.
    """
    try:
        answer = client.post(
            CLASSES_PATH, content=proof, headers={"Content-Type": "application/json"}
        )
        return (
            _ProbeAnswers.model_validate_json(answer.content)
            if answer.status_code == httpx.codes.OK
            else None
        )
    except (httpx.TransportError, ValueError, RecursionError):
        return None


def _ends(answer: httpx.Response, authority: bytes) -> datetime:
    from cryptography import x509

    shown = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)
    return min(
        x509.load_der_x509_certificate(shown).not_valid_after_utc,
        x509.load_pem_x509_certificate(authority).not_valid_after_utc,
    )


def _skew(date: str, before: float, after: float) -> float | None:
    """Return the server's time less ours at the middle of the call (s); the header's whole seconds
    are cut off.
    """
    try:
        server_time = parsedate_to_datetime(date)
    except ValueError:
        return None
    if server_time.tzinfo is None:
        server_time = server_time.replace(tzinfo=UTC)
    return server_time.timestamp() + 0.5 - (before + after) / 2
