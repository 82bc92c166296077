"""A runtime small enough to follow by hand: stores that step towards a number of their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.server.results.run_status import RunActivity


class Targets:
    """Store `s` moves the model (one float) half-way to its target; whoever is in `broken` answers
    that instead.
    """

    def __init__(self, targets: Mapping[str, float], held_out: int = 0) -> None:
        self.targets = dict(targets)
        self.held_out = held_out
        self.broken: dict[str, Update | Failure] = {}
        self.asked: list[list[str]] = []
        # round, split and number of temperatures of each order
        self.judgements: list[tuple[int, str, int]] = []
        self.left_out: dict[str, str] = {}

    def stores(self) -> Mapping[str, StoreInfo]:
        present = self.targets.keys() - self.left_out.keys()
        return {name: StoreInfo(name, {"a": 5, "b": 5}, self.held_out, 0) for name in present}

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        self.asked.append(list(stores))
        for name in reversed(stores):  # arrival order is not store order
            moved = (order.params + self.targets[name]) / 2
            yield self.broken.get(name) or Update(name, order.round, moved, 10, 1.0, 0.1, steps=1)

    def retry_after(self) -> float:
        return 0.0

    def held_back(self) -> Mapping[str, str]:
        return {}

    def exclude(self, store: str, why: str) -> None:
        self.left_out[store] = why

    def prefetch_training(self, order: TrainOrder, stores: Sequence[str]) -> None:
        """Nothing is idle here."""

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        self.judgements.append((order.round, order.split, len(order.temperatures)))
        for name in stores:
            right = min(self.held_out, int(order.params[0]))
            yield Evaluation(
                name, order.round, Counts(np.array([[right, self.held_out - right], [0, 0]]), 1.0)
            )


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.notes: list[str] = []
        self.done: list[RunActivity] = []

    def row(self, record: dict) -> None:
        self.rows.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def doing(self, doing: RunActivity) -> None:
        self.done.append(doing)

    def training(self, round_number: int, done: int, sampled: int) -> None:
        assert 0 <= done <= sampled


ONE = Layout(("w",), (torch.Size([1]),), 1, 1)  # a model of one number


def plan_of(**settings: object) -> Plan:
    config: RunConfig = resolve({key.replace("__", "."): value for key, value in settings.items()})
    spec = ModelSpec("cnn", ("a", "b"), 32, 3, (0.5,) * 3, (0.25,) * 3)
    return Plan("run", config, spec)


def order_of(number: int, run_id: str = "run", **parts: int) -> TrainOrder:
    """An order of round `number`; parts: what its server has `committed`, and its `best` round."""
    return TrainOrder(replace(plan_of(), run_id=run_id), number, torch.empty(0), **parts)


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


def counts_of(right: int, wrong: int) -> Counts:
    return Counts(np.array([[right, wrong], [0, 0]]), 1.0)
