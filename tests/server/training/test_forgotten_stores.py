"""Rounds of a strategy in closed form: stores that come and go, and detection that rests."""

from dataclasses import replace
from pathlib import Path

import torch

from fedshelf.common.config import STORES_OWN
from fedshelf.common.images.types import StoreData
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.updates.store_findings import Standing
from fedshelf.simulations.engines.sequential import SequentialEngine
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.by_hand import Notes
from tests.helpers.frozen_backbone import closed_form
from tests.helpers.simulated_stores import CLASSES, federation, photos, settings, start


def loop_of(
    dealt: Federation, notes: Notes, place: Path, **changed: object
) -> tuple[RoundLoop, TrainingState]:
    config = settings(
        **{**closed_form(), "run__rounds": 2}, data__dataset=STORES_OWN, screening__detect="on",
        run__workers=1, **changed,
    )  # fmt: skip
    begun = start(config)
    engine = SequentialEngine(dealt, begun, place)
    rounds = RoundLoop(begun.plan, begun.layout, engine, notes, lambda: False)
    return rounds, rounds.initial_state(begun.params)


def test_stores_of_one_class_each_that_come_in_turn_give_the_head_of_all(tmp_path: Path) -> None:
    """Rows of a class stay solved for by all sums in rounds in which no store has the class."""
    photos_of = photos(60, 16)
    stores = {
        f"store-{number}": StoreData(
            photos_of.select(torch.arange(number, 30, 3)), *[photos_of.select(torch.arange(0))] * 2
        )
        for number in range(3)
    }
    table = {
        f"store-{number}": [10 * (number == label) for label in range(3)] for number in (0, 1, 2)
    }
    dealt = Federation(CLASSES, stores, photos(50, 16, seed=9), table, "")
    weigh = {"strategy__absent_classes": "weigh"}
    together, state = loop_of(dealt, Notes(), tmp_path / "a", **weigh)
    expected, _ = together.play(state)
    turns, state = loop_of(dealt, Notes(), tmp_path / "b", cohort__fraction=0.3, **weigh)
    seen = set[str]()
    while len(seen) < 3:
        state, record = turns.play(state)
        assert len(record["sampled"]) == 1
        seen |= set(record["sampled"])
    assert torch.equal(state.params, expected.params)


def test_a_store_that_is_set_aside_leaves_no_trace_in_the_next_head(tmp_path: Path) -> None:
    dealt = federation((13, 6, 9))
    rounds, state = loop_of(dealt, Notes(), tmp_path / "a")
    first, _ = rounds.play(state)
    standing = Standing().with_aside("store-1", "its answers were of no use")
    second, record = rounds.play(replace(first, record={"standing": standing.to_record()}))
    assert record["sampled"] == ["store-0", "store-2"]
    stores = {name: data for name, data in dealt.stores.items() if name != "store-1"}
    others = replace(dealt, stores=stores, table={name: dealt.table[name] for name in stores})
    alone, state = loop_of(others, Notes(), tmp_path / "b")
    expected, _ = alone.play(state)
    assert torch.equal(second.params, expected.params)
    assert not torch.equal(first.params, expected.params)
    assert second.strategy.keys() == expected.strategy.keys()


def test_a_run_says_that_detection_rests_and_suspects_nobody(tmp_path: Path) -> None:
    """All updates are equal to the order's model."""
    notes = Notes()
    rounds, state = loop_of(federation((13, 6, 9, 8, 7)), notes, tmp_path)
    for _ in range(2):
        state, record = rounds.play(state)
        assert record["suspicion"] == {}
        assert record["failed"] == {}
        assert (record["train"]["images"], record["train"]["loss"]) == (43, None)
        assert {each["loss"] for each in record["stores"].values()} == {None}
        state = replace(state, record=record)
    assert notes.notes == [
        "Strategy ridge trains no weights, so nobody looks for swapped labels (screening.detect);"
        " sums that contradict each other are refused."
    ]
