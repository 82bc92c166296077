"""The round that is delivered, by hand: the best on validation images, never one chosen on test
images.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.metrics.counts import Counts
from fedshelf.server.results.checkpoints import Best, Checkpoints, TrainingState
from fedshelf.server.results.delivered_round import best_round, deliver
from tests.helpers.by_hand import vector


def config(**settings: object) -> RunConfig:
    return resolve({key.replace("__", "."): value for key, value in settings.items()})


def right(images: int, loss: float = 1.0) -> Counts:
    """Of ten images."""
    return Counts(np.array([[images, 10 - images], [0, 0]]), loss)


def after(*judged: tuple[str, Counts] | None, metric: str = "accuracy") -> TrainingState:
    """The state after rounds that were judged so."""
    state = TrainingState(0, vector(0.0), {})
    for number, deciding in enumerate(judged, start=1):
        best, stale = best_round(state, number, deciding, metric)
        state = replace(state, round=number, params=vector(float(number)), best=best, stale=stale)
    return state


def delivered(tmp_path: Path, last: TrainingState, **settings: object) -> tuple[float, str]:
    """The model (one number, that of its round) of a run whose rounds all have a checkpoint, and
    why that one.
    """
    checkpoints = Checkpoints(tmp_path, keep=99)
    for number in range(1, last.round):
        checkpoints.save(TrainingState(number, vector(float(number)), {}))
    found = deliver(config(**settings), last, checkpoints)
    assert found.state.round == found.state.model.item()
    return found.state.model.item(), found.because


def test_the_first_of_the_best_rounds_on_validation_is_delivered(tmp_path: Path) -> None:
    last = after(
        ("validation", right(4)),
        ("validation", right(7)),
        ("validation", right(7)),
        ("validation", right(6)),
    )
    assert (last.best, last.stale) == (Best(2, 0.7, 0.7, "validation"), 2)
    because = "the best by accuracy on the stores' validation images"
    assert delivered(tmp_path, last) == (2.0, because)
    assert delivered(tmp_path, last, run__deliver="best") == (2.0, because)
    assert delivered(tmp_path, last, run__deliver="last") == (
        4.0,
        "the last, as run.deliver asks for",
    )
    assert delivered(tmp_path, last, run__deliver="last", strategy__name="ridge") == (
        4.0,
        "the last, which has the sums of all stores so far",
    )


def test_rounds_that_are_not_evaluated_are_neither_best_nor_stale(tmp_path: Path) -> None:
    last = after(None, ("validation", right(4)), None, None)
    assert (last.best, last.stale) == (Best(2, 0.4, 0.4, "validation"), 0)
    assert delivered(tmp_path, last)[0] == 2.0


def test_the_metric_decides(tmp_path: Path) -> None:
    last = after(("validation", right(9, 5.0)), ("validation", right(8, 2.0)), metric="loss")
    assert delivered(tmp_path, last, evaluation__metric="loss") == (
        2.0, "the best by loss on the stores' validation images",
    )  # fmt: skip
    f1 = delivered(tmp_path, last, evaluation__metric="macro_f1")[1]
    assert f1 == "the best by macro f1 on the stores' validation images"


def test_a_round_that_is_best_on_test_images_is_not_delivered(tmp_path: Path) -> None:
    last = after(("test", right(9)), ("test", right(3)))
    assert last.best == Best(1, 0.9, 0.9, "test")
    because = "the last, as no round was judged on validation images"
    assert delivered(tmp_path, last) == (2.0, because)
    assert delivered(tmp_path, after(None, None)) == (2.0, because)


def test_figures_on_other_images_are_not_compared() -> None:
    """A store that alone holds validation images is away in round 2, or joins in round 2."""
    away = after(("validation", right(5)), ("test", right(9)), ("validation", right(6)))
    assert (away.best, away.stale) == (Best(3, 0.6, 0.6, "validation"), 0)
    joins = after(("test", right(9)), ("validation", right(3)))
    assert joins.best == Best(2, 0.3, 0.3, "validation")
    servers = after(
        ("server-validation", right(9)), ("validation", right(3)), ("server-validation", right(9))
    )
    assert servers.best == Best(2, 0.3, 0.3, "validation")


def test_a_round_that_is_best_on_what_the_server_holds_out_is_delivered(tmp_path: Path) -> None:
    last = after(("server-validation", right(6)), ("server-validation", right(5)))
    because = "the best by accuracy on those of the server's images that are held out to choose by"
    assert delivered(tmp_path, last) == (1.0, because)


def test_a_loss_that_is_not_finite_is_never_better() -> None:
    bad = ("validation", right(1, math.nan))
    assert after(bad, ("validation", right(1, 20.0)), bad, metric="loss").best == Best(
        2, 2.0, 0.1, "validation"
    )


def test_a_further_metric_may_decide_and_a_round_without_its_sums_does_not_count(
    tmp_path: Path,
) -> None:
    counts = [replace(right(9 - n), metrics={"top3": np.array([n])}) for n in (2, 6, 4)]
    rounds = [("validation", each) for each in (counts[0], right(9), *counts[1:])]
    last = after(*rounds, metric="top3")
    assert (last.best, last.stale) == (Best(3, 0.6, 0.3, "validation"), 1)
    chosen = {"evaluation__metric": "top3", "evaluation__metrics": "top3"}
    assert delivered(tmp_path, last, **chosen) == (
        3.0, "the best by top3 on the stores' validation images",
    )  # fmt: skip
    unknown = after(("validation", right(9)), metric="top3")
    because = "the last, as no round was judged by top3 on validation images"
    assert delivered(tmp_path, unknown, **chosen) == (1.0, because)


def test_a_round_whose_loss_is_withheld_is_neither_best_nor_stale_by_loss() -> None:
    told, withheld = right(4), Counts(right(9).confusion, None)
    rounds = [("validation", counts) for counts in (withheld, told, withheld)]
    last = after(*rounds, metric="loss")
    assert (last.best, last.stale) == (Best(2, 0.1, 0.4, "validation"), 0)
    assert after(*rounds).best == Best(1, 0.9, 0.9, "validation")
