"""The policy at work: which orders a store carries out, and what of the answers leaves it.

Nothing in an order reaches these decisions but as a value that is judged.
"""

import math
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn, TypeVar

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.schedule import seconds_until, seconds_until_midnight
from fedshelf.client.worker.protocol import Worker
from fedshelf.common.config import RunConfig
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.failures import LONGEST_REST
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, StoreInfo, TrainOrder, Update
from fedshelf.common.protocol.model_delivery import DeliverOrder

JUDGEMENTS_PER_TRAINING = 3  # a run of one round judges its model on validation images, twice, and on test images
PRIVATE_STRATEGIES = frozenset[str]()  # those whose client half bounds and noises what leaves the store; none does yet


Order = TypeVar("Order", TrainOrder, EvaluateOrder)


class PolicyEnforcer:
    """Applies a policy.

    now: seconds since the epoch
    """

    def __init__(self, policy: Policy, usage: Usage, now: Callable[[], float] = time.time) -> None:
        self._policy, self._usage, self._now = policy, usage, now

    def admit(self, order: TrainOrder | EvaluateOrder | RunConfig) -> None:
        """Raises StoreError if the order, or any order of a run with this configuration, may not be carried out.

        Its `detail` is the policy's key, with hyphens; its `rest` the seconds until the key allows it again. Decided
        before the photos are looked at: a refusal says nothing of them. Raises ConfigError for damaged records.
        """
        if isinstance(order, RunConfig):
            self._check_run(order.model.name, order.data.classes, order)
            return
        self._check_run(order.plan.spec.name, order.plan.spec.classes, order.plan.config)
        self._check_hours()
        self._check_budgets(order)

    @contextmanager
    def carrying_out(self, order: TrainOrder | EvaluateOrder) -> Iterator[None]:
        """Admit an order and count it; what it took is counted when it ends, also if it fails.

        Raises what `admit` does, and OSError.
        """
        self.admit(order)
        is_training = isinstance(order, TrainOrder)
        self._usage.add(Spent(trainings=int(is_training), judgements=int(not is_training)))
        began = time.monotonic()
        try:
            yield
        finally:
            self._usage.add(Spent(seconds=time.monotonic() - began))

    def admit_model(self, order: DeliverOrder) -> None:
        """Raises StoreError, as `admit` does, if the model that a run delivers may not be taken; ConfigError."""
        policy = self._policy
        if not policy.model_delivery:
            _refuse("model_delivery", f"no model that a run delivers is taken, that of {order.run} neither")
        if policy.models and order.network not in policy.models:
            _refuse("models", f"it is for the network {order.network!r}; allowed: {', '.join(policy.models)}")
        used, limit = self._usage.today().down / 1e6, policy.megabytes_down_per_day
        if limit and used >= limit:
            wait = seconds_until_midnight(self._now())
            _refuse("megabytes_down_per_day", f"{used:g} of {limit:g} are used up", wait)

    def info(self, info: StoreInfo) -> StoreInfo:
        """What may leave of it: the same number of images, fewer names and counts."""
        policy, least = self._policy, self._policy.least_images_per_class
        named = {name: count for name, count in info.counts.items() if policy.class_names and not 0 < count < least}
        counts = {name: count if policy.metrics == "confusion" else 0 for name, count in named.items()}
        untold = info.num_examples - sum(counts.values())
        return StoreInfo(info.name, counts, info.validation, info.test, untold)

    def evaluation(self, evaluation: Evaluation) -> Evaluation:
        """What may leave of it: the same images, hits and loss; classes that may not be told only in the sums.

        How sure the model was leaves with counts per class only: it says more than accuracy and loss do.
        """
        adjusted = None if evaluation.adjusted is None else self._counts(evaluation.adjusted)
        return Evaluation(evaluation.store, evaluation.round, self._counts(evaluation.counts), adjusted)

    def discreet(self, order: Order) -> Order:
        """The order as it is carried out: whoever keeps the names of its classes to itself masks none of the others.

        The rows of the head that masked training hardly moves would tell which classes the store has; a judgement
        then adds nothing to the scores either.
        """
        config = order.plan.config
        if self._policy.class_names or config.strategy.absent == "full":
            return order
        strategy = config.strategy.model_copy(update={"absent_classes": "full"})
        return replace(order, plan=replace(order.plan, config=config.model_copy(update={"strategy": strategy})))

    def _counts(self, counts: Counts) -> Counts:
        """Return the part of an evaluation's counts that the policy lets leave the store."""
        is_told = counts.confusion.sum(axis=1) >= self._policy.least_images_per_class
        is_told &= self._policy.metrics == "confusion"
        told, untold = counts.confusion * is_told[:, None], counts.confusion * ~is_told[:, None]
        right = int(untold.trace())
        wrong = int(untold.sum()) - right
        reliability = counts.reliability if self._policy.metrics == "confusion" else None
        return Counts(told, counts.loss_sum, counts.right + right, counts.wrong + wrong, reliability)

    def _check_run(self, model: str, classes: Sequence[str], config: RunConfig) -> None:
        """What no waiting changes."""
        policy, strategy, epochs = self._policy, config.strategy.name, config.train.passes
        if policy.models and model not in policy.models:
            _refuse("models", f"it is for the network {model!r}; allowed: {', '.join(policy.models)}")
        if policy.strategies and strategy not in policy.strategies:
            _refuse("strategies", f"it is for the strategy {strategy!r}; allowed: {', '.join(policy.strategies)}")
        if policy.classes and classes and _normal(classes) != _normal(policy.classes):
            _refuse("classes", f"its {len(classes)} classes are not these {len(policy.classes)} and no others")
        if epochs > policy.epochs_per_round:
            _refuse("epochs_per_round", f"it asks for {epochs} epochs; allowed: {policy.epochs_per_round}")
        if policy.differential_privacy and strategy not in PRIVATE_STRATEGIES:
            _refuse("differential_privacy", f"{strategy} has no differential privacy")

    def _check_hours(self) -> None:
        if (wait := seconds_until(self._policy.windows, self._now())) > 0:
            _refuse("hours", f"it came outside of {', '.join(self._policy.hours)}", wait)

    def _check_budgets(self, order: TrainOrder | EvaluateOrder) -> None:
        policy, spent = self._policy, self._usage.today()
        if isinstance(order, TrainOrder):
            begun, most = spent.trainings, policy.rounds_per_day
        else:
            begun, most = spent.judgements, policy.rounds_per_day * JUDGEMENTS_PER_TRAINING
        for key, used, limit in (
            ("rounds_per_day", begun, most),
            ("gpu_minutes_per_day", spent.seconds / 60, policy.gpu_minutes_per_day),
            ("megabytes_down_per_day", spent.down / 1e6, policy.megabytes_down_per_day),
            ("megabytes_up_per_day", spent.up / 1e6, policy.megabytes_up_per_day),
        ):
            if limit and used >= limit:
                _refuse(key, f"{used:g} of {limit:g} are used up", seconds_until_midnight(self._now()))


