"""Detection of a list of classes that is shifted by one: images of class l - 1 have label l.

The difference of the head's rows, which `mislabelling` looks at, says little of a store with
airplanes and ships that calls them automobiles and trucks: the two classes are alike, and what both
have in common falls out of the difference. The layers below see more. With g(c, l) their gradient
of the mean loss over the server's test images of class c as if labelled l, and n_l the images that
a store says it has of class l, gradient descent moves these layers

    with right labels along    r = -sum over l of n_l g(l, l)
    with shifted ones along    s = -sum over l of n_l g(l - 1, l)

With r, s and the update u of length 1, <u, s - r> is the gain of the guess that labels are shifted
and 1 - <r, s> the gap between the guesses: gain / gap is -1 for u = r and 1 for u = s. Both are
averaged over rounds. Where the gap is small the guesses say much the same, and the quotient is
noise: GAP_RIDGE is added to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.parameters.layout import Layout

GRADIENT_IMAGES = 100  # test images of each class whose gradient is taken in a round
MIN_CLASS_IMAGES = 20  # test images of a class from which its gradient says something
MIN_KNOWN_SHARE = 0.5  # share of a store's images whose classes' gradients must be known
# coordinates of all updates and gradients together that a round looks at: 64 MiB
MAX_COORDINATES = 2**23
GAP_RIDGE = 0.05  # added to the gap of the guesses
MEAN_ROUNDS = 10  # rounds of a mean

Floats = NDArray[np.float64]
Guess = tuple[int, int]  # class of test images, label


def guesses(targets: NDArray[np.int64], classes: int) -> list[Guess]:
    """Return the gradients that are needed: each class with its own label and with the next.

    Classes with too few test images are left out.
    """
    shown = np.flatnonzero(np.bincount(targets, minlength=classes) >= MIN_CLASS_IMAGES)
    return [(int(of), int(label) % classes) for of in shown for label in (of, of + 1)]


def spans(layout: Layout, vectors: int) -> list[slice]:
    """Return the coordinates that a round looks at: all that train below the head.

    Of long vectors these are those of every k-th block.
    """
    heads = sorted((span.start, span.stop) for span in layout.head_slices())
    starts = [0, *(stop for _, stop in heads)]
    stops = [*(start for start, _ in heads), layout.trainable]
    blocks = [
        slice(begin, min(begin + BLOCK_COORDINATES, stop))
        for start, stop in zip(starts, stops, strict=True)
        for begin in range(start, stop, BLOCK_COORDINATES)
    ]
    length = sum(block.stop - block.start for block in blocks)
    return blocks[:: max(1, -(-length * vectors // MAX_COORDINATES))]


@dataclass(frozen=True)
class ShiftEvidence:
    """The gain of the guess that labels are shifted, and the gap of the guesses.

    Both are means over a store's last rounds.

    Attributes:
        rounds: how many count, at most MEAN_ROUNDS: older ones fade
        gain, gap: see above
    """

    rounds: int = 0
    gain: float = 0.0
    gap: float = 0.0

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "ShiftEvidence":
        """Read the evidence from a line of the history; one of an earlier version has none."""
        return cls(**record["shift"]) if record and "shift" in record else cls()

    def to_record(self) -> dict[str, Any]:
        """Return the evidence for a line of the history."""
        return {"rounds": self.rounds, "gain": round(self.gain, 5), "gap": round(self.gap, 5)}

    def after(self, gain: float, gap: float) -> "ShiftEvidence":
        """Return the evidence after one more update."""
        rounds = min(self.rounds + 1, MEAN_ROUNDS)
        return ShiftEvidence(
            rounds, self.gain + (gain - self.gain) / rounds, self.gap + (gap - self.gap) / rounds
        )

    @property
    def lead(self) -> float:
        """The lead of shifted labels over right ones: about 1 for shifted, -1 for right labels."""
        return self.gain / (self.gap + GAP_RIDGE)


def gains(
    updates: Floats, gradients: Mapping[Guess, Floats], counts: Floats
) -> list[tuple[float, float] | None]:
    """Return gain and gap of each update.

    It is None for an update that changed nothing, for a store of whose classes too little is known,
    and where the gradients are not finite: evidence that is not a number would stay so for all
    rounds.

    Args:
        updates: float64 [n, p], changes by training
        gradients: each float64 [p]
        counts: float64 [n, C], training images of each class that the stores say they have
    """
    keys = list(gradients)
    stacked = np.stack([gradients[key] for key in keys])
    inner = stacked @ stacked.T
    across = updates @ stacked.T
    lengths = np.linalg.norm(updates, axis=1)
    places = {key: place for place, key in enumerate(keys)}
    return [
        _gain(own, along / length, inner, places) if length else None
        for own, along, length in zip(counts, across, lengths, strict=True)
    ]


def _gain(
    counts: Floats, along: Floats, inner: Floats, places: Mapping[Guess, int]
) -> tuple[float, float] | None:
    """Return gain and gap of one update.

    Args:
        along: [k], inner products of its unit vector with the gradients
        inner: [k, k], of the gradients with each other
    """
    classes = len(counts)
    right = np.zeros(len(along))
    shifted = np.zeros(len(along))
    covered = 0.0
    for label in np.flatnonzero(counts):
        honest = (int(label), int(label))
        wrong = (int(label - 1) % classes, int(label))
        if honest in places and wrong in places:
            right[places[honest]] = shifted[places[wrong]] = -counts[label]
            covered += counts[label]
    lengths = np.sqrt([right @ inner @ right, shifted @ inner @ shifted])
    if covered < MIN_KNOWN_SHARE * counts.sum() or not (np.isfinite(lengths) & (lengths > 0)).all():
        return None
    right = right / lengths[0]
    shifted = shifted / lengths[1]
    return float(along @ (shifted - right)), float(1 - right @ inner @ shifted)
