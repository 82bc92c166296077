"""Orders and results as Flower records, and back. No other package knows a record's keys.

    server: encode_order ---- RecordDict ----> store: decode_order
    server: decode_result <-- RecordDict ----- store: encode_result

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

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import MessageError
from fedshelf.common.models.spec import ModelSpec, received_spec
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
from fedshelf.common.protocol.secure_sum import (
    MaskedSummand,
    SumAnswer,
    SumOrder,
    decode_masked_summand,
    decode_sum,
    decode_sum_answer,
    decode_sum_order,
    encode_masked_summand,
    encode_sum,
    encode_sum_answer,
    encode_sum_order,
)
from fedshelf.common.protocol.update_records import (
    EXTRA,
    decode_update,
    encode_update,
    with_prefix,
)

MESSAGE_FORMAT = 9  # raised whenever a field or a tensor changes its meaning
_VERSION_PATTERN = re.compile(r"[A-Za-z0-9.+!-]{0,40}")  # the characters of PEP 440


class FrozenMissingError(MessageError):
    """The order names frozen parameters that are neither attached nor kept.

    sha256: identifies them; see `frozen_sha256`
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


Order = TrainOrder | EvaluateOrder | SumOrder | Query | Notice | DeliverOrder
Result = (
    Update
    | MaskedSummand
    | Evaluation
    | SumAnswer
    | Failure
    | StoreInfo
    | FrozenWeightsMissing
    | ModelReceipt
)


class FrozenStore(Protocol):
    """A store's memory of frozen parameters, by the SHA-256 of their bytes."""

    def get(self, sha256: str, spec: ModelSpec) -> Tensor | None:
        """Return the vector (float32 [F]), or None if it is not kept."""

    def put(self, sha256: str, vector: Tensor) -> None:
        """Keep the vector (float32 [F])."""


def frozen_sha256(vector: Tensor) -> str:
    """Return the SHA-256, in hexadecimal, of the little-endian bytes of a vector, float32 [F]."""
    return hashlib.sha256(vector.cpu().numpy().astype("<f4", copy=False).tobytes()).hexdigest()


def encode_order(order: Order, *, attach_frozen: bool = False) -> RecordDict:
    """Return the order as records.

    Args:
        order: an order to train or evaluate has parameters, float32 [P], on any device
        attach_frozen: send the frozen parameters, float32 [F], too, not their hash alone
    """
    if isinstance(order, Notice):
        return _pack("notice", {"text": order.text})
    if isinstance(order, Query):
        return _pack("query", {"run_id": order.run_id, "config": order.config.model_dump_json()})
    if isinstance(order, DeliverOrder):
        return _pack("deliver", *encode_delivery(order))
    plan = order.plan
    run: dict[str, Value] = {
        "run_id": plan.run_id,
        "config": plan.config.model_dump_json(),
        "spec": plan.spec.to_json(),
    }
    if isinstance(order, SumOrder):
        return _pack("sum", run | encode_sum_order(order))
    header: dict[str, Value] = {
        **run,
        "frozen_sha256": "" if plan.frozen is None else frozen_sha256(plan.frozen),
        "round": order.round,
        **encode_sum(order),
    }
    tensors = {"params": order.params}
    if attach_frozen and plan.frozen is not None:
        tensors["frozen"] = plan.frozen
    if isinstance(order, TrainOrder):
        header |= {"committed": order.committed, "best": order.best}
        return _pack("train", header, tensors | with_prefix(order.extras, EXTRA))
    return _pack(
        "evaluate",
        {**header, "split": order.split},
        tensors | calibration_records.encode_temperatures(order.temperatures),
    )


def decode_order(content: RecordDict, frozen_store: FrozenStore) -> Order:
    """Read back an order from the records of `encode_order`.

    Args:
        content: the records
        frozen_store: has the frozen parameters if the message has not; gets them if it has

    Raises:
        MessageError: anything that is not an order of this format
        FrozenMissingError: frozen parameters that are neither here nor there
    """
    reader = _open(content)
    order: Order
    match reader.choice("kind", ("train", "evaluate", "sum", "query", "notice", "deliver")):
        case "notice":
            order = Notice(reader.text("text"))
        case "query":
            order = Query(*_take_run(reader))
        case "deliver":
            order = decode_delivery(reader)
        case "train":
            common = _take_common(reader, frozen_store)
            order = TrainOrder(
                *common,
                reader.tensors(EXTRA),
                reader.count("committed"),
                reader.count("best"),
                *decode_sum(reader),
            )
        case "sum":
            plan = Plan(*_take_run(reader), reader.parsed("spec", received_spec))
            order = decode_sum_order(reader, plan)
        case "evaluate":
            common = _take_common(reader, frozen_store)
            order = EvaluateOrder(
                *common,
                reader.choice("split", ("validation", "test")),
                calibration_records.decode_temperatures(reader),
                *decode_sum(reader),
            )
    reader.close()
    return order


