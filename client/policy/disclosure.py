"""The part of an answer that leaves a store.

The order has no say in it: disclosure uses only the policy and the answer.
"""

from typing import Protocol

from fedshelf.client.policy.policy import Policy
from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas import METRICS
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    Summand,
    Update,
)


class Disclosure(Protocol):
    """Decides which parts of a store's answers leave."""

    def info(self, info: StoreInfo) -> StoreInfo:
        """Return the part of a store's description that may leave."""

    def update(self, update: Update | Summand) -> Update | Summand:
        """Return the part of an update that may leave, or of a store's part of a secure sum."""

    def evaluation(self, evaluation: Evaluation, order: EvaluateOrder) -> Evaluation:
        """Return the part of the answer to `order` that may leave."""

    def failure(self, failure: Failure) -> Failure:
        """Return the part of a failure that may leave."""


class OpenDisclosure:
    """Decides which parts of answers leave, if the policy does not set `epsilon`.

    It chooses among true numbers, and adds no noise.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def info(self, info: StoreInfo) -> StoreInfo:
        """Return the part of it that may leave: the same number of images, fewer names and
        counts.
        """
        policy = self._policy
        min_images = self._policy.least_images_per_class
        disclosed = {
            name: count
            for name, count in info.counts.items()
            if policy.class_names and not 0 < count < min_images
        }
        counts = {
            name: count if policy.metrics == "confusion" else 0 for name, count in disclosed.items()
        }
        undisclosed = info.num_examples - sum(counts.values())
        return StoreInfo(info.name, counts, info.validation, info.test, undisclosed)

    def update(self, update: Update | Summand) -> Update | Summand:
        """Return the update: it needs no masking, as rare classes are left out of the training."""
        return update

    def evaluation(self, evaluation: Evaluation, order: EvaluateOrder) -> Evaluation:
        """Return the part of it that may leave: the same images, hits and loss; private classes
        only in the sums.

        The confidence of the model leaves only with counts per class: it says more than accuracy
        and loss.
        """
        adjusted = (
            None if evaluation.adjusted is None else self._disclosed_counts(evaluation.adjusted)
        )
        return Evaluation(
            evaluation.store, evaluation.round, self._disclosed_counts(evaluation.counts), adjusted
        )

    def failure(self, failure: Failure) -> Failure:
        """Return the failure: it is a code and an identifier."""
        return failure

    def _disclosed_counts(self, counts: Counts) -> Counts:
        """Return the part of an evaluation's counts that the policy lets leave the store."""
        is_disclosed = counts.confusion.sum(axis=1) >= self._policy.least_images_per_class
        is_disclosed &= self._policy.metrics == "confusion"
        disclosed = counts.confusion * is_disclosed[:, None]
        undisclosed = counts.confusion * ~is_disclosed[:, None]
        right = int(undisclosed.trace())
        wrong = int(undisclosed.sum()) - right
        reliability = counts.reliability if self._policy.metrics == "confusion" else None
        return Counts(
            disclosed,
            counts.loss_sum,
            counts.undisclosed_correct + right,
            counts.undisclosed_wrong + wrong,
            reliability,
            self._disclosed_metrics(counts),
        )

    def _disclosed_metrics(self, counts: Counts) -> dict[str, Sums]:
        """Return the sums of further metrics that may leave.

        They leave only with counts per class. Code of Fedshelf cannot put more into them than its
        documentation says; that of another package leaves only if the policy names it.
        """
        if self._policy.metrics != "confusion":
            return {}
        allowed = self._policy.further_metrics or METRICS
        return {name: sums for name, sums in counts.metrics.items() if name in allowed}