class PolicyWorker:
    """A worker under a policy; a `client.worker.protocol.Worker` itself. Raises what `PolicyEnforcer` and the worker
    do."""

    def __init__(self, worker: Worker, guard: PolicyEnforcer) -> None:
        self.name, self._worker, self._guard = worker.name, worker, guard

    def info(self, config: RunConfig) -> StoreInfo:
        """What may be told of what the store holds, if a run with this configuration is allowed."""
        self._guard.admit(config)
        return self._guard.info(self._worker.info(config))

    def train(self, order: TrainOrder) -> Update:
        """Train, if allowed. An update has nothing to mask: rare classes are no part of the images."""
        with self._guard.carrying_out(order):
            return self._worker.train(self._guard.discreet(order))

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """What may be told of a model's judgement, if allowed."""
        with self._guard.carrying_out(order):
            return self._guard.evaluation(self._worker.evaluate(self._guard.discreet(order)))


def _refuse(key: str, why: str, rest: float = LONGEST_REST) -> NoReturn:
    message = f"The store's policy does not allow the order ({key}): {why}."
    raise StoreError("policy", message, key.replace("_", "-"), min(math.ceil(rest), LONGEST_REST))


def _normal(names: Sequence[str]) -> set[str]:
    """As `common.images.folder.photo_folder.relabel` compares them."""
    return {unicodedata.normalize("NFC", name) for name in names}
