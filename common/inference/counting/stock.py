"""A stock: how many pieces of each class photos show, one piece on each.

A crop of a shelf, with one product that a locator found, is such a photo, too.

The number of pieces of a class is the sum of independent events, one a photo, that have its
calibrated probabilities; so the model's own confusion is in it, and an unsure photo counts for each
of its classes in part (Bella, Ferri, Hernandez-Orallo and Ramirez-Quintana, "Quantification via
probability estimators", ICDM 2010). Photos that are like nothing the model knows count for none.

Probabilities hold for the mix of classes that the model was calibrated on. Photos of another mix
have others, as `adapt_to_mix` finds, with an error of its own. Nobody knows which mix it is, so the
interval covers those of both. Measured coverage is in docs/log.md.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.inference.counting.mix import adapt_to_mix
from fedshelf.common.inference.counting.poisson_binomial import interval
from fedshelf.common.inference.predictors.predictor import Floats
from fedshelf.common.inference.predictors.verdicts import Verdict


@dataclass(frozen=True)
class ClassStock:
    """The pieces of one class.

    Attributes:
        name: the class's name for people
        counted: photos that the model is sure of
        expected: middle of the expected numbers for both mixes
        low: least number of the 95% interval
        high: largest number of it
    """

    name: str
    counted: int
    expected: float
    low: int
    high: int


@dataclass(frozen=True)
class Stock:
    """The pieces on some photos.

    Attributes:
        classes: in the order of the model
        unsure: photos between classes
        unknown: photos like nothing that the model knows
    """

    classes: tuple[ClassStock, ...]
    unsure: int
    unknown: int

    @property
    def pieces(self) -> int:
        """The number of all pieces: photos of one piece each, or products on shelves."""
        return sum(one.counted for one in self.classes) + self.unsure + self.unknown

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, which `parse_stock` reads back."""
        return {
            "classes": [asdict(one) for one in self.classes],
            "unsure": self.unsure,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class Change:
    """The change of a class between two stocks.

    Attributes:
        name: the class's name for people
        earlier: expected number then
        now: expected number now
        low: least change of the 95% interval; below 0: fewer pieces
        high: largest change of it
    """

    name: str
    earlier: float
    now: float
    low: int
    high: int


def take_stock(
    probabilities: Floats, verdicts: Sequence[Verdict], class_names: Sequence[str]
) -> Stock:
    """Return the stock on photos.

    Args:
        probabilities: float32 [N, C], calibrated
        verdicts: on the N photos
        class_names: of the C classes, for people
    """
    is_sure = np.array([verdict == "sure" for verdict in verdicts], dtype=np.bool_)
    is_known = np.array([verdict != "unknown" for verdict in verdicts], dtype=np.bool_)
    best = probabilities.argmax(axis=1)
    plain = probabilities[is_known].astype(np.float64)
    adapted = adapt_to_mix(plain)
    rows = []
    for index, name in enumerate(class_names):
        intervals = interval(plain[:, index]), interval(adapted[:, index])
        rows.append(
            ClassStock(
                name=name,
                counted=int(np.sum(is_sure & (best == index))),
                expected=float(plain[:, index].sum() + adapted[:, index].sum()) / 2,
                low=min(low for low, _ in intervals),
                high=max(high for _, high in intervals),
            )
        )
    return Stock(tuple(rows), int(np.sum(is_known & ~is_sure)), int(np.sum(~is_known)))


def parse_stock(value: Any, source: Path) -> Stock:
    """Return the stock that `to_json` wrote.

    Args:
        value: parsed JSON
        source: its file, for errors

    Raises:
        DataError: it is none
    """
    try:
        return Stock(
            tuple(_class_stock(row) for row in value["classes"]),
            int(value["unsure"]),
            int(value["unknown"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{source} is no count; expected what `flower-client count --json` printed."
        ) from error


def changes(earlier: Stock, now: Stock, source: Path) -> list[Change]:
    """Return the change of each class, with its 95% interval.

    From the expected numbers e and intervals l to u of both counts (Zou and Donner, "Construction
    of confidence limits about effect measures: a general approach", Statistics in Medicine 27,
    2008), for now minus earlier:

        e1 - e2 - sqrt((e1 - l1)^2 + (u2 - e2)^2)   to   e1 - e2 + sqrt((u1 - e1)^2 + (e2 - l2)^2)

    Args:
        earlier: the stock to compare with
        now: the stock of today
        source: the file of `earlier`, for errors

    Raises:
        DataError: the stocks are of different classes
    """
    names = [one.name for one in now.classes]
    if [one.name for one in earlier.classes] != names:
        raise DataError(
            f"{source} counts other classes ({len(earlier.classes)}) than this model"
            f" ({len(names)}); compare counts of one model."
        )
    return [_change(one, other) for one, other in zip(earlier.classes, now.classes, strict=True)]


def surely_fewer(found: Iterable[Change]) -> list[Change]:
    """Return the changes whose whole interval is below 0."""
    return [change for change in found if change.high < 0]


def _change(earlier: ClassStock, now: ClassStock) -> Change:
    difference = now.expected - earlier.expected
    below = math.hypot(now.expected - now.low, earlier.high - earlier.expected)
    above = math.hypot(now.high - now.expected, earlier.expected - earlier.low)
    return Change(
        now.name,
        earlier.expected,
        now.expected,
        round(difference - below),
        round(difference + above),
    )


def _class_stock(row: Mapping[str, Any]) -> ClassStock:
    stock = ClassStock(
        str(row["name"]),
        int(row["counted"]),
        float(row["expected"]),
        int(row["low"]),
        int(row["high"]),
    )
    if not math.isfinite(stock.expected):
        raise ValueError(f"{stock.name} has no finite number")
    return stock
