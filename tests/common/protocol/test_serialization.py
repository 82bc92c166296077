"""Orders and results survive the way through Flower's records; anything else is refused, not
guessed.
"""

import contextlib
import json
import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import MessageError
from fedshelf.common.metrics.calibration import BINS, Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.energy import ENERGY_BINS
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    StoreInfo,
    SumPart,
    SumTerms,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.records import MAX_INLINE_BYTES
from fedshelf.common.protocol.secure_sum import (
    SUM_STEPS,
    MaskedSummand,
    SumAnswer,
    SumOrder,
    SumStep,
    read_survivors,
    survivors_content,
)
from fedshelf.common.protocol.serialization import (
    FrozenMissingError,
    FrozenWeightsMissing,
    Notice,
    Query,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
    frozen_sha256,
)
from tests.helpers.equality import same

SPEC = ModelSpec("cnn", ("boot", "Hüte"), 32, 3, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), dropout=0.1)
CONFIG = resolve({"train.lr": 0.125, "data.classes": "boot,Hüte"})
PLAN = Plan("run-1", CONFIG, SPEC)


class Kept(dict[str, Tensor]):
    def get(self, sha256: str, spec: ModelSpec) -> Tensor | None:
        return super().get(sha256)

    def put(self, sha256: str, vector: Tensor) -> None:
        self[sha256] = vector


def vectors(least: int = 1) -> st.SearchStrategy[Tensor]:
    values = st.lists(st.floats(width=32), min_size=least, max_size=9)
    return values.map(lambda numbers: torch.tensor(numbers, dtype=torch.float32))


names = st.text(min_size=1, max_size=8).filter(
    lambda text: "\x00" not in text and text.isprintable()
)
extras = st.dictionaries(names, vectors(least=0), max_size=3)
counts = st.integers(0, 2**40)
rounds = st.integers(0, 10**6)


@given(rounds, vectors(), extras)
def test_a_training_order_arrives_as_it_left(
    number: int, params: Tensor, more: dict[str, Tensor]
) -> None:
    order = TrainOrder(PLAN, number, params, dict(sorted(more.items())))
    decoded = decode_order(encode_order(order), Kept())
    assert isinstance(decoded, TrainOrder)
    assert same({**decoded.extras}.keys() == order.extras.keys(), True)
    assert all(same(decoded.extras[name], tensor) for name, tensor in order.extras.items())
    assert same(decoded.params, params)
    assert (decoded.round, decoded.plan) == (number, PLAN)


@given(rounds, vectors(), st.sampled_from(["validation", "test"]))
def test_an_evaluation_order_arrives_as_it_left(number: int, params: Tensor, split: Any) -> None:
    for temperatures in ((), (1.0, 0.1 + 0.2)):
        order = EvaluateOrder(PLAN, number, params, split, temperatures)
        assert same(decode_order(encode_order(order), Kept()), order)


@pytest.mark.parametrize("temperatures", [(0.0,), (math.nan,), (1e9,), (1.0,) * 33])
def test_temperatures_that_make_no_sense_are_refused(temperatures: tuple[float, ...]) -> None:
    order = EvaluateOrder(PLAN, 1, torch.ones(4), "test", temperatures)
    with pytest.raises(MessageError, match=r"expected at most 32, each from 0\.015625 to 64"):
        decode_order(encode_order(order), Kept())


def sureness() -> Reliability:
    """Of three images at two temperatures; two of them right."""
    sure = np.array([[0.9, 0.8, 0.6], [0.7, 0.6, 0.55]], np.float32)
    return Reliability.from_predictions(
        (1.0, 2.0),
        np.ones((2, 3), np.float32),
        sure,
        np.array([True, True, False]),
        np.array([3.0, 2.0, -1.0], np.float32),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", np.ones((2, 3), np.int64)),
        ("correct", -np.ones((2, BINS), np.int64)),
        ("correct", np.full((2, BINS), 4)),
        ("nll", np.ones(3)),
        ("confidence_sum", np.ones((2, BINS), np.float32)),
        ("temperatures", (1.0,)),
        ("energies", np.ones(ENERGY_BINS - 1, np.int64)),
        ("energies", np.ones((1, ENERGY_BINS), np.int64)),
        ("energies", np.ones(ENERGY_BINS)),
        ("energies", -np.ones(ENERGY_BINS, np.int64)),
        ("energies", np.full(ENERGY_BINS, 2**40)),
    ],
)
def test_a_sureness_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    told = replace(sureness(), **{field: value})
    with pytest.raises(MessageError):
        decode_result(
            encode_result(
                Evaluation("s", 3, Counts(np.eye(2, dtype=np.int64), 1.0, reliability=told))
            )
        )


