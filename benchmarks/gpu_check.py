"""Check within eight minutes everything that only a GPU can show.

    python -m benchmarks.gpu_check          on a machine with a CUDA device
    python -m benchmarks.gpu_check --dry    the same checks on the CPU: do they run?

The checks are about equality, bits, memory, recorded steps, aggregation and speed. Each prints a
line: the measurement, and whether it is as promised in docs/explanation/performance.md. The exit
code is 0 if all are. A check that would begin after --seconds is left out, which the output says,
and counts as not passed.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import data, harness
from benchmarks.contestants import Images, contestants
from benchmarks.gpu_trainings import Bench, alone, distance, relative, synchronise, together
from benchmarks.machine import machine
from benchmarks.work import WORKS
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.config import resolve
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import EvaluateOrder, TrainOrder, Update
from fedshelf.common.system.device import compute_exactly
from fedshelf.common.training.fit import Network
from fedshelf.simulations.engines.batched.engine import BatchedEngine
from fedshelf.simulations.engines.batched.memory import stores_that_fit
from fedshelf.simulations.engines.batched.training import StackedTraining

# Largest ||a - b|| / ||b||: another device adds float32 in another order, over some dozen steps.
TOLERANCE = 1e-3
MIB = 2**20

# Settings of the trainings: every optimizer, schedule, loss, kind of layer and strategy that has
# code of its own for a GPU.
PATHS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {},
    "sgd along a cosine": {"train.schedule": "cosine", "train.backbone_lr": 0.5},
    "adam": {"train.optimizer": "adam", "train.lr": 0.001, "train.schedule": "cosine"},
    "adamw, decay": {"train.optimizer": "adamw", "train.lr": 0.001, "train.weight_decay": 0.1},
    "augmented": {
        "data.trivial_augment": True,
        "data.erasing": 0.3,
        "data.mixup": 0.3,
        "data.crop": 2,
    },
    "dropout, squared loss": {"model.dropout": 0.3, "train.loss": "squared"},
    "scaffold": {"strategy.name": "scaffold"},
    "feddyn": {"strategy.name": "feddyn"},
    "fedprox, clipped": {
        "strategy.name": "fedprox",
        "strategy.mu": 0.1,
        "train.clip_norm": 1.0,
        "train.l1": 1e-4,
    },
    "shares taken out, smoothed": {
        "strategy.absent_classes": "weigh",
        "train.label_smoothing": 0.1,
    },
    "compressed": {"messages.compression": "int8"},
    "a residual network": {"model.name": "resnet18", "model.norm": "group", "train.lr": 0.003},
    "depthwise convolutions": {
        "model.name": "mobilenet_v3_small",
        "model.norm": "group",
        "train.lr": 0.003,
    },
}
ROBUST = ("median", "trimmed-mean", "krum", "multi-krum")

Check = Callable[[Bench], tuple[bool, str]]
"""A check: returns whether the measurement is as promised, and the measurement in words."""


def paths_equal(bench: Bench) -> Iterator[tuple[str, bool, str]]:
    """Compare training on the device with training of each store alone on the CPU.

    On the device, stores train at once and one after the other.
    """
    for name, changed in PATHS.items():
        if bench.small and changed.get("model.name"):
            continue  # minutes on a CPU
        start, federation = bench.partition(**changed)
        reference = alone(start, federation, torch.device("cpu"), bench)
        at_once = together(start, federation, bench)
        one_by_one = alone(start, federation, bench.device, bench)
        difference = max(distance(at_once, reference), distance(one_by_one, reference))
        yield (
            f"equality: {name}",
            difference < TOLERANCE,
            f"{difference:.1e} apart at most, {TOLERANCE:g} allowed",
        )


def same_bits(bench: Bench) -> tuple[bool, str]:
    """Train twice in each way, and check that the weights are equal to the bit."""
    start, federation = bench.partition(**{"model.dropout": 0.3})
    pairs = [
        [together(start, federation, bench) for _ in range(2)],
        [alone(start, federation, bench.device, bench) for _ in range(2)],
    ]
    differ = sum(not torch.equal(one[store], other[store]) for one, other in pairs for store in one)
    return differ == 0, f"{differ} of {2 * len(federation.stores)} stores differ between two runs"


def plans_of_memory(bench: Bench) -> tuple[bool, str]:
    """Plan the memory twice, and check that the plans are equal.

    As many stores as planned must fit, without much memory to spare.
    """
    start, _ = bench.partition()
    network = Network(start.plan.spec, bench.device)
    first, second = (stores_that_fit(network, 32) for _ in range(2))
    if bench.device.type != "cuda":
        return first == second, f"{first} stores, then {second}"
    free = torch.cuda.mem_get_info(bench.device)[0]
    count = min(first, 4096)
    torch.cuda.reset_peak_memory_stats(bench.device)
    StackedTraining(network, start.plan.config, count, mixed=False)
    used = torch.cuda.max_memory_allocated(bench.device)
    is_good = abs(first - second) <= 0.02 * first and used < free
    return (
        is_good,
        f"{first} stores, then {second}; weights of {count} take {used / free:.0%} of what is free",
    )


def steps_recorded(bench: Bench) -> tuple[bool, str]:
    """Check that steps are recorded once for all learning rates, and how fast they are."""
    start, federation = bench.partition(
        **{"train.schedule": "cosine", "train.epochs": 8, "run.rounds": 6}
    )
    engine = BatchedEngine(federation, start, bench.states(), [bench.device])
    counts = []
    seconds = []
    for number in range(1, 6):
        began = time.perf_counter()
        list(engine.train(TrainOrder(start.plan, number, start.params), list(federation.stores)))
        seconds.append(time.perf_counter() - began)
        training = engine._shards[0]._training
        counts.append(len(training._graphs) if training else 0)
    engine.close()
    is_good = counts[-1] == counts[-2] and (bench.device.type != "cuda" or counts[-1] > 0)
    return (
        is_good,
        (
            f"{counts} steps recorded after each round; round 5 takes"
            f" {seconds[-1] / seconds[0]:.2f} of round 1"
        ),
    )


def robust_means(bench: Bench) -> Iterator[tuple[str, bool, str]]:
    """Check that robust strategies combine to the same on the device and on the CPU.

    The line also has the time that they take on the device.
    """
    draws = torch.Generator().manual_seed(1)
    size = 2_000_000 if bench.small else 11_000_000
    vectors = [torch.randn(size, generator=draws) for _ in range(10)]
    layout = Layout((), (), size, size)
    for name in ROBUST:
        strategy = strategies.build(resolve({"strategy.name": name}).strategy, layout)
        means = []
        seconds = []
        for device in (torch.device("cpu"), bench.device):
            updates = [
                Update(f"store-{number}", 1, vector.to(device), 100, 0.0, 0.0)
                for number, vector in enumerate(vectors)
            ]
            synchronise(device)
            began = time.perf_counter()
            combined = strategy.aggregate_updates(updates)
            synchronise(device)
            seconds.append(time.perf_counter() - began)
            means.append(combined.cpu())
        difference = relative(means[1], means[0])
        measurement = f"{difference:.1e} apart; {seconds[1] / seconds[0]:.3f} of a CPU's time"
        yield f"aggregation: {name}", difference < TOLERANCE, measurement


def judged(bench: Bench) -> tuple[bool, str]:
    """Check that the model's answers on test images are those on the CPU, except for ties."""
    start, federation = bench.partition()
    assert federation.test is not None
    order = EvaluateOrder(start.plan, 0, start.params, "test", (0.5, 1.0, 2.0))
    counts = [
        Trainer(device, StateStore(bench.states())).evaluate(order, {"": federation.test})[0].counts
        for device in (torch.device("cpu"), bench.device)
    ]
    num_changed = int(abs(counts[0].confusion - counts[1].confusion).sum()) // 2
    return (
        num_changed <= len(federation.test) // 500,
        f"{num_changed} of {len(federation.test)} images taken for another class",
    )


