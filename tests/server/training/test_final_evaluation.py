"""The end of a run has figures that add up, whatever stores disclose."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as draw
from hypothesis.extra import numpy as arrays

from fedshelf.common.metrics.calibration import TEMPERATURES, Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.proportions import wilson_interval
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.final_evaluation import EVALUATION_FILE, FinalEvaluation
from tests.helpers.by_hand import plan_of

CLASSES = ("boot", "hat", "shirt")


def sure(
    counts: Counts, temperatures: tuple[float, ...], confidence: float, energy: float = 4.0
) -> Counts:
    """The counts of a model that is always that sure, at the same energy."""
    images = counts.num_examples
    is_right = np.arange(images) < round(counts.accuracy * images)
    values = np.full((len(temperatures), images), confidence, np.float32)
    return replace(
        counts,
        reliability=Reliability.from_predictions(
            temperatures, -np.log(values), values, is_right, np.full(images, energy, np.float32)
        ),
    )


def told(path: Path, verdict: FinalEvaluation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary's part, and the file."""
    directory = RunDirectory.open(path, plan_of().config)
    stores = {"a": StoreInfo("a", {"boot": 3, "hat": 1}, 2, 6)}
    directory.write("summary.json", verdict.to_summary(directory, stores))
    directory.close()
    return json.loads((path / "summary.json").read_text()), json.loads(
        (path / EVALUATION_FILE).read_text()
    )


OPEN = Counts(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), 3.0)
NOTHING = Scores(None, {})
# a store that tells accuracy and loss only
CLOSED = Counts(np.zeros((3, 3), dtype=np.int64), 4.0, undisclosed_correct=1, undisclosed_wrong=3)


def test_stores_add_up_to_the_model_and_those_that_tell_little_count_for_what_they_tell(
    tmp_path: Path,
) -> None:
    stores = {"a": sure(OPEN, (1.0, 2.0), 0.9), "b": CLOSED, "c": sure(OPEN, (1.0, 2.0), 0.9)}
    validation = Scores(None, {"a": sure(OPEN, TEMPERATURES, 0.9)})
    summary, file = told(tmp_path, FinalEvaluation(CLASSES, Scores(None, stores), validation, 2.0))
    test = summary["test"]
    assert (test["on"], test["images"], test["accuracy"]) == ("stores", 16, 11 / 16)
    assert test["confusion"] == [[6, 2, 0], [0, 4, 0], [0, 0, 0]]
    assert (
        np.sum([store["confusion"] for store in file["stores"].values()], axis=0).tolist()
        == test["confusion"]
    )
    assert test["interval"] == pytest.approx(wilson_interval(11 / 16, 16))
    # of those whose classes are told
    assert test["baseline"] == {"class": "boot", "accuracy": 8 / 12}
    assert file["together"]["confusion"] == test["confusion"]
    assert file["together"]["untold"] == {"right": 1, "wrong": 3}
    assert file["stores"]["b"]["accuracy"] == 0.25
    assert file["stores"]["b"]["sure"] is None
    assert file["stores"]["a"]["per_class"]["boot"] == {
        "precision": 1.0,
        "recall": 0.75,
        "f1": 6 / 7,
        "images": 4,
    }
    assert test["macro_recall"] == pytest.approx((0.75 + 1) / 2)
    # 12 of 16 images told how sure the model was of them: 0.9, and right on 10
    assert summary["calibration"]["images"] == 12
    assert summary["calibration"]["fitted_on"] == 6
    assert summary["calibration"]["unscaled"]["ece"] == pytest.approx(0.9 - 10 / 12)
    assert summary["calibration"]["temperature"] == 2.0
    assert sum(step["images"] for step in file["calibration"]["bins"]) == 12
    assert sum(step["right"] for step in file["calibration"]["bins_scaled"]) == 10
    assert summary["confused"][0]["ways"][0] == {
        "class": "boot", "taken_for": "hat", "images": 2, "of": 8, "share": 0.25,
    }  # fmt: skip
    assert (summary["per_store_from"], summary["per_store_spread"]["worst_store"]) == ("test", "b")
    assert summary["per_store"]["b"]["macro_recall"] is None


matrices = arrays.arrays(np.int64, (3, 3), elements=draw.integers(0, 9))


