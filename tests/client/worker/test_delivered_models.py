"""Delivered models at a store: whole or not at all, in their folder and nowhere else, few and of
bounded size.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.enforcement import PolicyEnforcer
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.delivered_models import DeliveredModels
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.errors import MessageError
from fedshelf.common.names import is_run_name, run_name
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS
from fedshelf.common.protocol.model_delivery import DeliverOrder, ModelReceipt
from fedshelf.common.protocol.records import pack
from fedshelf.common.protocol.serialization import (
    MESSAGE_FORMAT,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
)
from tests.helpers.delivered_models import SPEC, order_of

ROOM = 3.5e6  # bytes, enough for three models, which count for a megabyte each
NOTHING = FrozenCache(Path("unused"))


def offer(order: DeliverOrder) -> DeliverOrder:
    return replace(order, content=None)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    home = tmp_path / "state" / "stores" / "oslo"
    home.mkdir(parents=True)
    return home / "models"


@pytest.fixture
def models(place: Path, said: list[str]) -> DeliveredModels:
    return DeliveredModels("oslo", place, ROOM, lambda _: None, said.append)


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def test_a_model_is_asked_for_once_and_kept_as_it_was_sent(
    models: DeliveredModels, place: Path, said: list[str]
) -> None:
    order = order_of()
    assert not models.receive(offer(order)).is_kept
    assert not place.exists()
    assert models.receive(order) == ModelReceipt("oslo", order.run_id, order.sha256, is_kept=True)
    assert files(place) == {"shops/model.safetensors", "shops/model.json"}
    assert (place / "shops" / "model.safetensors").read_bytes() == order.content
    assert (place / "shops" / "model.json").read_bytes() == order.description
    assert {path.stat().st_mode & 0o077 for path in [place, *place.rglob("*")]} == {0}
    assert said[0] == f"The model of run shops has arrived: {place / 'shops' / 'model.safetensors'}"
    assert models.receive(offer(order)).is_kept
    (place / "shops" / "model.safetensors").write_bytes(
        order.content[:-1] if order.content else b""
    )
    assert not models.receive(offer(order)).is_kept  # damaged since, so it is wanted again


def test_another_model_of_the_run_replaces_it_and_one_of_another_run_does_not(
    models: DeliveredModels, place: Path
) -> None:
    models.receive(order_of(value=1.0))
    later = order_of(value=2.0)
    other = order_of(run_id="b" * 32, value=3.0)
    models.receive(later)
    models.receive(other)
    assert (place / "shops" / "model.safetensors").read_bytes() == later.content
    assert (place / "shops-bbbbbbbb" / "model.safetensors").read_bytes() == other.content
    assert models.receive(offer(later)).is_kept
    assert models.receive(offer(other)).is_kept
    # nor one whose identity begins alike
    models.receive(replace(order_of(run_id="b" * 8 + "c" * 24), run="shops"))
    assert (place / "shops-bbbbbbbb" / "model.safetensors").read_bytes() == other.content
    assert len(list(place.iterdir())) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda order: replace(order, content=b"x" * order.size),
            "is not the one that its SHA-256 names",
        ),
        (
            lambda order: replace(order, size=order.size + 1),
            "is not the one that its SHA-256 names",
        ),
        (lambda _: order_of(classes=["boot", "shirt"]), "do not fit together"),
        (lambda _: order_of(sha256="0" * 64), "do not fit together"),
        (lambda order: replace(order, network="resnet18"), "do not fit together"),
        (lambda order: replace(order, run_id="c" * 32), "do not fit together"),
        (lambda order: replace(order, description=b"[]"), "do not fit together"),
        (
            lambda order: replace(order, description=order.description.replace(b": 1", b": 2")),
            "do not fit together",
        ),
        (lambda order: replace(order, description=b"[" * 100_000), "do not fit together"),
    ],
)
def test_what_is_not_the_model_that_it_is_said_to_be_is_refused_and_the_one_before_stays(
    models: DeliveredModels, place: Path, change: Callable[[DeliverOrder], DeliverOrder], words: str
) -> None:
    before = order_of(value=7.0)
    models.receive(before)
    with pytest.raises(MessageError, match=words) as caught:
        models.receive(change(order_of()))
    assert failure_of("oslo", caught.value).code == "invalid"
    assert files(place) == {"shops/model.safetensors", "shops/model.json"}
    assert (place / "shops" / "model.safetensors").read_bytes() == before.content


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"temperature": NaN}'])
def test_a_file_that_is_not_described_as_its_order_is_refused(
    models: DeliveredModels, place: Path, text: str
) -> None:
    content = save({"head": torch.ones(3)}, metadata={"spec": SPEC.to_json(), "description": text})
    sha256 = hashlib.sha256(content).hexdigest()
    told = json.loads(order_of().description) | {"sha256": sha256}
    order = replace(
        order_of(),
        content=content,
        size=len(content),
        sha256=sha256,
        description=json.dumps(told).encode(),
    )
    with pytest.raises(MessageError, match="do not fit together"):
        models.receive(order)
    assert files(place) == set()


def test_models_of_other_runs_drive_none_out_and_find_no_room_in_the_end(
    models: DeliveredModels, place: Path
) -> None:
    mine = order_of(run="mine", value=1.0)
    models.receive(mine)
    for number in (1, 2):
        models.receive(order_of(run=f"run {number}", run_id=f"{number}" * 32))
    for order in (
        order_of(run="one more", run_id="3" * 32),
        offer(order_of(run="one more", run_id="3" * 32)),
    ):
        with pytest.raises(
            StoreError, match=r"take 3.0 of 3.5 MB: remove some .* \(megabytes_of_models in"
        ) as caught:
            models.receive(order)
    told = failure_of("oslo", caught.value)
    assert (told.code, told.detail, told.retry_after) == (
        "policy",
        "megabytes-of-models",
        MAX_RETRY_AFTER_SECONDS,
    )
    assert {path.name for path in place.iterdir()} == {"mine", "run 1", "run 2"}
    assert models.receive(offer(mine)).is_kept
    later = order_of(run="mine", value=2.0)
    assert models.receive(later).is_kept  # it takes the place of its own run's
    assert (place / "mine" / "model.safetensors").read_bytes() == later.content
    shutil.rmtree(place / "run 1")  # as a person does
    assert models.receive(order_of(run="one more", run_id="3" * 32)).is_kept


def test_without_a_limit_there_is_room_for_many_models_but_none_that_is_too_large(
    place: Path,
) -> None:
    models = DeliveredModels("oslo", place, 0.0, lambda _: None, lambda _: None)
    for number in range(6):
        assert models.receive(order_of(run=f"run {number}", run_id=f"{number}" * 32)).is_kept
    with pytest.raises(StoreError, match="at most 1,073,741,824 are taken") as too_large:
        models.receive(replace(offer(order_of()), size=2**30 + 1))
    assert failure_of("oslo", too_large.value).detail == "model-too-large"


def test_a_damaged_state_of_the_store_does_not_keep_the_chains_model_away(
    models: DeliveredModels, place: Path, said: list[str]
) -> None:
    order = order_of(provenance={"run_id": "a" * 32, "round": 1, "personal": ["head"]})
    state = place.parent / "states" / order.run_id / "oslo" / "round-000001.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"damaged")
    assert models.receive(order).is_kept
    assert "The state that oslo kept of round 1 cannot be read" in said[-1]


def test_what_a_killed_process_left_behind_is_mended(models: DeliveredModels, place: Path) -> None:
    """It dies between taking the old model's name away and giving it to the new one."""
    order = order_of()
    models.receive(order)
    (place / "shops").rename(place / ".old-shops")
    (place / ".new-half").mkdir()
    (place / ".new-half" / "model.safetensors").write_bytes(b"half")
    assert models.receive(offer(order)).is_kept
    assert {path.name for path in place.iterdir()} == {"shops"}


