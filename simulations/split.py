"""Write a data set out as one folder of image files per store, ready for real stores.

    OUT/store-0/shirt/1.jpg     what `flower-client join --data OUT/store-0` takes
    OUT/test/shirt/9.jpg        with `test`: what `flower-server start --test-data OUT/test` takes
    OUT/store-0/unlabelled/7.jpg    with `labelled` below 1: photos whose class the store does not know
    OUT/partition.json          who got how much of what

`flower-simulation run --dataset OUT --partition folder` trains on the same stores.
"""

import itertools
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from common.config import DataConfig
from common.errors import ConfigError, DataError
from common.files import sync_directory, write_json
from common.images.contents import digest_of
from common.images.decode import NotUsableError, PixelFormat, decode
from common.images.parallel import in_order
from common.images.scan import UNLABELLED, Photo, scan
from common.images.split import split_of
from common.images.types import Images
from common.seeding import rng
from simulations import datasets
from simulations.federation import store_names
from simulations.partitions import parse, partition
from simulations.partitions.folder import TEST

Counts = dict[str, dict[str, int]]
"""Folder -> class -> images."""


@dataclass(frozen=True)
class Item:
    """An image that can be written: its class, its file name, and how to write it to a path."""

    label: str
    name: str
    write: Callable[[Path], object]


def split(data: DataConfig, out: Path, *, seed: int, test: bool, labelled: float = 1.0) -> Counts:
    """Deal the images to `data.stores` stores by `data.partition` and write all into `out`, wholly or not at all.

    Training and validation images are dealt: a store splits its folder anew. With `test` the test
    images are written as the server's test folder, without it they are not written. A folder of photos
    that has no splits of its own is dealt whole, or with `test` less a tenth by content.
    Of each store's images the share `labelled` keeps its class, chosen at random, and one at least.
    Photos are copied as they are; other data sets become PNG files of `data.image_size` pixels.

    Returns the images per folder and class. Raises DataError if `out` exists and is not empty, cannot be
    written, or the data set cannot be read or has no test images; ConfigError for an impossible partition.
    """
    if parse(data.partition) is None:
        raise ConfigError("Partition folder is already written out; choose another, for example dirichlet:0.5.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty; choose another folder, or remove it first.")
    source = datasets.find(data)
    dealt, tested = _photos(source.photos, data, test=test) if source.photos else _pictures(source, data, test=test)
    if test and not tested:
        raise DataError(f"Data set {source.name} has no test images to hold out; split it without a test folder.")
    labels = np.unique([item.label for item in dealt], return_inverse=True)[1]
    parts = partition(data.partition, labels, data.stores, minimum=data.min_images, seed=seed)
    names = store_names(data.stores)
    folders = {
        name: _forget([dealt[row] for row in part], labelled, rng(seed, "labelled", name))
        for name, part in zip(names, parts, strict=True)
    } | ({TEST: tested} if test else {})
    counts = {name: dict(sorted(Counter(item.label for item in items).items())) for name, items in folders.items()}
    about = {"dataset": data.dataset, "partition": data.partition, "seed": seed, "images": counts}
    try:
        _write(folders, about, out)
    except OSError as error:
        raise DataError(f"Cannot write {out}: {error.strerror or error}. Nothing of it was kept.") from error
    return counts


def _forget(items: list[Item], labelled: float, generator: np.random.Generator) -> list[Item]:
    """The items, of which only the share `labelled` keep their class; the others are for the folder `unlabelled`."""
    kept = max(1, round(labelled * len(items)))
    forgotten = set(generator.permutation(len(items))[kept:].tolist())
    return [replace(item, label=UNLABELLED) if row in forgotten else item for row, item in enumerate(items)]


def _photos(root: Path, data: DataConfig, *, test: bool) -> tuple[list[Item], list[Item]]:
    """The usable photos of a folder: those to deal and those to test on."""
    photos = scan(root).photos
    dealt: list[Item] = []
    tested: list[Item] = []
    for photo, digest in zip(photos, in_order(_digest, photos), strict=True):
        if digest is None:
            continue
        own = photo.split or (split_of(digest) if test else "train")
        item = Item(photo.label, photo.path.name, partial(shutil.copyfile, photo.path))
        (tested if own == "test" else dealt).append(item)
    for item in dealt + tested:
        if data.classes and item.label not in data.classes:
            raise DataError(f"{root} has images of class {item.label!r}, which is not in data.classes.")
    if not dealt:
        raise DataError(f"{root} has no usable photo to deal to stores.")
    return dealt, tested


def _digest(photo: Photo) -> bytes | None:
    """The hash of a photo's content, or None if it cannot be decoded."""
    try:
        content = photo.path.read_bytes()
        decode(content, PixelFormat(8))
    except (OSError, NotUsableError):
        return None
    return digest_of(content)


def _pictures(source: datasets.Source, data: DataConfig, *, test: bool) -> tuple[list[Item], list[Item]]:
    """The images of a data set that has no files of its own: those to deal and those to test on."""
    size = data.image_size or source.native_size
    if not size:
        raise ConfigError(f"Images of {source.name} differ in size; choose one with data.image_size, for example 224.")
    dataset = datasets.load(data, PixelFormat(size, source.channels, data.denoise))
    items = {
        name: _items(images, dataset.classes, name)
        for name, images in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test))
        if images is not None
    }
    return items["train"] + items.get("validation", []), items.get("test", []) if test else []


def _items(images: Images, classes: Sequence[str], split_name: str) -> list[Item]:
    labels = images.targets().tolist()
    width = len(str(len(labels)))
    return [
        Item(classes[label], f"{split_name}-{position:0{width}}.png", partial(_save, images, position))
        for position, label in enumerate(labels)
    ]


def _save(images: Images, position: int, path: Path) -> None:
    pixels = images.pixels[images.rows[position]].numpy()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path, "PNG")


def _write(folders: dict[str, list[Item]], about: dict[str, object], out: Path) -> None:
    """Fill a temporary folder beside `out`, then rename it. Raises OSError; then nothing is left."""
    aside = out.absolute().with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        aside.mkdir(parents=True)
        tasks = [task for name, items in folders.items() for task in _targets(items, aside / name)]
        for folder in {path.parent for _, path in tasks}:
            folder.mkdir(parents=True)
        for item, path in tasks:  # one after another: threads made creating files slower, not faster
            item.write(path)
        write_json(aside / "partition.json", about)
        aside.replace(out.absolute())
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync_directory(out.absolute().parent)


def _targets(items: Sequence[Item], folder: Path) -> list[tuple[Item, Path]]:
    """Where each image goes; a file name that a class has already, in any case, is numbered."""
    taken: set[str] = set()
    targets = []
    for item in items:
        first = path = folder / _folder_name(item.label) / item.name
        for number in itertools.count(2):
            if str(path).casefold() not in taken:
                break
            path = first.with_stem(f"{first.stem} ({number})")
        taken.add(str(path).casefold())
        targets.append((item, path))
    return targets


def _folder_name(label: str) -> str:
    """A class name as a folder name: characters that a file system refuses become dashes."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", label).lstrip(".").strip() or "-"
