"""Whatever a server sends: a store with an epsilon refuses, or photos enter its answer by noise.

Two stores have as many photos, and not one in common. All that they answer is the same, but for
the fields that docs/explanation/privacy.md calls noised.
"""

from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.private_disclosure import INDEPENDENT_FAILURES, PrivateDisclosure
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.client.privacy.training_charge import training_charge
from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common import models, strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import FedshelfError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import EvaluateOrder, Failure, Plan, TrainOrder, Update
from fedshelf.common.protocol.serialization import Query, Result, decode_result, encode_order
from fedshelf.common.training.fit import Network
from tests.helpers.any_config import any_config, config_of, flat_schema, values_of
from tests.helpers.deployed import draw_photos
from tests.helpers.leaving_fields import treatments

CLASSES = ("boot", "hat")
CPU = torch.device("cpu")
PRIVATE = {
    "data.dataset": "stores",
    "data.image_size": 16,
    "model.name": "niid-cnn",
    "privacy.clip": 1.0,
    "privacy.noise": 2.0,
    "privacy.rate": 0.5,
    "privacy.steps": 2,
}
SPLITS = {"train": (6, 6), "validation": (2, 4), "test": (3, 1)}  # boots and hats


@dataclass
class Shop:
    """A store's photos and its worker; what it has told begins anew for each question."""

    source: FolderSource
    trainer: Trainer
    place: Path
    secret: bytes

    def ask(self, order: TrainOrder | EvaluateOrder | Query, policy: Policy) -> Result:
        self.place = self.place.with_name(f"{int(self.place.name) + 1}")
        self.place.mkdir()
        ledger = Ledger(self.place, policy.privacy_limits)
        worker = PolicyWorker(
            StoreWorker(
                "oslo",
                self.source,
                self.trainer,
                charge=lambda asked, identity: ledger.charge(training_charge(asked, identity)),
            ),
            PolicyEnforcer(policy, Usage(self.place / "usage.json"), ledger=ledger),
            PrivateDisclosure(policy, self.place, self.secret, ledger),
        )
        frozen = FrozenCache(self.place / "frozen")
        content = handle_order(worker, encode_order(order, attach_frozen=True), frozen)
        return decode_result(content, None if isinstance(order, Query) else order)


def shop(place: Path, seed: int, *, swapped: bool = False, secret: bytes = bytes(32)) -> Shop:
    for number, (split, counts) in enumerate(SPLITS.items()):
        for name, count in zip(CLASSES, reversed(counts) if swapped else counts, strict=True):
            draw_photos(place / "photos" / split, [name], count, seed + number)
    if swapped:  # photos that must not count
        draw_photos(place / "photos" / "train", ["sock"], 3, seed)
        (place / "photos" / "train" / "hat" / "broken.png").write_bytes(b"no photo")
    policy = Policy(epsilon=1.0, counts="none", classes=CLASSES)
    (place / "asked").mkdir()
    (place / "asked" / "0").mkdir()
    return Shop(
        FolderSource("oslo", place / "photos", policy),
        Trainer(CPU, StateStore(place / "states"), secret),
        place / "asked" / "0",
        secret,
    )


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Shop]:
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    return shop(one, 1), shop(other, 100, swapped=True)


@lru_cache(maxsize=64)
def network(spec: ModelSpec) -> Network:
    return Network(spec, CPU, seed=1)


def orders(config: RunConfig, number: int) -> list[TrainOrder | EvaluateOrder | Query]:
    """An order of each kind in such a run, as an honest server would make it."""
    spec = models.specify(config.model, CLASSES, image_size=16, native_size=None, channels=3)
    net = network(spec)
    params = net.vector.detach().clone()
    strategy = strategies.build(config.strategy, net.layout)
    state = strategy.init_server_state(params, net.layout.trainable)
    plan = Plan(f"run-{number}", config, spec, net.frozen())
    return [
        Query(plan.run_id, config),
        TrainOrder(plan, 1, params, strategy.extras(state)),
        EvaluateOrder(plan, 1, params, "validation", (1.0,)),
        EvaluateOrder(plan, 1, params, "test"),
    ]


