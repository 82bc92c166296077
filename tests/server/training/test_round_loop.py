"""The round loop over stores whose answers can be worked out by hand."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fedshelf.common.errors import StoppedError, StoresError
from fedshelf.common.metrics.calibration import TEMPERATURES
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import Failure, Update
from fedshelf.server.results.run_status import RunActivity, RunStatus
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.updates.buffer import DiskBuffer, InMemoryBuffer
from fedshelf.server.updates.evaluator import Evaluators
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector


def rounds_of(runtime: Targets, notes: Notes, judge=None, **settings: object) -> RoundLoop:
    return RoundLoop(plan_of(**settings), ONE, runtime, notes, lambda: False, Evaluators(judge))


def test_a_round_averages_what_came_back(notes: Notes) -> None:
    rounds = rounds_of(Targets({"a": 4.0, "b": 8.0}), notes)
    state, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert state.params.tolist() == [3.0]  # halves: 2 and 4
    assert (state.round, record["round"], record["sampled"]) == (1, 1, ["a", "b"])
    assert record["train"] == {"loss": 1.0, "images": 20, "squared_step": 9.0}  # from 0 to 3
    assert [told["contribution"] for told in record["stores"].values()] == pytest.approx(
        [1 / 3, 2 / 3]
    )
    assert record["bytes"] == {"down": 2 * 4, "up": 2 * 4}


def test_failures_are_named_and_the_others_count_as_if_they_were_alone(notes: Notes) -> None:
    runtime = Targets({"a": 4.0, "b": 8.0, "c": 100.0})
    runtime.broken = {"c": Failure("c", "timeout", "no answer in time")}
    rounds = rounds_of(runtime, notes)
    state, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert state.params.tolist() == [3.0]
    assert record["failed"] == {"c": {"code": "timeout", "reason": "no answer in time"}}
    assert list(record["stores"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Update("c", 1, torch.tensor([float("nan")]), 10, 1.0, 0.1), "not finite"),
        (Update("c", 1, torch.tensor([float("inf")]), 10, 1.0, 0.1), "not finite"),
        (Update("c", 7, torch.tensor([1.0]), 10, 1.0, 0.1), "answers round 7, not round 1"),
        (Update("c", 1, torch.tensor([1.0, 2.0]), 10, 1.0, 0.1), r"shape \(2,\)"),
        (Update("c", 1, torch.tensor([1.0]).double(), 10, 1.0, 0.1), "float64"),
        (Update("c", 1, torch.tensor([1.0]), -9, 1.0, 0.1), "claims -9 images"),
        (
            Update("c", 1, torch.tensor([1.0]), 10, 1.0, 0.1, {"x": torch.tensor([1.0])}),
            "has the extras x",
        ),
    ],
)
def test_bad_updates_are_dropped_with_a_reason(notes: Notes, bad: Update, reason: str) -> None:
    runtime = Targets({"a": 4.0, "b": 8.0, "c": 100.0})
    runtime.broken = {"c": bad}
    rounds = rounds_of(runtime, notes)
    state, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert state.params.tolist() == [3.0]
    assert record["failed"]["c"]["code"] == "invalid"
    assert re.search(reason, record["failed"]["c"]["reason"])


def test_a_stranger_and_a_repeated_answer_do_not_count(notes: Notes) -> None:
    class Echo(Targets):
        def train(self, order, stores):
            for answer in super().train(order, stores):
                yield answer
                yield answer
            yield Update("stranger", order.round, torch.tensor([1e6]), 10**9, 0.0, 0.0)

    rounds = rounds_of(Echo({"a": 4.0, "b": 8.0}), notes)
    assert rounds.play(rounds.initial_state(vector(0.0)))[0].params.tolist() == [3.0]


def test_silence_is_a_timeout(notes: Notes) -> None:
    class Mute(Targets):
        def train(self, order, stores):
            return (answer for answer in super().train(order, stores) if answer.store != "b")

    rounds = rounds_of(Mute({"a": 4.0, "b": 8.0}), notes)
    _, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert record["failed"]["b"]["code"] == "timeout"


def test_without_a_quorum_the_run_ends_and_names_the_missing(notes: Notes) -> None:
    runtime = Targets({"a": 4.0, "b": 8.0})
    runtime.broken = {"b": Failure("b", "data", "the store's images cannot be used")}
    rounds = rounds_of(runtime, notes, cohort__min_stores=2)
    with pytest.raises(
        StoresError, match="Round 1 did not reach the quorum of 2 stores: b: the store's images"
    ):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert len(runtime.asked) == 3  # it was tried again before


def test_waiting_for_stores_is_bounded_and_says_who_is_there(notes: Notes) -> None:
    rounds = rounds_of(Targets({"a": 4.0}), notes, cohort__min_stores=3, cohort__wait=0)
    with pytest.raises(StoresError, match=r"1 of the 3 stores needed joined within 0 s \(a\)"):
        rounds.play(rounds.initial_state(vector(0.0)))


def test_the_watcher_hears_what_a_round_does(notes: Notes) -> None:
    rounds = rounds_of(Targets({"a": 4.0, "b": 8.0}), notes)
    rounds.play(rounds.initial_state(vector(0.0)))
    assert notes.done == [
        RunActivity(RunStatus.TRAINING, 1, ("a", "b")),
        RunActivity(RunStatus.JUDGING, 1),
    ]


def test_waiting_is_told_from_being_blocked(notes: Notes) -> None:
    class Resting(Targets):
        """Store b is there, but asleep, and away at the third look; then somebody stops the run."""

        looks = 0

        def held_back(self) -> dict[str, str]:
            self.looks += 1
            return {"b": "its policy does not allow it (hours)"} if self.looks < 3 else {}

    runtime = Resting({"a": 4.0})
    rounds = RoundLoop(
        plan_of(cohort__min_stores=2), ONE, runtime, notes, lambda: runtime.looks == 3
    )
    with pytest.raises(StoppedError):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert [(doing.status, doing.stores, doing.needed, doing.why) for doing in notes.done] == [
        (RunStatus.BLOCKED, ("a",), 2, "b: its policy does not allow it (hours)"),
        (RunStatus.WAITING, ("a",), 2, ""),
    ]


def test_best_round_is_chosen_on_validation_and_early_stopping_counts(notes: Notes) -> None:
    rounds = rounds_of(Targets({"a": 8.0}, held_out=8), notes, judge=lambda _: Counts.zero(2))
    state = rounds.initial_state(vector(0.0))
    for _ in range(3):
        state, record = rounds.play(state)  # params 4, 6, 7: as many of 8 right
    assert record["validation"]["accuracy"] == 7 / 8
    assert state.best is not None
    assert (state.best.round, state.best.accuracy, state.best.on, state.stale) == (
        3,
        7 / 8,
        "validation",
        0,
    )
    rounds.runtime.targets["a"] = 0.0  # from here it gets worse
    for _ in range(2):
        state, _ = rounds.play(state)
    assert (state.best.round, state.stale) == (3, 2)


def test_evaluation_keeps_its_rhythm_and_the_last_round(notes: Notes) -> None:
    rounds = rounds_of(Targets({"a": 8.0}, held_out=8), notes, evaluation__every=2, run__rounds=5)
    state = rounds.initial_state(vector(0.0))
    seen = []
    for _ in range(5):
        state, record = rounds.play(state)
        seen.append(record["validation"] is not None)
    assert seen == [False, True, False, True, True]


@pytest.mark.parametrize(
    "settings", [{"run__rounds": 3}, {"run__deliver": "last", "evaluation__patience": 1}]
)
def test_the_last_rounds_model_is_judged_once_on_validation(
    notes: Notes, settings: dict[str, Any]
) -> None:
    runtime = Targets({"a": 8.0}, held_out=8)
    rounds = rounds_of(runtime, notes, **settings)
    state = rounds.initial_state(vector(0.0))
    for _ in range(2):
        state, _ = rounds.play(state)
    earlier = state
    runtime.targets["a"] = 0.0  # a round without progress, with which early stopping ends the run
    state, record = rounds.play(state)
    judged = rounds.validation_scores(state).together()
    assert judged is not None
    assert judged.accuracy == record["validation"]["accuracy"]
    assert [each for each in runtime.judgements if each[0] == 3] == [
        (3, "validation", len(TEMPERATURES))
    ]
    # a better round, judged without temperatures while nobody knew that it is the best
    rounds.validation_scores(earlier)
    assert runtime.judgements[-1] == (2, "validation", len(TEMPERATURES))


def test_rounds_over_updates_on_disk_are_the_same_to_the_bit_and_leave_no_file(
    notes: Notes, tmp_path: Path
) -> None:
    found = []
    for held in (InMemoryBuffer(), DiskBuffer(tmp_path / "updates")):
        runtime = Targets({"a": 4.1, "b": 8.3, "c": 2.7})
        runtime.broken = {"b": Update("b", 1, torch.tensor([float("nan")]), 10, 1.0, 0.1)}
        plan = plan_of(strategy__name="fedadam", run__rounds=3)
        rounds = RoundLoop(plan, ONE, runtime, notes, lambda: False, buffer=held)
        state = rounds.initial_state(vector(0.1))
        for _ in range(2):
            state, record = rounds.play(state)
            assert list(tmp_path.iterdir()) == []
        found.append((state.params.tolist(), record["stores"], record["failed"], record["bytes"]))
    assert found[0] == found[1]
