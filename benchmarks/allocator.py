"""Measure the allocator: time, system time and memory of photo-sized networks on one thread.

    python -m benchmarks.allocator
    python -m benchmarks.allocator --work resnet18:64:16:train --times 5

"as it comes" is a plain process; "keeps memory" calls `common.system.allocator`. Each turn is a
process of its own. A work is NETWORK:SIDE:BATCH:KIND, where KIND is train (float32, SGD) or
inference; inference may be followed by +folded (batch norm folded into convolutions) and +last
(channels-last). Weights are random: they change no time. Milliseconds are processor time of an
image, so that other work on the machine matters little.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse as fold_batch_norm
from torch.nn import functional

from benchmarks.harness import BenchmarkError, Column, Sample, alternate, parser, table, write
from fedshelf.common import models
from fedshelf.common.config import ModelConfig
from fedshelf.common.system.allocator import keep_freed_memory

WORKS = (
    *(
        f"efficientnet-lite0:224:{batch}:inference{options}"
        for batch in (1, 8, 32)
        for options in ("", "+folded", "+last", "+folded+last")
    ),
    "resnet18:64:16:train",
    "resnet18:224:16:train",
)
CLASSES = tuple("abcdefghij")
SECONDS = 3.0  # seconds that a turn repeats its step
COLUMNS = (
    Column("ms", "CPU ms/image", 2, ratio=True),
    Column("system", "of it system, %", 1),
    Column("peak", "peak MiB"),
)


def step_of(work: str) -> tuple[Callable[[], object], int]:
    """Return a function that does one step of a work, and its number of images."""
    name, side, batch, kind = work.split(":")
    images = int(batch)
    pixels = torch.randn(images, 3, int(side), int(side))
    spec = models.specify(
        ModelConfig(name=name), CLASSES, image_size=int(side), native_size=None, channels=3
    )
    module = models.build(spec, weights=None, seed=0)
    if kind == "train":
        return partial(train, module, pixels, torch.arange(images) % len(CLASSES)), images
    module = module.eval().requires_grad_(False)
    if "+folded" in kind:
        module = fold_batch_norm(module)
    if "+last" in kind:
        module = module.to(memory_format=torch.channels_last)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    return torch.inference_mode()(partial(module, pixels)), images


def train(module: nn.Module, pixels: Tensor, targets: Tensor) -> None:
    """Take one plain step of SGD on images [B, 3, H, W] with targets [B]."""
    weights = list(module.parameters())
    loss = functional.cross_entropy(module.train()(pixels), targets)
    with torch.no_grad():
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.sub_(gradient, alpha=1e-4)


def measure_here(work: str) -> Sample:
    """Repeat a work in this process, and return the columns of the table."""
    torch.set_num_threads(1)
    step, images = step_of(work)
    step()
    step()
    done = 0
    began = os.times()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        step()
        done += images
    ended = os.times()
    system = ended.system - began.system
    total = ended.user - began.user + system
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": 1000 * total / done, "system": 100 * system / total, "peak": peak_mib}


def measure(work: str, way: str) -> Sample:
    """Return the columns of a work in a new process.

    Raises:
        BenchmarkError: the process failed.
    """
    command = [sys.executable, "-m", "benchmarks.allocator", "--work", work, "--here", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def main() -> None:
    """Measure each work with and without the call, in turn."""
    command_line = parser(__doc__, times=3)
    command_line.add_argument("--work", action="append", help="may be repeated; default: all")
    command_line.add_argument(
        "--here", choices=("plain", "keeps"), help="one turn, in this process"
    )
    arguments = command_line.parse_args()
    works = arguments.work or WORKS
    if arguments.here:
        if arguments.here == "keeps":
            keep_freed_memory()
        print(json.dumps(measure_here(works[0])))
        return
    all_samples = {}
    for work in works:
        sides = {
            "as it comes": partial(measure, work, "plain"),
            "keeps memory": partial(measure, work, "keeps"),
        }
        samples = alternate(sides, arguments.times)
        table(work, samples, COLUMNS, ours="keeps memory")
        all_samples |= {f"{work}, {side}": turns for side, turns in samples.items()}
    write(arguments.json, "allocator", {"seconds": SECONDS}, all_samples)


if __name__ == "__main__":
    main()
