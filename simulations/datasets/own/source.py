"""A person's own data set as a source of a simulation: one to split, or one for each store."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.names import check_store_name
from fedshelf.simulations.datasets.dataset.conversion import convert
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource
from fedshelf.simulations.datasets.own.reading import OwnImages, read_split

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
STORES = "stores"
ROUNDED = "Its images are floats, which were rounded to 256 steps."


@dataclass(frozen=True)
class _OwnData:
    """A data set as it was given, in memory.

    Attributes:
        splits: split -> images; of stores: "test" and "validation" of the server alone
        stores: name -> split -> images; None: a partition deals the split "train"
    """

    splits: Mapping[str, OwnImages]
    stores: Mapping[str, Mapping[str, OwnImages]] | None

    def parts(self) -> list[OwnImages]:
        """Return all splits, also the stores'."""
        of_stores = [part for splits in (self.stores or {}).values() for part in splits.values()]
        return [part for part in (*self.splits.values(), *of_stores) if len(part.labels)]


_last: tuple[Any, _OwnData] | None = None  # the object read last, which a run asks for repeatedly


def source(name: str, given: Any, classes: tuple[str, ...]) -> DatasetSource:
    """Return the source of a person's own data set, which is read into memory.

    Args:
        name: `module:Object`
        given: a split (see `reading.read_split`); splits by their names train, validation and test,
            and `stores` (a mapping from their names, or a list) of which each is a split or splits;
            or a function or class without parameters that returns one of these
        classes: names of the classes in the order of the labels; empty: the data set's own

    Raises:
        DataError: it is something else, or has no images to train on.
    """
    global _last  # noqa: PLW0603
    if _last is None or _last[0] is not given:
        _last = (given, _read(name, given))
    data = _last[1]
    parts = data.parts()
    if not parts:
        raise DataError(f"{name} has no images.")
    names = _class_names(name, parts, classes)
    sides = {part.side for part in parts}
    return DatasetSource(
        name,
        sides.pop() if len(sides) == 1 else None,
        max(part.channels for part in parts),
        partial(_load, data, names),
        has_stores=data.stores is not None,
    )


def _read(name: str, given: Any) -> _OwnData:
    made = _made(name, given)
    if not isinstance(made, Mapping):
        return _OwnData({"train": read_split(made, name)}, None)
    stores = made.get(STORES)
    splits = _splits(name, {key: value for key, value in made.items() if key != STORES})
    if stores is None:
        if "train" not in splits:
            raise DataError(f"{name} has no split train, nor stores; expected images to train on.")
        return _OwnData(splits, None)
    if splits.keys() - {"test"}:
        raise DataError(
            f"{name} has stores and a split {sorted(splits.keys() - {'test'})[0]} beside them;"
            " expected nothing but test, for the server: the stores have the others."
        )
    if not isinstance(stores, Mapping):
        width = len(str(max(0, len(stores) - 1)))
        stores = {f"store-{index:0{width}}": each for index, each in enumerate(stores)}
    return _OwnData(
        splits,
        {
            check_store_name(store): _splits(f"{name}, {store},", each)
            for store, each in stores.items()
        },
    )


def _made(name: str, given: Any) -> Any:
    """Return what a function or class returns; all other objects as they are."""
    if not (inspect.isclass(given) or inspect.isroutine(given)):
        return given
    try:
        return given()
    except Exception as error:  # a person's code may raise anything
        raise DataError(
            f"The data set {name} cannot be made ({type(error).__name__}: {error}); expected a"
            " function or class without parameters, or the data set itself."
        ) from error


def _splits(owner: str, given: Any) -> dict[str, OwnImages]:
    if not isinstance(given, Mapping):
        return {"train": read_split(given, owner)}
    unknown = given.keys() - SPLITS.keys()
    if unknown:
        raise DataError(
            f"{owner} has a split {sorted(map(str, unknown))[0]!r}; expected train, validation and"
            " test."
        )
    return {SPLITS[key]: read_split(each, f"{owner} {key}") for key, each in given.items()}


def _class_names(
    name: str, parts: Sequence[OwnImages], classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of the classes, in the order of the labels.

    Raises:
        DataError: labels are names and numbers, or numbers without a name.
    """
    labels = {label for part in parts for label in part.labels}
    words = {label for label in labels if isinstance(label, str)}
    if words and words < labels:
        raise DataError(f"The labels of {name} are partly names, partly numbers; give one kind.")
    own = next((part.classes for part in parts if part.classes), ())
    if words:
        known = classes or own or tuple(sorted(words))
        if unknown := sorted(words - set(known)):
            raise DataError(
                f"{name} has images of class {unknown[0]!r}, which is not among the classes"
                f" {', '.join(known)}."
            )
        return known
    numbers = {int(label) for label in labels}
    known = classes or own or tuple(map(str, range(max(numbers) + 1)))
    if min(numbers) < 0 or max(numbers) >= len(known):
        raise DataError(
            f"The labels of {name} go from {min(numbers)} to {max(numbers)}; expected 0 to"
            f" {len(known) - 1}, for the classes {', '.join(known)}."
        )
    return known


def _load(data: _OwnData, classes: tuple[str, ...], form: PixelFormat) -> Dataset:
    nothing = _images(OwnImages([], [], (), is_rounded=False), classes, form)

    def split(splits: Mapping[str, OwnImages], key: str) -> Images:
        return _images(splits[key], classes, form) if key in splits else nothing

    left_out = ROUNDED if any(part.is_rounded for part in data.parts()) else ""
    test = split(data.splits, "test")
    validation = split(data.splits, "validation")
    dataset = Dataset(
        classes,
        split(data.splits, "train"),
        validation if len(validation) else None,
        test if len(test) else None,
        left_out,
    )
    if data.stores is None:
        return dataset
    return replace(
        dataset,
        stores={
            name: StoreData(*(split(splits, key) for key in ("train", "validation", "test")))
            for name, splits in data.stores.items()
        },
    )


def _images(part: OwnImages, classes: tuple[str, ...], form: PixelFormat) -> Images:
    """Return a split in one pixel format, with labels that are positions in `classes`."""
    if isinstance(part.pixels, list):
        shape = (0, *form.shape)
        converted = [convert(image[None], form) for image in part.pixels]
        pixels = np.concatenate(converted) if converted else np.zeros(shape, np.uint8)
    else:
        pixels = convert(part.pixels, form) if len(part.labels) else part.pixels
    index = {name: position for position, name in enumerate(classes)}
    labels = [index[label] if isinstance(label, str) else label for label in part.labels]
    return Images.whole(_tensor(pixels), torch.tensor(labels, dtype=torch.int64))


def _tensor(pixels: np.ndarray) -> Tensor:
    """Return an array as a tensor; one that may not be written to is copied."""
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
