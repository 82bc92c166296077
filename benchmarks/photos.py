"""Measure the cost of photos: a first epoch, which decodes them, and later epochs.

    python -m benchmarks.photos ../shared/data/clothing --model resnet18 --image-size 64 --limit 500
    python -m benchmarks.photos ../shared/data/clothing --enlarge 40    # as photos of 3000 x 4000

Later epochs are compared with epochs on synthetic pixels of the same shape. Both use the training
code of a store. The synthetic pixels are in memory, and those of the photos in the cache's
memory-mapped file. "epoch" is the images per second of a later epoch; the aim is a ratio of 0.95 or
more. "bare loop" is SGD in float32 as PyTorch's tutorials write it, on the synthetic pixels as
float tensors in memory, in a process of its own with the allocator as it comes; the aim for
resnet18 with `--precision auto` on a CPU with bfloat16 is 1.6. Processor time ("CPU") compares
them on a busy machine. `--threads 1` is what simulations have.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional

from benchmarks.harness import Column, Sample, alternate, parser, table, write
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import models
from fedshelf.common.config import resolve
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.images.folder.photo_folder import open_folder
from fedshelf.common.images.folder.scan import scan
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.system.device import pick_device
from fedshelf.server.settings.precision import settle_precision
from fedshelf.server.training.setup import prepare

LARGE_PHOTO_PIXELS = (3000, 4000)  # pixels of a telephone's photo


def enlarge(folder: Path, photos: int, into: Path) -> Path:
    """Write the first photos of a folder as large JPEG files with the noise of a camera.

    Args:
        folder: a folder of photos
        photos: number of photos, by the order of their file names
        into: the folder to write to, which is returned
    """
    photos_of_folder = sorted(scan(folder).photos, key=lambda photo: (photo.path.name, photo.name))
    for number, photo in zip(range(photos), photos_of_folder, strict=False):
        with Image.open(photo.path) as image:
            large = image.convert("RGB").resize(LARGE_PHOTO_PIXELS, Image.Resampling.BICUBIC)
        noisy = Image.blend(large, Image.effect_noise(LARGE_PHOTO_PIXELS, 40).convert("RGB"), 0.1)
        path = into / photo.label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noisy.save(path, quality=90)
    return into


class Store:
    """A store's trainer: `epoch` is one round of one epoch over some images."""

    def __init__(self, options: argparse.Namespace, classes: tuple[str, ...], folder: Path) -> None:
        settings = {
            "data.image_size": options.image_size, "model.name": options.model,
            "data.crop": options.crop, "train.lr": 0.001, "run.rounds": 10_000,
            "train.batch_size": options.batch_size, "train.precision": options.precision,
        }  # fmt: skip
        config, told = settle_precision(resolve(settings), 3)
        print(told or f"precision {config.train.precision}")
        keep_freed_memory()
        self._start = prepare(config, classes, 3).identified("benchmark")
        self.spec = self._start.plan.spec
        self._trainer = Trainer(pick_device(options.device), StateStore(folder))
        self._rounds = count(1)

    def epoch(self, images: Images) -> Sample:
        """Train on all images once; return images per second."""
        order = TrainOrder(self._start.plan, next(self._rounds), self._start.params)
        began = time.perf_counter()
        cpu_began = time.process_time()
        self._trainer.train(order, "store", images)
        return _rates(len(images), began, cpu_began)


def _rates(images: int, began: float, cpu_began: float) -> Sample:
    """Return images per second, and per second of processor time of this process."""
    cpu_seconds = time.process_time() - cpu_began
    return {"epoch": images / (time.perf_counter() - began), "cpu": images / cpu_seconds}


