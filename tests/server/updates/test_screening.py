"""Poisoned replies, made by hand: each is dropped and named, and the others count as if it had
never come.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as draw
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.server.updates.buffer import DiskBuffer, InMemoryBuffer, UpdateBuffer
from fedshelf.server.updates.norm_bound import too_large
from fedshelf.server.updates.screening import (
    COORDINATES_AT_ONCE,
    Screened,
    Screening,
    distance,
    screen_evaluations,
)
from tests.helpers.by_hand import counts_of, plan_of, vector
from tests.helpers.toy import TRAINED

NAMES = tuple("abcdef")
SHAPES = {"change": (2,)}


def screened(
    answers: Sequence[Update | Failure],
    *,
    asked: Sequence[str] = NAMES,
    start: Tensor | None = None,
    extras: dict[str, tuple[int, ...]] | None = None,
    held: UpdateBuffer | None = None,
    **config: object,
) -> Screened:
    order = TrainOrder(plan_of(**config), 3, vector(1.0, 1.0) if start is None else start)
    infos = {
        name: StoreInfo(name, {"a": 60, "b": 20}, 0, 0, undisclosed_images=20) for name in asked
    }
    screen = Screening(order, infos, extras or {}, held or InMemoryBuffer())
    for answer in answers:
        screen.take(answer)
    return screen.result()


def good(name: str, step: float = 1.0, **changed: Any) -> Update:
    """An update of round 3 from (1, 1), by `step` in one direction and a little in another."""
    moved = vector(1.0 + step, 1.0 + step / 2 + NAMES.index(name) / 100)
    return replace(Update(name, 3, moved, 50, 0.5, 0.1), **changed)


NAN = float("nan")
INF = float("inf")
POISON = [
    (good("c", params=vector(NAN, 1.0)), "not finite"),
    (good("c", params=vector(INF, 1.0)), "not finite"),
    (
        good("c", params=vector(1.0)),
        r"weights of type torch.float32 and shape \(1,\), not torch.float32 of shape \(2,\)",
    ),
    (good("c", params=torch.ones(20)), r"shape \(20,\)"),
    (good("c", params=torch.ones(1, 2)), r"shape \(1, 2\)"),
    (good("c", params=torch.ones(2).double()), "float64"),
    (good("c", params=torch.ones(2, dtype=torch.int32)), "int32"),
    (good("c", num_examples=10**12), "claims 1000000000000 images, where it has declared 100"),
    (good("c", num_examples=201), "claims 201 images"),
    (good("c", num_examples=0), "claims 0 images"),
    (good("c", num_examples=-9), "claims -9 images"),
    (good("c", round=2), "answers round 2, not round 3"),
    (good("c", round=4), "answers round 4"),
    (
        good("c", step=10.0),
        r"an update [89]\.\d times as large as is usual in its cohort; 6 times is allowed",
    ),
    (good("c", step=-1e30), "of norm beyond 1e19, where its order allows 1.6"),
    (good("c", loss=NAN), "reports a loss of nan"),
    (good("c", loss=-1.0), "claims a loss of -1.0"),
    (good("c", seconds=NAN), "trained for nan s"),
    (good("c", seconds=-1.0), "trained for -1.0 s"),
    (
        good("c", extras={"change": torch.ones(2)}),
        "has the extras change, where its strategy has none",
    ),
]


def test_a_norm_of_the_strategys_own_is_compared_and_does_not_grow_with_the_images() -> None:
    """A change by training five times as large is allowed to a store with five times the images."""
    stores = dict.fromkeys(NAMES, 1.0) | {"c": 7.0, "d": 5.9}
    order = TrainOrder(plan_of(), 3, vector(1.0, 1.0))
    infos = {name: StoreInfo(name, {"a": 500}, 0, 0) for name in NAMES}
    screen = Screening(
        order, infos, {}, InMemoryBuffer(), norm=lambda update: torch.tensor(stores[update.store])
    )
    for name in NAMES:
        change = {"params": vector(NAN, 1.0)} if name == "f" else {"params": vector(1.0, 1.0)}
        screen.take(good(name, **change, num_examples=500 if name == "c" else 100))
    found = screen.result()
    assert "7.0 times as large as is usual" in found.failed["c"].reason
    assert "not finite" in found.failed["f"].reason
    assert list(found.norms.values()) == [1.0, 1.0, pytest.approx(5.9), 1.0]


def test_what_a_store_calls_its_tensors_is_told_in_part() -> None:
    update = good("c", extras={f"\x1b[2J{number}" * 50: torch.ones(1) for number in range(1000)})
    reason = screened([update, good("a"), good("b")]).failed["c"].reason
    assert reason.startswith("has the extras \ufffd[2J0")
    assert len(reason) == 300


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("strategy", ["fedavg", "median", "krum", "multi-krum"])
@pytest.mark.parametrize(("bad", "reason"), POISON)
def test_poison_is_dropped_and_named_and_the_rest_is_as_if_it_had_not_come(
    tmp_path: Path, bad: Update, reason: str, strategy: str, on_disk: bool
) -> None:
    others = [good(name) for name in "fabde"]  # in order of arrival
    held = DiskBuffer(tmp_path / "updates") if on_disk else InMemoryBuffer()
    found = screened([*others[:2], bad, *others[2:]], held=held)
    assert [update.store for update in found.updates] == list("abdef")
    assert list(found.failed) == ["c"]
    assert found.failed["c"].code == "invalid"
    assert re.search(reason, found.failed["c"].reason)
    without = screened(others, asked="abdef")
    assert not without.failed
    half = strategies.build(StrategyConfig(name=strategy))
    start = vector(1.0, 1.0)
    assert torch.equal(
        *(half.update_global_model(start, each.updates, {}, 2)[0] for each in (found, without))
    )


def test_photos_added_since_a_store_was_asked_do_not_count_yet() -> None:
    found = screened(
        [good("a", num_examples=100), good("b", num_examples=200, steps=7)], asked="ab"
    )
    assert not found.failed
    assert [update.num_examples for update in found.updates] == [100, 100]


@pytest.mark.parametrize(
    ("extras", "reason"),
    [
        ({}, "has the extras none, where its strategy has change"),
        ({"change": torch.ones(2), "more": torch.ones(1)}, "has the extras change, more,"),
        ({"change": torch.ones(3)}, r"extras change of type torch.float32 and shape \(3,\)"),
        ({"change": torch.ones(2).double()}, "extras change of type torch.float64"),
        ({"change": vector(NAN, 0.0)}, "not finite"),
        ({"change": vector(0.0, -INF)}, "not finite"),
    ],
)
def test_extras_are_those_of_the_strategy(extras: dict[str, Tensor], reason: str) -> None:
    fine = [good(name, extras={"change": vector(1.0, 2.0)}) for name in "ab"]
    found = screened([*fine, good("c", extras=extras)], asked="abc", extras=SHAPES)
    assert [update.store for update in found.updates] == ["a", "b"]
    assert re.search(reason, found.failed["c"].reason)


def test_strangers_and_second_answers_count_for_nothing_and_are_named() -> None:
    second = good("a", params=vector(1e6, 1e6))
    stranger = replace(good("b"), store="zoe")
    failed = Failure("b", "data", "its images cannot be used")
    found = screened([good("a"), second, failed, good("b"), stranger], asked="abc")
    assert [update.params.tolist() for update in found.updates] == [good("a").params.tolist()]
    assert found.failed == {"b": failed, "c": Failure("c", "timeout", "no answer in time")}
    assert list(found.ignored) == [
        "a answered twice; its first answer counts.",
        "b answered twice; its first answer counts.",
        "zoe answered without being asked.",
    ]


@given(draw.lists(draw.floats(width=32)))
@example([3e38, 3e38])  # finite, though their sum is not
@example([INF, -INF])
@example([1.0, NAN])
@example([])
def test_an_update_counts_just_if_all_its_values_are_finite(values: list[float]) -> None:
    params = torch.tensor(values, dtype=torch.float32)
    found = screened(
        [Update("a", 3, params, 1, 0.0, 0.0)],
        asked="a",
        start=torch.zeros_like(params),
        screening__norm_factor=0,
    )
    assert (len(found.updates), list(found.failed)) == (
        (1, []) if torch.isfinite(params).all() else (0, ["a"])
    )


@settings(max_examples=10, deadline=None)
@given(
    draw.sampled_from(
        [1, 5, COORDINATES_AT_ONCE, COORDINATES_AT_ONCE + 1, COORDINATES_AT_ONCE + 3]
    ),
    draw.integers(0, 99),
)
def test_distance_is_the_norm_of_the_difference(size: int, seed: int) -> None:
    one, other = torch.randn(2, size, generator=torch.Generator().manual_seed(seed))
    assert distance(one, other).item() == pytest.approx(
        (one.double() - other.double()).norm().item(), rel=1e-5
    )


def test_nothing_is_too_large_if_so_set() -> None:
    large = [good("a"), good("b"), good("c", step=1e6)]
    assert not screened(large, asked="abc", screening__norm_factor=0).failed
    assert not screened(
        [*large, good("d"), good("e")], asked="abcde", screening__norm_factor=0
    ).failed


def test_a_store_with_more_images_than_others_may_move_as_many_times_further() -> None:
    norms = dict.fromkeys("abcd", 1.0) | {"e": 50.0}
    images = dict.fromkeys("abcd", 10) | {"e": 100}
    # ten times the images: five times as far as is usual
    assert too_large(norms, images, 6.0) == {}
    assert too_large(norms, images, 4.0) == {"e": 5.0}
    # few images do not make it stricter: 50, not 500
    assert too_large(norms, images | {"e": 1}, 6.0) == {"e": 50.0}
    # no usual size to compare with
    assert too_large(dict.fromkeys("abcd", 0.0) | {"e": 1.0}, images, 6.0) == {}


def test_evaluations_that_cannot_be_are_left_out() -> None:
    order = EvaluateOrder(plan_of(), 3, vector(1.0))
    answers = [
        Evaluation("a", 3, counts_of(5, 5)),
        Evaluation("b", 3, counts_of(50, 50)),  # more than it holds out
        Evaluation("c", 2, counts_of(5, 5)),
        Evaluation("d", 3, replace(counts_of(5, 5), loss_sum=NAN)),
        Evaluation("zoe", 3, counts_of(5, 5)),
        Failure("e", "data", "x"),
        Evaluation("f", 3, replace(counts_of(5, 5), loss_sum=None)),  # withheld
    ]
    assert list(screen_evaluations(answers, order, dict.fromkeys("abcdef", 10))) == ["a", "f"]


def test_adjusted_counts_are_of_the_same_images_or_the_evaluation_is_left_out() -> None:
    raw = counts_of(5, 5)
    adjusted = counts_of(8, 2)
    cases = {
        "good": adjusted,
        "none": None,
        "more images": counts_of(8, 3),
        "fewer images": counts_of(8, 1),
        "of other classes": Counts(np.array([[7, 2], [1, 0]]), 1.0),
        "another shape": Counts(np.array([[10]]), 1.0),
        "negative": Counts(np.array([[11, -1], [0, 0]]), 1.0),
        "no loss": replace(adjusted, loss_sum=NAN),
        "a loss below 0": replace(adjusted, loss_sum=-1.0),
        "a withheld loss": replace(adjusted, loss_sum=None),
        "told and untold": Counts(np.array([[4, 1], [0, 0]]), 1.0, undisclosed_correct=5),
        # ten images of two classes, each at most log(2 / 0.03) = 4.2 worse than the raw loss of 1
        # in all
        "as bad as can be": replace(adjusted, loss_sum=1 + 41.9),
        "worse than can be": replace(adjusted, loss_sum=1 + 42.1),
    }
    answers = [Evaluation(name, 3, raw, found) for name, found in cases.items()]
    asked = dict.fromkeys(cases, 10)
    weigh = EvaluateOrder(plan_of(strategy__absent_classes="weigh"), 3, vector(1.0))
    assert list(screen_evaluations(answers, weigh, asked)) == ["as bad as can be", "good", "none"]
    full = EvaluateOrder(plan_of(strategy__absent_classes="full"), 3, vector(1.0))
    assert list(screen_evaluations(answers, full, asked)) == ["none"]


def test_what_is_said_of_confidence_is_of_the_same_images_and_hits_or_nothing() -> None:
    order = EvaluateOrder(plan_of(), 3, vector(1.0), "test", (1.0,))
    hits = np.array([True] * 5 + [False] * 5)
    told = Reliability.from_predictions(
        (1.0,),
        np.ones((1, 10), np.float32),
        np.full((1, 10), 0.7, np.float32),
        hits,
        np.ones(10, np.float32),
    )
    cases = {
        "good": told,
        "silent": None,
        "other temperature": replace(told, temperatures=(2.0,)),
        "other images": told + told,
        "other hits": replace(told, correct=told.correct * 0),
        "surer than sure": replace(told, confidence_sum=told.confidence_sum * 2),
        "less sure than chance": replace(told, confidence_sum=told.confidence_sum * 0.5),
        "not a number": replace(told, nll=told.nll * NAN),
        "energies of more images": replace(told, energies=2 * told.energies),
        "energies of no images": replace(told, energies=0 * told.energies),
    }
    answers = [
        Evaluation(name, 3, replace(counts_of(5, 5), reliability=reliability))
        for name, reliability in cases.items()
    ]
    assert list(screen_evaluations(answers, order, dict.fromkeys(cases, 10))) == ["good", "silent"]


def test_sums_of_metrics_that_cannot_be_leave_the_evaluation_out() -> None:
    chosen = {"evaluation__metrics": "top3,balanced_accuracy"}
    order = EvaluateOrder(plan_of(**chosen), 3, vector(1.0))
    cases: dict[str, dict[str, Any]] = {
        "good": {"top3": np.array([7])},
        "withheld": {},
        "more than all": {"top3": np.array([11])},
        "negative": {"top3": np.array([-1])},
        "floats": {"top3": np.array([7.0])},
        "two": {"top3": np.array([7, 7])},
        "not asked for": {"top3": np.array([7]), "top5": np.array([7])},
    }
    answers = [
        Evaluation(name, 3, replace(counts_of(5, 5), metrics=sums)) for name, sums in cases.items()
    ]
    good = screen_evaluations(answers, order, dict.fromkeys(cases, 10))
    assert {name: set(found.counts.metrics) for name, found in good.items()} == {
        "good": {"top3", "balanced_accuracy"},
        "withheld": {"balanced_accuracy"},
    }


@pytest.mark.parametrize("name", TRAINED)
def test_what_a_strategy_expects_is_what_its_stores_send(name: str) -> None:
    strategy = strategies.build(StrategyConfig(name=name))
    start = torch.ones(5)
    sent = strategy.extras(strategy.init_server_state(start, 4))
    local = strategy.on_train_begin(start[:4], sent, {})
    run = strategies.LocalTrainingSummary(start[:4], start[:4] + 1, 3, 0.1, 10)
    extras, _ = strategy.on_train_end(run, local, {})
    assert {key: tuple(tensor.shape) for key, tensor in extras.items()} == dict(
        strategy.expected_extras(4)
    )
    assert all(tensor.dtype == torch.float32 for tensor in extras.values())
