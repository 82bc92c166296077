"""Confusions in words: pairs of classes, and how well each class is told from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.metrics.confusions import most_confused
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server.formatting import percent


@dataclass(frozen=True)
class ConfusedPair:
    """A pair of classes and the mistakes between them.

    Attributes:
        one:    name of a class
        other:  name of another class
        images: images of one of them that were taken for the other
        ways:   a sentence for each direction
    """

    one: str
    other: str
    images: int
    ways: list[str]


@dataclass(frozen=True)
class ClassRow:
    """One class; its measures are None without images.

    Attributes:
        name:      its name
        images:    its test images
        precision: share of the images called so that are so
        recall:    share of its images that are found
        f1:        harmonic mean of precision and recall
        mistaken:  the class for which most of its mistaken images were taken, with their share of
            the
            class
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    mistaken: str


def confused_pairs(
    classes: Sequence[str], confusion: Sequence[Sequence[int]]
) -> list[ConfusedPair]:
    """Return the pairs with the most mistakes, most first.

    Args:
        classes:   names of the C classes
        confusion: image counts [C, C], row = true class
    """
    return [
        ConfusedPair(
            printable(pair["ways"][0]["class"]),
            printable(pair["ways"][0]["taken_for"]),
            pair["images"],
            [
                f"of {format_count(way['of'], 'image')} of {printable(way['class'])},"
                f" {way['images']:,} ({percent(way['share'])}) taken for"
                f" {printable(way['taken_for'])}"
                for way in pair["ways"]
            ],
        )
        for pair in most_confused(classes, confusion)
    ]


def class_rows(
    per_class: Mapping[str, Mapping[str, Any]], confusion: Sequence[Sequence[int]]
) -> list[ClassRow]:
    """Return precision, recall and F1 of each class, the weakest first; those without images last.

    Args:
        per_class: measures of each of the C classes, by name
        confusion: image counts [C, C], row = true class
    """
    names = list(per_class)
    rows = [
        ClassRow(
            printable(name),
            int(measures["images"]),
            measures["precision"],
            measures["recall"],
            measures["f1"],
            _mostly_mistaken_for(names, index, counts),
        )
        for index, ((name, measures), counts) in enumerate(
            zip(per_class.items(), confusion, strict=True)
        )
    ]
    return sorted(rows, key=lambda row: (row.f1 is None, row.f1 or 0.0))


def _mostly_mistaken_for(names: Sequence[str], index: int, counts: Sequence[int]) -> str:
    others = [(count, -other) for other, count in enumerate(counts) if other != index and count]
    if not others:
        return ""
    count, other = max(others)
    return f"{printable(names[-other])} ({percent(count / sum(counts))})"
