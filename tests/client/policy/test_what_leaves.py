"""docs/explanation/privacy.md names each field that leaves a store: one that it lacks fails."""

import re
from collections.abc import Callable
from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
import torch
from flwr.app import RecordDict
from flwr.proto import fleet_pb2 as fleet
from flwr.proto import message_pb2 as message
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.run_pb2 import GetRunRequest
from safetensors.torch import load

from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.messages import Evaluation, StoreInfo, Update
from fedshelf.common.protocol.model_delivery import ModelReceipt
from fedshelf.common.protocol.probe import make_presence
from fedshelf.common.protocol.records import TENSORS
from fedshelf.common.protocol.secure_sum import MaskedSummand, SumAnswer
from fedshelf.common.protocol.serialization import FrozenWeightsMissing, Result, encode_result
from fedshelf.common.strategies import STRATEGIES
from tests.helpers.leaving_fields import PAGE, field_rows, treatments

STRATEGY_ROW = re.compile(r"^\| (`[^|]+`) \| [^|]+ \| (?:allowed|refused) \|$", re.MULTILINE)
TREATMENTS = {"order", "told", "noised", "withheld", "rounded", "folded"}
CLASSES = (*get_args(Result), Counts, Reliability)

RELIABILITY = Reliability(
    (1.0,),
    np.zeros(1),
    np.zeros((1, 15), np.int64),
    np.zeros((1, 15), np.int64),
    np.zeros((1, 15)),
    np.zeros(512, np.int64),
)
COUNTS = Counts(
    np.zeros((2, 2), np.int64),
    0.0,
    reliability=RELIABILITY,
    metrics={"top3": np.zeros(1, np.int64), "balanced_accuracy": np.zeros(0, np.int64)},
)
_OF_COUNTS = {"loss_sum", "right", "wrong", "confusion", "temperatures", "nll"}
_OF_COUNTS |= {"bin_images", "bin_right", "bin_sure", "bin_energy", "metric.top3"}
WIRE: list[tuple[Result, set[str]]] = [
    (
        StoreInfo("oslo", {"hat": 1}, 2, 3),
        {"store", "validation", "test", "untold", "version", "classes", "counts"},
    ),
    (
        StoreInfo("oslo", {"hat": 1}, 0, 0, 0, withholds_evaluations=True),
        {"store", "validation", "test", "untold", "version", "classes", "counts", "evaluations"},
    ),
    (
        Update("oslo", 1, torch.zeros(2), 3, 0.5, 1.0, {"own": torch.zeros(1)}),
        {"store", "round", "seconds", "num_examples", "loss", "steps", "params", "extra.own"},
    ),
    (
        Update("oslo", 1, torch.zeros(2), 3, 0.5, 1.0, packed={"values": torch.zeros(1)}),
        {"store", "round", "seconds", "num_examples", "loss", "steps", "packed.values"},
    ),
    (
        Evaluation("oslo", 1, COUNTS, COUNTS + COUNTS),
        {"store", "round", *_OF_COUNTS, *(f"adjusted.{name}" for name in _OF_COUNTS)},
    ),
    (make_failure("oslo", "policy", "hours", 60), {"store", "code", "detail", "rest"}),
    (FrozenWeightsMissing("oslo", "0" * 64), {"store", "sha256"}),
    (ModelReceipt("oslo", "run", "0" * 64, is_kept=True), {"store", "run_id", "sha256", "state"}),
    (
        MaskedSummand("oslo", 1, 0, torch.zeros(2, dtype=torch.int32)),
        {"store", "round", "attempt", "vector", "seconds"},
    ),
    (
        SumAnswer("oslo", 1, 0, "unmask", b"shares", 3),
        {"store", "round", "attempt", "step", "content", "stores"},
    ),
]
CALLS = {
    fleet.RegisterNodeFleetRequest: {"public_key"},
    fleet.ActivateNodeRequest: {"public_key", "heartbeat_interval"},
    fleet.DeactivateNodeRequest: {"node_id"},
    fleet.UnregisterNodeFleetRequest: {"node_id"},
    fleet.PullMessagesRequest: {"node", "message_ids"},
    fleet.PushMessagesRequest: {
        "node",
        "messages_list",
        "message_object_trees",
        "clientapp_runtime_list",
    },
    message.PullObjectRequest: {"node", "run_id", "object_id"},
    message.PushObjectRequest: {"node", "run_id", "object_id", "object_content", "session_id"},
    message.ConfirmMessageReceivedRequest: {"node", "run_id", "message_object_id"},
    message.Message: {"metadata", "content", "error"},
    message.Metadata: {
        "run_id",
        "message_id",
        "src_node_id",
        "dst_node_id",
        "reply_to_message_id",
        "group_id",
        "ttl",
        "message_type",
        "created_at",
        "src_task_id",
        "dst_task_id",
    },
    message.ObjectTree: {"object_id", "children"},
    SendNodeHeartbeatRequest: {"node", "heartbeat_interval"},
    GetRunRequest: {"node", "run_id"},
    GetFabRequest: {"node", "hash_str", "run_id"},
}


def sent(content: RecordDict) -> set[str]:
    """The names of the plain fields and the tensors of a message."""
    header = dict(content["header"])
    tensors = load(header.pop(TENSORS)) if TENSORS in header else {}
    return (set(header) | set(tensors)) - {"format", "kind"}


def test_the_page_has_each_field_of_each_class_once_and_no_other() -> None:
    names = [(owner, field) for owner, field, _ in field_rows()]
    assert sorted(names) == sorted(
        (each.__name__, field.name) for each in CLASSES for field in fields(each)
    )


def test_each_field_has_a_treatment() -> None:
    assert set(treatments().values()) <= TREATMENTS


@pytest.mark.parametrize(("result", "names"), WIRE, ids=lambda value: type(value).__name__)
def test_the_wire_has_these_fields(result: Result, names: set[str]) -> None:
    assert sent(encode_result(result)) == names


def test_each_kind_of_result_is_among_those_on_the_wire() -> None:
    assert {type(result) for result, _ in WIRE} == set(get_args(Result))


def test_the_answer_to_a_probe_is_one_bit() -> None:
    assert [dict(record) for record in make_presence(has=True).values()] == [{"has": True}]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.DESCRIPTOR.name)
def test_calls_of_the_fleet_api_have_these_fields(call: Callable[..., object]) -> None:
    assert {field.name for field in call.DESCRIPTOR.fields} == CALLS[call]


def test_each_strategy_has_a_line_on_what_its_stores_send() -> None:
    lines = STRATEGY_ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(lines))) == sorted(STRATEGIES)
