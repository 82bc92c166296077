"""The round loop. It knows nothing of Flower, processes or networks: it talks to a runtime."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol, TypeVar

from torch import Tensor

from common import strategies
from common.errors import StoresError
from common.metrics import Counts, merge
from common.orders import EvaluateOrder, Evaluation, Failure, Plan, StoreInfo, TrainOrder, Update
from common.params import Tensors
from common.training import learning_rate
from server import cohort, screening
from server.checkpoints import Best, State, Totals, add_round
from server.per_store import described, in_history
from server.run_directory import Record
from server.runtime import Runtime

ATTEMPTS = 3  # how often a round is tried with a new cohort before a missing quorum ends the run ...
ABSENT = frozenset({"unavailable", "timeout"})  # ... where stores said why; those that are away are waited for
BYTES_PER_FLOAT = 4

Judge = Callable[[Tensor], Counts]
Answer = TypeVar("Answer")


class Watcher(Protocol):
    """Who is told how a training goes."""

    def row(self, record: Record) -> None:
        """A round is done."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def training(self, round: int, done: int, sampled: int) -> None:
        """Within a round: `done` of `sampled` stores have answered."""


@dataclass(frozen=True)
class Scores:
    """What an evaluation found. test: on the server's images; stores: on the stores' held-out images."""

    test: Counts | None
    stores: Mapping[str, Counts]

    def validation(self) -> Counts | None:
        """All stores' counts merged."""
        counts = list(self.stores.values())
        return merge(counts, len(counts[0].confusion)) if counts else None

    def deciding(self) -> tuple[str, Counts] | None:
        """What the best round is chosen on: the stores' validation images, else the server's test set."""
        validation = self.validation()
        if validation is not None:
            return "validation", validation
        return ("test", self.test) if self.test is not None else None