@given(st.text(max_size=20))
def test_queries_and_notices_arrive_as_they_left(text: str) -> None:
    for order in (Query("run-1", RunConfig()), Notice(text)):
        assert decode_order(encode_order(order), Kept()) == order


@given(names, rounds, vectors(), counts, st.floats(), st.floats(0, 1e9))
def test_an_update_arrives_as_it_left(
    store: str, number: int, params: Tensor, examples: int, loss: float, seconds: float
) -> None:
    update = Update(
        store,
        number,
        params,
        examples,
        loss,
        seconds,
        {"control": torch.ones(2, 3), "steps": torch.tensor(4)},
    )
    decoded = decode_result(encode_result(update))
    assert isinstance(decoded, Update)
    assert same(dict(sorted(decoded.extras.items())), dict(update.extras))
    assert same(decoded.params, update.params)
    assert same(
        [decoded.store, decoded.round, decoded.num_examples, str(decoded.loss), decoded.seconds],
        [store, number, examples, str(loss), seconds],
    )


def test_a_loss_that_is_withheld_does_not_travel() -> None:
    update = Update("s", 1, torch.zeros(2), 3, None, 0.5)
    evaluation = Evaluation("s", 1, Counts(np.eye(2, dtype=np.int64), None))
    for result in (update, evaluation):
        records = encode_result(result)
        assert not {"loss", "loss_sum"} & set(records["header"])
        assert same(decode_result(records), result)


@given(
    st.lists(st.lists(st.integers(0, 2**31), min_size=3, max_size=3), min_size=3, max_size=3),
    st.floats(),
    counts,
    counts,
)
def test_an_evaluation_arrives_as_it_left(
    confusion: list[list[int]], loss: float, right: int, wrong: int
) -> None:
    for reliability in (None, sureness()):
        counts = Counts(np.array(confusion, dtype=np.int64), loss, right, wrong, reliability)
        adjusted = Counts(
            np.array(confusion[::-1], dtype=np.int64), 2 * loss, wrong, right, deepcopy(reliability)
        )
        for evaluation in (Evaluation("s", 3, counts), Evaluation("s", 3, counts, adjusted)):
            assert same(decode_result(encode_result(evaluation)), evaluation)


@given(st.dictionaries(names, counts), counts, counts, counts, st.booleans())
def test_what_a_store_holds_arrives_as_it_left(
    held: dict[str, int], validation: int, test: int, untold: int, withholds: bool
) -> None:
    info = StoreInfo("s", held, validation, test, untold, withholds)
    assert decode_result(encode_result(info)) == info


@pytest.mark.parametrize(
    "result",
    [
        make_failure("s", "data"),
        make_failure("s", "policy", "hours", 60),
        FrozenWeightsMissing("s", "ab" * 32),
    ],
)
def test_other_answers_arrive_as_they_left(result: Failure | FrozenWeightsMissing) -> None:
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize("step", SUM_STEPS)
def test_a_step_of_a_secure_sum_arrives_as_it_left(step: SumStep) -> None:
    order = SumOrder(PLAN, 7, "train", 2, step, b"\0keys", committed=5)
    assert decode_order(encode_order(order), Kept()) == order
    answer = SumAnswer("oslo", 7, 2, step, b"\xffshares", stores=3)
    assert decode_result(encode_result(answer)) == answer


def test_the_part_of_a_secure_sum_in_an_order_to_train_arrives_as_it_left() -> None:
    order = TrainOrder(
        PLAN, 7, torch.zeros(3), terms=SumTerms(3, 40), secure_sum=SumPart(2, b"\0boxes")
    )
    arrived = decode_order(encode_order(order), Kept())
    assert isinstance(arrived, TrainOrder)
    assert (arrived.terms, arrived.secure_sum) == (order.terms, order.secure_sum)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16])
def test_a_masked_update_arrives_as_it_left(dtype: torch.dtype) -> None:
    ends = torch.iinfo(dtype)
    sent = MaskedSummand("oslo", 7, 2, torch.tensor([ends.min, -1, 0, ends.max], dtype=dtype), 0.5)
    arrived = decode_result(encode_result(sent))
    assert isinstance(arrived, MaskedSummand)
    assert same(arrived.vector, sent.vector)
    assert replace(arrived, vector=sent.vector) == sent


def test_survivors_are_names() -> None:
    assert read_survivors(survivors_content(("lyon-2", "süd 2"))) == ("lyon-2", "süd 2")
    for wrong in (b"{}", b"[1]"):
        with pytest.raises(ValueError, match="not a list of stores"):
            read_survivors(wrong)


