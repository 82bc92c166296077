"""Comparison of guesses about a store's labels, by its training of the layers below the head.

The difference of the head's rows, which `mislabelling` looks at, says little of two classes that
are alike, as airplanes and ships are: what both have in common falls out of the difference. The
layers below see more. A guess names the true class t(l) of the images of each label l. With
g(c, l) the gradient of these layers of the mean loss over the server's test images of class c as if
labelled l, and n_l the images that a store says it has of label l, gradient descent moves them

    with right labels along         r = -sum over l of n_l g(l, l)
    with labels as guessed along    s = -sum over l of n_l g(t(l), l)

With r, s and the update u of length 1, <u, s - r> is the gain of the guess over right labels, and
1 - <r, s> the gap between the two: gain / gap is -1 for u = r and 1 for u = s. Both are averaged
over rounds. Where the gap is small, s and r say much the same, and the quotient is noise: GAP_RIDGE
is added to it.

Three kinds of guesses are examined: that the list of classes is shifted by one (images of class
l - 1 have label l), that two classes are exchanged which look exchanged to the head, and that the
images of each label are of the other class that they look most like to the head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.parameters.layout import Layout
from fedshelf.server.updates.mislabelling import DOUBT_SCORE, LabelEvidence, Pair

GRADIENT_IMAGES = 100  # test images of each class whose gradient is taken in a round
MIN_CLASS_IMAGES = 20  # test images of a class from which its gradient says something
MIN_KNOWN_SHARE = 0.5  # share of a store's images whose classes' gradients must be known
# coordinates of all updates and gradients together that a round looks at: 64 MiB
MAX_COORDINATES = 2**23
GAP_RIDGE = 0.05  # added to the gap of the guesses
MEAN_ROUNDS = 10  # rounds of a mean
MAX_FURTHER_GRADIENTS = 60  # for guesses other than a shift, in a round

Kind = Literal["shift", "exchange", "alike"]
SHIFTED: Kind = "shift"
EXCHANGED: Kind = "exchange"
ALIKE: Kind = "alike"
KINDS: tuple[Kind, ...] = (SHIFTED, EXCHANGED, ALIKE)

Floats = NDArray[np.float64]
Guess = NDArray[np.int64]  # [C], the true class of the images of each label
LabelledClass = tuple[int, int]  # class of test images, label


def shifted(classes: int) -> Guess:
    """Return the guess that images of each class have the label of the next one."""
    return (np.arange(classes) - 1) % classes


def exchanged(pair: Pair, classes: int) -> Guess:
    """Return the guess that images of the two classes have each other's label."""
    a, b = pair
    guess = np.arange(classes)
    guess[[a, b]] = b, a
    return guess


def most_alike(evidence: LabelEvidence, classes: int) -> Guess:
    """Return the guess that the images of each label are of the other class they look most like.

    Of labels without evidence the guess says that they are right.
    """
    guess = np.arange(classes)
    for label, likes in evidence.likeness.items():
        others = [like for like in likes if like != label]
        guess[label] = max(others, key=lambda like: likes[like], default=label)
    return guess


def with_right_labels(
    guess: Guess, targets: NDArray[np.int64], counts: Floats
) -> set[LabelledClass]:
    """Return the gradients that a guess about a store needs.

    They are those of each of its labels' images, as they are guessed and as they are if right.
    Classes with too few test images are left out.

    Args:
        guess: [C]
        targets: int64 [N], classes of the test images
        counts: [C], the store's training images by label
    """
    shown = np.bincount(targets, minlength=len(counts)) >= MIN_CLASS_IMAGES
    return {
        (int(of), int(label))
        for label in np.flatnonzero(counts)
        for of in (label, guess[label])
        if shown[of]
    }


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
class GuessEvidence:
    """The gain of a guess over right labels, and the gap between the two.

    Both are means over a store's last rounds.

    Attributes:
        rounds: how many count, at most MEAN_ROUNDS: older ones fade
        gain, gap: see above
    """

    rounds: int = 0
    gain: float = 0.0
    gap: float = 0.0

    def to_record(self) -> dict[str, Any]:
        """Return the evidence for a line of the history."""
        return {"rounds": self.rounds, "gain": round(self.gain, 5), "gap": round(self.gap, 5)}

    def after(self, gain: float, gap: float) -> "GuessEvidence":
        """Return the evidence after one more update."""
        rounds = min(self.rounds + 1, MEAN_ROUNDS)
        return GuessEvidence(
            rounds, self.gain + (gain - self.gain) / rounds, self.gap + (gap - self.gap) / rounds
        )

    @property
    def lead(self) -> float:
        """The lead of labels as guessed over right ones: about 1 if so, -1 for right labels."""
        return self.gain / (self.gap + GAP_RIDGE)


