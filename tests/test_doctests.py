"""The examples in docstrings run as they stand, and give what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = [
    "fedshelf.common.metrics.counts",
    "fedshelf.common.parameters.layout",
    "fedshelf.common.scenes.boxes",
    "fedshelf.common.strategies.shared.base",
    "fedshelf.server.training.round_loop",
    "fedshelf.simulations.engines",
    "fedshelf.simulations.engines.job_assignment",
    "fedshelf.simulations.engines.ray.schedule",
    "fedshelf.simulations.engines.sequential",
    "fedshelf.simulations.partitions",
    "fedshelf.simulations.partitions.dirichlet",
    "fedshelf.simulations.partitions.dirichlet_draws",
    "fedshelf.simulations.partitions.iid",
    "fedshelf.simulations.partitions.labels",
    "fedshelf.simulations.partitions.matching_split",
    "fedshelf.simulations.partitions.quantity",
    "fedshelf.simulations.partitions.shards",
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_say(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0, f"{module} has no example"
    assert result.failed == 0
