"""The server's buffer for updates, and its evaluators for single updates and for the choice of the
best round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.metrics.counts import Counts
from fedshelf.server.updates.buffer import InMemoryBuffer, UpdateBuffer


class ModelEvaluator(Protocol):
    """Evaluator of models on the server's own test set."""

    def __call__(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Return the counts of the model `params` (float32 [P]), with its confidence at
        `temperatures` if given.
        """


class Sample(Protocol):
    """Returns the features of some of the server's test images.

    targets: int64 [N], their classes
    """

    targets: NDArray[np.int64]

    def __call__(self, params: Tensor) -> NDArray[np.float64]:
        """Return the features [N, d] that the head of the model `params` (float32 [P]) gets."""

    def gradient(self, params: Tensor, of: int, label: int, images: int, turn: int) -> Tensor:
        """Return the gradient (float32 [T]) of the mean loss at `params` (float32 [P]) over images
        of class `of` as if they had this label: at most so many, others at each turn.
        """


@dataclass(frozen=True)
class Gate:
    """The buffer and the evaluators of the server.

    held: buffer for updates until their round has all of them
    sample: features of test images, to examine single updates; None: there is none
    validation: evaluates models on images that the server holds out to choose rounds by; None: the
        stores do that, or rounds are not compared
    """

    held: UpdateBuffer = field(default_factory=InMemoryBuffer)
    sample: Sample | None = None
    validation: ModelEvaluator | None = None