@dataclass(frozen=True)
class GuessedLabels:
    """The evidence on all guesses about a store.

    Attributes:
        evidence: kind of guess -> evidence
        pair: the two classes that the guess EXCHANGED was about in the last round; None: no two
    """

    evidence: Mapping[Kind, GuessEvidence] = field(default_factory=dict)
    pair: Pair | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "GuessedLabels":
        """Read the evidence from a line of the history; one of an earlier version has less."""
        if not record:
            return cls()
        pair = record.get("pair")
        return cls(
            {kind: GuessEvidence(**record[kind]) for kind in KINDS if kind in record},
            None if pair is None else (pair[0], pair[1]),
        )

    def to_record(self) -> dict[str, Any]:
        """Return the evidence for a line of the history."""
        return {kind: known.to_record() for kind, known in self.evidence.items()} | (
            {} if self.pair is None else {"pair": list(self.pair)}
        )

    def about(self, pair: Pair | None) -> "GuessedLabels":
        """Return the evidence without that on another pair of exchanged classes."""
        if pair == self.pair:
            return self
        kept = {kind: known for kind, known in self.evidence.items() if kind != EXCHANGED}
        return GuessedLabels(kept, pair)

    def after(self, kind: Kind, gain: float, gap: float) -> "GuessedLabels":
        """Return the evidence after one more update."""
        known = self.evidence.get(kind, GuessEvidence()).after(gain, gap)
        return replace(self, evidence={**self.evidence, kind: known})

    def lead(self, kind: Kind) -> float:
        """Return the lead of a guess; 0 if nothing is known."""
        return self.evidence.get(kind, GuessEvidence()).lead


@dataclass(frozen=True)
class Examination:
    """The guesses that a round examines.

    Attributes:
        guesses: store -> kind -> guess
        gradients: the gradients that they need
    """

    guesses: Mapping[str, Mapping[Kind, Guess]]
    gradients: Sequence[LabelledClass]


def examination(
    evidence: Mapping[str, LabelEvidence],
    counts: Mapping[str, Floats],
    targets: NDArray[np.int64],
) -> Examination:
    """Return the guesses that a round examines.

    The lists of all stores may be shifted. The other guesses are examined of stores that the head
    gives reason to doubt: the greatest doubts first, as far as MAX_FURTHER_GRADIENTS go.

    Args:
        evidence: store -> the evidence of the head
        counts: store -> [C], its training images by label
        targets: int64 [N], classes of the test images
    """
    guesses = dict[str, dict[Kind, Guess]]()
    gradients = set[LabelledClass]()
    doubts = list[tuple[float, str, Kind, Guess]]()
    for store, seen in evidence.items():
        own = counts[store]
        guesses[store] = {SHIFTED: shifted(len(own))}
        gradients |= with_right_labels(guesses[store][SHIFTED], targets, own)
        if (candidate := seen.exchange_candidate()) is not None:
            pair, score = candidate
            doubts.append((score, store, EXCHANGED, exchanged(pair, len(own))))
        if (lead := seen.lead(own)) < DOUBT_SCORE:
            doubts.append((lead, store, ALIKE, most_alike(seen, len(own))))
    limit = len(gradients) + MAX_FURTHER_GRADIENTS
    for _, store, kind, guess in sorted(doubts, key=lambda doubt: doubt[:3]):
        more = gradients | with_right_labels(guess, targets, counts[store])
        if len(more) <= limit:
            gradients = more
            guesses[store][kind] = guess
    return Examination(guesses, sorted(gradients))


class GuessComparison:
    """The updates of a round, and the gradients by which guesses about their stores are compared.

    Args:
        updates: float64 [n, p], changes by training
        gradients: each float64 [p]
    """

    def __init__(self, updates: Floats, gradients: Mapping[LabelledClass, Floats]) -> None:
        keys = list(gradients)
        stacked = np.stack([gradients[key] for key in keys])
        self._inner = stacked @ stacked.T  # [k, k]
        self._along = updates @ stacked.T  # [n, k]
        self._lengths = np.linalg.norm(updates, axis=1)
        self._places = {key: place for place, key in enumerate(keys)}

    def gain(self, update: int, counts: Floats, guess: Guess) -> tuple[float, float] | None:
        """Return gain and gap of a guess about the store of one update.

        It is None for an update that changed nothing, for a store of whose classes too little is
        known, and where the gradients are not finite: evidence that is not a number would stay so
        for all rounds.

        Args:
            update: its row
            counts: float64 [C], training images of each class that the store says it has
            guess: [C]
        """
        right = np.zeros(len(self._places))
        guessed = np.zeros(len(self._places))
        covered = 0.0
        for label in np.flatnonzero(counts):
            honest = self._places.get((int(label), int(label)))
            other = self._places.get((int(guess[label]), int(label)))
            if honest is not None and other is not None:
                right[honest] = guessed[other] = -counts[label]
                covered += counts[label]
        lengths = np.sqrt(
            [
                right @ self._inner @ right,
                guessed @ self._inner @ guessed,
                self._lengths[update] ** 2,
            ]
        )
        is_known = covered >= MIN_KNOWN_SHARE * counts.sum()
        if not is_known or not (np.isfinite(lengths) & (lengths > 0)).all():
            return None
        right = right / lengths[0]
        guessed = guessed / lengths[1]
        along = self._along[update] / lengths[2]
        return float(along @ (guessed - right)), float(1 - right @ self._inner @ guessed)