@pytest.mark.parametrize(
    "name", ["../shops", "..", ".", ".new-x", "a/b", "a\\b", "", " a", "a ", "a.", "a\0b", "x" * 64]
)
def test_a_server_cannot_choose_another_folder(name: str) -> None:
    assert not is_run_name(name)
    assert is_run_name(run_name(name))
    order = replace(order_of(), run=name)
    with pytest.raises(MessageError, match="Field 'run' is not the name of a run"):
        decode_order(encode_order(order), NOTHING)


@pytest.mark.parametrize("given", [order_of(), offer(order_of())])
def test_orders_and_receipts_travel_as_they_are(given: DeliverOrder) -> None:
    assert decode_order(encode_order(given), NOTHING) == given
    for is_kept in (True, False):
        receipt = ModelReceipt("oslo", given.run_id, given.sha256, is_kept)
        assert decode_result(encode_result(receipt)) == receipt


def test_a_hash_that_is_none_is_refused() -> None:
    with pytest.raises(MessageError, match="Field 'sha256' cannot be used"):
        decode_order(encode_order(replace(order_of(), sha256="A" * 64)), NOTHING)
    header = {
        "format": MESSAGE_FORMAT,
        "kind": "receipt",
        "store": "oslo",
        "run_id": "a",
        "sha256": "0" * 64,
    }
    with pytest.raises(MessageError, match="Field 'state' got 'maybe'"):
        decode_result(pack({**header, "state": "maybe"}, {}))


@pytest.mark.parametrize(
    ("policy", "spent", "rule"),
    [
        ({"model_delivery": False}, Spent(), "model-delivery"),
        ({"models": ("resnet18",)}, Spent(), "models"),
        ({"megabytes_down_per_day": 1.0}, Spent(down=1_000_000), "megabytes-down-per-day"),
        ({"megabytes_down_per_day": 1.0}, Spent(down=999_999), ""),
        ({"hours": ("22:00-22:01",), "models": ("niid-cnn",)}, Spent(), ""),
    ],
)
def test_the_policy_decides_on_the_offer(
    tmp_path: Path, place: Path, policy: dict[str, Any], spent: Spent, rule: str
) -> None:
    usage = Usage(tmp_path / "usage.json")
    usage.add(spent)
    models = DeliveredModels(
        "oslo",
        place,
        ROOM,
        PolicyEnforcer(Policy.model_validate(policy), usage).check_model_allowed,
        lambda _: None,
    )
    if not rule:
        assert not models.receive(offer(order_of())).is_kept
        return
    with pytest.raises(StoreError) as caught:
        models.receive(offer(order_of()))
    assert (failure_of("oslo", caught.value).code, failure_of("oslo", caught.value).detail) == (
        "policy",
        rule,
    )
    assert not place.exists()
