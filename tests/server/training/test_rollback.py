"""A model that one store's update has spoilt is taken back; honest training that diverges is
nobody's fault.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.common.errors import RunError, StoresError
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, Failure, TrainOrder, Update
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.run_directory import Record, RunDirectory
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.rollback import find_outlier, is_unusable_to_all, loss_explosion
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.run import StopRequest, Training
from fedshelf.server.training.setup import InitialState
from fedshelf.server.updates.evaluator import Evaluators
from fedshelf.server.updates.norm_bound import UsualNorms
from tests.helpers.by_hand import ONE, Notes, Targets, counts_of, plan_of, vector

# any norm passes, so that what is below has something to do
UNBOUNDED = {"screening__norm_factor": 0}
HUGE = 1e6
SPOILT = 1e3  # weights beyond this: honest training diverges, and every loss is large


class Spoiler(Targets):
    """Honest stores go half-way to their targets, if they can; "evil" sends HUGE in round
    `when`.
    """

    when = 1
    loss = 1.0

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for answer in super().train(order, stores):
            if answer.store == "evil":
                params = vector(HUGE) if order.round == self.when else torch.zeros(1)
            else:
                params = answer.params if order.params.abs().item() < SPOILT else vector(torch.nan)
            yield Update(answer.store, order.round, params, 10, 1.0, 0.1)

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        for answer in super().evaluate(order, stores):
            spoilt = order.params.abs().item() >= SPOILT
            yield Evaluation(
                answer.store,
                order.round,
                Counts(answer.counts.confusion, torch.nan if spoilt else 1.0),
            )


def spoiler(held_out: int = 0) -> Spoiler:
    return Spoiler({"a": 4.0, "b": 8.0, "evil": 0.0}, held_out)


def server_judge(params: torch.Tensor) -> Counts:
    return Counts(counts_of(1, 9).confusion, 10 * (1.0 if params.abs().item() < SPOILT else 1e5))


def rounds_of(runtime: Targets, notes: Notes, judge=None, **settings: object) -> RoundLoop:
    return RoundLoop(
        plan_of(**UNBOUNDED, run__rounds=9, **settings),
        ONE,
        runtime,
        notes,
        lambda: False,
        Evaluators(judge),
    )


def played(rounds: RoundLoop, state: TrainingState) -> tuple[TrainingState, Record]:
    """As a training goes on: the state carries the last round's record."""
    after, record = rounds.play(state)
    return replace(after, record=record), record


@pytest.mark.parametrize(
    ("held_out", "judge", "words"),
    [(0, server_judge, "its loss is 1e+05, where 1 was"), (10, None, "its loss is inf, where")],
    ids=["on the server's images", "at the stores"],
)
def test_a_round_whose_loss_explodes_is_made_again_without_what_explains_it(
    notes: Notes, held_out: int, judge: Callable[..., Counts] | None, words: str
) -> None:
    runtime = spoiler(held_out)
    runtime.when = 2
    rounds = rounds_of(runtime, notes, judge)
    state, _ = played(rounds, rounds.initial_state(vector(0.0)))
    assert state.params.tolist() == [2.0]  # of 2, 4 and 0
    state, record = played(rounds, state)
    assert state.params.tolist() == [4.0]  # of 3 and 5
    assert record["taken_back"]["store"] == "evil"
    assert words in record["taken_back"]["reason"]
    assert list(record["stores"]) == ["a", "b"]
    assert list(record["standing"]["set_aside"]) == list(runtime.left_out) == ["evil"]
    state, record = played(rounds, state)
    assert record["sampled"] == ["a", "b"]
    assert record["standing"]["invalid"] == {"evil": 1}


def test_where_nobody_judges_the_next_round_finds_it_and_the_round_is_played_again(
    notes: Notes,
) -> None:
    runtime = spoiler()
    rounds = rounds_of(runtime, notes)
    state, _ = played(rounds, rounds.initial_state(vector(0.0)))
    assert state.params.item() > SPOILT
    state, record = played(rounds, state)
    assert (state.round, record["round"]) == (1, 1)
    assert state.params.tolist() == [3.0]
    assert record["taken_back"]["store"] == "evil"
    assert (
        "everybody else's training diverges; the run went back to round 0"
        in record["taken_back"]["reason"]
    )
    assert record["standing"]["invalid"] == {}, "honest stores got a strike"
    assert list(runtime.left_out) == ["evil"]
    assert [
        note
        for note in notes.notes
        if note.startswith("Round 1 is taken back, and evil is left out")
    ]
    state, record = played(rounds, state)
    assert (state.round, record["sampled"]) == (2, ["a", "b"])


