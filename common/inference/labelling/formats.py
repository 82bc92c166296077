"""The formats of labels: one line each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.inference.labelling import coco, cvat, label_studio, table, yolo
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.scenes.formats.yolo import CLASSES_FILE, DATA_FILE
from fedshelf.common.system.documents import read_json


@dataclass(frozen=True)
class LabelFormat:
    """A format.

    Attributes:
        write: takes a folder, guesses and all classes; returns the files for a person to open
        read: takes the file, or the folder of YOLO; returns the labels in it
        outputs: names of what it writes into the folder
    """

    write: Callable[[Path, Sequence[Guess], Sequence[str]], list[Path]]
    read: Callable[[Path], list[NamedLabels]]
    outputs: tuple[str, ...]


FORMATS: Mapping[str, LabelFormat] = {
    "coco": LabelFormat(coco.write, coco.read, (coco.FILE,)),
    "yolo": LabelFormat(yolo.write, yolo.read, ("images", "labels", CLASSES_FILE, DATA_FILE)),
    "label-studio": LabelFormat(
        label_studio.write, label_studio.read, (label_studio.FILE, label_studio.CONFIG_FILE)
    ),
    "cvat": LabelFormat(cvat.write, cvat.read, (cvat.FILE,)),
    "csv": LabelFormat(table.write, table.read, (table.FILE,)),
}


def recognize_format(path: Path) -> str:
    """Return the name of the format that a person's file is in.

    Raises:
        DataError: there is no such file, or it is in none of them
    """
    if not path.exists():
        raise DataError(f"There is no {path}; expected the file that a labelling tool exported.")
    suffix = path.suffix.lower()
    if path.is_dir():
        return "yolo"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix == ".xml":
        return "cvat"
    if suffix == ".json":
        return "label-studio" if isinstance(read_json(path), list) else "coco"
    way = "unpack it first" if suffix == ".zip" else "export it in one of these"
    raise DataError(
        f"{path} is in no known format; expected JSON (Label Studio, COCO), XML (CVAT), CSV, or a"
        f" folder (YOLO): {way}."
    )
