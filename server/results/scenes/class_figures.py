"""The figures of each class of products on photos of scenes."""

import math
from collections.abc import Sequence
from typing import Any

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.average_precision import (
    LEAST_OVERLAPS,
    class_precisions,
    class_products,
)
from fedshelf.common.metrics.formulas.count_error import (
    USUAL_THRESHOLD,
    class_sums,
    errors_at,
)
from fedshelf.common.metrics.formulas.mean_iou import class_overlaps


def class_figures(counts: Counts, classes: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Return figures of each class by its name; None of photos that have a class themselves.

    Of boxes they are ap, ap_50, products, and, unless a store withholds them, count_error and
    count_bias at the usual threshold; of masks iou. A figure that cannot be told is None.

    Args:
        counts: of photos
        classes: names of the network's outputs
    """
    if "iou" in counts.metrics:
        overlaps = class_overlaps(counts.metrics["iou"]).tolist()
        return {
            name: {"iou": _known(overlap)} for name, overlap in zip(classes, overlaps, strict=True)
        }
    if "ap" not in counts.metrics:
        return None
    sums = counts.metrics["ap"]
    figures: dict[str, dict[str, Any]] = {
        name: {
            "ap": _known(float(row.mean())),
            "ap_50": _known(float(row[LEAST_OVERLAPS.index(0.5)])),
            "products": products,
        }
        for name, row, products in zip(
            classes, class_precisions(sums), class_products(sums), strict=True
        )
    }
    if "count" in counts.metrics:
        for name, of_class in zip(classes, class_sums(counts.metrics["count"]), strict=True):
            errors = errors_at(of_class, counts.num_examples, USUAL_THRESHOLD)
            figures[name] |= {key: _known(errors[key]) for key in ("count_error", "count_bias")}
    return figures


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
