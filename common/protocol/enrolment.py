"""Requests and answers between a server's gateway and its stores beside Flower's Fleet API."""

import base64
import math
from enum import StrEnum

ENROL_PATH = "/fedshelf/enrol"
CLASSES_PATH = "/fedshelf/classes"
PROCESS_HEADER = "fedshelf-process"  # in a store's calls: see `process_header`
# here a store asks if the answer to an order is still awaited; 410: no
WANTED_PATH = "/fedshelf/wanted"
# in an answer to a poll: seconds that the server holds an idle poll; ask again at once
HELD_HEADER = "fedshelf-held"
REASON_HEADER = "fedshelf-reason"  # in an answer that refuses, next to its status


class RefusalReason(StrEnum):
    """A reason for which the gateway does not let a store in."""

    REVOKED = "revoked"  # the chain has taken the store out
    UNKNOWN_KEY = "unknown-key"  # no store that is enrolled has this key
    CLOCK = "clock"  # the store's clock is too far from the server's
    CODE = "code"  # the kit's code is wrong, was used by another key, or there is no such store
    EXPIRED = "expired"  # the kit's code was good until a while ago
    SLOW_DOWN = "slow-down"  # too many wrong codes from this address
    IN_USE = "in-use"  # another process with this store's key came first, and is still heard
    MAYBE_IN_USE = "maybe-in-use"  # another process with this store's key was heard a moment ago
    MALFORMED = "malformed"  # not a request to enrol, or without proof that the key is the sender's


def process_header(process: str, seconds: float) -> str:
    """Return a store process's description of itself: 32 hexadecimal digits, and the longest time
    (s) it is silent.
    """
    return f"{process} {math.ceil(seconds)}"


def enrolment_statement(chain: str, store: str, code: str, public_key: str) -> bytes:
    """Return the bytes that a store signs with its new key when it enrols.

    The signature proves that the signer has the key, and means this chain and code.

    public_key: in OpenSSH's text form
    """
    parts = (part.encode() for part in (chain, store, code, public_key))
    return b"fedshelf-enrolment-1\n" + b"\n".join(base64.b64encode(part) for part in parts)


def classes_statement(chain: str, store: str, moment: str) -> bytes:
    """Return the bytes that a store signs to ask for the run's classes, if its kit has a key.

    moment: the time in UTC, ISO 8601
    """
    parts = (part.encode() for part in (chain, store, moment))
    return b"fedshelf-classes-1\n" + b"\n".join(base64.b64encode(part) for part in parts)
