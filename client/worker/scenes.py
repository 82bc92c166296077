"""A store's photos of scenes, as photos of one class with boxes or masks."""

from pathlib import Path

from fedshelf.common.config import RunConfig
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.photo_folder import PhotoFolder
from fedshelf.common.models.spec import STORE_CHANNELS
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from fedshelf.common.tasks import TASKS, SceneTask


def are_asked_for(config: RunConfig) -> bool:
    """Return whether a run learns from photos of many products with boxes or masks."""
    return isinstance(TASKS[config.train.objective], SceneTask)


def open_scenes(path: Path, config: RunConfig) -> PhotoFolder:
    """Open a store's folder of scenes; labels say 0 for all photos.

    Args:
        path: photos with labels of boxes; see `common.scenes.formats`
        config: of the run

    Raises:
        DataError: there are none, or none with what the run's objective is about
        UnreachableError: photos that were there may be on a disk that is away
    """
    task = TASKS[config.train.objective]
    form = PixelFormat(config.data.image_size, STORE_CHANNELS, config.data.denoise)
    folder = open_scene_folder(path, form, config.data.split)
    return PhotoFolder(
        classes=task.classes,
        splits=folder.images(task.name),
        left_out=folder.left_out,
        duplicates=0,
        unlabelled={},
        unopened_photos=0,
    )
