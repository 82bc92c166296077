"""The columns of a CSV file of photos: by a first line that names them, or the first two."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import is_photo
from fedshelf.common.system.csv_text import TextLine

# Names in the form in which they are compared: lower case, without blanks, dashes and underscores.
_IMAGE_NAMES = {
    "image",
    "images",
    "img",
    "imagepath",
    "imagefile",
    "imagename",
    "imageid",
    "filename",
    "file",
    "filepath",
    "path",
    "photo",
    "picture",
}
_LABEL_NAMES = {
    "label",
    "labels",
    "class",
    "classname",
    "category",
    "target",
    "finelabel",
    "product",
}
_SPLIT_NAMES = {"split"}
_STORE_NAMES = {"store"}
_INDEX_NAMES = {"", "index", "unnamed:0", "id"}  # names of pandas' first column


@dataclass(frozen=True)
class TableColumns:
    """The indices of columns; None: there is no such column.

    width:      number of columns
    has_header: True if the first line names them
    others:     name -> index of those without a meaning here
    """

    image: int
    label: int
    split: int | None
    store: int | None
    width: int
    has_header: bool
    others: Mapping[str, int] = field(default_factory=dict)


def find_columns(path: Path, first: TextLine) -> TableColumns:
    """Return the columns, by the first line.

    Args:
        path: the file, for errors
        first: its first line

    Raises:
        DataError: it names columns, but not one of images and one of labels
    """
    names = [_comparable(cell) for cell in first.cells]
    while len(names) > 2 and not names[-1]:
        names.pop()
    if not _is_header(names):
        return TableColumns(0, 1, None, None, 2, has_header=False)
    image = _indices(names, _IMAGE_NAMES)
    label = _indices(names, _LABEL_NAMES)
    if len(image) != 1 or len(label) != 1:
        missing = "images" if not image else "labels"
        got = f"none of {missing}" if not image or not label else "several that may be one of them"
        raise DataError(
            f"{path} has the columns {', '.join(filter(None, first.cells))}: {got}; expected one of"
            " images (image, filename, path, ...) and one of labels (label, class, category, ...):"
            " rename them."
        )
    split = _indices(names, _SPLIT_NAMES)
    store = _indices(names, _STORE_NAMES)
    used = {*image, *label, *split, *store}
    others = {
        cell: index for index, cell in enumerate(first.cells[: len(names)]) if index not in used
    }
    return TableColumns(
        image[0],
        label[0],
        split[0] if split else None,
        store[0] if store else None,
        len(names),
        has_header=True,
        others={
            cell: index for cell, index in others.items() if _comparable(cell) not in _INDEX_NAMES
        },
    )


def _comparable(cell: str) -> str:
    return re.sub(r"[\s_-]", "", cell.casefold())


def _is_header(names: list[str]) -> bool:
    """Return whether these are names of columns.

    They are if one for images is among them, or one for labels and no photo.
    """
    has_photo = any(is_photo(name) or "/" in name or "\\" in name for name in names)
    return bool(_IMAGE_NAMES & {*names}) or (bool(_LABEL_NAMES & {*names}) and not has_photo)


def _indices(names: list[str], known: Collection[str]) -> list[int]:
    return [index for index, name in enumerate(names) if name in known]
