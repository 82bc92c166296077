"""Budgets of bytes: told in advance, counted piece by piece."""

from datetime import datetime
from pathlib import Path

import pytest
import torch
from flwr.app import RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.traffic_budget import TrafficBudget
from fedshelf.common.config import resolve
from fedshelf.common.protocol.messages import Plan, TrainOrder
from fedshelf.common.protocol.probe import announce_size, announced_bytes, make_probe
from fedshelf.common.protocol.serialization import Notice, Query, encode_order
from tests.helpers.by_hand import plan_of

NOON = datetime(2026, 11, 20, 12).timestamp()
HALF_A_DAY = 12 * 3600


def size_on_the_wire(content: RecordDict) -> int:
    return sum(len(piece.deflate()) for piece in get_all_nested_objects(content).values())


def train(floats: int) -> RecordDict:
    plan = plan_of()
    return encode_order(
        TrainOrder(
            Plan("run", plan.config, plan.spec), 3, torch.rand(floats), {"x": torch.zeros(9)}
        )
    )


@pytest.mark.parametrize("floats", [0, 1, 1_048_000, 1_049_000, 2_700_000])
def test_an_order_is_announced_with_what_it_weighs_at_most(floats: int) -> None:
    told = announced_bytes(announce_size(content := train(floats)))
    needed = size_on_the_wire(content)
    assert needed <= told <= 1.01 * needed + 10_000


@given(st.text(max_size=200))
def test_so_is_all_that_is_small(text: str) -> None:
    config = resolve({"data.classes": ["ü" * 60 + str(number) for number in range(100)]})
    for content in (
        encode_order(Notice(text)),
        encode_order(Query("run", config)),
        make_probe("a" * 64),
    ):
        assert size_on_the_wire(content) <= announced_bytes(announce_size(content)) <= 30_000


@pytest.mark.parametrize(
    "told", ["", "bytes=", "bytes=-1", "bytes=1e9", "bytes=" + "9" * 5000, "12", "bytes=٣x"]
)
def test_what_is_no_announcement_announces_nothing(told: str) -> None:
    assert announced_bytes(told) == 0


def test_nothing_goes_over_a_budget(tmp_path: Path) -> None:
    usage = Usage(tmp_path / "usage.json", lambda: NOON)
    traffic = TrafficBudget(
        Policy(megabytes_down_per_day=3, megabytes_up_per_day=0.5), usage, lambda: NOON
    )
    traffic.check("down", 3_000_000)
    with pytest.raises(StoreError, match=r"0\.000 of 3 MB are used, and it needs up to 3\.000"):
        traffic.check("down", 3_000_001)
    for _ in range(3):
        traffic.count_received(900_000)
    with pytest.raises(StoreError) as refused:
        traffic.count_received(300_001)
    assert (refused.value.code, refused.value.detail) == ("policy", "megabytes-down-per-day")
    assert HALF_A_DAY <= refused.value.retry_after <= HALF_A_DAY + 3600 + 1
    # the rest is written down with the message's end, or the next MiB
    assert usage.today() == Spent(down=1_800_000)
    traffic.save()
    assert usage.today() == Spent(down=2_700_000)
    traffic.count_sent(400_000)
    with pytest.raises(StoreError, match="megabytes_up_per_day"):
        traffic.check("up", 100_001)
    assert Usage(tmp_path / "usage.json", lambda: NOON).today() == Spent(down=2_700_000, up=400_000)


def test_without_a_budget_everything_is_counted_and_nothing_refused(tmp_path: Path) -> None:
    usage = Usage(tmp_path / "usage.json")
    traffic = TrafficBudget(Policy(), usage)
    traffic.check("up", 10**12)
    traffic.count_received(10**12)
    assert usage.today() == Spent(down=10**12)
