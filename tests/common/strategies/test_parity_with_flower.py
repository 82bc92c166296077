"""Server halves equal Flower's own on the same replies over several rounds, where Flower has the
strategy.
"""

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.protocol.messages import Update

SIZE = 7
STORES = 6
ROUNDS = 4
QUIET = {"fraction_train": 1.0, "min_train_nodes": 1, "min_available_nodes": 1}

PAIRS: dict[str, tuple[dict[str, Any], flower.Strategy]] = {
    "fedavg": ({}, flower.FedAvg(**QUIET)),
    "fedprox": ({"mu": 0.3}, flower.FedProx(**QUIET, proximal_mu=0.3)),
    "fedavgm": (
        {"server_lr": 0.7, "server_momentum": 0.8},
        flower.FedAvgM(**QUIET, server_learning_rate=0.7, server_momentum=0.8),
    ),
    "fedadam": (
        {"server_lr": 0.2, "beta1": 0.8, "beta2": 0.95, "tau": 0.01},
        flower.FedAdam(**QUIET, eta=0.2, beta_1=0.8, beta_2=0.95, tau=0.01),
    ),
    "fedyogi": (
        {"server_lr": 0.2, "beta1": 0.8, "beta2": 0.95, "tau": 0.01},
        flower.FedYogi(**QUIET, eta=0.2, beta_1=0.8, beta_2=0.95, tau=0.01),
    ),
    "fedadagrad": ({"server_lr": 0.2, "tau": 0.01}, flower.FedAdagrad(**QUIET, eta=0.2, tau=0.01)),
    "median": ({}, flower.FedMedian(**QUIET)),
    "trimmed-mean": ({"trim": 0.25}, flower.FedTrimmedAvg(**QUIET, beta=0.25)),
    "krum": ({"malicious": 1}, flower.Krum(**QUIET, num_malicious_nodes=1)),
    "multi-krum": (
        {"malicious": 1, "keep": 3},
        flower.MultiKrum(**QUIET, num_malicious_nodes=1, num_nodes_to_select=3),
    ),
}


class NoGrid:
    """Flower's strategies only ask a grid for node ids when they configure a round."""

    def get_node_ids(self) -> list[int]:
        return list(range(1, STORES + 1))


def reply(update: Update) -> Message:
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(update.params.numpy())}),
            "metrics": MetricRecord({"num-examples": update.num_examples}),
        }
    )
    return Message(content, dst_node_id=1, message_type="train")


def cohort_updates(round: int, params: torch.Tensor) -> list[Update]:
    """Six stores of 10 to 60 images, each a step away from the global model."""
    generator = torch.Generator().manual_seed(round)
    steps = torch.randn(STORES, SIZE, generator=generator) * 0.3
    return [
        Update(f"store-{i}", round, params + steps[i], 10 * (i + 1), 0.0, 0.0)
        for i in range(STORES)
    ]


@pytest.fixture(autouse=True)
def identity() -> None:
    """A Flower message can only be made inside a task."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id = 1
    TaskIdentity.run_id = 1
    TaskIdentity.node_id = 1


@pytest.mark.parametrize("name", PAIRS)
def test_equals_flower(name: str) -> None:
    settings, theirs = PAIRS[name]
    ours = strategies.build(StrategyConfig(name=name, **settings))
    params = torch.linspace(-1, 1, SIZE)
    state = ours.init_server_state(params, SIZE)
    for round in range(1, ROUNDS + 1):
        theirs.configure_train(
            round, ArrayRecord({"w": Array(params.numpy())}), ConfigRecord(), NoGrid()
        )
        updates = cohort_updates(round, params)
        expected, _ = theirs.aggregate_train(round, [reply(update) for update in updates])
        params, state = ours.update_global_model(params, updates, state, SIZE)
        np.testing.assert_allclose(params.numpy(), expected["w"].numpy(), rtol=2e-5, atol=2e-6)
        params = torch.from_numpy(expected["w"].numpy().astype(np.float32))
