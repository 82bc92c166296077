"""One training from start or resume to its end: rounds, checkpoints, model, summary, report."""

import importlib.metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from fedshelf.common import strategies
from fedshelf.common.classes.display_names import read_from_run
from fedshelf.common.config import STORES_OWN
from fedshelf.common.errors import FedshelfError, StoppedError
from fedshelf.server.report.tensorboard import TensorBoardLog
from fedshelf.server.results import operator_settings, plan_file
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.delivered_round import best_round, deliver
from fedshelf.server.results.model_export import weights_sha256, write_model
from fedshelf.server.results.plan_file import SavedPlan
from fedshelf.server.results.run_directory import FORGOTTEN, Record, RunDirectory
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus
from fedshelf.server.results.scores import Scores
from fedshelf.server.runtime import Runtime
from fedshelf.server.stop_request import PauseRequest, StopRequest
from fedshelf.server.store_privacy.mechanism import STORE_RECORD_KEY, of_deployment
from fedshelf.server.store_privacy.noise_ledger import NOISE_FILE
from fedshelf.server.store_privacy.photo_privacy import PHOTO_RECORD_KEY
from fedshelf.server.trackers.tracking import Tracking
from fedshelf.server.training import class_retention
from fedshelf.server.training.final_evaluation import evaluate_final_model
from fedshelf.server.training.resume_model import provenance
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import InitialState
from fedshelf.server.updates import contribution
from fedshelf.server.updates.buffer import InMemoryBuffer, UpdateBuffer
from fedshelf.server.updates.evaluator import NO_EVALUATORS, Evaluators
from fedshelf.server.updates.store_findings import Standing


class BetweenRounds(Protocol):
    """A task that is done after a round if it is due, for example if somebody has asked for it."""

    def is_due(self, state: TrainingState) -> bool:
        """Return whether the task is due after the round with this state."""

    def do(self, state: TrainingState) -> None:
        """Do the task, after the round whose state has a checkpoint.

        Raise nothing that should end the run.
        """


