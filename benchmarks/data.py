"""The images of a benchmark, decoded once, before anything is measured.

Ours reads its own cache, and rivals read a file of uint8 arrays.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 10
IMAGE_SIZE = 32  # pixels
HELD_OUT_IMAGES = 100  # images that a store of a deployment evaluates on


def prepare(dataset: str, into: Path) -> Path:
    """Decode a data set of 32x32 RGB images into the file that rivals read.

    This fills our cache, too.

    Args:
        dataset: a value of `flower-simulation --dataset`
        into: the folder for the file

    Returns:
        The file: uint8 [N, 3, 32, 32] and int64 [N] for each split.

    Raises:
        SystemExit: the data set has no training or no test images.
    """
    from fedshelf.common.config import resolve
    from fedshelf.common.images.decoding.decode import PixelFormat
    from fedshelf.simulations import datasets

    loaded = datasets.load(resolve({"data.dataset": dataset}).data, PixelFormat(IMAGE_SIZE))
    arrays: dict[str, Any] = {}
    for split, images in (("train", loaded.train), ("test", loaded.test)):
        if images is None:
            raise SystemExit(
                f"Data set {dataset} has no {split} images; the benchmark needs train and test"
                " images."
            )
        arrays[f"{split}_pixels"] = (
            images.inputs[images.rows].permute(0, 3, 1, 2).contiguous().numpy()
        )
        arrays[f"{split}_labels"] = images.targets().numpy()
    path = into / "images.npz"
    np.savez(path, **arrays)
    return path


def synthesize(images: int, into: Path) -> str:
    """Make a data set of random images for this process and its children.

    It has the binary layout of CIFAR-10. Each image shows its class's pattern under noise, so that
    the classes can be learned.

    Args:
        images: number of training images; there are a fifth as many test images
        into: the folder for it

    Returns:
        The name of the data set.
    """
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (CLASSES, 3 * IMAGE_SIZE * IMAGE_SIZE))
    folder = into / "cifar10"
    folder.mkdir()
    train = [f"data_batch_{number}.bin" for number in range(1, 6)]
    test = ["test_batch.bin"]
    for files, count in ((train, images), (test, max(1, images // 5))):
        labels = random.integers(0, CLASSES, count)
        pixels = (
            patterns[labels] + random.integers(0, 256, (count, 3 * IMAGE_SIZE * IMAGE_SIZE))
        ) // 2
        records = np.concatenate([labels[:, None], pixels], axis=1).astype(np.uint8)
        for file, part in zip(files, np.array_split(records, len(files)), strict=True):
            part.tofile(folder / file)
    os.environ |= {"FEDSHELF_DATA": str(into), "FEDSHELF_CACHE": str(into / "cache")}
    return "cifar10"


def write_store_folders(arrays: Path, stores: int, images: int, into: Path) -> list[Path]:
    """Write stores' images as folders of PNG files, and as files of tensors named alike with .pt.

    Every store gets `images` to train on and HELD_OUT_IMAGES to evaluate on, a tenth of each class.

    Args:
        arrays: the file that `prepare` has written.
        stores: number of stores.
        images: training images of each store, a multiple of ten.
        into: folder in which the stores' folders are made.

    Returns:
        The stores' folders.

    Raises:
        SystemExit: there are too few images, or `images` is no multiple of ten.
    """
    import torch

    with np.load(arrays, allow_pickle=False) as loaded:
        pixels = loaded["train_pixels"]
        labels = loaded["train_labels"]
    images_per_class = (images + HELD_OUT_IMAGES) // CLASSES
    most = int(np.bincount(labels, minlength=CLASSES).min())
    if images % CLASSES or stores * images_per_class > most:
        raise SystemExit(
            f"{stores} stores of {images} images do not work out: tens are needed, and {most} a"
            " class are there."
        )
    order = np.random.default_rng(0).permutation(len(labels))
    by_class = [order[labels[order] == label] for label in range(CLASSES)]
    folders = [into / f"store-{number}" for number in range(1, stores + 1)]
    for number, folder in enumerate(folders):
        rows_of_store = np.stack(
            [rows[number * images_per_class : (number + 1) * images_per_class] for rows in by_class]
        )
        tensors = {}
        for split, rows in (
            ("train", rows_of_store[:, HELD_OUT_IMAGES // CLASSES :]),
            ("validation", rows_of_store[:, : HELD_OUT_IMAGES // CLASSES]),
        ):
            _write_photos(folder / split, pixels, rows)
            tensors[f"{split}_images"] = (
                torch.from_numpy(pixels[rows.ravel()]).float().div(255).sub(0.5).div(0.25)
            )
            tensors[f"{split}_labels"] = torch.from_numpy(labels[rows.ravel()])
        torch.save(tensors, folder.with_suffix(".pt"))
    return folders


def _write_photos(folder: Path, pixels: Any, rows: Any) -> None:
    """Write PNG files by class: rows[c] are those of class c in pixels, uint8 [N, 3, 32, 32]."""
    from PIL import Image

    for label, rows_of_class in enumerate(rows):
        class_folder = folder / f"class-{label}"
        class_folder.mkdir(parents=True)
        for row in rows_of_class:
            Image.fromarray(pixels[row].transpose(1, 2, 0)).save(class_folder / f"{row}.png")
