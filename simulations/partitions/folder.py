"""The stores are there already: each sub-folder of a folder is a store's folder of photos.

    chain/
      paris/shirt/1.jpg     a store, as `flower-client` takes it: classes, or splits with classes
      rome/shirt/7.jpg
      test/shirt/3.jpg      optional: the server's own test set, no store

`flower-simulation split` writes this layout.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from common.errors import DataError
from common.images.decode import PixelFormat
from common.images.folder import Folder, open_folder
from common.images.turns import to_turns
from common.images.types import Images, StoreData
from common.naming import check_store_name
from simulations.datasets.assemble import relabel

TEST = "test"
SPLITS = {"train", "val", "validation", TEST}


@dataclass(frozen=True)
class Stores:
    """Stores by name, in order of their names; the server's test set; a line per store that left files out."""

    stores: dict[str, StoreData]
    classes: tuple[str, ...]
    test: Images | None
    left_out: str


def open_stores(
    path: Path, form: PixelFormat, classes: tuple[str, ...], minimum: int, *, turns: bool = False
) -> Stores:
    """Open each sub-folder of `path` as a store. The classes are those given, or all that the folders have, sorted.

    turns: whether their turns are to be told, of photos without a class, too

    Raises DataError if there are no sub-folders, if they are the splits of one data set, or if a store has
    no usable photo, fewer than `minimum` for training or an unknown class; ConfigError for an unusable name.
    """
    names = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if set(names) <= SPLITS:
        got = f"only {', '.join(names)}, which are the splits of one data set" if names else "no sub-folder"
        raise DataError(
            f"Partition folder expects a sub-folder per store in {path}, such as paris/shirt/1.jpg; it has {got}."
        )
    opened = {name: _open(path / name, form, turns=turns) for name in names}
    classes = classes or tuple(sorted({name for folder in opened.values() for name in folder.classes}))
    tested = opened.pop(TEST, None)
    stores = {check_store_name(name): _store(name, folder, classes, minimum) for name, folder in opened.items()}
    test = _whole(tested, classes) if tested else None
    left_out = "\n".join(f"{name}: {folder.summary()}" for name, folder in opened.items() if folder.left_out)
    return Stores(stores, classes, test, left_out)


def _open(path: Path, form: PixelFormat, *, turns: bool) -> Folder:
    size, channels, denoise = form.image_size, form.channels, form.denoise
    folder = open_folder(path, image_size=size, channels=channels, denoise=denoise, unlabelled=turns)
    return to_turns(folder) if turns else folder


def _store(name: str, folder: Folder, classes: tuple[str, ...], minimum: int) -> StoreData:
    data = StoreData(
        *(
            relabel(folder.splits[split], folder.classes, classes, f"Store {name}")
            for split in ("train", "validation", "test")
        )
    )
    if len(data.train) < minimum:
        raise DataError(
            f"Store {name} has {len(data.train)} training images ({folder.summary()}); "
            f"at least {minimum} are expected (data.min_images)."
        )
    return data


def _whole(folder: Folder, classes: tuple[str, ...]) -> Images:
    """All photos of a folder as one set, whatever its splits."""
    parts = list(folder.splits.values())
    rows = torch.cat([images.rows for images in parts]).sort().values
    return relabel(Images(parts[0].pixels, parts[0].labels, rows), folder.classes, classes, "The test folder")
