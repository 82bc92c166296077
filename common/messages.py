"""Orders and results as Flower records, and back. No other module knows a record's keys.

A record dict holds one ConfigRecord "header" of plain values and, where tensors travel, one
ArrayRecord "arrays" with one array per vector: each array costs several HTTP requests, so a model
is one array (11 million floats: 7 s a round as one array, 36 s as 122). Arrays are raw
little-endian bytes under a type name of ours, so nothing is unpickled and Flower parses nothing.

Orders are self-contained, except that frozen parameters travel as their SHA-256 alone; a store
that lacks them answers `NeedsFrozen` and gets its order again with the array attached.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from common.config import RunConfig
from common.errors import NetworkError
from common.metrics import Counts
from common.models.spec import ModelSpec
from common.orders import EvaluateOrder, Evaluation, Failure, FailureCode, Plan, StoreInfo, TrainOrder, Update

FORMAT = 1  # raised whenever a header or an array changes its meaning
_RAW = "fedshelf.raw"  # Flower's name for how an array's bytes are to be read
_EXTRA = "extra."


class MessageError(NetworkError):
    """A message that does not say what an order or a result must say."""


class FrozenMissingError(MessageError):
    """The order names frozen parameters (their SHA-256) that are neither attached nor known."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"The frozen parameters {sha256[:12]} are not here yet; the server must send them.")
        self.sha256 = sha256


@dataclass(frozen=True)
class Query:
    """Asks a store what it holds under this configuration; `notice`, if any, is for the store's operator."""

    run_id: str
    config: RunConfig
    notice: str = ""


@dataclass(frozen=True)
class NeedsFrozen:
    """A store's answer to an order whose frozen parameters it lacks."""

    store: str
    sha256: str


Order = TrainOrder | EvaluateOrder | Query
Result = Update | Evaluation | Failure | StoreInfo | NeedsFrozen


class FrozenStore(Protocol):
    """Where a store keeps frozen parameters, by the SHA-256 of their bytes."""

    def get(self, sha256: str) -> Tensor | None:
        """The vector (float32 [F]), or None if it is not kept."""

    def put(self, sha256: str, vector: Tensor) -> None:
        """Keep the vector."""


def frozen_sha256(vector: Tensor) -> str:
    """SHA-256 of a float32 vector's little-endian bytes, in hexadecimal."""
    return hashlib.sha256(_bytes(vector, "<f4")).hexdigest()


def encode_order(order: Order, *, attach_frozen: bool = False) -> RecordDict:
    """The order as records; frozen parameters only if `attach_frozen`."""
    if isinstance(order, Query):
        header = {"kind": "query", "run_id": order.run_id, "config": _json(order.config), "notice": order.notice}
        return _records(header, {})
    plan = order.plan
    header = {
        "kind": "train" if isinstance(order, TrainOrder) else "evaluate",
        "run_id": plan.run_id,
        "config": _json(plan.config),
        "spec": plan.spec.to_json(),
        "frozen_sha256": "" if plan.frozen is None else frozen_sha256(plan.frozen),
        "round": order.round,
    }
    arrays = {"params": _array(order.params, "<f4")}
    if isinstance(order, TrainOrder):
        arrays |= _extra_arrays(order.extras)
    else:
        header["split"] = order.split
    if attach_frozen and plan.frozen is not None:
        arrays["frozen"] = _array(plan.frozen, "<f4")
    return _records(header, arrays)


def decode_order(content: RecordDict, frozen: FrozenStore) -> Order:
    """Inverse of `encode_order`.

    Raises MessageError for anything that is not an order of this format, FrozenMissingError if its
    frozen parameters are neither attached nor kept in `frozen`.
    """
    header, arrays = _open(content)
    kind = header.text("kind")
    run_id, config = header.text("run_id"), header.parsed("config", RunConfig.model_validate_json)
    if kind == "query":
        order: Order = Query(run_id, config, header.text("notice"))
    elif kind in ("train", "evaluate"):
        spec = header.parsed("spec", _spec)
        plan = Plan(run_id, config, spec, _frozen(header.text("frozen_sha256"), arrays.pop("frozen", None), frozen))
        round_number, params = header.count("round"), arrays.take("params", "<f4", 1)
        if kind == "train":
            order = TrainOrder(plan, round_number, params, arrays.extras())
        else:
            order = EvaluateOrder(plan, round_number, params, header.choice("split", ("validation", "test")))
    else:
        raise MessageError(f"Got an order of kind {kind!r}; expected train, evaluate or query.")
    header.close()
    arrays.close()
    return order


