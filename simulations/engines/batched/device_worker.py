"""The worker of one device: it trains its part of a cohort in groups that fit, and evaluates
models.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from fedshelf.client.failures import failure_of
from fedshelf.client.worker.state_store import States
from fedshelf.common import compression
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.images.types import Images
from fedshelf.common.metrics import formulas
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Failure, Plan, TrainOrder, Update
from fedshelf.common.strategies import LocalTrainingSummary
from fedshelf.common.strategies.shared.class_skew import logit_offsets
from fedshelf.common.training.error_feedback import compress_update, split_state
from fedshelf.common.training.evaluate import RawAndAdjusted, evaluate_adjusted
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import is_bfloat16
from fedshelf.simulations.engines.batched.device_images import DeviceImages
from fedshelf.simulations.engines.batched.memory import device_of_updates, stores_that_fit
from fedshelf.simulations.engines.batched.network import check_stackable
from fedshelf.simulations.engines.batched.schedule import BatchSchedule, plan_schedule
from fedshelf.simulations.engines.batched.training import Group, StackedTraining
from fedshelf.simulations.federation.answers import load_state, save_state

CUDA_EVALUATION_BATCH = 4096  # images evaluated at once, if memory allows

Store = tuple[str, Images]


@dataclass(frozen=True)
class GroupWork:
    """An order with its tensors on the device.

    update_device: device on which updates are kept until they are aggregated
    """

    order: TrainOrder
    start: Tensor
    extras: Tensors
    update_device: torch.device


class DeviceWorker:
    """One device, with a resident network, the images, and room for as many stores as fit.

    Args:
        plan: the run's plan.
        device: the device that computes.
        states: storage of the stores' states of strategies.

    Raises:
        ConfigError: many stores cannot train the network at once.
    """

    def __init__(self, plan: Plan, device: torch.device, states: States) -> None:
        self._plan = plan
        self._device = device
        self._states = states
        self._network = Network(plan.spec, device)
        check_stackable(self._network)
        if plan.frozen is not None:
            self._network.load_frozen(plan.frozen)
        self._device_images = DeviceImages(device)
        self._codec = compression.build(plan.config.messages)
        self._metrics = formulas.chosen(plan.config)
        self._training: StackedTraining | None = None
        self._on_features = False
        # stores that fit in memory with batches of this size; 0: not measured yet
        self._max_stores = 0
        self._measured_batch_size = 0
        self._evaluation_batch = max(
            plan.config.evaluation.batch_size, CUDA_EVALUATION_BATCH if device.type == "cuda" else 0
        )
        self._next_schedule: tuple[int, list[str], BatchSchedule] | None = None

    def train(
        self, order: TrainOrder, stores: Sequence[Store], next_stores: Sequence[Store]
    ) -> Iterator[Update | Failure]:
        """Train stores in groups that fit in memory.

        Args:
            order: the round's order; `order.params` is the global model, float32 [P].
            stores: names and training images, at least one each; largest first.
            next_stores: stores that will probably train in the next round, largest first; their
                schedule is made while the device works.

        Yields:
            One answer a store, group after group.
        """
        waiting = deque(stores)
        if not waiting:
            return
        self._on_features = waiting[0][1].are_features
        self._measure_room(len(waiting), min(len(waiting[0][1]), self._plan.config.train.batch))
        start = order.params.to(self._device)
        extras = {name: tensor.to(self._device) for name, tensor in order.extras.items()}
        work = GroupWork(order, start, extras, device_of_updates(self._network, len(stores)))
        while waiting:
            group = [waiting.popleft() for _ in range(min(self._max_stores, len(waiting)))]
            states = {
                name: load_state(self._states, self._plan.run_id, name, order.round)
                for name, _ in group
            }
            yield from (state for state in states.values() if isinstance(state, Failure))
            states_of_group = {
                name: state for name, state in states.items() if not isinstance(state, Failure)
            }
            group = [(name, images) for name, images in group if name in states_of_group]
            if not group:
                continue
            next_group = (order.round, waiting) if waiting else (order.round + 1, next_stores)
            try:
                with self._as_current_device():
                    answers: Sequence[Update | Failure] = self._train_group(
                        work, group, states_of_group, next_group
                    )
            except torch.OutOfMemoryError as error:
                self._training = None
                self._next_schedule = None
                if len(group) > 1:
                    self._max_stores = len(group) // 2
                    # back to the front in their order: nothing of the failed attempt has counted
                    waiting.extendleft(reversed(group))
                    continue
                answers = [failure_of(group[0][0], error)]
            yield from answers

    def evaluate(
        self,
        params: Tensor,
        sets: Sequence[Images],
        adjustments: Sequence[Tensor | None],
        temperatures: Sequence[float] = (),
    ) -> list[RawAndAdjusted]:
        """Evaluate a model on several sets, as `common.training.evaluate.evaluate_adjusted` does.

        Args:
            params: the model, float32 [P].
            sets: images.
            adjustments: of each set, float32 [C] to add to its class scores, or None.
            temperatures: divisors of the class scores; the calibration at each is counted, too.

        Returns:
            The counts of each set by the scores alone, and by the adjusted ones.
        """
        self._network.load(params)
        while True:
            try:
                with self._as_current_device():
                    on_device = [self._device_images.select(images) for images in sets]
                    at_once = self._evaluation_batch
                    return evaluate_adjusted(
                        self._network, on_device, adjustments, at_once, temperatures, self._metrics
                    )
            except torch.OutOfMemoryError:
                if self._evaluation_batch == 1:
                    raise
                self._evaluation_batch //= 2

    def _measure_room(self, num_stores: int, batch_size: int) -> None:
        """Measure how many stores fit, if unknown for this batch size; drop a stack of weights that
        is too small.
        """
        if batch_size > self._measured_batch_size:
            self._training = None
            with self._as_current_device():
                self._max_stores = stores_that_fit(
                    self._network, batch_size, on_features=self._on_features
                )
            self._measured_batch_size = batch_size
        if self._training is not None and self._training.max_stores < min(
            num_stores, self._max_stores
        ):
            self._training = None

    def _train_group(
        self,
        work: GroupWork,
        group: Sequence[Store],
        states_of_stores: Mapping[str, Tensors],
        next_group: tuple[int, Sequence[Store]],
    ) -> list[Update | Failure]:
        """Train stores that fit.

        states_of_stores: state of each of them
        next_group:       round and stores of the group after this one
        """
        order = work.order
        started_at = time.perf_counter()
        config = self._plan.config
        names = [name for name, _ in group]
        training = self._training = self._training or self._new_training(len(group))
        array, _ = self._device_images.join([images for _, images in group])
        schedule = self._schedule(order.round, group).to(self._device)
        states = [
            {key: t.to(self._device) for key, t in split_state(states_of_stores[name])[0].items()}
            for name in names
        ]
        offsets = self._offsets([images for _, images in group])
        stacked_group = Group(names, array, schedule, states, offsets)
        weights, loss_sums = training.run(stacked_group, order.round, work.start, work.extras)
        final_weights = weights.to(work.update_device, copy=True)
        next_round, next_stores = next_group
        if next_stores:
            self._next_schedule = (
                next_round,
                *self._plan_schedule(next_round, list(islice(next_stores, self._max_stores))),
            )
        # the first read of a result waits for the device, so the schedule above cost no time
        lr = learning_rate(config.train, order.round, config.run.rounds)
        sums = loss_sums.tolist()
        seconds = (time.perf_counter() - started_at) / sum(len(images) for _, images in group)
        answers: list[Update | Failure] = []
        for position, (name, images) in enumerate(group):
            size = len(images)
            store_weights = (
                final_weights[position]
                if final_weights.device == weights.device
                else weights[position].clone()
            )
            run = LocalTrainingSummary(
                work.start, store_weights, schedule.steps[position], lr, size, config.train.momentum
            )
            extras, state = training.hooks.on_train_end(position, run, states[position])
            update = Update(
                name,
                order.round,
                final_weights[position],
                size,
                sums[position] / size,
                seconds * size,
                extras,
                steps=run.steps,
            )
            trainable = self._network.layout.trainable
            unsent = split_state(states_of_stores[name])[1]
            update, residual = compress_update(update, work.start, trainable, unsent, self._codec)
            new_state = {**state, **residual}
            failed = save_state(self._states, order, name, new_state) if new_state else None
            answers.append(failed or replace(update, packed=None))
        return answers

    def _offsets(self, sets: Sequence[Images]) -> Tensor | None:
        """Return the offsets of each store's scores, [S, C] on the device; None: all are zero by
        configuration.
        """
        classes = len(self._plan.spec.classes)
        mode = self._plan.config.strategy.absent
        if mode == "full":
            return None
        rows = [logit_offsets(images, classes, mode) for images in sets]
        return torch.stack([torch.zeros(classes) if row is None else row for row in rows]).to(
            self._device
        )

    def _new_training(self, stores: int) -> StackedTraining:
        train = self._plan.config.train
        mixed = is_bfloat16(train, self._device)
        return StackedTraining(
            self._network, self._plan.config, stores, mixed=mixed, on_features=self._on_features
        )

    def _as_current_device(self) -> AbstractContextManager[object]:
        """Make this the thread's current device."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _schedule(self, round_number: int, group: Sequence[Store]) -> BatchSchedule:
        """Return the schedule of a group: prepared before, or made now."""
        prepared = self._next_schedule
        self._next_schedule = None
        if prepared is not None and prepared[:2] == (round_number, [name for name, _ in group]):
            return prepared[2]
        return self._plan_schedule(round_number, group)[1]

    def _plan_schedule(
        self, round_number: int, group: Sequence[Store]
    ) -> tuple[list[str], BatchSchedule]:
        names = [name for name, _ in group]
        _, starts = self._device_images.join([images for _, images in group])
        rows = [
            images.rows.numpy() + first for (_, images), first in zip(group, starts, strict=True)
        ]
        schedule = plan_schedule(
            self._plan.config,
            round_number,
            list(zip(names, rows, strict=True)),
            self._network.has_batch_norm,
        )
        return names, schedule
