"""Enforcement of the policy: the decision which orders a store carries out.

Decisions use only the policy and validated fields of the order; the order cannot change them.
"""

import logging
import math
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.disclosure import Disclosure
from fedshelf.client.policy.own_code import check_listed
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.private_training import check_privacy
from fedshelf.client.policy.refusal import refuse
from fedshelf.client.policy.schedule import seconds_until, seconds_until_midnight
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.client.privacy.training_charge import training_charge
from fedshelf.client.worker.protocol import Worker
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    StoreInfo,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.model_delivery import DeliverOrder
from fedshelf.common.protocol.secure_sum import SumOrder
from fedshelf.common.tasks import TASKS
from fedshelf.common.wording import format_first

# a run of one round evaluates its model on validation images, twice, and on test images
EVALUATIONS_PER_TRAINING = 3
MAX_NAMED_CLASSES = 5  # a sentence names so many; it only counts the rest

LOG = logging.getLogger("fedshelf.store")

Order = TypeVar("Order", TrainOrder, EvaluateOrder)


class PolicyEnforcer:
    """Applies a policy to orders.

    Args:
        policy: The limits that the store has set.
        usage: The amounts spent on each day.
        now: Clock; returns Unix time (s).
        ledger: What was told of the photos; None: nobody asks for noise.
    """

    def __init__(
        self,
        policy: Policy,
        usage: Usage,
        now: Callable[[], float] = time.time,
        ledger: Ledger | None = None,
    ) -> None:
        self._policy = policy
        self._usage = usage
        self._now = now
        self._ledger = ledger

    def check_allowed(self, order: TrainOrder | EvaluateOrder | SumOrder | RunConfig) -> None:
        """Check that the policy allows the order, or an order of a run with this configuration;
        else raise StoreError.

        The error's `detail` is the policy's key, with hyphens; its `retry_after` the seconds until
        the key allows the order again. The photos are not looked at before: a refusal reveals
        nothing about them. Raises ConfigError for damaged records.
        """
        if self._ledger is not None:
            self._ledger.charges()  # if they cannot be trusted, nothing leaves
        if isinstance(order, RunConfig):
            # tasks on scenes have classes of their own, before any store is asked for its classes
            named = order.data.classes
            classes = TASKS[order.train.objective].own_classes(named) or named
            self._check_run(order.model.name, classes, order)
            return
        if (
            not isinstance(order, SumOrder)
            and order.plan.config.privacy.secure_sum
            and order.secure_sum is None
        ):
            refuse("secure_sum", "its run has a secure sum, and it asks for the answer itself")
        spec = order.plan.spec
        self._check_run(spec.name, spec.classes, order.plan.config, spec)
        if isinstance(order, EvaluateOrder):
            self._check_judging()
        self._check_hours()
        self._check_budgets(order)
        if (
            self._ledger is not None
            and isinstance(order, TrainOrder)
            and order.plan.config.privacy.is_on
        ):
            self._ledger.check_room(training_charge(order))

    def check_images(self, num_examples: int) -> None:
        """Check that an update stands for enough training images; raise StoreError if not.

        Anybody who has the update of one photo can redraw the photo.
        """
        if num_examples < self._policy.images_least:
            refuse(
                "images_least",
                f"an update would stand for {num_examples} images; allowed:"
                f" {self._policy.images_least} or more",
            )

    @contextmanager
    def metered(self, order: TrainOrder | EvaluateOrder) -> Iterator[None]:
        """Check that an order is allowed, and count it and the time that it takes.

        The time is counted also if the order fails.

        Raises:
            StoreError: The policy does not allow the order, see `check_allowed`.
            ConfigError: The records of what was spent are damaged.
            OSError: The records cannot be written.
        """
        self.check_allowed(order)
        is_training = isinstance(order, TrainOrder)
        self._usage.add(Spent(trainings=int(is_training), judgements=int(not is_training)))
        began = time.monotonic()
        try:
            yield
        finally:
            self._usage.add(Spent(seconds=time.monotonic() - began))

    def check_model_allowed(self, order: DeliverOrder) -> None:
        """Check that the policy takes the model that a run delivers; raise StoreError, as `admit`,
        if not.

        Raises ConfigError for damaged records.
        """
        policy = self._policy
        if not policy.model_delivery:
            refuse(
                "model_delivery",
                f"this store accepts no delivered model, so the one of {order.run} is refused",
            )
        if policy.models and order.network not in policy.models:
            refuse(
                "models",
                f"it is for the network {order.network!r}; allowed: {', '.join(policy.models)}",
            )
        used = self._usage.today().down / 1e6
        limit = policy.megabytes_down_per_day
        if limit and used >= limit:
            wait = seconds_until_midnight(self._now())
            refuse("megabytes_down_per_day", f"{used:g} of {limit:g} are used up", wait)

    def without_class_masking(self, order: Order) -> Order:
        """Disable class masking and weighing in an order if class names are private.

        Rows of the head that masked training hardly moves would reveal which classes the store
        lacks. An evaluation then adds nothing to the scores either. In a secure sum nobody sees the
        rows of one store.
        """
        config = order.plan.config
        if self._policy.class_names or config.strategy.absent == "full" or order.terms is not None:
            return order
        strategy = config.strategy.model_copy(update={"absent_classes": "full"})
        return replace(
            order, plan=replace(order.plan, config=config.model_copy(update={"strategy": strategy}))
        )

    def _check_run(
        self,
        model: str,
        classes: Sequence[str],
        config: RunConfig,
        spec: ModelSpec | None = None,
    ) -> None:
        """Check the conditions that do not change with time."""
        policy = self._policy
        strategy = config.strategy.name
        privacy = config.privacy
        passes = privacy.rate * privacy.steps * privacy.copies  # on average
        check_listed(policy, config, model)
        epochs = math.ceil(passes) if privacy.is_on else config.train.passes
        if policy.models and model not in policy.models:
            refuse(
                "models", f"it is for the network {model!r}; allowed: {', '.join(policy.models)}"
            )
        if policy.strategies and strategy not in policy.strategies:
            refuse(
                "strategies",
                f"it is for the strategy {strategy!r}; allowed: {', '.join(policy.strategies)}",
            )
        if (
            policy.classes
            and classes
            and _normalize_names(classes) != _normalize_names(policy.classes)
        ):
            refuse(
                "classes",
                f"its classes ({format_first(classes, MAX_NAMED_CLASSES)}) differ from those that"
                f" the policy names ({format_first(policy.classes, MAX_NAMED_CLASSES)})",
            )
        if epochs > policy.epochs_per_round:
            refuse(
                "epochs_per_round",
                f"it asks for {epochs} epochs; allowed: {policy.epochs_per_round}",
            )
        if config.train.seconds and config.train.batch < policy.images_least:
            refuse(
                "images_least",
                f"with its time limit an update may stand for one batch of {config.train.batch}"
                f" images; allowed: {policy.images_least} or more",
            )
        if policy.metrics != "confusion" and _sends_class_counts(strategy):
            refuse(
                "metrics",
                f"{strategy} sends how many images each class has, which this store keeps private",
            )
        if policy.secure_sum and not config.privacy.secure_sum:
            refuse(
                "secure_sum",
                "its server would see this store's own update; the run must have"
                " privacy.secure_sum = true",
            )
        if policy.epsilon:
            check_privacy(config, spec, policy.classes)

    def _check_judging(self) -> None:
        if self._policy.epsilon and not self._policy.epsilon_judging:
            refuse("epsilon_judging", "beside epsilon it is 0, so no evaluation leaves")

    def _check_hours(self) -> None:
        if (wait := seconds_until(self._policy.windows, self._now())) > 0:
            refuse("hours", f"it came outside of {', '.join(self._policy.hours)}", wait)

    def _check_budgets(self, order: TrainOrder | EvaluateOrder | SumOrder) -> None:
        policy = self._policy
        spent = self._usage.today()
        if isinstance(order, EvaluateOrder):
            orders_begun = spent.judgements
            max_orders = policy.rounds_per_day * EVALUATIONS_PER_TRAINING
        else:
            orders_begun = spent.trainings
            max_orders = policy.rounds_per_day
        for key, used, limit in (
            ("rounds_per_day", orders_begun, max_orders),
            ("gpu_minutes_per_day", spent.seconds / 60, policy.gpu_minutes_per_day),
            ("megabytes_down_per_day", spent.down / 1e6, policy.megabytes_down_per_day),
            ("megabytes_up_per_day", spent.up / 1e6, policy.megabytes_up_per_day),
        ):
            if limit and used >= limit:
                refuse(
                    key, f"{used:g} of {limit:g} are used up", seconds_until_midnight(self._now())
                )


