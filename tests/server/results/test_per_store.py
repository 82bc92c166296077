"""Figures of each store in history and summary, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.results import per_store
from fedshelf.server.results.per_store import (
    MAX_STORES_ONE_BY_ONE,
    METRIC_COLUMNS,
    expected_by_mix,
    fairness,
    macros,
    summarize_counts,
    to_history,
    to_summary,
)
from fedshelf.server.results.scores import Scores


def test_expected_accuracy_follows_a_stores_mix() -> None:
    # recall: 8 of 10 boots, 5 of 10 hats. A store with 30 boots and 10 hats: (30 * 0.8 + 10 * 0.5)
    # / 40
    test = Counts(np.array([[8, 2], [5, 5]]), 1.0)
    stores = {"b": StoreInfo("b", {"boot": 30, "hat": 10}, 0, 0), "a": StoreInfo("a", {}, 0, 0)}
    expected = expected_by_mix(("boot", "hat"), test, stores)
    assert list(expected) == ["b"]
    assert expected["b"]["accuracy"] == pytest.approx(0.725)
    assert expected["b"]["images"] == 40


def test_a_store_like_the_test_set_is_expected_to_reach_its_accuracy() -> None:
    test = Counts(np.array([[8, 2], [5, 5]]), 1.0)
    info = StoreInfo("s", {"boot": 7, "hat": 7}, 0, 0)
    assert expected_by_mix(("boot", "hat"), test, {"s": info})["s"]["accuracy"] == pytest.approx(
        test.accuracy
    )


def test_what_to_expect_of_a_stores_own_classes_by_hand() -> None:
    # 30 boots: 24 to be found, 6 taken for hats; 10 hats: 5 and 5. No shirts: taken for one counts
    # for nobody's recall.
    test = Counts(np.array([[8, 2, 0], [4, 4, 0], [0, 0, 0]]), 1.0)
    row = expected_by_mix(
        ("boot", "hat", "shirt"), test, {"s": StoreInfo("s", {"boot": 30, "hat": 10}, 0, 0)}
    )["s"]
    assert row["macro_recall"] == pytest.approx((0.8 + 0.5) / 2)
    assert row["macro_precision"] == pytest.approx((24 / 29 + 5 / 11) / 2)
    assert row["macro_f1"] == pytest.approx((48 / 59 + 10 / 21) / 2)


def test_nothing_is_expected_of_a_class_that_nobody_can_judge() -> None:
    # Of shirts the server has no image: of a store with 30 boots and 10 shirts, only the boots
    # count.
    test = Counts(np.array([[8, 1, 1], [4, 4, 0], [0, 0, 0]]), 1.0)
    stores = {
        "s": StoreInfo("s", {"boot": 30, "shirt": 10}, 0, 0),
        "t": StoreInfo("t", {"shirt": 5}, 0, 0),
    }
    rows = expected_by_mix(("boot", "hat", "shirt"), test, stores)
    f1 = pytest.approx(2 * 24 / (30 + 24))
    assert rows["s"] == {
        "accuracy": 0.8, "macro_precision": 1.0, "macro_recall": 0.8, "macro_f1": f1, "loss": None,
        "raw_accuracy": 0.8, "images": 30,
    }  # fmt: skip
    assert (rows["t"]["accuracy"], rows["t"]["macro_f1"], rows["t"]["images"]) == (None, None, 0)


def test_measured_means_are_over_the_classes_that_the_store_has() -> None:
    own = Counts(np.array([[8, 0, 2], [1, 2, 1], [0, 0, 0]]), 1.0)  # 10 boots, 4 hats, no shirts
    _, rows = per_store.results(
        ("boot", "hat", "shirt"), Scores(None, {"s": own}), Scores(None, {}), {}
    )
    assert rows is not None
    assert rows["s"]["macro_recall"] == pytest.approx((0.8 + 0.5) / 2)
    assert rows["s"]["macro_precision"] == pytest.approx((8 / 9 + 1) / 2)
    assert rows["s"]["macro_f1"] == pytest.approx((16 / 19 + 4 / 6) / 2)


def test_a_store_is_told_by_what_it_measured_before_what_is_expected() -> None:
    test = Counts(np.array([[8, 2], [5, 5]]), 1.0)
    half = Counts(np.array([[1, 1], [0, 0]]), 1.0)
    stores = {"s": StoreInfo("s", {"boot": 1}, 9, 0)}
    classes = ("boot", "hat")
    source, rows = per_store.results(
        classes, Scores(test, {"s": test}), Scores(None, {"s": half}), stores
    )
    assert (source, rows["s"]["accuracy"], rows["s"]["macro_recall"]) == ("test", 0.65, 0.65)
    source, rows = per_store.results(classes, Scores(test, {}), Scores(None, {"s": half}), stores)
    assert (source, rows["s"]) == (
        "validation",
        summarize_counts(half) | macros(half) | {"raw_accuracy": 0.5},
    )
    source, rows = per_store.results(classes, Scores(test, {}), Scores(None, {}), stores)
    assert (source, rows["s"]["accuracy"]) == ("class mix", 0.8)
    assert per_store.results(classes, Scores(None, {}), Scores(None, {}), stores) == (
        "class mix",
        None,
    )


def of_accuracy(right: int) -> Counts:
    return Counts(np.array([[right, 100 - right], [0, 0]]), 1.0)


def test_few_stores_are_told_one_by_one_and_many_by_their_spread() -> None:
    few = {f"s{number:03d}": of_accuracy(number % 101) for number in range(MAX_STORES_ONE_BY_ONE)}
    assert to_history(few)["stores"]["s007"]["accuracy"] == 0.07
    many = {f"s{number:05d}": of_accuracy(number % 101) for number in range(101 * 100)}
    assert to_history(many) == {
        "spread": {
            "stores": 10_100,
            "accuracy": {
                "worst": 0.0,
                "lower_quarter": 0.25,
                "median": 0.5,
                "upper_quarter": 0.75,
                "best": 1.0,
                "gap": 1.0,
                # of 0, 0.01, ... 1, uniformly
                "deviation": pytest.approx(math.sqrt((101**2 - 1) / 12) / 100),
            },
        }
    }


def test_fairness_names_the_ends_and_what_chance_makes_of_few_images() -> None:
    rows = {
        name: summarize_counts(of_accuracy(right))
        for name, right in (("b", 60), ("a", 90), ("c", 60))
    }
    rows["none"] = {"accuracy": None, "images": 0}
    told = fairness(rows, is_measured=True)
    assert (told["stores"], told["worst_store"], told["best_store"]) == (3, "b", "a")
    assert told["accuracy"]["gap"] == pytest.approx(0.3)
    assert told["accuracy"]["deviation"] == pytest.approx(math.sqrt(0.02))  # of 0.6, 0.6, 0.9
    # 100 images each, 70% right; of three stores, around their own mean
    assert told["accuracy"]["by_chance"] == pytest.approx(math.sqrt(2 / 3 * 0.7 * 0.3 / 100))
    assert "by_chance" not in fairness(rows, is_measured=False)["accuracy"]
    assert fairness({}, is_measured=True)["worst_store"] is None


@pytest.mark.parametrize("stores", [2, 3, 10])
def test_what_is_by_chance_is_what_chance_makes(stores: int) -> None:
    """The root of the mean variance over stores that differ by chance alone, of 40 and 20 images in
    turn.
    """
    draws = np.random.default_rng(0)
    images = np.resize([40, 20], stores)
    accuracies = draws.binomial(images, 0.7, (4000, stores)) / images
    found = math.sqrt(float(np.var(accuracies, axis=1).mean()))
    right = np.round(0.7 * images).astype(int)
    rows = {
        f"s{n}": {"accuracy": r / i, "images": int(i)}
        for n, (r, i) in enumerate(zip(right, images, strict=True))
    }
    assert fairness(rows, is_measured=True)["accuracy"]["by_chance"] == pytest.approx(
        found, rel=0.05
    )


def test_the_summary_of_few_stores_has_them_all(tmp_path: Path) -> None:
    rows = {
        f"s{number}": summarize_counts(of_accuracy(number))
        for number in range(MAX_STORES_ONE_BY_ONE)
    }
    told = fairness(rows, is_measured=True)
    assert to_summary("test", rows, tmp_path) == {
        "per_store_from": "test",
        "per_store": rows,
        "per_store_spread": told,
    }
    nothing = {"per_store_from": "class mix", "per_store": None, "per_store_spread": None}
    assert to_summary("class mix", None, tmp_path) == nothing
    assert not list(tmp_path.iterdir())


@given(draw.sets(draw.text(min_size=1), min_size=3, max_size=8), draw.integers(0, 100))
def test_the_table_of_many_stores_reads_back(tmp_path_factory, names: set[str], right: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    row = summarize_counts(of_accuracy(right)) | macros(of_accuracy(right)) | {"raw_accuracy": 0.25}
    rows = dict.fromkeys(names, row | {"top3": 0.875})  # a further metric, which others withhold
    rows |= {
        f"expected {n}": dict.fromkeys(METRIC_COLUMNS) | {"accuracy": 0.5, "images": 3}
        for n in range(MAX_STORES_ONE_BY_ONE)
    }
    rows["diverged"] = dict.fromkeys(METRIC_COLUMNS, 0.5) | {"loss": float("nan"), "images": 3}
    told = to_summary("validation", rows, folder)
    assert told["per_store"] is None
    assert told["per_store_spread"]["stores"] == len(rows)
    rows["diverged"]["loss"] = None
    found = per_store.read(folder / told["per_store_file"])
    assert list(found) == list(rows)
    for name, row in rows.items():
        for column, value in row.items():
            assert found[name][column] == (
                value if value is None else pytest.approx(value, rel=1e-5)
            )


def test_a_damaged_table_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("store,accuracy\ns1,0.5\n")
    with pytest.raises(
        ValueError,
        match="is damaged: expected lines of store, accuracy, macro_precision, macro_recall,",
    ):
        per_store.read(tmp_path / "t.csv")
