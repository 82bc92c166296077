"""YOLO: photos, and for each a text file with a box around the whole photo.

    images/shop/1.jpg   labels/shop/1.txt   classes.txt   data.yaml

A line is `class x y width height`, in shares of the photo; the class counts from 0. There is no
place for a probability, so only photos of which the model is sure have a line. What YOLO takes for
classification without boxes is folders of classes, which `class_folders` writes.
Source: https://docs.ultralytics.com/datasets/detect/ (files and `data.yaml`); `classes.txt` is what
labelImg and Label Studio's converter read.
"""

from collections.abc import Sequence
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import is_photo, walk_files
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.inference.labelling.placements import (
    Placement,
    carry_out,
    free_target,
    linking,
    relative_place,
)
from fedshelf.common.scenes.formats.yolo import CLASSES_FILE, class_texts
from fedshelf.common.system.files import write_text

WHOLE = "0.5 0.5 1 1"


def write(folder: Path, guesses: Sequence[Guess], classes: Sequence[str]) -> list[Path]:
    """Write links to the photos, their labels and the two files of class names; return the latter.

    Args:
        folder: of all these
        guesses: the photos
        classes: in the order of their numbers
    """
    images = folder / "images"
    action = linking(folder)
    taken: set[str] = set()
    placements = []
    for guess in guesses:
        target = free_target(images / relative_place(guess.name), taken, same_stem=True)
        placements.append(Placement(action, guess.path.absolute(), target))
        line = f"{classes.index(guess.label)} {WHOLE}\n" if guess.verdict == "sure" else ""
        write_text((folder / "labels" / target.relative_to(images)).with_suffix(".txt"), line)
    outcome = carry_out(placements)
    if outcome.left_out:
        name, reason = outcome.left_out[0]
        raise DataError(f"{name} cannot be put into {images}: {reason}.")
    texts = class_texts(classes)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def read(path: Path) -> list[NamedLabels]:
    """Return the photos in `images` with the classes of the lines in `labels`.

    Args:
        path: the folder of both; its photos may be links, and count as those that they lead to

    Raises:
        DataError: it is no such folder, or a line cannot be understood
    """
    try:
        names = (path / CLASSES_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} has no {CLASSES_FILE} that can be read; expected a YOLO folder with"
            f" {CLASSES_FILE}, images and labels."
        ) from error
    if not (path / "images").is_dir():
        raise DataError(f"{path} has no folder images; copy it to the labels, or export it too.")
    found = []
    for name, file in walk_files(path / "images", "images", set(), []):
        if is_photo(name):
            below = file.relative_to(path / "images")
            labels = _labels((path / "labels" / below).with_suffix(".txt"), names)
            image = str(file.readlink()) if file.is_symlink() else below.as_posix()
            found.append(NamedLabels(image, labels))
    return found


def _labels(file: Path, names: Sequence[str]) -> frozenset[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return frozenset(names[_index(line.split()[0])] for line in lines if line.strip())
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, IndexError) as error:
        raise DataError(
            f"{file} cannot be understood ({error}); expected lines such as 0 {WHOLE}, whose first"
            f" number is a line of {CLASSES_FILE}, counted from 0."
        ) from error


def _index(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(f"class {number}")
    return number
