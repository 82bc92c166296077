"""A folder of scenes in the form of a folder of photos: one class, and boxes or masks beside it."""

from pathlib import Path

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.photo_folder import PhotoFolder
from fedshelf.common.images.listing.split import SplitRule
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from fedshelf.common.scenes.scene_classes import SceneClasses


def open_scene_photos(
    path: Path,
    form: PixelFormat,
    rule: SplitRule,
    objective: str,
    classes: SceneClasses,
) -> PhotoFolder:
    """Open a store's scenes; all photos have the label 0.

    Args:
        path: photos with labels of boxes; see `common.scenes.formats`
        form: of the pixels
        rule: how photos are held out, see `common.images.listing.split`
        objective: boxes or masks
        classes: those of the run

    Raises:
        DataError: there are none, or none with what the objective is about
        UnknownClassError: a product is of no class of the run
        UnreachableError: photos that were there may be on a disk that is away
    """
    folder = open_scene_folder(path, form, rule)
    return PhotoFolder(
        classes=classes.outputs,
        splits=folder.images(objective, classes.products, merge=classes.merge),
        left_out=folder.left_out,
        duplicates=0,
        unlabelled={},
        unopened_photos=0,
    )
