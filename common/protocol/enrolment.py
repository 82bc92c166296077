"""Requests and answers between a server's gateway and its stores beside Flower's Fleet API.

store -- POST ENROL_PATH, signed ----> gateway     once: the store's own key becomes known
store -- POST CLASSES_PATH, signed --> gateway     the names of the run's classes
store -- POST WANTED_PATH, signed ---> gateway     during long uploads
store -- polls of the Fleet API -----> gateway     with the headers below
"""

import math
from enum import StrEnum

from fedshelf.common.statements import statement

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
    """Return the value of PROCESS_HEADER, with which a store's process describes itself.

    Args:
        process: 32 hexadecimal digits, drawn when the process starts
        seconds: the longest time for which it is silent
    """
    return f"{process} {math.ceil(seconds)}"


def enrolment_statement(chain: str, store: str, code: str, public_key: str) -> bytes:
    """Return the bytes that a store signs with its new key when it enrols.

    The signature proves that the signer has the key, and means this chain and code.

    Args:
        chain: identifier of the chain; see `common.protocol.kit.chain_id`
        store: the store's name
        code: the code in its kit
        public_key: the new key in OpenSSH's text form
    """
    return statement(b"fedshelf-enrolment-1", chain, store, code, public_key)


def classes_statement(chain: str, store: str, moment: str) -> bytes:
    """Return the bytes that a store signs to ask for the run's classes, if its kit has a key.

    Args:
        chain: identifier of the chain
        store: the store's name
        moment: the time in UTC, ISO 8601, so that nobody can use a signature later
    """
    return statement(b"fedshelf-classes-1", chain, store, moment)
