"""The policy decides what may happen, and what may leave the store."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.disclosure import OpenDisclosure
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS, make_failure
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Plan,
    StoreInfo,
    SumPart,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.serialization import decode_result, encode_order
from tests.helpers.grid_stores import Doubler

NOON = datetime(2026, 11, 20, 12).timestamp()
CLASSES = ("boot", "hat", "shirt")


def order(
    kind: type[TrainOrder] | type[EvaluateOrder] = TrainOrder, **settings: object
) -> TrainOrder | EvaluateOrder:
    config = resolve({key.replace("__", "."): value for key, value in settings.items()})
    spec = ModelSpec(config.model.name, CLASSES, 32, 3, (0.5,) * 3, (0.5,) * 3)
    return kind(Plan("run", config, spec), 1, torch.zeros(5))


def judgement() -> TrainOrder | EvaluateOrder:
    return order(EvaluateOrder)


@pytest.fixture
def guard(tmp_path: Path) -> Callable[..., PolicyEnforcer]:
    """Makes guards of one store at noon of a Friday."""

    def make(spent: Spent | None = None, **policy: object) -> PolicyEnforcer:
        usage = Usage(tmp_path / "usage.json", lambda: NOON)
        usage.add(spent or Spent())
        return PolicyEnforcer(Policy.model_validate(policy), usage, lambda: NOON)

    return make


def refusal(
    guard: PolicyEnforcer, order: TrainOrder | EvaluateOrder | RunConfig
) -> tuple[str, int]:
    """The rule that refuses an order, and seconds until it may not."""
    with pytest.raises(StoreError) as caught:
        guard.check_allowed(order)
    told = failure_of("oslo", caught.value)
    assert told.code == "policy"
    assert told.reason == f"its policy does not allow it ({told.detail})"
    return told.detail, told.retry_after


def test_by_default_all_is_admitted(guard: Callable[..., PolicyEnforcer]) -> None:
    for each in (order(), judgement(), resolve()):
        guard(Spent(10**6, 10**6, 1e9, 10**15, 10**15)).check_allowed(each)


# two passes over the photos, on average
PRIVATE = {
    "privacy__clip": 1.0,
    "privacy__noise": 1.0,
    "privacy__rate": 0.1,
    "privacy__steps": 20,
}


@pytest.mark.parametrize(
    ("policy", "asked", "rule"),
    [
        ({"models": ("cnn", "resnet18")}, {"model__name": "niid-cnn"}, "models"),
        ({"strategies": ("fedavg",)}, {"strategy__name": "fedprox"}, "strategies"),
        ({"epochs_per_round": 5}, {"train__epochs": 6}, "epochs-per-round"),
        ({"epochs_per_round": 5}, PRIVATE | {"privacy__copies": 3}, "epochs-per-round"),
        ({"epsilon": 8.0, "counts": "none", "classes": CLASSES}, {}, "epsilon"),
        ({"secure_sum": True}, {}, "secure-sum"),
        ({"images_least": 33}, {"train__seconds": 1.0, "train__batch_size": 32}, "images-least"),
        ({"metrics": "accuracy"}, {"strategy__name": "ridge"}, "metrics"),
        ({"classes": ("boot", "hat")}, {"data__classes": list(CLASSES)}, "classes"),
        ({"classes": (*CLASSES, "sock")}, {"data__classes": list(CLASSES)}, "classes"),
    ],
)
def test_what_no_waiting_changes_is_refused_when_joining_too(
    guard: Callable[..., PolicyEnforcer],
    policy: dict[str, object],
    asked: dict[str, object],
    rule: str,
) -> None:
    for each in (order(**asked), order(EvaluateOrder, **asked), order(**asked).plan.config):
        assert refusal(guard(**policy), each) == (rule, MAX_RETRY_AFTER_SECONDS)


def test_a_run_with_a_secure_sum_gets_no_update_in_clear(
    guard: Callable[..., PolicyEnforcer],
) -> None:
    """Whatever the policy says: the run's settings promise it to the stores."""
    asked = order(privacy__secure_sum=True)
    assert isinstance(asked, TrainOrder)
    for policy in ({}, {"secure_sum": True}):
        assert refusal(guard(**policy), asked) == ("secure-sum", MAX_RETRY_AFTER_SECONDS)
        guard(**policy).check_allowed(replace(asked, secure_sum=SumPart(0, b"")))
        guard(**policy).check_allowed(asked.plan.config)


def test_what_the_policy_names_is_admitted(guard: Callable[..., PolicyEnforcer]) -> None:
    allowed = guard(
        models=("cnn",),
        strategies=("fedavg",),
        epochs_per_round=5,
        classes=("shirt", "hat", "boot"),
    )
    for each in (order(train__epochs=5), judgement(), resolve()):
        allowed.check_allowed(each)


