"""With an epsilon, photos enter what leaves a store through noise alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.private_disclosure import JUDGEMENTS, PrivateDisclosure
from fedshelf.client.privacy.charges import Budget
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.protocol.failures import FailureCode, make_failure
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, Plan, StoreInfo, Update

CLASSES = ("boot", "hat", "shirt")
INFO = StoreInfo("oslo", {"boot": 100, "hat": 50}, 15, 18)
CONFUSION = np.array([[60, 4, 1], [0, 30, 5], [0, 0, 0]])
RELIABILITY = Reliability.from_predictions(
    (1.0,),
    np.ones((1, 100), np.float32),
    np.ones((1, 100), np.float32),
    np.ones(100, bool),
    np.ones(100, np.float32),
)
COUNTS = Counts(CONFUSION, 55.5, reliability=RELIABILITY)


def policy(**keys: object) -> Policy:
    given = {"epsilon": 3.0, "epsilon_judging": 2.0, "counts": "noised", "classes": CLASSES}
    return Policy.model_validate(given | keys)


class Store:
    """A store's home with a ledger, and what its disclosure is made of."""

    def __init__(self, home: Path, **keys: object) -> None:
        self.home = home
        self.keys = keys
        self.ledger = Ledger(home, policy(**keys).privacy_limits)

    def disclosure(self, secret: bytes = bytes(32), **keys: object) -> PrivateDisclosure:
        return PrivateDisclosure(policy(**self.keys | keys), self.home, secret, self.ledger)

    def charged(self, budget: Budget) -> list[SampledGaussian]:
        return [each.mechanism for each in self.ledger.charges() if each.budget == budget]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def order(number: int = 1, value: float = 0.0) -> EvaluateOrder:
    config = resolve({"model.name": "cnn"})
    spec = ModelSpec("cnn", CLASSES, 32, 3, (0.5,) * 3, (0.5,) * 3)
    return EvaluateOrder(Plan("run", config, spec), number, torch.full((5,), value))


def test_counts_are_noised_once_and_stay_whatever_becomes_of_the_photos(store: Store) -> None:
    told = store.disclosure().info(INFO)
    assert told != INFO
    assert (set(told.counts), told.num_examples) == (set(CLASSES), 150)
    assert (told.validation, told.test) == (15, 18)
    assert store.disclosure().info(INFO) == told
    one_more = replace(INFO, counts={"boot": 101, "hat": 50})
    grown = store.disclosure().info(one_more)
    assert grown.num_examples == 151
    assert sum(abs(grown.counts[name] - told.counts[name]) for name in CLASSES) <= len(CLASSES)
    assert epsilon(store.charged("epsilon"), 1e-5) == pytest.approx(0.6, abs=1e-6)
    assert len(store.charged("epsilon")) == 1


def test_counts_whose_record_is_lost_are_the_same_for_the_same_photos_alone(store: Store) -> None:
    first = store.disclosure().info(INFO)
    (store.home / "noised-counts.json").unlink()
    assert store.disclosure().info(INFO) == first
    assert len(store.charged("epsilon")) == 1
    (store.home / "noised-counts.json").unlink()
    other = store.disclosure().info(replace(INFO, counts={"boot": 101, "hat": 50}))
    assert len(store.charged("epsilon")) == 2
    # with the same noise, all but the boots would be the same
    assert other.counts["hat"] != first.counts["hat"]


def test_classes_that_the_policy_gets_later_are_noised_and_charged_by_themselves(
    store: Store,
) -> None:
    told = store.disclosure(classes=CLASSES[:2]).info(INFO)
    more = store.disclosure().info(INFO)
    assert len(store.charged("epsilon")) == 2
    assert abs(more.counts["boot"] - told.counts["boot"]) < more.counts["shirt"] + 2


def test_a_damaged_record_of_counts_is_refused(store: Store) -> None:
    (store.home / "noised-counts.json").write_text('{"boot": 1.5}')
    with pytest.raises(ConfigError, match=r"noised-counts\.json is damaged"):
        store.disclosure().info(INFO)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"counts": "none"}, CLASSES),
        ({"metrics": "accuracy"}, CLASSES),
        ({"metrics": "accuracy", "class_names": False}, ()),
    ],
)
def test_counts_that_are_withheld_cost_nothing(
    store: Store, keys: dict[str, object], names: tuple[str, ...]
) -> None:
    told = store.disclosure(epsilon_judging=0.0, **keys).info(INFO)
    assert told == StoreInfo(
        "oslo", dict.fromkeys(names, 0), 0, 0, undisclosed_images=150, withholds_evaluations=True
    )
    assert not store.charged("epsilon")


def test_an_update_tells_neither_its_loss_nor_its_exact_time(store: Store) -> None:
    update = Update("oslo", 1, torch.ones(3), 150, 0.5, 11.25, {"own": torch.ones(1)}, steps=9)
    told = store.disclosure().update(update)
    assert told == replace(update, loss=None, seconds=20.0)


def test_an_evaluation_is_counts_with_noise_and_nothing_else(store: Store) -> None:
    told = store.disclosure().evaluation(Evaluation("oslo", 1, COUNTS, COUNTS), order())
    assert (told.adjusted, told.counts.loss_sum, told.counts.reliability) == (None, None, None)
    assert told.counts.num_examples == 100
    assert (told.counts.confusion >= 0).all()
    assert not np.array_equal(told.counts.confusion, CONFUSION)
    (mechanism,) = store.charged("epsilon_judging")
    assert epsilon([mechanism] * JUDGEMENTS, 1e-5) == pytest.approx(2.0, abs=1e-6)
    assert not store.charged("epsilon")


