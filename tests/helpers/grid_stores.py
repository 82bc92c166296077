"""Stores that double what they are sent, for a Flower grid in this process that may lose orders."""

from collections.abc import Callable

import numpy as np
import torch
from flwr.app import Message, MessageType

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.probe import PROBE_MESSAGE_TYPE, make_presence, probed_message_id
from tests.helpers.deployed import LocalGrid

SPEC = ModelSpec("cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.2,) * 3)
CONFIG = resolve({"cohort.timeout": 30.0})
PLAN = Plan("run", CONFIG, SPEC)


class Doubler:
    """A store whose training doubles the parameters, or does what `train` says."""

    def __init__(self, name: str, train: Callable[[TrainOrder], Update] | None = None) -> None:
        self.name = name
        self._train = train

    def info(self, config: RunConfig) -> StoreInfo:
        return StoreInfo(self.name, {"boot": 3, "hat": 4}, 2, 1)

    def train(self, order: TrainOrder) -> Update:
        if self._train:
            return self._train(order)
        return Update(self.name, order.round, 2 * order.params, 7, 0.5, 0.0)

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        return Evaluation(self.name, order.round, Counts(np.eye(2, dtype=np.int64), 0.5))


def order(number: int = 1, plan: Plan = PLAN) -> TrainOrder:
    return TrainOrder(plan, number, torch.tensor([1.0, 2.0]))


def fails(error: Exception) -> Callable[[TrainOrder], Update]:
    def train(_: TrainOrder) -> Update:
        raise error

    return train


class LossyGrid(LocalGrid):
    """A grid that loses as many orders to train as `lose` says, and questions as `lose_queries`
    does. Its stores know what has reached them, or forget it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lose = 0
        self.lose_queries = 0
        self.forgets = False
        self.reached = set[str]()

    def _work(self, identity: str, message: Message) -> None:
        kind = message.metadata.message_type
        if kind == PROBE_MESSAGE_TYPE:
            self.replies[identity] = Message(
                make_presence(has=probed_message_id(message.content) in self.reached),
                reply_to=message,
            )
        elif kind == MessageType.TRAIN and self.lose:
            self.lose -= 1
        elif kind == MessageType.QUERY and self.lose_queries:
            self.lose_queries -= 1
        else:
            if not self.forgets:
                self.reached.add(identity)
            super()._work(identity, message)
