"""Images on which a comparison's models are judged: stores' own, and the server's test set."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.seeding import rng
from fedshelf.common.training.features import FeatureExtractor
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.partitions.matching_split import assign_alike

OWN_TEST = "each store's own test images"
DEALT = (
    "the test images, split over the stores as the training images were, each class in the"
    " same proportions"
)
VALIDATION = (
    "each store's validation images, as the data has no test images; nothing was chosen on them"
)


@dataclass(frozen=True)
class HeldOut:
    """Images that no model of a comparison is trained or chosen on.

    Attributes:
        own: store -> its images, possibly none
        server: the server's test set, or None if there is none
        origin: the origin of `own`, in words for a person
    """

    own: Mapping[str, Images]
    server: Images | None
    origin: str

    def with_features(self, extractor: FeatureExtractor) -> "HeldOut":
        """Return the same images with features in place of pixels.

        Raises:
            DataError: the cache of features cannot be written.
        """
        own = dict(zip(self.own, extractor.held_out(list(self.own.values())), strict=True))
        server = self.server and extractor.held_out([self.server])[0]
        return HeldOut(own, server, self.origin)

    def image_numbers(self) -> dict[str, NDArray[np.int64]]:
        """Return a number for each of a store's own images, unique and the same in every seed.

        It is the image's position in the array that all stores share, or in all stores' arrays
        concatenated.

        Returns:
            Store -> int64 [n].
        """
        offset = 0
        image_numbers = dict[str, NDArray[np.int64]]()
        is_shared = len({images.inputs.data_ptr() for images in self.own.values()}) == 1
        for name, images in self.own.items():
            image_numbers[name] = offset + images.rows.cpu().numpy()
            offset += 0 if is_shared else len(images.inputs)
        return image_numbers


def hold_out(federation: Federation, seed: int) -> tuple[Federation, HeldOut]:
    """Choose the images on which all models are judged.

    A store's own images are its test images. If no store has any, the server's test images are
    dealt to the stores. If there are none either, the stores' validation images are taken, which
    then choose nothing.

    Args:
        federation: the stores as a run would train them
        seed: decides which test image goes to which store

    Returns:
        The federation, in which the held-out images are the stores' test images, and the held-out
        images. The server keeps its test images only if no store has validation images for a curve.

    Raises:
        DataError: nothing is held out.
    """
    stores = dict(federation.stores)
    if any(len(data.test) for data in stores.values()):
        origin = OWN_TEST
    elif federation.test is not None:
        origin = DEALT
        stores = _assign_test_images(stores, federation.test, seed)
    elif any(len(data.validation) for data in stores.values()):
        origin = VALIDATION
        none = torch.empty(0, dtype=torch.int64)
        stores = {
            name: StoreData(data.train, data.validation.select(none), data.validation)
            for name, data in stores.items()
        }
    else:
        raise DataError(
            "A comparison needs images that nobody trains on, and this data has neither test nor"
            " validation images; keep some of each store's with --set data.holdout=0.2."
        )
    held_out = HeldOut({name: data.test for name, data in stores.items()}, federation.test, origin)
    has_validation = any(len(data.validation) for data in stores.values())
    return (
        replace(federation, stores=stores, test=None if has_validation else federation.test),
        held_out,
    )


def _assign_test_images(
    stores: Mapping[str, StoreData], test: Images, seed: int
) -> dict[str, StoreData]:
    """Return the stores with the server's test images: each image goes to one store."""
    train_labels = [data.train.targets().numpy() for data in stores.values()]
    parts = np.split(
        np.arange(sum(map(len, train_labels))), np.cumsum([*map(len, train_labels)])[:-1]
    )
    rows = assign_alike(
        parts, np.concatenate(train_labels), test.targets().numpy(), rng(seed, "compare", "test")
    )
    return {
        name: replace(data, test=test.select(torch.from_numpy(part)))
        for (name, data), part in zip(stores.items(), rows, strict=True)
    }
