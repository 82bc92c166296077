"""Bounds on the size of an update, by what is known without the others, in numbers that a reader
can check.
"""

import pytest

from fedshelf.common.config import RunConfig, resolve
from fedshelf.server.updates.norm_bound import NORM_ROUNDS, NormBound, UsualNorms, usual


def bound(earlier: tuple[float, ...] = (), **settings: object) -> NormBound:
    """Of a model of 10,000 coordinates and norm 5, at a learning rate of 0.1 without momentum, 10
    images a step.
    """
    flat = {key.replace("__", "."): value for key, value in settings.items()}
    steps = {"train.lr": 0.1, "train.momentum": 0.0, "train.batch_size": 10, "train.epochs": 2}
    return NormBound.of_round(config_of(steps | flat), 3, UsualNorms(earlier), 10_000, 5.0)


def config_of(settings: dict[str, object]) -> RunConfig:
    return resolve({"data.dataset": "stores", "run.rounds": 9}, settings)


def refused(norms: dict[str, float], images: int = 100, **settings: object) -> dict[str, str]:
    return bound(**settings).faults(norms, dict.fromkeys(norms, 0.0), dict.fromkeys(norms, images))  # type: ignore[arg-type]


def test_an_order_bounds_a_lone_update() -> None:
    # 20 steps of 0.1 in 100 directions
    assert bound().of_order(100) == pytest.approx(1000 * (5 + 20 * 0.1 * 100))
    assert refused({"a": 200_000.0}) == {}
    assert "of norm 1e+30, where its order allows 2.05e+05" in refused({"a": 1e30})["a"]
    assert list(refused({"a": 1.0, "b": 2.0, "evil": 1e30})) == ["evil"]
    assert refused({"a": 1.0, "b": 2.0, "evil": 1e30}, screening__norm_factor=0) == {}


def test_what_comes_beside_the_parameters_is_bounded_as_well() -> None:
    found = bound().faults({"a": 1.0, "b": 1.0}, {"a": 1e30, "b": 99.0}, {"a": 1, "b": 1})
    assert list(found) == ["a"]
    assert found["a"].startswith("has extras of norm 1e+30")


def test_of_three_the_middle_one_says_what_is_usual() -> None:
    assert refused({"a": 1.0, "b": 2.0, "c": 59.0}) == {}
    assert (
        "30.5 times as large as is usual in its cohort; 30 times"
        in refused({"a": 1.0, "b": 2.0, "c": 61.0})["c"]
    )
    assert refused({"a": 1e-9, "b": 2.0, "c": 3.0}) == {}


def test_of_two_neither_does_but_the_rounds_before_do() -> None:
    assert refused({"a": 1e-9, "b": 2.0}) == {}  # a tiny update makes nobody else's large
    found = refused({"a": 1.0, "b": 70.0}, earlier=(1.0, 2.0))
    assert (
        "has an update 35.0 times as large as was usual in the rounds before; 30 times"
        in found["b"]
    )
    assert list(found) == ["b"]


def test_with_real_stores_images_widen_no_bound_and_rounds_before_do() -> None:
    norms = dict.fromkeys("abcd", 1.0) | {"e": 9.0}
    images = dict.fromkeys("abcd", 10) | {"e": 1000}
    assert list(bound().faults(norms, dict.fromkeys(norms, 0.0), images)) == ["e"]
    # at the end of a run most stores learn nothing new: who does is no outlier if it moves as all
    # did before
    assert bound((2.0, 0.1)).faults(norms, dict.fromkeys(norms, 0.0), images) == {}
    simulated = bound(data__dataset="shelf")
    # numbers of images are true there
    assert simulated.faults(norms, dict.fromkeys(norms, 0.0), images) == {}


def test_a_store_that_comes_when_the_others_have_learned_all_may_move_as_they_did() -> None:
    norms = UsualNorms()
    for number in range(40):
        norms = norms.after({"a": 10.0**-number})
    assert refused({"a": 1e-40, "new": 5.0}, earlier=norms.recent) == {}
    assert list(refused({"a": 1e-40, "new": 31.0}, earlier=norms.recent)) == ["new"]


def test_usual_norms_travel_with_the_history() -> None:
    assert [
        usual({"a": 1.0}),
        usual({"a": 1.0, "b": 3.0}),
        usual(dict(zip("abcd", (4, 1, 2, 3), strict=True))),
    ] == [
        1.0,
        3.0,
        2.0,
    ]
    norms = UsualNorms()
    for number in range(12):
        norms = UsualNorms.of({"usual_norms": list(norms.after({"a": float(number)}).recent)})
    assert norms.recent == tuple(map(float, range(12 - NORM_ROUNDS, 12)))
    assert norms.most == 11.0
    falling = UsualNorms()
    for norm in range(20, 0, -1):
        falling = falling.after({"a": float(norm)})
    assert falling.recent == (20.0, *map(float, range(NORM_ROUNDS - 1, 0, -1)))
    assert UsualNorms.of({}) == UsualNorms.of(None) == UsualNorms()
