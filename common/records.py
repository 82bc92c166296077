"""Plain values and tensors in Flower records, read back with every field checked.

One message is one RecordDict: a ConfigRecord "header" and, where tensors travel, an ArrayRecord
"arrays". Arrays are raw little-endian bytes under a type name of ours: nothing is unpickled, and
Flower parses nothing.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from common.errors import NetworkError

HEADER, ARRAYS = "header", "arrays"
_RAW = "fedshelf.raw"  # Flower's field for how an array's bytes are to be read
_DTYPES = {torch.float32: "<f4", torch.float64: "<f8", torch.int64: "<i8"}

Value = bool | int | float | str | list[int] | list[str]
Parsed = TypeVar("Parsed")
Choice = TypeVar("Choice", bound=str)


class MessageError(NetworkError):
    """A message that does not say what an order or a result must say."""


def raw_bytes(tensor: Tensor) -> bytes:
    """The elements of a float32, float64 or int64 tensor in row order, little-endian."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy()).astype(_DTYPES[tensor.dtype], copy=False).tobytes()


def pack(header: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> RecordDict:
    """Records of these values and tensors (float32, float64 or int64, any shape); one copy of each tensor."""
    records = RecordDict({HEADER: ConfigRecord(dict(header))})
    if tensors:
        records[ARRAYS] = ArrayRecord({name: _array(tensor) for name, tensor in tensors.items()})
    return records


def _array(tensor: Tensor) -> Array:
    return Array(_DTYPES[tensor.dtype], tuple(tensor.shape), _RAW, raw_bytes(tensor))


class Reader:
    """The fields and arrays of one message, each taken once and checked; `close` refuses what is left."""

    def __init__(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        self._header = header
        self._arrays = arrays

    @classmethod
    def open(cls, content: RecordDict) -> Self:
        """Raises MessageError if the records are not those that `pack` makes."""
        header, arrays = content.get(HEADER), content.get(ARRAYS, ArrayRecord())
        known = set(content) <= {HEADER, ARRAYS}
        if not known or not isinstance(header, ConfigRecord) or not isinstance(arrays, ArrayRecord):
            names = ", ".join(sorted(map(str, content))) or "nothing"
            raise MessageError(f"Got a message of {names}; expected a header and arrays. Is the other side Fedshelf?")
        return cls(dict(header), dict(arrays))

    def text(self, key: str) -> str:
        """A text field."""
        return cast(str, self._take(key, str))

    def number(self, key: str) -> float:
        """A float field."""
        return cast(float, self._take(key, float))

    def count(self, key: str) -> int:
        """An integer field of zero or more."""
        value = cast(int, self._take(key, int))
        if value < 0:
            raise MessageError(f"Field {key!r} got {value}; expected zero or more.")
        return value

    def choice(self, key: str, allowed: tuple[Choice, ...]) -> Choice:
        """A text field with one of the `allowed` values."""
        value = self.text(key)
        for candidate in allowed:
            if candidate == value:
                return candidate
        raise MessageError(f"Field {key!r} got {value[:80]!r}; expected one of {', '.join(allowed)}.")

    def parsed(self, key: str, parse: Callable[[str], Parsed]) -> Parsed:
        """A text field that `parse` understands (it may raise ValueError, TypeError or KeyError)."""
        try:
            return parse(self.text(key))
        except (ValueError, TypeError, KeyError) as error:
            raise MessageError(f"Field {key!r} cannot be used: {str(error).splitlines()[0]}.") from error

    def table(self, names: str, counts: str) -> dict[str, int]:
        """Two list fields of one length as a mapping from text to integers of zero or more."""
        keys, values = cast(list[Any], self._take(names, list)), cast(list[Any], self._take(counts, list))
        good = all(type(key) is str for key in keys) and all(type(value) is int and value >= 0 for value in values)
        if not good or len(keys) != len(values) or len(set(keys)) != len(keys):
            raise MessageError(f"Fields {names!r} and {counts!r} are not one count per name.")
        return dict(zip(keys, values, strict=True))

    def tensor(self, key: str, dtype: torch.dtype, ndim: int) -> Tensor:
        """The array `key`, which must have this type and number of dimensions."""
        if key not in self._arrays:
            raise MessageError(f"The message lacks the array {key!r}.")
        tensor = _tensor(key, self._arrays.pop(key))
        if tensor.dtype != dtype or tensor.ndim != ndim:
            raise MessageError(f"Array {key!r} is {tensor.dtype} {tuple(tensor.shape)}; expected {dtype}, {ndim} axes.")
        return tensor

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """All arrays whose names begin with `prefix`, by the rest of their names."""
        names = [name for name in self._arrays if name.startswith(prefix)]
        return {name.removeprefix(prefix): _tensor(name, self._arrays.pop(name)) for name in names}

    def has_array(self, key: str) -> bool:
        """Whether the array `key` is there."""
        return key in self._arrays

    def close(self) -> None:
        """Raises MessageError if a field or an array was not taken."""
        if left := sorted(self._header) + sorted(self._arrays):
            raise MessageError(f"The message has unknown fields: {', '.join(left)}.")

    def _take(self, key: str, kind: type) -> object:
        if key not in self._header:
            raise MessageError(f"The message lacks the field {key!r}.")
        value = self._header.pop(key)
        if type(value) is not kind:
            raise MessageError(f"Field {key!r} is of type {type(value).__name__}; expected {kind.__name__}.")
        return value


def _tensor(name: str, array: Array) -> Tensor:
    dtypes = {code: dtype for dtype, code in _DTYPES.items()}
    shape = array.shape
    whole = all(type(side) is int and side >= 0 for side in shape)
    if array.stype != _RAW or array.dtype not in dtypes or not whole:
        raise MessageError(f"Array {name!r} is {array.stype} {array.dtype} {shape}; expected raw numbers.")
    if len(array.data) != math.prod(shape) * np.dtype(array.dtype).itemsize:
        raise MessageError(f"Array {name!r} has {len(array.data)} bytes, which is not what its shape {shape} needs.")
    values = np.frombuffer(array.data, dtype=array.dtype).reshape(shape)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))  # a copy: PyTorch wants writable memory
