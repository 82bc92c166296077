"""Planograms: a CSV of places, compared with what is seen."""

from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.verdicts import Verdict
from fedshelf.common.inference.scenes.planogram import Planogram, read_planogram
from fedshelf.common.inference.scenes.products import LocatedProduct
from fedshelf.common.inference.scenes.shelf_check import ShelfFindings, check_shelf

NAMES = ("cola", "milk", "tea")


def plan(tmp_path: Path, text: str) -> Planogram:
    file = tmp_path / "plan.csv"
    file.write_text(text)
    return read_planogram(file, NAMES, NAMES)


def shelf_plan(tmp_path: Path, *shelves: str) -> Planogram:
    """A planogram of shelves, each told by the first letters of its products."""
    lines = ["shelf,column,product"]
    for shelf, letters in enumerate(shelves, 1):
        for column, letter in enumerate(letters, 1):
            lines.append(f"{shelf},{column},{_name(letter)}")
    return plan(tmp_path, "\n".join(lines))


def _name(letter: str) -> str:
    return next(name for name in NAMES if name[0] == letter)


def product(letter: str, column: float, shelf: int, tilt: float = 0.0) -> LocatedProduct:
    """A product of 20 x 40 pixels: c, m, t; upper case: unsure; "?": unknown."""
    left, bottom = 22 * column, 60.0 * shelf + tilt * column
    verdict: Verdict = "unknown" if letter == "?" else "unsure" if letter.isupper() else "sure"
    name = "tea" if letter == "?" else _name(letter.lower())
    return LocatedProduct((left, bottom - 40, left + 20, bottom), 0.9, verdict, ((name, 0.9),))


def shown(*rows: str, tilt: float = 0.0) -> list[LocatedProduct]:
    """The products of a photo; a blank is an empty place."""
    return [
        product(letter, column, shelf, tilt)
        for shelf, row in enumerate(rows, 1)
        for column, letter in enumerate(row)
        if letter != " "
    ]


def told(findings: ShelfFindings) -> str:
    """The outcomes of the places, by their first letters: r, w, g; uns and unk."""
    return " ".join(
        finding.outcome[:3] if finding.outcome[0] == "u" else finding.outcome[0]
        for finding in findings.places
    )


@pytest.mark.parametrize(
    ("expected", "seen", "outcomes", "extra"),
    [
        ("cmt", "cmt", "r r r", 0),
        ("cmt", "c t", "r g r", 0),  # room where milk should stand
        ("cmt", "ct", "r g r", 0),  # the others moved together
        ("cccm", "c cm", "r g r r", 0),  # the room tells which one of three is missing
        ("cmt", "cct", "r w r", 0),
        ("cmt", "mct", "w w r", 0),  # changed places
        ("cmt", "cMt", "r uns r", 0),
        ("cmt", "c?t", "r unk r", 0),
        ("cmt", "ccmt", "r r r", 1),
        ("cmt", "mt", "g r r", 0),
        ("cmt", "", "g g g", 0),
    ],
)
def test_a_shelf(tmp_path: Path, expected: str, seen: str, outcomes: str, extra: int) -> None:
    findings = check_shelf(shelf_plan(tmp_path, expected), shown(seen), 400, 200)
    assert told(findings) == outcomes
    assert len(findings.extra) == extra


def test_an_empty_shelf_shifts_no_other_one(tmp_path: Path) -> None:
    whole = shelf_plan(tmp_path, "ccc", "mmm", "ttt")
    assert told(check_shelf(whole, shown("ccc", "   ", "ttt"), 400, 300)) == "r r r g g g r r r"
    assert told(check_shelf(whole, shown("ccc", "mmm"), 400, 300)) == "r r r r r r g g g"


def test_a_photo_taken_at_an_angle(tmp_path: Path) -> None:
    """Over 16 products, the right end of a shelf is 32 pixels lower than its left one."""
    row = "cmt" * 5 + "c"
    findings = check_shelf(shelf_plan(tmp_path, row, row), shown(row, row, tilt=2), 400, 300)
    assert told(findings) == " ".join("r" * 32)


def test_rectangles(tmp_path: Path) -> None:
    """A photo of 400 x 200 pixels with three rectangles; the middle one of 22 to 66 pixels."""
    told_plan = plan(
        tmp_path,
        "product;left;top;right;bottom\ncola;0;0;0.05;1\nmilk;0.055;0;0.165;1\ntea;0.5;0;1;1\n",
    )
    assert told(check_shelf(told_plan, shown("cmm"), 400, 200)) == "r r g"
    findings = check_shelf(told_plan, shown("Cmc" + " " * 12 + "t  t"), 400, 200)
    assert told(findings) == "uns w r"
    assert [finding.place.name for finding in findings.places] == ["line 2", "line 3", "line 4"]
    [extra] = check_shelf(told_plan, shown("cmm  c"), 400, 200).extra
    assert extra.box[0] == 110


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no place"),
        ("shelf,column,product\n", "has no place"),
        ("shelf,product\n1,cola\n", "has the columns shelf,product"),
        ("shelf,column,product\n1,1,kola\n", "Line 2 of .* 'kola', .*[Dd]id you mean cola"),
        ("shelf,column,product\n1,one,cola\n", "column 'one'; expected whole numbers"),
        ("shelf,column,product\n0,1,cola\n", "expected whole numbers from 1"),
        ("shelf,column,product\n1,1,cola\n1,1,tea\n", "shelf 1, column 1 twice"),
        ("product,left,top,right,bottom\ntea,0,0,30,40\n", "rectangle 0,0,30,40; expected"),
        ("product,left,top,right,bottom\ntea,0.5,0,0.4,1\n", "in fractions"),
        ("product,left,top,right,bottom\ntea,nan,0,0.4,1\n", "in fractions"),
        ("product,left,top,right,bottom\ntea,0,0\n", "in fractions"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        plan(tmp_path, text)
