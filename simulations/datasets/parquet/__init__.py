"""Data sets in the Hugging Face layout: parquet files with columns of encoded images and labels.

`layout` assigns files to training, validation or testing, `columns` finds the columns of images and
labels, `labels` lists the classes, and `rows` decodes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.listing.split import Split
from fedshelf.simulations.datasets.dataset.assemble import assemble, unlabelled
from fedshelf.simulations.datasets.dataset.cache import CachedPart, decoded, described, key_of
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource
from fedshelf.simulations.datasets.parquet.labels import FileLabels, read_labels
from fedshelf.simulations.datasets.parquet.layout import EXPECTED, Files, ParquetLayout, layout
from fedshelf.simulations.datasets.parquet.rows import Labelled, part, paths_in, read_shapes

__all__ = ["EXPECTED", "layout", "source"]

_CACHE_VERSION = 2  # raise it when a change here changes labels: every cache is then built anew


def source(folder: Path, name: str) -> DatasetSource:
    """Return the data set in a folder that has a `layout`.

    Args:
        folder: the folder, or a single parquet file
        name: the name for reports

    Raises:
        DataError: it has no files for training, or columns that cannot be used.
    """
    layout_of_folder = layout(folder)
    assert layout_of_folder is not None, folder
    if "train" not in layout_of_folder.splits:
        got = ", ".join(path.name for path in layout_of_folder.files())
        raise DataError(
            f"{folder} has parquet files, but none for training: {got}; expected {EXPECTED}."
        )
    key = _key(layout_of_folder.splits)
    about = described(key, partial(_describe, layout_of_folder.splits))
    return DatasetSource(
        name,
        about["native_size"],
        about["channels"],
        partial(_load, name, layout_of_folder, key, about),
    )


def _key(splits: Files) -> str:
    """Return a hash of the files' contents and of the split of each."""
    sizes = [(split, len(splits[split])) for split in sorted(splits)]
    return _hash(
        _CACHE_VERSION, sizes, key_of(path for split, _ in sizes for path in splits[split])
    )


def _describe(splits: Files) -> dict[str, Any]:
    """Return the description of the data set as JSON values.

    It has the classes, the mapping of each file's labels, image size and channels.
    """
    labels = read_labels(splits)
    everything = [
        pair
        for split, paths in splits.items()
        for pair in zip(paths, labels.files[split], strict=True)
    ]
    return {
        "classes": labels.classes,
        "files": {split: [asdict(file) for file in files] for split, files in labels.files.items()},
        "note": labels.untrained_in_words(),
        **read_shapes(everything)._asdict(),
    }


def _load(
    name: str, layout_of_folder: ParquetLayout, key: str, about: dict[str, Any], form: PixelFormat
) -> Dataset:
    files = {
        split: [
            (path, FileLabels(**file_labels))
            for path, file_labels in zip(paths, about["files"][split], strict=True)
        ]
        for split, paths in layout_of_folder.splits.items()
    }
    splits = decoded(
        _key_with_paths(key, files) if about["has_paths"] else key,
        form,
        lambda: _parts(files, form),
    )
    notes = (unlabelled(splits), layout_of_folder.unused_in_words(), about["note"])
    return assemble(name, about["classes"], splits, " ".join(note for note in notes if note))


def _parts(splits: Mapping[Split, Labelled], form: PixelFormat) -> dict[str, CachedPart]:
    parts = {split: part(files, form) for split, files in splits.items()}
    return {split: part for split, part in parts.items() if part.count}


def _key_with_paths(key: str, splits: Mapping[Split, Labelled]) -> str:
    """Return a hash of the same, and of the images that lie in files of their own."""
    paths = [path for split in sorted(splits) for path in paths_in(splits[split])]
    return _hash(
        key,
        key_of(filter(Path.is_file, paths)),
        [str(path) for path in paths if not path.is_file()],
    )


def _hash(*parts: object) -> str:
    return hashlib.blake2b(
        repr(parts).encode("utf-8", "surrogateescape"), digest_size=20
    ).hexdigest()
