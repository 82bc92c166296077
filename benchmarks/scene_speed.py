"""The training of a network for scenes, beside a bare PyTorch loop that does the same.

Both sides train the same network from the same weights, on the same drawn scenes in the same order,
with the same loss and SGD with momentum and clipped gradients; so their losses agree, which is
checked. The bare loop is in a process of its own, with its photos as float tensors in memory, in
channels-last order, and the allocator as it comes. The aim is 1.2 times as many scenes per second
of processor time.
"""

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import BenchmarkError, Column, Sample, alternate, parser, table, write
from benchmarks.rivals.plain_scenes import LOSSES, train_epoch
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import models
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.scenes.folder.run_classes import in_run_classes
from fedshelf.common.seeding import rng
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.system.device import pick_device
from fedshelf.common.tasks import TASKS
from fedshelf.server.training.setup import prepare
from fedshelf.simulations.datasets.products import PRODUCTS
from fedshelf.simulations.datasets.scenes import draw_scenes
from fedshelf.simulations.datasets.scenes.shelf_scenes import padded

OBJECTIVES = {"locator": "boxes", "unet": "masks"}
STORE = "store"
SAME_LOSS = 0.01
"""Relative difference of two sides' losses up to which they are called the same: rounding alone."""


def add_mode(modes: Any) -> None:
    """Add `speed` to the modes of a command line."""
    mode = modes.add_parser(
        "speed", parents=[parser(__doc__, times=7)], add_help=False, help="beside a bare loop"
    )
    mode.add_argument("--network", default="locator", choices=OBJECTIVES)
    mode.add_argument("--side", type=int, default=160, help="pixels of a scene; default 160")
    mode.add_argument("--scenes", type=int, default=80, help="of an epoch; default 80")
    mode.add_argument("--batch-size", type=int, default=4, help="scenes; default 4")
    mode.add_argument("--threads", type=int, default=1, help="default 1, as in simulations")
    mode.add_argument("--device", default="cpu")
    mode.set_defaults(measure=compare)


def drawn(options: argparse.Namespace) -> Images:
    """Return drawn scenes with the annotations of the network's task."""
    scenes = draw_scenes(options.scenes, options.side, seed=0)
    # the bare loop knows no difficult products: all count as wholly seen
    whole = [np.ones_like(shares) for shares in scenes.seen]
    annotations = {
        "boxes": lambda: padded(scenes.boxes, whole),
        "masks": lambda: scenes.masks,
    }[OBJECTIVES[options.network]]()
    of_products = in_run_classes(torch.from_numpy(annotations), tuple(PRODUCTS), ())
    rows = torch.arange(options.scenes)
    return Images(torch.from_numpy(scenes.photos), torch.zeros_like(rows), rows, of_products)


class SceneStore:
    """A store's trainer; `epoch` is one round of one epoch from the first weights."""

    def __init__(self, options: argparse.Namespace, images: Images, folder: Path) -> None:
        objective = OBJECTIVES[options.network]
        settings = {
            "train.objective": objective, "model.name": options.network, "train.lr": 0.05,
            "train.clip_norm": 5.0, "train.batch_size": options.batch_size, "train.epochs": 1,
            "data.image_size": options.side, "data.flip": False, "data.crop": 0,
        }  # fmt: skip
        keep_freed_memory()
        config = resolve(settings)
        self._start = prepare(config, TASKS[objective].classes, 3).identified("benchmark")
        self.config: RunConfig = self._start.plan.config
        self.spec = self._start.plan.spec
        self._images = images
        self._trainer = Trainer(pick_device(options.device), StateStore(folder))

    def order(self) -> NDArray[np.int64]:
        """Return the order in which an epoch takes the scenes."""
        shuffles = rng(self.config.run.seed, "order", 1, STORE)
        return shuffles.permutation(len(self._images))

    def epoch(self) -> Sample:
        """Train on all scenes once."""
        order = TrainOrder(self._start.plan, 1, self._start.params)
        began = time.perf_counter(), time.process_time()
        update = self._trainer.train(order, STORE, self._images)
        return sample(len(self._images), began, update.loss)


def sample(scenes: int, began: tuple[float, float], loss: float) -> Sample:
    """Return scenes per second, scenes per second of this process's processor time, and the loss.

    Args:
        scenes: number of scenes since then
        began: the beginning in seconds, by the clock and of processor time
        loss: mean loss of the epoch
    """
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    return {"wall": scenes / wall, "cpu": scenes / cpu, "loss": loss}


def serve_bare_loop(
    pipe: Connection, spec: ModelSpec, config: RunConfig, images: Images, device_name: str
) -> None:
    """Train an epoch whenever the pipe gives an order of scenes, and answer its sample."""
    threads, order = pipe.recv()
    torch.set_num_threads(threads)
    device = pick_device(device_name)
    module = models.build(spec, seed=config.run.seed).to(device).train()
    first_weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    pixels = normalise(images.inputs, spec.mean, spec.std).to(device)
    targets = images.learned.to(device)
    while order is not None:
        module.load_state_dict(first_weights)
        optimizer = torch.optim.SGD(
            module.parameters(), lr=config.train.lr, momentum=config.train.momentum
        )
        batches = torch.from_numpy(order).to(device).split(config.train.batch)
        began = time.perf_counter(), time.process_time()
        loss = train_epoch(
            module, optimizer, LOSSES[spec.name], pixels, targets, batches, config.train.clip_norm
        )
        pipe.send(sample(len(pixels), began, loss))
        order = pipe.recv()


class BareSceneLoop:
    """A bare loop in a process of its own; `epoch` trains one epoch from the first weights."""

    def __init__(self, store: SceneStore, images: Images, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        arguments = (other_end, store.spec, store.config, images, device)
        self._process = context.Process(target=serve_bare_loop, args=arguments, daemon=True)
        self._process.start()
        self._order = store.order()
        self._pipe.send((torch.get_num_threads(), self._order))
        self._pipe.recv()  # what is built once

    def epoch(self) -> Sample:
        """Train an epoch; return its sample."""
        self._pipe.send(self._order)
        answer: Sample = self._pipe.recv()
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def compare(options: argparse.Namespace) -> None:
    """Train both sides in turn, and print the table.

    Raises:
        BenchmarkError: their losses differ.
    """
    torch.set_num_threads(options.threads)
    images = drawn(options)
    with tempfile.TemporaryDirectory() as folder:
        store = SceneStore(options, images, Path(folder))
        store.epoch()  # what is built once
        bare = BareSceneLoop(store, images, options.device)
        samples = alternate({"ours": store.epoch, "bare loop": bare.epoch}, options.times)
        bare.close()
    columns = [
        Column("wall", "scenes/s", 1, ratio=True),
        Column("cpu", "scenes/CPU s", 1, ratio=True),
        Column("loss", "loss", 4),
    ]
    table(f"{options.network}, scenes of {options.side} px", samples, columns)
    settings = {key: str(value) for key, value in vars(options).items() if key != "measure"}
    write(options.json, "scenes speed", settings, samples)
    losses = [side[-1]["loss"] for side in samples.values()]
    if not np.isclose(*losses, rtol=SAME_LOSS):
        raise BenchmarkError(f"The losses {losses} differ; expected the same training.")
