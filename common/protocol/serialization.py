"""Orders and results as Flower records, and back. No other module knows a record's keys.

Orders are self-contained, except that frozen parameters travel as their SHA-256 alone; a store that
lacks them answers `FrozenWeightsMissing` and gets its order again with them.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, get_args

import torch
from flwr.app import RecordDict
from torch import Tensor

from fedshelf.common import compression
from fedshelf.common.compression.packed import rebuild
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import MessageError
from fedshelf.common.models.spec import received_spec
from fedshelf.common.names import check_run_id
from fedshelf.common.protocol import calibration_records, evaluation_records
from fedshelf.common.protocol.failures import DETAIL_PATTERN, MAX_RETRY_AFTER_SECONDS, make_failure
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    FailureCode,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.model_delivery import (
    DeliverOrder,
    ModelReceipt,
    decode_delivery,
    decode_receipt,
    encode_delivery,
    encode_receipt,
)
from fedshelf.common.protocol.records import RecordReader, Value, pack

MESSAGE_FORMAT = 7  # raised whenever a field or a tensor changes its meaning
_EXTRA = "extra."
_PACKED = "packed."
_VERSION = re.compile(r"[A-Za-z0-9.+!-]{0,40}")  # the characters of PEP 440


class FrozenMissingError(MessageError):
    """The order names frozen parameters that are neither attached nor kept; `sha256` identifies
    them.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__(
            f"The frozen parameters {sha256[:12]} are not here; the server has to send them."
        )
        self.sha256 = sha256


@dataclass(frozen=True)
class Query:
    """A question to a store about the images that it holds under this configuration."""

    run_id: str
    config: RunConfig


@dataclass(frozen=True)
class Notice:
    """Words for the person who runs the store."""

    text: str


@dataclass(frozen=True)
class FrozenWeightsMissing:
    """A store's answer to an order whose frozen parameters it lacks."""

    store: str
    sha256: str


Order = TrainOrder | EvaluateOrder | Query | Notice | DeliverOrder
Result = Update | Evaluation | Failure | StoreInfo | FrozenWeightsMissing | ModelReceipt


class FrozenStore(Protocol):
    """A store's memory of frozen parameters, by the SHA-256 of their bytes."""

    def get(self, sha256: str) -> Tensor | None:
        """Return the vector (float32 [F]), or None if it is not kept."""

    def put(self, sha256: str, vector: Tensor) -> None:
        """Keep the vector (float32 [F])."""


def frozen_sha256(vector: Tensor) -> str:
    """Return the SHA-256, in hexadecimal, of a float32 vector's little-endian bytes."""
    return hashlib.sha256(vector.cpu().numpy().astype("<f4", copy=False).tobytes()).hexdigest()


def encode_order(order: Order, *, attach_frozen: bool = False) -> RecordDict:
    """Return the order as records, with its frozen parameters only if `attach_frozen`."""
    if isinstance(order, Notice):
        return _pack("notice", {"text": order.text})
    if isinstance(order, Query):
        return _pack("query", {"run_id": order.run_id, "config": order.config.model_dump_json()})
    if isinstance(order, DeliverOrder):
        return _pack("deliver", *encode_delivery(order))
    plan = order.plan
    header: dict[str, Value] = {
        "run_id": plan.run_id,
        "config": plan.config.model_dump_json(),
        "spec": plan.spec.to_json(),
        "frozen_sha256": "" if plan.frozen is None else frozen_sha256(plan.frozen),
        "round": order.round,
    }
    tensors = {"params": order.params}
    if attach_frozen and plan.frozen is not None:
        tensors["frozen"] = plan.frozen
    if isinstance(order, TrainOrder):
        header |= {"committed": order.committed, "best": order.best}
        return _pack("train", header, tensors | _prefixed(order.extras, _EXTRA))
    return _pack(
        "evaluate",
        {**header, "split": order.split},
        tensors | calibration_records.encode_temperatures(order.temperatures),
    )


def decode_order(content: RecordDict, kept: FrozenStore) -> Order:
    """Read back an order from the records of `encode_order`.

    Frozen parameters come from the message or from `kept`; those from the message are put into
    `kept`.

    Raises MessageError for anything that is not an order of this format, and FrozenMissingError.
    """
    reader = _open(content)
    order: Order
    match reader.choice("kind", ("train", "evaluate", "query", "notice", "deliver")):
        case "notice":
            order = Notice(reader.text("text"))
        case "query":
            order = Query(*_run(reader))
        case "deliver":
            order = decode_delivery(reader)
        case "train":
            common = _common(reader, kept)
            order = TrainOrder(
                *common, reader.tensors(_EXTRA), reader.count("committed"), reader.count("best")
            )
        case "evaluate":
            common = _common(reader, kept)
            order = EvaluateOrder(
                *common,
                reader.choice("split", ("validation", "test")),
                calibration_records.decode_temperatures(reader),
            )
    reader.close()
    return order


