"""The choice behind `train.precision=auto`: a few steps, measured once on this machine.

    small network, or no bfloat16 in hardware --> float32, nothing is measured
    measured before (cache directory)         --> that
    else                                      --> the faster one of a few steps each

The choice is written into the run's configuration, so that all stores and a resumed run agree.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch

from fedshelf.common import models
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.models.head import set_training
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.system.device import has_bfloat16, pick_device
from fedshelf.common.system.files import cache_directory, write_json, writing_cache
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import BatchGradient

Precision = Literal["float32", "mixed"]
CHOICES: tuple[Precision, ...] = ("float32", "mixed")
# Smaller networks keep float32: their steps are short, and ours have compiled operations for it.
MIN_WEIGHTS = 1_000_000  # weights that train
MIN_IMAGE_SIZE = 64  # pixels a side
MEASURED_STEPS = 3  # steps of each, after one that is not counted
MIN_GAIN = 1.1  # mixed has to be faster by this factor to be worth its rounding
STAND_IN_CLASSES = tuple(f"class {number}" for number in range(10))
CPU_ALONE = (
    "train.precision auto is float32 here: only a simulation on a CPU can measure the machine that"
    " trains. If the stores' machines have bfloat16, --set train.precision=mixed may be faster."
)


def keep_float32(config: RunConfig) -> tuple[RunConfig, str]:
    """Return the configuration with float32 in place of auto, and a sentence if that was asked for.

    It is for runs whose stores compute elsewhere.
    """
    if config.train.precision != "auto":
        return config, ""
    return _with(config, "float32"), CPU_ALONE


def settle_precision(config: RunConfig, channels: int) -> tuple[RunConfig, str]:
    """Return the configuration with the faster precision in place of auto, and a sentence on it.

    Args:
        config: a settled configuration, whose image size, batch and device are chosen
        channels: of the images

    Returns:
        The configuration, and a sentence; empty if nothing was to be chosen.

    Raises:
        ConfigError: the model cannot be built, or the device does not exist
        DataError: the cache directory cannot be written
    """
    if config.train.precision != "auto":
        return config, ""
    device = pick_device(config.run.device)
    if device.type != "cpu":
        return keep_float32(config)
    if not has_bfloat16(device):
        return _with(config, "float32"), "Training computes in float32: no bfloat16 on this CPU."
    spec = models.specify(
        config.model,
        STAND_IN_CLASSES,
        image_size=config.data.image_size,
        native_size=None,
        channels=channels,
    )
    if config.train.objective != "classes" or spec.image_size < MIN_IMAGE_SIZE:
        return _with(config, "float32"), ""
    network = Network(spec, device, seed=0)
    if network.layout.trainable < MIN_WEIGHTS:
        return _with(config, "float32"), ""
    path = cache_directory() / "precision" / f"{_key(config, spec)}.json"
    try:
        rates: Mapping[str, float] = json.loads(path.read_text(encoding="utf-8"))
        faster = _faster(rates)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or damaged
        rates = _measure(network, config)
        faster = _faster(rates)
        with writing_cache("precision", path.parent):
            write_json(path, rates)
    sentence = (
        f"Training computes in {'bfloat16' if faster == 'mixed' else 'float32'}: "
        f"{rates['mixed']:.0f} images/s in bfloat16 and {rates['float32']:.0f} in float32, measured"
        " on one core of this machine."
    )
    return _with(config, faster), sentence


def _faster(rates: Mapping[str, float]) -> Precision:
    """Return the choice for images/s of both."""
    return "mixed" if float(rates["mixed"]) >= MIN_GAIN * float(rates["float32"]) else "float32"


def _with(config: RunConfig, precision: Precision) -> RunConfig:
    return resolve(flatten(config), {"train.precision": precision})


def _key(config: RunConfig, spec: ModelSpec) -> str:
    """Return the name of what a measurement holds for: network, sizes, libraries and CPU."""
    about: dict[str, Any] = {
        "model": [config.model.name, config.model.norm, config.model.freeze],
        "image": [spec.channels, spec.image_size],
        "batch": config.train.batch,
        "torch": torch.__version__,
        "cpu": torch.cpu.get_capabilities().get("cpu_name"),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def _measure(network: Network, config: RunConfig) -> dict[str, float]:
    """Return the images/s of steps on one thread with each choice: random pixels, no optimizer."""
    batch = config.train.batch
    spec = network.spec
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch, spec.channels, spec.image_size, spec.image_size, generator=generator)
    targets = torch.arange(batch) % len(spec.classes)
    set_training(network.module, mode=True)
    gradients = {choice: BatchGradient(network, _with(config, choice).train) for choice in CHOICES}
    seconds = {choice: [float("inf")] for choice in CHOICES}
    with _one_thread():
        for step in range(1 + MEASURED_STEPS):
            for choice, gradient in gradients.items():
                began = time.thread_time()  # other work on the machine does not count
                gradient(pixels, targets)
                if step:
                    seconds[choice].append(time.thread_time() - began)
    return {choice: batch / max(min(spent), 1e-9) for choice, spent in seconds.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as engines do, and as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