def test_the_network_that_is_built_counts_not_what_the_configuration_calls_it(
    guard: Callable[..., PolicyEnforcer],
) -> None:
    config = resolve({"model.name": "cnn"})
    spec = ModelSpec("resnet18", CLASSES, 32, 3, (0.5,) * 3, (0.5,) * 3)
    assert (
        refusal(guard(models=("cnn",)), TrainOrder(Plan("run", config, spec), 1, torch.zeros(5)))[0]
        == "models"
    )


@pytest.mark.parametrize("make", [order, judgement])
def test_outside_of_its_hours_a_store_rests_until_they_begin(
    guard: Callable[..., PolicyEnforcer], make: Callable[[], TrainOrder | EvaluateOrder]
) -> None:
    assert refusal(guard(hours=("22:00-06:00",)), make()) == ("hours", 10 * 3600)
    assert refusal(guard(hours=("fri 10:00-12:00",)), make()) == ("hours", 7 * 86_400 - 2 * 3600)
    guard(hours=("22:00-06:00", "11:00-13:00")).check_allowed(make())
    guard(hours=("22:00-06:00",)).check_allowed(resolve())


@pytest.mark.parametrize(
    ("policy", "enough", "too_much", "rule"),
    [
        ({"rounds_per_day": 3}, Spent(trainings=2), Spent(trainings=1), "rounds-per-day"),
        ({"gpu_minutes_per_day": 2}, Spent(seconds=119), Spent(seconds=1), "gpu-minutes-per-day"),
        (
            {"megabytes_down_per_day": 0.5},
            Spent(down=499_999),
            Spent(down=1),
            "megabytes-down-per-day",
        ),
        ({"megabytes_up_per_day": 0.5}, Spent(up=499_999), Spent(up=1), "megabytes-up-per-day"),
    ],
)
def test_a_budget_is_for_a_day(
    guard: Callable[..., PolicyEnforcer],
    policy: dict[str, object],
    enough: Spent,
    too_much: Spent,
    rule: str,
) -> None:
    guard(enough, **policy).check_allowed(order())
    assert refusal(guard(too_much, **policy), order()) == (rule, 12 * 3600)


def test_judgements_are_counted_apart(guard: Callable[..., PolicyEnforcer]) -> None:
    guard(Spent(trainings=1, judgements=2), rounds_per_day=1).check_allowed(judgement())
    assert refusal(guard(Spent(judgements=1), rounds_per_day=1), judgement()) == (
        "rounds-per-day",
        12 * 3600,
    )


class Counting:
    """A worker that counts how often it worked."""

    name = "oslo"

    def __init__(self) -> None:
        self.worked = 0

    def info(self, config: RunConfig) -> StoreInfo:
        return StoreInfo(self.name, {"boot": 12, "hat": 2}, 3, 4)

    def train(self, order: TrainOrder) -> Update:
        self.worked += 1
        if order.round == 2:
            raise StoreError("no-images", "none")
        return Update(self.name, order.round, order.params, 14, 0.5, 1.0)

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        return Evaluation(self.name, order.round, Counts(np.array([[2, 1], [0, 0]]), 1.5))


def test_work_is_counted_also_when_it_fails_and_refused_work_is_not_done(tmp_path: Path) -> None:
    usage = Usage(tmp_path / "usage.json")
    counting = Counting()
    policy = Policy(rounds_per_day=2, metrics="accuracy")
    worker = PolicyWorker(counting, PolicyEnforcer(policy, usage), OpenDisclosure(policy))
    asked = order()
    assert isinstance(asked, TrainOrder)
    assert worker.train(asked).num_examples == 14
    with pytest.raises(StoreError, match="none"):
        worker.train(TrainOrder(asked.plan, 2, asked.params))
    with pytest.raises(StoreError, match="rounds_per_day"):
        worker.train(asked)
    told = worker.evaluate(EvaluateOrder(asked.plan, 1, asked.params))
    assert not told.counts.confusion.any()
    assert (told.counts.undisclosed_correct, told.counts.undisclosed_wrong) == (2, 1)
    assert worker.info(asked.plan.config).counts == {"boot": 0, "hat": 0}
    assert counting.worked == 2
    assert (usage.today().trainings, usage.today().judgements) == (2, 1)
    assert usage.today().seconds > 0


policies = st.builds(
    lambda metrics, names, least: Policy(
        metrics=metrics, class_names=names or metrics == "confusion", least_images_per_class=least
    ),
    st.sampled_from(["confusion", "accuracy"]), st.booleans(), st.integers(1, 6),
)  # fmt: skip
confusions = st.integers(2, 5).flatmap(
    lambda classes: st.lists(st.integers(0, 4), min_size=classes**2, max_size=classes**2).map(
        lambda cells: np.array(cells, dtype=np.int64).reshape(classes, classes)
    )
)


