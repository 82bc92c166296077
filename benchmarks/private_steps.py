"""Measure what differential privacy adds to a training step, in CPU time of one thread.

    python -m benchmarks.private_steps
    python -m benchmarks.private_steps --models cnn --batch 256 --times 30

"plain" is the gradient of a batch. "clipped" is the sum of each image's clipped gradient in its
place. "private" adds the draw of the images and the noise: all that `privacy.clip` changes. If
Opacus is installed, its hooks make the clipped sum of the same network, with the operations of
PyTorch. In each turn a contestant repeats its step and gives the least time, as other work on the
machine only adds to it.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.harness import Column, Sample, alternate, parser, table, write
from fedshelf.common import models
from fedshelf.common.config import ModelConfig, PrivacyConfig, TrainConfig
from fedshelf.common.images.types import Images
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.tasks.classes import image_losses
from fedshelf.common.training.clipping.clipped_gradient import ClippedGradient
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import BatchGradient
from fedshelf.common.training.private_steps import PrivateSteps
from fedshelf.common.training.steps import LocalStep

CLASSES = tuple("abcdefghij")
IMAGE_SIZE = 32  # pixels a side
REPETITIONS = 10
WARM_UP = 3
PRIVACY = PrivacyConfig(clip=1.0, noise=1.0, rate=1.0, steps=10_000)
COLUMNS = (Column("us", "CPU us/image", 1, ratio=True),)


def contestants(name: str, batch: int) -> dict[str, Callable[[], object]]:
    """Return a step of each kind, for one network and batch size."""
    spec = models.specify(
        ModelConfig(name=name), CLASSES, image_size=IMAGE_SIZE, native_size=None, channels=3
    )
    network = Network(spec, torch.device("cpu"))
    network.module.train()
    # as augmented images come: channels last
    pixels = torch.randn(batch, IMAGE_SIZE, IMAGE_SIZE, 3).permute(0, 3, 1, 2)
    targets = torch.arange(batch) % len(CLASSES)
    losses = partial(image_losses, config=TrainConfig())
    images = Images.whole(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), torch.zeros(1).long())
    clipped = ClippedGradient(network, network.differentiable(images), losses)
    steps: Iterator[LocalStep] = iter(
        PrivateSteps(clipped, lambda _: (pixels, targets), PRIVACY, batch, bytes(32))
    )
    found: dict[str, Callable[[], object]] = {
        "plain": partial(BatchGradient(network, TrainConfig()), pixels, targets),
        "clipped": partial(clipped, pixels, targets, PRIVACY.clip),
        "private": partial(next, steps),
    }
    if importlib.util.find_spec("opacus"):
        found["Opacus, clipped"] = _opacus(network, pixels, targets)
    return found


def _opacus(network: Network, pixels: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    """Return a clipped sum by the hooks of Opacus, on a copy of the network of PyTorch's layers."""
    from opacus.grad_sample import GradSampleModule

    copy = Network(network.spec, network.device).module.train()
    module = GradSampleModule(copy)

    def clipped_sum() -> Tensor:
        module.zero_grad()
        functional.cross_entropy(module(pixels), targets, reduction="sum").backward()
        rows = torch.cat([each.grad_sample.flatten(1) for each in module.parameters()], dim=1)
        factors: Tensor = (PRIVACY.clip / rows.norm(dim=1)).clamp(max=1)
        return factors @ rows

    return clipped_sum


def measure(step: Callable[[], object], batch: int) -> Sample:
    """Return the least CPU time of a step, us for each image."""
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(REPETITIONS):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return {"us": 1e6 * min(times) / batch}


def main() -> None:
    """Measure all kinds of steps of each network, in turn."""
    command_line = parser(__doc__, times=15)
    command_line.add_argument("--models", default="niid-cnn,cnn", help="names, comma-separated")
    command_line.add_argument("--batch", type=int, default=64, help="images a step")
    arguments = command_line.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as all workers do
    all_samples: dict[str, Sequence[Sample]] = {}
    for name in arguments.models.split(","):
        kinds = {
            kind: partial(measure, step, arguments.batch)
            for kind, step in contestants(name, arguments.batch).items()
        }
        samples = alternate(kinds, arguments.times)
        table(f"{name}, batch {arguments.batch}", samples, COLUMNS, ours="private")
        all_samples |= {f"{name}, {kind}": turns for kind, turns in samples.items()}
    write(arguments.json, "private_steps", {"batch": arguments.batch}, all_samples)


if __name__ == "__main__":
    main()
