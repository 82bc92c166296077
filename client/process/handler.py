"""Handler of one order: decodes it, lets a worker carry it out, and encodes the answer.

The same handler runs in `flower-client`, in Flower's simulation and under Flower's own SuperNode;
they differ in where a worker gets its images.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.protocol import ModelKeeper, SumKeeper, Worker
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    StoreInfo,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.model_delivery import DeliverOrder
from fedshelf.common.protocol.probe import make_presence
from fedshelf.common.protocol.secure_sum import MaskedSummand, SumOrder
from fedshelf.common.protocol.serialization import (
    FrozenMissingError,
    FrozenStore,
    FrozenWeightsMissing,
    Notice,
    Query,
    Result,
    decode_order,
    encode_result,
)
from fedshelf.common.text import sanitize
from fedshelf.common.training.summand import counts_summand

LOG = logging.getLogger("fedshelf.store")


def handle_order(
    worker: Worker,
    content: RecordDict,
    frozen: FrozenStore,
    models: ModelKeeper | None = None,
    sums: SumKeeper | None = None,
) -> RecordDict:
    """Carry out the order in `content`. Never raises: a failure is an answer, too.

    Args:
        models: Keeper of delivered models; None: they are refused.
        sums: The store in secure sums; None: it takes part in none.
    """
    result: Result
    try:
        match order := decode_order(content, frozen):
            case TrainOrder():
                result = _train(worker, sums, order)
            case SumOrder():
                result = _in(sums).answer(order)
            case EvaluateOrder():
                result = _evaluate(worker, sums, order)
            case Query():
                result = replace(worker.info(order.config), version=version("fedshelf"))
            case Notice():
                LOG.info("From the server: %s", sanitize(order.text))
                result = StoreInfo(worker.name, {}, 0, 0)
            case DeliverOrder():
                if models is None:
                    raise StoreError("refused", "Delivered models are not kept here.", "no-models")
                result = models.receive(order)
    except FrozenMissingError as missing:
        result = FrozenWeightsMissing(worker.name, missing.sha256)
    except Exception as error:
        result = failure_of(worker.name, error)
        is_unexpected = result.code == "error"
        LOG.error(
            "Could not carry out the order: %s", error, exc_info=error if is_unexpected else None
        )
    return encode_result(result)


def _train(worker: Worker, sums: SumKeeper | None, order: TrainOrder) -> Update | MaskedSummand:
    """Return the update, or the update under masks if it goes into a secure sum."""
    if order.terms is None and order.secure_sum is None:
        update = worker.train(order)
        assert isinstance(update, Update), "an order without terms gave a summand"
        return update

    def train() -> Summand:
        summand = worker.train(order)
        assert isinstance(summand, Summand), "an order with terms gave an update"
        return summand

    return _in(sums).masked(order, train)


def _evaluate(
    worker: Worker, sums: SumKeeper | None, order: EvaluateOrder
) -> Evaluation | MaskedSummand:
    """Return the evaluation, or the evaluation under masks if it goes into a secure sum."""
    if order.terms is None and order.secure_sum is None:
        return worker.evaluate(order)
    return _in(sums).masked(order, lambda: counts_summand(order, worker.evaluate(order)))


def _in(sums: SumKeeper | None) -> SumKeeper:
    """Return the store in secure sums. Raises StoreError if it takes part in none."""
    if sums is None:
        raise StoreError(
            "secure-sum",
            "This store takes part in secure sums only if it joins with a kit.",
            "no-peer-key",
        )
    return sums


def make_app(
    worker_for: Callable[[Context], Worker], frozen: FrozenStore | None = None
) -> ClientApp:
    """Return a ClientApp whose messages are answered by the worker of the node they reach.

    `worker_for` is called for every message and should return the same worker for the same node,
    so that model and images stay in memory.
    """
    frozen_store = frozen or FrozenCache()
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        return Message(
            handle_order(worker_for(context), message.content, frozen_store), reply_to=message
        )

    def answer_probe(message: Message, _: Context) -> Message:
        # it takes one message after another, and loses none
        return Message(make_presence(has=True), reply_to=message)

    app.query()(handle)
    app.query("probe")(answer_probe)
    app.train()(handle)
    app.evaluate()(handle)
    return app