@pytest.mark.parametrize("detail", ["/srv/photos", "two words", "a.jpg", "x" * 65, "1st"])
def test_a_failure_carries_no_text(detail: str) -> None:
    records = encode_result(Failure("s", "error", "", detail))
    with pytest.raises(MessageError, match="carries no text"):
        decode_result(records)


def test_a_large_model_travels_as_one_array() -> None:
    params = torch.arange(MAX_INLINE_BYTES // 4 + 1, dtype=torch.float32)
    records = encode_order(TrainOrder(PLAN, 1, params, {"control": torch.ones(5)}))
    assert [len(record) for record in records.array_records.values()] == [1]
    assert same(decode_order(records, Kept()).params, params)  # type: ignore[union-attr]


def test_orders_of_one_run_share_the_configuration_that_was_validated_first() -> None:
    first, second = (
        decode_order(encode_order(TrainOrder(PLAN, number, torch.zeros(2))), Kept())
        for number in (1, 2)
    )
    assert isinstance(first, TrainOrder)
    assert isinstance(second, TrainOrder)
    assert (first.round, second.round) == (1, 2)
    assert first.plan.config is second.plan.config


def test_frozen_parameters_travel_once() -> None:
    frozen = torch.tensor([1.0, 2.0, 3.0])
    order = TrainOrder(Plan("run-1", CONFIG, SPEC, frozen), 1, torch.ones(2))
    kept = Kept()
    with pytest.raises(FrozenMissingError) as missing:
        decode_order(encode_order(order), kept)
    assert missing.value.sha256 == frozen_sha256(frozen)
    assert same(decode_order(encode_order(order, attach_frozen=True), kept), order)
    assert same(decode_order(encode_order(order), kept), order)


def test_frozen_parameters_that_are_not_those_named_are_refused() -> None:
    order = TrainOrder(Plan("run-1", CONFIG, SPEC, torch.ones(3)), 1, torch.ones(2))
    records = encode_order(order, attach_frozen=True)
    records["header"]["frozen_sha256"] = "0" * 64  # type: ignore[index]
    with pytest.raises(MessageError, match="SHA-256"):
        decode_order(records, Kept())


junk = st.one_of(
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.binary(max_size=40),
    st.booleans(),
    st.lists(st.integers()),
)


@given(st.data())
def test_whatever_is_changed_in_a_message_it_is_read_or_refused(data: st.DataObject) -> None:
    """No field can be set to a value, left out or added such that decoding raises anything but
    MessageError.
    """
    order = TrainOrder(PLAN, 1, torch.ones(4), {"control": torch.ones(2)})
    update = Update("s", 1, torch.ones(4), 3, 0.5, 0.1)
    ones = Counts(np.ones((2, 2), dtype=np.int64), 1.0)
    evaluation = Evaluation("s", 1, ones, data.draw(st.sampled_from([None, deepcopy(ones)])))
    info = StoreInfo("s", {"boot": 3}, 1, 1)
    records, decode = data.draw(
        st.sampled_from(
            [(encode_order(order), lambda content: decode_order(content, Kept()))]
            + [(encode_result(result), decode_result) for result in (update, evaluation, info)]
        )
    )
    header = dict(records["header"])
    key = data.draw(st.sampled_from([*header, "unknown"]))
    if data.draw(st.booleans()):
        header[key] = data.draw(junk)
    else:
        header.pop(key, None)
    with contextlib.suppress(MessageError):
        decode(RecordDict({"header": ConfigRecord(header)}))


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"arrays": ArrayRecord()}),
        RecordDict(
            {"header": ConfigRecord({"format": 1, "kind": "train"}), "other": ConfigRecord()}
        ),
        RecordDict({"header": ConfigRecord({"format": 2, "kind": "query"})}),
        RecordDict(
            {
                "header": ConfigRecord({"format": 1, "kind": "train"}),
                "arrays": ArrayRecord([np.ones(3)]),
            }
        ),
    ],
)
def test_messages_of_others_are_refused(records: RecordDict) -> None:
    for decode in (lambda content: decode_order(content, Kept()), decode_result):
        with pytest.raises(MessageError):
            decode(records)


@pytest.mark.parametrize(
    "change",
    [
        {"std": [0.2, 0.0, 0.2]},
        {"channels": 4},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"image_size": 10**6},
        {"x": 1},
    ],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    records = encode_order(TrainOrder(PLAN, 1, torch.ones(4)))
    records["header"]["spec"] = json.dumps(json.loads(SPEC.to_json()) | change)  # type: ignore[index]
    with pytest.raises(MessageError, match="spec"):
        decode_order(records, Kept())
