"""The score from which a box counts as a product, chosen on validation photos."""

from typing import Any

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.count_error import (
    USUAL_THRESHOLD,
    best_threshold,
    errors_at,
)


def counting(validation: Counts | None, on: str, tested: Counts) -> dict[str, Any] | None:
    """Return the threshold for counting products, and the errors of test photos at it.

    Args:
        validation: counts of the validation photos; None, or without such sums: there are none,
            and the threshold is the usual one
        on: owner of the test photos, server or stores
        tested: counts of the test photos

    Returns:
        threshold, chosen_on (validation or None), on, count_error (mean absolute error of a
        photo's count), count_share (as a share of the products) and count_bias (mean of count minus
        products); None for a model that tells no boxes.
    """
    if "count" not in tested.metrics:
        return None
    sums = validation.metrics.get("count") if validation is not None else None
    threshold = USUAL_THRESHOLD if sums is None else best_threshold(sums)
    return {
        "threshold": threshold,
        "chosen_on": None if sums is None else "validation",
        "on": on,
        **errors_at(tested.metrics["count"], tested.num_examples, threshold),
    }
