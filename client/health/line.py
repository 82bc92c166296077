"""Calling the server once: is it there, is its certificate good, is its clock ours?

What is sent is a TLS handshake, `GET /health`, and the question for the run's classes with proof of the kit; nothing of
the store's photos.
"""

import base64
import http.client
import json
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from pydantic import BaseModel

from common.door_words import CLASSES_PATH, classes_statement
from common.kit import Kit

Trouble = Literal["", "unreachable", "certificate", "protocol"]

_LARGEST = 2**20  # bytes of an answer; ten thousand classes fit
_SECONDS = 5.0  # to connect, and for each piece of the answer

# OpenSSL's X509_V_ERR_ codes, in words
_REASONS = {
    9: "it is not valid yet, or this machine's clock is behind",
    10: "it has expired, or this machine's clock is ahead",
    18: "it is signed by nobody but itself",
    19: "another authority has signed it",
    20: "another authority has signed it",
    62: "it was made for another host name",
    64: "it was made for another address",
}


@dataclass(frozen=True)
class Line:
    """What came of it.

    server:  HOST:PORT
    trouble: what failed, and `why` in a few words
    ends:    when the first certificate of the server's or its authority's runs out; None over plain HTTP
    status:  of the HTTP answer; 0 without one
    skew:    seconds that the server's clock is ahead of ours, give or take one; None if it did not tell
    classes: of the run; None if it was not asked or did not tell, as before they are known
    merges:  whether other spellings of these are taken for the same
    """

    server: str
    trouble: Trouble = ""
    why: str = ""
    ends: datetime | None = None
    status: int = 0
    skew: float | None = None
    classes: tuple[str, ...] | None = None
    merges: bool = False


class _Told(BaseModel):
    """The gateway's answer to a question for the run's classes."""

    classes: tuple[str, ...]
    merge_spellings: bool = False


def call(server: str, authority: bytes | None, proof: bytes | None = None) -> Line:
    """Call HOST:PORT; over TLS if there is an authority's certificate (PEM), the only one that is then believed.

    proof: of membership in the chain, see `proof_of`; None: the classes are not asked for
    """
    try:
        return _called(server, authority, proof)
    except ssl.SSLCertVerificationError as error:
        return Line(server, "certificate", _REASONS.get(error.verify_code, error.verify_message))
    except ssl.SSLError as error:
        return Line(server, "protocol", f"it does not speak TLS ({(error.reason or 'no handshake').lower()})")
    except (http.client.HTTPException, ConnectionResetError):
        return Line(server, "protocol", "it does not speak HTTP")
    except OSError as error:
        return Line(server, "unreachable", error.strerror or str(error) or "no answer")


def proof_of(kit: Kit) -> bytes:
    """Return the proof (JSON) that the store's kit is here: the kit's code, or the time signed with its key."""
    if kit.private_key is None:
        return json.dumps({"store": kit.store, "code": kit.code}).encode()
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(kit.private_key.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    moment = datetime.now(UTC).isoformat()
    signature = key.sign(classes_statement(kit.chain, kit.store, moment), ec.ECDSA(hashes.SHA256()))
    asked = {"store": kit.store, "moment": moment, "signature": base64.b64encode(signature).decode()}
    return json.dumps(asked).encode()


def _called(server: str, authority: bytes | None, proof: bytes | None) -> Line:
    with closing(_connection(server, authority)) as connection:
        connection.connect()
        ends = _ends(connection, authority) if authority else None
        before = time.time()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        skew = _skew(answer.getheader("Date", ""), before, time.time())
        answer.read(_LARGEST)
        told = _classes(connection, proof) if proof and answer.status == http.client.OK else (None, False)
        return Line(server, "", "", ends, answer.status, skew, *told)


def _classes(connection: http.client.HTTPConnection, proof: bytes) -> tuple[tuple[str, ...] | None, bool]:
    """The run's classes, if the server tells them, and whether other spellings are taken for the same."""
    try:
        connection.request("POST", CLASSES_PATH, body=proof, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = _Told.model_validate_json(answer.read(_LARGEST)) if answer.status == http.client.OK else None
    except (http.client.HTTPException, OSError, ValueError, RecursionError):
        told = None
    return (told.classes, told.merge_spellings) if told else (None, False)


def _connection(server: str, authority: bytes | None) -> http.client.HTTPConnection:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    if authority is None:
        return http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    return http.client.HTTPSConnection(host, int(port), timeout=_SECONDS, context=context)


def _ends(connection: http.client.HTTPConnection, authority: bytes) -> datetime:
    from cryptography import x509

    assert isinstance(connection.sock, ssl.SSLSocket)
    shown = connection.sock.getpeercert(binary_form=True)
    assert shown is not None
    return min(
        x509.load_der_x509_certificate(shown).not_valid_after_utc,
        x509.load_pem_x509_certificate(authority).not_valid_after_utc,
    )


def _skew(date: str, before: float, after: float) -> float | None:
    """Server's time less ours at the middle of the call; the header has whole seconds, cut off."""
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return None
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    return told.timestamp() + 0.5 - (before + after) / 2
