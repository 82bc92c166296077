"""The data sets of simulations: by name, by folder, or by their name on the Hugging Face hub.

A data set is one module with a function `source(name)` and one line in `DATASETS`; or an installed
package names such a function as an entry point (`common.plugins`). A person may give arrays and
data sets of PyTorch (`own`).
"""

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedshelf.common import own_objects, plugins
from fedshelf.common.classes.spelling import choose_spellings, normalize_name
from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.hub import HUB, snapshot
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.suggest import did_you_mean
from fedshelf.simulations.datasets import search_paths
from fedshelf.simulations.datasets.dataset.assemble import relabel
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource

__all__ = ["DATASETS", "Dataset", "DatasetSource", "find", "load"]

DATASETS = {
    "shelf": "fedshelf.simulations.datasets.shelf",
    "shelf-scenes": "fedshelf.simulations.datasets.scenes.shelf_scenes",
    "cifar10": "fedshelf.simulations.datasets.cifar10",
    "fashion-mnist": "fedshelf.simulations.datasets.fashion_mnist",
}


def find(config: DataConfig) -> DatasetSource:
    """Find the data set `data.dataset` without decoding it.

    Args:
        config: names the data set

    Returns:
        Its name, native image size and channels, and how to load it.

    Raises:
        DataError: it is not there and cannot be fetched.
    """
    name = config.dataset
    plugin = plugins.find_plugin(plugins.DATASET, name, DATASETS)
    if name in DATASETS:
        source: DatasetSource = importlib.import_module(DATASETS[name]).source(name)
        return source
    if plugin is not None and own_objects.is_name(name):
        from fedshelf.simulations.datasets.own import source as own

        return own.source(name, plugin, config.classes)
    if plugin is not None:
        return _from_plugin(name, plugin)
    for path in (
        Path(name),
        *(search_paths.candidates(name) if re.fullmatch(r"[\w.-]+", name) else ()),
    ):
        if path.exists():
            return _from_path(path, config)
    if name.startswith(HUB) or re.fullmatch(r"(?!\.)[\w.-]+/[\w.-]+", name):
        return _from_snapshot(name) if name.startswith(HUB) else _from_hub(name)
    known_names = [*DATASETS, *plugins.plugin_names(plugins.DATASET)]
    hint = did_you_mean(name, known_names)
    raise DataError(
        f"Data set {name!r} is neither known ({', '.join(known_names)}) nor a folder or CSV file,"
        " here or in the folder of data sets (FEDSHELF_DATA, else data), nor OWNER/NAME of the"
        f" Hugging Face hub.{hint}"
    )


def load(config: DataConfig, form: PixelFormat) -> Dataset:
    """Find and decode the data set `data.dataset`.

    Labels are indices into `data.classes` if these are given.

    Args:
        config: names the data set
        form: the pixel format to decode to

    Raises:
        DataError: it is not there, cannot be decoded, or has other classes.
    """
    dataset = find(config).load(form)
    merge = config.merge_spellings
    classes = config.classes or _spelt_once(dataset, merge=merge)
    if classes == dataset.classes:
        return dataset
    splits = {
        split: (
            None
            if images is None
            else relabel(images, dataset.classes, classes, config.dataset, merge=merge)
        )
        for split, images in (
            ("train", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
    }
    assert splits["train"] is not None
    return replace(
        dataset,
        classes=classes,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def _spelt_once(dataset: Dataset, *, merge: bool) -> tuple[str, ...]:
    """Return the classes of a data set in order, each once.

    Raises:
        DataError: there are spellings that must not be merged.
    """
    counts = dataset.train.targets().bincount(minlength=len(dataset.classes)).tolist()
    spelling_of_name = choose_spellings(
        {"": dict(zip(dataset.classes, counts, strict=True))}, merge=merge
    )
    return tuple(name for name in dataset.classes if spelling_of_name[normalize_name(name)] == name)


def _from_plugin(name: str, plugin: Any) -> DatasetSource:
    source = plugin(name) if callable(plugin) else None
    if not isinstance(source, DatasetSource):
        raise plugins.wrong_plugin(
            plugins.DATASET, name, "a function from its name to a DatasetSource"
        )
    return source


def _from_snapshot(name: str) -> DatasetSource:
    """Return the data set in a snapshot of the hub, in the cache of `huggingface_hub`."""
    from fedshelf.simulations.datasets import parquet

    found = snapshot(name, "dataset", ("*.parquet",))
    if not parquet.layout(found):
        raise DataError(f"{name} has no {parquet.EXPECTED}; save it as such and give its folder.")
    return parquet.source(found, name)


def _from_path(path: Path, config: DataConfig) -> DatasetSource:
    """Return the data set of a person's files. Raises DataError."""
    from fedshelf.common.scenes.formats.read import is_scene_folder
    from fedshelf.simulations.datasets import folder, parquet, scene_folder

    if parquet.layout(path):
        return parquet.source(path, path.resolve().name)
    if is_scene_folder(path):
        return scene_folder.source(path, config)
    return folder.source(path, config)


def _from_hub(repository: str) -> DatasetSource:
    from fedshelf.simulations.datasets import parquet

    name = repository.replace("/", "--")
    folders = [folder for folder in search_paths.candidates(name) if parquet.layout(folder)]
    folder = folders[0] if folders else search_paths.fetch(repository, name)
    if folder is None:
        raise DataError(search_paths.not_here(name, repository))
    if not parquet.layout(folder):
        raise DataError(
            f"{repository} has no {parquet.EXPECTED}; save it as such and give its folder."
        )
    return parquet.source(folder, repository)