def serve_bare_loop(
    pipe: Connection, spec: ModelSpec, device_name: str, threads: int, batch_size: int, images: int
) -> None:
    """Train an epoch on random images whenever the pipe asks, and answer its sample."""
    torch.set_num_threads(threads)
    device = pick_device(device_name)
    module = models.build(spec, seed=0).to(device).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.001, momentum=0.9)
    shape = (images, spec.channels, spec.image_size, spec.image_size)
    pixels = torch.rand(shape, device=device)
    targets = torch.randint(len(spec.classes), (images,), device=device)
    while pipe.recv():
        began = time.perf_counter()
        cpu_began = time.process_time()
        for batch in torch.randperm(images, device=device).split(batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(module(pixels[batch]), targets[batch]).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        pipe.send(_rates(images, began, cpu_began))


class BareLoop:
    """A bare loop in a process of its own; `epoch` trains one epoch."""

    def __init__(self, spec: ModelSpec, options: argparse.Namespace, images: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        threads = torch.get_num_threads()
        arguments = (other_end, spec, options.device, threads, options.batch_size, images)
        self._process = context.Process(target=serve_bare_loop, args=arguments, daemon=True)
        self._process.start()

    def epoch(self) -> Sample:
        """Train an epoch; return images per second."""
        self._pipe.send(True)
        sample: Sample = self._pipe.recv()
        return sample

    def close(self) -> None:
        """End the process."""
        self._pipe.send(False)
        self._process.join()


def opened(path: Path, options: argparse.Namespace) -> tuple[Images, tuple[str, ...], float]:
    """Return a folder's training images, its classes, and the seconds that opening took."""
    began = time.perf_counter()
    folder = open_folder(path, image_size=options.image_size, channels=3)
    return folder.splits["train"], folder.classes, time.perf_counter() - began


def compare(path: Path, options: argparse.Namespace, scratch: Path) -> None:
    """Open the folder twice, train on it, and alternate with synthetic pixels."""
    photos, classes, seconds_first = opened(path, options)
    _, _, seconds_again = opened(path, options)
    total = len(photos.inputs)
    core_milliseconds = 1000 * seconds_first * usable_cores() / total
    print(
        f"{total} photos: opened in {seconds_first:.2f} s ({core_milliseconds:.1f} ms a photo and"
        f" core), opened again in {seconds_again:.3f} s"
    )
    if options.limit:
        photos = photos.select(torch.arange(options.limit) % len(photos))
    random_pixels = torch.randint(256, photos.inputs.shape, dtype=torch.uint8)
    synthetic = Images(random_pixels, photos.labels, photos.rows)
    store = Store(options, classes, scratch)
    store.epoch(synthetic)  # what is built once, on either side
    began = time.perf_counter()
    store.epoch(photos)
    seconds = seconds_first + time.perf_counter() - began
    print(f"first epoch with decoding: {seconds:.2f} s, {len(photos)} images")
    bare = BareLoop(store.spec, options, len(photos))
    bare.epoch()
    sides = {
        "photos": lambda: store.epoch(photos),
        "synthetic": lambda: store.epoch(synthetic),
        "bare loop": bare.epoch,
    }
    samples = alternate(sides, options.times)
    bare.close()
    columns = [
        Column("epoch", "images/s", 1, ratio=True),
        Column("cpu", "images/CPU s", 1, ratio=True),
    ]
    table("Later epochs", samples, columns, ours="photos")
    settings = {key: str(value) for key, value in vars(options).items()}
    write(
        options.json,
        "photos",
        settings | {"first_seconds": seconds_first, "again_seconds": seconds_again},
        samples,
    )


def main() -> None:
    """Run the comparison in a new cache, so that the first opening decodes."""
    command_line = parser(__doc__, times=5)
    command_line.add_argument("folder", type=Path)
    command_line.add_argument("--model", default="resnet18")
    command_line.add_argument("--image-size", type=int, default=64, help="pixels; default 64")
    command_line.add_argument(
        "--crop", type=int, default=4, help="augmentation beside the mirror, pixels; default 4"
    )
    command_line.add_argument("--batch-size", type=int, default=16, help="images; default 16")
    command_line.add_argument(
        "--precision", default="float32", choices=("float32", "mixed", "auto"), help="of ours"
    )
    command_line.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    command_line.add_argument("--device", default="auto")
    command_line.add_argument(
        "--limit",
        type=int,
        default=0,
        help="images an epoch, if need be repeated; 0: all of the training split",
    )
    command_line.add_argument(
        "--enlarge", type=int, default=0, help="take so many, as photos of 3000 x 4000 pixels"
    )
    arguments = command_line.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ["FEDSHELF_CACHE"] = str(scratch / "cache")
        path = (
            enlarge(arguments.folder, arguments.enlarge, scratch / "large")
            if arguments.enlarge
            else arguments.folder
        )
        compare(path, arguments, scratch / "states")


if __name__ == "__main__":
    main()
