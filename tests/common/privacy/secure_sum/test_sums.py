"""The sum is that of the survivors' vectors to the bit, for every dropout up to the threshold."""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import pytest

from fedshelf.common.privacy.secure_sum.neighbourhoods import choose_threshold
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError
from tests.helpers.secure_sums import SumChain, play

STEPS = range(4)


def check(chain: SumChain, size: int, gone: Mapping[str, int]) -> None:
    vectors = chain.vectors(size)
    total, survivors = play(chain, vectors, gone)
    assert survivors == tuple(name for name in chain.names if gone.get(name, 3) == 3)
    assert (total == sum(vectors[name] for name in survivors)).all()


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_every_set_of_stores_may_drop_out_at_every_step(count: int) -> None:
    chain_names = SumChain(count).names
    threshold = choose_threshold(count, 3)
    assert threshold is not None
    for lost in range(count - threshold + 1):
        for stores in combinations(chain_names, lost):
            for steps in product((1, 2, 3), repeat=lost):
                check(SumChain(count), 5, dict(zip(stores, steps, strict=True)))


@pytest.mark.parametrize("count", [10, 30])
@pytest.mark.parametrize("step", STEPS)
def test_as_many_as_the_threshold_allows_may_drop_out(count: int, step: int) -> None:
    chain = SumChain(count)
    threshold = choose_threshold(count, chain.least)
    assert threshold is not None
    # the threshold is that of the stores that came, so of these there need only be enough
    drop = count - (chain.least if step == 0 else threshold)
    draws = np.random.default_rng(step)
    stores = draws.permutation(chain.names)[:drop]
    check(chain, 50, dict.fromkeys(map(str, stores), step))


@pytest.mark.slow
def test_stores_of_a_large_chain_drop_out_at_all_steps() -> None:
    chain = SumChain(100)
    lost = np.random.default_rng(0).permutation(chain.names)[:33]
    gone = {str(name): 1 + place % 3 for place, name in enumerate(lost)}
    check(chain, 20, gone)


def test_one_more_store_than_may_drop_out_reveals_nothing() -> None:
    for step in (1, 2, 3):
        gone = {"store-001": step, "store-004": step, "store-005": step, "store-006": step}
        chain = SumChain(10)
        with pytest.raises(SecureSumError, match="7 must") as error:
            play(chain, chain.vectors(5), gone)
        assert error.value.code == "too-few-stores"


def test_the_ring_of_two_bytes_wraps_as_well() -> None:
    chain = SumChain(5)
    vectors = chain.vectors(7, np.uint16)
    total, _ = play(chain, vectors, {"store-002": 2})
    wanted = sum(int(v[0]) for name, v in vectors.items() if name != "store-002")
    assert total.dtype == np.uint16
    assert int(total[0]) == wanted % 2**16
