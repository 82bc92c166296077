"""Messages that do without PyTorch, such as probes: a store's network process does not import it.

Probes ask a store if it has the message that it should be working on. Flower hands each message out
once; if the connection breaks at that moment, the message is lost and nobody knows. So the server
asks, and sends a message again if the store does not have it.

    server -- order 7 -----> store
    server -- probe: 7? ---> store
    server <-- presence ---- store     yes: it is working on it; no: the server sends it again
"""

import json
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, MessageType, MetricRecord, RecordDict

from fedshelf.common.errors import MessageError

PROBE_MESSAGE_TYPE = f"{MessageType.QUERY}.probe"
HEADER_RECORD = "header"  # the record of plain values that each of our messages has
# field of an order that delivers a model; it names the models that were taken back
RECALLED_FIELD = "recalled"

_PROBE_RECORD = "probe"
_MESSAGE_FIELD = "message"
_PRESENCE_FIELD = "has"
_MAX_TEXT_CHARACTERS = 64  # of a field that `header_fields` returns

_SIZE_PREFIX = "bytes="
_MAX_SIZE_DIGITS = 15
_NUMBER_BYTES = 16  # most bytes of a number in a record, with its tag
_PIECE_BYTES = 5 * 2**20  # Flower's own pieces of an array
# other pieces of a message, and the bytes around each piece
_OTHER_PIECES = 8
_FRAME_BYTES = 512
_KEY_FRAME_BYTES = 64  # around each key of a record

FieldValue = TypeVar("FieldValue", str, bool)


def header_fields(content: RecordDict) -> dict[str, str | int]:
    """Return the short plain fields of a message, such as kind, run_id and round.

    {} for a message that is not ours.
    """
    if (record := content.get(_PROBE_RECORD)) is not None:
        return {"kind": "presence" if _PRESENCE_FIELD in record else "probe"}
    record = content.get(HEADER_RECORD)
    fields = record.items() if isinstance(record, ConfigRecord) else ()
    return {
        key: value
        for key, value in fields
        if isinstance(value, int) or (isinstance(value, str) and len(value) <= _MAX_TEXT_CHARACTERS)
    }


def recalls_models(content: RecordDict) -> bool:
    """Return whether a message that delivers a model names others of its run to be taken back."""
    record = content.get(HEADER_RECORD)
    return isinstance(record, ConfigRecord) and bool(record.get(RECALLED_FIELD))


def asks_for_noise(content: RecordDict) -> bool:
    """Return whether a message orders a training with differential privacy."""
    record = content.get(HEADER_RECORD)
    if not isinstance(record, ConfigRecord) or record.get("kind") != "train":
        return False
    try:
        return bool(json.loads(str(record["config"]))["privacy"]["clip"] > 0)
    except (ValueError, LookupError, TypeError, RecursionError):  # it will not be carried out
        return False


def announce_size(content: RecordDict) -> str:
    """Return a group id that announces a message's size: "bytes=", and the most bytes on the wire.

    The group id is the one free field that reaches a store before any piece of the message. So a
    store that may not receive as much today can tell the server, and fetch nothing.
    """
    sizes = [_record_bytes(record) for record in content.values()]
    pieces = _OTHER_PIECES + sum(size // _PIECE_BYTES for size in sizes)
    return f"{_SIZE_PREFIX}{sum(sizes) + pieces * _FRAME_BYTES}"


def announced_bytes(group_id: str) -> int:
    """Return the bytes that a group id announces; 0 if it announces none."""
    size = group_id.removeprefix(_SIZE_PREFIX)
    has_size = size != group_id and size.isdecimal() and len(size) <= _MAX_SIZE_DIGITS
    return int(size) if has_size else 0


def make_probe(message_id: str) -> RecordDict:
    """Return a probe: it asks if the receiver has the message `message_id`, or has answered it."""
    return RecordDict({_PROBE_RECORD: ConfigRecord({_MESSAGE_FIELD: message_id})})


def probed_message_id(content: RecordDict) -> str:
    """Return the id of the message that a probe asks about.

    Raises:
        MessageError: it is no probe
    """
    return _only_field(content, _MESSAGE_FIELD, str)


def make_presence(*, has: bool) -> RecordDict:
    """Return the answer to a probe.

    Args:
        has: True if the message is there, and its answer will come or has been sent
    """
    return RecordDict({_PROBE_RECORD: ConfigRecord({_PRESENCE_FIELD: has})})


def is_present(content: RecordDict) -> bool:
    """Return `has` of an answer to a probe.

    Raises:
        MessageError: it is no such answer
    """
    return _only_field(content, _PRESENCE_FIELD, bool)


def _record_bytes(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    """Return an upper bound of the bytes of a record's keys and values."""
    if isinstance(record, ArrayRecord):
        return sum(len(key) + len(array.data) for key, array in record.items())
    return sum(len(key) + _KEY_FRAME_BYTES + _value_bytes(value) for key, value in record.items())


def _value_bytes(value: object) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(_NUMBER_BYTES + _value_bytes(part) for part in value)
    return _NUMBER_BYTES


def _only_field(content: RecordDict, key: str, kind: type[FieldValue]) -> FieldValue:
    """Return the field `key`, the only one of a probe or its answer. Raises MessageError."""
    record = content.get(_PROBE_RECORD)
    value = record.get(key) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(value, kind):
        raise MessageError(
            f"A probe got {', '.join(sorted(map(str, content)))}; expected the field {key!r} alone."
        )
    return value