def encode_result(result: Result) -> RecordDict:
    """Return the result as records."""
    match result:
        case Update():
            header: dict[str, Value] = {
                "store": result.store,
                "round": result.round,
                "seconds": float(result.seconds),
            }
            header |= {
                "num_examples": result.num_examples,
                "loss": float(result.loss),
                "steps": result.steps,
            }
            weights = (
                {"params": result.params}
                if result.packed is None
                else _prefixed(result.packed, _PACKED)
            )
            return _pack("update", header, weights | _prefixed(result.extras, _EXTRA))
        case Evaluation():
            return _pack("evaluation", *evaluation_records.encode_evaluation(result))
        case Failure():
            header = {
                "store": result.store,
                "code": result.code,
                "detail": result.detail,
                "rest": result.retry_after,
            }
            return _pack("failure", header)
        case FrozenWeightsMissing():
            return _pack("needs-frozen", {"store": result.store, "sha256": result.sha256})
        case ModelReceipt():
            return _pack("receipt", dict(encode_receipt(result)))
        case StoreInfo():
            header = {"store": result.name, "validation": result.validation, "test": result.test}
            header |= {"untold": result.undisclosed_images, "version": result.version}
            header |= {"classes": list(result.counts), "counts": list(result.counts.values())}
            return _pack("info", header)


def decode_result(content: RecordDict, order: TrainOrder | EvaluateOrder | None = None) -> Result:
    """Read back a result from the records of `encode_result`.

    order: the order that it answers; a compressed update is a change of the order's parameters

    Raises MessageError for anything that is not a result of this format.
    """
    reader = _open(content)
    kind = reader.choice(
        "kind", ("update", "evaluation", "failure", "needs-frozen", "info", "receipt")
    )
    store = reader.text("store")
    result: Result
    match kind:
        case "update":
            result = _update(store, reader, order)
        case "evaluation":
            result = evaluation_records.decode_evaluation(store, reader)
        case "failure":
            result = _failure(store, reader)
        case "needs-frozen":
            result = FrozenWeightsMissing(store, reader.text("sha256"))
        case "receipt":
            result = decode_receipt(store, reader)
        case "info":
            counts = reader.table("classes", "counts")
            held_out = reader.count("validation"), reader.count("test")
            result = StoreInfo(
                store, counts, *held_out, reader.count("untold"), reader.parsed("version", _version)
            )
    reader.close()
    return result


def _version(text: str) -> str:
    """Return the text if it can be a version, or is empty. Raises ValueError."""
    if not _VERSION.fullmatch(text):
        raise ValueError("not a version")
    return text


def _pack(
    kind: str, header: dict[str, Value], tensors: dict[str, Tensor] | None = None
) -> RecordDict:
    return pack({"format": MESSAGE_FORMAT, "kind": kind, **header}, tensors or {})


def _open(content: RecordDict) -> RecordReader:
    reader = RecordReader.open(content)
    if (number := reader.count("format")) != MESSAGE_FORMAT:
        raise MessageError(
            f"Got a message of format {number}, expected {MESSAGE_FORMAT}; install one version on"
            " both sides."
        )
    return reader


def _prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _common(reader: RecordReader, kept: FrozenStore) -> tuple[Plan, int, Tensor]:
    """Return the fields that orders to train and to evaluate have in common: plan, round,
    parameters (float32 [P]).
    """
    run_id, config = _run(reader)
    spec = reader.parsed("spec", received_spec)
    number = reader.count("round")
    params = reader.tensor("params", torch.float32, ndim=1)
    return Plan(run_id, config, spec, _frozen(reader, kept)), number, params


def _run(reader: RecordReader) -> tuple[str, RunConfig]:
    return reader.parsed("run_id", check_run_id), reader.parsed("config", _config)


@lru_cache(maxsize=4)
def _config(text: str) -> RunConfig:
    """Return the configuration, validated once for all orders of a run. Raises ValueError."""
    return RunConfig.model_validate_json(text)


def _update(store: str, reader: RecordReader, order: TrainOrder | EvaluateOrder | None) -> Update:
    number = reader.count("round")
    examples = reader.count("num_examples")
    loss = reader.number("loss")
    seconds = reader.number("seconds")
    steps = reader.count("steps")
    codec = compression.build(order.plan.config.messages) if order else None
    if order is None or codec is None:
        params = reader.tensor("params", torch.float32, ndim=1)
        size = 0
    else:
        packed = reader.tensors(_PACKED)
        params = rebuild(order.params.cpu(), packed, codec)
        size = sum(tensor.nbytes for tensor in packed.values())
    return Update(
        store, number, params, examples, loss, seconds, reader.tensors(_EXTRA), None, size, steps
    )


def _failure(store: str, reader: RecordReader) -> Failure:
    code = reader.choice("code", get_args(FailureCode))
    detail = reader.text("detail")
    rest = reader.count("rest")
    if detail and not DETAIL_PATTERN.fullmatch(detail):
        raise MessageError("Field 'detail' is no identifier; a store's failure carries no text.")
    return make_failure(store, code, detail, min(rest, MAX_RETRY_AFTER_SECONDS))


def _frozen(reader: RecordReader, kept: FrozenStore) -> Tensor | None:
    sha256 = reader.text("frozen_sha256")
    if reader.has_tensor("frozen"):
        vector = reader.tensor("frozen", torch.float32, ndim=1)
        if frozen_sha256(vector) != sha256:
            raise MessageError(
                "Tensor 'frozen' is not the one that the order names by its SHA-256."
            )
        kept.put(sha256, vector)
        return vector
    if not sha256:
        return None
    if (vector_or_none := kept.get(sha256)) is None:
        raise FrozenMissingError(sha256)
    return vector_or_none
