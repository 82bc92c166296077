"""The engines of simulations, by name: each trains and evaluates all stores on this machine, or on
a cluster.

    sequential   one store after another, in this process or a few resident ones
    batched      many stores at once on one device, or on several GPUs
    ray          the stores of a cohort spread over a Ray cluster

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

    def evaluate_test_set(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Count a model's results on the federation's test set.

        Args:
            params: the model, float32 [P].
            temperatures: divisors of the class scores; the calibration at each is counted, too.

        Returns:
            The counts over all test images, summed in a fixed order.
        """

    def close(self) -> None:
        """Release processes and devices."""


Builder = Callable[[Federation, InitialState, Path], Engine]
"""Makes an engine of the stores, their initial state, and a directory for their states."""

# name -> module and name of its builder; a run imports its own engine only
ENGINES: Mapping[str, str] = {
    "sequential": "fedshelf.simulations.engines.sequential:SequentialEngine",
    "batched": "fedshelf.simulations.engines.batched.engine:BatchedEngine",
    "ray": "fedshelf.simulations.engines.ray.connect:build",
}


def find(name: str) -> Builder:
    """Find the builder of an engine.

    Args:
        name: a key of ENGINES.

    Raises:
        ConfigError: no engine has this name.

    >>> find("sequential").__name__
    'SequentialEngine'
    """
    if name not in ENGINES:
        raise ConfigError(f"Setting run.engine got {name!r}; allowed: auto, {', '.join(ENGINES)}.")
    module, _, attribute = ENGINES[name].partition(":")
    builder: Builder = getattr(import_module(module), attribute)
    return builder


def choose(start: InitialState) -> str:
    """Return the name of a run's engine; for "auto", of the fastest one that can run it.

    Args:
        start: the initial state of the run, with its settings and its network.

    Raises:
        ConfigError: the run has secure sums, and the engine has single updates only.
    """
    run = start.plan.config.run
    if start.plan.config.privacy.secure_sum:
        if run.engine not in ("auto", "sequential") or run.ray_address:
            raise ConfigError(
                f"Setting privacy.secure_sum got true with the engine"
                f" {'ray' if run.ray_address else run.engine}, which has single updates only; use"
                " --engine sequential."
            )
        return "sequential"
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
    from fedshelf.simulations.engines.batched.network import is_stackable, unstackable_layer_of

    spec = start.plan.spec
    if (
        not _may_batch(start)
        or unstackable_layer_of(spec) != "BatchNorm2d"
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
    strategy = strategies.build(config.strategy, start.layout)
    if config.privacy.is_on or config.train.seconds:
        return False
    if strategy.closed_form or strategy.personal_tensors():
        return False
    return config.data.partition == "folder" or config.cohort.fraction * config.data.stores >= 1.5
