"""Assembly of a data set from decoded splits: the last step of every source."""

from collections.abc import Mapping, Sequence

import torch

from fedshelf.common.classes.spelling import class_indices
from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images
from fedshelf.simulations.datasets.dataset.types import Dataset


def assemble(
    name: str, classes: Sequence[str], splits: Mapping[str, Images], left_out: str = ""
) -> Dataset:
    """Return a data set of these splits, without those that have no images.

    Args:
        name: the name of the data set
        classes: the names of its classes, in the order of their labels
        splits: split -> images
        left_out: images that are not used and why, in words

    Raises:
        DataError: there is no image to train on.
    """
    usable = {split: images for split, images in splits.items() if len(images)}
    if "train" not in usable:
        raise DataError(
            f"Data set {name} has no usable training image: none can be decoded and has a label."
        )
    return Dataset(
        tuple(classes), usable["train"], usable.get("validation"), usable.get("test"), left_out
    )


def unlabelled(splits: Mapping[str, Images]) -> str:
    """Return a sentence on the number of rows that no split selects; empty if there are none."""
    total = sum(len(images.labels) for images in splits.values())
    num_left_out = total - sum(map(len, splits.values()))
    return (
        f"{num_left_out} of {total} images are left out: broken, or without a label."
        if num_left_out
        else ""
    )


def relabel(
    images: Images,
    classes: Sequence[str],
    wanted: Sequence[str],
    owner: str,
    *,
    merge: bool = False,
) -> Images:
    """Return the same images with labels that are indices into `wanted` instead of `classes`.

    Args:
        images: the images
        classes: the classes that their labels are indices of
        wanted: the classes that the new labels are indices of
        owner: the name of the data set, for the message
        merge: whether a class may be spelt otherwise there; see `common.classes.spelling`

    Raises:
        DataError: a class has images but is not wanted.
    """
    if tuple(classes) == tuple(wanted):
        return images
    index_of_class = class_indices(classes, wanted, merge=merge)
    for label in torch.unique(images.targets()).tolist():
        if classes[label] not in index_of_class:
            raise DataError(
                f"{owner} has images of class {classes[label]!r}, which is not among the classes "
                f"{', '.join(wanted)}; add it to data.classes or remove its images."
            )
    return images.relabel([index_of_class.get(name, -1) for name in classes])
