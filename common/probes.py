"""Probes: has a store the message that it should be working on?

Flower hands each message out once; where the connection breaks at that moment, nobody has it and nobody
knows. So the server asks, and sends again what a store does not have. A probe needs no PyTorch: the process
that answers it has none.
"""

from typing import TypeVar

from flwr.app import ConfigRecord, MessageType, RecordDict

from common.errors import MessageError

PROBE = f"{MessageType.QUERY}.probe"  # the type of the message
_RECORD = "probe"
Value = TypeVar("Value", str, bool)


def probe(message_id: str) -> RecordDict:
    """Asks whether the receiver has the message `message_id`, or has answered it."""
    return RecordDict({_RECORD: ConfigRecord({"message": message_id})})


def probed(content: RecordDict) -> str:
    """The message that a probe asks about. Raises MessageError."""
    return _field(content, "message", str)


def presence(*, has: bool) -> RecordDict:
    """The answer to a probe. has: the message is there, and its answer will come or has been sent."""
    return RecordDict({_RECORD: ConfigRecord({"has": has})})


def is_present(content: RecordDict) -> bool:
    """What an answer to a probe says. Raises MessageError."""
    return _field(content, "has", bool)


def _field(content: RecordDict, key: str, kind: type[Value]) -> Value:
    record = content.get(_RECORD)
    value = record.get(key) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(value, kind):
        raise MessageError(f"A probe got {', '.join(sorted(map(str, content)))}; expected the field {key!r} alone.")
    return value
