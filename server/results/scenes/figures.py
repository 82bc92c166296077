"""Curves and counts of a model for scenes, from sums that add up over stores, for the report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.average_precision import (
    BINS,
    LEAST_OVERLAPS,
    parts_of,
    precision_curve,
)
from fedshelf.common.metrics.formulas.count_error import errors_at
from fedshelf.common.metrics.formulas.mean_iou import class_overlaps

CURVES = (0.5, 0.75, 0.9)  # least overlaps of which the precision is drawn
DIGITS = 5


def scene_figures(
    tested: Counts,
    stores: Mapping[str, Counts],
    threshold: float | None,
    classes: Sequence[str],
) -> dict[str, Any] | None:
    """Return what the report draws of a model for scenes; None of a classifier.

    Args:
        tested: counts of the test photos
        stores: of each store's photos
        threshold: the score from which a box counts; None: the model tells no boxes
        classes: names of the network's outputs

    Returns:
        Of boxes: photos, products, precision (least overlap -> the best precision at recalls 0,
        0.01, ..., 1), false_alarms ([wrong boxes a photo, recall] at each score), at_threshold
        (recall, precision, and wrong boxes a photo) and stores (the errors of their counts at the
        threshold). Of masks: overlaps (class -> IoU).
    """
    if "iou" in tested.metrics:
        overlaps = class_overlaps(tested.metrics["iou"]).tolist()
        known = [None if math.isnan(overlap) else overlap for overlap in overlaps]
        return {"overlaps": dict(zip(classes, known, strict=True))}
    if "ap" not in tested.metrics or threshold is None:
        return None
    return _box_figures(tested, threshold) | {
        "stores": {
            name: errors_at(counts.metrics["count"], counts.num_examples, threshold)
            for name, counts in stores.items()
            if "count" in counts.metrics
        }
    }


def _box_figures(tested: Counts, threshold: float) -> dict[str, Any]:
    """Return the curves of boxes, and where the threshold lies on them."""
    products, histograms = parts_of(tested.metrics["ap"])
    photos = tested.num_examples
    figures = {"photos": photos, "products": products, "threshold": threshold}
    if not products or not photos:
        return figures
    alarms, found = histograms[LEAST_OVERLAPS.index(0.5), :, ::-1].cumsum(axis=1)
    counted = BINS - round(threshold * BINS) - 1  # the last bin, from high to low, that counts
    recall, wrong = found[counted] / products, alarms[counted]
    points = np.stack([alarms / photos, found / products], axis=1).round(DIGITS)
    return figures | {
        "precision": {
            f"{least:g}": precision_curve(products, histograms[LEAST_OVERLAPS.index(least)])[1]
            .round(DIGITS)
            .tolist()
            for least in CURVES
        },
        "false_alarms": np.unique(points, axis=0).tolist(),
        "at_threshold": {
            "recall": float(recall),
            "precision": float(found[counted] / max(1, found[counted] + wrong)),
            "false_alarms": float(wrong / photos),
        },
    }
