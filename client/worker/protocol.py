"""Protocols of a store's worker and of its keeper of models."""

from collections.abc import Callable
from typing import Protocol

from fedshelf.common.config import RunConfig
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    StoreInfo,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.model_delivery import DeliverOrder, ModelReceipt
from fedshelf.common.protocol.secure_sum import MaskedSummand, SumAnswer, SumOrder


class Worker(Protocol):
    """A store's worker; `client.worker.worker.StoreWorker` is the implementation.

    Each method may raise a FedshelfError; `client.failures` decides which part of it leaves the
    store.
    """

    name: str

    def info(self, config: RunConfig) -> StoreInfo:
        """Return the store's image counts under this configuration."""

    def train(self, order: TrainOrder) -> Update | Summand:
        """Train locally as ordered; return a part of a secure sum if the order has terms."""

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Evaluate the order's parameters on images held out."""


class SumKeeper(Protocol):
    """A store in secure sums; `client.privacy.secure_sums.SecureSums` is the implementation."""

    def answer(self, order: SumOrder) -> SumAnswer:
        """Take a step of a secure sum.

        May raise a FedshelfError, as a worker.
        """

    def masked(
        self, order: TrainOrder | EvaluateOrder, work: Callable[[], Summand]
    ) -> MaskedSummand:
        """Do the work that is ordered, and return its result under masks.

        May raise a FedshelfError, as a worker.
        """


class ModelKeeper(Protocol):
    """Keeper of delivered models; `client.worker.delivered_models.DeliveredModels` is the
    implementation.
    """

    def receive(self, order: DeliverOrder) -> ModelReceipt:
        """Keep a model, or answer whether an offered one has to be sent.

        May raise a FedshelfError, as a worker.
        """
