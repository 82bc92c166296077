"""A store that fails again and again is set aside; suspicion is told once it lasts; both outlive a
restart of the server.
"""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.config import ScreeningConfig
from fedshelf.common.protocol.messages import Failure, Update
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.updates.store_findings import STANDING_ROUNDS, Standing
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector

BAD = Failure("c", "invalid", "claims 0 images")
LATE = Failure("c", "timeout", "no answer in time")
CONFIG = ScreeningConfig()


def after(
    standing: Standing,
    *,
    bad: bool = False,
    suspected: bool = False,
    config: ScreeningConfig = CONFIG,
) -> Standing:
    good = ["a", "b"] if bad else ["a", "b", "c"]
    return standing.after(
        good, {"c": BAD} if bad else {}, {"c": "odd"} if suspected else {}, config
    )


def test_three_bad_rounds_in_a_row_set_aside_and_a_good_one_forgives() -> None:
    standing = after(after(Standing(), bad=True), bad=True)
    assert (standing.invalid, standing.set_aside) == ({"c": 2}, {})
    assert after(standing).invalid == {}
    standing = after(standing, bad=True)
    assert standing.set_aside == {
        "c": "its answer could not be used in 3 rounds in a row; the last one claims 0 images"
    }


def test_silence_neither_counts_nor_forgives() -> None:
    standing = after(after(Standing(), bad=True), bad=True).after(["a"], {"c": LATE}, {}, CONFIG)
    assert (standing.invalid, standing.set_aside) == ({"c": 2}, {})
    assert "c" in after(standing, bad=True).set_aside


def test_without_strikes_nobody_is_set_aside() -> None:
    standing = Standing()
    for _ in range(5):
        standing = after(standing, bad=True, config=ScreeningConfig(strikes=0))
    assert standing.set_aside == {}


def test_suspicion_is_told_after_three_of_ten_rounds_and_excludes_only_if_told_to() -> None:
    standing = Standing()
    strict = ScreeningConfig(suspects="exclude")
    for suspected in (True, False, True, False):
        standing = after(standing, suspected=suspected)
    assert (standing.recent, standing.suspects) == ({"c": "1010"}, {})
    told = after(standing, suspected=True)
    assert (told.suspects, told.set_aside) == ({"c": "odd"}, {})
    assert after(standing, suspected=True, config=strict).set_aside == {
        "c": "it is under suspicion: odd"
    }
    for _ in range(STANDING_ROUNDS):
        told = after(told)
    assert (told.recent, told.suspects) == ({}, {"c": "odd"})  # the run remembers what was told


@given(draw.lists(draw.booleans(), max_size=30))
def test_only_the_last_rounds_count(rounds: list[bool]) -> None:
    standing = Standing()
    for suspected in rounds:
        standing = after(standing, suspected=suspected)
    assert standing.recent.get("c", "").count("1") == sum(rounds[-STANDING_ROUNDS:])


def test_a_line_of_the_history_reads_back() -> None:
    standing = after(after(Standing(), bad=True), suspected=True)
    assert Standing.of(json.loads(json.dumps({"standing": standing.to_record()}))) == standing
    assert Standing.of({"round": 1}) == Standing.of(None) == Standing()


