"""The images of a benchmark, decoded once: ours reads its own cache, rivals a file of uint8 arrays; none decodes."""

import os
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 10
SIDE = 32  # pixels


def prepare(dataset: str, into: Path) -> Path:
    """Decode a data set of 32x32 RGB images into the file that rivals read; this fills our cache, too.

    dataset: what `flower-simulation --dataset` takes
    """
    from common.config import resolve
    from common.images.decode import PixelFormat
    from simulations import datasets

    loaded = datasets.load(resolve({"data.dataset": dataset}).data, PixelFormat(SIDE))
    arrays: dict[str, Any] = {}
    for split, images in (("train", loaded.train), ("test", loaded.test)):
        if images is None:
            raise SystemExit(f"Data set {dataset} has no {split} images; the benchmark needs train and test images.")
        arrays[f"{split}_pixels"] = images.pixels[images.rows].permute(0, 3, 1, 2).contiguous().numpy()
        arrays[f"{split}_labels"] = images.targets().numpy()
    path = into / "images.npz"
    np.savez(path, **arrays)
    return path


def synthesize(images: int, into: Path) -> str:
    """Make a data set of random images, a fifth more for testing, for this process and its children; its name.

    They come in the binary layout of CIFAR-10, and each shows its class's pattern under noise, so that they can be
    learned.
    """
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (CLASSES, 3 * SIDE * SIDE))
    folder = into / "cifar10"
    folder.mkdir()
    for file, count in (("data_batch_1.bin", images), ("test_batch.bin", max(1, images // 5))):
        labels = random.integers(0, CLASSES, count)
        pixels = (patterns[labels] + random.integers(0, 256, (count, 3 * SIDE * SIDE))) // 2
        np.concatenate([labels[:, None], pixels], axis=1).astype(np.uint8).tofile(folder / file)
    os.environ |= {"FEDSHELF_DATA": str(into), "FEDSHELF_CACHE": str(into / "cache")}
    return "cifar10"
