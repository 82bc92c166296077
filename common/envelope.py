"""What can be said of messages without PyTorch: the process that holds a store's line to the server has none.

Probes ask a store whether it has the message that it should be working on: Flower hands each message out
once, and where the connection breaks at that moment, nobody has it and nobody knows. So the server asks, and
sends again what a store does not have.
"""

from typing import TypeVar

from flwr.app import ConfigRecord, MessageType, RecordDict

from common.errors import MessageError

PROBE = f"{MessageType.QUERY}.probe"  # the type of the message
_RECORD = "probe"
HEADER = "header"  # the record of plain values that each of our messages has
Value = TypeVar("Value", str, bool)


def header(content: RecordDict) -> dict[str, str | int]:
    """The short plain fields of a message, such as kind, run_id and round; none of a message that is not ours."""
    if (asked := content.get(_RECORD)) is not None:
        return {"kind": "presence" if "has" in asked else "probe"}
    record = content.get(HEADER)
    fields = record.items() if isinstance(record, ConfigRecord) else ()
    return {
        key: value for key, value in fields if isinstance(value, int) or (isinstance(value, str) and len(value) <= 64)
    }


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
