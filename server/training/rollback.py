"""Rollback of a round whose model cannot be used.

It is played again without the store that explains it.

If honest training diverges because the learning rate is too large, no store is at fault. A store is
named only if its update stands far out from the others' and the model is usable without it. If no
update explains the fault and nobody finds the model usable, the round is also taken back and played
again with another cohort; nobody is named. If that model cannot be used either, the run ends, and
says that the learning rate is too large or that a store does harm.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.errors import StoresError
from fedshelf.common.protocol.failures import DIVERGED, Failure
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.tasks import task_of
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.round_record import NextModel
from fedshelf.server.updates.buffer import UpdateBuffer
from fedshelf.server.updates.norm_bound import UsualNorms, usual
from fedshelf.server.updates.reputation import Reputation
from fedshelf.server.updates.screening import RoundOutcome
from fedshelf.server.updates.store_findings import Standing

OUTLIER_NORM_FACTOR = 10.0  # times the usual norm of the others' updates
# times the loss before, or that of a model that knows nothing (`Task.ignorant_loss`)
EXPLODED_LOSS_FACTOR = 10.0


class EverybodyDivergedError(Exception):
    """The training of all stores from the last round's model diverged.

    Args:
        store: the store whose update stood out in that model, and whose own training may not have
            diverged; None: no update stood out, and nobody has judged that model
    """

    def __init__(self, store: str | None) -> None:
        super().__init__(store)
        self.store = store


class UnusableModelError(Exception):
    """The model of a round cannot be used, and no store's update explains it.

    Args:
        fault: the reason in words
    """

    def __init__(self, round_number: int, fault: str) -> None:
        super().__init__(fault)
        self.round = round_number
        self.fault = fault


class Rollback:
    """Checks the new models of one run, and takes a round back if its model cannot be used.

    held:    the updates of the round
    before:  the state that the last round began with, as long as this process remembers it
    """

    def __init__(
        self, plan: Plan, buffer: UpdateBuffer, reputation: Reputation, note: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._buffer = buffer
        self._reputation = reputation
        self._note = note
        self._ignorant_loss = task_of(plan.spec).ignorant_loss(len(plan.spec.classes))
        self.before: TrainingState | None = None
        # the last round that was taken back without a store's update to explain it
        self._unexplained = 0

    def usable_model(
        self,
        state: TrainingState,
        next_model: NextModel,
        build: Callable[[RoundOutcome], NextModel],
    ) -> NextModel:
        """Return a round's model, or one without the update that stands out.

        The second one is taken only if it is usable.

        Args:
            build: makes a model of the round's updates

        Raises:
            UnusableModelError: neither is usable and the model is not finite, or all who judged it
                find it unusable
        """
        if (fault := self._fault(next_model, state)) is None:
            return next_model
        trained = next_model.trained
        round_number = trained.order.round
        store = find_outlier(trained.norms, UsualNorms.of(state.record))
        # without the store there must still be a quorum
        if store is not None and len(trained.updates) > self._plan.config.cohort.min_stores:
            self._buffer.drop(store)
            why = (
                f"its update in round {round_number} made a model that cannot be used ({fault}),"
                " and was taken back"
            )
            # the proof: a store is named only if the same round is good without it
            again = build(trained.without(store, why, self._buffer.updates()))
            if self._fault(again, state) is None:
                self._reputation.exclude({store: why})
                standing = again.standing.with_aside(store, why)
                return replace(
                    again,
                    standing=standing,
                    taken_back={"store": store, "round": round_number, "reason": why},
                )
        if is_finite(next_model.after) and not is_unusable_to_all(
            next_model.scores, state.record, self._ignorant_loss
        ):
            return next_model
        raise UnusableModelError(round_number, fault)

    def replay(self, state: TrainingState, error: UnusableModelError) -> dict[str, Any]:
        """Take back a round that no store's update explains, and return its entry for the history.

        The round is then played once more. Raises StoresError the second time, and the first time
        in a run with secure sums: no round is summed twice.
        """
        if self._plan.config.privacy.secure_sum or self.is_redrawn(error.round):
            twice = "" if self._plan.config.privacy.secure_sum else ", with another cohort, too,"
            raise StoresError(
                f"Round {error.round} makes a model that cannot be used ({error.fault}){twice}"
                " and no store's update explains it: the learning rates are"
                " too large (train.lr, strategy.server_lr; train.clip_norm bounds a gradient), or"
                " a store does harm without standing out. Start a new run with lower ones; this"
                f" one is saved up to round {state.round}."
            )
        return self._take_back_unexplained(
            error.round, f"it made a model that cannot be used ({error.fault})", ""
        )

    def is_redrawn(self, round_number: int) -> bool:
        """Return whether a round is played again with another cohort."""
        return self._unexplained == round_number

    def _take_back_unexplained(self, round_number: int, why: str, where: str) -> dict[str, Any]:
        self._unexplained = round_number
        self._note(
            f"Round {round_number} is taken back, and played with another cohort: {why}, and no"
            " store stands out."
        )
        return {
            "store": None,
            "round": round_number,
            "reason": f"{why}, and no store's update explains it{where}",
        }

    def restore_before(
        self,
        state: TrainingState,
        store: str | None,
        earlier: Callable[[int], TrainingState | None],
    ) -> tuple[TrainingState, Standing, dict[str, Any]]:
        """Go back to the state before the round in which `store` spoilt the model.

        Returns that state, the stores' standing there without the store, and the entry for the
        history.

        Args:
            store: None: nobody knows which one it was
            earlier: returns the last saved state before that of a round, or None

        Raises:
            StoresError: that state is gone, or the same happened before and no store explains it,
                or the run has secure sums
        """
        if self._plan.config.privacy.secure_sum:  # no round is summed twice
            raise diverged(state.round + 1, self._plan.config.train.lr)
        known = self.before is not None and self.before.round < state.round
        before = self.before if known else earlier(state.round)
        if store is None:
            is_second = self.is_redrawn(state.round) or _is_unexplained(state.record)
            if before is None or is_second:
                raise diverged(state.round + 1, self._plan.config.train.lr)
            where = f"; the run went back to round {before.round}"
            entry = self._take_back_unexplained(
                state.round, "all stores' training from its model diverges", where
            )
            return before, Standing.of(before.record), entry
        if before is None:
            raise StoresError(
                f"Everybody's training from round {state.round}'s model diverges, which {store}'s"
                " update explains, and no earlier round is saved to go on from: start a new run"
                " without this store."
            )
        why = (
            f"its update in round {state.round} made a model from which everybody else's training"
            " diverges"
        )
        self._note(f"Round {state.round} is taken back, and {store} is left out: {why}.")
        entry = {
            "store": store,
            "round": state.round,
            "reason": f"{why}; the run went back to round {before.round}",
        }
        return before, Standing.of(before.record).with_aside(store, why), entry

    def _fault(self, next_model: NextModel, state: TrainingState) -> str | None:
        """Return the reason why a new model cannot be used, or None."""
        if not is_finite(next_model.after):
            return "its weights are not finite"
        return loss_explosion(next_model.scores, state.record, self._ignorant_loss)


def diverged(round_number: int, lr: float) -> StoresError:
    """Return the error for a round in which all training diverged through no store's fault."""
    return StoresError(
        f"Round {round_number}: all stores' training diverges (their weights are not finite), and"
        f" no store's update explains it: train.lr {lr:g} is too large for this model. Start a new"
        f" run with a lower one, or with train.clip_norm; this one is saved up to round"
        f" {round_number - 1}."
    )


