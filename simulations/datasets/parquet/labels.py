"""The classes of a data set in parquet files: those of all labels, one list for all files.

A label counts by its class name, never by its number: each file's own names are mapped to the list.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.classes.spelling import normalize_name
from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.split import Split
from fedshelf.common.system.csv_text import is_missing
from fedshelf.simulations.datasets.parquet.columns import ParquetColumns, find_columns, same_columns
from fedshelf.simulations.datasets.parquet.layout import Files
from fedshelf.simulations.datasets.parquet.reading import batches, schema_of

MAX_LABELS = 10_000
LABELS_PER_BATCH = 65_536  # labels read at once

Value = int | float | str | bool
"""A label as a file holds it."""


@dataclass(frozen=True)
class FileLabels:
    """The mapping of one file's labels to the data set's classes.

    Attributes:
        image: its column of images
        label: its column of labels
        values: all labels that occur in it
        numbers: for each of them, its index in the data set's classes; -1: no class
    """

    image: str
    label: str
    values: tuple[Value, ...]
    numbers: tuple[int, ...]

    def read(self, column: Any) -> NDArray[np.int64]:
        """Map a pyarrow array to labels.

        Returns:
            Int64 [N]; -1 where there is no class.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        column = _plain(column)
        indices = pc.index_in(column, value_set=pa.array(self.values, column.type))
        positions: NDArray[np.int64] = indices.fill_null(len(self.values)).to_numpy(
            zero_copy_only=False
        )
        numbers = np.array([*self.numbers, -1], np.int64)
        return numbers.take(positions)


@dataclass(frozen=True)
class Labels:
    """The labels of a data set.

    Attributes:
        classes: names, in the order of the first file's own names, else sorted
        files: split -> label mapping of each of its files, in order
        untrained: classes with labels in other splits, but not in train
    """

    classes: tuple[str, ...]
    files: Mapping[Split, tuple[FileLabels, ...]]
    untrained: tuple[str, ...]

    def untrained_in_words(self) -> str:
        """Return the sentence on classes that cannot be learnt; empty if there are none."""
        if not self.untrained:
            return ""
        return (
            f"No training image has the class {', '.join(self.untrained[:10])}, which other splits"
            " have."
        )


@dataclass(frozen=True)
class _RawFileLabels:
    """The labels of one file.

    Attributes:
        classes: the class name of each label; "": none
        is_numbered: whether the labels are numbers without names
    """

    path: Path
    columns: ParquetColumns
    classes: Mapping[Value, str]
    is_numbered: bool


def read_labels(splits: Files) -> Labels:
    """Find the columns and the classes of all files.

    Args:
        splits: split -> its files, with at least one for training

    Raises:
        DataError: columns cannot be used or differ from the first file's; labels are no classes;
            there are more than `MAX_LABELS` classes; or some files have names and others numbers.
            The message names the file.
    """
    first = splits["train"][0]
    columns = find_columns(first, schema_of(first))
    labels_of_split = {
        split: [_read(path, first, columns) for path in splits[split]] for split in splits
    }
    all_files = [file for files in labels_of_split.values() for file in files]
    _check_alike(all_files)
    classes = _order_classes(
        labels_of_split["train"][0],
        {name for file in all_files for name in file.classes.values()} - {""},
    )
    if len(classes) > MAX_LABELS:
        raise DataError(_too_many(first, columns.label))
    numbers = {name: class_index for class_index, name in enumerate(classes)} | {"": -1}
    trained_names = {
        normalize_name(name) for file in labels_of_split["train"] for name in file.classes.values()
    }
    return Labels(
        classes,
        {
            split: tuple(_with_numbers(file, numbers) for file in files)
            for split, files in labels_of_split.items()
        },
        # spellings are merged or refused
        tuple(name for name in classes if normalize_name(name) not in trained_names),
    )


def _read(path: Path, first: Path, wanted: ParquetColumns) -> _RawFileLabels:
    schema = schema_of(path)
    columns = wanted if path == first else same_columns(path, schema, first, wanted)
    values: dict[Value, None] = {}
    for batch in batches(path, [columns.label], LABELS_PER_BATCH):
        values |= dict.fromkeys(_values(batch.column(0)))
        if len(values) > MAX_LABELS:
            raise DataError(_too_many(path, columns.label))
    classes = {value: _class_of(value, columns, path) for value in values}
    is_numbered = not columns.names and any(not isinstance(value, str | bool) for value in values)
    return _RawFileLabels(path, columns, classes, is_numbered)


def _values(column: Any) -> Iterable[Value]:
    """Return the labels that occur in a pyarrow array, without missing ones."""
    values = _plain(column).unique().to_pylist()
    return (
        value
        for value in values
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    )


def _plain(column: Any) -> Any:
    """Return a pyarrow array without dictionary, of a type in which pyarrow can look values up."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        return column.cast(pa.float64())
    return column.cast(pa.string()) if pa.types.is_string_view(column.type) else column


def _class_of(value: Value, columns: ParquetColumns, path: Path) -> str:
    """Return the name of a label's class.

    It is empty if the label means no class, as -1 does on the Hugging Face hub.
    """
    where = f"The column {columns.label!r} of {path}"
    if isinstance(value, str):
        return "" if is_missing(value) else unicodedata.normalize("NFC", value.strip())
    if isinstance(value, float) and not value.is_integer():
        raise DataError(
            f"{where} holds {value:g}; expected labels, which are whole numbers or names."
        )
    if isinstance(value, bool) or value < 0:
        return str(value) if isinstance(value, bool) else ""
    if not columns.names:
        return str(int(value))
    if value >= len(columns.names):
        raise DataError(
            f"{where} holds {int(value)}, but its classes are only {len(columns.names)}, from"
            " 0: correct it."
        )
    return unicodedata.normalize("NFC", columns.names[int(value)].strip())


def _check_alike(files: Sequence[_RawFileLabels]) -> None:
    """Check that either all files give numbers or all give names; raise DataError if not.

    Otherwise nobody could tell which number is which name.
    """
    numbered = [file.path for file in files if file.is_numbered]
    named = [file.path for file in files if file.classes and not file.is_numbered]
    if numbered and named:
        raise DataError(
            f"The labels of {numbered[0]} are numbers without names, those of {named[0]} have"
            " names; expected the same in all files: write both from one source."
        )


def _order_classes(first: _RawFileLabels, names: set[str]) -> tuple[str, ...]:
    """Return the names in the order of the first file's own names.

    The other names follow, numbers by size.
    """
    own = list(dict.fromkeys(name for name in first.columns.names if name in names))
    others = sorted(names - set(own), key=int if first.is_numbered else str)
    return (*own, *others)


def _with_numbers(file: _RawFileLabels, numbers: Mapping[str, int]) -> FileLabels:
    values = tuple(file.classes)
    return FileLabels(
        file.columns.image,
        file.columns.label,
        values,
        tuple(numbers[file.classes[value]] for value in values),
    )


def _too_many(path: Path, label: str) -> str:
    return (
        f"The column {label!r} of {path} has more than {MAX_LABELS:,} different values; expected"
        " labels, of which many images share each. Rename the column that is meant to label."
    )
