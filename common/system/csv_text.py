"""The encoding and the cells of a CSV file: UTF-8, UTF-16 or Windows-1252; comma, semicolon, tab or
bar.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fedshelf.common.errors import DataError

MAX_CSV_BYTES = 2**28  # a million photos take a tenth of it
_DELIMITERS = (",", ";", "\t", "|")
_LOOKED_AT = 50  # first lines that are examined to find the delimiter
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_FALLBACK = "cp1252"  # the encoding of Excel's "CSV" on a western Windows


# Texts that pandas writes or reads as missing, without "None" and "NA", which may well be names.
_MISSING = {"", "nan", "<na>", "n/a", "#n/a", "null"}


class TextLine(NamedTuple):
    """A line that is not blank; `number` counts from 1, as an editor shows it."""

    number: int
    cells: tuple[str, ...]


def read_lines(path: Path) -> tuple[list[TextLine], str]:
    """Return the lines of a CSV file, without blank ones and the comments above the first; and a
    note, or "".

    Raises DataError if it cannot be read.
    """
    text, note = _decoded(path)
    # Excel's own way to name the delimiter
    told = re.match(r"[\r\n]*sep=(.)[ ]*(?:\r\n|\r|\n)", text, re.IGNORECASE)
    skipped = len(re.findall(r"\r\n|\r|\n", told[0])) if told else 0
    if told:
        text = text[told.end() :]
    lines = _without_comments(_lines(path, text, told[1] if told else _delimiter(path, text)))
    return [TextLine(line.number + skipped, line.cells) for line in lines], note


def is_missing(cell: str) -> bool:
    """Return whether a table's cell, such as `NaN`, stands for no value.

    Blanks around it do not matter.
    """
    return cell.strip().casefold() in _MISSING


def _decoded(path: Path) -> tuple[str, str]:
    """Return the text of a file, and a note if its encoding was guessed and names depend on it.

    Raises DataError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CSV_BYTES + 1)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    if len(data) > MAX_CSV_BYTES:
        raise DataError(
            f"{path} is larger than {MAX_CSV_BYTES >> 20} MiB; expected a CSV file, one line per"
            " photo."
        )
    try:
        return data.decode(_encoding(data)), ""
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode(_FALLBACK)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is in no encoding that can be told, neither UTF-8, UTF-16 nor Windows-1252; "
            "save it as CSV (UTF-8)."
        ) from error
    note = (
        f"{path.name} is not in UTF-8 but was read as Windows-1252; if names look wrong, save it as"
        " UTF-8"
    )
    return text, note


def _encoding(data: bytes) -> str:
    for mark, encoding in _BOMS.items():
        if data.startswith(mark):
            return encoding
    start = data[:1000]
    # UTF-16 without a mark: every other byte of ASCII is zero
    if start[1::2].count(0) > len(start) / 4:
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) > len(start) / 4 else "utf-8"


def _delimiter(path: Path, text: str) -> str:
    """Return the delimiter that cuts the first lines into the same number of cells, at least two.

    If none does, return the one that cuts most of them into at least two.
    """
    cells = {
        each: [len(_trimmed(line.cells)) for line in _first(path, text, each)]
        for each in _DELIMITERS
    }
    even = [each for each, counts in cells.items() if len(set(counts)) == 1 and counts[0] >= 2]
    if len(even) > 1:  # one of them is a part of names: the right one yields names of files
        even = [each for each in even if _names_a_file(path, text, each)] or even
    if even:
        return even[0]
    return max(_DELIMITERS, key=lambda each: sum(count >= 2 for count in cells[each]))


def _first(path: Path, text: str, delimiter: str) -> list[TextLine]:
    return _without_comments(_lines(path, text, delimiter, _LOOKED_AT))


def _names_a_file(path: Path, text: str, delimiter: str) -> bool:
    """Return whether some cell of the last line examined names a file."""
    last = _first(path, text, delimiter)[-1]
    try:
        return any((path.parent / cell).is_file() for cell in last.cells if cell)
    except (OSError, ValueError):
        return False


def _lines(path: Path, text: str, delimiter: str, most: int | None = None) -> Iterator[TextLine]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    found = 0
    try:
        for row in reader:
            cells = tuple(cell.strip() for cell in row)
            if any(cells):
                yield TextLine(reader.line_num, cells)
                found += 1
            if found == most:
                return
    except csv.Error as error:
        raise DataError(
            f"Cannot read {path} as a CSV file: line {reader.line_num}: {error}."
        ) from error


def _without_comments(lines: Iterator[TextLine]) -> list[TextLine]:
    """Return the lines without the comments above the first line of several cells; a comment begins
    with a #.
    """
    found: list[TextLine] = []
    for line in lines:
        if found or not (line.cells[0].startswith("#") and len(_trimmed(line.cells)) == 1):
            found.append(line)
    return found


def _trimmed(cells: Sequence[str]) -> Sequence[str]:
    """Return cells without the empty ones at the end, which spreadsheets add."""
    return cells[: max((place + 1 for place, cell in enumerate(cells) if cell), default=0)]
