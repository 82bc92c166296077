"""The worker of one device: it trains its part of a cohort in groups that fit, and judges
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
from fedshelf.common.config.schedules import learning_rate
from fedshelf.common.images.types import Images
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Failure, Plan, TrainOrder, Update
from fedshelf.common.strategies import LocalTrainingSummary
from fedshelf.common.strategies.shared.class_skew import logit_offsets
from fedshelf.common.training.error_feedback import compress_update, split_state
from fedshelf.common.training.evaluate import RawAndAdjusted, evaluate_adjusted
from fedshelf.common.training.fit import Network
from fedshelf.simulations.engines.batched.device_images import DeviceImages
from fedshelf.simulations.engines.batched.memory import home_of_updates, stores_that_fit
from fedshelf.simulations.engines.batched.network import check
from fedshelf.simulations.engines.batched.schedule import BatchSchedule, plan
from fedshelf.simulations.engines.batched.training import Group, StackedTraining
from fedshelf.simulations.federation.answers import load_state, save_state

CUDA_BATCH = 4096  # images judged at once on a CUDA device, if memory allows

Store = tuple[str, Images]


@dataclass(frozen=True)
class GroupWork:
    """An order with its tensors on the device.

    home: device on which updates are kept until they are aggregated
    """

    order: TrainOrder
    start: Tensor
    extras: Tensors
    home: torch.device


class DeviceWorker:
    """One device, with a resident network, the images, and room for as many stores as fit.

    states: storage of the stores' states of strategies

    Raises ConfigError if many stores cannot train the network at once.
    """

    def __init__(self, plan: Plan, device: torch.device, states: States) -> None:
        self._plan = plan
        self._device = device
        self._states = states
        self._network = Network(plan.spec, device)
        check(self._network)
        if plan.frozen is not None:
            self._network.load_frozen(plan.frozen)
        self._gallery = DeviceImages(device)
        self._codec = compression.build(plan.config.messages)
        self._training: StackedTraining | None = None
        # (batch size, stores that fit in memory at that batch size); (0, 0): not measured yet
        self._fits = (0, 0)
        self._judged_at_once = max(
            plan.config.evaluation.batch_size, CUDA_BATCH if device.type == "cuda" else 0
        )
        self._planned: tuple[int, list[str], BatchSchedule] | None = None

    def train(
        self, order: TrainOrder, stores: Sequence[Store], ahead: Sequence[Store]
    ) -> Iterator[Update | Failure]:
        """Train `stores`, largest first, each with images.

        ahead: stores that will probably train in the next round; their schedule is made while the
               device works
        """
        waiting = deque(stores)
        if not waiting:
            return
        self._make_room(len(waiting), min(len(waiting[0][1]), self._plan.config.train.batch))
        start = order.params.to(self._device)
        extras = {name: tensor.to(self._device) for name, tensor in order.extras.items()}
        work = GroupWork(order, start, extras, home_of_updates(self._network, len(stores)))
        while waiting:
            group = [waiting.popleft() for _ in range(min(self._fits[1], len(waiting)))]
            states = {
                name: load_state(self._states, self._plan.run_id, name, order.round)
                for name, _ in group
            }
            yield from (state for state in states.values() if isinstance(state, Failure))
            kept = {name: state for name, state in states.items() if not isinstance(state, Failure)}
            group = [(name, images) for name, images in group if name in kept]
            if not group:
                continue
            following = (order.round, waiting) if waiting else (order.round + 1, ahead)
            try:
                with self._current():
                    answers: Sequence[Update | Failure] = self._train_group(
                        work, group, kept, following
                    )
            except torch.OutOfMemoryError as error:
                self._training = None
                self._planned = None
                if len(group) > 1:
                    self._fits = (self._fits[0], len(group) // 2)
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
        """Judge a model (float32 [P]) on each of `sets`, as
        `common.training.evaluate.evaluate_adjusted` does.
        """
        self._network.load(params)
        while True:
            try:
                with self._current():
                    chosen = [self._gallery.selected(images) for images in sets]
                    at_once = self._judged_at_once
                    return evaluate_adjusted(
                        self._network, chosen, adjustments, at_once, temperatures
                    )
            except torch.OutOfMemoryError:
                if self._judged_at_once == 1:
                    raise
                self._judged_at_once //= 2

    def _make_room(self, wanted: int, width: int) -> None:
        """Measure how many stores fit, if unknown for batches of `width`; drop a stack that is too
        small.
        """
        if width > self._fits[0]:
            self._training = None
            with self._current():
                self._fits = (width, stores_that_fit(self._network, width))
        if self._training is not None and self._training.room < min(wanted, self._fits[1]):
            self._training = None

    def _train_group(
        self,
        work: GroupWork,
        group: Sequence[Store],
        kept: Mapping[str, Tensors],
        following: tuple[int, Sequence[Store]],
    ) -> list[Update | Failure]:
        """Train stores that fit.

        kept:      state of each of them
        following: round and stores of the group after this one
        """
        order = work.order
        began = time.perf_counter()
        config = self._plan.config
        names = [name for name, _ in group]
        training = self._training = self._training or self._stack(len(group))
        array, _ = self._gallery.joined([images for _, images in group])
        schedule = self._schedule(order.round, group).to(self._device)
        states = [
            {key: t.to(self._device) for key, t in split_state(kept[name])[0].items()}
            for name in names
        ]
        added = self._offsets([images for _, images in group])
        together = Group(names, array, schedule, states, added)
        weights, loss_sums = training.run(together, order.round, work.start, work.extras)
        ends = weights.to(work.home, copy=True)
        round, stores = following
        if stores:
            self._planned = (round, *self._plan_of(round, list(islice(stores, self._fits[1]))))
        # waits here
        lr = learning_rate(config.train, order.round, config.run.rounds)
        sums = loss_sums.tolist()
        seconds = (time.perf_counter() - began) / sum(len(images) for _, images in group)
        answers: list[Update | Failure] = []
        for place, (name, images) in enumerate(group):
            size = len(images)
            end = ends[place] if ends.device == weights.device else weights[place].clone()
            run = LocalTrainingSummary(
                work.start, end, schedule.steps[place], lr, size, config.train.momentum
            )
            extra, state = training.halves.on_train_end(place, run, states[place])
            update = Update(
                name,
                order.round,
                ends[place],
                size,
                sums[place] / size,
                seconds * size,
                extra,
                steps=run.steps,
            )
            trainable = self._network.layout.trainable
            unsent = split_state(kept[name])[1]
            update, left = compress_update(update, work.start, trainable, unsent, self._codec)
            own = {**state, **left}
            failed = save_state(self._states, order, name, own) if own else None
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
        found = [logit_offsets(images, classes, mode) for images in sets]
        return torch.stack([torch.zeros(classes) if row is None else row for row in found]).to(
            self._device
        )

    def _stack(self, stores: int) -> StackedTraining:
        train = self._plan.config.train
        mixed = train.precision == "mixed" and self._device.type == "cuda"
        return StackedTraining(self._network, self._plan.config, stores, mixed=mixed)

    def _current(self) -> AbstractContextManager[object]:
        """Make this the thread's current device."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _schedule(self, round: int, group: Sequence[Store]) -> BatchSchedule:
        """Return the schedule of a group: prepared before, or made now."""
        planned = self._planned
        self._planned = None
        if planned is not None and planned[:2] == (round, [name for name, _ in group]):
            return planned[2]
        return self._plan_of(round, group)[1]

    def _plan_of(self, round: int, group: Sequence[Store]) -> tuple[list[str], BatchSchedule]:
        names = [name for name, _ in group]
        _, starts = self._gallery.joined([images for _, images in group])
        rows = [
            images.rows.numpy() + first for (_, images), first in zip(group, starts, strict=True)
        ]
        made = plan(
            self._plan.config,
            round,
            list(zip(names, rows, strict=True)),
            self._network.has_batch_norm,
        )
        return names, made
