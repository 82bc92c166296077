"""From decoded splits to a data set: what every source ends with."""

from collections.abc import Mapping, Sequence

import torch

from fedshelf.common.classes.spelling import places
from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images
from fedshelf.simulations.datasets.dataset.types import Dataset


def assemble(name: str, classes: Sequence[str], splits: Mapping[str, Images], left_out: str = "") -> Dataset:
    """A data set of these splits, those without images left away.

    Raises DataError if nothing is left to train on.
    """
    usable = {split: images for split, images in splits.items() if len(images)}
    if "train" not in usable:
        raise DataError(f"Data set {name} has no usable training image: none can be decoded and has a label.")
    return Dataset(tuple(classes), usable["train"], usable.get("validation"), usable.get("test"), left_out)


def unlabelled(splits: Mapping[str, Images]) -> str:
    """How many rows no split selects, for a person; empty if none."""
    total = sum(len(images.labels) for images in splits.values())
    lost = total - sum(map(len, splits.values()))
    return f"{lost} of {total} images are left out: broken, or without a label." if lost else ""


def relabel(
    images: Images, classes: Sequence[str], wanted: Sequence[str], owner: str, *, merge: bool = False
) -> Images:
    """The same images with labels counted in `wanted` instead of `classes`.

    merge: whether a class may be spelt otherwise there; see `common.classes.spelling`

    Raises DataError naming `owner` and its first class that has images but is not wanted.
    """
    if tuple(classes) == tuple(wanted):
        return images
    place = places(classes, wanted, merge=merge)
    for label in torch.unique(images.targets()).tolist():
        if classes[label] not in place:
            raise DataError(
                f"{owner} has images of class {classes[label]!r}, which is not among the classes "
                f"{', '.join(wanted)}; add it to data.classes or remove its images."
            )
    # The last entry stands for label -1: an image of no class, which no set selects.
    mapping = torch.tensor([place.get(name, -1) for name in classes] + [-1])
    return Images(images.pixels, mapping[images.labels], images.rows)
