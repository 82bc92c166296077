"""A quorum that is missed because a store's answers are of no use."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from fedshelf.common.config import STORES_OWN
from fedshelf.common.errors import StoppedError, StoresError
from fedshelf.common.protocol.messages import Failure, StoreInfo, TrainOrder, Update
from fedshelf.server.results.run_status import RunStatus
from fedshelf.server.training import quorum
from fedshelf.server.training.quorum import MAX_COHORTS_PER_ROUND
from fedshelf.server.training.round_loop import RoundLoop
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector

WRONG = Failure("bad", "invalid", "answers round 7, not round 1")
REAL = {"data__dataset": STORES_OWN, "cohort__min_stores": 2}


class Joining(Targets):
    """The stores good and bad, whose answers are of no use. At the n-th look after bad was left
    alone, store late joins.
    """

    def __init__(self, joins_at: int | None = None) -> None:
        super().__init__({"good": 4.0, "bad": 0.0})
        self.broken = {"bad": WRONG}
        self.joins_at = joins_at
        self.looks = 0

    def stores(self) -> Mapping[str, StoreInfo]:
        self.looks += len(self.asked) >= MAX_COHORTS_PER_ROUND
        if self.looks == self.joins_at:
            self.targets["late"] = 8.0
        return super().stores()


def loop_of(
    runtime: Targets, notes: Notes, stop: Callable[[], bool] = lambda: False, **settings: object
) -> RoundLoop:
    return RoundLoop(plan_of(**settings), ONE, runtime, notes, stop)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_store_that_joins_completes_the_round_in_place_of_one_that_answers_wrongly(
    looks: int, notes: Notes
) -> None:
    runtime = Joining(joins_at=looks)
    rounds = loop_of(runtime, notes, **REAL)
    state, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.asked == [["bad", "good"]] * MAX_COHORTS_PER_ROUND + [["good", "late"]]
    assert state.params.tolist() == [3.0]  # the mean of 2 and 4
    assert record["sampled"] == ["good", "late"]
    # in the next round, the store gets another chance
    runtime.broken.clear()
    assert rounds.play(state)[1]["sampled"] == ["bad", "good", "late"]


def test_the_wait_for_another_store_ends_and_names_who_answered_wrongly(notes: Notes) -> None:
    runtime = Joining()
    rounds = loop_of(runtime, notes, **REAL, cohort__wait=0)
    with pytest.raises(
        StoresError, match=r"^Round 1 did not reach the quorum of 2 stores: bad: answers round 7"
    ):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert len(runtime.asked) == MAX_COHORTS_PER_ROUND


def test_while_the_run_waits_it_can_be_stopped_asks_nobody_and_says_for_what(notes: Notes) -> None:
    runtime = Joining()
    rounds = loop_of(runtime, notes, lambda: runtime.looks > 3, **REAL)
    with pytest.raises(StoppedError, match=r"^1 of the 2 stores needed had joined \(good\)$"):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert len(runtime.asked) == MAX_COHORTS_PER_ROUND
    waited = [doing for doing in notes.done if doing.status is RunStatus.BLOCKED]
    assert [(doing.stores, doing.needed) for doing in waited] == [(("good",), 2)]
    assert waited[0].why.startswith("bad: answers round 7, not round 1, until ")
    assert "Round 1: other stores may take part for 600 s; then the run ends." in notes.notes


def test_a_store_whose_rest_is_over_is_asked_once_more(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quorum, "LEAVE_ALONE_SECONDS", 0.0)

    class Mending(Joining):
        def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
            if len(self.asked) == MAX_COHORTS_PER_ROUND:
                self.broken.clear()
            return super().train(order, stores)

    runtime = Mending()
    rounds = loop_of(runtime, notes, **REAL)
    _, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert record["sampled"] == ["bad", "good"]
    assert len(runtime.asked) == MAX_COHORTS_PER_ROUND + 1


def test_stores_that_are_there_already_take_its_place_also_where_no_store_can_join(
    notes: Notes,
) -> None:
    """Each cohort of two has a store that answers wrongly, but the last one of all."""
    runtime = Targets(dict.fromkeys(("bad", "good", "late", "worse", "worst"), 4.0))
    runtime.broken = {
        name: Failure(name, "data", "its images cannot be used")
        for name in ("bad", "worse", "worst")
    }
    rounds = loop_of(runtime, notes, cohort__min_stores=2, cohort__fraction=0.4)
    _, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert record["sampled"] == ["good", "late"]
    late = runtime.asked[MAX_COHORTS_PER_ROUND:]
    refused = [name for cohort in late for name in cohort if name in runtime.broken]
    assert len(refused) == len(set(refused))


def test_a_simulation_ends_at_once(notes: Notes) -> None:
    """Its stores are all there: the default wait of ten minutes would be in vain."""
    runtime = Joining()
    rounds = loop_of(runtime, notes, cohort__min_stores=2)
    with pytest.raises(StoresError, match="did not reach the quorum of 2 stores: bad"):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.looks == 1
    assert RunStatus.BLOCKED not in {doing.status for doing in notes.done}


def test_a_model_from_which_everybody_diverges_is_not_waited_for(notes: Notes) -> None:
    runtime = Joining()
    runtime.broken = {
        name: Update(name, 1, vector(float("nan")), 10, 1.0, 0.1) for name in ("bad", "good")
    }
    rounds = loop_of(runtime, notes, **REAL)
    with pytest.raises(StoresError, match="all stores' training diverges"):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.looks == 0
