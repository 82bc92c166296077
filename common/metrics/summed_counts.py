"""The counts of an evaluation as ring elements, for a secure sum of all stores' counts.

    [ confusion C^2 | undisclosed right, wrong | images with a loss ]  twice  [ loss | loss, fine ]

The second part is for the scores with the store's adjustment, or the same again without one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.ring import Ring

MAX_LOSS = 100.0  # mean loss of a store that the sum can tell; a larger one counts as this


@dataclass(frozen=True)
class CountsLayout:
    """The places of a store's counts among its ring elements.

    Attributes:
        classes: C
        stores: most stores in the sum
        images: most images that a store counts for
    """

    classes: int
    stores: int
    images: int

    @property
    def _ring(self) -> Ring:
        return Ring(self.stores)

    @property
    def size(self) -> int:
        """Q, the number of ring elements."""
        return 2 * (self.classes**2 + 3) + 2 * self._ring.digits

    def encode(self, counts: Counts, adjusted: Counts | None) -> RingVector:
        """Return a store's ring elements, uint32 [Q].

        Args:
            counts: by the model's own scores
            adjusted: with the store's adjustment; None: it has none
        """
        ways = [way.at_most(self.images) for way in (counts, adjusted or counts)]
        whole = [
            np.array(
                [
                    *way.confusion.ravel(),
                    way.undisclosed_correct,
                    way.undisclosed_wrong,
                    way.num_examples if _is_told(way) else 0,
                ],
                np.uint32,
            )
            for way in ways
        ]
        losses = [(way.loss_sum or 0.0) / self._most_loss if _is_told(way) else 0.0 for way in ways]
        return np.concatenate([*whole, self._ring.encode_fine(np.array(losses))])

    def decode(self, total: RingVector) -> tuple[Counts, Counts]:
        """Return the sum of the stores' counts, by their own scores and with the adjustments."""
        fine = self._ring.decode_fine(total[len(total) - 2 * self._ring.digits :])
        whole = total[: len(total) - 2 * self._ring.digits].astype(np.int64).reshape(2, -1)
        losses = (fine * self._most_loss).tolist()
        raw, adjusted = (self._read(way, loss) for way, loss in zip(whole, losses, strict=True))
        return raw, adjusted

    @property
    def _most_loss(self) -> float:
        return MAX_LOSS * self.images

    def _read(self, whole: NDArray[np.int64], loss: float) -> Counts:
        confusion = whole[:-3].reshape(self.classes, self.classes)
        correct, wrong, told = (int(count) for count in whole[-3:])
        all_told = told == int(confusion.sum()) + correct + wrong
        return Counts(confusion, loss if all_told else None, correct, wrong)


def _is_told(counts: Counts) -> bool:
    """Return whether a store tells its loss, and it is a number."""
    return counts.loss_sum is not None and bool(np.isfinite(counts.loss_sum))
