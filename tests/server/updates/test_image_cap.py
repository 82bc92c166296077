"""A store that claims more images than others can have counts for ten times the median, wherever
images count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.proportions import apportion
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.updates.image_cap import ImageCap, capped, most_images
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector

REAL = {"data__dataset": "stores"}


def holding(*images: int) -> dict[str, StoreInfo]:
    return {
        name: StoreInfo(name, {"a": count}, 0, 0)
        for name, count in zip("abcdefg", images, strict=False)
    }


@pytest.mark.parametrize(
    ("images", "most"),
    [
        ((70,), 700),  # its own median: never capped
        ((50, 10**9), 500),  # of two the smaller one
        ((50, 70, 10**9), 700),  # of three the middle one
        ((50, 60, 70, 10**9), 600),
        ((0, 0, 10**9), 1),
    ],
)
def test_the_cap_is_ten_medians_that_no_minority_can_raise(
    images: tuple[int, ...], most: int
) -> None:
    assert most_images(plan_of(**REAL).config, holding(*images)) == most


def test_a_simulation_has_none_unless_asked_for_and_a_giant_store_raises_it() -> None:
    stores = holding(50, 70, 10**9)
    assert most_images(plan_of().config, stores) is None
    assert most_images(plan_of(screening__images_factor=2).config, stores) == 140
    assert most_images(plan_of(**REAL, screening__images_factor=1e8).config, stores) == 7 * 10**9


def test_what_counts_keeps_its_mix_of_classes() -> None:
    info = StoreInfo("a", {"hat": 600, "shoe": 300}, 5, 6, undisclosed_images=100)
    assert capped(info, 100) == StoreInfo("a", {"hat": 60, "shoe": 30}, 5, 6, undisclosed_images=10)
    assert capped(info, 99).num_examples == 99
    assert capped(info, 1000) == capped(info, None) == info


class Claims(Targets):
    """Stores that say they have so many images, and that they trained on all of them."""

    def __init__(self, targets: Mapping[str, float], images: Mapping[str, int]) -> None:
        super().__init__(targets)
        self.images = images

    def stores(self) -> Mapping[str, StoreInfo]:
        return {name: StoreInfo(name, {"a": self.images[name]}, 0, 0) for name in super().stores()}

    def train(self, order: TrainOrder, stores: list[str]):  # type: ignore[no-untyped-def,override]
        for update in super().train(order, stores):
            assert isinstance(update, Update)
            yield Update(
                update.store, update.round, update.params, self.images[update.store], 1.0, 0.1
            )


@pytest.mark.parametrize("weighting", ["images", "uniform"])
def test_a_store_that_claims_a_billion_images_gets_ten_times_the_weight_and_is_named(
    notes: Notes, weighting: str
) -> None:
    runtime = Claims({"a": 2.0, "b": 2.0, "evil": 26.0}, {"a": 10, "b": 10, "evil": 10**9})
    plan = plan_of(**REAL, strategy__weighting=weighting)
    rounds = RoundLoop(plan, ONE, runtime, notes, lambda: False)
    state = rounds.initial_state(vector(0.0))
    state, record = rounds.play(state)
    # halves of the way: 1, 1 and 13, with weights 10, 10 and 100 where images count
    assert state.params.item() == pytest.approx(
        (10 + 10 + 1300) / 120 if weighting == "images" else 5.0
    )
    assert record["capped"] == {"evil": {"claimed": 10**9, "counted": 100}}
    assert record["stores"]["evil"]["images"] == 100
    state, _ = rounds.play(state)
    assert [note for note in notes.notes if "counts for" in note] == [
        "evil: it says it has 1000000000 training images and counts for 100; if it really has so"
        " many more than others, raise screening.images_factor in a new run."
    ]


def test_rows_of_the_head_are_averaged_by_images_that_count() -> None:
    from fedshelf.server.updates.buffer import InMemoryBuffer
    from fedshelf.server.updates.screening import Screening

    held = InMemoryBuffer()
    order = TrainOrder(plan_of(strategy__absent_classes="mask", **REAL), 1, torch.zeros(1))
    asked = {
        "a": StoreInfo("a", {"a": 6, "b": 4}, 0, 0),
        "evil": StoreInfo("evil", {"a": 0, "b": 10**9}, 0, 0),
    }
    screen = Screening(order, asked, {}, held, most_images=most_images(order.plan.config, asked))
    for name, info in asked.items():
        screen.take(Update(name, 1, torch.ones(1), info.num_examples, 1.0, 0.1))
    by_class = {update.store: update.images_by_class for update in screen.result().updates}
    assert by_class["a"] is not None
    assert by_class["evil"] is not None
    assert by_class["a"].tolist() == [6.0, 4.0]
    assert by_class["evil"].tolist() == pytest.approx([0.0, 100.0])


def judged(store: str, right: int, wrong: int, loss: float) -> Evaluation:
    counts = Counts(np.array([[right, wrong], [0, 0]]), loss * (right + wrong))
    return Evaluation(store, 1, counts, counts)


def test_a_store_that_claims_many_validation_images_counts_for_ten_medians_and_is_named(
    notes: Notes,
) -> None:
    cap = ImageCap(plan_of(**REAL).config, notes.note)
    found = {
        "a": judged("a", 9, 1, 0.5),
        "b": judged("b", 9, 1, 0.5),
        "evil": judged("evil", 10**8, 9 * 10**8, 4.0),
    }
    claimed = {"a": 10, "b": 10, "c": 12, "evil": 10**9}
    for _ in range(2):
        counted = cap.judged(found, claimed, "validation")
    assert (counted["a"], counted["b"]) == (found["a"], found["b"])
    for counts in (counted["evil"].counts, counted["evil"].adjusted):
        assert counts is not None
        assert counts.confusion.tolist() == [[10, 90], [0, 0]]
        assert counts.loss == pytest.approx(4.0)
    together = Scores.of(None, counted).together()
    assert together is not None
    assert (together.num_examples, together.accuracy) == (120, pytest.approx(28 / 120))
    assert notes.notes == [
        "evil: it says it has 1000000000 validation images and counts for 100; if it really has so"
        " many more than others, raise screening.images_factor in a new run."
    ]
    assert ImageCap(plan_of().config, notes.note).judged(found, claimed, "validation") == found


class Judging(Targets):
    """Stores that hold out so many images and find the model right on all of them but "evil", which
    finds it wrong.
    """

    def stores(self) -> Mapping[str, StoreInfo]:
        return {
            name: replace(info, validation=self._held(name))
            for name, info in super().stores().items()
        }

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterator[Evaluation]:
        for name in stores:
            images = self._held(name)
            found = judged(name, 0, images, 9.0) if name == "evil" else judged(name, images, 0, 1.0)
            yield replace(found, adjusted=None)

    def _held(self, name: str) -> int:
        return 10**9 if name == "evil" else 10


def test_one_store_does_not_choose_the_best_round_for_all_others(notes: Notes) -> None:
    rounds = RoundLoop(
        plan_of(**REAL), ONE, Judging({"a": 1.0, "b": 2.0, "evil": 3.0}), notes, lambda: False
    )
    _, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert record["validation"]["accuracy"] == pytest.approx(20 / 120)
    assert [
        note
        for note in notes.notes
        if note.startswith("evil: it says it has 1000000000 validation images")
    ]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any), st.data())
def test_a_smaller_count_keeps_shares(counts: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(1, sum(counts)))
    found = apportion(np.array(counts), total)
    assert found.sum() == total
    assert (np.abs(found - np.array(counts) * (total / sum(counts))) < 1).all()


def test_how_sure_a_model_was_is_capped_with_its_means() -> None:
    sure = np.full((2, 40), 0.8, np.float32)
    right = np.arange(40) < 30
    energies = np.where(right, 5, 0).astype(np.float32)
    whole = Reliability.from_predictions(
        (1.0, 2.0), np.full((2, 40), 0.5, np.float32), sure, right, energies
    )
    less = Counts(np.array([[30, 10], [0, 0]]), 20.0, reliability=whole).at_most(8).reliability
    assert less is not None
    assert (less.num_examples, less.correct.sum(axis=1).tolist()) == (8, [6, 6])
    assert less.energies[less.energies > 0].tolist() == [2, 6]
    assert (less.nll.tolist(), less.ece(0)) == ([4.0, 4.0], pytest.approx(whole.ece(0)))
