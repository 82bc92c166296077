"""The round loop. It knows nothing of Flower, processes or networks: it talks to a runtime."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypeVar

from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config.schedules import learning_rate, standstill
from fedshelf.common.errors import StoppedError
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.failures import format_failures
from fedshelf.common.protocol.messages import Failure, Plan, StoreInfo, TrainOrder
from fedshelf.common.strategies.shared.class_skew import keep_absent_rows
from fedshelf.common.strategies.shared.personalization import personal_slices, withhold_personal
from fedshelf.server.results.checkpoints import TrainingState, add_round
from fedshelf.server.results.delivered_round import best_round
from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus
from fedshelf.server.results.scores import Scores
from fedshelf.server.runtime import Runtime
from fedshelf.server.training import client_sampling, rollback, round_record
from fedshelf.server.training.robustness_guarantee import Guarantee
from fedshelf.server.training.rollback import Rollback
from fedshelf.server.training.round_evaluation import RoundEvaluator
from fedshelf.server.training.round_record import NextModel, PhaseTimer
from fedshelf.server.training.weight_averaging import averaged
from fedshelf.server.updates import anomaly_detection
from fedshelf.server.updates.anomaly_detection import AnomalyDetector
from fedshelf.server.updates.buffer import InMemoryBuffer, UpdateBuffer
from fedshelf.server.updates.contribution import contributions
from fedshelf.server.updates.evaluator import NO_EVALUATORS, Evaluators
from fedshelf.server.updates.image_cap import ImageCap, most_images
from fedshelf.server.updates.norm_bound import UsualNorms
from fedshelf.server.updates.reputation import Reputation
from fedshelf.server.updates.screening import RoundOutcome, Screening
from fedshelf.server.updates.standing import Standing

# cohorts that a round is tried with before a missing quorum ends the run ...
MAX_COHORTS_PER_ROUND = 3
# ... if stores gave a reason; absent ones are waited for
ABSENCE_CODES = frozenset({"unavailable", "timeout"})

Answer = TypeVar("Answer")


class RoundLoop:
    """Plays rounds of one plan over a runtime.

    layout:  the places of the tensors in the P parameters, of which T train
    stop:    returns whether the run has been asked to end
    evaluators: the server's own
    buffer:  holds a round's updates until all are there; None: in memory

    Its attribute `earlier` returns the last saved state before that of a round, or None.
    """

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        runtime: Runtime,
        observer: RunObserver,
        stop: Callable[[], bool],
        evaluators: Evaluators = NO_EVALUATORS,
        buffer: UpdateBuffer | None = None,
    ) -> None:
        self.plan = plan
        self.config = plan.config
        self.runtime = runtime
        self.strategy = strategies.build(plan.config.strategy, layout)
        # if stores have layers of their own, only they can judge a model
        self.personal = self.strategy.personal_tensors()
        self._layout = layout
        self._observer = observer
        self._stop = stop
        self._buffer = buffer or InMemoryBuffer()
        self.load_earlier: Callable[[int], TrainingState | None] = lambda _: None
        self._image_cap = ImageCap(plan.config, observer.note)
        test = None if self.personal else evaluators.test
        self._evaluator = RoundEvaluator(
            plan, runtime, test, evaluators.validation, self._image_cap
        )
        self._guarantee = Guarantee(self.strategy, observer.note)
        # returns the seconds of an evaluation that were training
        self._seconds_prefetched: Callable[[], float] | None = None
        self._last_prefetched = 0.0  # seconds of the last round's evaluation that were training
        sample = None if self.personal else evaluators.sample
        detector = (
            AnomalyDetector(plan, sample, layout) if anomaly_detection.is_on(self.config) else None
        )
        self._reputation = Reputation(self.config.screening, detector, runtime, observer.note)
        self._rollback = Rollback(plan, self._buffer, self._reputation, observer.note)

    def initial_state(self, params: Tensor) -> TrainingState:
        """Return the state before round 1.

        params: float32 [P]
        """
        return TrainingState(
            0, params, self.strategy.init_server_state(params, self._layout.trainable)
        )

    def play(self, state: TrainingState) -> tuple[TrainingState, Record]:
        """Play one round: sample, train, screen, aggregate, look for suspects, evaluate.

        If all training from `state` diverges because of the round before, that round is played
        again, without the store whose update explains it if there is one. Then its new state and
        record are returned.

        Raises StoresError if no cohort reached the quorum in `MAX_COHORTS_PER_ROUND` attempts, or
        if training diverges and no store explains it. Raises StoppedError if the run was asked to
        end before a quorum, OSError if updates cannot be held.
        """
        standing = Standing.of(state.record)
        told = None
        while True:
            try:
                after, record = self._play(state, standing)
            except rollback.EverybodyDivergedError as found:
                state, standing, told = self._rollback.restore_before(
                    state, found.store, self.load_earlier
                )
            except rollback.UnusableModelError as found:
                told = self._rollback.replay(state, found)
            else:
                self._rollback.before = state
                return after, record | ({"taken_back": told} if told else {})

    def _play(self, state: TrainingState, standing: Standing) -> tuple[TrainingState, Record]:
        timer = PhaseTimer()
        round_number = state.round + 1
        norms = UsualNorms.of(state.record)
        with timer("total"):
            with timer("train"):
                self._reputation.exclude(standing.set_aside)
                trained = self._train(state, round_number, norms)
                trained = self._reputation.clipped(standing, trained, self._buffer)
                shortfall = self._guarantee.check(round_number, len(trained.updates))
            self._observer.doing(RunActivity(RunStatus.JUDGING, round_number))
            state = state.to(trained.updates[0].params.device)
            make = partial(self._next_model, state, standing, timer)
            made = self._rollback.usable_model(state, make(trained), make)
        self._move_prefetched_seconds(timer)
        totals = round_record.totals(made.trained, self.config, timer.seconds)
        deciding = made.scores.deciding() if made.scores else None
        best, stale = best_round(state, round_number, deciding, self.config.evaluation.metric)
        record = round_record.line(made.trained, self.config, made.scores, totals, made.contributed)
        record |= {
            "suspicion": made.found,
            "standing": made.standing.to_record(),
            "shortfall": shortfall,
        }
        record |= {"usual_norms": list(norms.after(made.trained.norms).recent)}
        record |= {"taken_back": made.taken_back} if made.taken_back else {}
        self._buffer.clear()
        return add_round(made.after, totals, best=best, stale=stale), record

    def _next_model(
        self, state: TrainingState, standing: Standing, timer: PhaseTimer, trained: RoundOutcome
    ) -> NextModel:
        """Return the model of a round's updates: aggregate, look for suspects, evaluate."""
        with timer("aggregate"):
            params, memory = self.strategy.update_global_model(
                state.params,
                trained.updates,
                state.strategy,
                self._layout.trainable,
                trained.present,
            )
            params = keep_absent_rows(
                state.params, params, [u.images_by_class for u in trained.updates], self._layout
            )
            params = withhold_personal(
                self.strategy.centred(params),
                state.params,
                personal_slices(self._layout, self.personal),
            )[0]
            round_number = trained.order.round
            after = averaged(
                replace(state, round=round_number, params=params, strategy=memory), self.config
            )
        with timer("inspect"):
            found, standing = self._reputation.judge(standing, trained)
            weights = self.strategy.weights(trained.updates)
            shares = self.strategy.rank_shares
            contributed = contributions(
                state.params, self._layout.trainable, trained.updates, weights, shares
            )
        with timer("evaluate"):
            is_judged = self._is_evaluated(round_number) and rollback.is_finite(after)
            scores = self._evaluate(after) if is_judged else None
        return NextModel(trained, after, standing, found, contributed, scores)

    def _move_prefetched_seconds(self, timer: PhaseTimer) -> None:
        """Move the seconds of an evaluation that were already training to the next round's
        training.
        """
        before = self._last_prefetched
        self._last_prefetched = self._seconds_prefetched() if self._seconds_prefetched else 0.0
        self._seconds_prefetched = None
        timer.add("evaluate", -self._last_prefetched)
        timer.add("train", before)
        timer.add("total", before - self._last_prefetched)

    def _evaluate(self, state: TrainingState) -> Scores:
        """Judge the new model; idle stores may begin the next round if that does not depend on the
        result.
        """
        if (
            state.round < self.config.run.rounds
            and not self.config.evaluation.patience
            and not self._stop()
        ):
            order = self._order(state)
            self._seconds_prefetched = self.runtime.prefetch_training(
                order, self._cohort(self.runtime.stores(), order.round)
            )
        return self._evaluator.after_round(state, may_be_last=self._may_be_delivered_last(state))

    def _may_be_delivered_last(self, state: TrainingState) -> bool:
        """Return whether this round may be the run's last, so that its model may be delivered."""
        patience = self.config.evaluation.patience
        ends_early = self.config.run.deliver == "last"
        return (
            state.round == self.config.run.rounds
            or self._stop()
            or (ends_early and 0 < patience <= state.stale + 1)
        )

    def _order(self, state: TrainingState) -> TrainOrder:
        """Return the training order for the round after `state`."""
        extras = self.strategy.extras(state.strategy)
        best = state.best.round if state.best else 0
        # one round less than is saved: the saved one may be taken back
        return TrainOrder(
            self.plan, state.round + 1, state.params, extras, max(0, state.committed - 1), best
        )

    def _cohort(self, present: Iterable[str], round_number: int, attempt: int = 0) -> list[str]:
        return client_sampling.sample(
            present, self.config.cohort, self.config.run.seed, round_number, attempt
        )

    def scores(
        self,
        state: TrainingState,
        temperatures: tuple[float, ...] = (),
        *,
        is_adjusted: bool = True,
    ) -> Scores:
        """Judge a state's model on the server's and the stores' test images; how sure it is at
        `temperatures`, too.

        is_adjusted: whether stores use it with their adjustments (see `server.results.scores`)
        """
        return self._evaluator.on_test(state, temperatures, is_adjusted=is_adjusted)

    def validation_scores(self, state: TrainingState) -> Scores:
        """Judge a state's model on validation images, and how sure it is at each temperature of
        `GRID`.
        """
        return self._evaluator.on_validation(state)

    def _train(self, state: TrainingState, round_number: int, norms: UsualNorms) -> RoundOutcome:
        order = self._order(state)
        if round_number == standstill(self.config):
            self._observer.note(
                f"Round {round_number}: the learning rate is 0 from here on, so no store changes a"
                " weight."
            )
        quorum = self.config.cohort.min_stores
        failed: Mapping[str, Failure] = {}
        until = time.monotonic() + self.config.cohort.wait
        refusals = 0
        for attempt in count():
            wait = self.config.cohort.wait
            present = client_sampling.wait_for_quorum(
                self.runtime, round_number, quorum, wait, self._observer, self._stop
            )
            sampled = self._cohort(
                present,
                round_number,
                attempt + MAX_COHORTS_PER_ROUND * self._rollback.is_redrawn(round_number),
            )
            self._guarantee.check(round_number, len(sampled))
            trained = self._collect_updates(order, sampled, present, norms)
            if (store := rollback.store_to_blame(trained, state.record)) is not None:
                raise rollback.EverybodyDivergedError(store)
            if len(trained.updates) >= quorum:
                return trained
            failed = trained.failed
            self._observer.note(
                f"Round {round_number}: {len(trained.updates)} of {quorum} updates needed;"
                f" {format_failures(failed)}."
            )
            refusals += any(
                failure.code not in ABSENCE_CODES and not failure.retry_after
                for failure in failed.values()
            )
            if self._stop():
                raise StoppedError(
                    f"{len(trained.updates)} of {quorum} updates needed; {format_failures(failed)}"
                )
            if refusals == MAX_COHORTS_PER_ROUND or (
                attempt + 1 >= MAX_COHORTS_PER_ROUND and time.monotonic() > until
            ):
                break
        if rollback.is_divergence(failed):
            raise rollback.divergence(round_number, state.record, self.config.train.lr)
        raise client_sampling.quorum_error(round_number, quorum, failed)

    def _collect_updates(
        self,
        order: TrainOrder,
        sampled: Iterable[str],
        present: Mapping[str, StoreInfo],
        norms: UsualNorms,
    ) -> RoundOutcome:
        """Send the order to the cohort, and return the updates that pass screening and the
        failures.
        """
        self._buffer.clear()
        asked = {store: present[store] for store in sampled}
        lr = learning_rate(self.config.train, order.round, self.config.run.rounds)
        screen = Screening(
            order,
            asked,
            self.strategy.expected_extras(self._layout.trainable),
            self._buffer,
            lambda update: self.strategy.validate_update(update, lr, self.config.train),
            norms,
            most_images(self.config, present),
        )
        self._observer.doing(RunActivity(RunStatus.TRAINING, order.round, tuple(asked)))
        for answer in self._report_progress(
            order.round, len(asked), self.runtime.train(order, list(asked))
        ):
            screen.take(answer)
        screened = screen.result()
        for sentence in screened.ignored:
            self._observer.note(f"Round {order.round}: {sentence}")
        counted = self._image_cap.applied(present, asked)
        return RoundOutcome(
            order, asked, screened.updates, screened.failed, counted, screened.norms
        )

    def _report_progress(
        self, round_number: int, sampled: int, answers: Iterable[Answer]
    ) -> Iterator[Answer]:
        """Pass answers on, and tell the observer how many there are."""
        self._observer.training(round_number, 0, sampled)
        for done, answer in enumerate(answers, start=1):
            self._observer.training(round_number, min(done, sampled), sampled)
            yield answer

    def _is_evaluated(self, round_number: int) -> bool:
        return (
            round_number % self.config.evaluation.every == 0
            or round_number == self.config.run.rounds
        )


__all__ = ["RoundLoop", "Scores"]
