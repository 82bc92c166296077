"""The counts of an evaluation as ring elements, for a secure sum of all stores' counts.

    [ confusion C^2 | undisclosed right, wrong | images with a loss | metrics ]  twice
    [ loss | loss, fine ]  twice

The second time is for the scores with the store's adjustment, or the same again without one. A
further metric has the number of images for which its sums are told, and the sums: whole numbers in
three digits, of which the last one has the sign.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.ring import Ring

_DIGIT_BITS = 16  # so the digits of 65,536 stores add up to less than 2^32
_DIGITS = 3

MAX_LOSS = 100.0  # mean loss of a store that the sum can tell; a larger one counts as this


@dataclass(frozen=True)
class CountsLayout:
    """The places of a store's counts among its ring elements.

    Attributes:
        classes: C
        stores: most stores in the sum
        images: most images that a store counts for
        metrics: the shapes of the sums of further metrics, by name; the sums are int64
    """

    classes: int
    stores: int
    images: int
    metrics: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def _ring(self) -> Ring:
        return Ring(self.stores)

    @property
    def size(self) -> int:
        """Q, the number of ring elements."""
        further = sum(1 + _DIGITS * prod(shape) for shape in self.metrics.values())
        return 2 * (self.classes**2 + 3 + further) + 2 * self._ring.digits

    def encode(self, counts: Counts, adjusted: Counts | None) -> RingVector:
        """Return a store's ring elements, uint32 [Q].

        Args:
            counts: by the model's own scores
            adjusted: with the store's adjustment; None: it has none
        """
        ways = [way.at_most(self.images) for way in (counts, adjusted or counts)]
        whole = [self._whole(way) for way in ways]
        losses = [(way.loss_sum or 0.0) / self._most_loss if _is_told(way) else 0.0 for way in ways]
        return np.concatenate([*whole, self._ring.encode_fine(np.array(losses))])

    def decode(self, total: RingVector) -> tuple[Counts, Counts]:
        """Return the sum of the stores' counts, by their own scores and with the adjustments."""
        fine = self._ring.decode_fine(total[len(total) - 2 * self._ring.digits :])
        whole = total[: len(total) - 2 * self._ring.digits].reshape(2, -1)
        losses = (fine * self._most_loss).tolist()
        raw, adjusted = (self._read(way, loss) for way, loss in zip(whole, losses, strict=True))
        return raw, adjusted

    @property
    def _most_loss(self) -> float:
        return MAX_LOSS * self.images

    def _whole(self, way: Counts) -> RingVector:
        """Return all but the loss, uint32."""
        parts = [
            way.confusion.ravel(),
            [way.undisclosed_correct, way.undisclosed_wrong],
            [way.num_examples if _is_told(way) else 0],
        ]
        for name, shape in self.metrics.items():
            sums = way.metrics.get(name)
            parts.append([0 if sums is None else way.num_examples])
            parts.append(_digits(np.zeros(shape, np.int64) if sums is None else sums))
        return np.concatenate([np.asarray(part, np.uint32) for part in parts])

    def _read(self, whole: RingVector, loss: float) -> Counts:
        cells, (correct, wrong, told), rest = np.split(
            whole.astype(np.int64), [self.classes**2, self.classes**2 + 3]
        )
        confusion = cells.reshape(self.classes, self.classes)
        images = int(confusion.sum() + correct + wrong)
        metrics = {}
        for name, shape in self.metrics.items():
            size = 1 + _DIGITS * prod(shape)
            if rest[0] == images:
                metrics[name] = _from_digits(rest[1:size]).reshape(shape)
            rest = rest[size:]
        return Counts(
            confusion,
            loss if told == images else None,
            int(correct),
            int(wrong),
            metrics=metrics,
        )


def _is_told(counts: Counts) -> bool:
    """Return whether a store tells its loss, and it is a number."""
    return counts.loss_sum is not None and bool(np.isfinite(counts.loss_sum))


def _digits(sums: Sums) -> NDArray[np.int64]:
    """Return whole numbers as digits, the lowest ones first: int64 [3 Q], each modulo 2^32."""
    rest = sums.ravel()
    low = [(rest >> (_DIGIT_BITS * place)) & (2**_DIGIT_BITS - 1) for place in range(_DIGITS - 1)]
    high = (rest >> (_DIGIT_BITS * (_DIGITS - 1))) & (2**32 - 1)
    return np.concatenate([*low, high])


def _from_digits(total: NDArray[np.int64]) -> Sums:
    """Return the sums of numbers from the sums of their digits, int64 [Q]."""
    *low, high = total.reshape(_DIGITS, -1)
    signed = high.astype(np.uint32).astype(np.int32).astype(np.int64)
    places = [digits << (_DIGIT_BITS * place) for place, digits in enumerate([*low, signed])]
    found: Sums = np.sum(places, axis=0)
    return found
