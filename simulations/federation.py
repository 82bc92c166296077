"""A data set dealt to stores: what a simulation trains on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from common.config import DataConfig, RunConfig
from common.errors import DataError
from common.images.decode import PixelFormat
from common.images.types import Images, StoreData
from common.orders import StoreInfo
from common.seeding import rng
from simulations.datasets import Dataset, load
from simulations.partitions import parse, partition
from simulations.partitions.folder import open_stores
from simulations.partitions.follow import follow


@dataclass(frozen=True)
class Federation:
    """Stores and the server's test set; nothing is copied, every store is a selection of rows.

    classes:  ordered names, the same for all stores
    stores:   name -> images, in order of the names
    test:     the server's test set, or None if the data has none
    table:    name -> training images of each class, in the order of `classes`
    left_out: what was not used and why, for a person; empty if all was used
    """

    classes: tuple[str, ...]
    stores: Mapping[str, StoreData]
    test: Images | None
    table: Mapping[str, list[int]]
    left_out: str

    def infos(self) -> dict[str, StoreInfo]:
        """What each store has, as a real one would say it."""
        return {
            name: StoreInfo(
                name,
                {label: images for label, images in zip(self.classes, self.table[name], strict=True) if images},
                len(data.validation),
                len(data.test),
            )
            for name, data in self.stores.items()
        }


def build(config: RunConfig, *, image_size: int, channels: int) -> Federation:
    """Open the data set of `config.data` in one pixel format and deal it to stores.

    The partition "folder" takes the stores as they are. Any other deals the training images, and the
    data set's validation images in the same proportions; where it has none, each store keeps the share
    `data.holdout` of its training images for validation. Its test images become the server's.

    Raises DataError or ConfigError; see `simulations.datasets` and `simulations.partitions`.
    """
    form = PixelFormat(image_size, channels, config.data.denoise)
    if parse(config.data.partition) is None:
        path = Path(config.data.dataset)
        if not path.is_dir():
            raise DataError(f"Partition folder expects data.dataset to be a folder of stores; got {str(path)!r}.")
        found = open_stores(path, form, config.data.classes, config.data.min_images)
        return _federation(found.classes, found.stores, found.test, found.left_out)
    dataset = load(config.data, form)
    stores = _deal(dataset, config.data, config.run.seed)
    return _federation(dataset.classes, stores, dataset.test, dataset.left_out)


def store_names(count: int) -> list[str]:
    """store-0, store-1, ... padded with zeros to equal width."""
    width = len(str(count - 1))
    return [f"store-{number:0{width}}" for number in range(count)]


def _federation(
    classes: tuple[str, ...], stores: Mapping[str, StoreData], test: Images | None, left_out: str
) -> Federation:
    table = {
        name: torch.bincount(data.train.targets(), minlength=len(classes)).tolist() for name, data in stores.items()
    }
    return Federation(classes, stores, test, table, left_out)


def _deal(dataset: Dataset, data: DataConfig, seed: int) -> dict[str, StoreData]:
    """The stores of a partition by label or size."""
    names = store_names(data.stores)
    labels = dataset.train.targets().numpy()
    parts = partition(data.partition, labels, data.stores, minimum=data.min_images, seed=seed)
    trains = [dataset.train.select(torch.from_numpy(part)) for part in parts]
    nothing = dataset.train.select(torch.empty(0, dtype=torch.int64))
    if dataset.validation is None:
        splits = [_hold_out(train, data.holdout, seed, name) for name, train in zip(names, trains, strict=True)]
    else:
        rows = follow(parts, labels, dataset.validation.targets().numpy(), rng(seed, "validation"))
        validations = [dataset.validation.select(torch.from_numpy(part)) for part in rows]
        splits = list(zip(trains, validations, strict=True))
    return {name: StoreData(*split, test=nothing) for name, split in zip(names, splits, strict=True)}


def _hold_out(train: Images, share: float, seed: int, store: str) -> tuple[Images, Images]:
    """Split off `share` of the images at random, leaving at least one: (train, validation)."""
    count = min(int(share * len(train)), len(train) - 1)
    order = rng(seed, "holdout", store).permutation(len(train)) if count else torch.arange(len(train)).numpy()
    kept, held = torch.from_numpy(order[count:]), torch.from_numpy(order[:count])
    return train.select(kept.sort().values), train.select(held.sort().values)