def encode_result(result: Result) -> RecordDict:
    """Return the result as records; an update's tensors may be on any device."""
    kind: str
    header: Mapping[str, Value]
    tensors: Mapping[str, Tensor] = {}
    match result:
        case Update():
            kind = "update"
            header, tensors = encode_update(result)
        case MaskedSummand():
            kind = "masked"
            header, tensors = encode_masked_summand(result)
        case SumAnswer():
            kind = "sum-answer"
            header = encode_sum_answer(result)
        case Evaluation():
            kind = "evaluation"
            header, tensors = evaluation_records.encode_evaluation(result)
        case Failure():
            kind = "failure"
            header = {
                "store": result.store,
                "code": result.code,
                "detail": result.detail,
                "rest": result.retry_after,
            }
        case FrozenWeightsMissing():
            kind = "needs-frozen"
            header = {"store": result.store, "sha256": result.sha256}
        case ModelReceipt():
            kind = "receipt"
            header = encode_receipt(result)
        case StoreInfo():
            kind = "info"
            header = {
                "store": result.name,
                "validation": result.validation,
                "test": result.test,
                "untold": result.undisclosed_images,
                "version": result.version,
                "classes": list(result.counts),
                "counts": list(result.counts.values()),
                **({"evaluations": "withheld"} if result.withholds_evaluations else {}),
            }
    return _pack(kind, header, tensors)


def decode_result(content: RecordDict, order: TrainOrder | EvaluateOrder | None = None) -> Result:
    """Read back a result from the records of `encode_result`.

    Args:
        content: the records
        order: the order that it answers; a compressed update is a change of its parameters

    Raises:
        MessageError: anything that is not a result of this format
    """
    reader = _open(content)
    kind = reader.choice(
        "kind",
        (
            "update",
            "masked",
            "evaluation",
            "sum-answer",
            "failure",
            "needs-frozen",
            "info",
            "receipt",
        ),
    )
    store = reader.text("store")
    result: Result
    match kind:
        case "update":
            result = decode_update(store, reader, order)
        case "masked":
            result = decode_masked_summand(store, reader)
        case "sum-answer":
            result = decode_sum_answer(store, reader)
        case "evaluation":
            result = evaluation_records.decode_evaluation(store, reader)
        case "failure":
            result = _take_failure(store, reader)
        case "needs-frozen":
            result = FrozenWeightsMissing(store, reader.text("sha256"))
        case "receipt":
            result = decode_receipt(store, reader)
        case "info":
            result = StoreInfo(
                store,
                reader.table("classes", "counts"),
                validation=reader.count("validation"),
                test=reader.count("test"),
                undisclosed_images=reader.count("untold"),
                withholds_evaluations=reader.has_field("evaluations")
                and reader.choice("evaluations", ("withheld",)) == "withheld",
                version=reader.parsed("version", _check_version),
            )
    reader.close()
    return result


def _check_version(text: str) -> str:
    """Return the text if it can be a version, or is empty. Raises ValueError."""
    if not _VERSION_PATTERN.fullmatch(text):
        raise ValueError("not a version")
    return text


def _pack(
    kind: str, header: Mapping[str, Value], tensors: Mapping[str, Tensor] | None = None
) -> RecordDict:
    return pack({"format": MESSAGE_FORMAT, "kind": kind, **header}, tensors or {})


def _open(content: RecordDict) -> RecordReader:
    """Return a reader of a message of our format. Raises MessageError."""
    reader = RecordReader.open(content)
    message_format = reader.count("format")
    if message_format != MESSAGE_FORMAT:
        raise MessageError(
            f"Got a message of format {message_format}, expected {MESSAGE_FORMAT}; install one"
            " version on both sides."
        )
    return reader


def _take_common(reader: RecordReader, frozen_store: FrozenStore) -> tuple[Plan, int, Tensor]:
    """Return what orders to train and evaluate have in common: plan, round, params (float32 [P]).

    Raises MessageError, FrozenMissingError.
    """
    run_id, config = _take_run(reader)
    spec = reader.parsed("spec", received_spec)
    round_number = reader.count("round")
    params = reader.tensor("params", torch.float32, ndim=1)
    plan = Plan(run_id, config, spec, _take_frozen(reader, frozen_store, spec))
    return plan, round_number, params


def _take_run(reader: RecordReader) -> tuple[str, RunConfig]:
    return reader.parsed("run_id", check_run_id), reader.parsed("config", _parse_config)


@lru_cache(maxsize=4)
def _parse_config(text: str) -> RunConfig:
    """Return the configuration, validated once for all orders of a run. Raises ValueError."""
    return RunConfig.model_validate_json(text)


def _take_failure(store: str, reader: RecordReader) -> Failure:
    """Return a failure in our own words. Raises MessageError."""
    code = reader.choice("code", get_args(FailureCode))
    detail = reader.text("detail")
    retry_after = reader.count("rest")
    if detail and not DETAIL_PATTERN.fullmatch(detail):
        raise MessageError("Field 'detail' is no identifier; a store's failure carries no text.")
    return make_failure(store, code, detail, min(retry_after, MAX_RETRY_AFTER_SECONDS))


def _take_frozen(reader: RecordReader, frozen_store: FrozenStore, spec: ModelSpec) -> Tensor | None:
    """Return the frozen parameters (float32 [F]), None if there are none.

    Raises MessageError for others than those that the order names, FrozenMissingError.
    """
    sha256 = reader.text("frozen_sha256")
    if reader.has_tensor("frozen"):
        attached = reader.tensor("frozen", torch.float32, ndim=1)
        if frozen_sha256(attached) != sha256:
            raise MessageError(
                "Tensor 'frozen' is not the one that the order names by its SHA-256."
            )
        frozen_store.put(sha256, attached)
        return attached
    if not sha256:
        return None
    stored = frozen_store.get(sha256, spec)
    if stored is None:
        raise FrozenMissingError(sha256)
    return stored
