"""Recall of the class that a model knows worst, which an average over classes hides.

Mohri, Sivek and Suresh, "Agnostic Federated Learning" (ICML 2019) argue for the worst of several
distributions as the measure of a model that many share; here it is the worst of the classes.
"""

import math

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Metric


class WorstClassRecall(Metric):
    """Lowest recall among the classes with images; derived from the confusion matrix."""

    name = "worst_class_recall"

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (0,): it counts nothing itself."""
        return (0,)

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the lowest recall; nan if a store withholds the classes of its images."""
        recall = counts.recall[counts.classes_with_images]
        is_known = counts.is_disclosed and len(recall)
        return {self.name: float(recall.min()) if is_known else math.nan}
