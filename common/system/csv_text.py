"""The encoding and the cells of a CSV file, as spreadsheets of many countries write it.

bytes --> text, by its encoding: UTF-8, UTF-16 or Windows-1252
      --> cells, by its delimiter: comma, semicolon, tab or bar
      --> lines that are neither blank nor a comment
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
_MAX_EXAMINED_LINES = 50  # first lines that are examined to find the delimiter
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_FALLBACK_ENCODING = "cp1252"  # the encoding of Excel's "CSV" on a western Windows


# Texts that pandas writes or reads as missing, without "None" and "NA", which may well be names.
_MISSING = {"", "nan", "<na>", "n/a", "#n/a", "null"}


class TextLine(NamedTuple):
    """A line that is not blank; `number` counts from 1, as an editor shows it."""

    number: int
    cells: tuple[str, ...]


def read_lines(path: Path) -> tuple[list[TextLine], str]:
    """Return the lines of a CSV file, without blank ones and the comments above the first.

    Returns:
        the lines; and a sentence about a guessed encoding, or ""

    Raises:
        DataError: the file cannot be read
    """
    text, note = _decode(path)
    # Excel's own way to name the delimiter
    separator = re.match(r"[\r\n]*sep=(.)[ ]*(?:\r\n|\r|\n)", text, re.IGNORECASE)
    skipped_lines = 0
    if separator:
        skipped_lines = len(re.findall(r"\r\n|\r|\n", separator[0]))
        text = text[separator.end() :]
    delimiter = separator[1] if separator else _find_delimiter(path, text)
    lines = _without_comments(_lines(path, text, delimiter))
    return [TextLine(line.number + skipped_lines, line.cells) for line in lines], note


def is_missing(cell: str) -> bool:
    """Return whether a table's cell, such as `NaN`, stands for no value.

    Blanks around it do not matter.
    """
    return cell.strip().casefold() in _MISSING


def _decode(path: Path) -> tuple[str, str]:
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
        return data.decode(_guess_encoding(data)), ""
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode(_FALLBACK_ENCODING)
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


def _guess_encoding(data: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return encoding
    start = data[:1000]
    # UTF-16 without a mark: every other byte of ASCII is zero
    if start[1::2].count(0) > len(start) / 4:
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) > len(start) / 4 else "utf-8"


def _find_delimiter(path: Path, text: str) -> str:
    """Return the delimiter that cuts the first lines into the same number of cells, at least two.

    If none does, return the one that cuts most of them into at least two.
    """
    widths = {
        delimiter: [len(_trim(line.cells)) for line in _first_lines(path, text, delimiter)]
        for delimiter in _DELIMITERS
    }
    even = [
        delimiter
        for delimiter, counts in widths.items()
        if len(set(counts)) == 1 and counts[0] >= 2
    ]
    if len(even) > 1:  # one of them is a part of names: the right one yields names of files
        even = [delimiter for delimiter in even if _names_a_file(path, text, delimiter)] or even
    if even:
        return even[0]
    return max(_DELIMITERS, key=lambda delimiter: sum(width >= 2 for width in widths[delimiter]))


def _first_lines(path: Path, text: str, delimiter: str) -> list[TextLine]:
    return _without_comments(_lines(path, text, delimiter, _MAX_EXAMINED_LINES))


def _names_a_file(path: Path, text: str, delimiter: str) -> bool:
    """Return whether some cell of the last line examined names a file."""
    last = _first_lines(path, text, delimiter)[-1]
    try:
        return any((path.parent / cell).is_file() for cell in last.cells if cell)
    except (OSError, ValueError):
        return False


def _lines(
    path: Path, text: str, delimiter: str, max_lines: int | None = None
) -> Iterator[TextLine]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    yielded = 0
    try:
        for row in reader:
            cells = tuple(cell.strip() for cell in row)
            if any(cells):
                yield TextLine(reader.line_num, cells)
                yielded += 1
            if yielded == max_lines:
                return
    except csv.Error as error:
        raise DataError(
            f"Cannot read {path} as a CSV file: line {reader.line_num}: {error}."
        ) from error


def _without_comments(lines: Iterator[TextLine]) -> list[TextLine]:
    """Return the lines without those above the first line of several cells that begin with a #."""
    remaining: list[TextLine] = []
    for line in lines:
        is_comment = line.cells[0].startswith("#") and len(_trim(line.cells)) == 1
        if remaining or not is_comment:
            remaining.append(line)
    return remaining


def _trim(cells: Sequence[str]) -> Sequence[str]:
    """Return cells without the empty ones at the end, which spreadsheets add."""
    return cells[: max((index + 1 for index, cell in enumerate(cells) if cell), default=0)]
