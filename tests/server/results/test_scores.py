"""By which scores stores use a model: chosen for the lower loss of all their validation images
together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, Failure
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.round_loop import RoundLoop
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector


def counts(right: int, wrong: int, loss: float) -> Counts:
    return Counts(np.array([[right, wrong], [0, 0]]), loss)


def both(store: str, raw_loss: float, adjusted_loss: float) -> Evaluation:
    return Evaluation(store, 1, counts(1, 9, raw_loss), counts(8, 2, adjusted_loss))


def test_the_lower_sum_of_losses_over_all_stores_decides() -> None:
    # a loses 3 by it and b gains 4
    scores = Scores.of(None, {"a": both("a", 5.0, 8.0), "b": both("b", 9.0, 5.0)})
    assert scores.is_adjusted
    assert [found.accuracy for found in scores.stores.values()] == [0.8, 0.8]
    scores = Scores.of(None, {"a": both("a", 5.0, 8.0), "b": both("b", 7.0, 5.0)})
    assert not scores.is_adjusted
    assert [found.accuracy for found in scores.stores.values()] == [0.1, 0.1]
    deciding = scores.deciding()
    assert deciding is not None
    assert (deciding[0], deciding[1].accuracy, deciding[1].loss_sum) == ("validation", 0.1, 12.0)


def test_what_was_chosen_on_other_images_stands() -> None:
    found = {"a": both("a", 5.0, 8.0)}
    assert Scores.of(None, found, is_adjusted=True).stores["a"].accuracy == 0.8
    assert Scores.of(None, found, is_adjusted=False).stores["a"].accuracy == 0.1


def test_a_store_without_an_adjustment_counts_as_it_is_both_ways() -> None:
    scores = Scores.of(
        None, {"a": both("a", 9.0, 5.0), "b": Evaluation("b", 1, counts(5, 5, 100.0))}
    )
    assert list(scores.stores) == ["a", "b"]
    ways = scores.ways()
    assert ways["raw"].accuracy == pytest.approx(6 / 20)
    assert ways["adjusted"].accuracy == pytest.approx(13 / 20)
    assert ways["adjusted"].loss_sum == 105.0


def test_without_any_adjustment_there_is_one_way() -> None:
    scores = Scores.of(counts(3, 1, 1.0), {"a": Evaluation("a", 1, counts(5, 5, 1.0))})
    assert list(scores.ways()) == ["raw"]
    assert scores.stores == scores.raw
    assert Scores.of(None, {}).ways() == {}
    test = counts(3, 1, 1.0)
    assert Scores.of(test, {}).deciding() == ("test", test)


class Adjusting(Targets):
    """Each store's adjustment makes all of its ten images right, and the loss what is given for the
    round.
    """

    losses: Mapping[int, float]

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        for answer in super().evaluate(order, stores):
            assert isinstance(answer, Evaluation)
            right = Counts(np.array([[10, 0], [0, 0]]), self.losses[order.round])
            yield replace(answer, adjusted=right)


def test_a_round_is_told_and_chosen_by_the_scores_that_stores_use() -> None:
    runtime = Adjusting({"a": 4.0, "b": 8.0}, held_out=10)
    runtime.losses = {1: 2.0, 2: 0.5}  # where the raw one is 1
    plan = plan_of(strategy__absent_classes="weigh", run__rounds=2)
    rounds = RoundLoop(plan, ONE, runtime, Notes(), lambda: False)
    state, first = rounds.play(
        rounds.initial_state(vector(0.0))
    )  # moves to 3: three of ten images right
    assert (
        first["adjustment"],
        first["validation"]["accuracy"],
        first["validation_raw"]["accuracy"],
    ) == (
        "raw",
        0.3,
        0.3,
    )
    state, second = rounds.play(state)
    assert second["adjustment"] == "adjusted"
    assert (second["validation"]["accuracy"], second["validation_raw"]["accuracy"]) == (1.0, 0.4)
    assert [found["accuracy"] for found in second["validation"]["stores"].values()] == [1.0, 1.0]
    assert state.best is not None
    assert (state.best.round, state.best.accuracy) == (2, 1.0)