def float32_is_exact(bench: Bench) -> tuple[bool, str]:
    """Check that TensorFloat-32 is off: compare a product and a convolution with float64."""
    compute_exactly(bench.device)
    draws = torch.Generator().manual_seed(2)
    left, right = (torch.randn(512, 512, generator=draws) for _ in range(2))
    images = torch.randn(8, 64, 32, 32, generator=draws)
    kernels = torch.randn(64, 64, 3, 3, generator=draws)
    product = (left.to(bench.device) @ right.to(bench.device)).cpu()
    convolved = torch.conv2d(images.to(bench.device), kernels.to(bench.device)).cpu()
    difference = max(
        relative(product.double(), left.double() @ right.double()),
        relative(convolved.double(), torch.conv2d(images.double(), kernels.double())),
    )
    return difference < 1e-5, f"{difference:.1e} from float64; TensorFloat-32 would be 3e-4"


def channels_last(bench: Bench) -> tuple[bool, str]:
    """Measure the time that converting the weights of convolutions in advance would save.

    cuDNN converts them at each call.
    """
    draws = torch.Generator().manual_seed(3)
    images = torch.randn(64, 64, 32, 32, generator=draws).to(
        bench.device, memory_format=torch.channels_last
    )
    kernels = torch.randn(64, 64, 3, 3, generator=draws).to(bench.device)
    seconds = []
    for form in (torch.contiguous_format, torch.channels_last):
        weights = kernels.contiguous(memory_format=form).requires_grad_()
        for repetition in range(2):  # the first one warms up
            synchronise(bench.device)
            began = time.perf_counter()
            for _ in range(5 if bench.small else 200):
                torch.conv2d(images, weights, padding=1).sum().backward()
            synchronise(bench.device)
            if repetition:
                seconds.append(time.perf_counter() - began)
    return True, f"{seconds[1] / seconds[0]:.2f} of the time with weights in channels-last order"


