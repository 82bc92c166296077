"""The round loop: one round after the other, from a state to the next state and a history line.

It knows nothing of Flower, of processes or of networks. It talks to a `server.runtime.Runtime`, so
that a deployment and a simulation play the very same rounds:

    wait for a quorum -> sample a cohort -> runtime.train -> screen the updates     "train"
    aggregate the updates                                                           "aggregate"
    look for suspicious updates                                                     "inspect"
    evaluate the new model at the server and by runtime.evaluate                    "evaluate"

If the new model cannot be used, `rollback` takes the round back, and it is played once more.

    >>> import torch
    >>> from fedshelf.common.config import resolve
    >>> from fedshelf.common.models.spec import ModelSpec
    >>> from fedshelf.common.protocol.messages import Update
    >>> class Halfway:  # a runtime whose stores move the model half-way to a number of their own
    ...     targets = {"north": 2.0, "south": 6.0}
    ...     def stores(self):
    ...         return {name: StoreInfo(name, {"hat": 5}, 0, 0) for name in self.targets}
    ...     def train(self, order, stores):
    ...         for name in stores:
    ...             params = (order.params + self.targets[name]) / 2
    ...             yield Update(name, order.round, params, 10, loss=1.0, seconds=0.1)
    >>> class Silent:  # an observer
    ...     def note(self, text): pass
    ...     def doing(self, activity): pass
    ...     def training(self, round_number, done, sampled): pass
    >>> spec = ModelSpec("cnn", ("hat", "shirt"), 32, 3, (0.5,) * 3, (0.25,) * 3)
    >>> plan = Plan("run", resolve({"run.rounds": 1}), spec)
    >>> layout = Layout(("w",), (torch.Size([1]),), 1, 1)  # a model of one number
    >>> loop = RoundLoop(plan, layout, Halfway(), Silent(), lambda: False)
    >>> state, record = loop.play(loop.initial_state(torch.zeros(1)))
    >>> state.params, record["sampled"]  # the mean of 1 and 3
    (tensor([2.]), ['north', 'south'])
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config.learning_rate_schedule import standstill
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Failure, Plan, StoreInfo, TrainOrder, Update
from fedshelf.common.strategies.shared.class_skew import keep_absent_rows
from fedshelf.common.strategies.shared.personalization import personal_slices, withhold_personal
from fedshelf.server.results.checkpoints import Totals, TrainingState, add_round
from fedshelf.server.results.delivered_round import best_round
from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus
from fedshelf.server.results.scores import Scores
from fedshelf.server.runtime import RoundSummedError, Runtime
from fedshelf.server.store_privacy import mechanism, photo_privacy
from fedshelf.server.training import cohort, rollback, round_record
from fedshelf.server.training.quorum import MAX_COHORTS_PER_ROUND, RoundQuorum
from fedshelf.server.training.robustness_guarantee import Guarantee
from fedshelf.server.training.rollback import Rollback
from fedshelf.server.training.round_evaluation import RoundEvaluator
from fedshelf.server.training.round_record import NextModel, PhaseTimer
from fedshelf.server.training.weight_averaging import averaged
from fedshelf.server.updates import anomaly_detection, secure_sums
from fedshelf.server.updates.buffer import InMemoryBuffer, UpdateBuffer
from fedshelf.server.updates.collection import UpdateCollector
from fedshelf.server.updates.contribution import contributions
from fedshelf.server.updates.evaluator import NO_EVALUATORS, Evaluators
from fedshelf.server.updates.image_cap import ImageCap
from fedshelf.server.updates.norm_bound import UsualNorms
from fedshelf.server.updates.reputation import Reputation
from fedshelf.server.updates.screening import RoundOutcome
from fedshelf.server.updates.store_findings import Standing


class RoundLoop:
    """Plays rounds of one plan over a runtime.

    Its attribute `load_earlier` returns the last saved state before a round, or None; `privacy`
    adds noise to updates, if settings say so.

    Args:
        layout: the places of the tensors in the P parameters, of which the first T train
        stop: returns whether the run has been asked to end
        evaluators: the server's own evaluators
        buffer: holds a round's updates until all are there; None: in memory
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
        self._collector = UpdateCollector(
            plan, layout, self.strategy, observer, self._buffer, self._image_cap
        )
        self._guarantee = Guarantee(self.strategy, observer.note)
        self.privacy = mechanism.of_simulation(plan.config, observer.note)
        photo_privacy.announce(plan.config, observer.note)
        if remark := self.strategy.remark_on(plan.config):
            observer.note(remark)
        # Stores that are idle during an evaluation may begin the next round's training. Returns how
        # many seconds of the present evaluation were such training.
        self._seconds_prefetched: Callable[[], float] | None = None
        self._last_prefetched = 0.0  # seconds of the last round's evaluation that were training
        sample = None if self.personal else evaluators.sample
        detector = anomaly_detection.build(plan, sample, layout, observer.note)
        self._reputation = Reputation(self.config.screening, detector, runtime, observer.note)
        self._rollback = Rollback(plan, self._buffer, self._reputation, observer.note)

    def initial_state(self, params: Tensor) -> TrainingState:
        """Return the state before round 1, with the first global model `params`, float32 [P]."""
        return TrainingState(
            0, params, self.strategy.init_server_state(params, self._layout.trainable)
        )

    def leave_out_again(self, state: TrainingState) -> None:
        """Leave out the stores that were set aside before a resume."""
        self._reputation.exclude(Standing.of(state.record).set_aside)

    def play(self, state: TrainingState) -> tuple[TrainingState, Record]:
        """Play one round: sample, train, screen, aggregate, look for suspects, evaluate.

        If all training from `state` diverges because of the round before, that round is played
        again, without the store whose update explains it if there is one.

        Args:
            state: after the round before

        Returns:
            The state after the round, and the round's line of the history. If the round before was
            played again, these are of that round.

        Raises:
            StoresError: no cohort reached the quorum (see `quorum`), or training diverges and no
                store explains it
            StoppedError: the run was asked to end before a quorum had answered
            OSError: updates cannot be buffered
        """
        standing = Standing.of(state.record)
        taken_back = None
        while True:
            try:
                after, record = self._play(state, standing)
            except rollback.EverybodyDivergedError as error:
                state, standing, taken_back = self._rollback.restore_before(
                    state, error.store, self.load_earlier
                )
            except rollback.UnusableModelError as error:
                taken_back = self._rollback.replay(state, error)
            except RoundSummedError as error:
                return self._skip(state, error.round)
            else:
                self._rollback.before = state
                return after, record | ({"taken_back": taken_back} if taken_back else {})

    def _skip(self, state: TrainingState, round_number: int) -> tuple[TrainingState, Record]:
        """Return the state and the history's line of a round whose sum is lost.

        The stores have opened it, and no round is summed twice.
        """
        why = (
            "the stores have opened its sum, which is lost at the server; no round is summed twice"
        )
        self._observer.note(f"Round {round_number} is skipped: {why}.")
        record = round_record.skipped_line(round_number, self.config, state.record, why)
        best, stale = best_round(state, round_number, None, self.config.evaluation.metric)
        skipped = replace(state, round=round_number)
        return add_round(skipped, Totals(), best=best, stale=stale), record

    def _play(self, state: TrainingState, standing: Standing) -> tuple[TrainingState, Record]:
        timer = PhaseTimer()
        round_number = state.round + 1
        norms = UsualNorms.of(state.record)
        with timer("total"):
            with timer("train"):
                self._reputation.exclude(standing.set_aside)
                trained = self._train(state, round_number, norms)
                trained = self._reputation.clipped(standing, trained, self._buffer)
                shortfall = self._guarantee.check(round_number, len(trained.stores))
            self._observer.doing(RunActivity(RunStatus.JUDGING, round_number))
            state = state.to(trained.updates[0].params.device)
            build = partial(self._next_model, state, standing, timer)
            model = build(trained)
            if self.privacy is None:  # else no update moves the model far
                model = self._rollback.usable_model(state, model, build)
        self._move_prefetched_seconds(timer)
        totals = round_record.totals(model.trained, self.config, timer.seconds)
        deciding = model.scores.deciding() if model.scores else None
        best, stale = best_round(state, round_number, deciding, self.config.evaluation.metric)
        record = round_record.line(model, self.config, totals, norms, shortfall)
        self._buffer.clear()
        return add_round(model.after, totals, best=best, stale=stale), record

    def _next_model(
        self, state: TrainingState, standing: Standing, timer: PhaseTimer, trained: RoundOutcome
    ) -> NextModel:
        """Return the model of a round's updates: aggregate, look for suspects, evaluate."""
        with timer("aggregate"):
            noised = self.privacy.noised_mean(trained, state.record) if self.privacy else None
            updates = [noised.update] if noised else trained.updates
            params, memory = self.strategy.update_global_model(
                state.params,
                updates,
                self.strategy.forget(state.strategy, standing.set_aside),
                self._layout.trainable,
                trained.present,
            )
            if not self.strategy.closed_form:  # which has the rows of stores that were here before
                by_class = [update.images_by_class for update in updates]
                params = keep_absent_rows(state.params, params, by_class, self._layout)
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
            suspicions, standing = self._reputation.judge(standing, trained)
            contributed = self._contributions(state.params, trained.updates)
        with timer("evaluate"):
            # a model that is not finite has no scores; `rollback` takes it back
            is_due = self._is_evaluated(round_number) and rollback.is_finite(after)
            scores = self._evaluate(after) if is_due else None
        privacy = noised.record if noised else None
        return NextModel(trained, after, standing, suspicions, contributed, scores, privacy=privacy)

    def _contributions(self, start: Tensor, updates: Sequence[Update]) -> Sequence[float]:
        """Return each update's part in the step; none of updates that noise hides."""
        if self.privacy:
            return [0.0] * len(updates)
        weights, shares = self.strategy.weights(updates), self.strategy.rank_shares
        return contributions(start, self._layout.trainable, updates, weights, shares)

    def _move_prefetched_seconds(self, timer: PhaseTimer) -> None:
        """Count the prefetched training of an evaluation as training of the next round."""
        before = self._last_prefetched
        self._last_prefetched = self._seconds_prefetched() if self._seconds_prefetched else 0.0
        self._seconds_prefetched = None
        timer.add("evaluate", -self._last_prefetched)
        timer.add("train", before)
        timer.add("total", before - self._last_prefetched)

    def _evaluate(self, state: TrainingState) -> Scores:
        """Judge the new model.

        Idle stores may begin the next round meanwhile, unless the result may end the run.
        """
        if (
            state.round < self.config.run.rounds
            and not self.config.evaluation.patience
            and not self._stop()
        ):
            present = self.runtime.stores()
            sampled = self._cohort(present, state.round + 1)
            self._seconds_prefetched = self.runtime.prefetch_training(
                self._order(state, sampled, present), sampled
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

    def _order(
        self, state: TrainingState, sampled: Sequence[str], present: Mapping[str, StoreInfo]
    ) -> TrainOrder:
        """Return the training order for the round after `state`."""
        return TrainOrder(
            self.plan,
            state.round + 1,
            state.params,
            self.strategy.extras(state.strategy),
            # one round less than is saved: the saved one may be taken back
            committed=max(0, state.committed - 1),
            best=state.best.round if state.best else 0,
            terms=secure_sums.terms(self.config, sampled, present),
        )

    def _cohort(self, present: Iterable[str], round_number: int, attempt: int = 0) -> list[str]:
        if self.privacy:
            return self.privacy.cohort(present, round_number)
        return cohort.sample(
            present, self.config.cohort, self.config.run.seed, round_number, attempt
        )

    def scores(
        self,
        state: TrainingState,
        temperatures: tuple[float, ...] = (),
        *,
        is_adjusted: bool = True,
    ) -> Scores:
        """Judge a state's model on the test images of the server and of the stores.

        Args:
            temperatures: the model's confidence is measured at each of them
            is_adjusted: whether stores use the model with their adjustments (see
                `server.results.scores`)
        """
        return self._evaluator.on_test(state, temperatures, is_adjusted=is_adjusted)

    def validation_scores(self, state: TrainingState) -> Scores:
        """Judge a state's model on validation images, with its confidence at all of `GRID`."""
        return self._evaluator.on_validation(state)

    def _train(self, state: TrainingState, round_number: int, norms: UsualNorms) -> RoundOutcome:
        """Let one cohort after the other train until the quorum is reached."""
        if round_number == standstill(self.config):
            self._observer.note(
                f"Round {round_number}: the learning rate is 0 from here on, so no store changes a"
                " weight."
            )
        quorum = RoundQuorum(
            self.runtime,
            round_number,
            self.config,
            self._observer,
            self._stop,
            partial(self._no_quorum, state),
        )
        for attempt in count():
            present, available = quorum.stores()
            sampled = self._cohort(
                available,
                round_number,
                attempt + MAX_COHORTS_PER_ROUND * self._rollback.is_redrawn(round_number),
            )
            self._guarantee.check(round_number, len(sampled))
            if self.privacy:
                self.privacy.check_draw(len(sampled), len(present), round_number)
            order = self._order(state, sampled, present)
            trained = self._collector.collect(self.runtime, order, sampled, present, norms)
            blamed = rollback.store_to_blame(trained, state.record)
            if blamed is not None and self.privacy is None:
                raise rollback.EverybodyDivergedError(blamed)
            if len(trained.stores) >= min(quorum.needed, len(sampled)):
                break
            quorum.missed(trained)
        return trained

    def _no_quorum(self, state: TrainingState, failed: Mapping[str, Failure]) -> Exception:
        """Return the error for a round after `state` in which too few stores took part."""
        if rollback.is_divergence(failed) and self.privacy is None:
            return rollback.divergence(state.round + 1, state.record, self.config.train.lr)
        return cohort.quorum_error(state.round + 1, self.config.cohort.min_stores, failed)

    def _is_evaluated(self, round_number: int) -> bool:
        is_last = round_number == self.config.run.rounds
        return is_last or round_number % self.config.evaluation.every == 0
