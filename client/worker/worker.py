"""A store's worker: it opens the store's data, lets a trainer work on it, and answers."""

import logging
from collections.abc import Callable
from typing import Protocol

from fedshelf.client.worker.logit_adjustments import Adjustments
from fedshelf.client.worker.trainer import ChargeTraining, Trainer
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import FedshelfError
from fedshelf.common.images.cache.feature_file import Progress
from fedshelf.common.images.types import StoreData
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas import METRICS
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Plan,
    StoreInfo,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies.shared.class_skew import logit_adjustment
from fedshelf.common.tasks import task_of
from fedshelf.common.training.extraction_time import ExtractionTime

LOG = logging.getLogger("fedshelf.store")


class DataSource(Protocol):
    """Source of a store's images."""

    def describe(self, config: RunConfig) -> StoreInfo:
        """Return the image counts, under the store's own class names. Raises DataError."""

    def open(self, plan: Plan) -> StoreData:
        """Return the current images, labelled by the plan's classes; called before each order.

        Raises DataError.
        """

    def check_changes(self) -> bool:
        """Read changes to the images since the last look, and return whether there may be any."""


class StoreWorker:
    """One store: its name, its data and a trainer.

    Args:
        adjustments: Storage of the store's logit adjustments, for `flower-client export`; None: not
            kept.
        report: Called with a sentence when an order begins or ends.
        charge: Charges the store's ledger; None: there is none.
    """

    def __init__(
        self,
        name: str,
        source: DataSource,
        trainer: Trainer,
        adjustments: Adjustments | None = None,
        report: Callable[[str], None] = LOG.debug,
        charge: ChargeTraining | None = None,
    ) -> None:
        self.name = name
        self._source = source
        self._trainer = trainer
        self._adjustments = adjustments
        self._report = report
        self._charge = charge

    def info(self, config: RunConfig) -> StoreInfo:
        """Return the store's info. Raises DataError, OSError."""
        self.check_changes()  # drops changed images from the device as well, whatever is asked
        info = self._source.describe(config)
        self._report(
            f"The server asked for the number of photos: {info.num_examples} to train on;"
            f" {info.validation} for validation and {info.test} for testing are held out."
        )
        return info

    def train(self, order: TrainOrder) -> Update | Summand:
        """Train on the training images. Raises DataError, ConfigError, OSError.

        Returns the part of a secure sum if the order has terms.
        """
        plan = order.plan
        trains = not strategies.find(plan.config.strategy.name).closed_form
        work = "training" if trains else "sums over the photos"
        self._report(f"Round {order.round} of {plan.config.run.rounds}: {work}.")
        train = self._data(plan).train
        if self._adjustments is not None:
            self._adjustments.save(plan.run_id, plan.spec.classes, logit_adjustment(train, plan))
        if order.terms is not None:
            summand = self._trainer.train_summand(order, self.name, train, self._charge)
            self._report(
                f"Round {order.round}: trained on {len(train)} photos in {summand.seconds:.1f} s;"
                " hiding the update for the secure sum."
            )
            return summand
        update = self._trainer.train(order, self.name, train, self._charge)
        self._report(
            f"Round {order.round}: trained on {update.num_examples} photos in"
            f" {update.seconds:.1f} s, loss {update.loss:.4f}; sending the update."
            if trains
            else f"Round {order.round}: summed over {update.num_examples} photos in"
            f" {update.seconds:.1f} s; sending the sums."
        )
        return update

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Evaluate on the images held out. Raises DataError."""
        data = self._data(order.plan)
        held_out = data.validation if order.split == "validation" else data.test
        adjustments = {self.name: logit_adjustment(data.train, order.plan)}
        (evaluation,) = self._trainer.evaluate(order, {self.name: held_out}, adjustments)
        counts = evaluation.counts
        own = evaluation.adjusted
        own_accuracy = (
            f", with this store's shares of the classes on {own.accuracy:.1%}" if own else ""
        )
        self._report(
            f"Round {order.round}: the global model {_success(order, counts)}"
            f" {counts.num_examples} {order.split} photos{own_accuracy}."
        )
        return evaluation

    def check_changes(self) -> None:
        """Drop images that have changed, while there is nothing to do. Raises OSError."""
        if self._source.check_changes():
            self._trainer.release_images()

    def _data(self, plan: Plan) -> StoreData:
        try:
            data = self._source.open(plan)
            return self._trainer.with_features(plan, data, self._feature_progress(plan))
        except FedshelfError:
            self._trainer.release_images()  # of photos that may not be used any more
            raise

    def _feature_progress(self, plan: Plan) -> Progress:
        """Return a function that reports on features that are computed.

        It reports the beginning, a long time that is expected, and each further tenth.
        """
        expected = ExtractionTime(plan.config, "the server's")

        def progress(done: int, total: int) -> None:
            if done == 1 or done * 10 // total > (done - 1) * 10 // total:
                self._report(
                    f"Photos through the frozen part of the model, once: {done} of {total}."
                )
            if told := expected.tell(done, total):
                self._report(told)

        return progress


def _success(order: EvaluateOrder, counts: Counts) -> str:
    """Return the words for a model's figure at this store."""
    metric = task_of(order.plan.spec).metric
    if metric not in counts.metrics:
        return f"is right on {counts.accuracy:.1%} of"
    figures = METRICS[metric].values(counts.metrics[metric], counts)
    return f"reaches {metric.upper()} {figures[metric]:.1%} on"
