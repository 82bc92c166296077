"""A data set dealt to stores, for a simulation to train on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedshelf.common import own_objects
from fedshelf.common.classes.spelling import reading_order
from fedshelf.common.config import DataConfig, RunConfig
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.scan import is_table
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.models.spec import TURNS
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.seeding import rng
from fedshelf.common.tasks import TASKS, SceneTask
from fedshelf.common.tasks.task import unlabelled
from fedshelf.common.tasks.turns import label_with_turns
from fedshelf.common.training.features import FeatureExtractor
from fedshelf.simulations.datasets import Dataset, find, load
from fedshelf.simulations.federation.partitioned import PartitionedImages, PartitionedStores
from fedshelf.simulations.partitions import parse_partition, partition
from fedshelf.simulations.partitions.folder import StoreFolders, open_stores
from fedshelf.simulations.partitions.listed import unlisted
from fedshelf.simulations.partitions.matching_split import assign_alike


@dataclass(frozen=True)
class Federation:
    """Stores and the server's test set.

    Nothing is copied: a store is a selection of rows, made when asked for.

    classes: ordered names, the same for all stores
    stores: name -> images, in order of the names
    test: the server's test set, or None if the data has none
    table: name -> training images of each class, in the order of `classes`
    left_out: images that are not used and why, for a person; empty if all are used
    """

    classes: tuple[str, ...]
    stores: Mapping[str, StoreData]
    test: Images | None
    table: Mapping[str, list[int]]
    left_out: str

    @property
    def are_scenes(self) -> bool:
        """True if the images are photos of scenes, which have no class themselves."""
        first = next(iter(self.stores.values()), None)
        return first is not None and first.train.annotations is not None

    def with_features(self, extractor: FeatureExtractor) -> "Federation":
        """Return the same federation with features in place of pixels.

        Raises:
            DataError: the cache of features cannot be written.
        """
        if isinstance(self.stores, PartitionedStores):
            stores: Mapping[str, StoreData] = self.stores.map_images(
                lambda images: extractor.training([images])[0],
                lambda images: extractor.held_out([images])[0],
            )
        else:
            splits = self.stores.values()
            parts = zip(
                extractor.training([data.train for data in splits]),
                extractor.held_out([data.validation for data in splits]),
                extractor.held_out([data.test for data in splits]),
                strict=True,
            )
            stores = {
                name: StoreData(*of_store)
                for name, of_store in zip(self.stores, parts, strict=True)
            }
        test = self.test and extractor.held_out([self.test])[0]
        return replace(self, stores=stores, test=test)

    def infos(self) -> "Infos":
        """Return each store's info, as a real one would send it."""
        return Infos(self)


def build(config: RunConfig, *, image_size: int, channels: int) -> Federation:
    """Open the data set of `config.data` in one pixel format and deal it to stores.

    The partition "folder" takes the stores as they are. Any other deals the training images, and
    the data set's validation images in the same proportions; if it has none, each store keeps the
    share `data.holdout` of its training images for validation. Its test images become the
    server's.

    Raises DataError or ConfigError; see `simulations.datasets` and `simulations.partitions`. There
    must be training images of at least two classes: with a single one, a model without any
    knowledge is always right.
    """
    federation = _build(config, PixelFormat(image_size, channels, config.data.denoise))
    counts = [sum(of_class) for of_class in zip(*federation.table.values(), strict=True)]
    trained_classes = [
        name for name, images in zip(federation.classes, counts, strict=True) if images
    ]
    is_of_stores = not TASKS[config.train.objective].own_classes(config.data.classes)
    if len(trained_classes) < 2 and is_of_stores:
        raise DataError(
            f"{config.data.dataset} has training images of {len(trained_classes)} product class(es)"
            f" ({', '.join(trained_classes) or 'none'}); a classifier needs at least two: add"
            " photos of other products, each in a folder of its own."
        )
    return federation


def _build(config: RunConfig, pixel_format: PixelFormat) -> Federation:
    """Build the federation as `build` does, without its checks."""
    task = TASKS[config.train.objective]
    turns = task.name == "turns"
    own = task.own_classes(config.data.classes)
    data = config.data.model_copy(update={"classes": ()}) if own else config.data
    if parse_partition(config.data.partition) is None:
        folders = _existing_stores(config, data, pixel_format, turns=turns)
        if isinstance(task, SceneTask):
            _check_annotated(folders.stores, task.name)
        classes = own or folders.classes
        table = {
            name: torch.bincount(store.train.targets(), minlength=len(classes)).tolist()
            for name, store in folders.stores.items()
        }
        left_out = folders.left_out if own else _with_untrained(folders.left_out, classes, table)
        return Federation(classes, folders.stores, folders.test, table, left_out)
    dataset = load(data, pixel_format)
    if dataset.stores is not None:
        raise ConfigError(
            f"Setting data.partition got {data.partition!r}, but {data.dataset} has stores already;"
            " set it to folder."
        )
    if isinstance(task, SceneTask):
        dataset = dataset.annotated(task.name, task.scene_classes(config.data))
    elif dataset.annotations and len(dataset.classes) == 1:
        raise ConfigError(
            f"Setting train.objective got {task.name}, and {data.dataset} has scenes of many"
            f" products; set it to {' or '.join(dataset.annotations)}, with --model locator or"
            " unet."
        )
    stores, unlisted = _partition_dataset(dataset, data, config.run.seed)
    test = dataset.test
    classes = dataset.classes
    if turns:
        stores = stores.map_images(label_with_turns, label_with_turns)
        test = test and label_with_turns(test)
        classes = TURNS
    if isinstance(task, SceneTask):  # by its labels the scenes were dealt to stores
        stores = stores.map_images(unlabelled, unlabelled)
        test = test and unlabelled(test)
        classes = own
    table = stores.table(len(classes))
    left_out = "\n".join(filter(None, (dataset.left_out, unlisted)))
    if not own:
        left_out = _with_untrained(left_out, classes, table)
    return Federation(classes, stores, test, table, left_out)


