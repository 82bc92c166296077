"""Whatever comes over the wire is a message of ours or a MessageError, at a store and at the
server.
"""

from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_object_id
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from fedshelf.client.connection.framing import MessageHeader, assemble, read_headers, split
from fedshelf.common import compression
from fedshelf.common.compression.base import rebuild
from fedshelf.common.config import resolve
from fedshelf.common.errors import MessageError
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.probe import (
    header_fields,
    is_present,
    make_presence,
    make_probe,
    probed_message_id,
)
from fedshelf.common.protocol.serialization import (
    FrozenWeightsMissing,
    Notice,
    Query,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
)
from fedshelf.common.training import error_feedback
from tests.helpers.damage import NESTED, ODD, decodes, examples, spoiled
from tests.helpers.deployed import LocalGrid

SPEC = ModelSpec("cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.2,) * 3)
CONFIG = resolve({"messages.compression": "int8"})
PLAN = Plan("run-1", CONFIG, SPEC, torch.ones(3))
ORDER = TrainOrder(PLAN, 3, torch.arange(600.0), {"control": torch.ones(2)}, 2)
ORDERS = (
    encode_order(ORDER, attach_frozen=True),
    encode_order(EvaluateOrder(PLAN, 3, torch.ones(4)), attach_frozen=True),
    encode_order(EvaluateOrder(PLAN, 3, torch.ones(4), "test", (1.0, 2.0)), attach_frozen=True),
    encode_order(Query("run-1", CONFIG)),
    encode_order(Notice("hello")),
)
PACKED = error_feedback.compress_update(
    Update("oslo", 3, ORDER.params + 1, 7, 0.5, 1.0),
    ORDER.params,
    500,
    None,
    compression.build(CONFIG.messages),
)[0]
SURE = Reliability.from_predictions(
    (1.0,),
    torch.ones(1, 2).numpy(),
    torch.full((1, 2), 0.6).numpy(),
    torch.ones(2).bool().numpy(),
    torch.ones(2).numpy(),
)
SURELY = Counts(torch.eye(2, dtype=torch.int64).numpy(), 0.5, reliability=SURE)
RESULTS = (
    encode_result(PACKED),
    encode_result(Update("oslo", 3, torch.ones(4), 7, 0.5, 1.0, {"control": torch.ones(2)})),
    encode_result(
        Evaluation("oslo", 3, Counts(torch.eye(2, dtype=torch.int64).numpy(), 0.5, 1, 2))
    ),
    encode_result(Evaluation("oslo", 3, SURELY)),
    encode_result(
        Evaluation("oslo", 3, Counts(torch.eye(2, dtype=torch.int64).numpy(), 0.5), SURELY)
    ),
    encode_result(StoreInfo("oslo", {"boot": 3, "hat": 4}, 2, 1)),
    encode_result(make_failure("oslo", "policy", "hours", 60)),
    encode_result(FrozenWeightsMissing("oslo", "0" * 64)),
    make_presence(has=True),
    make_probe("abc"),
)


class Kept(dict[str, torch.Tensor]):
    def get(self, sha256: str, spec: ModelSpec) -> torch.Tensor | None:
        return super().get(sha256)

    def put(self, sha256: str, vector: torch.Tensor) -> None:
        self[sha256] = vector


def blobs() -> st.SearchStrategy[bytes]:
    odd = {
        "params": torch.ones(2, dtype=torch.float8_e4m3fn),
        "confusion": torch.ones(2, 2, dtype=torch.uint64),
        "frozen": torch.empty(0, 7),
        "packed.codes": torch.tensor(True),
        "extra.": torch.ones(1, dtype=torch.bfloat16),
        "\x1b[2J": torch.ones(1, dtype=torch.complex64),
    }
    every = [save(odd), *(save({name: tensor}) for name, tensor in odd.items())]
    huge = b'{"params":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    claims = [len(huge).to_bytes(8, "little") + huge, (2**60).to_bytes(8, "little") + huge]
    own = [
        record["header"]["tensors"]
        for record in (*ORDERS, *RESULTS)
        if "tensors" in record.get("header", {})
    ]
    return st.one_of(spoiled(*own), spoiled(*every), st.sampled_from(claims + every))


PLAIN = [
    each
    for each in ODD
    if isinstance(each, float | str) or (isinstance(each, int) and abs(each) < 2**63)
]
LISTS: list[Any] = [[1, 2], ["a", "b"], [""], ["\x1b[1m"], [-1], [0.5], [b""]]


def values() -> st.SearchStrategy[Any]:
    """Values that a record's field can hold."""
    texts = [each for each in PLAIN if each != "\ud800"] + [each.decode() for each in NESTED]
    return st.one_of(st.sampled_from(texts), st.sampled_from(LISTS), blobs())


def arrays() -> st.SearchStrategy[ArrayRecord]:
    honest = blobs().map(
        lambda blob: ArrayRecord({"tensors": Array("uint8", (9,), "safetensors", blob)})
    )
    return st.one_of(
        honest,
        st.just(
            ArrayRecord({"x": Array("float99", (2**60,), "numpy.ndarray", b"\x80\x04pickle.")})
        ),
    )


@st.composite
def contents(draw: st.DrawFn, valid: tuple[RecordDict, ...]) -> RecordDict:
    """A valid message with fields that are odd, gone, new, or another message's."""
    told: dict[str, Any] = dict(
        draw(st.sampled_from(valid)).get("header", {"kind": "update", "format": 3})
    )
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from([*sorted(told), "tensors", "new\x1b"]))
        if draw(st.integers(0, 3)):
            told[key] = draw(values())
        else:
            told.pop(key, None)
    records: dict[str, Any] = {"header": ConfigRecord(told)}
    match draw(st.integers(0, 12)):
        case 0 | 1:
            records["arrays"] = draw(arrays())
        case 2:
            records = {"header": MetricRecord({"loss": 1.0}), "\x1b[31m": ConfigRecord({})}
        case 3:
            records = {
                "probe": draw(st.sampled_from((ConfigRecord({"has": 3}), MetricRecord({"has": 1}))))
            }
    return RecordDict(records)