def masked(policy: Policy, confusion: np.ndarray, loss: float = 1.5) -> Counts:
    return disclosed(policy, Evaluation("oslo", 1, Counts(confusion, loss))).counts


def disclosed(policy: Policy, evaluation: Evaluation) -> Evaluation:
    asked = judgement()
    assert isinstance(asked, EvaluateOrder)
    return OpenDisclosure(policy).evaluation(evaluation, asked)


@given(policies, confusions)
def test_masking_keeps_what_is_summed_and_tells_no_small_class(
    policy: Policy, confusion: np.ndarray
) -> None:
    whole = Counts(confusion, 1.5)
    told = masked(policy, confusion)
    assert (told.num_examples, told.accuracy, told.loss_sum) == pytest.approx(
        (whole.num_examples, whole.accuracy, whole.loss_sum), nan_ok=True
    )
    images = told.confusion.sum(axis=1)
    assert ((images == 0) | (images >= policy.least_images_per_class)).all()
    if policy.metrics == "accuracy":
        assert not told.confusion.any()
    elif policy == Policy():
        np.testing.assert_array_equal(told.confusion, confusion)
    np.testing.assert_array_equal(confusion, whole.confusion)


def test_how_sure_the_model_was_leaves_with_counts_per_class_only() -> None:
    told = Reliability.from_predictions(
        (1.0,),
        np.ones((1, 4), np.float32),
        np.ones((1, 4), np.float32),
        np.ones(4, bool),
        np.ones(4, np.float32),
    )
    whole = Evaluation("oslo", 1, Counts(2 * np.eye(2, dtype=np.int64), 1.5, reliability=told))
    for metrics, expected in (("confusion", told), ("accuracy", None)):
        assert disclosed(Policy(metrics=metrics), whole).counts.reliability is expected


def test_sums_of_further_metrics_leave_with_counts_per_class_only() -> None:
    sums = {"top3": np.array([3]), "of_a_package": np.array([1])}
    whole = Evaluation("oslo", 1, Counts(2 * np.eye(2, dtype=np.int64), 1.5, metrics=sums))
    policies = {
        Policy(): {"top3"},
        Policy(further_metrics=("of_a_package",)): {"of_a_package"},
        Policy(metrics="accuracy", further_metrics=("top3",)): set(),
    }
    for policy, names in policies.items():
        assert disclosed(policy, whole).counts.metrics.keys() == names


@pytest.mark.parametrize(("class_names", "expected"), [(True, "weigh"), (False, "full")])
def test_a_store_that_names_no_classes_adds_no_shares_of_them_to_a_judgement(
    class_names: bool, expected: str
) -> None:
    asked = order(EvaluateOrder, strategy__absent_classes="weigh")
    policy = Policy(metrics="accuracy", class_names=class_names)
    told = PolicyEnforcer(policy, Usage(Path("not-used"))).without_class_masking(asked)
    assert told.plan.config.strategy.absent == expected


def test_adjusted_counts_are_masked_as_the_raw_ones() -> None:
    whole = Counts(np.array([[2, 1], [0, 3]]), 1.5)
    judged = Evaluation("oslo", 1, whole, replace(whole, loss_sum=0.5))
    told = disclosed(Policy(metrics="accuracy"), judged).adjusted
    assert told is not None
    assert not told.confusion.any()
    assert (told.undisclosed_correct, told.undisclosed_wrong, told.loss_sum) == (5, 1, 0.5)


@given(confusions, st.integers(1, 6))
def test_masked_counts_say_of_small_classes_their_sums_alone(
    confusion: np.ndarray, least: int
) -> None:
    """The true and the predicted class of images of small classes change nothing
    that leaves.
    """
    policy = Policy(least_images_per_class=least)
    told = masked(policy, confusion)
    small = confusion.sum(axis=1) < least
    hits = int(np.diag(confusion)[small].sum())
    others = int(confusion[small].sum()) - hits
    assert (told.undisclosed_correct, told.undisclosed_wrong) == (hits, others)
    np.testing.assert_array_equal(told.confusion[~small], confusion[~small])


@given(
    policies,
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 9), max_size=5),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_a_store_tells_of_itself_what_its_policy_allows(
    policy: Policy, counts: dict[str, int], validation: int, test: int
) -> None:
    info = StoreInfo("oslo", counts, validation, test)
    told = OpenDisclosure(policy).info(info)
    assert (told.name, told.num_examples, told.validation, told.test) == (
        "oslo",
        info.num_examples,
        validation,
        test,
    )
    assert all(
        count == 0 or count >= policy.least_images_per_class for count in told.counts.values()
    )
    assert set(told.counts) <= {
        name
        for name, count in counts.items()
        if count == 0 or count >= policy.least_images_per_class
    }
    assert policy.class_names or not told.counts
    assert policy.metrics == "confusion" or not any(told.counts.values())
    if policy == Policy():
        assert told == info


