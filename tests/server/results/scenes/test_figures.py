"""Curves and counts for the report agree with a few boxes that are counted by hand."""

import numpy as np
import pytest

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas import METRICS, scalars
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.server.results.scenes.figures import scene_figures

NOTHING = np.zeros((1, 1), np.int64)
TRUE = Boxes.drawn(np.array([[20.0 * place, 0, 20 * place + 10, 10] for place in range(4)]))


def counted() -> Counts:
    """Two photos, one of them empty: three products of four found, and three wrong boxes."""
    places = np.array([0, 20, 40, 300, 320, 340], np.float32)
    corners = np.stack([places, 0 * places, places + 10, 0 * places + 10], 1)
    scores = np.array([0.9, 0.7, 0.3, 0.8, 0.6, 0.1], np.float32)
    found = [Boxes(corners, np.full(6, -1), scores), TRUE.select(np.zeros(4, bool))]
    true = [TRUE, TRUE.select(np.zeros(4, bool))]
    sums = {name: METRICS[name].sums(found, true) for name in ("ap", "count")}
    return Counts(NOTHING, 1.0, undisclosed_wrong=2, metrics=sums)


def test_the_threshold_lies_on_the_curves() -> None:
    counts = counted()
    figures = scene_figures(counts, {"aisle": counts}, 0.5, ("product",))
    assert figures is not None
    # from 0.5 on: 0.9 and 0.7 are found, 0.8 and 0.6 are wrong
    assert figures["at_threshold"] == {"recall": 0.5, "precision": 0.5, "false_alarms": 1.0}
    assert (figures["photos"], figures["products"], figures["threshold"]) == (2, 4, 0.5)
    assert figures["false_alarms"] == [
        [0, 0], [0, 0.25], [0.5, 0.25], [0.5, 0.5], [1, 0.5], [1, 0.75], [1.5, 0.75],
    ]  # fmt: skip
    # four are counted on the first photo, which has four, and none on the empty one
    assert figures["stores"] == {"aisle": {"count_error": 0, "count_share": 0, "count_bias": 0}}


def test_the_precision_curve_is_that_of_the_metric() -> None:
    counts = counted()
    figures = scene_figures(counts, {}, 0.5, ("product",))
    assert figures is not None
    told = scalars(counts)
    for least, key in (("0.5", "ap_50"), ("0.75", "ap_75")):
        assert np.mean(figures["precision"][least]) == pytest.approx(told[key], abs=1e-5)
    assert figures["stores"] == {}


def test_masks_have_an_overlap_for_each_class() -> None:
    sums = np.array([[6, 2], [1, 3]])
    counts = Counts(NOTHING, 1.0, undisclosed_wrong=1, metrics={"iou": sums})
    assert scene_figures(counts, {}, None, ("background", "product")) == {
        "overlaps": {"background": pytest.approx(6 / 9), "product": pytest.approx(3 / 6)}
    }


def test_a_classifier_has_none() -> None:
    assert scene_figures(Counts(np.eye(2, dtype=np.int64), 1.0), {}, None, ("a", "b")) is None