@dataclass(frozen=True)
class Training:
    """All that one training needs.

    Attributes:
        evaluators: the server's own
        buffer: holds a round's updates until all are there
        startup_seconds: from the start of the process to the first round
        remark: added to the first coming round's line in the history
        between: a task that may be due between two rounds, or None
    """

    start: InitialState
    runtime: Runtime
    observer: RunObserver
    directory: RunDirectory
    startup_seconds: float
    evaluators: Evaluators = NO_EVALUATORS
    buffer: UpdateBuffer = field(default_factory=InMemoryBuffer)
    remark: Mapping[str, Any] = field(default_factory=dict)
    between: BetweenRounds | None = None

    def run(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the end, write all of the run directory, and return the summary.

        Raises FedshelfError if the run cannot go on; the summary says so, and it can be resumed.
        """
        checkpoints = Checkpoints(
            self.directory.path / "checkpoints", self.start.plan.config.run.keep_checkpoints
        )
        round_loop, state = self._begin(checkpoints, stop)
        with Tracking(self.directory, self.start.plan.config, self.observer.note) as tracking:
            state = self._train(round_loop, state, checkpoints, stop, tracking)
            summary = self._finish(round_loop, checkpoints, state)
            tracking.finish(summary)
            return summary

    def _train(
        self,
        round_loop: RoundLoop,
        state: TrainingState,
        checkpoints: Checkpoints,
        stop: StopRequest,
        tracking: Tracking,
    ) -> TrainingState:
        """Play the rounds that are left, and return the state after the last; raise as `run`."""
        events = TensorBoardLog(self.directory.path)
        recorded = self._restore_history(state, events)
        remark = self._remark(recorded)
        tracking.begin(recorded)
        try:
            plan_file.write(
                self.directory.path / "checkpoints",
                SavedPlan(self.start.plan, self._origin(), self.start.initial_weights),
            )
            round_loop.leave_out_again(state)
            state = self._judge_origin(round_loop, state, checkpoints)
            first = state.round + 1
            while not self._is_over(state) and not stop():
                done = state.round
                try:
                    state, record = round_loop.play(state)
                except StoppedError as error:
                    self.observer.note(
                        f"Round {state.round + 1} is left to the next start ({error})."
                    )
                    break
                record = {**record, **(remark if state.round == first else {})}
                state = self._record_round(replace(state, record=record), checkpoints, done)
                self.observer.row(record)
                events.add(record)
                tracking.add(record, state.committed)
                if self.between is not None and self.between.is_due(state):
                    state = self._checkpoint(state, checkpoints)
                    self.between.do(state)
            state = self._checkpoint(state, checkpoints)
            tracking.commit(state.committed)
            return state
        except (FedshelfError, OSError) as error:
            with suppress(OSError):  # a full disk takes nothing more
                state = self._checkpoint(state, checkpoints)
            with suppress(OSError):
                self._write_unfinished(state, "failed", str(error))
                self._report()
            raise
        except PauseRequest:
            self._checkpoint(state, checkpoints)
            raise
        except KeyboardInterrupt:
            state = self._checkpoint(state, checkpoints)
            self._write_unfinished(state, "stopped", "stopped at once")
            self.observer.note(
                f"Stopped at once; --resume in {self.directory.path} continues from what was saved."
            )
            raise
        finally:
            events.close()

    def _begin(
        self, checkpoints: Checkpoints, stop: StopRequest
    ) -> tuple[RoundLoop, TrainingState]:
        """Return the round loop, and the state that it goes on from. Raises RunError."""
        plan = self.start.plan
        round_loop = RoundLoop(
            plan,
            self.start.layout,
            self.runtime,
            self.observer,
            stop,
            self.evaluators,
            self.buffer,
        )
        begun = round_loop.initial_state(self.start.params)
        round_loop.load_earlier = lambda before: (
            checkpoints.before(before) or (None if before > 1 else begun)
        )
        state = checkpoints.latest() or begun
        if plan.config.data.dataset == STORES_OWN:
            path = self.directory.path / NOISE_FILE
            note = self.observer.note
            round_loop.privacy = of_deployment(plan.config, path, state.round, note)
        return round_loop, state

    def _judge_origin(
        self, round_loop: RoundLoop, state: TrainingState, checkpoints: Checkpoints
    ) -> TrainingState:
        """Judge the finished model that a run goes on from, before round 1.

        On validation images it is round 0 of those to choose from, so a run that makes it no better
        delivers it as it was. It is no candidate if it begins as another model than it was, with
        more classes or without stores' own parts; nor in a closed form, which solves anew, for
        example without a store that is to be forgotten.

        Raises OSError.
        """
        config = self.start.plan.config
        origin = self.start.origin
        class_retention.judge(origin, round_loop, self.directory)
        if state.round or state.best or origin is None:
            return state
        if origin.saved.spec.classes != self.start.plan.spec.classes:
            return state
        if config.run.deliver == "last" or round_loop.personal or round_loop.strategy.closed_form:
            return state
        deciding = round_loop.validation_scores(state).deciding()
        if deciding is None:
            return state
        best, _ = best_round(state, state.round, deciding, config.evaluation.metric)
        return checkpoints.save(replace(state, best=best))

    def _record_round(
        self, state: TrainingState, checkpoints: Checkpoints, done: int
    ) -> TrainingState:
        """Record a round in the history, and in a checkpoint if one is due.

        One is also due if this is the best round.

        Args:
            done: the round that the history ends with; if it is not an earlier one, it was taken
                back
        """
        if state.round <= done:
            self.directory.take_back(state.round)
            self.directory.mend_history(state.record)
            return checkpoints.put_back(state)
        # stores open no second sum of a round, so no finished round may be played again
        is_summed = self.start.plan.config.privacy.secure_sum
        if (
            is_summed
            or checkpoints.is_due()
            or (state.best is not None and state.best.round == state.round)
        ):
            state = self._checkpoint(state, checkpoints)
        assert state.record is not None
        self.directory.append(dict(state.record))
        return state

    def _checkpoint(self, state: TrainingState, checkpoints: Checkpoints) -> TrainingState:
        """Make everything up to this state durable: first the rounds before it, then the state."""
        if state.committed == state.round:
            return state
        self.directory.sync_history()
        return checkpoints.save(state)

    def _is_over(self, state: TrainingState) -> bool:
        patience = self.start.plan.config.evaluation.patience
        return state.round >= self.start.plan.config.run.rounds or (0 < patience <= state.stale)

    def _restore_history(self, state: TrainingState, events: TensorBoardLog) -> list[Record]:
        """Bring history and curves in line with the checkpoint, and show the recorded rounds."""
        recorded = self.directory.mend_history(state.record)
        for record in recorded:
            self.observer.row(record)
        for record in recorded[-1:]:
            # a kill may have come between history and curves; the log drops a repetition
            events.add(record)
        return recorded

    def _remark(self, recorded: list[Record]) -> dict[str, Any]:
        """Return the remark for the first coming round's history line.

        Tell the observer of new settings.
        """
        settings = operator_settings.remark(recorded, self.start.plan.config)
        key = operator_settings.SETTINGS_CHANGED
        if changed := {**self.remark.get(key, {}), **settings.get(key, {})}:
            settings[key] = changed
        if changes := operator_settings.format_changes(settings):
            self.observer.note(changes)
        weights = self.start.initial_weights if not recorded else None
        return {**self.remark, **settings, **({"initial_weights": weights} if weights else {})}

    def _finish(
        self, round_loop: RoundLoop, checkpoints: Checkpoints, state: TrainingState
    ) -> dict[str, Any]:
        """Judge and write the model that is delivered, and the run's outcome."""
        self.observer.doing(RunActivity(RunStatus.FINISHING))
        delivery = deliver(self.start.plan.config, state, checkpoints)
        delivered = delivery.state
        evaluation = evaluate_final_model(round_loop, delivered)
        summary = self._summary(state, "finished" if self._is_over(state) else "stopped", None)
        summary |= {
            "weights_sha256": weights_sha256(self.start.plan, delivered),
            "delivered_round": delivered.round,
            "delivered_because": delivery.because,
            **evaluation.to_summary(self.directory, self.runtime.stores()),
            **self._retention_summary(round_loop, evaluation.scores),
            "initial_weights": self.start.initial_weights,
            "contribution": contribution.to_summary(self.directory.history()),
        }
        if (scenes := self.evaluators.scenes) is not None:
            threshold = (summary["counting"] or {}).get("threshold")
            summary["scenes_file"] = scenes.write_examples(
                delivered.model, threshold, self.directory.path
            )
        names = read_from_run(self.directory.path)
        summary["model_sha256"] = write_model(
            self.directory.path, self.start.plan, delivered, summary, names
        )
        self.directory.write("summary.json", summary)
        self._report()
        return summary

    def _retention_summary(self, round_loop: RoundLoop, scores: Scores) -> dict[str, Any]:
        """Return the summary's part on the finished model that the run went on from.

        It has the accuracy on that model's classes.
        """
        if (origin := self.start.origin) is None:
            return {"resumed_from": None}
        before = class_retention.judge(origin, round_loop, self.directory)
        after = class_retention.confusions(scores)
        old = origin.saved.spec.classes
        classes = self.start.plan.spec.classes
        retention = class_retention.to_summary(old, classes, before, after)
        return {"resumed_from": self._origin(), "old_classes": retention}

    def _origin(self) -> dict[str, Any] | None:
        return provenance(self.start.origin.saved) if self.start.origin else None

    def _report(self) -> None:
        """Draw the pictures and the page. A fault in them must never end the run."""
        from fedshelf.server.report.page import write_report
        from fedshelf.server.report.png import write_pictures

        try:
            write_pictures(self.directory.path)
            write_report(self.directory.path)
        except Exception as error:
            self.observer.note(
                f"The report could not be written ({error}); the model is not affected."
            )

    def _write_unfinished(self, state: TrainingState, status: str, reason: str) -> None:
        nothing: dict[str, Any] = {
            "weights_sha256": weights_sha256(self.start.plan, state),
            "test": None,
            "per_store": None,
        }
        self.directory.write("summary.json", self._summary(state, status, reason) | nothing)

    def _summary(self, state: TrainingState, status: str, reason: str | None) -> dict[str, Any]:
        """Return the part of the summary that needs no evaluation of the model."""
        totals = state.totals
        standing = Standing.of(state.record)
        seconds = {
            phase: totals.seconds.get(phase, 0.0)
            for phase in ("train", "aggregate", "evaluate", "total")
        }
        return {
            **{"status": status, "reason": reason, "rounds": state.round},
            "objective": self.start.plan.config.train.objective,
            "best": (
                {
                    "round": state.best.round,
                    "accuracy": state.best.accuracy,
                    "on": state.best.on,
                }
                if state.best
                else None
            ),
            "seconds": {
                "startup": self.startup_seconds,
                **seconds,
                "total": seconds["total"] + self.startup_seconds,
            },
            "images_per_second": totals.images / seconds["train"] if seconds["train"] else 0.0,
            "bytes": {"down": totals.bytes_down, "up": totals.bytes_up},
            "stores": len(self.runtime.stores()),
            STORE_RECORD_KEY: (state.record or {}).get(STORE_RECORD_KEY),
            PHOTO_RECORD_KEY: (state.record or {}).get(PHOTO_RECORD_KEY),
            "suspicion": dict(standing.suspects),
            "set_aside": dict(standing.set_aside),
            FORGOTTEN: {
                store: when
                for record in self.directory.history()
                for store, when in record.get(FORGOTTEN, {}).items()
            },
            "taken_back": [
                record["taken_back"]
                for record in self.directory.history()
                if "taken_back" in record
            ],
            "parameters": len(state.params),
            "personal": list(
                strategies.build(
                    self.start.plan.config.strategy, self.start.layout
                ).personal_tensors()
            ),
            "model": json.loads(self.start.plan.spec.to_json()),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": importlib.metadata.version("fedshelf"),
        }


__all__ = ["Record", "StopRequest", "Training"]