def test_a_model_that_is_not_finite_is_taken_back_in_its_round(notes: Notes) -> None:
    runtime = spoiler()
    rounds = rounds_of(runtime, notes, strategy__name="fedadam")
    # its square is none in float32
    runtime.broken["evil"] = Update("evil", 1, vector(1e30), 10, 1.0, 0.1)

    class Square(Spoiler):
        def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
            for answer in super().train(order, stores):
                yield runtime.broken["evil"] if answer.store == "evil" else answer

    rounds.runtime = Square(runtime.targets)
    state, record = played(rounds, rounds.initial_state(vector(0.0)))
    assert torch.isfinite(state.params).all()
    assert record["taken_back"]["store"] == "evil"
    assert "its weights are not finite" in record["taken_back"]["reason"]


class Diverging(Targets):
    """All stores' training diverges from round `when` on, as with too large a learning rate."""

    when = 1

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for answer in super().train(order, stores):
            params = answer.params if order.round < self.when else vector(torch.nan)
            yield Update(answer.store, order.round, params, 10, 1.0, 0.1)


def test_honest_divergence_is_told_as_a_setting_and_blames_nobody(notes: Notes) -> None:
    runtime = Diverging({"a": 4.0, "b": 8.0, "c": 40.0})
    rounds = rounds_of(runtime, notes)
    with pytest.raises(
        StoresError, match=r"no store's update explains it: train\.lr 0\.05 is too large"
    ):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.left_out == {}


def test_divergence_from_a_model_that_nobody_judged_takes_its_round_back_once(notes: Notes) -> None:
    runtime = Diverging({"a": 4.0, "b": 8.0, "c": 40.0})
    runtime.when = 2
    rounds = rounds_of(runtime, notes)
    state, _ = played(rounds, rounds.initial_state(vector(0.0)))
    state, record = played(rounds, state)
    assert (state.round, record["taken_back"]["store"]) == (1, None)
    assert (
        "no store's update explains it; the run went back to round 0"
        in record["taken_back"]["reason"]
    )
    for again in (rounds, rounds_of(runtime, notes)):  # also in a process that has just started
        with pytest.raises(
            StoresError, match=r"no store's update explains it: train\.lr 0\.05 is too large"
        ):
            played(again, state)
    assert runtime.left_out == {}


class Exploding(Targets):
    """In rounds `when` all stores' updates, of about the same size, make a model that nobody can
    use.
    """

    when: tuple[int, ...] = ()

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for answer in super().train(order, stores):
            is_bad = self.when[:1] == (order.round,)
            yield Update(
                answer.store, order.round, vector(HUGE) if is_bad else answer.params, 10, 1.0, 0.1
            )
        if self.when[:1] == (order.round,):
            self.when = self.when[1:]


def test_a_loss_that_explodes_without_an_outlier_takes_the_round_back_and_names_nobody(
    notes: Notes,
) -> None:
    runtime = Exploding({"a": 4.0, "b": 8.0})
    runtime.when = (2, 5, 5)
    rounds = rounds_of(runtime, notes, server_judge)
    state = rounds.initial_state(vector(0.0))
    records = []
    for _ in range(4):
        state, record = played(rounds, state)
        records.append(record)
    assert [record["round"] for record in records] == [1, 2, 3, 4]
    assert state.params.item() < SPOILT
    assert [record["round"] for record in records if "taken_back" in record] == [2]
    told = records[1]["taken_back"]
    assert (told["store"], "its loss is 1e+05" in told["reason"]) == (None, True)
    assert [
        note
        for note in notes.notes
        if note.startswith("Round 2 is taken back, and played with another cohort")
    ]
    with pytest.raises(
        StoresError, match=r"Round 5 makes a model that cannot be used .* saved up to round 4"
    ):
        played(rounds, state)
    assert runtime.left_out == {}


def test_a_round_that_is_taken_back_is_played_with_another_cohort(notes: Notes) -> None:
    runtime = Exploding(dict.fromkeys("abcdefgh", 4.0))
    runtime.when = (1,)
    rounds = rounds_of(runtime, notes, server_judge, cohort__fraction=0.5, cohort__min_stores=2)
    played(rounds, rounds.initial_state(vector(0.0)))
    first, second = runtime.asked
    assert set(first) != set(second)


@pytest.mark.parametrize(
    ("losses", "is_so"), [((1e9, 1e9), True), ((1e9, 1e9, 1.0), False), ((), False)]
)
def test_who_can_use_a_model_keeps_a_run_going(losses: tuple[float, ...], is_so: bool) -> None:
    raw = {
        f"store-{place}": Counts(counts_of(9, 1).confusion, loss)
        for place, loss in enumerate(losses)
    }
    assert is_unusable_to_all(Scores(None, raw), None, math.log(2)) is is_so


def test_the_last_round_s_model_is_judged_anew_when_it_is_made_again(notes: Notes) -> None:
    """It is judged with temperatures, once: but not that which was taken back."""
    runtime = spoiler(10)
    rounds = RoundLoop(plan_of(**UNBOUNDED, run__rounds=1), ONE, runtime, notes, lambda: False)
    state, record = played(rounds, rounds.initial_state(vector(0.0)))
    assert (state.params.tolist(), record["taken_back"]["store"]) == ([3.0], "evil")
    assert record["validation"]["loss"] < SPOILT


