"""Messages that do without PyTorch, such as probes: a store's network process does not import it.

Probes ask a store whether it has the message that it should be working on. Flower hands each
message out once; if the connection breaks at that moment, the message is lost and nobody knows. So
the server asks, and sends a message again if the store does not have it.
"""

from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, MessageType, MetricRecord, RecordDict

from fedshelf.common.errors import MessageError

# field of an order that delivers a model; it names the models that were taken back
RECALLED_FIELD = "recalled"
PROBE_MESSAGE_TYPE = f"{MessageType.QUERY}.probe"  # the type of the message
_RECORD = "probe"
_BYTES = "bytes="
_DIGITS = 15
_NUMBER = 16  # most bytes of a number in a record, with its tag
_PIECE = 5 * 2**20  # bytes of Flower's own pieces of an array
# number of other pieces of a message, and the bytes around each piece
_PIECES = 8
_AROUND = 512
HEADER_RECORD = "header"  # the record of plain values that each of our messages has
FieldValue = TypeVar("FieldValue", str, bool)


def header_fields(content: RecordDict) -> dict[str, str | int]:
    """Return the short plain fields of a message, such as kind, run_id and round; {} for a message
    that is not ours.
    """
    if (asked := content.get(_RECORD)) is not None:
        return {"kind": "presence" if "has" in asked else "probe"}
    record = content.get(HEADER_RECORD)
    fields = record.items() if isinstance(record, ConfigRecord) else ()
    return {
        key: value
        for key, value in fields
        if isinstance(value, int) or (isinstance(value, str) and len(value) <= 64)
    }


def recalls_models(content: RecordDict) -> bool:
    """Return whether a message that delivers a model names others of its run that were taken
    back.
    """
    record = content.get(HEADER_RECORD)
    return isinstance(record, ConfigRecord) and bool(record.get(RECALLED_FIELD))


def announce_size(content: RecordDict) -> str:
    """Return a group id that announces a message's size: "bytes=" and the most bytes that it takes
    on the wire.

    The group id is the one free field that reaches a store before any piece of the message. So a
    store that may not receive as much today can tell the server, and fetch nothing.
    """
    sizes = [_bytes_of(record) for record in content.values()]
    pieces = _PIECES + sum(size // _PIECE for size in sizes)
    return f"{_BYTES}{sum(sizes) + pieces * _AROUND}"


def announced_bytes(group_id: str) -> int:
    """Return the bytes that a group id announces; 0 if it announces none."""
    size = group_id.removeprefix(_BYTES)
    return int(size) if size != group_id and size.isdecimal() and len(size) <= _DIGITS else 0


def make_probe(message_id: str) -> RecordDict:
    """Return a probe: it asks if the receiver has the message `message_id`, or has answered it."""
    return RecordDict({_RECORD: ConfigRecord({"message": message_id})})


def probed_message_id(content: RecordDict) -> str:
    """Return the id of the message that a probe asks about. Raises MessageError."""
    return _field(content, "message", str)


def make_presence(*, has: bool) -> RecordDict:
    """Return the answer to a probe. has: the message is there, and its answer will come or has been
    sent.
    """
    return RecordDict({_RECORD: ConfigRecord({"has": has})})


def is_present(content: RecordDict) -> bool:
    """Return `has` of an answer to a probe. Raises MessageError."""
    return _field(content, "has", bool)


def _bytes_of(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    """Return an upper bound of the bytes of a record's keys and values."""
    if isinstance(record, ArrayRecord):
        return sum(len(key) + len(array.data) for key, array in record.items())
    return sum(len(key) + _AROUND // 8 + _length(value) for key, value in record.items())


def _length(value: object) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    return sum(_NUMBER + _length(part) for part in value) if isinstance(value, list) else _NUMBER


def _field(content: RecordDict, key: str, kind: type[FieldValue]) -> FieldValue:
    record = content.get(_RECORD)
    value = record.get(key) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(value, kind):
        raise MessageError(
            f"A probe got {', '.join(sorted(map(str, content)))}; expected the field {key!r} alone."
        )
    return value