@settings(max_examples=60)  # each writes what was spent to a disk
@given(
    st.builds(
        lambda epsilon, classes, **keys: Policy(
            epsilon=epsilon, classes=classes or CLASSES if epsilon else classes, **keys
        ),
        models=st.sampled_from([(), ("cnn",), ("niid-cnn",)]),
        strategies=st.sampled_from([(), ("fedavg",)]),
        classes=st.sampled_from([(), CLASSES, ("boot",)]),
        epochs_per_round=st.integers(1, 3),
        hours=st.sampled_from([(), ("11:00-13:00",), ("22:00-06:00",)]),
        rounds_per_day=st.integers(0, 2),
        gpu_minutes_per_day=st.integers(0, 2).map(float),
        epsilon=st.sampled_from([0.0, 8.0]),
        counts=st.just("none"),
        megabytes_up_per_day=st.integers(0, 2).map(float),
        megabytes_down_per_day=st.integers(0, 2).map(float),
    ),
    st.builds(
        Spent,
        st.integers(0, 3),
        st.integers(0, 8),
        st.floats(0, 200),
        *[st.integers(0, 3 * 10**6)] * 2,
    ),
    st.sampled_from([TrainOrder, EvaluateOrder]),
    st.sampled_from(["cnn", "niid-cnn"]),
    st.sampled_from(["fedavg", "median"]),
    st.integers(1, 4),
)
def test_an_order_is_carried_out_exactly_if_every_key_allows_it(
    tmp_path_factory: pytest.TempPathFactory,
    policy: Policy,
    spent: Spent,
    kind: type[TrainOrder],
    model: str,
    strategy: str,
    epochs: int,
) -> None:
    asked = order(kind, model__name=model, strategy__name=strategy, train__epochs=epochs)
    usage = Usage(tmp_path_factory.mktemp("usage") / "usage.json", lambda: NOON)
    usage.add(spent)
    begun = spent.trainings if kind is TrainOrder else spent.judgements / 3
    forbidden = {
        "models": bool(policy.models) and model not in policy.models,
        "strategies": bool(policy.strategies) and strategy not in policy.strategies,
        "classes": bool(policy.classes) and policy.classes != CLASSES,
        "epochs-per-round": epochs > policy.epochs_per_round,
        "epsilon": policy.epsilon > 0,
        "hours": policy.hours == ("22:00-06:00",),
        "rounds-per-day": 0 < policy.rounds_per_day <= begun,
        "gpu-minutes-per-day": 0 < policy.gpu_minutes_per_day * 60 <= spent.seconds,
        "megabytes-down-per-day": 0 < policy.megabytes_down_per_day * 1e6 <= spent.down,
        "megabytes-up-per-day": 0 < policy.megabytes_up_per_day * 1e6 <= spent.up,
    }
    guard = PolicyEnforcer(policy, usage, lambda: NOON)
    if any(forbidden.values()):
        rule, rest = refusal(guard, asked)
        assert forbidden[rule]
        assert 0 < rest <= MAX_RETRY_AFTER_SECONDS
    else:
        guard.check_allowed(asked)


def test_an_update_of_too_few_images_does_not_leave(guard: Callable[..., PolicyEnforcer]) -> None:
    store = Doubler("oslo")  # it has 7 training images
    few, enough = (
        PolicyWorker(store, guard(images_least=least), OpenDisclosure(Policy())) for least in (8, 7)
    )
    with pytest.raises(StoreError, match="stand for 7 images; allowed: 8 or more") as caught:
        few.train(order())
    assert caught.value.detail == "images-least"
    with pytest.raises(StoreError, match="stand for 7 images"):
        few.info(resolve())
    assert enough.train(order()).num_examples == 7
    assert few.evaluate(judgement()).counts.num_examples == 2


def test_a_refusal_travels_as_a_code_a_key_and_a_time(tmp_path: Path) -> None:
    guard = PolicyEnforcer(
        Policy(hours=("22:00-06:00",)), Usage(tmp_path / "usage.json", lambda: NOON), lambda: NOON
    )
    worker = PolicyWorker(Counting(), guard, OpenDisclosure(Policy()))
    told = decode_result(
        handle_order(worker, encode_order(order()), FrozenCache(tmp_path / "frozen"))
    )
    assert told == make_failure("oslo", "policy", "hours", 10 * 3600)
