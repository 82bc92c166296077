"""The hooks by which an algorithm takes the sum of its stores' updates in place of the updates."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.sum_layout import CHANGE, StepRange, SumMeans


class SumHooks:
    """A mean of models: one vector, the change of the weights, and no numbers of its own.

    An algorithm that reads more of single updates than their mean overrides the hooks and sets
    `takes_sums`, or a run with `privacy.secure_sum` refuses it.
    """

    # the server half works from the mean alone, although it overrides how updates are combined
    takes_sums: ClassVar[bool] = False
    # names of the strategy's own numbers in the sum (see `sum_values`)
    sum_numbers: ClassVar[tuple[str, ...]] = ()

    def sum_sizes(self, size: int, trainable: int) -> Mapping[str, int]:
        """Return the length of each vector that `sum_vectors` returns, by name, the change first.

        Args:
            size: P
            trainable: T
        """
        return {CHANGE: size}

    def sum_vectors(
        self, change: Tensor, update: Update, trainable: int, steps: StepRange
    ) -> Mapping[str, Tensor]:
        """Return the vectors of which the server needs the weighted means; a store calls it.

        Args:
            change: float32 [P], the change by training, no longer than the sum allows
            update: the store's own
            trainable: T
            steps: the normalised steps that stores of this round take

        Returns:
            Vectors by the names of `sum_sizes`, none longer than `change`.
        """
        return {CHANGE: change}

    def sum_values(self, update: Update, steps: StepRange) -> Mapping[str, float]:
        """Return the numbers in [0, 1] of which the server needs the weighted means.

        Args:
            update: the store's own
            steps: the normalised steps that stores of this round take
        """
        return {}

    def from_means(
        self, means: SumMeans, weight: float, trainable: int, steps: StepRange
    ) -> tuple[Tensor, Tensors]:
        """Return the update that stands for all in `update_global_model`; the server calls it.

        Args:
            means: the sum, read
            weight: the sum of the stores' weights
            trainable: T
            steps: the normalised steps that stores of this round take

        Returns:
            (the change by training, float32 [P]; the tensors beside it).
        """
        return means.vectors[CHANGE], {}
