"""Confusions in words: pairs of classes, and for each class how well it is told from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.metrics.confusions import most_confused
from fedshelf.common.wording import format_count, printable
from fedshelf.server.formatting import percent


@dataclass(frozen=True)
class Confused:
    """A pair of classes and the mistakes between them.

    ways: for each direction, how many images of one were taken for the other
    """

    one: str
    other: str
    images: int
    ways: list[str]


@dataclass(frozen=True)
class ClassRow:
    """One class; its measures are None without images.

    mistaken: the class for which most of its mistaken images were taken, with their share of the
              class
    """

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    mistaken: str


def confused(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[Confused]:
    """Return the pairs with the most mistakes, most first. confusion: counts [C, C], row = true
    class.
    """
    return [
        Confused(
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
    """Return precision, recall and F1 of each class, the weakest first; classes without any image
    last.
    """
    names = list(per_class)
    rows = [
        ClassRow(
            printable(name),
            int(found["images"]),
            found["precision"],
            found["recall"],
            found["f1"],
            _mistaken(names, place, counts),
        )
        for place, ((name, found), counts) in enumerate(
            zip(per_class.items(), confusion, strict=True)
        )
    ]
    return sorted(rows, key=lambda row: (row.f1 is None, row.f1 or 0.0))


def _mistaken(names: Sequence[str], place: int, counts: Sequence[int]) -> str:
    others = [(count, -other) for other, count in enumerate(counts) if other != place and count]
    if not others:
        return ""
    count, other = max(others)
    return f"{printable(names[-other])} ({percent(count / sum(counts))})"
