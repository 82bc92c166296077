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
from fedshelf.server.credentials.chain import public_text
from fedshelf.server.credentials.stores import StoreEntry

# seconds that a store's clock may be off; flwr.common.constant, compared in a test
AHEAD = 5.0
BEHIND = 305.0
_NIST = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

Short = Annotated[str, Field(max_length=2000)]


class Enrolment(BaseModel):
    """A store's request to enrol; see `common.protocol.enrolment.enrolment_statement`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Short
    code: Short
    public_key: Short
    signature: Short


class Asking(BaseModel):
    """A store's question for the run's classes, with its kit's code or a time (ISO 8601) signed
    with its kit's key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Short
    code: Short = ""
    moment: Short = ""
    signature: Short = ""


def seconds_behind(moment: str) -> float:
    """Return how many seconds ago `moment` (ISO 8601 with a time zone) was.

    Raises ValueError, TypeError.
    """
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def has_kit(asked: Asking, chain: str, entry: StoreEntry) -> bool:
    """Return whether a question has the code of the store's latest kit, used or still valid, or a
    fresh signature.

    Raises ValueError, TypeError, and cryptography's errors.
    """
    if asked.code:
        return entry.is_for(asked.code) and (entry.until is None or entry.until > datetime.now(UTC))
    behind = seconds_behind(asked.moment)
    if not -BEHIND < behind < BEHIND:
        return False
    statement = classes_statement(chain, asked.store, asked.moment)
    for key in filter(None, (entry.key, entry.next_key)):
        with suppress(InvalidSignature):
            verify(key, asked.signature, statement)
            return True
    return False


def verify(public_key: str, signature: str, statement: bytes) -> None:
    """Verify that the key (OpenSSH's text form) made the signature (base64) of `statement`.

    Raises InvalidSignature or ValueError if it did not.
    """
    key = serialization.load_ssh_public_key(public_key.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on an elliptic curve")
    key.verify(base64.b64decode(signature, validate=True), statement, ec.ECDSA(hashes.SHA256()))


def proven_key(asked: Enrolment, chain: str) -> str:
    """Return the public key of an enrolment, in canonical text form.

    Raises ValueError, and cryptography's errors.
    """
    key = serialization.load_ssh_public_key(asked.public_key.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _NIST):
        raise ValueError("not a key that Flower takes")
    try:
        signature = base64.b64decode(asked.signature, validate=True)
    except binascii.Error as error:
        raise ValueError from error
    statement = enrolment_statement(chain, asked.store, asked.code, asked.public_key)
    key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
    return public_text(key)
