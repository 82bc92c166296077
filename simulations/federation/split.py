"""Export of a data set as one folder of image files per store, ready for real stores.

    OUT/store-0/shirt/1.jpg     what `flower-client join --data OUT/store-0` takes
    OUT/test/shirt/9.jpg        with `test`: what `flower-server start --test-data OUT/test` takes
    OUT/store-0/unlabelled/7.jpg    with `labelled` below 1: photos without their class
    OUT/partition.json          who got how much of what
    OUT/class-names.csv         where folders cannot be called as their classes are: FOLDER,CLASS

`flower-simulation run --dataset OUT --partition folder` trains on the same stores.
"""

import csv
import io
import itertools
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fedshelf.common.classes.spelling import choose_spellings, normalize_name
from fedshelf.common.config import DataConfig
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.content_digests import content_digest, read_photo
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.folder.left_out import format_left_out
from fedshelf.common.images.folder.photo_folder import separate_unusable
from fedshelf.common.images.folder.scan import UNLABELLED, Photo, assign_splits, scan
from fedshelf.common.images.types import Images
from fedshelf.common.seeding import rng
from fedshelf.common.system.files import sync_directory, write_json, write_text
from fedshelf.simulations import datasets
from fedshelf.simulations.federation.federation import store_names
from fedshelf.simulations.federation.folder_names import folder_names
from fedshelf.simulations.partitions import parse_partition, partition
from fedshelf.simulations.partitions.folder import TEST
from fedshelf.simulations.partitions.listed import unlisted

Counts = dict[str, dict[str, int]]
"""Folder -> class -> images."""

CLASS_NAMES = "class-names.csv"


@dataclass(frozen=True)
class Written:
    """The result of a split.

    counts:   images that each folder got
    left_out: text on photos that no folder got; empty if there are none
    """

    counts: Counts
    left_out: str


@dataclass(frozen=True)
class Item:
    """An image that can be written.

    label: its class; "" if that is not to be told
    name:  of its file
    write: writes it to a path
    """

    label: str
    name: str
    write: Callable[[Path], object]


def split(data: DataConfig, out: Path, *, seed: int, test: bool, labelled: float = 1.0) -> Written:
    """Deal the images to `data.stores` stores by `data.partition` and write all into `out`, wholly
    or not at all.

    Training and validation images are dealt: a store splits its folder anew. With `test` the test
    images are written as the server's test folder, without it they are not written. A folder of
    photos that has no splits of its own is dealt whole, or with `test` less a tenth by content. Of
    each store's images the share `labelled` keeps its class, chosen at random, and one at least.
    Photos are copied as they are; other data sets become PNG files of `data.image_size` pixels.

    A class whose name no folder can have, or that differs from another in what a file system does
    not tell apart, gets a folder of another name, and `class-names.csv` says which is which.

    Raises DataError if `out` exists and is not empty, cannot be
    written, or the data set cannot be read or has no test images; ConfigError for an impossible
    partition.
    """
    if parse_partition(data.partition) is None:
        raise ConfigError(
            "Partition folder has a folder for each store already; choose another partition,"
            " for example dirichlet:0.5."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{out} exists and is not empty; choose another folder, or remove it first."
        )
    source = datasets.find(data)
    if source.are_scenes:
        raise DataError(
            f"{data.dataset} has photos of scenes with labels of boxes, and split writes photos"
            " without; put the photos and labels of each store into a folder of its own."
        )
    if source.photos:
        store_items, test_items, left_out = _photos(source.photos, data, test=test)
    else:
        store_items, test_items, left_out = _pictures(source, data, test=test)
    if test and not test_items:
        raise DataError(
            f"Data set {source.name} has no test images to hold out; split it without a test"
            " folder."
        )
    labels = np.unique([item.label for item in store_items], return_inverse=True)[1]
    parts = partition(data.partition, labels, data.stores, minimum=data.min_images, seed=seed)
    left_out = " ".join(filter(None, (left_out, unlisted(parts, len(labels)))))
    names = store_names(data.stores)
    folders = {
        name: _drop_labels(
            [store_items[row] for row in part], labelled, rng(seed, "labelled", name)
        )
        for name, part in zip(names, parts, strict=True)
    } | ({TEST: test_items} if test else {})
    counts = {
        name: dict(sorted(Counter(item.label or UNLABELLED for item in items).items()))
        for name, items in folders.items()
    }
    about = {"dataset": data.dataset, "partition": data.partition, "seed": seed, "images": counts}
    try:
        _write(folders, folder_names(item.label for item in store_items + test_items), about, out)
    except OSError as error:
        raise DataError(
            f"Cannot write {out}: {error.strerror or error}. Nothing of it was kept."
        ) from error
    return Written(counts, left_out)


def _drop_labels(items: list[Item], labelled: float, generator: np.random.Generator) -> list[Item]:
    """Return the items; only the share `labelled` keeps its class, the others are for the folder
    `unlabelled`.
    """
    num_labelled = max(1, round(labelled * len(items)))
    unlabelled_rows = set(generator.permutation(len(items))[num_labelled:].tolist())
    return [
        replace(item, label="") if row in unlabelled_rows else item
        for row, item in enumerate(items)
    ]