def rounds_of(runtime: Targets, notes: Notes, **settings: object) -> RoundLoop:
    return RoundLoop(plan_of(run__rounds=20, **settings), ONE, runtime, notes, lambda: False)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_store_that_fails_every_round_is_not_asked_a_fourth_time_also_after_a_restart(
    notes: Notes, restarted: bool
) -> None:
    class Careless(Targets):
        def train(self, order, stores):
            for answer in super().train(order, stores):
                yield replace(answer, num_examples=10**12) if answer.store == "c" else answer

    runtime = Careless({"a": 4.0, "b": 8.0, "c": 6.0})
    rounds = rounds_of(runtime, notes)
    state = rounds.initial_state(vector(0.0))
    for _ in range(3):
        state, record = rounds.play(state)
        state = replace(state, record=json.loads(json.dumps(record)))
    if restarted:
        asked = runtime.asked
        runtime = Careless({"a": 4.0, "b": 8.0, "c": 6.0})
        runtime.asked = asked
        rounds = rounds_of(runtime, notes)
    state, record = rounds.play(state)
    assert runtime.asked == [["a", "b", "c"]] * 3 + [["a", "b"]]
    why = (
        "its answer could not be used in 3 rounds in a row; the last one claims 1000000000000"
        " images, where it has"
    )
    assert runtime.left_out["c"].startswith(why)
    assert record["standing"]["set_aside"] == runtime.left_out
    assert (
        len([note for note in notes.notes if note.startswith(f"c is set aside: {why}")])
        == 1 + restarted
    )


class Contrary(Targets):
    """Store `f` answers with the opposite of its training."""

    def train(self, order, stores):
        for answer in super().train(order, stores):
            assert isinstance(answer, Update)
            opposite = 2 * order.params - answer.params
            yield replace(answer, params=opposite) if answer.store == "f" else answer


@pytest.mark.parametrize("strict", [False, True])
def test_a_suspect_is_named_in_history_and_notes_and_leaves_only_if_told_to(
    notes: Notes, strict: bool
) -> None:
    runtime = Contrary(dict.fromkeys("abcdef", 100.0))
    rounds = rounds_of(
        runtime,
        notes,
        screening__detect="on",
        screening__suspects="exclude" if strict else "report",
    )
    state = rounds.initial_state(vector(0.0))
    for number in range(4):
        state, record = rounds.play(state)
        state = replace(state, record=record)
        assert list(record["suspicion"]) == (["f"] if number < 3 or not strict else [])
    why = (
        "its update points elsewhere than those of stores with such classes (cosine -1.00, where"
        " 1.00 is usual)"
    )
    assert record["standing"]["suspects"] == {"f": why}
    assert notes.notes[0] == f"f is under suspicion: {why}."
    assert ("f" in runtime.left_out) is strict
    assert runtime.asked[3] == list("abcde" if strict else "abcdef")


def test_a_suspects_update_is_clipped_to_the_median_once_it_is_told_and_history_and_notes_say_so(
    notes: Notes,
) -> None:
    class Loud(Targets):
        def train(self, order, stores):
            for answer in super().train(order, stores):
                assert isinstance(answer, Update)
                loud = order.params + 5 * (answer.params - order.params)
                yield replace(answer, params=loud) if answer.store == "f" else answer

    # as many as images
    settings = {"screening__detect": "on", "screening__suspects": "clip", "train__batch_size": 10}
    rounds = rounds_of(Loud(dict.fromkeys("abcdef", 9.6)), notes, **settings)
    state = rounds.initial_state(vector(0.0))
    told = []
    for _ in range(4):
        before = state.params
        state, record = rounds.play(state)
        state = replace(state, record=record)
        told.append(record["clipped"])
    assert told == [{}, {}, {}, {"f": pytest.approx(0.2)}]
    # as if it were like the others
    assert state.params.tolist() == pytest.approx([(before.item() + 9.6) / 2])
    # as it came
    assert record["stores"]["f"]["norm"] == pytest.approx(5 * record["stores"]["a"]["norm"])
    assert notes.notes == [
        "f is under suspicion: its update is 5.0 times as large as is usual for so many steps. From"
        " now on its updates are made no larger than is usual in their cohort"
        " (screening.suspects=clip)."
    ]


def test_nobody_is_looked_at_in_a_simulation_unless_asked_for(notes: Notes) -> None:
    rounds = rounds_of(Contrary(dict.fromkeys("abcdef", 100.0)), notes)
    assert rounds.play(rounds.initial_state(vector(0.0)))[1]["suspicion"] == {}
