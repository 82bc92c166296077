"""What the summary tells, by hand."""

import numpy as np
import pytest

from common.metrics import Counts
from common.orders import StoreInfo
from server.checkpoints import State
from server.rounds import Scores
from server.training_run import expected_by_mix, per_store
from tests.server.by_hand import vector


def test_expected_accuracy_follows_a_stores_mix() -> None:
    # recall: 8 of 10 boots, 5 of 10 hats. A store with 30 boots and 10 hats: (30 * 0.8 + 10 * 0.5) / 40
    test = Counts(np.array([[8, 2], [5, 5]]), 1.0)
    stores = {"b": StoreInfo("b", {"boot": 30, "hat": 10}, 0, 0), "a": StoreInfo("a", {}, 0, 0)}
    expected = expected_by_mix(("boot", "hat"), test, stores)
    assert list(expected) == ["b"]
    assert expected["b"]["accuracy"] == pytest.approx(0.725)
    assert expected["b"]["images"] == 40


def test_a_store_like_the_test_set_is_expected_to_reach_its_accuracy() -> None:
    test = Counts(np.array([[8, 2], [5, 5]]), 1.0)
    info = StoreInfo("s", {"boot": 7, "hat": 7}, 0, 0)
    assert expected_by_mix(("boot", "hat"), test, {"s": info})["s"]["accuracy"] == pytest.approx(test.accuracy)


def test_a_store_is_told_by_what_it_measured_before_what_is_expected() -> None:
    test, info = Counts(np.array([[8, 2], [5, 5]]), 1.0), {"s": StoreInfo("s", {"boot": 1}, 9, 0)}
    measured = {"s": {"accuracy": 0.5, "images": 9}}
    evaluated = State(1, vector(0.0), {}, record={"round": 1, "validation": {"stores": measured}})
    silent = State(1, vector(0.0), {}, record={"round": 1, "validation": None})
    classes = ("boot", "hat")
    own = per_store(classes, Scores(test, {"s": test}), evaluated, info)
    assert (own["per_store_from"], own["per_store"]["s"]["accuracy"]) == ("test", 0.65)
    assert per_store(classes, Scores(test, {}), evaluated, info) == {
        "per_store_from": "validation",
        "per_store": measured,
    }
    expected = per_store(classes, Scores(test, {}), silent, info)
    assert (expected["per_store_from"], expected["per_store"]["s"]["accuracy"]) == ("class mix", 0.8)
