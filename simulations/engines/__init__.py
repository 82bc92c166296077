"""The engines, which execute the stores of a simulation, by name.

To add one, write a file, and a line in ENGINES.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics.counts import Counts
from fedshelf.server.runtime import Runtime
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.federation.federation import Federation


class Engine(Runtime, Protocol):
    """A runtime whose stores are simulated."""

    def judge(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count a model's results on the federation's test set; with `temperatures`, also its
        calibration at each.
        """

    def close(self) -> None:
        """Release processes and devices."""


Builder = Callable[[Federation, InitialState, Path], Engine]
"""Makes an engine of stores, what they start from, and a directory for what they remember."""

# name -> place of its builder; a run imports its own engine only
ENGINES: Mapping[str, str] = {
    "sequential": "fedshelf.simulations.engines.sequential:SequentialEngine",
    "batched": "fedshelf.simulations.engines.batched.engine:BatchedEngine",
    "ray": "fedshelf.simulations.engines.ray.connect:build",
}


def find(name: str) -> Builder:
    """Return the builder of the engine `name`. Raises ConfigError for an unknown one."""
    if name not in ENGINES:
        raise ConfigError(f"Setting run.engine got {name!r}; allowed: auto, {', '.join(ENGINES)}.")
    module, _, builder = ENGINES[name].partition(":")
    found: Builder = getattr(import_module(module), builder)
    return found


def choose(start: InitialState) -> str:
    """Return the engine that a run's settings name; for "auto", the fastest one that can run it."""
    run = start.plan.config.run
    if run.engine != "auto":
        return run.engine
    if run.ray_address:
        return "ray"
    return (
        "batched" if run.device.startswith("cuda") and _gains_from_batching(start) else "sequential"
    )


def advice(start: InitialState) -> str:
    """Return a sentence on a setting that would train faster on this device; empty if there is
    none.
    """
    run = start.plan.config.run
    if run.engine != "auto" or choose(start) != "sequential" or not run.device.startswith("cuda"):
        return ""
    from fedshelf.simulations.engines.batched.network import fault_of, is_stackable

    spec = start.plan.spec
    if (
        not _may_batch(start)
        or fault_of(spec) != "BatchNorm2d"
        or not is_stackable(replace(spec, norm="group"))
    ):
        return ""
    return (
        f"Model {spec.name} has batch norm, with which stores train one after another;"
        " --set model.norm=group lets this GPU train many at once."
    )


def _gains_from_batching(start: InitialState) -> bool:
    """Return whether a round has several stores, and all can train at once."""
    from fedshelf.simulations.engines.batched.network import is_stackable

    return _may_batch(start) and is_stackable(start.plan.spec)


def _may_batch(start: InitialState) -> bool:
    """Return whether a round has several stores that can train in one batch, if the network allows
    it.
    """
    config = start.plan.config
    if config.train.seconds or strategies.build(config.strategy, start.layout).personal_tensors():
        return False
    return config.data.partition == "folder" or config.cohort.fraction * config.data.stores >= 1.5
