"""The rows of a CSV file of photos: each row gives a photo, its class, its split and its store."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import is_photo
from fedshelf.common.images.listing.split import Split
from fedshelf.common.images.listing.split_names import SPLIT_NAMES, split_named
from fedshelf.common.images.listing.tables.columns import TableColumns, find_columns
from fedshelf.common.system.csv_text import TextLine, is_missing, read_lines
from fedshelf.common.wording import format_list

_WEB_ADDRESS = re.compile(r"(?i)(https?|ftp|s3|gs)://")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_INTEGER = re.compile(r"-?\d+")
_INTEGER_AS_FLOAT = re.compile(r"(-?\d+)\.0+")  # pandas writes whole numbers so if some are missing


class TableRow(NamedTuple):
    """A photo.

    `image` is a path relative to the CSV file's folder, or an absolute one; `store` may be empty.
    """

    image: str
    label: str
    split: Split | None
    store: str


@dataclass(frozen=True)
class Table:
    """The photos of a CSV file.

    rows:     photos, each once
    left_out: (image or line, reason)
    notes:    sentences for a person about how it was read
    """

    rows: tuple[TableRow, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def read_table(path: Path) -> Table:
    """Read a CSV file of photos.

    Raises:
        DataError: naming the line, if the file cannot be read, its columns are in doubt, a line has
            too few or too many values, a path is of the web or another machine, or a photo has two
            classes
    """
    lines, note = read_lines(path)
    if not lines:
        return Table((), (), ())
    columns = find_columns(path, lines[0])
    lines = lines[1:] if columns.has_header else lines
    _check_splits(path, lines, columns)
    notes = (
        [note] if note and not all(cell.isascii() for line in lines for cell in line.cells) else []
    )
    if columns.others:
        notes.append(f"{path.name}: columns not used: {', '.join(columns.others)}")
    if columns.store is not None:
        notes.append(f"{path.name}: the column of stores counts with --partition folder only")
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[str, str], tuple[int, TableRow]] = {}
    numbered_rows = list(_rows(path, lines, columns, left_out))
    if not columns.has_header:
        _check_order(path, [row for _, row in numbered_rows])
    for line_number, row in numbered_rows:
        key = os.path.normpath(path.parent.absolute() / row.image), row.store
        if (earlier := seen.get(key)) is None:
            seen[key] = line_number, row
        elif earlier[1][1:] == row[1:]:
            left_out.append((row.image, "listed twice"))
        else:
            raise DataError(_two_classes(path, line_number, row, *earlier))
    rows = _whole_numbers([row for _, row in seen.values()])
    # numbers of classes, below 0 if a photo has none
    if all(_INTEGER.fullmatch(row.label) for row in rows):
        left_out += [(row.image, "no label") for row in rows if row.label.startswith("-")]
        rows = tuple(row for row in rows if not row.label.startswith("-"))
    return Table(rows, tuple(left_out), tuple(notes))


def _rows(
    path: Path, lines: Sequence[TextLine], columns: TableColumns, left_out: list[tuple[str, str]]
) -> Iterator[tuple[int, TableRow]]:
    """Yield line number and row of each complete line; put the others into `left_out`."""
    for line_number, cells in lines:
        if len(cells) < columns.width or any(cells[columns.width :]):
            raise DataError(_odd_line(path, line_number, cells, columns))
        image = _image(path, line_number, cells[columns.image])
        label = cells[columns.label]
        store = "" if columns.store is None else cells[columns.store]
        split = None if columns.split is None else _split(path, line_number, cells[columns.split])
        if not image:
            left_out.append((f"line {line_number}", "no image"))
        elif "\0" in image:
            left_out.append((f"line {line_number}", "not a file name"))
        elif is_missing(label) and (not label or Path(image).parent.name != label):
            left_out.append((image, "no label"))
        elif columns.split is not None and split is None:
            left_out.append((image, "no split"))
        else:
            yield line_number, TableRow(image, label, split, store)


def _image(path: Path, line_number: int, cell: str) -> str:
    """Return a path as this machine writes it.

    Raises DataError for an address of the web or a path of Windows.
    """
    if _WEB_ADDRESS.match(cell):
        raise DataError(
            f"{path}, line {line_number} has an address, {cell}; expected a path: download the"
            " photos first."
        )
    if cell.lower().startswith("file://"):
        with contextlib.suppress(ValueError):  # for a malformed address
            cell = url2pathname(urlsplit(cell).path)
    if os.name == "nt" or ("\\" not in cell and not _WINDOWS_PATH.match(cell)):
        return cell
    if _WINDOWS_PATH.match(cell):
        raise DataError(
            f"{path}, line {line_number} has a path of a Windows machine, {cell}; expected one"
            " relative to the folder of the CSV file: replace the beginning of all paths."
        )
    return cell if _is_there(path, cell) else cell.replace("\\", "/")


def _is_there(path: Path, image: str) -> bool:
    try:
        return (path.parent / image).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _split(path: Path, line_number: int, cell: str) -> Split | None:
    if cell and not is_missing(cell) and split_named(cell) is None:
        raise DataError(
            f"{path}, line {line_number} has the split {cell!r}; expected one of"
            f" {', '.join(SPLIT_NAMES)}."
        )
    return split_named(cell)


def _check_splits(path: Path, lines: Sequence[TextLine], columns: TableColumns) -> None:
    """Raise DataError if a column without a meaning here holds names of splits, and only those."""
    for name, index in columns.others.items():
        cells = {line.cells[index] for line in lines if len(line.cells) > index}
        if columns.split is None and len(cells) > 1 and all(split_named(cell) for cell in cells):
            raise DataError(
                f"{path} has a column {name} of {format_list(sorted(cells))}; expected such a"
                " column to be called split: rename it, or remove it to have the photos split by"
                " their content."
            )


def _whole_numbers(rows: Sequence[TableRow]) -> tuple[TableRow, ...]:
    """Return the rows, with labels 1 for 1.0 if all are such numbers."""
    matches = [_INTEGER_AS_FLOAT.fullmatch(row.label) for row in rows]
    if not all(matches):
        return tuple(rows)
    return tuple(
        row._replace(label=match[1]) for row, match in zip(rows, matches, strict=True) if match
    )


def _check_order(path: Path, rows: Sequence[TableRow]) -> None:
    """Raise DataError if photos stand in the column of labels."""
    if rows and all(is_photo(row.label) and not is_photo(row.image) for row in rows):
        raise DataError(
            f"{path} has its photos in the second column; expected lines of IMAGE,LABEL: swap the"
            " columns, or name them in a first line label,image."
        )


def _odd_line(path: Path, line_number: int, cells: Sequence[str], columns: TableColumns) -> str:
    got = f"{len(cells)} values" if len(cells) > 1 else "one value"
    wanted = (
        f"{columns.width}, as the first line names" if columns.has_header else "two, IMAGE,LABEL"
    )
    named = "" if columns.has_header else " (more columns need a first line that names them)"
    return f"{path}, line {line_number} has {got}: {','.join(cells)!r}; expected {wanted}{named}."


def _two_classes(
    path: Path, line_number: int, row: TableRow, earlier_line_number: int, earlier: TableRow
) -> str:
    lost = (
        ""
        if _is_there(path, row.image)
        else f"; {row.image} is not there, either: paths are relative to the CSV file's folder"
    )
    kind, value, earlier_value = (
        ("class", row.label, earlier.label)
        if row.label != earlier.label
        else ("split", row.split, earlier.split)
    )
    return (
        f"{path}, line {line_number} gives {row.image} the {kind} {value}, line"
        f" {earlier_line_number} gave it {earlier_value}; expected one for each photo: remove one"
        f" of the lines{lost}."
    )