def find_outlier(norms: Mapping[str, float], earlier: UsualNorms) -> str | None:
    """Return the store whose update's norm is far beyond the others'; None if there is none.

    The norm of one store alone is compared with those of earlier rounds.
    """
    if not norms:
        return None
    store = max(norms, key=lambda name: norms[name])
    others = {name: norm for name, norm in norms.items() if name != store}
    usually = usual(others) if others else earlier.most
    is_beyond = (
        norms[store] > OUTLIER_NORM_FACTOR * usually
        if others
        else norms[store] > OUTLIER_NORM_FACTOR * usually > 0
    )
    return store if is_beyond else None


def divergence(
    round_number: int, last: Mapping[str, Any] | None, lr: float
) -> StoresError | EverybodyDivergedError:
    """Return the error for a round in which all training diverged and no update explains it.

    last: the last round's line of the history; if somebody has judged that model, or if there is no
          last round, the model is not at fault
    """
    return (
        diverged(round_number, lr)
        if last is None or _recorded_losses(last)
        else EverybodyDivergedError(None)
    )


def _is_unexplained(record: Mapping[str, Any] | None) -> bool:
    """Return whether a round was played once more because no store explained its first model."""
    entry = (record or {}).get("taken_back")
    return entry is not None and entry["store"] is None