@dataclass
class Clock:
    """Seconds per phase of one round."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to `phase`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began


class Rounds:
    """Plays rounds of one plan over a runtime.

    trainable: T, how many of the P parameters train
    judge:     evaluates parameters on the server's own test set, or None
    stop:      says whether the run has been asked to end
    """

    def __init__(
        self,
        plan: Plan,
        trainable: int,
        runtime: Runtime,
        judge: Judge | None,
        watcher: Watcher,
        stop: Callable[[], bool],
    ) -> None:
        self.plan, self.config, self.runtime = plan, plan.config, runtime
        self.strategy = strategies.build(plan.config.strategy)
        self._trainable, self._judge, self._watcher, self._stop = trainable, judge, watcher, stop
        self._last_judged: tuple[Tensor, Counts] | None = None

    def begin(self, params: Tensor) -> State:
        """The state before round 1."""
        return State(0, params, self.strategy.initial(params, self._trainable))

    def play(self, state: State) -> tuple[State, Record]:
        """One round: sample, train, screen, aggregate, evaluate.

        Raises StoresError if no cohort reached the quorum in `ATTEMPTS` attempts.
        """
        clock, number = Clock(), state.round + 1
        with clock("total"):
            with clock("train"):
                order, sampled, updates, failed = self._train(state, number)
            with clock("aggregate"):
                state = state.to(updates[0].params.device)
                params, memory = self.strategy.aggregate(state.params, updates, state.strategy, self._trainable)
            with clock("evaluate"):
                scores = self._evaluate(number, params, memory, state.committed) if self._is_evaluated(number) else None
        totals = self._totals(order, sampled, updates, clock)
        best, stale = self._best(state, number, scores)
        state = add_round(state, totals, round=number, params=params, strategy=memory, best=best, stale=stale)
        return state, self._record(number, sampled, updates, failed, scores, totals)

    def _evaluate(self, number: int, params: Tensor, memory: Tensors, committed: int) -> Scores:
        """Judge the new model, while what is idle may begin the next round if that does not depend on the result."""
        if number < self.config.run.rounds and not self.config.evaluation.patience and not self._stop():
            order = TrainOrder(self.plan, number + 1, params, self.strategy.extras(memory), committed)
            self.runtime.expect(order, self._cohort(self.runtime.stores(), number + 1))
        return self._scores(number, params)

    def _cohort(self, present: Iterable[str], number: int, attempt: int = 0) -> list[str]:
        return cohort.sample(present, self.config.cohort, self.config.run.seed, number, attempt)

    def scores(self, state: State, split: str = "test") -> Scores:
        """Judge a state's model on the server's test set and on what the stores hold out as `split`."""
        return self._scores(state.round, state.params, split)

    def _train(self, state: State, number: int) -> tuple[TrainOrder, list[str], list[Update], dict[str, Failure]]:
        order = TrainOrder(self.plan, number, state.params, self.strategy.extras(state.strategy), state.committed)
        quorum = self.config.cohort.min_stores
        failed: dict[str, Failure] = {}
        until, refusals = time.monotonic() + self.config.cohort.wait, 0
        for attempt in count():
            wait = self.config.cohort.wait
            present = cohort.assemble(self.runtime, quorum, wait, self._watcher.note, self._stop)
            sampled = self._cohort(present, number, attempt)
            answers = self._counted(number, len(sampled), self.runtime.train(order, sampled))
            updates, failed = screening.screen_updates(answers, order, sampled)
            if len(updates) >= quorum:
                return order, sampled, updates, failed
            self._watcher.note(f"Round {number}: {len(updates)} of {quorum} updates needed; {_told(failed)}.")
            refusals += any(failure.code not in ABSENT for failure in failed.values())
            if self._stop() or refusals == ATTEMPTS or (attempt + 1 >= ATTEMPTS and time.monotonic() > until):
                break
        raise StoresError(
            f"Round {number} did not reach the quorum of {quorum} stores: {_told(failed)}. The run is saved up to"
            f" round {state.round}; mend the stores and go on with --resume."
        )

    def _counted(self, number: int, sampled: int, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Pass answers on, telling the watcher how many there are."""
        self._watcher.training(number, 0, sampled)
        for done, answer in enumerate(answers, start=1):
            self._watcher.training(number, min(done, sampled), sampled)
            yield answer

    def _is_evaluated(self, number: int) -> bool:
        return number % self.config.evaluation.every == 0 or number == self.config.run.rounds

    def _scores(self, number: int, params: Tensor, split: str = "validation") -> Scores:
        held_out: dict[str, Evaluation] = {}
        if self.config.evaluation.stores:
            stores = [name for name, info in sorted(self.runtime.stores().items()) if _images(info, split)]
            order = EvaluateOrder(self.plan, number, params, "test" if split == "test" else "validation")
            answers = self.runtime.evaluate(order, stores) if stores else []
            held_out = screening.screen_evaluations(answers, order, stores)
        return Scores(self._tested(params), {name: evaluation.counts for name, evaluation in held_out.items()})

    def _tested(self, params: Tensor) -> Counts | None:
        """Counts on the server's test set; asked again for the model judged last, they are not counted again."""
        if self._judge is None:
            return None
        if self._last_judged is None or self._last_judged[0] is not params:
            self._last_judged = (params, self._judge(params))
        return self._last_judged[1]

    def _best(self, state: State, number: int, scores: Scores | None) -> tuple[Best | None, int]:
        """The best evaluation so far and the evaluations since."""
        deciding = scores.deciding() if scores else None
        if deciding is None:
            return state.best, state.stale
        on, counts = deciding
        metric = self.config.evaluation.metric
        value = counts.scalars()[metric]
        better = state.best is None or (value < state.best.value if metric == "loss" else value > state.best.value)
        return (Best(number, value, counts.accuracy, on), 0) if better else (state.best, state.stale + 1)

    def _totals(self, order: TrainOrder, sampled: list[str], updates: list[Update], clock: Clock) -> Totals:
        down = order.params.numel() + sum(tensor.numel() for tensor in order.extras.values())
        images = sum(u.num_examples for u in updates) * self.config.train.epochs
        return Totals(images, down * len(sampled) * BYTES_PER_FLOAT, sum(u.bytes for u in updates), dict(clock.seconds))

    def _record(
        self,
        number: int,
        sampled: list[str],
        updates: list[Update],
        failed: Mapping[str, Failure],
        scores: Scores | None,
        totals: Totals,
    ) -> Record:
        """The round's line in the history."""
        images = sum(u.num_examples for u in updates)
        validation = scores.validation() if scores else None
        return {
            "round": number,
            "lr": learning_rate(self.config.train, number, self.config.run.rounds),
            "sampled": sampled,
            "stores": {u.store: {"images": u.num_examples, "loss": u.loss, "seconds": u.seconds} for u in updates},
            "failed": {name: {"code": f.code, "reason": f.reason} for name, f in failed.items()},
            "train": {"loss": sum(u.loss * u.num_examples for u in updates) / images, "images": images},
            "test": described(scores.test) if scores and scores.test else None,
            "validation": described(validation) | in_history(scores.stores) if scores and validation else None,
            "seconds": dict(totals.seconds),
            "bytes": {"down": totals.bytes_down, "up": totals.bytes_up},
        }


def _images(info: StoreInfo, split: str) -> int:
    return info.test if split == "test" else info.validation


def _told(failed: Mapping[str, Failure]) -> str:
    return "; ".join(f"{name}: {failure.reason}" for name, failure in failed.items()) or "no store was asked"