def differing(one: Any, other: Any) -> set[tuple[str, str]]:
    """The fields in which two answers of one kind differ, by class and name."""
    assert type(one) is type(other)
    found = set()
    for field in fields(one):
        left, right = (getattr(each, field.name) for each in (one, other))
        if is_dataclass(left) and is_dataclass(right):
            found |= differing(left, right)
        elif not _same(left, right):
            found.add((type(one).__name__, field.name))
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool((one == other).all() if hasattr(one, "shape") else one == other)


def check(one: Result, other: Result) -> None:
    table = treatments()
    if isinstance(one, Failure):
        assert one == other
        assert one.code in INDEPENDENT_FAILURES | {"withheld"}
        return
    allowed = {key for key, treatment in table.items() if treatment in ("noised", "rounded")}
    assert differing(one, other) <= allowed
    for answer in (one, other):
        for each in (answer, getattr(answer, "counts", None)):
            for field in fields(each) if is_dataclass(each) else ():
                value = getattr(each, field.name)
                match table[type(each).__name__, field.name]:
                    case "withheld":
                        assert value in (None, {})
                    case "rounded":
                        assert value % 10 == 0


policies = st.builds(
    Policy,
    epsilon=st.just(1e6),
    epsilon_judging=st.sampled_from([0.0, 1.0]),
    counts=st.sampled_from(["noised", "none"]),
    metrics=st.sampled_from(["confusion", "accuracy"]),
    classes=st.just(CLASSES),
)
questions = st.tuples(any_config(PRIVATE, CLASSES), policies, st.integers(1, 2**30))


def ask_both(
    shops: tuple[Shop, Shop], config: RunConfig, policy: Policy, number: int
) -> list[Result]:
    try:
        asked = orders(config, number)
    except (FedshelfError, ValueError):
        reject()  # no server can make such orders
    answers = []
    for order in asked:
        one, other = (each.ask(order, policy) for each in shops)
        check(one, other)
        answers.append(one)
    return answers


# the same examples each time: a test that lands must not depend on luck
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(questions)
def test_two_stores_differ_in_noised_fields_alone(
    shops: tuple[Shop, Shop], question: tuple[RunConfig, Policy, int]
) -> None:
    ask_both(shops, *question)


@pytest.mark.slow
@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(questions)
def test_two_stores_differ_in_noised_fields_alone_in_many_runs(
    shops: tuple[Shop, Shop], question: tuple[RunConfig, Policy, int]
) -> None:
    ask_both(shops, *question)


def test_a_private_run_is_answered_in_all_its_orders(shops: tuple[Shop, Shop]) -> None:
    policy = Policy(epsilon=1e6, epsilon_judging=1.0, counts="noised", classes=CLASSES)
    kinds = [
        type(answer).__name__ for answer in ask_both(shops, config_of(PRIVATE), policy, number=1)
    ]
    assert kinds == ["StoreInfo", "Update", "Evaluation", "Evaluation"]


def test_the_noise_of_an_update_is_the_stores_own(tmp_path: Path) -> None:
    policy = Policy(epsilon=1e6, counts="none", classes=CLASSES)
    order = orders(config_of(PRIVATE), 1)[1]
    updates = []
    for name, secret in (("a", bytes(32)), ("b", bytes(32)), ("c", bytes([1] * 32))):
        (tmp_path / name).mkdir()
        updates.append(shop(tmp_path / name, 1, secret=secret).ask(order, policy))
    one, same, other = updates
    assert isinstance(one, Update)
    assert isinstance(same, Update)
    assert isinstance(other, Update)
    assert torch.equal(one.params, same.params)
    assert (one.params != other.params).float().mean() > 0.9


def test_every_setting_has_values_to_choose_from() -> None:
    fixed = {
        key for key, field in flat_schema().items() if len(values_of(key, field, CLASSES)) == 1
    }
    assert fixed == {
        "data.partition",
        "evaluation.test_data",
        "model.weights",
        "model.resume_from",
        "run.name",
        "run.out",
        "run.engine",
        "run.ray_address",
        "run.device",
    }
