"""Display names of products, for classes with other names: folders by number, for example.

The classes keep their own names wherever programs meet: in models, messages and files of results.
"""

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedshelf.common.classes.spelling import normalize_name
from fedshelf.common.errors import ConfigError
from fedshelf.common.system.csv_text import TextLine, read_lines
from fedshelf.common.system.files import write_text

CLASS_NAMES_FILE = "class-names.csv"  # in a run's directory, in the form that `read` takes
CSV_COLUMNS = ("folder", "name")
_MAX_NAMES = 5  # a sentence names so many classes; it only counts the rest

ProductNames = Mapping[str, str]
"""Class (the name of its folder) -> its display name; a class that is not in it has its folder's
name.
"""


def read(path: Path) -> dict[str, str]:
    """Return the names in a CSV file of folder,name, with or without that first line.

    Raises:
        ConfigError: there is no such file, a line is no pair, a folder is named twice, or two
            folders have one name
        DataError: the file cannot be read
    """
    if not path.is_file():
        raise ConfigError(
            f"--class-names got {path}, which is no file; expected a CSV file with a line"
            " folder,name for each class."
        )
    names: dict[str, str] = {}
    folders: dict[str, str] = {}
    for line in _pairs(path):
        folder = _nfc(line.cells[0])
        name = " ".join(line.cells[1].split())
        if folder in names:
            raise ConfigError(
                f"{path}, line {line.number} names the folder {folder!r} again, {name!r} after"
                f" {names[folder]!r}; expected one line for each folder: remove one."
            )
        if (other := folders.setdefault(normalize_name(name), folder)) != folder:
            raise ConfigError(
                f"{path}, line {line.number} calls the folder {folder!r} {name!r}, like the folder"
                f" {other!r}; expected a name of its own for each, so that people can tell them"
                " apart."
            )
        names[folder] = name
    if not names:
        raise ConfigError(f"{path} names no class; expected a line folder,name for each.")
    return names


def write_to_run(directory: Path, names: ProductNames) -> None:
    """Write the names into a run's directory, for its reports and for when it goes on.

    If there are none, no file is left there.

    Raises:
        OSError: the disk is full, or the directory cannot be written
    """
    if not names:
        (directory / CLASS_NAMES_FILE).unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([CSV_COLUMNS, *names.items()])
    write_text(directory / CLASS_NAMES_FILE, text.getvalue())


def read_from_run(directory: Path) -> dict[str, str]:
    """Return the names in a run's directory; {} if nobody gave any.

    Raises:
        ConfigError: see `read`
        DataError: see `read`
    """
    path = directory / CLASS_NAMES_FILE
    return read(path) if path.exists() else {}


def choose_for_run(directory: Path, names: ProductNames | None) -> ProductNames:
    """Return the names that a run's directory has from now on.

    Args:
        directory: the run's directory
        names: written to it; None: the names that it has already

    Raises:
        ConfigError: see `read`
        DataError: see `read`
        OSError: the names cannot be written
    """
    if names is None:
        return read_from_run(directory)
    write_to_run(directory, names)
    return names


def check_classes(names: ProductNames, classes: Sequence[str]) -> str:
    """Return a sentence about names that belong to no class of the run; empty if there are none.

    Raises:
        ConfigError: a name is that of another class of the run, which has no line of its own
    """
    unnamed = {normalize_name(label): label for label in classes if _nfc(label) not in names}
    for folder, name in names.items():
        if (other := unnamed.get(normalize_name(name))) is not None and folder in map(
            _nfc, classes
        ):
            raise ConfigError(
                f"--class-names calls the folder {folder!r} {name!r}, as another class of the run"
                f" is called that has no line, {other!r}; give that one a name, too."
            )
    unknown = [repr(folder) for folder in names if folder not in map(_nfc, classes)]
    if not unknown:
        return ""
    more = f" and {len(unknown) - _MAX_NAMES} more" if len(unknown) > _MAX_NAMES else ""
    return (
        "--class-names has lines for folders that are no class of the run:"
        f" {', '.join(unknown[:_MAX_NAMES])}{more}."
    )


def display_name(names: ProductNames, label: str) -> str:
    """Return the display name of a class; without one, the folder's name."""
    return names.get(_nfc(label), label)


def _pairs(path: Path) -> list[TextLine]:
    """Return the file's lines of two cells, without a first line of column names.

    Raises ConfigError, DataError.
    """
    lines, _ = read_lines(path)
    for line_number, cells in lines:
        if len(cells) < 2 or not all(cells[:2]) or any(cells[2:]):
            raise ConfigError(
                f"{path}, line {line_number} has {','.join(cells)!r}; expected folder,name (a name"
                ' with a comma in it stands in double quotes: 10,"Shirts, blue").'
            )
    has_header = (
        bool(lines) and tuple(cell.casefold() for cell in lines[0].cells[:2]) == CSV_COLUMNS
    )
    return lines[1:] if has_header else lines


def _nfc(label: str) -> str:
    """Return a folder's name as spreadsheets write it; some file systems decompose letters."""
    return unicodedata.normalize("NFC", label)
