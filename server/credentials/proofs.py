"""Proofs that a kit or a key is a store's own: their format, and their verification."""

import base64
import binascii
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field

from fedshelf.common.protocol.enrolment import classes_statement, enrolment_statement
from fedshelf.server.credentials.chain import public_key_text
from fedshelf.server.credentials.stores import StoreEntry

# seconds that a store's clock may be off; flwr.common.constant, compared in a test
MAX_SECONDS_AHEAD = 5.0
MAX_SECONDS_BEHIND = 305.0
_NIST_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

ShortText = Annotated[str, Field(max_length=2000)]


class EnrolmentRequest(BaseModel):
    """A store's request to enrol; see `common.protocol.enrolment.enrolment_statement`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: ShortText
    code: ShortText
    public_key: ShortText
    signature: ShortText


class ClassesRequest(BaseModel):
    """A store's request for the run's classes.

    It has its kit's code, or else a time (ISO 8601) that is signed with its kit's key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: ShortText
    code: ShortText = ""
    moment: ShortText = ""
    signature: ShortText = ""


def seconds_behind(timestamp: str) -> float:
    """Return how many seconds ago a moment was.

    Args:
        timestamp: ISO 8601 with a time zone

    Raises:
        ValueError: it is no such text.
        TypeError: it has no time zone.
    """
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()


def has_kit(request: ClassesRequest, chain: str, entry: StoreEntry) -> bool:
    """Return whether a request comes from the holder of the store's latest kit.

    It needs the kit's code, used or still valid, or a fresh signature with the kit's key.

    Args:
        request: the request
        chain:   identity of the chain
        entry:   the chain's entry of the store

    Raises ValueError, TypeError, and cryptography's errors.
    """
    if request.code:
        return entry.has_code(request.code) and (
            entry.until is None or entry.until > datetime.now(UTC)
        )
    seconds = seconds_behind(request.moment)
    if not -MAX_SECONDS_BEHIND < seconds < MAX_SECONDS_BEHIND:
        return False
    statement = classes_statement(chain, request.store, request.moment)
    for key in filter(None, (entry.key, entry.next_key)):
        with suppress(InvalidSignature):
            verify(key, request.signature, statement)
            return True
    return False


def verify(public_key: str, signature: str, statement: bytes) -> None:
    """Verify a signature.

    Args:
        public_key: the signer's key in OpenSSH's text form
        signature:  base64
        statement:  the signed bytes

    Raises:
        InvalidSignature: another key made it, or it is for another statement.
        ValueError: key or signature cannot be read.
    """
    key = serialization.load_ssh_public_key(public_key.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on an elliptic curve")
    key.verify(base64.b64decode(signature, validate=True), statement, ec.ECDSA(hashes.SHA256()))


def proven_key(request: EnrolmentRequest, chain: str) -> str:
    """Return the public key of an enrolment, in canonical text form.

    Args:
        request: the request
        chain:   identity of the chain

    Raises ValueError, and cryptography's errors.
    """
    key = serialization.load_ssh_public_key(request.public_key.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _NIST_CURVES):
        raise ValueError("not a key that Flower takes")
    try:
        signature = base64.b64decode(request.signature, validate=True)
    except binascii.Error as error:
        raise ValueError from error
    statement = enrolment_statement(chain, request.store, request.code, request.public_key)
    key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
    return public_key_text(key)
