"""Measure the head of a frozen network: on kept features, and by a loop that runs the network.

    python -m benchmarks.features ../shared/data/clothing --limit 256

Both sides train the head of efficientnet-lite0 for an epoch on the same photos, at 224 pixels and
in batches of 32. "bare loop" is PyTorch as its tutorials write it: the frozen network in evaluation
mode, its features without a gradient, a step of SGD on the head. Ours trains on features that were
computed before; what that took is printed first. The aim is 50 times the bare loop's images a
second. "cpu" compares processor time, which other work on the machine does not change.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks.harness import Column, Sample, alternate, parser, table, write
from fedshelf.common import models, strategies
from fedshelf.common.config import resolve
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.images.folder.photo_folder import open_folder
from fedshelf.common.images.types import Images
from fedshelf.common.models import published_weights
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.training.features import extractor
from fedshelf.common.training.fit import LocalTrainingTask, Network, fit

NETWORK = "efficientnet-lite0"
SIDE = 224  # pixels
BATCH = 32


def timed(epoch: Callable[[], int]) -> Sample:
    """Return the images per second of wall time, and of processor time, of an epoch."""
    began = time.perf_counter()
    cpu_began = time.process_time()
    images = epoch()
    return {
        "epoch": images / (time.perf_counter() - began),
        "cpu": images / (time.process_time() - cpu_began),
    }


def bare_epoch(module: nn.Module, head: nn.Linear, photos: Images) -> int:
    """Train the head for an epoch through the frozen network; return the number of images."""
    optimizer = torch.optim.SGD(head.parameters(), lr=0.03, momentum=0.9)
    module.eval()
    for positions in torch.randperm(len(photos)).split(BATCH):
        pixels, targets = photos.batch(positions)
        loss = functional.cross_entropy(module(normalise(pixels, (0.5,) * 3, (0.5,) * 3)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(photos)


def main() -> None:
    """Compute features in a new cache, then alternate epochs."""
    command_line = parser(__doc__, times=3)
    command_line.add_argument("folder", type=Path)
    command_line.add_argument("--limit", type=int, default=512, help="photos; default 512")
    options = command_line.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    config = resolve(
        {
            "model.name": NETWORK, "model.weights": "imagenet", "model.freeze": "backbone",
            "model.norm": "frozen", "train.batch_size": BATCH, "train.epochs": 1, "train.lr": 0.03,
        }
    )  # fmt: skip
    weights = published_weights.find(NETWORK)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDSHELF_CACHE"] = folder
        opened = open_folder(options.folder, image_size=SIDE, channels=3)
        photos = opened.splits["train"]
        photos = photos.select(torch.arange(min(options.limit, len(photos))))
        spec = models.specify(
            config.model, opened.classes, image_size=SIDE, native_size=None, channels=3
        )
        network = Network(spec, torch.device("cpu"), weights=weights)
        began = time.perf_counter()
        cpu_began = time.process_time()
        make = extractor(network, config)
        assert make is not None
        (features,) = make.training([photos])
        views = len(photos) * features.inputs.shape[1]
        print(
            f"{len(photos)} photos, and their mirror images, through the frozen part:"
            f" {1000 * (time.perf_counter() - began) / views:.1f} ms a view on {usable_cores()}"
            f" cores, {1000 * (time.process_time() - cpu_began) / views:.1f} ms of processor time"
        )
        strategy = strategies.build(config.strategy, network.layout)
        task = LocalTrainingTask(config, strategy, "store", 1, network.vector.clone())
        bare = models.build(replace(spec, freeze="backbone"), weights=weights)
        head = bare.get_submodule(network.layout.head)
        assert isinstance(head, nn.Linear)
        sides = {
            "features": lambda: timed(lambda: fit(network, features, task).num_examples),
            "bare loop": lambda: timed(lambda: bare_epoch(bare, head, photos)),
        }
        sides["features"]()  # what is built once
        samples = alternate(sides, options.times)
    columns = [
        Column("epoch", "images/s", 1, ratio=True),
        Column("cpu", "images/CPU s", 1, ratio=True),
    ]
    table("An epoch of the head", samples, columns, ours="features")
    settings = {key: str(value) for key, value in vars(options).items()}
    write(options.json, "features", settings, samples)


if __name__ == "__main__":
    main()