def store_to_blame(trained: RoundOutcome, last: Mapping[str, Any] | None) -> str | None:
    """Return the store whose last update explains why all other training diverged.

    Args:
        last: the last round's line of the history
    """
    diverged = {store for store, failure in trained.failed.items() if failure.reason == DIVERGED}
    if not diverged or last is None:
        return None
    norms = {
        store: facts["norm"]
        for store, facts in last["stores"].items()
        if facts.get("norm") is not None
    }
    store = find_outlier(norms, UsualNorms(UsualNorms.of(last).recent[:-1]))
    # the store itself may train well on the model that it has made its own
    others = (diverged | {update.store for update in trained.updates}) - {store}
    return store if others and others <= diverged else None


def is_divergence(failed: Mapping[str, Failure]) -> bool:
    """Return whether there were failures, and all of them because training diverged."""
    return bool(failed) and all(failure.reason == DIVERGED for failure in failed.values())


def is_finite(state: TrainingState) -> bool:
    """Return whether all numbers of a state are finite."""
    vectors: list[Tensor] = [state.params, *state.strategy.values()]
    vectors += [] if state.average is None else [state.average]
    return all(
        bool(torch.isfinite(vector).all()) for vector in vectors if vector.is_floating_point()
    )


def is_unusable_to_all(
    scores: Scores | None, last: Mapping[str, Any] | None, ignorant: float
) -> bool:
    """Return whether all who judged a model find that its loss explodes.

    These are the server with its own images, or else each store that has judged it. The run ends
    for that, so one store whose images the model suits is enough to go on.
    """
    if scores is None or loss_explosion(scores, last, ignorant) is None:
        return False
    if any(counts is not None and counts.num_examples for counts in (scores.test, scores.held_out)):
        return True
    return all(
        counts.loss > EXPLODED_LOSS_FACTOR * _reference_loss(last, ignorant)
        for counts in scores.raw.values()
        if counts.loss_sum is not None
    )


def loss_explosion(
    scores: Scores | None, last: Mapping[str, Any] | None, ignorant: float
) -> str | None:
    """Return words for a loss that is far beyond the last round's; None if it is not.

    It is also None if nobody judged the model.

    The loss is the one on the server's own images, else the median of the stores' (the lower middle
    one of an even number), so that no store alone can make a good model look bad.
    """
    if scores is None or (loss := _deciding_loss(scores)) is None:
        return None
    before = _reference_loss(last, ignorant)
    if loss <= EXPLODED_LOSS_FACTOR * before:
        return None
    return (
        f"its loss is {loss:.3g}, where {before:.3g} was the loss before or that of a model that"
        " knows nothing"
    )


def _reference_loss(last: Mapping[str, Any] | None, ignorant: float) -> float:
    return max([ignorant, *_recorded_losses(last)])


def _deciding_loss(scores: Scores) -> float | None:
    for counts in (scores.test, scores.held_out):
        if counts is not None and counts.num_examples:
            return counts.loss if isfinite(counts.loss) else inf
    told = [counts.loss for counts in scores.raw.values() if counts.loss_sum is not None]
    stores = sorted(told + [inf] * len(scores.diverged))
    return stores[(len(stores) - 1) // 2] if stores else None


def _recorded_losses(record: Mapping[str, Any] | None) -> list[float]:
    results = (
        [record.get(images) for images in ("test", "validation", "validation_raw")]
        if record
        else []
    )
    losses = [
        result["loss"]
        for result in results
        if result is not None and result.get("loss") is not None
    ]
    return [loss for loss in losses if isfinite(loss)]
