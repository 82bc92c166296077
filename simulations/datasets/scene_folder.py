"""The data set in a person's folder of scenes; see `common.scenes.folder`."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.listing.split import SPLITS
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from fedshelf.common.wording import format_list
from fedshelf.simulations.datasets.dataset.assemble import assemble
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource

SCENE = "scene"  # the one label of all photos: they have no class


def source(path: Path, config: DataConfig) -> DatasetSource:
    """Return the data set of a person's scenes, of any size and in colour.

    Args:
        path: a folder of photos with labels of boxes or masks, or a COCO file
        config: the settings of the data set
    """
    name = path.resolve().name
    load = partial(_load, path, config)
    return DatasetSource(name, None, 3, load, photos=path, are_scenes=True)


def _load(path: Path, config: DataConfig, form: PixelFormat) -> Dataset:
    folder = open_scene_folder(path, form, config.split)
    splits = {str(split): images for split, images in folder.photos().items()}
    if not len(splits["train"]):
        given = format_list(sorted(set(folder.split_of)))
        raise DataError(
            f"{path} has photos of the {given} split only; expected some to train on: call their"
            " folder train."
        )
    annotations: dict[str, dict[str, Tensor]] = {
        objective: dict.fromkeys(SPLITS, rows) for objective, rows in folder.annotations().items()
    }
    dataset = assemble(path.name, (SCENE,), splits, folder.summary)
    return replace(dataset, annotations=annotations, products=folder.classes)