@given(contents(ORDERS))
@examples(83)
def test_an_order_is_one_or_is_refused(content: RecordDict) -> None:
    error = decodes(lambda: decode_order(content, Kept()))
    assert not isinstance(error, Exception) or isinstance(error, MessageError)
    assert "\x1b" not in str(error) or not isinstance(error, Exception)


@given(contents(RESULTS), st.sampled_from((None, ORDER)))
@examples(83)
def test_a_result_is_one_or_is_refused(content: RecordDict, order: TrainOrder | None) -> None:
    error = decodes(lambda: decode_result(content, order))
    assert not isinstance(error, Exception) or isinstance(error, MessageError)
    assert "\x1b" not in str(error) or not isinstance(error, Exception)


@given(contents(ORDERS + RESULTS))
@examples(20)
def test_an_envelope_is_read_without_pytorch_and_without_trust(content: RecordDict) -> None:
    assert all(isinstance(value, str | int) for value in header_fields(content).values())
    decodes(lambda: probed_message_id(content))
    decodes(lambda: is_present(content))


@given(
    st.dictionaries(
        st.sampled_from(["codes", "scales", "buffers", "values", "gaps"]),
        st.sampled_from(
            [
                torch.zeros(0),
                torch.ones(1),
                torch.ones(500, dtype=torch.int8),
                torch.full((2,), torch.nan),
                torch.ones(3, 3),
                torch.full((700,), 255, dtype=torch.uint8),
                torch.full((9,), 65535, dtype=torch.uint16),
                torch.ones(500).half(),
                torch.ones(60, dtype=torch.bool),
                torch.tensor(7.0),
                torch.full((100,), 65504.0).half(),
            ]
        ),
        max_size=4,
    ),
    st.sampled_from(sorted(compression.CODECS)),
)
@examples(40)
def test_a_packed_update_is_one_or_is_refused(packed: dict[str, torch.Tensor], name: str) -> None:
    codec = compression.build(resolve({"messages.compression": name}).messages)
    assert codec
    rebuilt = decodes(lambda: rebuild(ORDER.params, packed, codec))
    assert isinstance(rebuilt, MessageError) or rebuilt.shape == ORDER.params.shape


@pytest.fixture(scope="module")
def parcel() -> tuple[MessageHeader, dict[str, bytes]]:
    """An order in pieces."""
    LocalGrid()  # Flower wants to know whose messages these are
    message = Message(ORDERS[0], 5, "train")
    message.metadata.__dict__["_message_id"] = message.object_id
    from flwr.proto.node_pb2 import Node

    made = split(message, Node(node_id=5), 0.0)
    root = made.announcement.message_object_trees[0].object_id
    return MessageHeader(root, made.content_id, "train", 1, 9.0, tuple(made.objects)), dict(
        made.objects
    )


@given(data=st.data())
@examples(50)
def test_pieces_make_a_message_or_are_refused(
    parcel: tuple[MessageHeader, dict[str, bytes]], data: st.DataObject
) -> None:
    head, objects = parcel
    which = data.draw(st.sampled_from(sorted(objects)))
    bad = data.draw(spoiled(objects[which]))
    claimed = data.draw(st.sampled_from(sorted(objects)))
    changed = {**objects, claimed: bad, get_object_id(bad): bad}
    error = decodes(lambda: assemble(head, changed))
    assert isinstance(error, Message | MessageError)


HEADS = PullMessagesResponse(
    messages_list=[{"metadata": {"run_id": 1, "ttl": 9.0, "message_type": "train"}}],
    message_object_trees=[{"object_id": "a", "children": [{"object_id": "b"}]}],
).SerializeToString()


@given(spoiled(HEADS))
@examples(40)
def test_heads_are_read_or_refused(body: bytes) -> None:
    from google.protobuf.message import DecodeError

    reply = decodes(lambda: PullMessagesResponse.FromString(body), DecodeError)
    if isinstance(reply, PullMessagesResponse):
        error = decodes(lambda: read_headers(reply))
        assert isinstance(error, list | MessageError)