def test_without_counts_per_class_the_right_ones_alone_get_noise(tmp_path: Path) -> None:
    disclosure = Store(tmp_path, metrics="accuracy", epsilon_judging=30.0).disclosure()
    told = [
        disclosure.evaluation(Evaluation("oslo", 1, COUNTS), order(number)).counts
        for number in range(50)
    ]
    assert {counts.num_examples for counts in told} == {100}
    assert not any(counts.confusion.any() for counts in told)
    right = [counts.undisclosed_correct for counts in told]
    assert np.mean(right) == pytest.approx(90, abs=1)
    assert len(set(right)) > 5


def test_the_budget_is_for_so_many_evaluations_and_no_more(tmp_path: Path) -> None:
    disclosure = Store(tmp_path, metrics="accuracy").disclosure()
    evaluation = Evaluation("oslo", 1, COUNTS)
    for number in range(JUDGEMENTS):
        disclosure.evaluation(evaluation, order(number))
    with pytest.raises(StoreError, match="epsilon_judging") as caught:
        disclosure.evaluation(evaluation, order(JUDGEMENTS))
    assert (caught.value.code, caught.value.detail) == ("policy", "epsilon-judging")
    disclosure.evaluation(evaluation, order(0))  # told before


def test_the_same_question_gets_the_same_answer_and_is_charged_once(store: Store) -> None:
    disclosure = store.disclosure()
    evaluation = Evaluation("oslo", 1, COUNTS)
    first, again = (disclosure.evaluation(evaluation, order()).counts.confusion for _ in "ab")
    np.testing.assert_array_equal(first, again)
    assert len(store.charged("epsilon_judging")) == 1


@pytest.mark.parametrize("change", ["photo", "model", "round", "split", "secret"])
def test_whatever_else_is_asked_gets_other_noise(store: Store, change: str) -> None:
    counts = Counts(np.array([[900, 0, 0], [0, 900, 0], [0, 0, 900]]), 1.0)
    asked = order()
    secret = bytes(32)
    before = store.disclosure().evaluation(Evaluation("oslo", 1, counts), asked)
    match change:
        case "photo":
            counts = replace(counts, confusion=counts.confusion + np.diag([1, 0, 0]))
        case "model":
            asked = order(value=1.0)
        case "round":
            asked = order(2)
        case "split":
            asked = replace(asked, split="test")
        case "secret":
            secret = bytes([1] * 32)
    after = store.disclosure(secret).evaluation(Evaluation("oslo", 1, counts), asked)
    moved = after.counts.confusion - before.counts.confusion
    assert (np.diag(moved)[1:] != 0).any()  # the photo is in the first cell
    assert len(store.charged("epsilon_judging")) == (1 if change == "secret" else 2)


@pytest.mark.parametrize(
    ("code", "detail", "told"),
    [
        ("policy", "epsilon", "policy"),
        ("refused", "", "refused"),
        ("invalid", "", "invalid"),
        ("data", "photos-unreachable", "withheld"),
        ("unknown-class", "", "withheld"),
        ("no-images", "", "withheld"),
        ("out-of-memory", "", "withheld"),
        ("disk-full", "", "withheld"),
        ("crashed", "", "withheld"),
        ("error", "IndexError", "withheld"),
    ],
)
def test_failures_that_photos_may_cause_look_the_same(
    store: Store, code: FailureCode, detail: str, told: str
) -> None:
    failure = store.disclosure().failure(make_failure("oslo", code, detail, 60))
    if told == "withheld":
        assert failure == make_failure("oslo", "withheld")
    else:
        assert failure == make_failure("oslo", code, detail, 60)


@pytest.mark.parametrize(
    ("keys", "seconds", "told"),
    [({}, 0.0, 0.0), ({}, 0.1, 10.0), ({}, 10.0, 10.0), ({}, 10.1, 20.0)],
)
def test_durations_are_rounded_up(keys: dict[str, object], seconds: float, told: float) -> None:
    assert policy(**keys).told_seconds(seconds) == told
    assert Policy().told_seconds(seconds) == seconds


@pytest.mark.parametrize(
    ("keys", "needed"),
    [({"classes": ()}, "epsilon needs classes"), ({"least_images_per_class": 2}, "needs least")],
)
def test_a_policy_under_which_single_photos_would_decide_is_refused(
    keys: dict[str, object], needed: str
) -> None:
    with pytest.raises(ValueError, match=needed):
        policy(**keys)


def test_of_scenes_the_number_of_faultless_photos_leaves_with_noise_and_nothing_else(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path, classes=("product",))
    config = resolve({"model.name": "locator", "train.objective": "boxes"})
    spec = ModelSpec("locator", ("product",), 32, 3, (0.5,) * 3, (0.5,) * 3)
    asked = EvaluateOrder(Plan("run", config, spec), 1, torch.zeros(5))
    counts = Counts(np.zeros((1, 1), np.int64), 9.0, 40, 60, metrics={"count": np.ones((3, 47))})
    told = store.disclosure().evaluation(Evaluation("oslo", 1, counts), asked).counts
    assert (told.num_examples, told.confusion.sum(), told.loss_sum) == (100, 0, None)
    assert told.metrics == {}
    assert told.undisclosed_correct != 40
    again = store.disclosure().evaluation(Evaluation("oslo", 1, counts), asked).counts
    assert again.undisclosed_correct == told.undisclosed_correct
    assert len(store.charged("epsilon_judging")) == 1
    described = store.disclosure().info(StoreInfo("oslo", {"product": 100}, 15, 18))
    assert (described.counts, store.charged("epsilon")) == ({"product": 100}, [])