class PolicyWorker:
    """A worker under a policy, itself a `client.worker.protocol.Worker`.

    Its methods raise what the worker and the enforcer raise.

    Args:
        worker: Carries out the orders that are allowed.
        enforcer: Decides which are allowed.
        disclosure: Decides which parts of an answer may leave.
    """

    def __init__(self, worker: Worker, enforcer: PolicyEnforcer, disclosure: Disclosure) -> None:
        self.name = worker.name
        self._worker = worker
        self._enforcer = enforcer
        self._disclosure = disclosure

    def info(self, config: RunConfig) -> StoreInfo:
        """Return the part of the store's info that may leave, if a run with this configuration is
        allowed.
        """
        self._enforcer.check_allowed(config)
        with self._failures():
            info = self._worker.info(config)
        self._enforcer.check_images(info.num_examples)
        return self._disclosure.info(info)

    def train(self, order: TrainOrder) -> Update | Summand:
        """Train, if allowed, and return the part of the update that may leave."""
        with self._enforcer.metered(order), self._failures():
            answer = self._worker.train(self._enforcer.without_class_masking(order))
        self._enforcer.check_images(answer.num_examples)
        return self._disclosure.update(answer)

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Evaluate a model, if allowed, and return the part of the evaluation that may leave."""
        with self._enforcer.metered(order), self._failures():
            evaluation = self._worker.evaluate(self._enforcer.without_class_masking(order))
        return self._disclosure.evaluation(evaluation, order)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Replace a failure within the context by the part of it that may leave."""
        try:
            yield
        except Exception as error:
            failure = failure_of(self.name, error)
            told = self._disclosure.failure(failure)
            if told == failure:
                raise
            if failure.code == "error":
                LOG.exception("Something unexpected happened.")
            raise StoreError(told.code, str(error), told.detail, told.retry_after) from error


def _sends_class_counts(strategy: str) -> bool:
    """Return whether a strategy's updates count the images of each class.

    Raises ConfigError if it is unknown here.
    """
    return strategies.find(strategy).closed_form


def _normalize_names(names: Sequence[str]) -> set[str]:
    """Return names normalized as `common.images.folder.photo_folder.relabel` compares them."""
    return {unicodedata.normalize("NFC", name) for name in names}