@pytest.mark.parametrize(
    ("norms", "earlier", "store"),
    [
        ({}, (), None),
        ({"a": 1.0, "b": 1.2, "c": 11.9}, (), None),  # less than ten times the larger of the others
        ({"a": 1.0, "b": 1.2, "c": 12.1}, (), "c"),
        ({"a": 1.0, "b": 10.1}, (), "b"),
        ({"a": 99.0}, (), None),  # alone, and nothing to compare with
        ({"a": 99.0}, (9.0, 2.0), "a"),
        ({"a": 99.0}, (10.0,), None),
    ],
)
def test_who_stands_out(
    norms: Mapping[str, float], earlier: tuple[float, ...], store: str | None
) -> None:
    assert find_outlier(norms, UsualNorms(earlier)) == store


def test_one_store_of_three_cannot_make_a_good_model_look_bad_nor_a_bad_one_good() -> None:
    good = counts_of(9, 1)
    bad = Counts(counts_of(9, 1).confusion, 1e9)
    two_good = Scores(None, {"a": good, "b": good, "evil": bad})
    two_bad = Scores(None, {"a": bad, "evil": good}, diverged=frozenset({"b"}))
    assert loss_explosion(two_good, None, math.log(2)) is None
    assert loss_explosion(two_bad, None, math.log(2)) is not None
    withheld = Counts(counts_of(9, 1).confusion, None)
    assert loss_explosion(Scores(None, {"a": withheld, "b": withheld}), None, math.log(2)) is None
    assert loss_explosion(Scores(None, {"a": withheld, "b": bad}), None, math.log(2)) is not None
    assert loss_explosion(None, None, math.log(2)) is None
    assert loss_explosion(Scores(None, {}), None, math.log(2)) is None


class Late(Spoiler):
    """Spoils round 3, and has no stores that work from round `last` on."""

    when = 3
    last = 7

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        if order.round >= self.last:
            return (Failure(store, "error", "broken") for store in stores)
        return super().train(order, stores)


def training(path: Path, runtime: Targets, keep: int = 3) -> Training:
    plan = plan_of(run__rounds=60, evaluation__every=100, run__keep_checkpoints=keep, **UNBOUNDED)
    return Training(
        InitialState(plan, vector(0.0), ONE),
        runtime,
        Notes(),
        RunDirectory.open(path, plan.config),
        0.0,
    )


@pytest.mark.parametrize("is_resumed", [False, True])
def test_history_and_checkpoints_tell_of_the_round_once_also_after_a_resume(
    tmp_path: Path, is_resumed: bool
) -> None:
    runtime = Late({"a": 4.0, "b": 8.0, "evil": 0.0})
    # the spoilt model of round 3 is all that the next process finds, beside earlier checkpoints
    if is_resumed:
        runtime.last = 4
        first = training(tmp_path, runtime)
        with pytest.raises(StoresError, match="saved up to round 3"):
            first.run(StopRequest(Notes()))
        first.directory.close()
        latest = Checkpoints(tmp_path / "checkpoints", keep=3).latest()
        assert latest is not None
        assert latest.params.item() > SPOILT
    runtime.last = 7
    second = training(tmp_path, runtime)
    with pytest.raises(StoresError, match="saved up to round 6"):
        second.run(StopRequest(Notes()))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, 7))
    taken = [line["taken_back"]["store"] for line in lines if "taken_back" in line]
    assert taken == ["evil"]
    assert [sorted(line["stores"]) for line in lines[-2:]] == [["a", "b"]] * 2
    latest = Checkpoints(tmp_path / "checkpoints", keep=3).latest()
    assert latest is not None
    assert (latest.round, latest.params.item() < SPOILT) == (6, True)


def test_a_run_whose_earlier_rounds_are_gone_is_not_begun_anew(tmp_path: Path) -> None:
    runtime = Late({"a": 4.0, "b": 8.0, "evil": 0.0})
    for last, told in ((4, "saved up to round 3"), (7, "no earlier round is saved to go on from")):
        runtime.last = last
        at_work = training(tmp_path, runtime, keep=1)
        with pytest.raises(StoresError, match=told):
            at_work.run(StopRequest(Notes()))
        at_work.directory.close()
        assert Checkpoints(tmp_path / "checkpoints", keep=1).rounds() == [3]
        assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


def test_a_checkpoint_that_is_not_finite_is_passed_over(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    rounds = rounds_of(spoiler(), Notes())
    state, record = played(rounds, rounds.initial_state(vector(0.0)))
    checkpoints.save(replace(state, params=vector(3.0), record=record))
    checkpoints.save(
        replace(state, round=2, params=vector(torch.nan), record=record | {"round": 2})
    )
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.round == 1
    checkpoints.save(replace(state, round=1, params=vector(torch.nan), record=record))
    with pytest.raises(
        RunError, match=r"No checkpoint in .* holds a model whose weights are finite"
    ):
        checkpoints.latest()