def _photos(root: Path, data: DataConfig, *, test: bool) -> tuple[list[Item], list[Item], str]:
    """Return the usable photos of a folder: those to deal, those to test on, and the unused ones in
    words.
    """
    scanned = scan(root, data.classes)
    usable, digests, unusable = separate_unusable(
        scanned.photos, list(map_in_order(_digest, scanned.photos))
    )
    left_out = [
        *scanned.left_out,
        *unusable,
        *((photo.name, "without a class") for photo in scanned.unlabelled),
    ]
    are_split = any(photo.split for photo in usable)
    splits = assign_splits(usable, digests, data.split)
    spelling_of = {} if data.classes else _one_spelling(usable, merge=data.merge_spellings)
    store_items: list[Item] = []
    test_items: list[Item] = []
    for photo, split in zip(usable, splits, strict=True):
        item = Item(
            spelling_of.get(photo.label, photo.label),
            photo.path.name,
            partial(shutil.copyfile, photo.path),
        )
        (test_items if split == "test" and (test or are_split) else store_items).append(item)
    for item in store_items + test_items:
        if data.classes and item.label not in data.classes:
            raise DataError(
                f"{root} has images of class {item.label!r}, which is not in data.classes."
            )
    if not store_items:
        raise DataError(f"{root} has no usable photo to split over stores.")
    notes = [f"Left out {format_left_out(sorted(left_out))}."] if left_out else []
    return store_items, test_items, " ".join([*notes, *(f"{note}." for note in scanned.notes)])


def _one_spelling(photos: Sequence[Photo], *, merge: bool) -> dict[str, str]:
    """Return the one spelling of each class.

    Raises DataError for several that are not to be merged.
    """
    counts = Counter(photo.label for photo in photos)
    spelling_of = choose_spellings({"": counts}, merge=merge)
    return {label: spelling_of[normalize_name(label)] for label in counts}


def _digest(photo: Photo) -> bytes | NotUsableError:
    """Return the hash of a photo's content, or the reason why it cannot be decoded."""
    try:
        content = read_photo(photo.path)
        decode(content, PixelFormat(8))
    except NotUsableError as error:
        return error
    return content_digest(content)


def _pictures(
    source: datasets.DatasetSource, data: DataConfig, *, test: bool
) -> tuple[list[Item], list[Item], str]:
    """Return the images of a data set without image files: those to deal, those to test on, and the
    unused ones.
    """
    size = data.image_size or source.native_size
    if not size:
        raise ConfigError(
            f"Images of {source.name} differ in size; choose one with data.image_size, for example"
            " 224."
        )
    dataset = datasets.load(data, PixelFormat(size, source.channels, data.denoise))
    items = {
        name: _items(images, dataset.classes, name)
        for name, images in (
            ("train", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
        if images is not None
    }
    store_items = items["train"] + items.get("validation", [])
    test_items = items.get("test", [])
    return store_items, test_items if test else [], dataset.left_out


def _items(images: Images, classes: Sequence[str], split_name: str) -> list[Item]:
    labels = images.targets().tolist()
    width = len(str(len(labels)))
    return [
        Item(
            classes[label],
            f"{split_name}-{position:0{width}}.png",
            partial(_save, images, position),
        )
        for position, label in enumerate(labels)
    ]


def _save(images: Images, position: int, path: Path) -> None:
    pixels = images.inputs[images.rows[position]].numpy()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path, "PNG")


def _write(
    folders: dict[str, list[Item]], names: dict[str, str], partition: dict[str, object], out: Path
) -> None:
    """Fill a temporary folder beside `out`, then rename it. Raises OSError; then nothing is left.

    names: class -> folder
    """
    temporary = out.absolute().with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        tasks = [
            task
            for name, items in folders.items()
            for task in _targets(items, names, temporary / name)
        ]
        for folder in {path.parent for _, path in tasks}:
            folder.mkdir(parents=True)
        # one after another: threads made creating files slower, not faster
        for item, path in tasks:
            item.write(path)
        write_json(temporary / "partition.json", partition)
        if any(label != name for label, name in names.items()):
            write_text(temporary / CLASS_NAMES, _table(names))
        temporary.replace(out.absolute())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_directory(out.absolute().parent)


def _table(names: dict[str, str]) -> str:
    """Return CSV of FOLDER,CLASS, sorted by folder."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("folder", "class"), *sorted((f, c) for c, f in names.items())]
    )
    return text.getvalue()


def _targets(items: Sequence[Item], names: dict[str, str], folder: Path) -> list[tuple[Item, Path]]:
    """Return the path of each image; a file name that a class already has, in any case, gets a
    number.
    """
    used_paths: set[str] = set()
    targets = []
    for item in items:
        first = path = folder / (names[item.label] if item.label else UNLABELLED) / item.name
        for suffix in itertools.count(2):
            if str(path).casefold() not in used_paths:
                break
            path = first.with_stem(f"{first.stem} ({suffix})")
        used_paths.add(str(path).casefold())
        targets.append((item, path))
    return targets