def encode_result(result: Result) -> RecordDict:
    """The result as records."""
    match result:
        case Update():
            header = {"kind": "update", "store": result.store, "round": result.round, "seconds": result.seconds}
            header |= {"num_examples": result.num_examples, "loss": result.loss}
            return _records(header, {"params": _array(result.params, "<f4"), **_extra_arrays(result.extras)})
        case Evaluation():
            header = {"kind": "evaluation", "store": result.store, "round": result.round}
            header |= {"loss_sum": result.counts.loss_sum}
            return _records(header, {"confusion": _array(torch.from_numpy(result.counts.confusion), "<i8")})
        case Failure():
            return _records({"kind": "failure", "store": result.store, "code": result.code, "reason": result.reason}, {})
        case NeedsFrozen():
            return _records({"kind": "needs-frozen", "store": result.store, "sha256": result.sha256}, {})
        case StoreInfo():
            header = {"kind": "info", "store": result.name, "classes": list(result.counts)}
            header |= {"counts": list(result.counts.values()), "validation": result.validation, "test": result.test}
            return _records(header, {})


def decode_result(content: RecordDict) -> Result:
    """Inverse of `encode_result`. Raises MessageError for anything that is not a result of this format."""
    header, arrays = _open(content)
    kind, store = header.text("kind"), header.text("store")
    result: Result
    match kind:
        case "update":
            numbers = (header.count("num_examples"), header.number("loss"), header.number("seconds"))
            result = Update(store, header.count("round"), arrays.take("params", "<f4", 1), *numbers, arrays.extras())
        case "evaluation":
            confusion = arrays.take("confusion", "<i8", 2).numpy()
            if confusion.shape[0] != confusion.shape[1] or (confusion < 0).any():
                raise MessageError(f"Got a confusion matrix {confusion.shape}; expected a square of counts.")
            result = Evaluation(store, header.count("round"), Counts(confusion, header.number("loss_sum")))
        case "failure":
            result = Failure(store, header.choice("code", get_args(FailureCode)), header.text("reason"))
        case "needs-frozen":
            result = NeedsFrozen(store, header.text("sha256"))
        case "info":
            result = StoreInfo(store, header.table("classes", "counts"), header.count("validation"), header.count("test"))
        case _:
            raise MessageError(f"Got a result of kind {kind!r}; expected update, evaluation, failure or info.")
    header.close()
    arrays.close()
    return result


Parsed = TypeVar("Parsed")
Choice = TypeVar("Choice", bound=str)


class _Header:
    """A ConfigRecord read once, field by field; every field must be of its type, none may be left."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def _take(self, key: str, kind: type | tuple[type, ...]) -> Any:
        if key not in self._values:
            raise MessageError(f"The header lacks {key!r}.")
        value = self._values.pop(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise MessageError(f"Header field {key!r} got {type(value).__name__}; it has another type.")
        return value

    def text(self, key: str) -> str:
        value: str = self._take(key, str)
        return value

    def number(self, key: str) -> float:
        return float(self._take(key, (int, float)))

    def count(self, key: str) -> int:
        value: int = self._take(key, int)
        if value < 0:
            raise MessageError(f"Header field {key!r} got {value}; expected zero or more.")
        return value

    def choice(self, key: str, allowed: tuple[Choice, ...]) -> Choice:
        value = self._take(key, str)
        for candidate in allowed:
            if candidate == value:
                return candidate
        raise MessageError(f"Header field {key!r} got {value!r}; expected one of {', '.join(allowed)}.")

    def parsed(self, key: str, parse: Callable[[str], Parsed]) -> Parsed:
        try:
            return parse(self.text(key))
        except (ValidationError, ValueError, TypeError) as error:
            raise MessageError(f"Header field {key!r} cannot be used: {str(error).splitlines()[0]}.") from error

    def table(self, keys: str, values: str) -> dict[str, int]:
        names, counts = self._take(keys, list), self._take(values, list)
        good = all(isinstance(name, str) for name in names) and all(type(n) is int and n >= 0 for n in counts)
        if not good or len(names) != len(counts) or len(set(names)) != len(names):
            raise MessageError(f"Header fields {keys!r} and {values!r} are not one count per name.")
        return dict(zip(names, counts, strict=True))

    def close(self) -> None:
        if self._values:
            raise MessageError(f"The header has unknown fields: {', '.join(sorted(self._values))}.")


class _Arrays(dict[str, Array]):
    """The arrays of a message, taken out one by one."""

    def take(self, key: str, dtype: str, ndim: int) -> Tensor:
        if key not in self:
            raise MessageError(f"The message lacks the array {key!r}.")
        return _tensor(key, self.pop(key), dtype, ndim)

    def extras(self) -> dict[str, Tensor]:
        names = [key for key in self if key.startswith(_EXTRA)]
        return {key.removeprefix(_EXTRA): self.take(key, "<f4", self[key].shape.__len__()) for key in names}

    def close(self) -> None:
        if self:
            raise MessageError(f"The message has unknown arrays: {', '.join(sorted(self))}.")
