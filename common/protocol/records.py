"""Plain values and tensors in Flower records, read back with every field checked.

    RecordDict
      "header": ConfigRecord    the plain values; "tensors": a small blob, if there is one
      "arrays": ArrayRecord     "tensors": a large blob, as one Array

One message is one RecordDict. Tensors travel together as one blob in
the safetensors format: inside the header if they are small, else as the one array of an
ArrayRecord, which Flower cuts into pieces. Every record, array and piece costs a store and the
server an HTTP request each (about 10 ms of the SuperLink's only process), so there are no more of
them than needed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar, cast

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.names import (
    MAX_CLASS_CHARACTERS,
    MAX_CLASS_NAMES_BYTES,
    MAX_CLASSES,
    is_class_name,
)
from fedshelf.common.protocol.probe import HEADER_RECORD

ARRAYS = "arrays"
TENSORS = "tensors"
# bytes of tensors that travel inside the header; Flower's own pieces are of 5 MiB
MAX_INLINE_BYTES = 4 * 2**20
_FORMAT = "safetensors"  # the value of Flower's field that names the format of an array's bytes

Value = bool | bytes | int | float | str | list[int] | list[str]
Parsed = TypeVar("Parsed")
Choice = TypeVar("Choice", bound=str)


def pack(header: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> RecordDict:
    """Return the records of a message.

    Args:
        header: its plain values
        tensors: its tensors, of any shape and type, on any device; each is copied once
    """
    if not tensors:
        return RecordDict({HEADER_RECORD: ConfigRecord(dict(header))})
    blob = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    if len(blob) <= MAX_INLINE_BYTES:
        return RecordDict({HEADER_RECORD: ConfigRecord({**header, TENSORS: blob})})
    array = Array("uint8", (len(blob),), _FORMAT, blob)
    return RecordDict(
        {HEADER_RECORD: ConfigRecord(dict(header)), ARRAYS: ArrayRecord({TENSORS: array})}
    )


class RecordReader:
    """The fields and tensors of one message, each taken once and checked.

    `close` refuses a message with any left. All methods raise MessageError for a field or tensor
    that is missing or is not as expected.
    """

    def __init__(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._header = header
        self._tensors = tensors

    @classmethod
    def open(cls, content: RecordDict) -> Self:
        """Return a reader of these records.

        Raises:
            MessageError: `pack` does not make such records
        """
        header = content.get(HEADER_RECORD)
        arrays = content.get(ARRAYS, ArrayRecord())
        has_others = not set(content) <= {HEADER_RECORD, ARRAYS}
        if (
            has_others
            or not isinstance(header, ConfigRecord)
            or not isinstance(arrays, ArrayRecord)
        ):
            names = ", ".join(sorted(map(str, content))) or "nothing"
            raise MessageError(
                f"Got a message of {names}; expected a header and arrays. Is the other side"
                " Fedshelf?"
            )
        fields = dict(header)
        return cls(fields, _unpack(fields.pop(TENSORS, None), dict(arrays)))

    def text(self, key: str) -> str:
        """Take a text field."""
        return cast(str, self._take(key, str))

    def binary(self, key: str) -> bytes:
        """Take a field of bytes."""
        return cast(bytes, self._take(key, bytes))

    def number(self, key: str) -> float:
        """Take a float field."""
        return cast(float, self._take(key, float))

    def number_or_none(self, key: str) -> float | None:
        """Take a float field, if it is there."""
        return self.number(key) if key in self._header else None

    def count(self, key: str) -> int:
        """Take an integer field of zero or more."""
        value = cast(int, self._take(key, int))
        if value < 0:
            raise MessageError(f"Field {key!r} got {value}; expected zero or more.")
        return value

    def choice(self, key: str, allowed: tuple[Choice, ...]) -> Choice:
        """Take a text field with one of the `allowed` values."""
        value = self.text(key)
        for candidate in allowed:
            if candidate == value:
                return candidate
        raise MessageError(
            f"Field {key!r} got {value[:80]!r}; expected one of {', '.join(allowed)}."
        )

    def parsed(self, key: str, parse: Callable[[str], Parsed]) -> Parsed:
        """Take a text field and return it parsed.

        Args:
            key: the field
            parse: may raise ValueError, TypeError or KeyError, which become MessageError
        """
        try:
            return parse(self.text(key))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise MessageError(
                f"Field {key!r} cannot be used: {(str(error).splitlines() or ['?'])[0]}."
            ) from error

    def table(self, names: str, counts: str) -> dict[str, int]:
        """Take two list fields as one mapping from class names to integers of zero or more.

        Args:
            names: the field of names
            counts: the field of numbers, as many
        """
        keys = cast(list[Any], self._take(names, list))
        values = cast(list[Any], self._take(counts, list))
        is_table = (
            len(keys) <= MAX_CLASSES
            and all(map(is_class_name, keys))
            and all(type(value) is int and value >= 0 for value in values)
            and len(keys) == len(values)
            and len(set(keys)) == len(keys)
            and sum(map(_wire_bytes, keys)) <= MAX_CLASS_NAMES_BYTES
        )
        if not is_table:
            raise MessageError(
                f"Fields {names!r} and {counts!r} are not one count per class; expected at most"
                f" {MAX_CLASSES} classes, each in at most {MAX_CLASS_CHARACTERS} plain characters,"
                f" {MAX_CLASS_NAMES_BYTES} bytes in all."
            )
        return dict(zip(keys, values, strict=True))

    def tensor(self, key: str, dtype: torch.dtype, ndim: int) -> Tensor:
        """Take the tensor `key`, which must have this type and `ndim` dimensions of any length.

        The caller checks the shape.
        """
        if key not in self._tensors:
            raise MessageError(f"The message lacks the tensor {key!r}.")
        tensor = self._tensors.pop(key)
        if tensor.dtype != dtype or tensor.ndim != ndim:
            raise MessageError(
                f"Tensor {key!r} is {tensor.dtype} {tuple(tensor.shape)}; expected {dtype}, {ndim}"
                " axes."
            )
        return tensor

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Take all tensors whose names begin with `prefix`, of any shape.

        They are returned by the rest of their names.
        """
        names = [name for name in self._tensors if name.startswith(prefix)]
        return {name.removeprefix(prefix): self._tensors.pop(name) for name in names}

    def has_field(self, key: str) -> bool:
        """Return whether the field `key` is there."""
        return key in self._header

    def has_tensor(self, key: str) -> bool:
        """Return whether the tensor `key` is there."""
        return key in self._tensors

    def close(self) -> None:
        """Raise MessageError if a field or a tensor was not taken."""
        if unknown := sorted(self._header) + sorted(self._tensors):
            raise MessageError(f"The message has unknown fields: {', '.join(unknown)}.")

    def _take(self, key: str, kind: type) -> object:
        """Take a field that must have exactly this type: True is no integer here."""
        if key not in self._header:
            raise MessageError(f"The message lacks the field {key!r}.")
        value = self._header.pop(key)
        if type(value) is not kind:
            raise MessageError(
                f"Field {key!r} is of type {type(value).__name__}; expected {kind.__name__}."
            )
        return value


def _wire_bytes(text: str) -> int:
    return len(text.encode())


def _unpack(inline: object, arrays: dict[str, Array]) -> dict[str, Tensor]:
    """Return the tensors of a message, from its header or its one array. Raises MessageError."""
    if inline is None and not arrays:
        return {}
    array = arrays.pop(TENSORS, None)
    blob = inline if array is None else array.data
    if (
        not isinstance(blob, bytes)
        or arrays
        or (array is not None and (inline or array.stype != _FORMAT))
    ):
        raise MessageError("The message's tensors are not where and what they should be.")
    try:
        return load(blob)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise MessageError(f"The message's tensors cannot be read: {error}.") from error