def too_little_memory(bench: Bench) -> tuple[bool, str]:
    """Check that a device that holds a part of a batch at a time gets the same weights."""
    if bench.device.type != "cuda":
        return True, "nothing runs out of memory on a CPU"
    start, federation = bench.partition(**{"train.batch_size": 512})
    whole = together(start, federation, bench)
    total = torch.cuda.get_device_properties(bench.device).total_memory
    torch.cuda.empty_cache()
    reserved_bytes = torch.cuda.memory_reserved(bench.device)
    try:
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, (reserved_bytes + 192 * MIB) / total), bench.device
        )
        in_pieces = together(start, federation, bench)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    difference = distance(in_pieces, whole)
    return difference < TOLERANCE, f"{difference:.1e} apart with 192 MiB"


def speed(bench: Bench) -> Iterator[tuple[str, bool, str]]:
    """Run a part of W3, pfl-research's benchmark, and a bare PyTorch loop for comparison."""
    rounds, stores, images = (2, 20, 1000) if bench.small else (150, 1000, 50_000)
    work = dataclasses.replace(WORKS["w3"], device=str(bench.device), rounds=rounds, stores=stores)
    work = dataclasses.replace(work, cohort=min(work.cohort, work.stores))
    dataset = data.synthesize(images, bench.folder)
    all_contestants = contestants(
        work, Images(dataset, data.prepare(dataset, bench.folder)), sys.executable
    )
    rows = {
        name: all_contestants[name] for name in all_contestants if name.startswith(("ours", "bare"))
    }
    samples = harness.alternate(rows, 1)
    rates = {name: sample[0]["images_per_second"] or 0.0 for name, sample in samples.items()}
    ours = next(rate for name, rate in rates.items() if name.startswith("ours"))
    for name, rate in rates.items():
        if not name.startswith("ours") and rate:
            measurement = (
                "too little work to tell" if bench.small else f"{ours / rate:.2f} times as many"
            )
            yield f"speed: W3 beside {name}", True, f"{ours:,.0f} images/s, {measurement}"


SINGLE: Mapping[str, Check] = {
    "float32 is float32": float32_is_exact,
    "the same bits twice": same_bits,
    "plan of memory": plans_of_memory,
    "recorded steps": steps_recorded,
    "judging": judged,
    "too little memory": too_little_memory,
    "weights in channels-last order": channels_last,
}


def checks(bench: Bench) -> Iterator[tuple[str, bool, str]]:
    """Yield the result of each check: its name, whether it passed, and the measurement in words."""
    for name, check in SINGLE.items():
        yield name, *check(bench)
    yield from robust_means(bench)
    yield from speed(bench)
    yield from paths_equal(bench)


def main() -> None:
    """Run the checks and end with 1 if one of them failed or was left out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry", action="store_true", help="on the CPU, with less work")
    parser.add_argument(
        "--seconds", type=float, default=480.0, help="after which no further check begins"
    )
    options = parser.parse_args()
    if not options.dry and not torch.cuda.is_available():
        raise SystemExit("No CUDA device is on this machine; --dry runs the checks on the CPU.")
    console = Console()
    began = time.perf_counter()
    console.print("; ".join(machine().values()), highlight=False)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(torch.device("cpu" if options.dry else "cuda"), options.dry, Path(folder))
        for name, is_good, measurement in checks(bench):
            failed += not is_good
            line = (
                f"{'ok    ' if is_good else 'FAILED'} {time.perf_counter() - began:5.0f} s  {name}:"
                f" {measurement}"
            )
            console.print(line, highlight=False, soft_wrap=True)
            if time.perf_counter() - began > options.seconds:
                failed += 1
                console.print("The time is up; the checks that remain were left out.")
                break
    raise SystemExit(min(failed, 1))


if __name__ == "__main__":
    main()
