"""A person's labels as training data: each label finds its photo in a folder, whatever names it.

A file names photos as the tool knew them: below another folder, or without any. A photo is meant if
one of the two paths ends with the other.
"""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import (
    LeftOut,
    is_photo,
    valid_text,
    walk_files,
)
from fedshelf.common.inference.labelling.guesses import NamedLabels
from fedshelf.common.names import is_class_name
from fedshelf.common.system.files import write_text

NO_LABEL = "no label"


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo with the label that a person gave it."""

    path: Path
    label: str


def find_photos(
    named: Sequence[NamedLabels], folder: Path, left_out: LeftOut
) -> list[LabelledPhoto]:
    """Return the photos of a folder that have one label.

    Args:
        named: as a file names them
        folder: of the photos, at any depth
        left_out: gets those without a label, with several, and those that are not in the folder

    Raises:
        DataError: a name may mean several photos, or two names with other labels mean one photo
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; expected the one of the photos.")
    files = _by_name(folder)
    found: dict[Path, NamedLabels] = {}
    for one in named:
        path = _find(one.image, files, folder)
        if path is None:
            left_out.append((one.image, f"not in {folder}"))
            continue
        earlier = found.setdefault(path, one)
        if earlier.labels != one.labels:
            raise DataError(
                f"{earlier.image} and {one.image} have different labels, and both may mean {path};"
                " give the folder with which the labelling began, with all its photos."
            )
    return list(_usable(found, left_out))


def write_table(path: Path, photos: Iterable[LabelledPhoto]) -> None:
    """Write a CSV file IMAGE,LABEL that training takes; see `common.images.listing.tables`.

    Paths are relative to the file's folder.
    """
    base = path.absolute().parent
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label"])
    for photo in photos:
        writer.writerow(
            [Path(os.path.relpath(photo.path.absolute(), base)).as_posix(), photo.label]
        )
    write_text(path, text.getvalue())


def _by_name(folder: Path) -> dict[str, list[tuple[tuple[str, ...], Path]]]:
    """Return the photos by the last part of their names: all parts below the folder, and path."""
    files = defaultdict(list)
    for name, path in walk_files(folder, ".", set(), []):
        if is_photo(name):
            parts = PurePosixPath(name).parts
            files[parts[-1]].append((parts, path))
    return files


def _find(
    image: str, files: dict[str, list[tuple[tuple[str, ...], Path]]], folder: Path
) -> Path | None:
    """Return the photo that a name means; None: none. Raises DataError if it may mean several."""
    named = PurePosixPath(valid_text(image.replace("\\", "/"))).parts
    above = tuple(valid_text(part) for part in folder.absolute().parts)
    matches = []
    for parts, path in files.get(named[-1], []) if named else []:
        common = _common_end(named, above + parts)
        if common == len(named) or common >= len(parts):
            matches.append((common, path))
    best = [path for common, path in matches if common == max(matches)[0]]
    if len(best) > 1:
        raise DataError(
            f"{image} may be {best[0]} or {best[1]}; give a folder in which one photo is called so."
        )
    return best[0] if best else None


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of parts in which two paths end alike."""
    count = 0
    for part, opposite in zip(reversed(one), reversed(other), strict=False):
        if part != opposite:
            break
        count += 1
    return count


def _usable(found: dict[Path, NamedLabels], left_out: LeftOut) -> Iterable[LabelledPhoto]:
    for path, one in found.items():
        labels = sorted(label for label in one.labels if label.strip())
        if not labels:
            left_out.append((one.image, NO_LABEL))
        elif len(labels) > 1:
            left_out.append((one.image, f"{len(labels)} labels: {', '.join(labels)}"))
        elif not is_class_name(labels[0]):
            left_out.append((one.image, "not a name of a class"))
        else:
            yield LabelledPhoto(path, labels[0])
