"""The labels of a folder of scenes as the checks see them, and its photos in the form of a scan."""

from dataclasses import dataclass, replace
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.folder.scan import Photo, Scan
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene, SceneLabels
from fedshelf.common.scenes.formats.masks import NOTHING_SAID, mask_of
from fedshelf.common.scenes.formats.read import is_scene_folder, read_scenes

_MASK_SIDE = 320  # pixels, of the squares in which masks are read: smaller products may not show


@dataclass(frozen=True)
class MaskFacts:
    """The masks of a folder that are pictures of their own, as opening each has told.

    Attributes:
        unusable: (photo, reason) of those that training cannot use, in order
        empty: photos whose mask has no pixel of a product, in order
    """

    unusable: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()


def labels_of(data: Path) -> SceneLabels | None:
    """Return the labels of a folder of scenes, or of a COCO file; None: it has no such labels.

    Raises:
        DataError: its labels cannot be understood
    """
    try:
        is_scenes = is_scene_folder(data)
    except OSError:
        return None  # the scan of classes says which folder cannot be read
    return read_scenes(data) if is_scenes else None


def scan_of(labels: SceneLabels) -> Scan:
    """Return the list of the scenes' photos, which have no class."""
    photos = (Photo(scene.name, scene.path, "", scene.split) for scene in labels.scenes)
    return Scan(tuple(photos), frozenset(), labels.left_out)


def labels_of_usable(labels: SceneLabels, names: set[str]) -> SceneLabels:
    """Return the labels of the photos that can be decoded."""
    return replace(labels, scenes=tuple(each for each in labels.scenes if each.name in names))


def open_masks(labels: SceneLabels) -> MaskFacts:
    """Open each picture of a mask, as training does, a thread per core.

    Outlines in label files are no pictures: they were read with the labels.
    """
    pictures = [scene for scene in labels.scenes if scene.mask is not None]

    def inspect(scene: LabelledScene) -> str | bool:
        """Return why a mask cannot be used, or whether it shows a product."""
        try:
            mask = mask_of(scene, labels.classes, _MASK_SIDE)
        except (NotUsableError, DataError) as error:
            return str(error).removesuffix(".")
        return bool(((mask > 0) & (mask != NOTHING_SAID)).any())

    found = list(zip(pictures, map_in_order(inspect, pictures), strict=True))
    return MaskFacts(
        tuple((scene.name, told) for scene, told in found if isinstance(told, str)),
        tuple(scene.name for scene, told in found if told is False),
    )
