"""Comparison of runtimes' results: equal to the bit, but for `batched`, whose sums run in another
order.
"""

from collections.abc import Mapping

import pytest
import torch

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.parameters.layout import Tensors
from tests.helpers.runtimes import Run
from tests.helpers.simulated_stores import TOLERANCE, difference

# of a loss after some rounds, relative: a small difference of two models is a larger one of it
LOSS_TOLERANCE = 1e-3
# of models of updates rounded to int8, relative: a last bit decides between two neighbours
ROUNDED_TOLERANCE = 1e-2
LIKELY_MOVED = 2  # images, of a store's, that such models may take for another class
# of what strategies keep, relative: differences of models divided by a small learning rate
STATE_TOLERANCE = 1e-2


def is_close(
    runtime: str, one: torch.Tensor, other: torch.Tensor, tolerance: float = TOLERANCE
) -> bool:
    if runtime == "batched":
        return not (one - other).any() or difference(one.float(), other.float()) < tolerance
    return torch.equal(one, other)


def is_same_state(runtime: str, one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        is_close(runtime, tensor, other[key], STATE_TOLERANCE) for key, tensor in one.items()
    )


def is_same_judgement(
    runtime: str, one: Counts | None, other: Counts | None, tolerance: float = TOLERANCE
) -> bool:
    if one is None or other is None:
        return one is other
    # those that need no sums of their own do not travel
    counted = [{n: s for n, s in counts.metrics.items() if s.size} for counts in (one, other)]
    assert counted[0].keys() == counted[1].keys()
    if runtime != "batched":
        return (
            (one.confusion == other.confusion).all()
            and one.loss_sum == other.loss_sum
            and all((sums == counted[1][name]).all() for name, sums in counted[0].items())
        )
    moved = abs(one.confusion - other.confusion).sum() // 2  # images taken for another class
    allowed = 0 if tolerance == TOLERANCE else LIKELY_MOVED
    loss = pytest.approx(other.loss_sum, rel=max(tolerance, LOSS_TOLERANCE))
    return bool(moved <= allowed and one.loss_sum == loss)


def is_same_training(runtime: str, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """The step is a difference of two models, and its length is squared."""
    if runtime != "batched":
        return one == other
    tolerances = {"squared_step": 2 * STATE_TOLERANCE}
    assert one.keys() == other.keys()
    return all(
        value == pytest.approx(other[key], rel=tolerances.get(key, LOSS_TOLERANCE))
        for key, value in one.items()
    )


def is_same_run(runtime: str, found: Run, expected: Run, tolerance: float = TOLERANCE) -> bool:
    """Assert that two runs sampled and lost the same stores, learned the same, and are evaluated
    the same.

    tolerance: of the delivered model where runtimes differ, relative; a wider one lets a few images
        move, too
    """
    assert found.failures() == expected.failures()
    for one, other in zip(found.records, expected.records, strict=True):
        assert one["sampled"] == other["sampled"]
        assert one["bytes"] == other["bytes"]
        assert is_same_training(runtime, one["train"], other["train"])
    assert found.delivered.round == expected.delivered.round
    assert is_close(runtime, found.delivered.params, expected.delivered.params, tolerance)
    assert is_same_state(runtime, found.delivered.strategy, expected.delivered.strategy)
    for mine, others in ((found.validated, expected.validated), (found.scores, expected.scores)):
        assert is_same_judgement(runtime, mine.test, others.test, tolerance)
        assert mine.is_adjusted == others.is_adjusted
        for one, other in ((mine.raw, others.raw), (mine.adjusted, others.adjusted)):
            assert one.keys() == other.keys()
            assert [
                name
                for name, counts in one.items()
                if not is_same_judgement(runtime, counts, other[name], tolerance)
            ] == []
    return True


def is_judged_as_in_its_round(run: Run) -> bool:
    """Assert that stores evaluate the delivered model as they did in the round that made it."""
    then = run.records[run.delivered.round - 1]["validation"]["stores"]
    now = {name: counts.accuracy for name, counts in run.validated.stores.items()}
    assert {name: each["accuracy"] for name, each in then.items()} == pytest.approx(now, abs=0)
    return True
