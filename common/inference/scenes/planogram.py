"""A planogram: which product should stand where, as a CSV file tells it.

Two forms are read, by the names of their columns:

    product,left,top,right,bottom   a rectangle of the photo, in fractions of its width and height
    shelf,column,product            shelves from the top, columns from the left, both from 1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.suggest import did_you_mean
from fedshelf.common.system.csv_text import TextLine, read_lines

RECTANGLES = ("product", "left", "top", "right", "bottom")
SHELVES = ("shelf", "column", "product")
_EXPECTED = f"expected the columns {','.join(RECTANGLES)} or {','.join(SHELVES)}"


@dataclass(frozen=True)
class Place:
    """A place of a planogram.

    Attributes:
        name: for people: "shelf 2, column 3", or "line 7" of a rectangle
        product: the class that should stand there, by the classifier's name for people
        rectangle: left, top, right and bottom edge in fractions of the photo; None: it is told by
            shelf and column
        shelf: from 1 at the top; 0: it is a rectangle
        column: from 1 at the left; 0: it is a rectangle
    """

    name: str
    product: str
    rectangle: tuple[float, float, float, float] | None = None
    shelf: int = 0
    column: int = 0


@dataclass(frozen=True)
class Planogram:
    """The places of a shelf.

    Attributes:
        places: rectangles in the order of the file, or by shelf and column
        has_rectangles: whether they are rectangles of the photo
    """

    places: tuple[Place, ...]
    has_rectangles: bool

    @property
    def shelves(self) -> list[list[Place]]:
        """The places of each shelf in the order of columns, the top shelf first."""
        numbers = sorted({place.shelf for place in self.places})
        return [[place for place in self.places if place.shelf == number] for number in numbers]


def read_planogram(path: Path, classes: Sequence[str], names: Sequence[str]) -> Planogram:
    """Return the planogram in a CSV file.

    Args:
        path: the file
        classes: those that products are named by
        names: the same for people, which are understood too

    Raises:
        DataError: it cannot be read, has other columns, or a line cannot be understood.
    """
    lines, _ = read_lines(path)
    if len(lines) < 2:
        raise DataError(f"{path} has no place; {_EXPECTED}, and a line for each place.")
    header = [cell.lower() for cell in lines[0].cells]
    while header and not header[-1]:
        header.pop()
    for columns in (RECTANGLES, SHELVES):
        if sorted(header) == sorted(columns):
            break
    else:
        raise DataError(f"{path} has the columns {','.join(header)}; {_EXPECTED}.")
    known = dict(zip(classes, names, strict=True)) | {name: name for name in names}
    places = []
    for line in lines[1:]:
        cells = dict(zip(header, line.cells, strict=False))
        product = cells.get("product", "")
        if product not in known:
            raise DataError(
                f"Line {line.number} of {path} has the product {product!r}, which the classifier"
                f" does not know.{did_you_mean(product, list(known))}"
            )
        read = _rectangle if columns == RECTANGLES else _shelf_place
        places.append(read(path, line, cells, known[product]))
    _check_once(path, places)
    places.sort(key=lambda place: (place.shelf, place.column))
    return Planogram(tuple(places), columns == RECTANGLES)


def _rectangle(path: Path, line: TextLine, cells: dict[str, str], product: str) -> Place:
    try:
        left, top, right, bottom = (float(cells[name]) for name in RECTANGLES[1:])
    except (KeyError, ValueError):
        left = top = right = bottom = -1
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise DataError(
            f"Line {line.number} of {path} has the rectangle"
            f" {','.join(cells.get(name, '') for name in RECTANGLES[1:])}; expected left, top,"
            " right and bottom in fractions of the photo, such as 0.1,0.25,0.3,0.5."
        )
    return Place(f"line {line.number}", product, (left, top, right, bottom))


def _shelf_place(path: Path, line: TextLine, cells: dict[str, str], product: str) -> Place:
    try:
        shelf, column = int(cells["shelf"]), int(cells["column"])
    except (KeyError, ValueError):
        shelf = column = 0
    if shelf < 1 or column < 1:
        raise DataError(
            f"Line {line.number} of {path} has the shelf {cells.get('shelf', '')!r} and the column"
            f" {cells.get('column', '')!r}; expected whole numbers from 1."
        )
    return Place(f"shelf {shelf}, column {column}", product, None, shelf, column)


def _check_once(path: Path, places: Sequence[Place]) -> None:
    """Raise DataError if two lines are of one place of a shelf."""
    seen: set[tuple[int, int]] = set()
    for place in places:
        key = place.shelf, place.column
        if place.shelf and key in seen:
            raise DataError(f"{path} names {place.name} twice; expected one product for a place.")
        seen.add(key)