def _existing_stores(
    config: RunConfig, data: DataConfig, pixel_format: PixelFormat, *, turns: bool
) -> StoreFolders:
    """Return stores that exist already: folders, rows of a CSV file, or data sets that were given.

    Raises DataError.
    """
    path = Path(data.dataset)
    if path.is_dir() or is_table(path):
        return open_stores(path, pixel_format, config.data, config.train.objective)
    is_own = own_objects.is_name(config.data.dataset) and find(data).has_stores
    dataset = load(data, pixel_format) if is_own else None
    if dataset is None or dataset.stores is None:
        raise DataError(
            "Partition folder expects data.dataset to be a folder of stores, or a CSV file"
            f" with a column store; got {str(path)!r}."
        )
    if turns:
        raise DataError(
            "Setting train.objective got turns with data sets of single stores; give folders."
        )
    for name, store in dataset.stores.items():
        if len(store.train) < data.min_images:
            raise DataError(
                f"Store {name} has {len(store.train)} training images; at least {data.min_images}"
                " are expected (data.min_images)."
            )
    return StoreFolders(dict(dataset.stores), dataset.classes, dataset.test, dataset.left_out)


def _check_annotated(stores: Mapping[str, StoreData], objective: str) -> None:
    """Check that the photos of existing stores have annotations; raise DataError if not."""
    if any(store.train.annotations is None for store in stores.values()):
        raise DataError(
            f"Setting train.objective got {objective} with partition folder, and the stores' photos"
            f" have no {objective} here; choose a data set of scenes, for example shelf-scenes."
        )


def _with_untrained(left_out: str, classes: Sequence[str], table: Mapping[str, list[int]]) -> str:
    """Return `left_out` with the list of classes of which no store has training images."""
    totals = [sum(column) for column in zip(*table.values(), strict=True)]
    untrained = [
        classes[class_index] for class_index in reading_order(classes) if not totals[class_index]
    ]
    sentence = f"No store has images of {', '.join(untrained)} to train on." if untrained else ""
    return "\n".join(filter(None, (left_out, sentence)))


def store_names(count: int) -> list[str]:
    """Return store-0, store-1, ... padded with zeros to equal width."""
    width = len(str(count - 1))
    return [f"store-{index:0{width}}" for index in range(count)]


def _partition_dataset(
    dataset: Dataset, data: DataConfig, seed: int
) -> tuple[PartitionedStores, str]:
    """Return the stores of a partition by label, size or file, and what is at no store in words."""
    names = store_names(data.stores)
    labels = dataset.train.targets().numpy()
    parts = partition(data.partition, labels, data.stores, minimum=data.min_images, seed=seed)
    left = unlisted(parts, len(labels))
    train = PartitionedImages.of(dataset.train, parts)
    if dataset.validation is None:
        return PartitionedStores(names, *train.hold_out(data.holdout, seed, names)), left
    rows = assign_alike(
        parts, labels, dataset.validation.targets().numpy(), rng(seed, "validation")
    )
    return PartitionedStores(names, train, PartitionedImages.of(dataset.validation, rows)), left


class Infos(Mapping[str, StoreInfo]):
    """Each store's info, made when it is first asked for; stores that are left out are missing."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._known: dict[str, StoreInfo] = {}
        self._left_out: set[str] = set()

    def leave_out(self, name: str) -> None:
        """Leave this store out from now on."""
        self._left_out.add(name)

    def __getitem__(self, name: str) -> StoreInfo:
        if name in self._left_out:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = self._describe(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._federation.stores if name not in self._left_out)

    def __len__(self) -> int:
        return len(self._federation.stores) - len(self._left_out)

    def _describe(self, name: str) -> StoreInfo:
        data = self._federation.stores[name]
        counts = self._federation.table[name]
        held = {
            label: images
            for label, images in zip(self._federation.classes, counts, strict=True)
            if images
        }
        return StoreInfo(name, held, len(data.validation), len(data.test))
