"""Wilson's interval against published numbers and its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.metrics.proportions import wilson_interval


def test_by_hand() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    # 17 (1998), table I.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0 / 20, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(draw.integers(1, 10_000), draw.floats(0, 1))
def test_holds_the_share_and_lies_within_0_and_1(images: int, share: float) -> None:
    low, high = wilson_interval(share, images)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
