"""The work of a store, and the keeping of its models, as those see it who carry out orders."""

from typing import Protocol

from fedshelf.common.config import RunConfig
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, StoreInfo, TrainOrder, Update
from fedshelf.common.protocol.model_delivery import DeliverOrder, ModelReceipt


class Worker(Protocol):
    """What does a store's work; `client.worker.worker.StoreWorker` is the one that is used.

    Each method may raise a FedshelfError; `client.failures` decides what of it leaves the store.
    """

    name: str

    def info(self, config: RunConfig) -> StoreInfo:
        """What the store holds under this configuration."""

    def train(self, order: TrainOrder) -> Update:
        """Train locally as ordered."""

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Judge the order's parameters on images held out."""


class ModelKeeper(Protocol):
    """Keeps the models that runs deliver; `client.worker.delivered_models.KeptModels` is the one that is used."""

    def receive(self, order: DeliverOrder) -> ModelReceipt:
        """Keep a model, or say whether one that is offered has to be sent. May raise a FedshelfError, as a worker."""
