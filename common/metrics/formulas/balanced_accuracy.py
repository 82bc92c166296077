"""Balanced accuracy: the mean of the classes' recalls, in which each class weighs the same.

Brodersen, Ong, Stephan and Buhmann, "The balanced accuracy and its posterior distribution" (ICPR
2010), Section II, for C classes.
"""

import math

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Metric


class BalancedAccuracy(Metric):
    """Balanced accuracy over the classes with images; derived from the confusion matrix."""

    name = "balanced_accuracy"

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (0,): it counts nothing itself."""
        return (0,)

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the mean recall; nan if a store withholds the classes of its images."""
        return {self.name: counts.macro_recall if counts.is_disclosed else math.nan}
