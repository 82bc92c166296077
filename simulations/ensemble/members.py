"""The models of an ensemble, and their predictions on a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.types import Images
from fedshelf.common.models.saved import SavedModel, read
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.seeding import rng
from fedshelf.common.training.predict import load, log_probabilities
from fedshelf.simulations import datasets
from fedshelf.simulations.federation.partitioned import pool_images
from fedshelf.simulations.partitions import parse_partition
from fedshelf.simulations.partitions.folder import open_stores

OWN_VALIDATION = "the data set's validation images"
HALF = "half of the test images, as the data set has no validation images; the other half judges"


@dataclass(frozen=True)
class Splits:
    """Images to fit on, and others to judge on.

    Attributes:
        fit: images to fit on
        test: images to judge on
        origin: the origin of the images to fit on, in words for a person
    """

    fit: Images
    test: Images
    origin: str


@dataclass(frozen=True)
class MemberPredictions:
    """MemberPredictions of M members.

    Attributes:
        of_fit: log-probabilities of the images to fit on, float64 [M, N, C]
        of_test: the same of the images to judge on
        fit_targets: classes of the images to fit on, int64 [N]
        test_targets: classes of the images to judge on, int64 [N]
        origin: the origin of the images to fit on, in words for a person
    """

    of_fit: Tensor
    of_test: Tensor
    fit_targets: Tensor
    test_targets: Tensor
    origin: str


def read_members(paths: Sequence[Path]) -> list[SavedModel]:
    """Read the models at these paths.

    Raises:
        DataError: a file is invalid, or the models' classes differ.
    """
    members = [read(path) for path in paths]
    first = members[0]
    for other in members[1:]:
        if set(other.spec.classes) != set(first.spec.classes):
            raise DataError(
                f"{other.path} knows other classes than {first.path}:"
                f" {_difference(first.spec, other.spec)}; models can decide together only about the"
                " same classes."
            )
    return members


def predict_members(
    members: Sequence[SavedModel],
    data: DataConfig,
    device: torch.device,
    batch_size: int,
    seed: int,
) -> MemberPredictions:
    """Compute each member's predictions on the images, in the size that it needs.

    Classes are in the first member's order.

    Args:
        members: the models
        data: names the data set
        device: the device to compute on
        batch_size: images at once
        seed: decides on the halves if test images have to be divided

    Raises:
        DataError: the data has classes that the members do not know, or no images to judge on.
    """
    classes = members[0].spec.classes
    of_fit = []
    of_test = []
    splits = None
    splits_of_format: dict[tuple[int, int], Splits] = {}
    for member in members:
        pixel_format = member.spec.image_size, member.spec.channels
        if pixel_format not in splits_of_format:
            splits_of_format[pixel_format] = _open(
                data.model_copy(update={"classes": classes}),
                PixelFormat(*pixel_format, data.denoise),
                seed,
            )
        splits = splits_of_format[pixel_format]
        network = load(member, device)
        order = torch.tensor([member.spec.classes.index(name) for name in classes])
        of_fit.append(log_probabilities(network, splits.fit, batch_size)[:, order].double())
        of_test.append(log_probabilities(network, splits.test, batch_size)[:, order].double())
    assert splits is not None, "an ensemble has members"
    targets = splits.fit.targets(), splits.test.targets()
    return MemberPredictions(torch.stack(of_fit), torch.stack(of_test), *targets, splits.origin)


def _open(data: DataConfig, pixel_format: PixelFormat, seed: int) -> Splits:
    """Return the images of a data set, or of a folder of stores (all of them together)."""
    fit: Images | None
    test: Images | None
    if parse_partition(data.partition) is None:
        folders = open_stores(Path(data.dataset), pixel_format, data)
        stores = list(folders.stores.values())
        fit = pool_images([store.validation for store in stores])
        test = (
            pool_images([store.test for store in stores]) if folders.test is None else folders.test
        )
    else:
        dataset = datasets.load(data, pixel_format)
        fit = dataset.validation
        test = dataset.test
    if test is None or not len(test):
        raise DataError(
            f"Data set {data.dataset} has no test images to judge an ensemble on; give one that"
            " has."
        )
    if fit is not None and len(fit):
        return Splits(fit, test, OWN_VALIDATION)
    order = torch.from_numpy(rng(seed, "ensemble").permutation(len(test)))
    half = len(test) // 2
    return Splits(
        test.select(order[:half].sort().values), test.select(order[half:].sort().values), HALF
    )


def _difference(first: ModelSpec, other: ModelSpec) -> str:
    """Describe the classes that only one of two models has."""
    lacks = sorted(set(first.classes) - set(other.classes))
    more = sorted(set(other.classes) - set(first.classes))
    parts = [f"it lacks {', '.join(lacks[:5])}"] if lacks else []
    parts += [f"it has {', '.join(more[:5])}"] if more else []
    return " and ".join(parts)
