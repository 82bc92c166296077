"""The store as a Flower ClientApp: one message in, one answer out.

The app is thin: it decodes the order, lets a worker do it and encodes the answer. The same app runs
in `flower-client`, in Flower's simulation and under Flower's own SuperNode; they differ in how a
worker comes to its images.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Protocol

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import RunConfig
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, StoreInfo, TrainOrder, Update
from fedshelf.common.protocol.model_delivery import DeliverOrder, ModelReceipt
from fedshelf.common.protocol.probe import presence
from fedshelf.common.protocol.serialization import (
    FrozenMissingError,
    FrozenStore,
    NeedsFrozen,
    Notice,
    Query,
    Result,
    decode_order,
    encode_result,
)
from fedshelf.common.text import plain

LOG = logging.getLogger("fedshelf.store")


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


def answer(worker: Worker, content: RecordDict, frozen: FrozenStore, models: ModelKeeper | None = None) -> RecordDict:
    """Do what the records in `content` order. Never raises: what goes wrong is the answer.

    models: where delivered models are kept; None: nowhere
    """
    result: Result
    try:
        match order := decode_order(content, frozen):
            case TrainOrder():
                result = worker.train(order)
            case EvaluateOrder():
                result = worker.evaluate(order)
            case Query():
                result = replace(worker.info(order.config), version=version("fedshelf"))
            case Notice():
                LOG.info("From the server: %s", plain(order.text))
                result = StoreInfo(worker.name, {}, 0, 0)
            case DeliverOrder():
                if models is None:
                    raise StoreError("refused", "Delivered models are not kept here.", "no-models")
                result = models.receive(order)
    except FrozenMissingError as missing:
        result = NeedsFrozen(worker.name, missing.sha256)
    except Exception as error:
        result = failure_of(worker.name, error)
        unexpected = result.code == "error"
        LOG.error("Could not do as asked: %s", error, exc_info=error if unexpected else None)
    return encode_result(result)


def make_app(worker_for: Callable[[Context], Worker], frozen: FrozenStore | None = None) -> ClientApp:
    """A ClientApp whose messages are answered by the worker of the node they reach.

    `worker_for` is called for every message and should return the same worker for the same node,
    so that model and images stay where they are.
    """
    kept = frozen or FrozenCache()
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        return Message(answer(worker_for(context), message.content, kept), reply_to=message)

    def tell(message: Message, _: Context) -> Message:
        return Message(presence(has=True), reply_to=message)  # it takes one message after another, and loses none

    app.query()(handle)
    app.query("probe")(tell)
    app.train()(handle)
    app.evaluate()(handle)
    return app


def _configured_worker(context: Context) -> Worker:
    """The resident worker of the store that the node's configuration names: `store`, `data`, `device`."""
    from fedshelf.client.policy.enforcement import GuardedWorker  # these load torch and torchvision
    from fedshelf.client.process.factory import guard_of, worker_of

    return GuardedWorker(worker_of(context.node_config), guard_of(str(context.node_config["store"])))


app = make_app(_configured_worker)
