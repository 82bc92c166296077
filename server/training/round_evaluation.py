"""Evaluation of a model on all held-out images, at the stores and at the server."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from fedshelf.common.metrics.calibration import TEMPERATURES
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    StoreInfo,
    SumTotal,
)
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.scores import Scores
from fedshelf.server.runtime import Runtime
from fedshelf.server.updates import secure_sums
from fedshelf.server.updates.evaluator import ModelEvaluator
from fedshelf.server.updates.image_cap import ImageCap
from fedshelf.server.updates.screening import MAX_REPORTED, screen_evaluations


class RoundEvaluator:
    """Evaluates the models of one run.

    Args:
        test: evaluates on the server's own test images, or None
        validation: evaluates on images that the server holds out to choose rounds by, or None
        cap: the number of images that a store may count for
    """

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        test: ModelEvaluator | None,
        validation: ModelEvaluator | None,
        cap: ImageCap,
    ) -> None:
        self._plan = plan
        self._runtime = runtime
        self._test = test
        self._validation = validation
        self._cap = cap
        # of the last round judged with temperatures
        self._remembered: tuple[int, Scores] | None = None
        # by (split, round): no round is summed twice
        self._summed: dict[tuple[str, int], Mapping[str, Evaluation]] = {}

    def after_round(self, state: TrainingState, *, may_be_last: bool) -> Scores:
        """Judge a round's model on validation images and on the server's test images.

        Args:
            may_be_last: the model may be delivered as the last one, which needs a temperature;
                judging with temperatures now saves a second evaluation
        """
        self._remembered = None  # it may belong to this round's first model, which was taken back
        scores = self._validate(state, TEMPERATURES if may_be_last else ())
        return replace(scores, test=self._test(state.model) if self._test else None)

    def on_validation(self, state: TrainingState) -> Scores:
        """Judge a state's model on validation images, with its confidence at `TEMPERATURES`."""
        return self._validate(state, TEMPERATURES)

    def on_test(
        self, state: TrainingState, temperatures: tuple[float, ...], *, is_adjusted: bool
    ) -> Scores:
        """Judge a state's model on the server's and the stores' test images.

        Its confidence is measured at `temperatures`.

        Args:
            is_adjusted: whether stores use it with their adjustments (see `server.results.scores`)
        """
        stores = self._at_stores(state, "test", temperatures, set())
        return Scores.of(
            self._test(state.model, temperatures) if self._test else None, stores, is_adjusted
        )

    def _validate(self, state: TrainingState, temperatures: tuple[float, ...]) -> Scores:
        if self._remembered is None or self._remembered[0] != state.round:
            lost: set[str] = set()
            stores = self._at_stores(state, "validation", temperatures, lost)
            own = self._validation
            held_out = own(state.model, temperatures) if own and not stores else None
            found = replace(Scores.of(None, stores), held_out=held_out, diverged=frozenset(lost))
            if not temperatures:
                return found
            self._remembered = state.round, found
        return self._remembered[1]

    def _at_stores(
        self,
        state: TrainingState,
        split: Literal["validation", "test"],
        temperatures: tuple[float, ...],
        lost: set[str],
    ) -> Mapping[str, Evaluation]:
        """Return evaluations by store, in store order, on the images that stores hold out.

        The result is empty if the settings do not ask stores to evaluate.

        Args:
            lost: the names of stores that found no finite loss are added to it
        """
        if not self._plan.config.evaluation.stores:
            return {}
        stores = {
            name: n
            for name, info in sorted(self._runtime.stores().items())
            if (n := _images(info, split))
        }
        if self._plan.config.privacy.secure_sum:
            return self._sum_over(state, split, stores) if stores else {}
        order = EvaluateOrder(self._plan, state.round, state.model, split, temperatures)
        answers = self._runtime.evaluate(order, list(stores)) if stores else []
        return self._cap.judged(
            screen_evaluations(_noted(answers, lost), order, stores), stores, split
        )

    def _sum_over(
        self, state: TrainingState, split: Literal["validation", "test"], stores: Mapping[str, int]
    ) -> Mapping[str, Evaluation]:
        """Return the sum of the stores' evaluations, as that of one store.

        Args:
            stores: the images that each has said to hold out
        """
        place = (split, state.round)
        if place not in self._summed:
            order = EvaluateOrder(
                self._plan,
                state.round,
                state.model,
                split,
                terms=secure_sums.judgement_terms(self._plan.config, stores),
            )
            answers = self._runtime.evaluate(order, list(stores))
            self._summed[place] = secure_sums.judgements(order, answers)
        return self._summed[place]


def _noted(
    answers: Iterable[Evaluation | SumTotal | Failure], lost: set[str]
) -> Iterator[Evaluation | Failure]:
    """Pass answers on, and add to `lost` the stores without a finite loss.

    A loss beyond MAX_REPORTED counts as not finite. A loss that a store withholds says nothing.
    """
    for answer in answers:
        assert not isinstance(answer, SumTotal), "nobody asked for a sum"
        if (
            isinstance(answer, Evaluation)
            and answer.counts.loss_sum is not None
            and not answer.counts.loss <= MAX_REPORTED
        ):
            lost.add(answer.store)
        yield answer


def _images(info: StoreInfo, split: str) -> int:
    return info.test if split == "test" else info.validation