@settings(max_examples=25)  # each writes to a disk
@given(
    draw.lists(
        draw.tuples(matrices, draw.integers(0, 9), draw.integers(0, 9)), min_size=1, max_size=5
    )
)
def test_whatever_stores_count_adds_up(
    tmp_path_factory: pytest.TempPathFactory, counted: list[Any]
) -> None:
    stores = {f"s{n}": Counts(matrix, 1.0, *untold) for n, (matrix, *untold) in enumerate(counted)}
    path = tmp_path_factory.mktemp("run")
    summary, file = told(path, FinalEvaluation(CLASSES, Scores(None, stores), NOTHING, None))
    for whole in (summary["test"], file["together"]):
        assert (
            np.sum([store["confusion"] for store in file["stores"].values()], axis=0).tolist()
            == whole["confusion"]
        )
        assert sum(store["images"] for store in file["stores"].values()) == whole["images"]
    images = [
        sum(store["per_class"][name]["images"] for store in file["stores"].values())
        for name in CLASSES
    ]
    assert images == np.sum(summary["test"]["confusion"], axis=1).tolist()
    right = sum((store["accuracy"] or 0) * store["images"] for store in file["stores"].values())
    assert right == pytest.approx((summary["test"]["accuracy"] or 0) * summary["test"]["images"])


def test_a_server_with_test_images_is_what_the_model_is_judged_by(tmp_path: Path) -> None:
    scores = Scores(sure(OPEN, (1.0,), 0.5), {})
    summary, file = told(tmp_path, FinalEvaluation(CLASSES, scores, NOTHING, None))
    assert summary["test"]["on"] == "server"
    assert summary["calibration"]["temperature"] is None
    assert summary["calibration"]["scaled"] is None
    assert summary["calibration"]["unscaled"]["ece"] == pytest.approx(5 / 6 - 0.5)
    assert (summary["per_store_from"], list(summary["per_store"])) == ("class mix", ["a"])
    assert (file["stores_on"], file["together"], file["stores"]) == (None, None, {})


def test_the_energy_threshold_is_of_validation_images_by_raw_scores(tmp_path: Path) -> None:
    many = Counts(10 * OPEN.confusion, 30.0)
    validation = Scores(
        None, {"a": sure(many, TEMPERATURES, 0.9)}, {"a": sure(many, TEMPERATURES, 0.9, energy=2.0)}
    )
    stores = {"a": sure(OPEN, (1.0, 2.0), 0.9), "b": sure(OPEN, (1.0, 2.0), 0.9, energy=1.0)}
    verdict = FinalEvaluation(CLASSES, Scores(None, stores), validation, 2.0, is_adjustable=True)
    summary, file = told(tmp_path, verdict)
    # asinh(4) = 2.095 lies in bin 67 of width 1/32 above 0, asinh(2) = 1.444 in bin 46
    threshold = summary["calibration"]["energy_threshold"]
    assert math.asinh(threshold) == pytest.approx(67.05 / 32)
    assert math.asinh(summary["adjustment"]["energy_threshold"]) == pytest.approx(46.05 / 32)
    assert summary["calibration"]["unknown"] == pytest.approx((6 + 0.05 * 6) / 12)
    assert file["calibration"]["unknown"] == summary["calibration"]["unknown"]


def test_too_few_validation_images_have_no_energy_threshold(tmp_path: Path) -> None:
    stores = Scores(None, {"a": sure(OPEN, (1.0,), 0.9)})
    validation = Scores(None, {"a": sure(OPEN, TEMPERATURES, 0.9)})
    summary, _ = told(tmp_path, FinalEvaluation(CLASSES, stores, validation, None))
    calibration = summary["calibration"]
    assert (calibration["energy_threshold"], calibration["unknown"]) == (None, None)


def test_many_classes_at_many_stores_leave_no_matrix_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedshelf.server.training.final_evaluation.MOST_CELLS", 17)
    _, file = told(
        tmp_path, FinalEvaluation(CLASSES, Scores(None, {"a": OPEN, "b": OPEN}), NOTHING, None)
    )
    assert [store["confusion"] for store in file["stores"].values()] == [None, None]
    assert [store["per_class"]["boot"]["recall"] for store in file["stores"].values()] == [
        0.75,
        0.75,
    ]
    assert file["together"]["confusion"][0] == [6, 2, 0]


def test_without_any_images_there_is_nothing_to_say(tmp_path: Path) -> None:
    summary, file = told(tmp_path, FinalEvaluation(CLASSES, Scores(None, {}), NOTHING, None))
    assert (summary["test"], summary["confused"], summary["calibration"]) == (None, [], None)
    assert (file["calibration"], file["stores"]) == (None, {})
